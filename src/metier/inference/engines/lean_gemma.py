"""Gemma 3's block (Gemma Team 2025, arXiv 2503.19786) with as little between its matmuls as Llama's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metier.inference.engines.lean import LeanDecoder, Rotation, matmul, matmul_then, rotation
from metier.models.layers import decoder_layers


class LeanGemma(LeanDecoder):
    """As :class:`LeanDecoder`: norms on both sides of attention and feed-forward layer, on queries and on keys, windows
    on most layers with rotations of their own, embeddings scaled by the root of their size.

    Norms multiply with one more than their weights, in float32: neither is rounded to the model's format.
    """

    family = ("gemma3_text",)
    activation = ("hidden_activation", "gelu_pytorch_tanh")

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        decoder = model.get_decoder()
        self.kinds = [str(kind) for kind in model.config.layer_types]
        blocks: list[Any] = list(decoder_layers(model))
        self.windows = [block.self_attn.sliding_window for block in blocks]
        self.embed_scale = decoder.embed_tokens.embed_scale.to(self.embed.dtype)
        self.last_norm = _gain(decoder.norm)

    def _attends_otherwise(self, config: Any) -> str | None:
        capped = config.attn_logit_softcapping or config.use_bidirectional_attention
        return "another way of attending" if capped else None

    def _blocks(self, model: Any) -> list[Any]:
        return [_Layer(layer, self.heads, self.kv_heads) for layer in decoder_layers(model)]

    def _embedded(self, ids: Tensor) -> Tensor:
        found: Tensor = F.embedding(ids, self.embed) * self.embed_scale
        return found

    def _norm(self, x: Tensor, weight: Tensor | None) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], weight, self.eps).to(x.dtype)

    def _rotations(self, x: Tensor, positions: Tensor) -> Sequence[Rotation]:
        found = {kind: rotation(*self.rotary(x[None], positions, kind)) for kind in set(self.kinds)}
        return [found[kind] for kind in self.kinds]

    def _straight(self, layer: Any, heads: Tensor) -> Tensor:
        normed = F.rms_norm(heads.float(), heads.shape[-1:], None, self.eps)
        return normed.mul_(layer.of_heads).to(heads.dtype)

    def _after(self, layer: Any, read: Tensor, x: Tensor) -> Tensor:
        x = x + self._norm(layer.output(read), layer.after_attention)
        normed = self._norm(x, layer.before_feed)
        return x + self._norm(layer.down(layer.up(normed, layer.gate(normed))), layer.after_feed)


class _Layer:
    """One block's matrices and the gains of its norms, in float32."""

    def __init__(self, layer: Any, heads: int, kv_heads: int) -> None:
        attention, feed = layer.self_attn, layer.mlp
        self.before, self.after_attention = _gain(layer.input_layernorm), _gain(layer.post_attention_layernorm)
        self.before_feed = _gain(layer.pre_feedforward_layernorm)
        self.after_feed = _gain(layer.post_feedforward_layernorm)
        gains = [_gain(attention.q_norm)] * heads + [_gain(attention.k_norm)] * kv_heads
        self.of_heads = torch.stack(gains)  # (heads + kv_heads, head_dim)
        self.queries_keys_values = matmul([attention.q_proj, attention.k_proj, attention.v_proj])
        self.output = matmul([attention.o_proj])
        self.gate = matmul([feed.gate_proj], None, "gelu", "tanh")
        self.up = matmul_then(feed.up_proj, "mul")
        self.down = matmul([feed.down_proj])


def _gain(norm: Any) -> Tensor:
    found: Tensor = 1.0 + norm.weight.detach().float()
    return found
