"""Who is asked: the two things that a strategy needs of a model, and a loaded model that does them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from metier.errors import MetierError
from metier.evaluation.scoring import Scored, score
from metier.inference.engines.fastest import LeanAtTimes
from metier.models.encode import Encoder, Shot
from metier.models.forward import Runner
from metier.models.generate import Written, first_paragraph, generate
from metier.models.layers import causal_model
from metier.models.load import learned_positions
from metier.models.packed import Item
from metier.tasks import Task

Prompt = tuple[int, ...]


class Model(Protocol):
    """What a strategy asks of a model."""

    max_tokens: int
    """Longest prompt, in tokens."""

    def encoder(
        self, task: Task, *, longer: int = 0, room: int = 0, answer: int = 0, shots: Sequence[Shot] = ()
    ) -> Encoder:
        """Prompts of ``task``.

        Args:
            longer: tokens beyond ``max_tokens``.
            room: tokens to be written behind them.
            answer: tokens of the longest answer that is only scored there.
        """
        ...

    def write(
        self, encoder: Encoder, prompts: Sequence[Prompt], *, room: int, temperature: float, seeds: Sequence[int]
    ) -> list[Written]:
        """One text a prompt, of at most ``room`` tokens; a prompt that stands there twice is run once."""
        ...

    def score(self, items: Sequence[Item]) -> Scored:
        """Log-likelihoods of every answer of ``items``."""
        ...


@dataclass
class Loaded:
    """A base or a specialist in memory.

    Attributes:
        max_tokens: longest prompt; the middle of a longer text is left out, and counted by the encoder.
        trained: whether it learnt to end its answers.
        encoders: all that were made, which count the prompts that were too long.
    """

    runner: Runner
    tokenizer: Any
    max_tokens: int = 1024
    trained: bool = False
    encoders: list[Encoder] = field(default_factory=list)

    @property
    def truncated(self) -> int:
        """Prompts whose middle was left out so far."""
        return sum(encoder.truncated for encoder in self.encoders)

    def encoder(
        self, task: Task, *, longer: int = 0, room: int = 0, answer: int = 0, shots: Sequence[Shot] = ()
    ) -> Encoder:
        """As :meth:`Model.encoder`; what stands behind a prompt is left room in the positions that the model has.

        Errors: :class:`MetierError` where that leaves nothing for a prompt.
        """
        limit = self._limit(room, answer)
        if limit < 32:
            what = f"{room} tokens to write" if room else f"options of {answer} tokens"
            raise MetierError(
                f"{what} leave no room for a question", fix="lower the strategy's tokens, or shorten the options"
            )
        self.encoders.append(Encoder(self.tokenizer, task, min(self.max_tokens + longer, limit), shots))
        return self.encoders[-1]

    def write(
        self, encoder: Encoder, prompts: Sequence[Prompt], *, room: int, temperature: float, seeds: Sequence[int]
    ) -> list[Written]:
        """As :meth:`Model.write`.

        A base without a chat template goes on behind its answer: what follows a blank line, which parts the examples of
        its prompt, is taken off unless it was trained to end.
        """
        ends = list(dict.fromkeys([encoder.end, int(self.tokenizer.eos_token_id)]))
        with self._lean:
            found = generate(
                self.runner, self.tokenizer, prompts,
                ends=ends, max_new_tokens=room, temperature=temperature, seeds=seeds,
            )  # fmt: skip
        if self.trained or self.tokenizer.chat_template:
            return found
        return [self._first_paragraph(written) for written in found]

    def score(self, items: Sequence[Item]) -> Scored:
        """As :meth:`Model.score`."""
        return score(self.runner, items)

    @cached_property
    def _lean(self) -> LeanAtTimes:
        return LeanAtTimes(self.runner)

    def _first_paragraph(self, written: Written) -> Written:
        text = first_paragraph(written.text)
        if text == written.text:
            return written
        # half characters, which text shows as a mark of its own, may take more tokens than were written
        ids = self.tokenizer.encode(text, add_special_tokens=False)[: len(written.ids)]
        return Written(tuple(ids), text, True)

    def _limit(self, room: int, answer: int) -> int:
        """The longest prompt. What is only scored may exceed rotary positions, as everywhere in metier."""
        config = causal_model(self.runner.model).config
        positions = getattr(config.get_text_config(), "max_position_embeddings", None)
        if not positions or not (room or learned_positions(config)):
            return 1 << 20
        return int(positions) - self.runner.soft_tokens - (room or max(answer, min(64, int(positions) // 4)))
