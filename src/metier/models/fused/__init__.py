"""The steps of a block that write large tensors only to read them again, each as one with a gradient of its own.

Between the matmuls of a small model stand a dozen steps a layer that a processor does at the speed of its memory. The
numbers are transformers' and peft's but for the order of rounding; modules, names and files stay theirs. What is not
of the expected shape, or gives something else on a trial, is left as it is.
"""

from __future__ import annotations

from torch import nn

from metier.models.fused.gated import fuse_gated
from metier.models.fused.lora import fuse_lora
from metier.models.fused.norm import fuse_norms
from metier.models.fused.rotary import fuse_rotary


def fuse(model: nn.Module) -> None:
    """Let the blocks of a model with LoRA adapters compute in fewer steps."""
    fuse_lora(model)
    fuse_gated(model)
    fuse_norms(model)
    fuse_rotary(model)
