"""lm-eval's own numbers on exported tasks equal ours."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from metier.errors import MetierError
from metier.evaluation.choices import answer_choices
from metier.evaluation.last_word import last_words
from metier.evaluation.retention import document_bits
from metier.models.bases import resolve
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer
from metier.run.answers import answer_labels
from metier.tasks import Loaded, catalogue, load_task
from metier.tasks.export import export
from tests.toy import BAD, FIRMS, GOOD, make_base

System = tuple[Runner, Any, HFLM]


def both(base: Path) -> System:
    runner = Runner(load_model(base, dtype=torch.float32, device="cpu"))
    return runner, load_tokenizer(base), HFLM(pretrained=str(base), dtype="float32", device="cpu", batch_size=4)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> System:
    return both(make_base(tmp_path_factory.mktemp("base") / "plain", chat=False))


@pytest.fixture(scope="module")
def chat(toy_base: Path) -> System:
    return both(toy_base)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Invented rows in the shapes of the published files."""
    root, generator = tmp_path_factory.mktemp("data"), random.Random(0)
    phrases = [*BAD, *GOOD]

    def put(path: str, text: str) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")

    examined, instructed = [], []
    for number in range(40):
        options = generator.sample(phrases, 4)
        question, gold = f"What came after {number} at {generator.choice(FIRMS)}?", generator.randrange(4)
        lettered = dict(zip("ABCD", options, strict=True))
        examined.append(json.dumps({"question": question, "options": lettered, "answer_idx": "ABCD"[gold]}))
        numbered = " ".join(f"Answer{i}: {text}" for i, text in enumerate(options, 1))
        text = f"Please choose the correct answer to the question: {question}\n\n{numbered} Answer format: answer1"
        instructed.append({"instruction": text, "answer": f"answer{gold + 1}"})
    put("medicine/medqa/test.jsonl", "\n".join(examined[:30]))
    put("medicine/medqa/dev_mediq.jsonl", "\n".join(examined[30:]))
    put("general/commonsense/ARC-Easy/test.json", json.dumps(instructed))
    reviews = [
        f"{generator.choice(phrases)} in week {n}\t{generator.choice(['negative', 'neutral', 'positive'])}"
        for n in range(30)
    ]
    for part in ("Train", "Test"):
        put(f"medicine/drug_reviews/drugsCom{part}.tsv", "review\trating\n" + "\n".join(reviews) + "\n")
    passages = [{"text": f"{generator.choice(FIRMS)}: {generator.choice(phrases)} in {n}"} for n in range(20)]
    put("general/lambada/lambada_test.jsonl", "\n".join(map(json.dumps, passages)))
    put("general/corpus/boolq_wikipedia_passages.txt", "\n\n".join(p["text"] for p in passages))
    return root


def theirs(system: System, folder: Path, *names: str, **how: Any) -> dict[str, dict[str, float]]:
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    tasks = [f"metier-{name}" for name in names]
    found = simple_evaluate(
        model=system[2], tasks=tasks, task_manager=manager, bootstrap_iters=0, log_samples=False, **how
    )
    return {
        name.removeprefix("metier-"): {key.split(",")[0]: value for key, value in scores.items() if "," in key}
        for name, scores in found["results"].items()
    }


def evaluated(loaded: Loaded, limit: int | None = None) -> list[Any]:
    return [e for e in loaded.examples if e.split in (None, "test")][:limit]


def ours(system: System, loaded: Loaded, limit: int | None = None) -> float:
    runner, encoder = system[0], Encoder(system[1], loaded.task)
    examples = evaluated(loaded, limit)
    if loaded.task.metric == "last_word_accuracy":
        found = last_words(runner, encoder, examples)
    elif loaded.task.kind == "multiple_choice":
        found = answer_choices(runner, encoder, examples)
    else:
        found = answer_labels(runner, encoder, examples, "test")
    return float(np.mean([p.correct for p in found]))


def test_plain_prompts(plain: System, root: Path, tmp_path: Path) -> None:
    metrics = {"medqa": "acc_norm", "arc-easy": "acc_norm", "drug-reviews": "acc", "lambada": "acc"}
    sets = {name: load_task(name, data_root=root, offline=True) for name in [*metrics, "wikipedia-passages"]}
    for loaded in sets.values():
        export(loaded, tmp_path)
    found = theirs(plain, tmp_path, *sets)
    for name, metric in metrics.items():
        assert found[name][metric] == ours(plain, sets[name]), name
        assert name == "lambada" or 0 < found[name][metric] < 1
    bits, sizes = document_bits(plain[0], plain[1], [e.inputs["text"] for e in sets["wikipedia-passages"].examples])
    assert found["wikipedia-passages"]["bits_per_byte"] == pytest.approx(bits.sum() / sizes.sum())


def test_chat_turns(chat: System, root: Path, tmp_path: Path) -> None:
    sets = {name: load_task(name, data_root=root, offline=True) for name in ("medqa", "drug-reviews")}
    for loaded in sets.values():
        export(loaded, tmp_path)
    found = theirs(chat, tmp_path, *(f"{name}-chat" for name in sets), apply_chat_template=True)
    for name, loaded in sets.items():
        assert found[f"{name}-chat"]["acc"] == ours(chat, loaded), name


def test_the_verb_writes_files_that_hold_the_prompt(root: Path, tmp_path: Path, command: Any) -> None:
    code, out, err = command("tasks", "export", "medqa", "--out", tmp_path, "--data-root", root, "--offline")
    assert code == 0, err
    assert [Path(line).name for line in out.splitlines()] == ["medqa.jsonl", "medqa.yaml", "medqa-chat.yaml"]
    rows = [json.loads(line) for line in (tmp_path / "medqa.jsonl").read_text().splitlines()]
    assert len(rows) == 30
    assert rows[0]["choices"] == ["A", "B", "C", "D"]
    assert rows[0]["prompt"].endswith("\nAnswer:")
    assert "(D) " in rows[0]["user"]
    config = yaml.safe_load((tmp_path / "medqa-chat.yaml").read_text())
    assert config["description"] == catalogue.get("medqa").template.instruction
    code, _, err = command("tasks", "export", "medqaa", "--out", tmp_path)
    assert code == 2
    assert "did you mean 'medqa'" in err
    code, listed, _ = command("tasks")
    assert code == 0
    assert "medmcqa" in listed


@pytest.mark.real
@pytest.mark.parametrize(("name", "metric"), [("pubmedqa", "acc"), ("medqa", "acc"), ("arc-easy", "acc_norm")])
def test_published_rows_with_the_real_base(data_root: Path, tmp_path: Path, name: str, metric: str) -> None:
    try:
        runner, tokenizer, hflm = both(resolve("smollm2-135m-instruct").path)
    except MetierError as error:
        if os.environ.get("METIER_REQUIRE_DATA"):
            raise
        pytest.skip(f"the base is neither cached nor in reach: {error.what}")
    loaded = load_task(name, data_root=data_root, offline=True)
    export(loaded, tmp_path)
    turns = loaded.task.template.options == "lettered" or loaded.task.kind == "classification"
    if not turns:  # a line end before the answer would be divided by its characters, too
        tokenizer.chat_template = None
    how: dict[str, Any] = {"limit": 6, "apply_chat_template": turns}
    key = f"{name}-chat" if turns else name
    found = theirs((runner, tokenizer, hflm), tmp_path, key, **how)[key]
    assert found[metric] == ours((runner, tokenizer, hflm), loaded, 6)
