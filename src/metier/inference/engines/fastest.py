"""The fastest way to run a model that gives the same: tried when it is loaded, and said.

In turn: a decoder written for Llama's shape (:mod:`metier.inference.engines.lean`) or Gemma 3's; transformers' own
modules on weights that are reordered once for oneDNN; the model as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metier.inference.engines.lean import LeanDecoder
from metier.inference.engines.lean_gemma import LeanGemma
from metier.models.decoding import Texts, begin, own_step, step
from metier.models.forward import Lean, Runner
from metier.models.layers import causal_model
from metier.models.packed import Item, Pack
from metier.models.reordered import Reordered, why_not_twice

# Greatest difference of a log-probability in nats, or a tenth of it relative; bfloat16 differs so from itself.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.25}


class OwnModules:
    """The model's own modules, their matmuls on reordered weights, for shapes without a decoder written for them.

    Errors: ``ValueError`` saying why not, ``AttributeError`` or ``RuntimeError`` where torch lacks the operations.
    """

    def __init__(self, runner: Runner) -> None:
        causal = causal_model(runner.model)
        if why := why_not_twice(causal):
            raise ValueError(why)
        self.runner, self.weights = runner, Reordered(causal.get_decoder())

    @torch.inference_mode()
    def __call__(self, pack: Pack) -> Tensor:
        """As :meth:`metier.models.forward.Lean.__call__`."""
        with self.weights.used():
            return self.runner.packed_hidden(pack)

    @torch.inference_mode()
    def step(self, tokens: Tensor, texts: Texts) -> Tensor:
        """As :meth:`metier.models.forward.Lean.step`."""
        with self.weights.used():
            return own_step(self.runner, tokens, texts)


@torch.no_grad()
def use_lean(runner: Runner) -> str:
    """Let ``runner`` compute prompts whose prefix is stored (or empty) in the fastest way that gives the same.

    Returns:
        what was done, and why.
    """
    runner.lean = None
    if not runner.packing:
        return f"transformers' modules ({runner.why})"
    causal = causal_model(runner.model)
    decoder = LeanGemma if causal.config.model_type in LeanGemma.family else LeanDecoder
    why = _try(runner, lambda: decoder(causal))
    if why is None:
        return "lean modules"
    if _try(runner, lambda: OwnModules(runner)) is None:
        return f"transformers' modules with reordered weights ({why})"
    return f"transformers' modules ({why})"


def _try(runner: Runner, make: Callable[[], Lean]) -> str | None:
    """Let ``runner`` compute in the way that is made, or say why not."""
    try:
        way = make()
        gap = _gap(runner, way)
    except (ValueError, AttributeError, RuntimeError, NotImplementedError) as error:
        return str(error)[:120]
    if not gap <= 1:
        return f"lean ones differed on a trial, by {gap:.1f} times what is allowed"
    runner.lean = way
    return None


class LeanAtTimes:
    """A runner that computes as :func:`use_lean` says within ``with``, and as before outside: scores of other stages do
    not depend on whether it wrote before them. The decoder is made once.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner, self.before = runner, runner.lean
        self.about, self.lean = use_lean(runner), runner.lean
        runner.lean = self.before

    def __enter__(self) -> None:
        self.before, self.runner.lean = self.runner.lean, self.lean

    def __exit__(self, *error: object) -> None:
        self.runner.lean = self.before


@torch.inference_mode()
def _gap(runner: Runner, way: Lean) -> float:
    """Greatest difference of a log-probability, as a share of the one allowed, over a few prompts of spread-out ids."""
    size = int(causal_model(runner.model).config.vocab_size)
    ids = [(7919 * i + 3) % size for i in range(64)]
    items = [
        Item(tuple(ids[8:40]), ((ids[40], ids[41]), (ids[42], ids[43], ids[44]))),
        Item(tuple(ids[45:48]), ((ids[48],),)),
    ]
    stored = runner.store_prefix(ids[:8])
    pairs = []
    for some in (items, items[1:]):  # several prompts, and one alone
        pack = runner.layout(some, ids[:8], stored)
        found = runner.score_rows(way(pack)[pack.rows], torch.arange(len(pack.rows)), pack.targets)
        pairs.append((found, runner.logprobs(some, ids[:8], stored)[0]))
    tokens, trunks, each = torch.tensor(ids[50:52]), [item.trunk for item in items], torch.arange(len(items))
    texts, again = (begin(runner, trunks, [0, 1], ids[:8], stored, 1)[1] for _ in trunks)
    after = way.step(tokens, texts), step(runner, tokens, again)
    pairs.append((runner.score_rows(after[0], each, tokens), runner.score_rows(after[1], each, tokens)))
    allowed = TOLERANCE[next(runner.model.parameters()).dtype]
    gaps = [(found - right).abs() / (allowed * (right.abs() / 10).clamp(min=1)) for found, right in pairs]
    return float(torch.cat(gaps).max())
