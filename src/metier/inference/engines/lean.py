"""A decoder of Llama's shape with nothing between the matmuls that a processor can do inside them.

One sentence alone is a few dozen rows: the matmuls are small, and what stands around them in modules made for
training (norms in six steps, rotations of queries and keys apart, activations and sums that write their result once
more) costs a third of the time. Here weights are reordered once for oneDNN, queries, keys and values come from one
matrix, the norms' weights are part of the matrix behind them, and activation, product and residual sum happen in the
matmul that feeds them. Nothing is approximated: sums are taken in another order. In bfloat16 adapters stay apart and
norms' weights where they are, for either in the matrix would be rounded with it.

Where the processor has matrix tiles (AMX), rows are filled up to whole tiles: a matmul of 31 rows takes longer than
one of 32, and the first one of every number of rows a millisecond for its code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metier.models.decoding import Texts
from metier.models.fused.lora import is_on, is_plain, update_of
from metier.models.layers import decoder_layers
from metier.models.packed import Pack, pack_attention
from metier.models.reordered import reordered, why_not_twice

# Architectures with Llama's block: what else one has (biases, several key heads) is read from its modules.
FAMILY = ("llama", "mistral", "qwen2")
TILE = 16  # rows of an AMX tile

Attend = Callable[..., Tensor]
Rotation = tuple[Tensor, Tensor]


class LeanDecoder:
    """Hidden states of a pack whose prefix is stored, from copies of a model's weights.

    Args:
        model: a transformers causal language model of :data:`FAMILY` on the processor.

    Errors: ``ValueError`` saying why for a model of another shape, ``AttributeError`` or ``RuntimeError`` where torch
    lacks the operations.
    """

    family: tuple[str, ...] = FAMILY
    activation = ("hidden_act", "silu")  # field of the config, and what it has to say

    def __init__(self, model: Any) -> None:
        if why := self._unfit(model):
            raise ValueError(why)
        decoder, config = model.get_decoder(), model.config
        attention: Any = decoder_layers(model)[0].self_attn
        self.heads, self.kv_heads = int(config.num_attention_heads), int(config.num_key_value_heads)
        self.eps, self.scale = float(config.rms_norm_eps), float(attention.scaling)
        self.embed, self.rotary, self.last_norm = decoder.embed_tokens.weight, decoder.rotary_emb, decoder.norm.weight
        self.tile = TILE if self.embed.dtype == torch.bfloat16 and _has_tiles() else 1
        self.windows: list[int | None] = [None] * int(config.num_hidden_layers)
        self.layers = self._blocks(model)

    def _unfit(self, model: Any) -> str | None:
        """Why a model cannot be run this way, or nothing."""
        config, (field, activation) = model.config, self.activation
        if config.model_type not in self.family:
            return f"{config.model_type} is not of Llama's shape"
        if getattr(config, field) != activation:
            return "another activation"
        if any(adapted_otherwise(layer) for layer in decoder_layers(model)):
            return "an adapter of another kind"
        return self._attends_otherwise(config) or why_not_twice(model)

    def _attends_otherwise(self, config: Any) -> str | None:
        windows = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
        return "attention within a window" if windows else None

    def _blocks(self, model: Any) -> list[Any]:
        return [_Layer(layer) for layer in decoder_layers(model)]

    @torch.inference_mode()
    def __call__(self, pack: Pack) -> Tensor:
        """``(tokens, hidden)`` after the last norm; only the rows that ``pack.rows`` names are sure to be filled."""
        tokens, wanted = pack.input_ids.shape[1], torch.unique(pack.rows)
        single = len(pack.gather) == pack.answers == 1
        # the fused kernel's exponential is good to 20 bits: not for float32
        fused = single and self.embed.dtype == torch.bfloat16
        rows = tokens + -tokens % self.tile
        attend = self._alone(pack, rows) if fused else self._together(pack, rows)
        ends = self._run(pack.input_ids[0], pack.positions[0], attend, wanted)
        found = torch.zeros(tokens, ends.shape[1], dtype=ends.dtype)
        found[wanted] = ends[: len(wanted)]
        return found

    @torch.inference_mode()
    def step(self, tokens: Tensor, texts: Texts) -> Tensor:
        """The next token of each text, ``(R,)`` → hidden states after the last norm, ``(R, hidden)``."""
        count = len(tokens)

        def attend(number: int, *heads: Tensor) -> Tensor:
            queries, keys, values = (part[:count, :, None] for part in heads)  # (R, heads, 1, head_dim)
            found = texts.attend(number, queries, keys, values, self.scale, self.windows[number])
            return F.pad(found.reshape(count, -1), (0, 0, 0, -count % self.tile))

        return self._run(tokens, texts.positions[:, 0], attend)[:count]

    def _run(self, ids: Tensor, positions: Tensor, attend: Attend, wanted: Tensor | None = None) -> Tensor:
        """Rows after the last norm, in whole tiles: all, or those that are wanted."""
        x = self._embedded(self._filled(ids))  # (rows, hidden)
        rotations = self._rotations(x, self._filled(positions)[None])
        for number, layer in enumerate(self.layers):
            read = attend(number, *self._heads(layer, x, rotations[number]))
            if wanted is not None and number == len(self.layers) - 1:  # nothing reads the others any more
                read, x = read[self._filled(wanted)], x[self._filled(wanted)]
            x = self._after(layer, read, x)
        return self._norm(x, self.last_norm)

    def _embedded(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.embed)

    def _after(self, layer: Any, read: Tensor, x: Tensor) -> Tensor:
        """What follows attention in a block."""
        x = layer.output(read, x)
        normed = self._norm(x, layer.after)
        done: Tensor = layer.down(layer.up(normed, layer.gate(normed)), x)
        return done

    def _filled(self, numbers: Tensor) -> Tensor:
        """``numbers`` and zeros up to a whole tile."""
        return F.pad(numbers, (0, -len(numbers) % self.tile))

    def _norm(self, x: Tensor, weight: Tensor | None) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], weight, self.eps)

    def _rotations(self, x: Tensor, positions: Tensor) -> Sequence[Rotation]:
        """Of each layer."""
        return [rotation(*self.rotary(x[None], positions))] * len(self.layers)

    def _straight(self, layer: Any, heads: Tensor) -> Tensor:
        """Queries and keys ``(rows, heads + kv_heads, head_dim)`` before they are rotated."""
        return heads

    def _heads(self, layer: Any, x: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, ``(rows, heads or kv_heads, head_dim)``."""
        size, turned = rotation[0].shape[-1], self.heads + self.kv_heads
        projected = layer.queries_keys_values(self._norm(x, layer.before)).view(len(x), turned + self.kv_heads, size)
        straight = self._straight(layer, projected[:, :turned])
        rotated = torch.addcmul(straight * rotation[0], straight.roll(size // 2, -1), rotation[1])
        return rotated[:, : self.heads], rotated[:, self.heads :], projected[:, turned:]

    def _together(self, pack: Pack, rows: int) -> Attend:
        """What the heads of a layer read where several prompts stand in the row, ``(rows, heads · head_dim)``."""
        tokens = pack.input_ids.shape[1]

        def attend(number: int, *heads: Tensor) -> Tensor:
            queries, keys, values = (part[:tokens] for part in heads)
            found = pack_attention(pack, number, queries, keys, values, self.scale, self.windows[number])
            return F.pad(found.reshape(tokens, -1), (0, 0, 0, rows - tokens))

        return attend

    def _alone(self, pack: Pack, rows: int) -> Attend:
        """The same for one prompt: the rows are its tokens, in order, and see those before them."""
        allowed = torch.ones(rows, pack.seen + rows, dtype=torch.bool).tril(pack.seen)
        masks = {
            window: torch.zeros(allowed.shape, dtype=self.embed.dtype).masked_fill_(
                ~(allowed if window is None else allowed.triu(pack.seen + 1 - window)), -torch.inf
            )
            for window in set(self.windows)
        }
        repeated = self.heads != self.kv_heads

        def attend(number: int, *heads: Tensor) -> Tensor:
            queries, keys, values = (part.transpose(0, 1) for part in heads)
            if pack.stored is not None:
                before = pack.stored[number]
                keys, values = torch.cat([before[0], keys], 1), torch.cat([before[1], values], 1)
            mask = masks[self.windows[number]]
            found = F.scaled_dot_product_attention(
                queries[None], keys[None], values[None], attn_mask=mask, scale=self.scale, enable_gqa=repeated
            )
            return found[0].transpose(0, 1).reshape(rows, -1)

        return attend


def rotation(cos: Tensor, sin: Tensor) -> Rotation:
    """Cosines and sines ``(1, tokens, head_dim)`` as ``(tokens, 1, head_dim)``, the first half of the sines negated
    (RoFormer, equation 34).
    """
    half = sin.shape[-1] // 2
    return cos[0, :, None], torch.cat([-sin[0, :, None, :half], sin[0, :, None, half:]], -1)


class _Layer:
    """One block's matrices: each attribute is a matmul with what comes after it."""

    def __init__(self, layer: Any) -> None:
        attention, feed = layer.self_attn, layer.mlp
        before, after = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        folded = before.dtype == torch.float32  # the norms' weights are part of the matrices behind them
        self.before: Tensor | None = None if folded else before
        self.after: Tensor | None = None if folded else after
        into, up = (before, after) if folded else (None, None)
        self.queries_keys_values = matmul([attention.q_proj, attention.k_proj, attention.v_proj], into)
        self.output = matmul_then(attention.o_proj, "add")
        self.gate = matmul([feed.gate_proj], up, "swish")
        self.up = matmul_then(feed.up_proj, "mul", up)
        self.down = matmul_then(feed.down_proj, "add")


class _Adapter:
    """What LoRA adds to the outputs of layers with one input: ``s · (x A') B'``, the layers' ranks side by side."""

    def __init__(self, layers: list[Any], gain: Tensor | None) -> None:
        updates = [update_of(layer) for layer in layers]
        self.a = _scaled(torch.cat([u.a for u in updates]), gain).t().contiguous()
        self.b = torch.block_diag(*(u.b * u.scale for u in updates)).t().contiguous()  # type: ignore[no-untyped-call]

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return y.addmm_(x @ self.a, self.b)


def _parts(layers: list[Any], gain: Tensor | None) -> tuple[Tensor, Tensor | None, _Adapter | None]:
    """Weights (reordered, their columns times ``gain``) and biases of layers with one input, and their adapters."""
    bare = [layer.base_layer if is_plain(layer) else layer for layer in layers]
    bias = None if bare[0].bias is None else torch.cat([layer.bias for layer in bare])
    adapter = _Adapter(layers, gain) if is_plain(layers[0]) else None
    return reordered(_scaled(torch.cat([layer.weight for layer in bare]), gain)), bias, adapter


def _scaled(weight: Tensor, gain: Tensor | None) -> Tensor:
    return weight if gain is None else weight * gain


# By oneDNN's name and algorithm, where the activation has several.
_ACTIVATIONS: dict[tuple[str, str], Callable[[Tensor], Tensor]] = {
    ("none", ""): lambda x: x,
    ("swish", ""): torch.nn.SiLU(inplace=True),
    ("gelu", "tanh"): torch.nn.GELU(approximate="tanh"),
}


def matmul(
    layers: list[Any], gain: Tensor | None = None, activation: str = "none", algorithm: str = ""
) -> Callable[[Tensor], Tensor]:
    """``x → activation(x W' + bias)``."""
    order, bias, adapter = _parts(layers, gain)
    run = torch.ops.mkldnn._linear_pointwise.default
    if adapter is None:
        return lambda x: run(x, order, bias, activation, [], algorithm)
    done = _ACTIVATIONS[activation, algorithm]
    return lambda x: done(adapter.add(x, run(x, order, bias, "none", [], "")))


def matmul_then(layer: Any, operation: str, gain: Tensor | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """``x, y → (x W' + bias) operation y``."""
    order, bias, adapter = _parts([layer], gain)
    run, plain = torch.ops.mkldnn._linear_pointwise.binary, torch.ops.mkldnn._linear_pointwise.default
    if adapter is None:
        return lambda x, y: run(x, y, order, bias, operation)
    if operation == "add":
        return lambda x, y: adapter.add(x, run(x, y, order, bias, operation))
    return lambda x, y: adapter.add(x, plain(x, order, bias, "none", [], "")).mul_(y)


def _has_tiles() -> bool:
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older releases do not say
    return bool(known.get("amx_bf16", False))


def adapted_otherwise(layer: Any) -> bool:
    """Whether a block's adapters are not plain LoRA that is on, or stand on some only of the layers with one input."""
    attention, feed = layer.self_attn, layer.mlp
    together = (attention.q_proj, attention.k_proj, attention.v_proj), (attention.o_proj,), (feed.gate_proj,), (
        feed.up_proj,), (feed.down_proj,)  # fmt: skip
    return any(
        len({hasattr(part, "base_layer") for part in parts}) > 1
        or any(hasattr(part, "base_layer") and not (is_plain(part) and is_on(part)) for part in parts)
        for parts in together
    )
