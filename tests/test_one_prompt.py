"""One example, one prompt: in training, evaluation, prediction, `metier show` and the saved specialist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from metier import Specialist
from metier.inference.bundle import read_bundle
from metier.inference.engines import fastest
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import load_tokenizer
from metier.models.packed import Item
from metier.recipe import TaskChoice
from metier.run import run
from metier.run.evaluate import evaluate
from tests.toy import make_base, sentences, write_recipe

Ids = tuple[int, ...]


class Seen:
    """Prompts that reached the model, as token ids, with the prefix they share put back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained: set[Ids] = set()
        self.scored: set[Ids] = set()
        inner = Runner.logprobs

        def logprobs(runner: Runner, items: Sequence[Item], prefix: Sequence[int] = (), *rest: Any, **more: Any) -> Any:
            kept = self.trained if torch.is_grad_enabled() else self.scored
            kept.update((*prefix, *item.trunk) for item in items)
            return inner(runner, items, prefix, *rest, **more)

        monkeypatch.setattr(Runner, "logprobs", logprobs)
        # trials on made-up tokens are no prompts
        monkeypatch.setattr(Runner, "_packing_is_exact", lambda runner: True)
        monkeypatch.setattr(fastest, "_gap", lambda runner, decoder: 0.0)

    def take(self) -> set[Ids]:
        """What was scored since the last call."""
        found, self.scored = self.scored, set()
        return found


@pytest.mark.parametrize("chat", [True, False], ids=["chat", "plain"])
def test_the_same_tokens_everywhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Callable[..., tuple[int, str, str]],
    chat: bool,
) -> None:
    def shown(text: str) -> str:
        """What ``metier show`` prints, without the line end that it adds."""
        capsys.readouterr()
        code, printed, _ = command("show", out, text)
        assert code == 0
        return printed[:-1]

    seen = Seen(monkeypatch)
    recipe = write_recipe(
        tmp_path, make_base(tmp_path / "base", chat=chat), extra="measure: {systems: [majority, base]}\n"
    )
    out = run(recipe, out=tmp_path / "out")
    in_run = seen.take()
    bundle = read_bundle(out)
    saved = Encoder(load_tokenizer(bundle.folder), bundle.task, bundle.max_tokens)
    specialist = Specialist.load(out)
    texts = [text for text, _ in sentences(240)]  # the recipe's table
    prompts = {text: saved.prompt({"text": text}) for text in texts}
    learnt = [text for text in texts if prompts[text] in seen.trained]
    assert len(learnt) >= 100
    assert seen.trained <= set(prompts.values())
    assert set(prompts.values()) <= seen.trained | in_run

    text = learnt[0]
    ids = saved.training_item({"text": text}, "positive").trunk
    assert ids in seen.trained
    assert ids == saved.choice_item({"text": text}, specialist.labels).trunk
    specialist.predict([text])
    assert seen.take() == {ids}
    printed = shown(text)
    assert printed == saved.render({"text": text})
    assert tuple(specialist.encoder.tokenizer.encode(printed, add_special_tokens=not chat)) == ids

    # evaluation leaves out what was learnt: another sentence, which prediction and show render as it did
    table = tmp_path / "other.csv"
    others = ["Alma: dividend raised in spring", "Alma: orders shrank"]
    table.write_text(f"text,label\n{others[0]},positive\n{others[1]},negative\n")
    evaluate(out, TaskChoice.model_validate({"file": str(table), "text": "text", "label": "label"}))
    evaluated = seen.take()
    specialist.predict(others)
    assert seen.take() == evaluated == {saved.prompt({"text": text}) for text in others}
    assert shown(others[1]) == saved.render({"text": others[1]})
