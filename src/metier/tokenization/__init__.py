"""Tokenizers: trained, their size chosen, compared, extended with the terms of a trade."""

from __future__ import annotations

from metier.tokenization.build import END, load_tokenizer_file, save_tokenizer
from metier.tokenization.compare import Counts, count_tokens
from metier.tokenization.size import Size, size_curve
from metier.tokenization.terms import Term, add_terms, find_terms, given_terms
from metier.tokenization.train import KINDS, Trained, train_tokenizer

__all__ = [
    "END",
    "KINDS",
    "Counts",
    "Size",
    "Term",
    "Trained",
    "add_terms",
    "count_tokens",
    "find_terms",
    "given_terms",
    "load_tokenizer_file",
    "save_tokenizer",
    "size_curve",
    "train_tokenizer",
]
