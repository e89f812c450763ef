"""How many annotators agreed is the target: the loss is a cross-entropy with it, on the prompt's last position."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer
from metier.models.packed import Item
from metier.recipe import load_recipe
from metier.run.data import prepare_data
from metier.sources import write_table
from metier.tasks import Task, from_table
from metier.training.prompts import accumulate
from tests.toy import write_recipe

LABELS = ("down", "flat", "up")


def test_the_rest_goes_to_the_other_labels(toy_base: Path) -> None:
    task = Task(name="t", version=1, kind="classification", title="t", labels=list(LABELS))
    encoder = Encoder(load_tokenizer(toy_base), task)
    item = encoder.training_item({"text": "sales rose"}, "flat", 0.7)
    assert item.answers[0] == encoder.training_item({"text": "sales rose"}, "flat").answers[0]
    assert item.answers[1:] == tuple(encoder.choices(LABELS)[i] for i in (0, 2))
    assert item.weights == pytest.approx((0.7, 0.15, 0.15))
    assert encoder.training_item({"text": "x"}, "up", 1.0) == encoder.training_item({"text": "x"}, "up")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.35, 0.99), budget=st.sampled_from([32, 4096]))
def test_the_loss_is_cross_entropy_with_the_shares(toy_base: Path, share: float, budget: int) -> None:
    model = load_model(toy_base, dtype=torch.float32, device="cpu")
    rest = (1 - share) / 2
    trunks = [(1, 5, 6), (1, 9, 11, 13, 7)]
    soft = [Item(trunk, ((30, 2), (31,), (32,)), (share, rest, rest)) for trunk in trunks]
    found = accumulate(Runner(model, packing=True), (), soft, budget)
    gradient = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    nats = 0.0
    for trunk in trunks:
        logs = torch.log_softmax(model(torch.tensor([[*trunk, 30]])).logits[0, -2:], -1)
        nats = nats - share * (logs[0, 30] + logs[1, 2]) - rest * (logs[0, 31] + logs[0, 32])
    expected = nats / (2 * (2 * share + 2 * rest))
    expected.backward()  # type: ignore[attr-defined]
    assert found == pytest.approx(float(expected.detach()), rel=1e-5)  # type: ignore[attr-defined]
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-3, atol=1e-6)


def test_a_table_says_how_many_agreed(tmp_path: Path) -> None:
    rows = [{"text": "sales rose", "label": "up", "agree": "75%"}, {"text": "sales fell", "label": "down", "agree": 1}]
    write_table(tmp_path / "t.csv", rows, ["text", "label", "agree"])
    assert [e.agreement for e in from_table("t", tmp_path / "t.csv", agreement="agree").examples] == [0.75, 1.0]
    write_table(tmp_path / "t.csv", [*rows, {**rows[0], "text": "x", "agree": "most"}], ["text", "label", "agree"])
    with pytest.raises(MetierError, match="an agreement is not a share") as caught:
        from_table("t", tmp_path / "t.csv", agreement="agree")
    assert "'most'" in str(caught.value)


def test_soft_labels_without_the_column_are_refused(toy_base: Path, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, toy_base)
    path.write_text(path.read_text().replace("adapt: {", "adapt: {soft_labels: true, "))
    recipe = load_recipe(path)
    assert recipe.adapt.soft_labels
    with pytest.raises(MetierError, match=r"task\.agreement"):
        prepare_data(recipe, data_root=None, lock=None, offline=True)


def test_a_label_that_another_outvoted_is_refused(toy_base: Path, tmp_path: Path) -> None:
    rows = [
        {"text": f"sales {n}", "mood": ("up", "down", "flat")[n % 3], "agree": 0.2 if n == 7 else 1} for n in range(60)
    ]
    write_table(tmp_path / "votes.csv", rows, ["text", "mood", "agree"])
    recipe = tmp_path / "recipe.yaml"
    task = "task: {file: votes.csv, label: mood, agreement: agree}"
    recipe.write_text(f"name: votes\nbase: {toy_base}\n{task}\nadapt: {{soft_labels: true}}\n")
    with pytest.raises(MetierError, match="less than one vote in 3") as caught:
        prepare_data(load_recipe(recipe), data_root=None, lock=None, offline=True)
    assert "votes.csv:9" in str(caught.value)


def test_phrasebank_knows_its_annotators(data_root: Path) -> None:
    from collections import Counter

    from metier.tasks import load_task

    loaded = load_task("financial-phrasebank", "50agree", agreement=True, data_root=data_root, offline=True)
    counts = Counter(e.agreement for e in loaded.examples)
    assert None not in counts
    assert counts[1.0] == pytest.approx(2264, abs=3)  # the few sentences listed twice count where they agree most
    assert sum(counts.values()) == 4846
    with pytest.raises(MetierError, match="not published"):
        load_task("twitter-financial-news", agreement=True, data_root=data_root, offline=True)
