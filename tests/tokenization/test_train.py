"""All kinds: nothing is lost, nothing changes from process to process, sizes are what was asked for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from metier.errors import MetierError
from metier.tokenization import END, KINDS, load_tokenizer_file, save_tokenizer, size_curve, train_tokenizer
from metier.tokenization.merge import Model, cut, merge
from metier.tokenization.words import RULE
from tests.tokenization.corpus import texts

SIZE = 420


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    return {kind: train_tokenizer(texts(), kind, SIZE, part_bytes=4000).at(SIZE) for kind in KINDS}


@given(st.text(max_size=80))
@settings(deadline=None, max_examples=100)
def test_every_text_comes_back(tokenizers: dict[str, Tokenizer], text: str) -> None:
    for tokenizer in tokenizers.values():
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


@given(st.text(alphabet=" aAzZ09\n.,é利\x00\U0001f600", max_size=80))
@settings(deadline=None, max_examples=150)
def test_no_token_crosses_the_chunks_of_the_rule(tokenizers: dict[str, Tokenizer], text: str) -> None:
    for kind in ("unigram", "unigram-split"):
        encoding = tokenizers[kind].encode(text)
        ends = {0, *(match.end() for match in re.finditer(RULE, text))}
        assert {end for _, end in encoding.offsets} | {0} >= ends


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_it(tokenizers: dict[str, Tokenizer], kind: str, tmp_path: Path) -> None:
    save_tokenizer(tokenizers[kind], tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert len(loaded) == SIZE
    assert loaded.eos_token == loaded.bos_token == loaded.pad_token == END
    assert loaded.eos_token_id == loaded.bos_token_id == loaded.pad_token_id == 0
    text = "net  income , rose in 12 % . Société 利率"
    ids = loaded.encode(text, add_special_tokens=False)
    assert ids == tokenizers[kind].encode(text).ids
    assert loaded.decode(ids) == text
    assert load_tokenizer_file(tmp_path).to_str() == Tokenizer.from_file(str(tmp_path / "tokenizer.json")).to_str()


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_write_the_same_bytes(kind: str, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from metier.tokenization import train_tokenizer\n"
        "from tests.tokenization.corpus import texts\n"
        f"trained = train_tokenizer(texts(), {kind!r}, {SIZE}, part_bytes=4000)\n"
        f"Path(sys.argv[1]).write_text(trained.at({SIZE}).to_str(), encoding='utf-8')\n"
    )
    for seed, threads in (("1", "true"), ("2", "true")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": threads}
        subprocess.run([sys.executable, "-c", code, tmp_path / seed], env=environment, check=True)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_cut_bpe_is_the_one_trained_to_that_size() -> None:
    large = train_tokenizer(texts(), "bpe", SIZE)
    for size in (257, 300, 419):
        assert large.at(size).to_str() == train_tokenizer(texts(), "bpe", size).at(size).to_str()


def test_parts_with_too_few_pieces_are_no_lack_of_text() -> None:
    with pytest.raises(MetierError) as caught:
        train_tokenizer(texts(60), "unigram-split", 600, part_bytes=100_000, part_size=300)
    assert caught.value.fix == "ask for fewer, or for parts of more pieces than 300 (part_size)"


@pytest.mark.parametrize("kind", KINDS)
def test_a_size_that_the_text_does_not_support_says_the_largest(kind: str) -> None:
    some = texts(60)
    with pytest.raises(MetierError, match="largest possible is") as caught:
        train_tokenizer(some, kind, 50_000)
    largest = int(re.search(r"largest possible is (\d+)", caught.value.what)[1])
    trained = train_tokenizer(some, kind, largest)
    assert trained.at(largest).get_vocab_size() == largest
    with pytest.raises(MetierError, match="largest possible"):
        trained.at(trained.largest + 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nothing", [[], [""]])
def test_no_text(kind: str, nothing: list[str]) -> None:
    with pytest.raises(MetierError, match="no text"):
        train_tokenizer(nothing, kind, 300)


def test_unknown_kinds_and_sizes_too_small() -> None:
    with pytest.raises(MetierError, match="no kind of tokenizer 'unigrm'") as caught:
        train_tokenizer(["text"], "unigrm", 300)
    assert "unigram" in (caught.value.fix or "")
    with pytest.raises(MetierError, match="no room for the 256 bytes"):
        train_tokenizer(["text"], "bpe", 256)


models = st.lists(
    st.builds(
        Model,
        st.dictionaries(st.binary(min_size=1, max_size=3), st.floats(1e-6, 1), min_size=1, max_size=6),
        st.integers(1, 10**9),
    ),
    min_size=2,
    max_size=7,
)


@given(models, st.integers(1, 6))
def test_merging_in_steps_is_merging_at_once(some: list[Model], first: int) -> None:
    flat = merge(some)
    stepwise = merge([merge(some[:first]), *([merge(some[first:])] if some[first:] else [])])
    assert stepwise.weight == flat.weight
    assert stepwise.chances == pytest.approx(flat.chances)


def test_merging_weighs_by_bytes() -> None:
    merged = merge([Model({b"a": 0.5, b"ab": 0.5}, 300), Model({b"a": 1.0}, 100)])
    assert merged.chances == pytest.approx({b"a": 0.625, b"ab": 0.375})


def test_cutting_keeps_all_bytes_and_the_likeliest() -> None:
    chances = {b"a": 0.1, b"ab": 0.3, b"abc": 0.2, b"xy": 0.4}
    kept = cut(chances, 259)
    assert len(kept) == 258
    assert {piece for piece in kept if len(piece) > 1} == {b"ab", b"xy"}
    assert sum(kept.values()) == pytest.approx(1)
    assert kept[b"\x00"] == min(kept.values()) > 0


def test_texts_are_read_part_by_part() -> None:
    alive = []

    def stream() -> Iterator[str]:
        for text in texts(300):
            alive.append(len(text.encode()))
            yield text

    seen = []
    train_tokenizer(stream(), "unigram-split", 300, part_bytes=3000, progress=lambda n: seen.append((n, sum(alive))))
    assert len(seen) > 3
    assert seen[0][1] == seen[0][0]  # the second part is not begun before the first is done
    assert sum(n for n, _ in seen) == sum(alive)


def test_size_by_tokens_times_log2() -> None:
    trained = train_tokenizer(texts(), "bpe", SIZE)
    curve = size_curve(trained.at, [SIZE, 300], texts(50, seed=9))
    assert [one.vocabulary for one in curve] == [300, SIZE]
    assert curve[0].tokens > curve[1].tokens
    tokens = sum(len(trained.at(300).encode(text).ids) for text in texts(50, seed=9))
    assert curve[0].tokens == tokens
    assert curve[0].bits == pytest.approx(tokens * 8.2288187)


@pytest.mark.parametrize("content", ["", "{half", "[]", '{"model": {}}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(MetierError, match="cannot be read") as caught:
        load_tokenizer_file(tmp_path)
    assert "tokenizer.json" in (caught.value.where or "")
