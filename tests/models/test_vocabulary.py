from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from metier.models.vocabulary import embedding_names, grow_vocabulary


def tiny(*, tied: bool, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=10, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        tie_word_embeddings=tied,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(dtype)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_new_rows_are_means_and_old_ones_stay(tied: bool, dtype: torch.dtype) -> None:
    model = tiny(tied=tied, dtype=dtype)
    old_in, old_out = (e.weight.detach().clone() for e in (model.get_input_embeddings(), model.get_output_embeddings()))
    grow_vocabulary(model, {10: (1, 2, 3), 11: (4, 4)})
    new_in, new_out = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (new_in is new_out) == tied
    assert model.config.vocab_size == 12
    for new, old in ((new_in, old_in), (new_out, old_out)):
        assert torch.equal(new[:10], old)
        assert torch.equal(new[10], old[[1, 2, 3]].float().mean(0).to(dtype))
        assert torch.equal(new[11], old[4])
    assert model(torch.tensor([[10, 11]])).logits.shape == (1, 2, 12)


def test_spare_rows_are_used_first() -> None:
    model = tiny(tied=True)
    grow_vocabulary(model, {8: (0, 1)})
    assert model.get_input_embeddings().weight.shape == (10, 8)


def test_names_for_peft() -> None:
    assert embedding_names(tiny(tied=False)) == ["embed_tokens", "lm_head"]
    assert "embed_tokens" in embedding_names(tiny(tied=True))
