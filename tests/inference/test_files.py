"""Tables that are answered row by row."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from metier.inference.answers import TextAnswer
from metier.inference.files import predict_table


def test_dialogues_are_read_as_they_were_learnt(tmp_path: Path) -> None:
    asked: list[dict[str, str]] = []

    def predict(inputs: list[dict[str, str]], **_: Any) -> list[TextAnswer]:
        asked.extend(inputs)
        return [TextAnswer("Rest.", True) for _ in inputs]

    task = SimpleNamespace(kind="generation", template=SimpleNamespace(fields=lambda: ["text"]))
    specialist: Any = SimpleNamespace(bundle=SimpleNamespace(task=task), writes=True, guard=None, predict=predict)
    turns = [{"role": "user", "content": "I cough."}, {"role": "assistant", "content": "Since when?"}]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps({"m": cell}) for cell in (turns, "plain")))
    predict_table(specialist, tmp_path / "in.jsonl", tmp_path / "out.jsonl", columns=["m"])
    assert asked == [{"text": "User: I cough.\nAssistant: Since when?"}, {"text": "plain"}]
