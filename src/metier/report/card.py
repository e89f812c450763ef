"""``specialist/README.md``: a Hugging Face model card, made from the run directory alone."""

from __future__ import annotations

import builtins
import keyword
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metier.files import write_text
from metier.report import sections, selective
from metier.report.compare import comparisons, elsewhere, retention
from metier.report.html import environment
from metier.report.prompt import is_chat, template_of
from metier.report.read import Run, read_run
from metier.report.verdict import cost_sentence, elsewhere_sentence, verdict
from metier.report.words import METHODS, metric, number, span, system_key, system_title

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

# identifiers that the hub knows and that our bases and data sets carry; another licence is declared as "other"
_HUB_LICENCES = frozenset(
    """apache-2.0 mit bsd-3-clause cc0-1.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nc-sa-3.0
    cc-by-nc-sa-4.0 gemma llama2 llama3 llama3.1 llama3.2 openrail bigscience-openrail-m gpl-3.0 odc-by""".split()  # noqa: SIM905
)
_ADVICE_ELSEWHERE = "It does not replace the judgement of a person who answers for it."
_HUB = "https://huggingface.co/"
# names that the card's code needs for itself
_TAKEN = {"torch", "tokenizer", "model", "plain", "answers", "shown", "PROMPT", "ANSWERS", "TEMPERATURE"}


def licence_key(text: str | None) -> str | None:
    """The hub's identifier of a licence, None if it has none."""
    key = (text or "").strip().lower()
    return key if key in _HUB_LICENCES else None


