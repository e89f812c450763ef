"""``metier curate`` from recipe to ledger, on texts made in the test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from metier.corpus import Mixture, TokenShards
from metier.run.curate import curate
from tests.corpus.prose import prose

QUESTION = (
    "A 34-year-old woman comes to the clinic with two weeks of fever, a dry cough and pain in both knees; "
    "which of the following organisms is the most likely cause of her present illness?"
)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tokenizer(tmp_path)


def write_tokenizer(folder: Path) -> None:
    """A token for each byte, and the end of text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: n for n, character in enumerate(alphabet)} | {"<|endoftext|>": len(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))


def recipe(path: Path, more: str = "", sources: str = "[speeches]") -> Path:
    path.write_text(f"name: bank\ncorpus:\n  sources: {sources}\n  tokenizer: tokenizer.json\n{more}", "utf-8")
    return path


def speeches(folder: Path, count: int = 40) -> None:
    folder.mkdir(exist_ok=True)
    for n in range(count):
        (folder / f"20{n % 20:02d}-03-01-{n}.txt").write_text(prose(n, 120), "utf-8")


def run(path: Path, **options: Any) -> dict[str, Any]:
    return curate(path, processes=1, **options).ledger


def test_a_folder_and_four_lines_become_shards_and_a_ledger_that_adds_up(tmp_path: Path, command: Command) -> None:
    speeches(tmp_path / "speeches")
    (tmp_path / "speeches" / "again.txt").write_text(prose(3, 120), "utf-8")
    (tmp_path / "speeches" / "near.txt").write_text(prose(4, 120) + " And one more sentence.", "utf-8")
    (tmp_path / "speeches" / "german.txt").write_text(GERMAN, "utf-8")
    (tmp_path / "speeches" / "binary.txt").write_bytes(b"\x00\x01\x02" * 50)
    (tmp_path / "speeches" / "person.txt").write_text(prose(77, 120) + " Write to jane@bank.org.", "utf-8")
    code, printed, _ = command("curate", recipe(tmp_path / "r.yaml"), "--processes", 1)
    assert code == 0
    ledger = json.loads((tmp_path / "runs/bank/ledger.json").read_text())
    row = ledger["sources"]["speeches"]
    assert row["dropped"] == {"exact duplicate": 1, "language: not en": 1, "near duplicate": 1, "not text": 1}
    assert row["read"]["documents"] == 45
    assert row["documents"] == 41
    assert row["replaced"] == {"EMAIL": 1}
    assert (row["domain"], row["licence"], row["redistributable"]) == ("bank", "unknown", None)
    assert (row["first"], row["last"]) == ("2000-03-01", "2019-03-01")
    recount(tmp_path / "runs/bank/corpus", ledger)
    card = (tmp_path / "runs/bank/corpus/README.md").read_text("utf-8")
    share, day = "100.00\N{NO-BREAK SPACE}%", "2000-03-01 to 2019-03-01"
    each = f"{row['characters_per_token']:.2f} | {row['tokens']:,} | {share} | {day} | unknown | unknown |"
    assert f"| speeches | 41 | {row['bytes']:,} | {each}" in card
    dropped = "exact duplicate 1, language: not en 1, near duplicate 1, not text 1"
    assert f"| speeches | 45 | 41 | {dropped} | EMAIL 1 |" in card
    for said in ("speeches", "41", "exact duplicate 1", "EMAIL 1"):
        assert said in printed
    samples = [json.loads(line) for line in (tmp_path / "runs/bank/corpus/dropped.jsonl").read_text().splitlines()]
    assert sorted(one["reason"] for one in samples) == sorted(row["dropped"])  # of every drop one is shown
    near = next(one for one in samples if one["reason"] == "near duplicate")
    kept = {"speeches/near.txt#0": "2004-03-01-4.txt", "speeches/2004-03-01-4.txt#0": "near.txt"}
    assert near["detail"] == f"kept in its place: speeches/{kept[near['id']]}#0, of speeches"
    assert prose(4, 120)[:50] in near["text"]
    everything = b"".join(path.read_bytes() for path in (tmp_path / "runs").rglob("*.json*"))
    assert b"jane@bank" not in everything


