"""The exact prompt in pieces, so that special tokens, the example's text and the learnt answer can be told apart."""

from __future__ import annotations

import re
from typing import Any

from metier.report.read import Json

Piece = tuple[str, str]
_SPECIAL = re.compile(r"<\|[^<>|\n]{1,48}\|>|</?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn)>")


def _cut(pieces: list[Piece], needle: str, kind: str) -> list[Piece]:
    """Mark the last occurrence of ``needle`` in a plain piece; earlier ones may be solved examples."""
    for i in reversed(range(len(pieces))):
        old, text = pieces[i]
        at = text.rfind(needle) if not old and needle else -1
        if at >= 0:
            parts = [("", text[:at]), (kind, needle), ("", text[at + len(needle) :])]
            return [*pieces[:i], *(p for p in parts if p[1]), *pieces[i + 1 :]]
    return pieces


def _mark_special(pieces: list[Piece]) -> list[Piece]:
    out: list[Piece] = []
    for kind, text in pieces:
        if kind:  # what the user wrote stays what the user wrote, even if it looks like a token
            out.append((kind, text))
            continue
        at = 0
        for match in _SPECIAL.finditer(text):
            out += [("", text[at : match.start()]), ("token", match.group())]
            at = match.end()
        out.append(("", text[at:]))
    return [piece for piece in out if piece[1]]


def inputs_of(prompt: Json) -> dict[str, str]:
    """The fields of the example that was rendered, empty if they were not recorded."""
    found = prompt.get("inputs")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def template_of(prompt: Json) -> str | None:
    """The rendered prompt with ``{field}`` where each input stood; None if that cannot be told."""
    rendered, inputs = prompt.get("rendered"), inputs_of(prompt)
    if not rendered or not inputs or any(not value for value in inputs.values()):
        return None
    pieces: list[Piece] = [("", str(rendered))]
    # the longest first: a short field may occur inside a long one
    for name, value in sorted(inputs.items(), key=lambda item: -len(item[1])):
        before = len(pieces)
        pieces = _cut(pieces, value, f"{{{name}}}")
        if len(pieces) == before and (f"{{{name}}}", value) not in pieces:
            return None
    return "".join(kind or text for kind, text in pieces)


def prompt_view(prompt: Json) -> dict[str, Any]:
    """Pieces ``(kind, text)`` with kind ``""``, ``token``, ``input`` or ``loss``, and the counts of tokens."""
    rendered, inputs = str(prompt.get("rendered") or ""), inputs_of(prompt)
    pieces: list[Piece] = [("", rendered)] if rendered else []
    for value in sorted(inputs.values(), key=len, reverse=True):
        pieces = _cut(pieces, value, "input")
    pieces = _mark_special(pieces)
    answer = prompt.get("answer")
    if pieces and answer:
        lead = str(prompt.get("lead") or "")
        pieces += [("", lead)] if lead else []
        pieces.append(("loss", f"{answer}{prompt.get('end') or ''}"))
    tokens = prompt.get("answer_tokens") or {}
    answers = [(label, len(n) if isinstance(n, list) else n) for label, n in tokens.items()]
    return {
        "pieces": pieces,
        "has_input": any(kind == "input" for kind, _ in pieces),
        "has_answer": bool(answer),
        "tokens": prompt.get("tokens"),
        "shared": prompt.get("shared_prefix_tokens"),
        "answers": answers,
        "loss_on": prompt.get("loss_on") or "the answer's tokens and its end token",
    }


def is_chat(prompt: Json) -> bool:
    """Whether the prompt was rendered by a chat template, which writes its own special tokens."""
    return bool(_SPECIAL.search(str(prompt.get("rendered") or "")))
