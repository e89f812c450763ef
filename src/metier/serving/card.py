"""What a served specialist is, for a program: everything that may be said of it to whoever asks."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from metier.inference.abstaining import policy
from metier.inference.bundle import Bundle
from metier.inference.specialist import Specialist
from metier.serving.wire import Limits, example, fields_of

_BASE = ("name", "ref", "revision", "sha256", "licence", "note", "homepage")  # and not its path on this machine


def name_of(bundle: Bundle) -> str:
    """The run's name, or that of the folder where the specialist stands alone."""
    folder = bundle.folder.resolve()
    return folder.parent.name if folder.name == "specialist" else folder.name


def abstains(bundle: Bundle, below: float | None) -> str:
    """When it abstains unless a request says otherwise, as one sentence."""
    if bundle.task.written:
        return "never: its answers are written out, and carry no probability"
    if below is not None:
        return f"it abstains below a probability of {below:g}: its server was started so" if below else "never"
    return policy(bundle) or "never, unless a request names a threshold: its recipe demanded nothing"


def card(specialist: Specialist, limits: Limits, abstain_below: float | None) -> dict[str, Any]:
    """Task, labels, fields, base, licences, intended use, when it abstains, limits of a request."""
    bundle = specialist.bundle
    task = bundle.task
    return {
        "model": name_of(bundle),
        "task": {key: getattr(task, key) for key in ("name", "version", "kind", "title", "description", "domain")}
        | {"language": task.language, "data_licence": task.licence, "data_commercial_use": task.commercial},
        "labels": task.labels,
        "fields": fields_of(task),
        "options": task.kind == "multiple_choice",
        "option_count": task.option_count,
        "example": example(task),
        "template": task.template.model_dump(mode="json"),
        "base": {key: bundle.base.get(key) for key in _BASE},
        "adaptation": bundle.method,
        "max_tokens": bundle.max_tokens,
        "intended_use": specialist.intended_use,
        "notice": specialist.notice,
        "abstains": abstains(bundle, abstain_below),
        "demand": None if bundle.promise is None else bundle.promise.to_json(),
        "sets": bundle.conformal is not None,
        "engine": specialist.engine.name,
        "engine_reason": specialist.engine_reason,
        "limits": asdict(limits),
        "metier": version("metier"),
    }
