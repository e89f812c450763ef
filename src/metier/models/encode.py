"""From a task's messages to token ids: the one rendering that training, scoring, serving and export share."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jinja2 import TemplateError

from metier.errors import MetierError
from metier.models.packed import Item
from metier.tasks import Task, messages, plain

Shot = tuple[Mapping[str, str], str]


@dataclass
class Encoder:
    """Renders a task's examples with a tokenizer's own template and cuts what is too long.

    Attributes:
        max_tokens: longest prompt with its answer; a longer text loses its middle and is counted in ``truncated``.
        shots: solved examples put before every prompt.
    """

    tokenizer: Any
    task: Task
    max_tokens: int = 1024
    shots: Sequence[Shot] = ()
    truncated: int = 0
    _answers: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def chat(self) -> bool:
        """Whether prompts are chat turns: the tokenizer has a template for them and the task's wording allows them."""
        return bool(self.tokenizer.chat_template) and self.task.template.chat

    def render(self, inputs: Mapping[str, str]) -> str:
        """The exact prompt, up to where the answer begins."""
        inputs = self._as_text(inputs)
        shots = [(self._as_text(shot), answer) for shot, answer in self.shots]
        if not self.chat:
            return plain(self.task, inputs, shots)[0]
        turns = messages(self.task, inputs, shots, system=self._takes_system)
        return self._written(turns, add_generation_prompt=True)

    def _written(self, turns: list[dict[str, str]], **options: Any) -> str:
        try:
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False, **options))
        except TemplateError as error:
            raise MetierError(
                f"the base's chat template cannot be used: {str(error)[:200]}",
                where=str(self.tokenizer.name_or_path),
                fix="mend its chat_template, or take it out: prompts are then plain text",
            ) from error

    @functools.cached_property
    def _takes_system(self) -> bool:
        """Whether the chat template writes a system turn; some refuse it, some drop it without a word."""
        turns = [{"role": "system", "content": "the system's turn"}, {"role": "user", "content": "text"}]
        try:
            return "the system's turn" in self.tokenizer.apply_chat_template(turns, tokenize=False)
        except TemplateError:
            return False

    def _as_text(self, inputs: Mapping[str, str]) -> dict[str, str]:
        """Inputs in which no control token can be read: a text that says ``<|im_end|>`` must not end its own turn."""
        clean = dict(inputs)
        for name, value in clean.items():
            for control in self._controls:
                if control in value:
                    value = value.replace(control, f"{control[0]} {control[1:]}")
            clean[name] = value
        return clean

    @functools.cached_property
    def _controls(self) -> list[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        return sorted({token.content for token in added if token.special and len(token.content) > 1})

    def prompt(self, inputs: Mapping[str, str]) -> tuple[int, ...]:
        """Token ids of the prompt, never more than ``max_tokens``."""
        ids = self._ids(self.render(inputs))
        if len(ids) <= self.max_tokens:
            return ids
        self.truncated += 1
        return self._cut(inputs, len(ids))

    def answer(self, text: str) -> tuple[int, ...]:
        """Token ids of an answer, without its end token."""
        if text not in self._answers:
            lead = "" if self.chat else plain(self.task, _blank(self.task), ())[1]
            ids = tuple(self.tokenizer.encode(lead + text, add_special_tokens=False))
            if not ids:
                raise MetierError("an answer without a single token cannot be learnt or scored", where=repr(text),
                                  fix="write it in words, or choose a base whose tokenizer knows it")  # fmt: skip
            self._answers[text] = ids
        return self._answers[text]

    @property
    def end(self) -> int:
        """The token that ends an answer: what the chat template puts there, else the tokenizer's end token."""
        if self.chat:
            turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "answer"}]
            after = self._written(turns).rsplit("answer", 1)[1]
            ids = self.tokenizer.encode(after, add_special_tokens=False)
            if ids and ids[0] in self.tokenizer.all_special_ids:
                return int(ids[0])
        return int(self.tokenizer.eos_token_id)

    def training_item(self, inputs: Mapping[str, str], target: str, agreement: float | None = None) -> Item:
        """Prompt and gold answer with its end token: the only positions that carry loss.

        With ``agreement``, the share of annotators who gave ``target``, the other labels share the rest: what is learnt
        is how people would have labelled, not one of their votes.
        """
        gold = (*self.answer(target), self.end)
        if agreement is None or agreement >= 1:
            return Item(self.prompt(inputs), (gold,))
        labels = self.task.labels
        others = tuple(ids for label, ids in zip(labels, self.choices(labels), strict=True) if label != target)
        share = (1 - agreement) / len(others)
        return Item(self.prompt(inputs), (gold, *others), (agreement, *[share] * len(others)))

    def choice_item(self, inputs: Mapping[str, str], choices: Sequence[str]) -> Item:
        """Prompt and every candidate answer."""
        return Item(self.prompt(inputs), self.choices(choices))

    def choices(self, texts: Sequence[str], lead: str | None = None) -> tuple[tuple[int, ...], ...]:
        """Token ids of candidate answers; ended where one would otherwise be the beginning of another.

        With ``lead`` they follow a text that was written, such as a rationale, and not the prompt.
        """
        if lead is None:
            answers = tuple(self.answer(text) for text in texts)
        else:
            answers = tuple(tuple(self.tokenizer.encode(lead + text, add_special_tokens=False)) for text in texts)
        if _one_begins_another(answers):
            answers = tuple((*answer, self.end) for answer in answers)
        return answers

    def _ids(self, text: str) -> tuple[int, ...]:
        special = not self.chat  # a chat template writes its own begin token
        return tuple(self.tokenizer.encode(text, add_special_tokens=special))

    def _cut(self, inputs: Mapping[str, str], length: int) -> tuple[int, ...]:
        """Take the middle out of the longest input until the prompt fits, and out of every long one where that is not
        enough; options stay whole.
        """
        shown = [key for key in inputs if key in self.task.template.fields()] or list(inputs)
        name = max(shown, key=lambda key: (key != "options", len(inputs[key])))
        others = [key for key in shown if key != "options"]
        tokens = {key: self.tokenizer.encode(inputs[key], add_special_tokens=False) for key in shown}
        ways = [([name], len(tokens[name]) - (length - self.max_tokens) - 8)]
        if len(others) > 1:
            ways.append((others, self.max_tokens // len(others)))
        for names, keep in ways:
            while keep > 0:
                short = {key: self._middle_out(tokens[key], keep) for key in names if len(tokens[key]) > keep}
                ids = self._ids(self.render({**inputs, **short}))
                if len(ids) <= self.max_tokens:
                    return ids
                keep -= -(-(len(ids) - self.max_tokens) // len(names))
        raise MetierError(
            f"the prompt without its text is already longer than {self.max_tokens} tokens",
            fix="raise max_tokens, shorten the instruction or the options, or give fewer shots",
        )

    def _middle_out(self, tokens: Sequence[int], keep: int) -> str:
        head, tail = tokens[: (keep + 1) // 2], tokens[len(tokens) - keep // 2 :]
        return f"{self.tokenizer.decode(head)} … {self.tokenizer.decode(tail)}"


def _blank(task: Task) -> dict[str, str]:
    return dict.fromkeys(task.template.fields(), "")


def _one_begins_another(answers: Sequence[tuple[int, ...]]) -> bool:
    return any(a != b and b[: len(a)] == a for a in answers for b in answers)


def split_prefix(items: Sequence[Item]) -> tuple[tuple[int, ...], list[Item]]:
    """The tokens all prompts begin with, and the items without them (each keeps at least one trunk token)."""
    if not items:
        return (), []
    first, last = min(i.trunk for i in items), max(i.trunk for i in items)
    limit = min(len(item.trunk) for item in items) - 1
    common = 0
    while common < limit and first[common] == last[common]:
        common += 1
    return first[:common], [replace(item, trunk=item.trunk[common:]) for item in items]
