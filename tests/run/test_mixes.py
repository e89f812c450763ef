"""Three mixes of one shape: what mixing bought and cost, as evidence, in one sentence and on the page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metier.files import sha256_file
from metier.report import write_card, write_report
from metier.run import pretrain, run
from metier.run.mixes import answer
from tests.corpus.prose import prose
from tests.toy import make_base, write_table

Command = Callable[..., tuple[int, str, str]]
MIXES = "{general: {wiki: 1}, finance: {filings: 1}, mixed: {wiki: 0.49, filings: 0.51}}"


def write_recipe(folder: Path, mixes: str = MIXES, stop: str = "repeat") -> Path:
    path = folder / "mini.yaml"
    path.write_text(
        "name: mini\ncorpus:\n  sources:\n    - {name: wiki, path: wiki, domain: general}\n"
        "    - {name: filings, path: filings, domain: finance, licence: public}\n"
        "  tokenizer: base\n  hold_out: {share: 0.2}\n"
        "pretrain: {method: scratch, layers: 2, hidden: 32, heads: 4, sequence_length: 32, steps: 6, "
        f"batch_sequences: 4, micro_batch_tokens: 64, evaluate_every: 3, stop: {stop}, mixes: {mixes}}}\n"
        "dtype: float32\n",
        "utf-8",
    )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixes")
    for number, name in enumerate(("wiki", "filings")):
        (path / name).mkdir()
        for n in range(30):
            (path / name / f"{n}.txt").write_text(prose(1000 * number + n, 120), "utf-8")
    make_base(path / "base")
    return path


@pytest.fixture(scope="module")
def done(folder: Path) -> Path:
    return run(write_recipe(folder), out=folder / "out", data_root=folder)


def test_each_mix_is_measured_on_every_hold_out(done: Path) -> None:
    found = json.loads((done / "evidence" / "mixes.json").read_text("utf-8"))
    assert len(set(found["tokens"].values())) == 1
    for name in ("wiki", "filings"):
        entry = found["hold_outs"][name]
        for mix, change in entry["mixed_less"].items():
            values = entry["bits_per_byte"]
            assert change["value"] == pytest.approx(values["mixed"]["value"] - values[mix]["value"])
            assert change["low"] <= change["value"] <= change["high"]
    assert set(found["hold_outs"]["wiki"]["mixed_less"]) == {"general", "finance"}
    sources = json.loads((done / "mixes/general/manifest.json").read_text("utf-8"))["sources"]
    assert set(sources) == {"wiki"}


def test_the_page_and_the_cards_say_what_was_measured(done: Path, command: Command) -> None:
    found = json.loads((done / "evidence" / "mixes.json").read_text("utf-8"))
    page = (done / "report.html").read_text("utf-8")
    assert "What mixing bought and cost" in page
    assert f"{found['hold_outs']['wiki']['bits_per_byte']['mixed']['value']:.3f}" in page
    sources = json.loads((done / "mixes/mixed/manifest.json").read_text("utf-8"))["sources"]
    row = f'<td class="r">49.0\N{NO-BREAK SPACE}%</td><td class="r">{sources["wiki"]["tokens"]:,}</td>'
    assert f'{row}<td class="r">{sources["wiki"]["epochs"]:.2f}</td>' in page
    splits = [row["splits"] for row in json.loads((done / "ledger.json").read_text("utf-8"))["sources"].values()]
    for split, title in (("train", "to learn from"), ("held_out", "held out")):
        tokens, documents = (sum(one[split][key] for one in splits) for key in ("tokens", "documents"))
        assert f"{tokens:,} tokens of {documents} documents {title}" in page
    samples = json.loads((done / "evidence" / "samples.json").read_text("utf-8"))["samples"]
    assert len(samples) == 3
    assert "continued by the mixed model" in page
    assert "filings" in (done / "mixes/mixed/specialist/README.md").read_text("utf-8")
    (done / "report.html").unlink()
    assert command("report", done)[0] == 0
    assert (done / "report.html").read_text("utf-8") == page


def test_a_task_is_learnt_on_every_mix_and_on_the_base_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[str, str]] = []
    score = pretrain._Pretraining._score
    monkeypatch.setattr(
        pretrain._Pretraining,
        "_score",
        lambda work, system, model: (measured.append((work.path.name, system)), score(work, system, model))[1],
    )
    write_table(folder / "table.csv")
    path = write_recipe(folder)
    text = path.read_text("utf-8").replace("method: scratch, layers: 2, hidden: 32, heads: 4", "method: continue")
    path.write_text(
        f"{text}base: {folder / 'base'}\ntask: {{file: table.csv, text: sentence, label: mood}}\nretention: null\n"
        "adapt: {epochs: 1, batch_size: 16, learning_rate: 0.01}\nmeasure: {systems: [majority]}\n",
        "utf-8",
    )
    out = run(path, out=folder / "replay", data_root=folder)
    scores = json.loads((out / "evidence" / "scores.json").read_text("utf-8"))["table"]
    others = {"after-general", "after-finance", "after-nothing"}
    assert set(scores) == {"majority", "specialist", *others}
    assert others <= set(scores["specialist"]["against"])
    kept = [sha256_file(out / "beside" / name / "specialist" / "adapter_model.safetensors") for name in sorted(others)]
    assert len(set(kept)) == 3
    # the base is the same for every mix: measured once, taken over by the others
    mixes = ("general", "finance", "mixed")
    files = [out / "pretrained" / "mixes" / mix / "evidence" / "predictions" / "wiki.base.parquet" for mix in mixes]
    assert len({file.read_bytes() for file in files}) == 1
    assert measured == [("general", "base"), *((mix, "specialist") for mix in mixes)]
    page = (out / "report.html").read_text("utf-8")
    assert "Learnt after the mix general" in page
    assert "Learnt on the base as it was" in page


def test_weights_that_hold_outs_chose_are_told(done: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(done, copy)
    file = copy / "mixes" / "mixed" / "manifest.json"
    manifest = json.loads(file.read_text("utf-8"))
    for best in (6, 3):
        manifest["training"]["best_step"] = best
        file.write_text(json.dumps(manifest), "utf-8")
        page, card = write_report(copy).read_text("utf-8"), write_card(copy).read_text("utf-8")
        assert ("those of step 3 of 6" in page) is ("those of step 3 of 6" in card) is (best == 3)


def test_further_seeds_have_a_table_of_their_own(done: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(done, copy)
    shutil.copytree(copy / "mixes" / "mixed", copy / "mixes" / "mixed-seed1")
    file = copy / "evidence" / "mixes.json"
    found = {**json.loads(file.read_text("utf-8")), "seeds": [0, 1]}
    found["hold_outs"]["wiki"]["bits_per_byte"]["mixed"]["seeds"] = [7.125, 7.25]
    file.write_text(json.dumps(found), "utf-8")
    page = write_report(copy).read_text("utf-8")
    assert "Bits per byte with seeds 0, 1" in page
    assert "7.125, 7.250" in page
    assert '<th scope="col" class="r">mixed</th>' in page
    assert '<th scope="col" class="r">mixed-seed1</th>' not in page  # the first seed stands for all but cost
    assert "Bits per byte with seeds" not in (done / "report.html").read_text("utf-8")


def change(value: float, low: float | None, high: float | None, n: int = 50) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": n}


def test_the_sentence_follows_the_differences() -> None:
    entry = {"mixed_less": {"general": change(-0.2, -0.3, -0.1), "finance": change(0.1, 0.05, 0.2)}}
    told = answer({"domains": {"finance": entry}, "tokens": {"a": 5, "b": 5}})
    assert "bought 0.200 bits a byte against general alone (-0.200 [-0.300, -0.100])" in told
    assert "cost 0.100 bits a byte against finance alone" in told
    unsure = {"mixed_less": {"general": change(-0.2, -0.3, 0.1)}}
    told = answer({"domains": {"general": unsure}, "tokens": {"a": 5, "b": 6}})
    assert "no difference beyond chance" in told
    assert "not learn from the same number" in told
    few = {"mixed_less": {"general": change(-0.2, -0.3, -0.1, n=2)}}
    assert "(-0.200 [-0.300, -0.100]; only 2 documents)" in answer({"domains": {"wiki": few}, "tokens": {"a": 5}})


@pytest.mark.parametrize(
    ("mixes", "stop", "told"),
    [
        ("{general: {wiki: 1}, finance: {filings: 1}}", "repeat", "named 'mixed'"),
        (MIXES, "first-exhausted", "the same tokens"),
        ("{mixed: {wiki: 1, pages: 1}, general: {wiki: 1}}", "repeat", "weighs pages"),
    ],
)
def test_mixes_that_cannot_be_compared_are_refused(
    mixes: str, stop: str, told: str, folder: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    path = write_recipe(tmp_path, mixes, stop)
    for name in ("wiki", "filings", "base"):
        (tmp_path / name).symlink_to(folder / name)
    code, _, err = command("run", path, "--out", tmp_path / "out")
    assert code == 2
    assert told in err
