"""From packs to log-probabilities: the one way that training, scoring and serving run a model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metier.errors import MetierError
from metier.models.layers import Entry, causal_model, entering, output_of
from metier.models.load import learned_positions
from metier.models.packed import ATTENTION, Item, Pack, build_pack, packed
from metier.models.soft_prompt import embed, soft_prompt

Stored = list[tuple[Tensor, Tensor]]
# Logits computed at once, as rows × vocabulary: bounds their memory at 4 bytes each.
LOGITS_AT_ONCE = 1 << 25
# Tokens of rows that are padded and that nothing learns from, run at once: one prompt may have a hundred answers.
PADDED_AT_ONCE = 1 << 15
# What configs call it: Cohere's, Granite's (HyperCLOVA X multiplies by it) and Falcon-H1's scale, Gemma's caps.
PUT_ON_LOGITS = (
    "logit_scale", "logits_scaling", "lm_head_multiplier", "final_logit_softcapping", "logits_soft_cap"
)  # fmt: skip


class Lean(Protocol):
    """A faster way to compute what a model's decoder gives."""

    def __call__(self, pack: Pack) -> Tensor:
        """``(tokens, hidden)`` after the last norm, at least of the rows that ``pack`` names."""
        ...

    def step(self, tokens: Tensor, texts: Any) -> Tensor:
        """One more token of each of :class:`metier.models.decoding.Texts`, ``(R,)`` → ``(R, hidden)``."""
        ...


