"""A task for lm-evaluation-harness: two YAML files (plain prompts, chat turns) and one file of rows.

The prompt that metier renders stands in the rows, and the harness adds nothing to it, so that both ask the same. What
metier reports is then ``acc`` for classes (summed likelihoods), ``acc_norm`` for multiple choice (likelihoods divided
by characters; the same as ``acc`` for letters) and ``bits_per_byte`` for documents within one window.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from metier.files import write_text
from metier.tasks.choices import asked
from metier.tasks.example import Example, Loaded
from metier.tasks.task import Task
from metier.tasks.templates import fill, plain

_CHOSEN = ("classification", "multiple_choice")
_AGREES = {
    "classification": "metier's accuracy is acc",
    "multiple_choice": "metier's accuracy is acc_norm",
    "perplexity": "metier's bits per byte is bits_per_byte, for documents of at most 1,024 tokens",
    "last word": "metier's last-word accuracy is acc",
    "extraction": "metier reads entities out of what is written and scores their F1, which the harness does not know",
    "generation": "metier's exact match also passes over spaces, a full stop at the end and how a number is written",
}


def export(loaded: Loaded, folder: Path, variant: str | None = None) -> list[Path]:
    """Write a task's evaluation rows (its test part, or all where none is published) and the two YAML files.

    Returns:
        The files: rows, YAML for a base without chat turns, YAML to be run with ``--apply_chat_template``. A task that
        is put to the letter has no second YAML.
    """
    task = loaded.task
    name = task.name + (f"-{variant}" if variant else "")
    rows = folder.resolve() / f"{name}.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in _rows(task, loaded.examples)]
    write_text(rows, "".join(line + "\n" for line in lines))
    written = [rows]
    for chat in (False, True) if task.template.chat and task.kind != "perplexity" else (False,):
        path = folder / f"{name}{'-chat' if chat else ''}.yaml"
        about = f"# {task.title}, version {task.version}, {task.licence}. {_AGREES[_kind(task)]}.\n"
        if chat:
            about += "# To be run with --apply_chat_template.\n"
        config = yaml.safe_dump(_config(task, path.stem, rows, chat), sort_keys=False, allow_unicode=True, width=120)
        write_text(path, about + config)
        written.append(path)
    return written


def _kind(task: Task) -> str:
    return "last word" if task.kind == "perplexity" and task.metric == "last_word_accuracy" else task.kind


def _rows(task: Task, examples: Sequence[Example]) -> list[dict[str, Any]]:
    tested = [example for example in examples if example.split in (None, "test")]
    rows = []
    for example in asked(task, tested):
        row: dict[str, Any] = {"id": example.id}
        if _kind(task) == "perplexity":
            rows.append({**row, "text": example.inputs["text"]})
            continue
        row |= {"prompt": plain(task, example.inputs)[0], "user": fill(task, example.inputs), "target": example.target}
        if task.kind in _CHOSEN:
            choices = list(example.choices) if task.kind == "multiple_choice" else list(task.labels)
            row |= {"choices": choices, "gold": choices.index(example.target)}
        rows.append(row)
    return rows


def _config(task: Task, name: str, rows: Path, chat: bool) -> dict[str, Any]:
    """The fields of the harness's YAML."""
    lead = "" if chat else plain(task, dict.fromkeys(task.template.fields(), ""))[1]
    config: dict[str, Any] = {
        "task": f"metier-{name}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "test_split": "test",
        "num_fewshot": 0,
        "target_delimiter": lead,
        "metadata": {"version": task.version},
    }
    head = "\n\n".join(part for part in (task.template.system, task.template.instruction) if part)
    if chat and head:
        config["description"] = "{% raw %}" + head + "{% endraw %}" if "{" in head else head
    if _kind(task) == "perplexity":
        metrics = ["word_perplexity", "byte_perplexity", "bits_per_byte"]
        return config | {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "text",
                         "metric_list": [{"metric": metric} for metric in metrics]}  # fmt: skip
    config["doc_to_text"] = "user" if chat else "prompt"
    if _kind(task) == "last word":
        return config | {"output_type": "loglikelihood", "doc_to_target": "target",
                         "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}]}  # fmt: skip
    if task.kind in _CHOSEN:
        return config | {"output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "gold",
                         "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}]}  # fmt: skip
    scored = {"metric": "exact_match", "ignore_case": True} if task.metric != "none" else {"metric": "bypass"}
    return config | {
        "output_type": "generate_until",
        "doc_to_target": "target",
        "generation_kwargs": {"until": ["\n\n"], "do_sample": False, "max_gen_toks": 256},
        "metric_list": [scored],
    }
