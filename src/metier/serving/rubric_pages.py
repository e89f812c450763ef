"""The pages of the rubric workbench, as HTML: who rates, one item, nothing left."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol
from urllib.parse import urlencode

from metier.evaluation.rubric_axes import Rubric
from metier.serving.page import render


class Shown(Protocol):
    """An item as a rater sees it."""

    @property
    def id(self) -> str:
        """Says nothing of the systems."""

    @property
    def question(self) -> str:
        """The question."""

    @property
    def answers(self) -> tuple[str, ...]:
        """One answer, or A and B."""


class Given(Protocol):
    """A rater's items, in order."""

    @property
    def items(self) -> Mapping[str, bool]:
        """By id."""


class Desk(Protocol):
    """What the page needs of a workbench."""

    rubric: Rubric

    @property
    def people(self) -> list[str]:
        """Who may rate."""

    def rater(self, name: str) -> Given:
        """A rater's items."""

    def shown(self, rater: str, item: str) -> Shown:
        """An item as this rater sees it."""

    def said(self, rater: str) -> Mapping[str, Mapping[str, str | None]]:
        """What was chosen, by item and axis."""

    def complete(self, rater: str, item: str) -> bool:
        """Whether every axis of an item was judged."""

    def done(self, rater: str) -> int:
        """Items judged on every axis."""

    def record(self, rater: str, item: str, values: Mapping[str, str | None]) -> None:
        """Keep choices."""


def address(rater: str, item: str | None = None) -> str:
    """Where a rater goes on, or looks at one item."""
    return "/rate?" + urlencode({"rater": rater} | ({"item": item} if item else {}))


def next_item(desk: Desk, rater: str, after: str | None = None) -> str | None:
    """The first item that is not complete, beginning behind ``after`` and coming round; None if all are."""
    order = list(desk.rater(rater).items)
    start = order.index(after) + 1 if after in order else 0
    return next((item for item in order[start:] + order[:start] if not desk.complete(rater, item)), None)


def home(desk: Desk, nonce: str) -> str:
    """Who rates, and how far everybody is."""
    raters = [
        {"name": name, "to": address(name), "done": desk.done(name), "all": len(desk.rater(name).items)}
        for name in desk.people
    ]
    return render("rubric-home.html.jinja", nonce, rubric=desk.rubric, raters=raters)


def item_page(desk: Desk, rater: str, item: str, token: str, nonce: str, missing: Collection[str] = ()) -> str:
    """One item with its axes, what was chosen before filled in.

    Args:
        missing: axes without a choice, to be pointed out.
    """
    order = list(desk.rater(rater).items)
    place = order.index(item)
    before, after = (order[p] if 0 <= p < len(order) else None for p in (place - 1, place + 1))
    return render(
        "rubric-item.html.jinja", nonce,
        rubric=desk.rubric, rater=rater, item=desk.shown(rater, item), said=desk.said(rater).get(item, {}),
        place=place + 1, all=len(order), done=desk.done(rater), missing=missing, token=token,
        before=before and address(rater, before), after=after and address(rater, after),
    )  # fmt: skip


def finished_page(desk: Desk, rater: str, nonce: str) -> str:
    """Nothing is left to judge."""
    items = [address(rater, item) for item in desk.rater(rater).items]
    return render("rubric-done.html.jinja", nonce, rubric=desk.rubric, rater=rater, items=items)


def fault_page(what: str, nonce: str) -> str:
    """A request that cannot be met."""
    return render("rubric-fault.html.jinja", nonce, what=what)
