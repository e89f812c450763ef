"""``Specialist``: load once, ask often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metier.errors import MetierError
from metier.evaluation.scoring import normalise
from metier.inference.bundle import Bundle, read_bundle
from metier.inference.prefix import FixedPrefix
from metier.models.adapters import load_adapter
from metier.models.bases import resolve
from metier.models.device import DTYPES, choose_device, prepare_process
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.generate import generate
from metier.models.load import load_model, load_tokenizer
from metier.tasks import Example


@dataclass(frozen=True)
class Answer:
    """What a specialist says of one text.

    Attributes:
        probabilities: calibrated, over all labels, summing to 1.
        logprobs: log-likelihood of each label after the prompt, as the model gives it.
        abstained: the probability is below the threshold that was asked for.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    logprobs: dict[str, float]
    abstained: bool


@dataclass(frozen=True)
class TextAnswer:
    """What a specialist for extraction or generation writes about one text.

    Attributes:
        answer: the text, as it was written, without spaces around it.
        ended: whether it came to its own end; False where it was cut off at the longest answer that is expected.
    """

    answer: str
    ended: bool


class Specialist:
    """A finished specialist, ready to answer.

    >>> from metier import Specialist
    >>> Specialist.load("runs/finance-starter").predict(["Losses narrowed sharply."])  # doctest: +SKIP
    """

    def __init__(self, bundle: Bundle, runner: Runner, encoder: Encoder) -> None:
        self.bundle, self.runner, self.encoder = bundle, runner, encoder
        self.labels = list(bundle.task.labels)
        self.prefix = FixedPrefix.of(runner, encoder, self.labels)

    @classmethod
    def load(
        cls, path: str | Path, *, device: str = "auto", dtype: str | None = None, offline: bool = False
    ) -> Specialist:
        """Load from a run directory or a specialist's folder.

        Args:
            dtype: number format; that of training unless given.

        Errors: :class:`MetierError` when it is not there, not whole, or its base is another one.
        """
        bundle = read_bundle(Path(path))
        chosen = choose_device(device, dtype or bundle.dtype)
        prepare_process(chosen.device)
        if bundle.method == "lora":
            model = load_model(base_path(bundle, offline), dtype=DTYPES[chosen.dtype], device=chosen.device)
            model = load_adapter(model, bundle.folder)
        else:
            model = load_model(bundle.folder, dtype=DTYPES[chosen.dtype], device=chosen.device)
        encoder = Encoder(load_tokenizer(bundle.folder), bundle.task, bundle.max_tokens)
        return cls(bundle, Runner(model), encoder)

    @property
    def writes(self) -> bool:
        """Whether its answers are written out (extraction, generation) instead of chosen among labels."""
        return self.bundle.task.written

    def predict(
        self, texts: Iterable[str | Mapping[str, str]], *, abstain_below: float = 0.0
    ) -> Sequence[Answer | TextAnswer]:
        """Answer each text (or mapping of the template's fields), in order.

        Errors: :class:`MetierError` for a missing field, and for a threshold where answers are written out.
        """
        if self.writes and abstain_below > 0:
            raise MetierError(
                f"a specialist for {self.bundle.task.kind} cannot abstain: its answers are written out, and carry no "
                "probability",
                fix="leave the threshold out (--abstain-below, abstain_below)",
            )
        inputs = [self._inputs(text) for text in texts]
        if not inputs:
            return []
        if self.writes:
            return self._write(inputs)
        scored = self.prefix.score([self.encoder.choice_item(i, self.labels) for i in inputs])
        return [self._answer(values, abstain_below) for values in scored.logprobs]

    def _write(self, inputs: list[Mapping[str, str]]) -> list[TextAnswer]:
        tokenizer = self.encoder.tokenizer
        ends = list(dict.fromkeys([self.encoder.end, int(tokenizer.eos_token_id)]))
        prompts = [self.encoder.prompt(i) for i in inputs]
        room = self.bundle.answer_tokens or 0
        found = generate(self.runner, tokenizer, prompts, ends=ends, max_new_tokens=room)
        return [TextAnswer(written.text.strip(), written.ended) for written in found]

    def _answer(self, logprobs: np.ndarray, abstain_below: float) -> Answer:
        probabilities = normalise(logprobs / self.bundle.temperature)
        best = int(probabilities.argmax())
        return Answer(
            label=self.labels[best],
            probability=float(probabilities[best]),
            probabilities=dict(zip(self.labels, probabilities.tolist(), strict=True)),
            logprobs=dict(zip(self.labels, logprobs.tolist(), strict=True)),
            abstained=bool(probabilities[best] < abstain_below),
        )

    def score_examples(self, examples: Sequence[Example]) -> tuple[np.ndarray, float]:
        """Log-likelihoods ``(examples, labels)`` and the seconds they took."""
        scored = self.prefix.score([self.encoder.choice_item(e.inputs, self.labels) for e in examples])
        return np.stack(scored.logprobs), scored.seconds

    def _inputs(self, text: str | Mapping[str, str]) -> Mapping[str, str]:
        fields = self.bundle.task.template.fields()
        if isinstance(text, str):
            if len(fields) != 1:
                raise MetierError(
                    f"this specialist reads several fields: {', '.join(fields)}",
                    fix="give a mapping with these fields, or --in a table with these columns",
                )
            return {fields[0]: text}
        if missing := [name for name in fields if name not in text]:
            raise MetierError(f"the field '{missing[0]}' is missing", fix=f"this specialist reads {', '.join(fields)}")
        return text


def base_path(bundle: Bundle, offline: bool) -> Path:
    """The base that an adapter belongs to; another one than it was trained on is refused."""
    recorded = Path(str(bundle.base["path"]))
    name = str(bundle.base["name"])
    if (recorded / "config.json").exists():
        base = resolve(str(recorded), offline=True)
    else:
        base = resolve(name if str(bundle.base["ref"]).startswith(("hf:", "pypi:")) else str(recorded), offline=offline)
    if base.sha256 != bundle.base["sha256"]:
        raise MetierError(
            f"the base '{name}' found here is not the one that the adapter was trained on",
            where=f"{base.path}: {base.sha256[:16]}… instead of {str(bundle.base['sha256'])[:16]}…",
            fix=f"fetch the base again from {bundle.base['ref']}",
        )
    return base.path
