"""Byte-level BPE (Sennrich et al. 2016), trained by the tokenizers library."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, pre_tokenizers, trainers

from metier.tokenization.build import END, empty_bpe


def train_bpe(texts: Iterable[str], size: int) -> Tokenizer:
    """Merge the most frequent pairs until there are ``size`` tokens, or no pair occurs twice."""
    tokenizer = empty_bpe()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def cut_bpe(tokenizer: Tokenizer, size: int) -> Tokenizer:
    """The tokenizer that training would have given had it stopped at ``size``: merges are learnt one after another."""
    state = json.loads(tokenizer.to_str())
    vocabulary, merges = state["model"]["vocab"], []
    for left, right in state["model"]["merges"]:
        number = vocabulary[left + right]
        if number >= size:
            break
        merges.append([left, right])
        if number == size - 1:
            break
    state["model"]["vocab"] = {token: number for token, number in vocabulary.items() if number < size}
    state["model"]["merges"] = merges
    return Tokenizer.from_str(json.dumps(state))