def recount(corpus: Path, ledger: dict[str, Any]) -> None:
    """Every figure of the ledger, counted again from the shards: this tokenizer makes a token of every byte."""
    for name, row in ledger["sources"].items():
        tokens = documents = size = 0
        for split, counted in row["splits"].items():
            shards = TokenShards.open(corpus / "tokens" / split / name)
            assert (counted["tokens"], counted["documents"]) == (shards.tokens, shards.documents)
            assert counted["bytes"] == shards.bytes.sum() == shards.tokens - shards.documents
            tokens, documents, size = (
                tokens + shards.tokens,
                documents + shards.documents,
                size + int(shards.bytes.sum()),
            )
        assert (row["tokens"], row["documents"], row["bytes"]) == (tokens, documents, size)
        assert row["read"]["documents"] == documents + sum(row["dropped"].values())
    assert ledger["total"]["tokens"] == sum(row["tokens"] for row in ledger["sources"].values())
    assert sum(row["share"] for row in ledger["sources"].values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("steps", [None, 40])
def test_weights_and_epochs_of_the_sources_are_shown(tmp_path: Path, command: Command, steps: int | None) -> None:
    for name, count in (("speeches", 30), ("general", 12)):
        speeches(tmp_path / name, count)
        (tmp_path / name / "own.txt").write_text(prose(len(name) * 1000, 90), "utf-8")
    more = "  hold_out: {share: 0}\n  weights: {speeches: 3, general: 1}\n"
    if steps:
        more += "pretrain: {method: scratch, layers: 1, hidden: 16, heads: 2, sequence_length: 64, batch_sequences: 4, "
        more += f"steps: {steps}, stop: repeat}}\n"
    code, printed, err = command("curate", recipe(tmp_path / "r.yaml", more, "[general, speeches]"), "--processes", 1)
    assert code == 0, err
    found = json.loads((tmp_path / "runs/bank/ledger.json").read_text())["mixture"]["mixed"]
    assert {name: one["weight"] for name, one in found.items()} == {"general": 0.25, "speeches": 0.75}
    epochs = "–"
    if steps:  # 160 sequences, three of four from the speeches
        sizes = {name: (one["tokens"] - 1) // 64 for name, one in found.items()}
        assert found["speeches"]["epochs"] == pytest.approx(120 / sizes["speeches"], rel=0.15)
        epochs = f"{found['speeches']['epochs']:.2f}"
    rows = [line.split() for line in printed.splitlines() if line.startswith("speeches")]
    assert ["speeches", "75.0%", f"{found['speeches']['tokens']:,}", epochs] in rows


def test_unchanged_inputs_are_not_done_again_and_changes_are_told(tmp_path: Path) -> None:
    speeches(tmp_path / "speeches")
    path = recipe(tmp_path / "r.yaml")
    first = curate(path, processes=1)
    before = contents(first.folder / "tokens")
    again = curate(path, processes=1)
    assert (again.done, again.changes) == (0, [])
    assert contents(first.folder / "tokens") == before
    file = tmp_path / "speeches" / "2005-03-01-5.txt"
    file.write_text(prose(5, 60), "utf-8")
    third = curate(path, processes=1)
    assert third.done > 0
    assert len(third.changes) == 1
    assert "2005-03-01-5.txt shrank" in third.changes[0]
    assert third.ledger["changes"] == third.changes
    file.unlink()
    assert "is gone" in curate(path, processes=1).changes[0]


def test_posts_that_are_added_are_read_offline_too(tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    for number in range(2):
        (tmp_path / "exports" / f"{number}.jsonl").write_text(json.dumps({"text": prose(number, 120)}) + "\n", "utf-8")
        found = run(recipe(tmp_path / "r.yaml", sources='["posts:exports"]'), offline=True)
        assert found["total"]["read"]["documents"] == number + 1


def test_a_folder_of_posts_is_looked_for_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "there" / "exports").mkdir(parents=True)
    (tmp_path / "there" / "exports" / "a.csv").write_text(f"body\n{prose(1, 120)}\n", "utf-8")
    found = run(recipe(tmp_path / "there" / "r.yaml", sources='["posts:exports?text=body"]'))
    assert found["total"]["read"]["documents"] == 1


def test_items_of_a_filing_are_held_out_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The documents of ``edgar:`` are items of filings, which name the filing as their source."""

    def collected(path: str, target: Path, **_: Any) -> None:
        rows = [
            {"id": f"{n}:{item}", "text": prose(10 * n + item, 120), "source": f"https://example.com/{n}", "date": None}
            for n in range(12)
            for item in range(4)
        ]
        target.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")

    monkeypatch.setattr("metier.run.corpus_sources.collect", collected)
    sources = '[{name: filings, path: "edgar:AAPL/10-K"}]'
    found = run(recipe(tmp_path / "r.yaml", "  hold_out: {share: 0.5}\n", sources))
    held_out = found["sources"]["filings"]["splits"]["held_out"]["documents"]
    assert 0 < held_out < 48
    assert held_out % 4 == 0


def test_of_many_changes_a_few_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speeches(tmp_path / "speeches", 13)
    run(recipe(tmp_path / "r.yaml"))
    for file in (tmp_path / "speeches").glob("*.txt"):
        file.write_text(file.read_text("utf-8") + " And so on [sic].", "utf-8")
    capsys.readouterr()
    changes = run(recipe(tmp_path / "r.yaml"))["changes"]
    printed = capsys.readouterr().err
    assert len(changes) == 13
    assert printed.count(" bytes") == 10
    assert "and 3 more: see changes in ledger.json" in printed


def test_files_of_a_folder_that_are_not_read_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speeches(tmp_path / "speeches")
    (tmp_path / "speeches" / "minutes.docx").write_bytes(b"PK")
    (tmp_path / "speeches" / ".index").write_bytes(b"hidden")
    ledger = run(recipe(tmp_path / "r.yaml"))
    note = "speeches: 1 file of a format that is not read is left out (.docx)"
    assert ledger["notes"] == [note]
    assert note in capsys.readouterr().err


def test_links_that_lead_to_no_file_are_told(tmp_path: Path, command: Command) -> None:
    speeches(tmp_path / "speeches")
    (tmp_path / "speeches" / "fetched-later.txt").symlink_to("nowhere")
    (tmp_path / "speeches" / "older").symlink_to(tmp_path)
    (tmp_path / "speeches" / ".hidden.txt").symlink_to("nowhere")
    ledger = run(recipe(tmp_path / "r.yaml"))
    note = "links to folders or to nothing are not followed: 2 (fetched-later.txt, older)"
    assert ledger["notes"] == [f"speeches: {note}"]
    for file in (tmp_path / "speeches").glob("20*"):
        file.unlink()
    code, _, told = command("curate", tmp_path / "r.yaml")
    assert code == 2
    assert f"holds no file to read: nothing; {note}" in told


def test_another_source_leaves_the_first_as_it_is(tmp_path: Path) -> None:
    speeches(tmp_path / "speeches")
    curate(recipe(tmp_path / "r.yaml"), processes=1)
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps({"text": prose(f"n{n}")}) + "\n" for n in range(20)))
    found = curate(recipe(tmp_path / "r.yaml", sources="[speeches, notes.jsonl]"), processes=1)
    assert found.changes == ["notes is a new source"]
    assert found.done == 4  # two parts of the new source, duplicates, its tokens
    assert list(found.ledger["sources"]) == ["speeches", "notes"]


def test_a_damaged_shard_is_made_again(tmp_path: Path) -> None:
    speeches(tmp_path / "speeches")
    path = recipe(tmp_path / "r.yaml")
    folder = curate(path, processes=1).folder / "tokens"
    before = contents(folder)
    shard = folder / "train" / "speeches" / "tokens-00000.bin"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    assert curate(path, processes=1).done == 1
    assert contents(folder) == before


def test_a_run_that_is_stopped_anywhere_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeches(tmp_path / "speeches")
    path = recipe(tmp_path / "r.yaml")
    whole = contents(curate(path, processes=1, out=tmp_path / "whole").folder / "tokens")
    from metier.corpus import work

    units = {name: getattr(work.Work, name) for name in ("clean", "deduplicate", "pack", "assemble")}
    for stop in range(6):
        left = [stop]

        def counting(function: Any, left: list[int] = left) -> Any:
            def unit(*arguments: Any) -> Any:
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
                return function(*arguments)

            return unit

        for name, function in units.items():
            monkeypatch.setattr(work.Work, name, counting(function))
        with pytest.raises(KeyboardInterrupt):
            curate(path, processes=1, out=tmp_path / f"stopped{stop}")
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        assert contents(curate(path, processes=1, out=tmp_path / f"stopped{stop}").folder / "tokens") == whole


def test_several_processes_give_the_same_bytes(tmp_path: Path) -> None:
    speeches(tmp_path / "speeches")
    path = recipe(tmp_path / "r.yaml")
    one = curate(path, processes=1, out=tmp_path / "one").folder / "tokens"
    assert contents(one) == contents(curate(path, processes=2, out=tmp_path / "two").folder / "tokens")


def test_held_out_by_group_and_by_day(tmp_path: Path) -> None:
    rows = [{"text": prose(n, 60), "date": f"20{n % 30:02d}-06-30", "company": f"c{n // 3}"} for n in range(120)]
    (tmp_path / "filings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = "[{path: filings.jsonl, group: company}]"
    more = "  hold_out: {share: 0.2, after: 2025-01-01}\n  world_size: 3\n"
    found = curate(recipe(tmp_path / "r.yaml", more, source), processes=1)
    splits = found.ledger["sources"]["filings"]["splits"]
    assert splits["later"]["documents"] == sum(row["date"] >= "2025" for row in rows)
    assert splits["later"]["first"] >= "2025-01-01" > splits["train"]["last"]
    companies = {
        split: {
            rows[int(id.split("#")[1])]["company"]
            for id in TokenShards.open(found.folder / "tokens" / split / "filings").ids()
        }
        for split in ("train", "held_out")
    }
    assert companies["held_out"]
    assert not companies["train"] & companies["held_out"]


def test_questions_of_the_recipes_task_are_cut_and_counted(tmp_path: Path, command: Command) -> None:
    speeches(tmp_path / "speeches", 10)
    (tmp_path / "speeches" / "leak.txt").write_text(f"{prose(90, 150)} {QUESTION} {prose(91, 150)}", "utf-8")
    (tmp_path / "exam.csv").write_text(f'text,label\n"{QUESTION}",a\n"{prose(1000, 20)}",b\n', "utf-8")
    more = "task: {name: exam, file: exam.csv}\nretention: null\n"
    printed = command("curate", recipe(tmp_path / "r.yaml", more), "--processes", 1)[1]
    assert "(2 texts): 120 characters 1, 13 words 1, documents 1, questions 1, whole question 1" in printed
    ledger = json.loads((tmp_path / "runs/bank/ledger.json").read_text("utf-8"))
    assert ledger["evaluation_texts"] == {"exam": 2}
    assert ledger["sources"]["speeches"]["overlap"]["exam"]["whole question"] == 1
    assert "| speeches | exam | 2 | 1 | 1 |" in (tmp_path / "runs/bank/corpus/README.md").read_text("utf-8")
    shards = TokenShards.open(tmp_path / "runs/bank/corpus/tokens/train/speeches")
    text = Tokenizer.from_file("tokenizer.json")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    assert len(alphabet) == 256
    spelled = "".join(text.id_to_token(int(i)) for i in shards.read(0, shards.tokens))
    assert "knees" not in spelled
    assert "committee" in spelled


def test_a_special_token_spelled_in_a_text_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(1, 80) + " <|endoftext|> " + prose(2, 80), "utf-8")
    run(recipe(tmp_path / "r.yaml", "  hold_out: {share: 0}\n", "[a.txt]"))
    shards = TokenShards.open(tmp_path / "runs/bank/corpus/tokens/train/a")
    assert (shards.read(0, shards.tokens) == shards.index["end_token"]).sum() == 1


def test_domains_have_subtotals_and_the_mixture_reads_the_shards(tmp_path: Path, command: Command) -> None:
    speeches(tmp_path / "speeches")
    speeches(tmp_path / "general", 0)
    for n in range(30):
        (tmp_path / "general" / f"{n}.txt").write_text(prose(f"g{n}", 200), "utf-8")
    sources = (
        "[{path: speeches, domain: finance, licence: public | own, redistributable: true}, "
        "{path: general, domain: general}]"
    )
    more = "  weights: {speeches: 0.25, general: 0.75}\n"
    code, printed, _ = command("curate", recipe(tmp_path / "r.yaml", more, sources), "--processes", 1, "--json")
    assert code == 0
    ledger = json.loads(printed)
    assert set(ledger["domains"]) == {"finance", "general"}
    card = (tmp_path / "runs/bank/corpus/README.md").read_text("utf-8")
    assert "| public \\| own | yes |" in card  # no cell more
    assert ledger["domains"]["finance"]["tokens"] == ledger["sources"]["speeches"]["tokens"]
    folder = tmp_path / "runs/bank/corpus/tokens/train"
    mixture = Mixture({name: TokenShards.open(folder / name) for name in ledger["weights"]}, ledger["weights"], 64, 0)
    assert mixture.sequences
    assert 0 < mixture.epochs(mixture.sequences)["speeches"] <= 1


GERMAN = (
    "Die Zentralbank hat den Leitzins nach langer Beratung erhöht, weil die Teuerung stärker gestiegen ist, als "
    "die meisten Beobachter erwartet hatten, und weil die Löhne in vielen Branchen deutlich zugelegt haben. "
) * 3


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: (folder / "a.txt").write_bytes(b"\x00\x01" * 99), "1 not text"),
        (lambda folder: (folder / "a.txt").write_text(""), "1 empty"),
        (lambda folder: (folder / "a.txt").write_text(GERMAN), "1 language: not en"),
        (lambda folder: (folder / "a.txt").write_text("Too few words to keep."), "1 gopher: too few words"),
        (lambda folder: (folder / "a.docx").write_text("x"), "holds no file to read"),
    ],
)
def test_nothing_left_is_an_error_that_says_why(
    tmp_path: Path, command: Command, make: Callable[[Path], object], says: str
) -> None:
    (tmp_path / "speeches").mkdir()
    make(tmp_path / "speeches")
    code, _, told = command("curate", recipe(tmp_path / "r.yaml", "  language: en\n"), "--processes", 1)
    assert code == 2
    assert says in told
    assert not (tmp_path / "runs/bank/ledger.json").exists()


def test_all_duplicates_leave_one(tmp_path: Path) -> None:
    (tmp_path / "speeches").mkdir()
    for n in range(9):
        (tmp_path / "speeches" / f"{n}.txt").write_text(prose(1), "utf-8")
    row = run(recipe(tmp_path / "r.yaml", "  hold_out: {share: 0}\n"))["sources"]["speeches"]
    assert (row["documents"], row["dropped"]) == (1, {"exact duplicate": 8})


@pytest.mark.parametrize(
    ("more", "sources", "says"),
    [
        ("", "[speches]", "did you mean 'speeches'"),
        ("  weights: {speech: 1}\n", "[speeches]", "weights and sources differ"),
        ("  tokenizr: x\n", "[speeches]", "did you mean 'tokenizer'"),
        ("  hold_out: {after: 1990-01-01, share: 0}\n", "[speeches]", "every document is held out"),
        ("", "[speeches, speeches]", "two sources are named 'speeches'"),
        ("", "[{path: speeches, encoding: latin-0}]", "the source 'speeches', encoding"),
        ("", "[{path: speeches, encoding: base64}]", "unknown encoding 'base64'"),
        ("  language: english\n", "[speeches]", "there is no language 'english'"),
    ],
)
def test_mistakes_in_the_recipe(tmp_path: Path, command: Command, more: str, sources: str, says: str) -> None:
    speeches(tmp_path / "speeches", 4)
    code, _, told = command("curate", recipe(tmp_path / "r.yaml", more, sources), "--processes", 1)
    assert code == 2
    assert says in told


def test_held_out_and_dropped_are_told_apart(tmp_path: Path, command: Command) -> None:
    speeches(tmp_path / "speeches", 4)
    (tmp_path / "speeches" / "german.txt").write_text(GERMAN, "utf-8")
    path = recipe(tmp_path / "r.yaml", "  hold_out: {after: 1990-01-01, share: 0}\n")
    code, _, told = command("curate", path, "--processes", 1)
    assert code == 2
    assert "every document is held out of the 4 that are left; 1 others were dropped (language: not en 1)" in told


def test_a_tokenizer_that_is_not_there(tmp_path: Path, command: Command) -> None:
    speeches(tmp_path / "speeches", 4)
    path = recipe(tmp_path / "r.yaml")
    path.write_text(path.read_text().replace("tokenizer.json", "tokeniser.json"))
    code, _, told = command("curate", path)
    assert code == 2
    assert "there is no tokenizer 'tokeniser.json'" in told
    assert "recipe, corpus.tokenizer" in told


def test_a_recipe_without_a_corpus(tmp_path: Path, command: Command) -> None:
    (tmp_path / "t.yaml").write_text("name: x\ntask: {name: finance-starter}\n")
    code, _, told = command("curate", tmp_path / "t.yaml")
    assert code == 2
    assert "has no corpus" in told


def own_tokenizer(tmp_path: Path, more: str = "") -> Path:
    speeches(tmp_path / "speeches", 30)
    path = recipe(tmp_path / "r.yaml", "  hold_out: {share: 0.2}\ntokenizer: {kind: bpe, vocab_size: 300}\n" + more)
    path.write_text(path.read_text().replace("  tokenizer: tokenizer.json\n", ""))
    return path


def test_a_tokenizer_trained_on_what_is_learnt(tmp_path: Path, command: Command) -> None:
    path = own_tokenizer(tmp_path)
    code, _, told = command("curate", path, "--processes", 1)
    assert code == 0, told
    run = Path("runs/bank")
    record = json.loads((run / "tokenizer" / "training.json").read_text())
    ledger = json.loads((run / "ledger.json").read_text())
    train = ledger["sources"]["speeches"]["splits"]["train"]
    assert (record["texts"], record["bytes"]) == (train["documents"], train["bytes"])
    assert record["vocab_size"] == ledger["tokenizer"]["vocabulary"] == 300
    assert ledger["tokenizer"]["sha256"] == record["tokenizer_sha256"]
    made = contents(run / "tokenizer")
    assert curate(path, processes=1).done == 0
    assert contents(run / "tokenizer") == made


def test_another_vocabulary_cuts_the_tokens_anew(tmp_path: Path, command: Command) -> None:
    path = own_tokenizer(tmp_path)
    assert command("curate", path, "--processes", 1)[0] == 0
    path.write_text(path.read_text().replace("300", "280"))
    assert command("curate", path, "--processes", 1)[0] == 0
    ledger = json.loads(Path("runs/bank/ledger.json").read_text())
    assert ledger["tokenizer"]["vocabulary"] == 280
    assert json.loads(Path("runs/bank/tokenizer/training.json").read_text())["vocab_size"] == 280


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("hold_out", "tokenizer: base\n  hold_out"), "leave one of them out"),
        (("kind: bpe, vocab_size: 300", "kind: unigram, vocab_size: 30000"), "the largest possible is"),
        (("vocab_size", "vocab_sice"), "did you mean 'vocab_size'"),
    ],
)
def test_mistakes_about_the_tokenizer(tmp_path: Path, command: Command, change: tuple[str, str], says: str) -> None:
    path = own_tokenizer(tmp_path)
    path.write_text(path.read_text().replace(*change))
    code, _, told = command("curate", path, "--processes", 1)
    assert code == 2
    assert says in told


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_datatrove_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("datatrove", reason="needs the extra scale")
    from datatrove.executor import LocalPipelineExecutor

    from tests.corpus.both_ways import local_bytes, same_work

    speeches(tmp_path / "speeches")
    work = same_work(tmp_path, tmp_path / "trove")
    from metier.corpus.datatrove_steps import run_with

    def make(pipeline: Any, tasks: int, logs: str) -> Any:
        return LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=1, logging_dir=logs)

    run_with(work, make)
    assert contents(work.tokens) == local_bytes(tmp_path)
    shutil.rmtree(work.folder)
