"""A base with the terms of a trade as tokens of their own, and what that does before any training."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metier.errors import MetierError
from metier.evaluation.intervals import ratio, ratio_difference
from metier.evaluation.retention import document_bits
from metier.files import explain_os_errors, sha256_file, write_dir, write_json
from metier.models.bases import resolve
from metier.models.device import choose_device, prepare_process
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer, no_bars
from metier.models.vocabulary import embedding_names, grow_vocabulary
from metier.run.texts import find_sources, tell_skipped
from metier.run.tokenizer import refuse_other_folder
from metier.tokenization import Term, add_terms, find_terms, given_terms
from metier.tokenization.terms import MAX_WORDS, MIN_COUNT

Say = Callable[[str], None]


def extend_base(
    name: str,
    places: Sequence[str],
    out: Path,
    *,
    column: str = "text",
    most: int = 1000,
    terms_file: Path | None = None,
    max_words: int = MAX_WORDS,
    min_count: int = MIN_COUNT,
    documents: int = 40,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    offline: bool = False,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Add terms to a base's vocabulary, write model and tokenizer to ``out``, and return what extension.json says.

    ``documents`` texts, drawn with ``seed``, are kept from the search for terms; on them tokens and bits per byte are
    measured before and after.

    Raises:
        MetierError: an unknown base, too few texts, no term that saves anything.
    """
    refuse_other_folder(out, "extension.json")
    sources = find_sources(places, column)
    tell_skipped(sources)
    learn, held_out = _split([text for source in sources for text in source.texts()], documents, seed)
    base = resolve(name, offline=offline)
    tokenizer = load_tokenizer(base.path)
    before = [len(tokenizer.encode(text, add_special_tokens=False)) for text in held_out]
    terms = add_terms(tokenizer, _terms(tokenizer, learn, terms_file, most, max_words, min_count))
    say(f"{len(terms)} terms; loading {base.name}")
    chosen = choose_device(device, dtype)
    prepare_process(chosen.device)
    model = load_model(base.path, dtype=chosen.torch_dtype, device=chosen.device)
    old_bits, sizes = document_bits(Runner(model), load_tokenizer(base.path), held_out)
    grow_vocabulary(model, {tokenizer.convert_tokens_to_ids(term.text): term.pieces for term in terms})
    say("measuring again")
    new_bits, _ = document_bits(Runner(model), tokenizer, held_out)
    after = [len(tokenizer.encode(text, add_special_tokens=False)) for text in held_out]
    record = {
        "base": base.to_json(),
        "device": chosen.to_json(),
        "terms": [{"text": term.text, "pieces": len(term.pieces), "count": term.count} for term in terms],
        "vocab_size": len(tokenizer),
        "documents": len(held_out),
        "tokens": {"before": sum(before), "after": sum(after)},
        "bits_per_byte": _bits(old_bits, new_bits, sizes, seed),
        "modules_to_save": embedding_names(model),
        "sources": [source.to_json() for source in sources],
    }
    with no_bars(), write_dir(out) as folder, explain_os_errors(folder):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        record["weights_sha256"] = {f.name: sha256_file(f) for f in sorted(folder.glob("*.safetensors"))}
        write_json(folder / "extension.json", record)
    return record


def _split(texts: list[str], documents: int, seed: int) -> tuple[list[str], list[str]]:
    if len(texts) < 2 * documents:
        raise MetierError(
            f"{len(texts)} texts are too few to keep {documents} of them for measuring",
            fix="give more texts, or fewer --documents",
        )
    held = set(random.Random(seed).sample(range(len(texts)), documents))
    return [t for i, t in enumerate(texts) if i not in held], [texts[i] for i in sorted(held)]


def _terms(
    tokenizer: Any, texts: list[str], terms_file: Path | None, most: int, max_words: int, min_count: int
) -> list[Term]:
    def encode(text: str) -> Sequence[int]:
        found: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return found

    if terms_file is not None:
        from metier.sources import read_table

        found = given_terms((str(row.values["text"]) for row in read_table(terms_file, format="txt")), encode)
        where, fix = str(terms_file), "list terms that the base cuts into several tokens, one a line"
    else:
        found = find_terms(texts, encode, most, max_words=max_words, min_count=min_count)
        where, fix = "the texts", f"give more text: a term must occur {min_count} times (--min-count)"
    if not found:
        raise MetierError("there is no term that the base cuts into several tokens", where=where, fix=fix)
    return found


def _bits(old: np.ndarray, new: np.ndarray, sizes: np.ndarray, seed: int) -> dict[str, Any]:
    """Bits per byte before and after, and the paired difference."""
    return {
        "before": ratio(old.tolist(), sizes.tolist(), seed=seed).to_json(),
        "after": ratio(new.tolist(), sizes.tolist(), seed=seed).to_json(),
        "difference": ratio_difference(new.tolist(), old.tolist(), sizes.tolist(), seed=seed).to_json(),
    }