def licence(run: Run) -> dict[str, str]:
    """The licence to declare: the base's if the data allow commercial use, else "other", named after both.

    Whether a data set's terms bind weights trained on it is not settled law; the card names both and decides nothing.
    """
    base, data = run.part("base")["licence"], run.task["licence"]
    if run.task["commercial"] and (key := licence_key(base)):
        return {"license": key}
    parts = [f"{base or 'unknown'} base", f"{data or 'unknown'} data"]
    name = "-".join(re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-") for part in parts)
    return {"license": "other", "license_name": name}


def base_on_hub(run: Run) -> str | None:
    """The base's ``owner/name`` on the hub: its reference, or the hub page that its catalogue entry names."""
    base = run.part("base")
    if base["hub_name"]:
        return str(base["hub_name"])
    if str(base["ref"] or "").startswith("hf:"):
        return str(base["ref"])[3:].split("@")[0]
    return _hub_id(base["homepage"], "")


def _hub_id(url: str | None, kind: str) -> str | None:
    match = re.fullmatch(re.escape(_HUB + kind) + r"([\w.-]+/[\w.-]+)/?", url or "")
    return match.group(1) if match and not (kind == "" and match.group(1).startswith("datasets/")) else None


def _result(run: Run, task: str, title: str, dataset: str, name: str, score: dict[str, Any]) -> EvalResult:
    from huggingface_hub import EvalResult

    average = {"weighted_f1": "weighted", "macro_f1": "macro"}.get(name)
    interval = f" (95 % interval {span(score)}, n = {score['n']})".replace("\N{NO-BREAK SPACE}", " ")
    return EvalResult(
        task_type=_task_type(run) if task == run.task["name"] else "text-generation",
        task_name=title,
        dataset_type=dataset,
        dataset_name=title,
        dataset_config=run.task["variant"] if task == run.task["name"] else None,
        dataset_split="test" if task == run.task["name"] else None,
        metric_type="f1" if average else name,
        metric_name=metric(name).title + interval,
        metric_value=round(float(score["value"]), 4),
        metric_args={"average": average} if average else None,
    )


def _task_type(run: Run) -> str:
    if run.task["kind"] == "multiple_choice":
        return "multiple-choice"
    return "text-generation" if is_written(run) else "text-classification"


def is_written(run: Run) -> bool:
    """Whether the specialist's answers are written out, instead of chosen among labels."""
    return run.task["kind"] in ("extraction", "generation")


def results(run: Run) -> list[EvalResult]:
    """The specialist's scores for the card's model index: its own task, then what it kept of general ability."""
    title = str(run.task["title"] or run.task["name"])
    dataset = _hub_id(run.task["homepage"], "datasets/") or str(run.task["name"])
    found = []
    for name in dict.fromkeys([run.metric, "accuracy", "macro_f1", "exact_match"]):
        if score := run.score("specialist", name):
            found.append(_result(run, run.task["name"], title, dataset, name, score))
    return found + [_result(run, r.task, r.title, r.task, r.metric, r.after) for r in retention(run)[0]]


def _is_adapter(run: Run) -> bool:
    """Whether the specialist's weights lie beside those of its base, in peft's format."""
    return run.part("training")["method"] in ("lora", "prompt")


def _has_weights(run: Run) -> bool:
    """Whether weights lie in the specialist's folder; what was not trained is answered by the base's own."""
    return bool(run.part("training")["method"] != "none")


def metadata(run: Run) -> ModelCardData:
    """The card's metadata block."""
    from huggingface_hub import ModelCardData

    adapter = _is_adapter(run)
    dataset = _hub_id(run.task["homepage"], "datasets/")
    tags = ["metier", _task_type(run), run.task["domain"], run.part("training")["method"]]
    found = results(run)
    more: dict[str, Any] = dict(licence(run))
    if base_on_hub(run) and _has_weights(run):
        more["base_model_relation"] = "adapter" if adapter else "finetune"
    return ModelCardData(
        language=run.task["language"],
        library_name="peft" if adapter else "transformers",
        # a causal model that is read by label likelihoods: this tag names what loads it, the other what it is for
        pipeline_tag="text-generation",
        tags=[tag for tag in dict.fromkeys(tags) if tag],
        base_model=base_on_hub(run),
        datasets=[dataset] if dataset else None,
        metrics=list(dict.fromkeys(r.metric_type for r in found if r.metric_type in ("f1", "accuracy"))) or None,
        model_name=run.name,
        eval_results=found or None,
        **more,
    )


def _literal(text: str) -> str:
    """A Python literal of ``text``, one source line for each of its lines."""
    lines = text.splitlines(keepends=True) or [""]
    return repr(text) if len(lines) == 1 else "(\n" + "".join(f"    {line!r}\n" for line in lines) + ")"


def argument(field: str) -> str:
    """The name of an input in the card's code: its own, unless Python or that code needs it."""
    taken = keyword.iskeyword(field) or hasattr(builtins, field) or field in _TAKEN
    return f"{field}_" if taken else field


def _usage(run: Run) -> dict[str, Any]:
    prompt = run.part("prompt")
    template = template_of(prompt)
    fields = list((prompt["inputs"] or {}) if template else {})
    asked = [name for name in fields if name != "options"] or ["text"]
    return {
        "chooses": run.task["kind"] == "multiple_choice",
        "lettered": (run.task["template"] or {}).get("options") == "lettered",
        "asked": asked,
        "question": ", ".join(["{" + ", ".join(f'"{name}": "…"' for name in asked), '"options": ["…", "…"]}']),
        "template": template,
        "fields": fields or ["text"],
        "rendered": prompt["rendered"],
        "literal": _literal(template or str(prompt["rendered"] or "")),
        "special": not is_chat(prompt),
        "answers": prompt["answer_ids"],
        "base": base_on_hub(run) or "path/to/the/base",
        "dtype": run.part("device")["dtype"] or "float32",
        "adapter": _is_adapter(run),
        "weights": _has_weights(run),
        "written": is_written(run),
        "end": prompt["end"],
        "room": run.part("training")["max_new_tokens"] or 512,
    }


def fence(text: str) -> str:
    """A code fence longer than any run of backticks in ``text``."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)


def render_card(run: Run) -> str:
    """The whole card: metadata block and body."""
    env = environment(escape=False)
    env.filters |= {"literal": repr, "argument": argument}
    usage = _usage(run)
    body = env.get_template("card.md.jinja").render(
        run=run,
        base=run.part("base"),
        training=run.part("training"),
        method=METHODS.get(run.part("training")["method"], run.part("training")["method"] or "training"),
        verdict=verdict(run),
        cost=cost_sentence(run),
        rows=[(s, system_title(s), run.systems[s], run.score(s)) for s in sorted(run.systems, key=system_key)],
        pairs={c.other: c for c in comparisons(run)},
        metric=metric(run.metric),
        kept=retention(run)[0],
        missing=retention(run)[1],
        elsewhere=[elsewhere_sentence(run, task) for task in elsewhere(run) if run.score("specialist", task=task)],
        calibration=(run.ok("specialist") or {}).get("calibration"),
        abstaining=sections.abstaining(run).get("eighty") if run.ok("specialist") else None,
        commercial=sections.commercial(run.task),
        seen_rows=(run.splits.get("duplicates") or {}).get("test_rows_also_in_train"),
        classes=sections.confusion(run)["classes"],
        pairs_wrong=sections.confusion(run)["pairs"],
        safety=selective.safety(run),
        advice=_ADVICE_ELSEWHERE,
        demand=selective.demand(run),
        sets=selective.sets_sentence(run),
        usage=usage,
        fence=fence(usage["literal"]),
        temperature=number(run.temperature, 4),
        licence=licence(run),
    )
    return f"---\n{metadata(run).to_yaml()}\n---\n\n{body}"


def write_card(run_dir: Path) -> Path:
    """Write ``specialist/README.md`` into the run directory and return its path.

    Raises:
        MetierError: the directory holds no readable run, or the card cannot be written.
    """
    path = run_dir / "specialist" / "README.md"
    write_text(path, render_card(read_run(run_dir)))
    return path
