from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from metier.tokenization import count_tokens, load_tokenizer_file, train_tokenizer
from tests.tokenization.corpus import texts


def test_counts_by_hand(toy_base: Path) -> None:
    tokenizer = load_tokenizer_file(toy_base)
    counts = count_tokens(tokenizer, ["profit rose", "語", ""])
    assert counts.words.tolist() == [2, 1, 0]
    assert counts.bytes.tolist() == [11, 3, 0]
    assert counts.tokens.tolist() == [
        len(tokenizer.encode(t, add_special_tokens=False).ids) for t in ("profit rose", "語", "")
    ]
    assert counts.stray.tolist() == [0, 3, 0]  # no token of the toy holds a whole character beyond ASCII


def test_a_character_that_is_learnt_is_not_stray() -> None:
    tokenizer = train_tokenizer(texts(), "bpe", 420).at(420)
    assert count_tokens(tokenizer, ["利率"]).stray.sum() == 0
    assert count_tokens(tokenizer, ["漢"]).stray.sum() > 0


def test_unknown_words_and_byte_fallback() -> None:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    assert count_tokens(words, ["a b a"]).stray.tolist() == [1]
    vocabulary = {"<unk>": 0, "a": 1, **{f"<0x{byte:02X}>": 2 + byte for byte in range(256)}}
    bytes_too = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    bytes_too.decoder = decoders.ByteFallback()
    assert count_tokens(bytes_too, ["aé"]).stray.tolist() == [2]