class Runner:
    """Runs prompts through a causal language model, packed where its attention allows and padded where not.

    A soft prompt of the model stands in front of every prompt: with a shared prefix it runs once a batch.

    Args:
        model: a transformers causal language model, or a peft model around one.
        packing: ``None`` to find out by comparing both ways on a small input; ``why`` says what was found.

    Errors: :class:`MetierError` as :func:`refuse_unknown_logits`, where it is found out.
    """

    def __init__(self, model: nn.Module, *, packing: bool | None = None) -> None:
        self.model = model
        self.why = "chosen by the caller"
        # a faster way where no prefix is run along and nothing learns: pack → hidden states, at least of its rows
        self.lean: Lean | None = None
        self.packing: bool
        if packing is None and self.soft_tokens:  # a matter of the base's attention, whatever stands in front
            base = Runner(causal_model(model))
            self.packing, self.why = base.packing, base.why
        elif packing is None:
            refuse_unknown_logits(causal_model(model))
            self.packing = self._packing_is_exact()
        else:
            self.packing = packing

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        return next(self.model.parameters()).device

    @property
    def soft_tokens(self) -> int:
        """Length of the model's soft prompt; 0 if it has none."""
        soft = soft_prompt(self.model)
        return 0 if soft is None else len(soft)

    def behind_soft(self, prefix: Sequence[int]) -> tuple[int, ...]:
        """``prefix`` with a token id of no meaning in front of it for every vector of the soft prompt."""
        return (*(0,) * self.soft_tokens, *prefix)

    def layout(self, items: Sequence[Item], prefix: Sequence[int] = (), stored: Stored | None = None) -> Pack:
        """``items`` laid out behind the soft prompt and ``prefix``; ``stored`` as in :meth:`logprobs`."""
        return self._within_positions(build_pack(self.behind_soft(prefix), items, device=self.device, stored=stored))

    def logprobs(
        self,
        items: Sequence[Item],
        prefix: Sequence[int] = (),
        stored: Stored | None = None,
        entry: Entry | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log-probability of every answer token.

        Args:
            stored: keys and values of soft prompt and prefix, from :meth:`store_prefix`.
            entry: hidden states of prefix and items to go on from, where the layers below never change.

        Returns:
            ``(values, owner)``, both ``(M,)``: natural-log probabilities in float32, and the index of the answer
            (answers counted through all items) that each belongs to. Gradients flow where they are enabled.
        """
        pack, hidden = self._hidden(items, prefix, stored, entry)
        # answers of one prompt share the row that predicts their first tokens: its logits are made once
        rows, row_of = torch.unique(pack.rows, return_inverse=True)
        order = torch.argsort(row_of, stable=True)
        at_once = max(1, LOGITS_AT_ONCE // int(causal_model(self.model).config.get_text_config().vocab_size))
        values = []
        for start in range(0, len(rows), at_once):
            mine = order[(row_of[order] >= start) & (row_of[order] < start + at_once)]
            values.append(
                self.score_rows(hidden[rows[start : start + at_once]], row_of[mine] - start, pack.targets[mine])
            )
        return torch.cat(values)[torch.argsort(order)], pack.owner

    def answer_logprobs(
        self,
        items: Sequence[Item],
        prefix: Sequence[int] = (),
        stored: Stored | None = None,
        entry: Entry | None = None,
    ) -> Tensor:
        """Summed log-probability of each answer, ``(answers,)``, answers counted through all items."""
        values, owner = self.logprobs(items, prefix, stored, entry)
        total = torch.zeros(sum(len(item.answers) for item in items), device=values.device)
        return total.index_add(0, owner, values)

    def next_logits(
        self, items: Sequence[Item], tokens: Sequence[int], prefix: Sequence[int] = (), stored: Stored | None = None
    ) -> Tensor:
        """Logits of ``tokens`` alone after each trunk, ``(items, tokens)`` in float32.

        Enough where only the tokens' probabilities among themselves count: the rest of the vocabulary, whose
        weights are a fifth of a small model's, is not read.
        """
        ends = [Item(item.trunk, ((tokens[0],),)) for item in items]
        pack, hidden = self._hidden(ends, prefix, stored)
        wanted = torch.tensor(list(tokens), device=self.device)
        return vocabulary_logits(causal_model(self.model), hidden[pack.rows], wanted).float()

    @torch.inference_mode()
    def store_prefix(self, prefix: Sequence[int]) -> Stored | None:
        """Keys and values of soft prompt and ``prefix`` for every layer, ``None`` if there is no use.

        To be given to later calls with the same ``prefix``.
        """
        pack = self.layout([], prefix)
        if not self.packing or not pack.prefix:
            return None
        pack.collect = {}
        self.packed_hidden(pack)
        return [pack.collect[layer] for layer in sorted(pack.collect)]

    @torch.inference_mode()
    def read(
        self, items: Sequence[Item], prefix: Sequence[int] = (), stored: Stored | None = None
    ) -> tuple[Tensor, list[Stored]]:
        """Run ``items`` (with one answer of one token each) for what is to be written behind them.

        Returns:
            The hidden states at their ends, ``(items, hidden)``, and their keys and values: for each layer of each item
            a pair, each ``(kv_heads, its tokens, head_dim)``. For a model that is run packed.
        """
        pack = self.layout(items, prefix, stored)
        pack.collect = {}
        hidden = self.packed_hidden(pack)[pack.rows]
        sizes = [pack.prefix, *(item.tokens for item in items)]
        layers = [[torch.split(part, sizes, 1)[1:] for part in pack.collect[layer]] for layer in sorted(pack.collect)]
        return hidden, [list(zip(keys, values, strict=True)) for keys, values in layers]

    def hidden_entering(self, layer: int, prefix: Sequence[int], items: Sequence[Item]) -> Tensor:
        """Hidden states that enter ``layer``, ``(prefix + tokens, hidden)``, for a model that is run packed."""
        pack = self.layout(items, prefix)
        return output_of(self.model, layer - 1, lambda: self.packed_hidden(pack))[0]

    def score_rows(self, hidden: Tensor, row_of: Tensor, targets: Tensor) -> Tensor:
        """Log-probabilities of ``targets`` ``(M,)`` in rows ``row_of`` ``(M,)`` of ``hidden`` ``(rows, hidden)``."""
        causal = causal_model(self.model)
        logits = vocabulary_logits(causal, hidden).float()
        return torch.log_softmax(logits, -1)[row_of, targets]

    def _hidden(
        self, items: Sequence[Item], prefix: Sequence[int], stored: Stored | None, entry: Entry | None = None
    ) -> tuple[Pack, Tensor]:
        """The layout, and the hidden states that its ``rows`` index."""
        if not self.packing:
            return self._padded_hidden(prefix, items)
        pack = self.layout(items, prefix, stored)
        if self.lean and not pack.prefix and entry is None and not torch.is_grad_enabled():
            return pack, self.lean(pack)
        return pack, self.packed_hidden(pack, entry)

    def packed_hidden(self, pack: Pack, entry: Entry | None = None) -> Tensor:
        """Hidden states after the last norm, ``(tokens, hidden)``."""
        causal = causal_model(self.model)
        with packed(pack), entering(self.model, entry):
            begin = self._inputs(pack.input_ids, soft=pack.prefix > 0)
            output = causal.get_decoder()(**begin, position_ids=pack.positions, use_cache=False)
        layers = int(causal.config.get_text_config().num_hidden_layers) - (entry.lowest if entry else 0)
        if pack.layers != layers:  # a layer that mixes tokens in its own way would see the neighbours
            raise RuntimeError(f"{pack.layers} of {layers} layers read the layout")
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    def _padded_hidden(self, prefix: Sequence[int], items: Sequence[Item]) -> tuple[Pack, Tensor]:
        """The plain way: every answer with its whole prompt in a row of its own, padded on the right."""
        before = self.behind_soft(prefix)
        single = [Item((*before, *item.trunk), (answer,)) for item in items for answer in item.answers]
        pack = self._within_positions(build_pack((), single, device=self.device))
        grid = pack.input_ids[0][pack.gather]
        lengths = torch.tensor([item.tokens for item in single], device=self.device)
        mask = (torch.arange(grid.shape[1], device=self.device)[None] < lengths[:, None]).long()
        decoder = causal_model(self.model).get_decoder()
        at_once = len(grid) if torch.is_grad_enabled() else max(1, PADDED_AT_ONCE // grid.shape[1])
        hidden = [
            decoder(**self._inputs(ids), attention_mask=seen, use_cache=False).last_hidden_state
            for ids, seen in zip(torch.split(grid, at_once), torch.split(mask, at_once), strict=True)
        ]
        return pack, torch.cat(hidden).flatten(0, 1)[pack.scatter]

    def _within_positions(self, pack: Pack) -> Pack:
        """The pack. Errors: :class:`MetierError` for one that a learned table of positions is too small for."""
        table = learned_positions(causal_model(self.model).config)
        if table and pack.positions.numel() and (used := int(pack.positions.max()) + 1) > table:
            raise MetierError(
                f"a prompt takes {used} tokens with its answer: this base has {table} positions",
                fix=f"lower max_tokens by {used - table} or more, or shorten the answers",
            )
        return pack

    def _inputs(self, ids: Tensor, *, soft: bool = True) -> dict[str, Tensor]:
        """What a decoder is given for ``ids (rows, time)`` that begin with the soft prompt's places, if ``soft``."""
        vectors = soft_prompt(self.model) if soft else None
        return {"input_ids": ids} if vectors is None else {"inputs_embeds": embed(self.model, ids, vectors)}

    def _packing_is_exact(self) -> bool:
        """Compare packed with padded on a small input; a model that differs (ALiBi, sinks, …) is run padded."""
        causal = causal_model(self.model)
        if causal.config._attn_implementation != ATTENTION:
            self.why = "padded: this architecture does not let its attention be replaced"
            return False
        size = int(causal.config.get_text_config().vocab_size)
        ids = [(7 * i + 3) % size for i in range(24)]
        items = [
            Item(tuple(ids[4:9]), ((ids[9], ids[10]), (ids[11], ids[12], ids[13]))),
            Item(tuple(ids[14:17]), ((ids[17],), (ids[18], ids[19]))),
        ]
        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                self.packing = False
                expected = self.answer_logprobs(items, ids[:4])
                self.packing = True
                found = self.answer_logprobs(items, ids[:4])
        except (TypeError, RuntimeError, ValueError, KeyError) as error:
            self.why = f"padded: packing failed on a trial ({type(error).__name__}: {str(error)[:120]})"
            return False
        finally:
            self.model.train(training)
        gap = float((found - expected).abs().max())
        limit = 1e-4 if next(self.model.parameters()).dtype == torch.float32 else 0.25
        exact = gap <= limit * max(1.0, float(expected.abs().max()) / 10)
        self.why = f"{'packed' if exact else 'padded'}: a trial of both ways differed by {gap:.1e} nats"
        if not exact:
            warnings.warn(f"prompts are not packed for this model ({self.why})", stacklevel=2)
        return exact


def vocabulary_logits(causal: Any, hidden: Tensor, tokens: Tensor | None = None) -> Tensor:
    """Logits ``(..., vocabulary or tokens)`` with the scale and soft cap that some architectures put on them."""
    layer = causal.get_output_embeddings()
    if tokens is None:
        logits: Tensor = layer(hidden)
    else:
        logits = F.linear(hidden, layer.weight[tokens], None if layer.bias is None else layer.bias[tokens])
    return scale_logits(causal, logits)


def scale_logits(causal: Any, logits: Tensor) -> Tensor:
    """Put on ``logits`` what an architecture puts on them after its last matrix."""
    config = causal.config.get_text_config()
    scale, by, multiplier, cap, other_cap = (getattr(config, name, None) for name in PUT_ON_LOGITS)
    if factor := scale or multiplier:
        logits = logits * factor
    if by:
        logits = logits * by if config.model_type.startswith("hyperclovax") else logits / by
    if limit := cap or other_cap:
        logits = limit * torch.tanh(logits / limit)
    return logits


@torch.inference_mode()
def refuse_unknown_logits(causal: Any) -> None:
    """Compare :func:`vocabulary_logits` with what the model itself gives, on a small input.

    Errors: :class:`MetierError` for an architecture that puts something on its logits that is not known here.
    """
    size = int(causal.config.get_text_config().vocab_size)
    ids = torch.tensor([[(7 * i + 3) % size for i in range(6)]], device=next(causal.parameters()).device)
    training = causal.training
    causal.eval()
    expected = causal(input_ids=ids, use_cache=False).logits.float()
    hidden = causal.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    found = vocabulary_logits(causal, hidden).float()
    causal.train(training)
    limit = 1e-3 if hidden.dtype == torch.float32 else 0.05
    gap, size_of = (float(x.abs().nan_to_num().max()) for x in (found - expected, expected))
    if gap > limit * max(1.0, size_of):
        raise MetierError(
            f"a {type(causal).__name__} puts something on its logits that is not known here: scores would be wrong",
            where="recipe, base",
            fix="choose another base",
        )
