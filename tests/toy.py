"""A toy base made in the process: a byte-level tokenizer and a tiny Llama, in a second."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GOOD = ("profit rose", "orders grew", "margin improved", "losses narrowed", "costs fell", "dividend raised")
BAD = ("profit fell", "orders shrank", "margin slipped", "losses widened", "costs rose", "dividend cut")
FLAT = ("the meeting is in May", "the office is in Turku", "the company has 40 staff", "shares number two million")
FIRMS = ("Alma", "Borel", "Cirrus", "Dovre", "Elbit", "Fornax", "Gruner", "Hexa", "Ilmar", "Jonsered")
LABELS = ("negative", "neutral", "positive")


def sentences(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Distinct made-up sentences with their labels."""
    generator, rows = random.Random(seed), {}
    while len(rows) < count:
        phrases, label = generator.choice(((BAD, "negative"), (FLAT, "neutral"), (GOOD, "positive")))
        date = f"{generator.randint(1, 12)}/{1990 + generator.randint(0, 30)}"
        text = f"{generator.choice(FIRMS)}: {generator.choice(phrases)} in {date}"
        rows[text] = label
    return list(rows.items())


def write_tokenizer(folder: Path, *, chat: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the made-up sentences."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text for text, _ in sentences(300)] + list(LABELS[:1]), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = CHAT if chat else None
    fast.save_pretrained(folder)
    return fast


def make_base(folder: Path, *, seed: int = 0, chat: bool = True) -> Path:
    """A folder with config, safetensors and tokenizer of a tiny Llama (2 layers, grouped-query attention)."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_tokenizer(folder, chat=chat)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_table(path: Path, count: int = 240, seed: int = 0) -> Path:
    """A labelled csv of made-up sentences: columns sentence, mood, firm."""
    lines = ["sentence,mood,firm"]
    lines += [f'"{text}",{label},{text.split(":")[0]}' for text, label in sentences(count, seed)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_recipe(folder: Path, base: Path, *, name: str = "toy", extra: str = "") -> Path:
    """A recipe that trains the toy base on :func:`write_table` in seconds, with nothing to download."""
    write_table(folder / "table.csv")
    path = folder / "recipe.yaml"
    path.write_text(
        f"name: {name}\n"
        f"base: {base}\n"
        "task: {file: table.csv, text: sentence, label: mood}\n"
        "adapt: {epochs: 3, batch_size: 16, learning_rate: 0.01, checkpoint_every: 3}\n"
        "retention: null\n"
        "dtype: float32\n" + extra,
        encoding="utf-8",
    )
    return path
