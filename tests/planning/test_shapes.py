"""Shapes: published sizes to the last parameter, and the formula against what transformers builds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.models.shapes import Shape, round_up
from metier.planning.shapes import (
    ModelChoice,
    build,
    closest,
    count_on_meta,
    levine_width,
    sweep,
)

BLOOMBERG = ModelChoice(family="bloom", head_dim=192, vocabulary=131072)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    family = draw(st.sampled_from(["bloom", "llama"]))
    kv_heads, times = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    heads, size = kv_heads * times, 2 * draw(st.integers(1, 12))
    layers, vocabulary = draw(st.integers(1, 4)), draw(st.integers(2, 500))
    if family == "bloom":
        return Shape("bloom", layers, heads * size, heads, 4 * heads * size, vocabulary, heads)
    ffn, tied = draw(st.integers(1, 100)), draw(st.booleans())
    return Shape("llama", layers, heads * size, heads, ffn, vocabulary, kv_heads, tied)


@given(shapes())
@settings(deadline=None, max_examples=40)
def test_the_closed_formula_counts_what_transformers_builds(shape: Shape) -> None:
    assert count_on_meta(shape) == shape.parameters


PUBLISHED = {
    "BloombergGPT": (Shape("bloom", 70, 7680, 40, 30720, 131072, 40), 50_558_868_480),
    "BLOOM-560m": (Shape("bloom", 24, 1024, 16, 4096, 250880, 16), 559_214_592),
    "BLOOM-176B": (Shape("bloom", 70, 14336, 112, 57344, 250880, 112), 176_247_271_424),
    "SmolLM2-135M": (Shape("llama", 30, 576, 9, 1536, 49152, 3), 134_515_008),
    "Llama-2-7B": (Shape("llama", 32, 4096, 32, 11008, 32000, 32, tied=False), 6_738_415_616),
}


@pytest.mark.parametrize(("shape", "parameters"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_sizes_to_the_last_parameter(shape: Shape, parameters: int) -> None:
    assert shape.parameters == parameters
    assert count_on_meta(shape) == parameters


def test_bloomberggpts_formula_term_by_term() -> None:
    # Wu et al. 2023, appendix A.5: embedding and its norm; norm, attention, biases, norm, feed-forward; last norm
    v, d, n, layers, size = 131072, 7680, 40, 70, 192
    a_layer = 2 * d + n * (3 * size * d + d * size) + n * 3 * size + d + 2 * d + 8 * d * d + 4 * d + d
    assert d * v + 2 * d + layers * a_layer + 2 * d == build(BLOOMBERG, 70).parameters == 50_558_868_480


def test_levines_width_of_seventy_layers_is_rounded_to_forty_heads() -> None:
    assert levine_width(70) == pytest.approx(7510.07, abs=0.01)
    shape = build(BLOOMBERG, 70)
    assert (shape.hidden, shape.heads, shape.head_dim) == (7680, 40, 192)
    by_heads = build(ModelChoice(family="bloom", heads=40, vocabulary=131072, layers=70), 70)
    assert by_heads == shape


def test_the_sweep_finds_bloomberggpts_shape_from_fifty_billion() -> None:
    assert closest(BLOOMBERG, 50e9) == build(BLOOMBERG, 70)


@given(st.floats(1e5, 1e13), st.sampled_from(["bloom", "llama"]), st.integers(2, 300_000))
@settings(deadline=None)
def test_every_chosen_shape_divides_and_is_the_nearest(parameters: float, family: str, vocabulary: int) -> None:
    choice = ModelChoice(family="bloom" if family == "bloom" else "llama", vocabulary=vocabulary)
    shape = closest(choice, parameters)
    assert shape.hidden == shape.heads * shape.head_dim
    assert shape.hidden % 8 == 0
    assert shape.hidden >= levine_width(shape.layers)
    sizes = [other.parameters for other in sweep(choice)]
    assert sizes == sorted(sizes)
    ratio = max(shape.parameters / parameters, parameters / shape.parameters)
    assert all(ratio <= max(size / parameters, parameters / size) * (1 + 1e-9) for size in sizes)


@given(st.floats(1, 1e6), st.integers(1, 512))
@settings(deadline=None)
def test_rounding_up_is_to_the_next_multiple(value: float, step: int) -> None:
    rounded = round_up(value, step)
    assert rounded % step == 0
    assert value - 1e-6 * step <= rounded < value + step


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (ModelChoice(hidden=100, head_dim=64, layers=2), ["100", "heads of 64", "128"]),
        (ModelChoice(hidden=100, heads=3, layers=2), ["100", "3 heads", "102"]),
        (ModelChoice(hidden=100, heads=3, head_dim=64, layers=2), ["192", "100"]),
        (ModelChoice(heads=4, kv_heads=3, layers=2), ["4 heads", "3 key-value heads"]),
        (ModelChoice(heads=4, head_dim=3, layers=2), ["odd"]),
        (ModelChoice(family="bloom", ffn=100, layers=2), ["4 × its width"]),
        (ModelChoice(family="bloom", tied=False, layers=2), ["tied"]),
    ],
)
def test_sizes_that_do_not_divide_are_refused(choice: ModelChoice, told: list[str]) -> None:
    with pytest.raises(MetierError) as error:
        build(choice, 2)
    assert error.value.where
    assert error.value.where.startswith("model.")
    for part in told:
        assert part in str(error.value)
