"""The blocks of a causal language model: finding them, stopping among them, entering above them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

from metier.errors import MetierError


class Entry(NamedTuple):
    """Hidden states to go on from: the output of layer ``lowest - 1``, ``(1, tokens, hidden)``."""

    lowest: int
    states: Tensor


def causal_model(model: Any) -> Any:
    """The transformers model inside a peft wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def decoder_layers(model: Any) -> nn.ModuleList:
    """The blocks, from the embeddings up.

    Errors: :class:`MetierError` for an architecture that does not keep them in one list.
    """
    causal = causal_model(model)
    count = int(causal.config.get_text_config().num_hidden_layers)
    for module in causal.get_decoder().children():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise MetierError(
        f"the layers of a {type(causal).__name__} cannot be told apart",
        where="recipe, adapt.lowest_layer",
        fix="use lowest_layer: 0",
    )


def lowest_layer(choice: int | str, model: Any) -> int:
    """The layer from which a model adapts; ``auto`` is half its depth.

    Errors: :class:`MetierError` for a layer that the model does not have.
    """
    return 0 if choice == 0 else lowest_of(choice, len(decoder_layers(model)))


def lowest_of(choice: int | str, count: int) -> int:
    """The same for a model of ``count`` layers."""
    if choice == "auto":
        return count // 2
    if not 0 <= int(choice) < count:
        raise MetierError(
            f"there is no layer {choice} to adapt from: this base has layers 0 to {count - 1}",
            where="recipe, adapt.lowest_layer",
            fix="use 0 for all layers, or auto for the upper half",
        )
    return int(choice)


class _Reached(Exception):  # noqa: N818 - a signal, not a fault
    """Ends a forward pass at the layer whose output was wanted."""


def output_of(model: Any, layer: int, forward: Callable[[], Any]) -> Tensor:
    """Run ``forward`` up to the end of ``layer`` and return what came out, ``(1, tokens, hidden)``."""
    caught: list[Tensor] = []

    def stop(module: nn.Module, inputs: Any, output: Any) -> None:
        caught.append(output if isinstance(output, Tensor) else output[0])
        raise _Reached

    hook = decoder_layers(model)[layer].register_forward_hook(stop)
    with contextlib.suppress(_Reached):
        try:
            forward()
        finally:
            hook.remove()
    return caught[0]


@contextlib.contextmanager
def entering(model: Any, entry: Entry | None) -> Iterator[None]:
    """Within this context the layers below the entry are not run: its states take the place of their result."""
    skipped = list(decoder_layers(model)[: entry.lowest]) if entry else []

    def pass_on(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden_states

    def put_in(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        assert entry is not None
        return entry.states

    before = [vars(layer).get("forward") for layer in skipped]  # a library may have put its own there
    for layer in skipped:
        layer.forward = put_in if layer is skipped[-1] else pass_on
    try:
        yield
    finally:
        for layer, own in zip(skipped, before, strict=True):
            if own is None:
                del layer.forward
            else:
                layer.forward = own
