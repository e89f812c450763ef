"""An example in words: as chat messages, and as plain text for a base without a chat template."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from metier.errors import MetierError, nearest
from metier.tasks.task import Task, Template

_FIELD = re.compile(r"\{([^\W\d]\w*)\}")
_DOUBLED = re.compile(r"\{\{([^\W\d]\w*)\}\}")

Shot = tuple[Mapping[str, str], str]


def messages(
    task: Task, inputs: Mapping[str, str], shots: Sequence[Shot] = (), *, system: bool = True
) -> list[dict[str, str]]:
    """Chat turns up to where the answer begins; solved ``shots`` are earlier turns.

    The constant instruction is the system turn, so that all prompts of a task begin alike; without ``system`` it begins
    the first turn of the user, for chat templates that know no other.
    """
    head = "\n\n".join(part for part in (task.template.system, task.template.instruction) if part)
    turns = []
    for shot, answer in shots:
        turns += [{"role": "user", "content": fill(task, shot)}, {"role": "assistant", "content": answer}]
    turns.append({"role": "user", "content": fill(task, inputs)})
    if head and not system:
        turns[0]["content"] = f"{head}\n\n{turns[0]['content']}"
    return [{"role": "system", "content": head}, *turns] if head and system else turns


def plain(task: Task, inputs: Mapping[str, str], shots: Sequence[Shot] = ()) -> tuple[str, str]:
    """``(prompt, lead)``: plain text up to the answer, and what stands between the prompt and the answer.

    A template without chat turns is taken to the letter: nothing is added to it.
    """
    if not task.template.chat:
        lead = "" if task.template.input[-1:].isspace() else " "
        return "\n\n".join([*(f"{fill(task, s)}{lead}{a}" for s, a in shots), fill(task, inputs)]), lead
    if task.kind == "multiple_choice":
        question, mark = "Question: ", "\nAnswer:"
    else:
        question, mark = "", "\nAnswer:"
    parts = [part for part in (task.template.system, task.template.instruction) if part]
    parts += [f"{question}{fill(task, shot)}{mark} {answer}" for shot, answer in shots]
    return "\n\n".join([*parts, f"{question}{fill(task, inputs)}{mark}"]), " "


def fill(task: Task, inputs: Mapping[str, str]) -> str:
    """The input part of the template with its fields."""
    try:
        return task.template.input.format(**inputs)
    except KeyError as error:
        raise MetierError(
            f"the template of '{task.name}' needs the field {error}", fix=f"give it: {task.template.fields()}"
        ) from error


def own_template(wording: str, fields: Sequence[str]) -> Template:
    """A template from a user's own wording.

    Without a field in braces the wording is an instruction, and the input follows it. With fields, it is cut before the
    line that holds the first one: what stands above is the shared instruction. Other braces are plain text.

    Raises:
        MetierError: a field that there is no column for, with the nearest.
    """
    named = list(_FIELD.finditer(wording))
    for match in named:
        if match[1] not in fields:
            fix = f"{nearest(match[1], fields)}; it may name {', '.join('{' + name + '}' for name in fields)}"
            raise MetierError(f"the instruction names the field {match[0]}, which there is no column for", fix=fix)
    if not named:
        return Template(instruction=wording.strip(), input=default_input(fields))
    cut = wording.rfind("\n", 0, named[0].start()) + 1
    below = wording[cut:].strip().replace("{", "{{").replace("}", "}}")
    return Template(instruction=wording[:cut].strip(), input=_DOUBLED.sub(r"{\1}", below))


def default_input(fields: Sequence[str]) -> str:
    """``{text}`` alone where there is one field, else one ``Name: {name}`` a line."""
    if len(fields) == 1:
        return "{" + fields[0] + "}"
    return "\n".join(f"{field.replace('_', ' ').capitalize()}: {{{field}}}" for field in fields)


def own_question(fields: Iterable[str]) -> str | None:
    """What the made instruction asks where the rows bring a question of their own: a field of that name."""
    return "What is the answer to the question" if any(name.casefold() == "question" for name in fields) else None


def default_instruction(labels: Sequence[str], domain: str | None = None, question: str | None = None) -> str:
    """An instruction made from the label names, and from a domain or a question if the user states one."""
    about = f" about {domain.strip()}" if domain and domain.strip() else ""
    ask = f"{question.strip().rstrip('?')}?" if question and question.strip() else "Which label fits it best?"
    single = all(re.fullmatch(r"[^\W_]+", label) for label in labels)
    listed = f"{', '.join(labels[:-1])} or {labels[-1]}" if single else "; ".join(labels)
    answer = "Answer with one word" if single else "Answer with exactly one of these"
    return f"Read the text{about}. {ask} {answer}: {listed}."
