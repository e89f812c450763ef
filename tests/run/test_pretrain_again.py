"""A pretraining that is started again: what only looks at it is no other training, and a tokenizer is checked first."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from metier.errors import MetierError
from metier.models.device import Device
from metier.recipe.pretrain import Pretrain
from metier.run import pretrain as module
from metier.run import pretrain_again
from metier.run.pretrain import Corpus, pretrain
from metier.run.pretrain_tokenizer import learnable
from metier.training.loop import Progress
from tests.run.test_pretrain import CONTINUE, SCRATCH, write
from tests.toy import make_base, sentences, write_tokenizer

Command = Callable[..., tuple[int, str, str]]
Start = Callable[..., list[int]]


class KilledError(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    tokenizer = write_tokenizer(folder / "tokenizer")
    texts = [text for text, _ in sentences(120, seed=1)]
    return Corpus(
        sources={"news": write(folder / "train", tokenizer, texts[:100])},
        weights=None,
        hold_outs={"news": write(folder / "held", tokenizer, texts[100:])},
        tokenizer=folder / "tokenizer",
    )


@pytest.fixture
def start(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Pretrain in one folder; gives the steps that were taken now."""
    real = module.train

    def begin(dtype: str = "float32", kill: int = 0, **fields: Any) -> list[int]:
        steps: list[int] = []

        def train(*arguments: Any, report: Any, **more: Any) -> Progress:
            def told(progress: Progress, *rest: Any) -> None:
                steps.append(progress.step)
                report(progress, *rest)
                if progress.step == kill:
                    raise KilledError

            return real(*arguments, report=told, **more)

        monkeypatch.setattr(module, "train", train)
        choice = Pretrain(**{**SCRATCH, "stop": "repeat", **fields})
        with pytest.raises(KilledError) if kill else contextlib.nullcontext():
            pretrain(choice, corpus, tmp_path / "run", dtype=dtype)
        return steps

    return begin


def test_a_training_is_the_same_by_however_many_processes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    assert start()
    monkeypatch.setattr(module.distributed, "world_size", lambda: 2)
    assert start() == []


@pytest.mark.parametrize("change", [{"evaluate_every": 2}, {"evaluate_tokens": 50}, {"checkpoint_every": 1}])
def test_a_field_that_only_looks_takes_no_step_back(start: Start, change: dict[str, Any]) -> None:
    assert start(kill=7) == list(range(1, 8))
    assert start(kill=9, **change) == [7, 8, 9]
    assert start(**change)[-1] == 12
    assert start() == []
    assert start(**change) == []


def test_a_run_of_a_version_that_did_not_record_its_looks_goes_on(start: Start, tmp_path: Path) -> None:
    start(kill=7)
    file = tmp_path / "run" / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["first_looks"]
    file.write_text(json.dumps(manifest))
    assert start(evaluate_every=2)[0] == 7


def test_another_training_is_told_before_the_checkpoints_go(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    start(kill=7)
    capsys.readouterr()
    assert start(learning_rate=0.02)[0] == 1
    assert "up to step-000006" in " ".join("".join(capsys.readouterr()).split())


def test_the_number_format_is_that_of_the_first_start(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    probed = Device("cpu", "float32", "measured", 1, "a processor", 16.0, 100.0)

    def probe(device: str, dtype: str) -> Device:
        return replace(probed, dtype=probed.dtype if dtype == "auto" else dtype)

    monkeypatch.setattr(pretrain_again, "choose_device", probe)
    start(dtype="auto", kill=7)
    probed = replace(probed, dtype="bfloat16")
    assert start(dtype="auto", kill=9)[0] == 7
    assert start(dtype="bfloat16", kill=9)[0] == 1


def test_a_source_that_may_not_run_out_is_counted_before(start: Start, tmp_path: Path) -> None:
    with pytest.raises(MetierError, match=r"news after 1 of \d+\.\d+ epochs") as error:
        start(stop="error", steps=500)
    assert error.value.where == "recipe, pretrain.stop"
    assert not (tmp_path / "run" / "checkpoints").exists()


def with_tokens_swapped(folder: Path, one: str, other: str) -> Path:
    file = folder / "tokenizer.json"
    found = json.loads(file.read_text("utf-8"))
    vocab = found["model"]["vocab"]
    vocab[one], vocab[other] = vocab[other], vocab[one]
    file.write_text(json.dumps(found), "utf-8")
    return folder


def test_a_base_is_continued_with_its_own_tokens_only(corpus: Corpus, tmp_path: Path) -> None:
    file = corpus.tokenizer / "tokenizer.json"
    more = make_base(tmp_path / "more")
    grown = AutoTokenizer.from_pretrained(more)
    grown.add_tokens(["EBITDA"])
    grown.save_pretrained(more)
    assert learnable(file, more) is not None
    other = with_tokens_swapped(make_base(tmp_path / "other"), "Ġin", "Ġthe")
    with pytest.raises(MetierError, match=r"not the base's: 2 of \d+ tokens, such as 'Ġin'") as error:
        pretrain(Pretrain(**CONTINUE), corpus, tmp_path / "run", base=other, dtype="float32")
    assert error.value.where == "recipe, corpus.tokenizer"
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_bare_tokenizer_is_told_with_what_it_lacks(corpus: Corpus, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_bytes((corpus.tokenizer / "tokenizer.json").read_bytes())
    with pytest.raises(MetierError, match="no end token") as error:
        learnable(file, None)
    says = '{"eos_token": "<|endoftext|>"}'
    assert says in str(error.value)
    (tmp_path / "tokenizer_config.json").write_text(says)
    assert learnable(file, None).eos_token == "<|endoftext|>"
    with pytest.raises(MetierError, match=r"by the name of tokenizer\.json"):
        learnable(file.rename(tmp_path / "small.json"), None)


def test_tokenizers_are_checked_before_anything_is_curated(tmp_path: Path, command: Command) -> None:
    (tmp_path / "a.txt").write_text("Profit rose. " * 40, "utf-8")
    make_base(tmp_path / "base")
    with_tokens_swapped(make_base(tmp_path / "own"), "Ġin", "Ġthe")
    recipe = tmp_path / "r.yaml"
    text = "name: bank\nbase: {0}/base\ncorpus: {{sources: [a.txt], tokenizer: {1}}}\npretrain: {{{2}, tokens: 9000}}\n"
    recipe.write_text(text.format(tmp_path, "own", "method: continue"))
    code, _, told = command("run", recipe, "--out", tmp_path / "run")
    assert code == 2
    assert "not the base's" in told
    (tmp_path / "tokenizer.json").write_bytes((tmp_path / "base" / "tokenizer.json").read_bytes())
    recipe.write_text(text.format(tmp_path, "tokenizer.json", "method: scratch, layers: 1, hidden: 16, heads: 2"))
    code, _, told = command("validate", recipe)
    assert code == 2
    assert "no end token" in told
    assert not (tmp_path / "run" / "corpus").exists()
