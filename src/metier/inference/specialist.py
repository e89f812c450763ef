"""``Specialist``: load once, ask often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metier.errors import MetierError, nearest
from metier.evaluation.conformal import Method
from metier.evaluation.scoring import normalise, score
from metier.inference.abstaining import abstentions, check_below, label_sets
from metier.inference.answers import Answer, TextAnswer
from metier.inference.asked import listed, text_fields
from metier.inference.bundle import Bundle, read_bundle
from metier.inference.choices import choose
from metier.inference.engines import ENGINES, Engine
from metier.inference.engines.choose import choose_engine
from metier.inference.engines.openvino_engine import load_engine
from metier.inference.engines.torch_engine import TorchEngine, load_runner
from metier.inference.guardrails import Flag, guard
from metier.models.device import choose_device, prepare_process
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.generate import first_paragraph, generate
from metier.models.load import load_tokenizer
from metier.tasks import Example


class Specialist:
    """A finished specialist, ready to answer.

    >>> from metier import Specialist
    >>> Specialist.load("runs/finance-starter").predict(["Losses narrowed sharply."])  # doctest: +SKIP
    """

    def __init__(self, bundle: Bundle, engine: Engine, encoder: Encoder, engine_reason: str = "chosen by the caller"):
        self.bundle, self.engine, self.encoder, self.engine_reason = bundle, engine, encoder, engine_reason
        self.labels = list(bundle.task.labels)
        self.guard = guard(bundle.task.domain)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        dtype: str | None = None,
        offline: bool = False,
        engine: str = "auto",
        many: bool = False,
    ) -> Specialist:
        """Load from a run directory or a specialist's folder.

        Args:
            dtype: number format; that of training unless given.
            engine: ``torch``, ``openvino`` (see ``metier export``), or ``auto`` for the faster of those that are
                there: ``engine_reason`` says which and why.
            many: choose the one that is faster in batches, not the one that answers a text alone sooner.

        Errors: :class:`MetierError` when it is not there, not whole, its base is another one, or the engine that was
        asked for cannot be used.
        """
        if engine not in ENGINES:
            raise MetierError(f"unknown engine '{engine}'", fix=nearest(engine, ENGINES))
        try:
            folder = Path(path)
        except TypeError as error:
            what = f"a path is needed, this is a value of type {type(path).__name__}"
            raise MetierError(what, fix='give the folder that `metier run` wrote: "runs/finance-starter"') from error
        bundle = read_bundle(folder)
        chooses = bundle.task.kind == "multiple_choice"
        if chooses and engine == "openvino":
            raise MetierError("openvino has fixed labels, this specialist's options differ", fix="use the torch engine")
        encoder = Encoder(load_tokenizer(bundle.folder), bundle.task, bundle.max_tokens)
        if bundle.task.written and engine == "openvino":
            raise MetierError("openvino gives label probabilities, this specialist writes", fix="use the torch engine")
        if engine == "openvino":
            return cls(bundle, load_engine(bundle), encoder, "openvino: asked for")
        chosen = choose_device(device, dtype or bundle.dtype)
        prepare_process(chosen.device)
        runner = load_runner(bundle, device=chosen.device, dtype=chosen.dtype, offline=offline)
        reference = TorchEngine(runner, encoder)
        if engine == "torch" or bundle.task.written or chooses:
            why = "asked for" if engine == "torch" else "options differ" if chooses else "it writes"
            return cls(bundle, reference, encoder, f"torch: {why}")
        if dtype is not None or chosen.device != "cpu":
            return cls(bundle, reference, encoder, f"torch: {reference.about}")
        found, reason = choose_engine(bundle, reference, many=many)
        return cls(bundle, found, encoder, reason)

    @property
    def runner(self) -> Runner:
        """The model itself.

        Errors: :class:`MetierError` where another engine than torch answers.
        """
        if not isinstance(self.engine, TorchEngine):
            raise MetierError(
                f"the {self.engine.name} engine only gives label probabilities",
                fix='load the specialist with engine="torch"',
            )
        return self.engine.runner

    @property
    def notice(self) -> str | None:
        """What its answers are not, for a domain where being wrong is dangerous: to be shown with them."""
        return self.guard.notice if self.guard else None

    @property
    def intended_use(self) -> str | None:
        """Whom it is for, and for what, in such a domain."""
        return self.guard.intended_use if self.guard else None

    @property
    def writes(self) -> bool:
        """Whether its answers are written out (extraction, generation) instead of chosen among labels."""
        return self.bundle.task.written

    def predict(
        self,
        texts: Iterable[str | Mapping[str, Any]],
        *,
        abstain_below: float | None = None,
        sets: float | None = None,
        sets_by: Method = "lac",
    ) -> Sequence[Answer | TextAnswer]:
        """Answer each text (or mapping of the template's fields), in order.

        For multiple choice the mapping also holds ``options``, a list; answers are by letter, with the option's text.

        Args:
            abstain_below: abstain below this probability, 0 to answer everything. Left out, it abstains as its recipe
                demanded (``selective``), and never where the recipe demanded nothing.
            sets: also give the labels that hold the right one with this probability, such as 0.9; see
                :mod:`metier.evaluation.conformal` for what is guaranteed.
            sets_by: ``lac`` for the smallest sets, ``aps`` for sets that grow with the difficulty of a text.

        Errors: :class:`MetierError` for one text or a table instead of a list, a missing field, an empty text or one
        that is no text (with its place), for a threshold that is no probability, and for a threshold or sets where
        answers are written out.
        """
        check_below(abstain_below)
        if self.writes and (abstain_below or sets is not None):
            raise MetierError(
                f"a specialist for {self.bundle.task.kind} cannot abstain: its answers are written out, and carry no "
                "probability",
                fix="leave the threshold and sets out (--abstain-below, --sets)",
            )
        if self.bundle.task.kind == "multiple_choice":
            return choose(self, listed(texts), abstain_below=abstain_below, sets=sets, sets_by=sets_by)
        asked, fields, clean = listed(texts), self.bundle.task.template.fields(), self.bundle.task.reading.clean
        inputs = [text_fields(fields, text, f"text {n} of {len(asked)}", clean) for n, text in enumerate(asked, 1)]
        if not inputs:
            return []
        flags = [self.guard.check(*i.values()) if self.guard else None for i in inputs]
        if self.writes:
            return self._write(inputs, flags)
        logprobs = self.engine.label_logprobs([self.encoder.prompt(i) for i in inputs])
        rows = [normalise(values / self.bundle.temperature) for values in logprobs]
        abstained = abstentions(self.bundle, rows, abstain_below)
        found: Sequence[tuple[str, ...] | None] = [None] * len(rows)
        if sets is not None:
            found = label_sets(self.bundle, self.labels, rows, sets, sets_by)
        parts = zip(logprobs, rows, abstained, found, flags, strict=True)
        return [self._answer(*part) for part in parts]

    def _write(self, inputs: Sequence[Mapping[str, str]], flags: Sequence[Flag | None]) -> list[TextAnswer]:
        tokenizer = self.encoder.tokenizer
        ends = list(dict.fromkeys([self.encoder.end, int(tokenizer.eos_token_id)]))
        prompts = [self.encoder.prompt(i) for i in inputs]
        room = self.bundle.answer_tokens or 0
        found = generate(self.runner, tokenizer, prompts, ends=ends, max_new_tokens=room)
        goes_on = self.bundle.method == "none" and not tokenizer.chat_template  # it never learnt to end
        answers = [first_paragraph(written.text) if goes_on else written.text.strip() for written in found]
        ended = [written.ended or (goes_on and answer != written.text.strip())
                 for written, answer in zip(found, answers, strict=True)]  # fmt: skip
        return [self._text_answer(*one) for one in zip(answers, ended, flags, strict=True)]

    def _text_answer(self, text: str, ended: bool, flag: Flag | None) -> TextAnswer:
        if flag is None:
            return TextAnswer(text, ended)
        in_words = self.bundle.task.kind == "generation"  # entities are read by a program
        return TextAnswer(f"{flag.referral}\n\n{text}" if in_words else text, ended, flag.referral)

    def _answer(
        self,
        logprobs: np.ndarray,
        probabilities: np.ndarray,
        abstained: bool,
        labels: tuple[str, ...] | None,
        flag: Flag | None,
    ) -> Answer:
        best = int(probabilities.argmax())
        return Answer(
            label=self.labels[best],
            probability=float(probabilities[best]),
            probabilities=dict(zip(self.labels, probabilities.tolist(), strict=True)),
            logprobs=dict(zip(self.labels, logprobs.tolist(), strict=True)),
            abstained=abstained,
            set=labels,
            referral=flag.referral if flag else None,
        )

    def score_examples(self, examples: Sequence[Example]) -> tuple[np.ndarray, float]:
        """Log-likelihoods ``(examples, labels)`` by the torch engine, and the seconds they took.

        Unlike :meth:`predict` over the whole vocabulary, as lm-evaluation-harness scores a multiple choice.
        """
        scored = score(self.runner, [self.encoder.choice_item(e.inputs, self.labels) for e in examples])
        return np.stack(scored.logprobs), scored.seconds


__all__ = ["Answer", "Specialist", "TextAnswer"]
