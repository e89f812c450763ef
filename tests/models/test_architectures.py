"""Models from a shape: transformers' own classes, the published initialisation, files that load anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from metier.errors import MetierError
from metier.models.architectures import build
from metier.models.shapes import Shape
from metier.planning.shapes import count_on_meta
from metier.recipe.pretrain import Pretrain
from metier.run.pretrain_parts import shape_of

BLOOM = Shape.usual("bloom", layers=3, hidden=96, heads=4, vocabulary=320)
LLAMA = Shape.usual("llama", layers=3, hidden=96, heads=4, vocabulary=320)


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())


def test_a_bloom_has_the_papers_parameters() -> None:
    layers, width, vocabulary = 3, 96, 320
    a_layer = 2 * width + 3 * width * width + 3 * width + width * width + width
    a_layer += 2 * width + 8 * width * width + 4 * width + width
    assert (
        count(build(BLOOM, end=0, sequence_length=64)) == width * vocabulary + 2 * width + layers * a_layer + 2 * width
    )


def test_the_first_weights_are_as_wide_as_the_paper_says() -> None:
    model = build(BLOOM, end=0, sequence_length=64)
    z = (3 * 96) ** -0.5
    block = model.transformer.h[1]
    for matrix in (model.transformer.word_embeddings.weight, block.mlp.dense_h_to_4h.weight):
        assert matrix.std().item() == pytest.approx(z, rel=0.03)
    for matrix in (block.mlp.dense_4h_to_h.weight, block.self_attention.dense.weight):
        assert matrix.std().item() == pytest.approx(z / 6**0.5, rel=0.03)
    assert not block.mlp.dense_h_to_4h.bias.any()
    assert build(LLAMA, end=0, sequence_length=64).model.layers[0].mlp.down_proj.weight.std().item() == pytest.approx(
        z / 6**0.5, rel=0.03
    )


@pytest.mark.parametrize("shape", [BLOOM, LLAMA])
def test_it_is_the_same_for_a_seed_and_loads_in_transformers(shape: Shape, tmp_path: Path) -> None:
    model, again, other = (
        build(shape, end=0, sequence_length=64, seed=1),
        build(shape, end=0, sequence_length=64, seed=1),
        build(shape, end=0, sequence_length=64, seed=2),
    )
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert not torch.equal(model.get_input_embeddings().weight, other.get_input_embeddings().weight)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(20)[None]
    torch.testing.assert_close(loaded(ids).logits, model.eval()(ids).logits, atol=1e-5, rtol=1e-4)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight


def test_the_plan_counts_what_is_built() -> None:
    for shape in (BLOOM, LLAMA):
        assert shape.parameters == count(build(shape, end=0, sequence_length=64)) == count_on_meta(shape)


def test_shapes_that_cannot_be() -> None:
    with pytest.raises(MetierError, match="not a whole number of 5 heads"):
        Shape.usual("bloom", layers=1, hidden=96, heads=5, vocabulary=10)
    with pytest.raises(MetierError, match="4 × its width"):
        Shape("bloom", 1, 96, 4, 100, 10, 4)
    with pytest.raises(MetierError, match="even size"):
        Shape.usual("llama", layers=1, hidden=96, heads=32, vocabulary=10)


def test_a_recipe_is_told_its_own_field() -> None:
    choice = Pretrain(method="scratch", layers=1, hidden=96, heads=5, steps=1)
    with pytest.raises(MetierError) as caught:
        shape_of(choice, 10)
    assert caught.value.where == "recipe, pretrain.hidden"
    assert caught.value.fix == "use 100, or other heads"
