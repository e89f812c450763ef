"""Sequences: the numbers of transformers, documents apart, no logits at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.bloom.modeling_bloom import _get_alibi_slopes

from metier.errors import MetierError
from metier.models import alibi, feedforward, vocabulary_loss
from metier.models.architectures import build
from metier.models.sequences import SequenceModel
from metier.models.shapes import Shape
from metier.models.vocabulary_loss import next_token_loss

END, VOCABULARY = 0, 97
ARCHITECTURES = ["bloom", "llama"]


def model(architecture: Any, seed: int = 0) -> Any:
    made = build(
        Shape.usual(architecture, layers=2, hidden=48, heads=6, vocabulary=VOCABULARY),
        end=END,
        sequence_length=64,
        seed=seed,
    )
    with torch.no_grad():  # biases and norms that are not at their first values
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def tokens(rows: int = 3, length: int = 41) -> Tensor:
    return torch.randint(1, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(5))


def gradients(causal: Any) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in causal.named_parameters()}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a toy's sequence is cut into several blocks, the last one short."""
    monkeypatch.setattr(alibi, "BLOCK", 16)
    monkeypatch.setattr(feedforward, "ROWS", 32)
    monkeypatch.setattr(alibi, "SCORES_AT_ONCE", 16 * 40)
    monkeypatch.setattr(vocabulary_loss, "LOGITS_IN_CACHE", VOCABULARY * 7)
    monkeypatch.setattr(vocabulary_loss, "LOGITS_TO_GRADIENTS", 2)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_gradients_are_those_of_transformers(architecture: str) -> None:
    causal, batch = model(architecture), tokens()
    expected = causal(batch[:, :-1], labels=None).logits.flatten(0, 1)
    loss = F.cross_entropy(expected, batch[:, 1:].flatten())
    loss.backward()
    wanted = gradients(causal)
    causal.zero_grad()
    found = SequenceModel(causal)(batch) / batch[:, 1:].numel()
    found.backward()
    assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    for name, value in gradients(causal).items():
        torch.testing.assert_close(value, wanted[name], atol=2e-6, rtol=2e-4, msg=name)


@pytest.mark.parametrize("heads", [1, 3, 6, 8, 12, 40])
def test_slopes_are_blooms(heads: int) -> None:
    torch.testing.assert_close(alibi.slopes(heads), _get_alibi_slopes(heads, torch.device("cpu")))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_documents_loss_does_not_depend_on_its_neighbour(architecture: str) -> None:
    causal = model(architecture).eval()
    batch = tokens(2, 40)
    batch[:, 0] = batch[:, 18] = END
    batch[1, 19:] = batch[0, 19:]  # other first documents, the same second one
    assert not torch.equal(batch[0, :18], batch[1, :18])
    apart, together = SequenceModel(causal, separator=END), SequenceModel(causal)
    with torch.no_grad():
        nats, mixed, alone = apart(batch), together(batch), together(batch[:1, 18:])
    torch.testing.assert_close(nats[0, 18:], nats[1, 18:], atol=1e-5, rtol=0)
    torch.testing.assert_close(nats[0, 18:], alone[0], atol=1e-5, rtol=0)
    assert (mixed[0, 18:] - mixed[1, 18:]).abs().max() > 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_of_a_document_do_not_depend_on_its_neighbour(architecture: str) -> None:
    found = []
    for neighbour in (3, 4):
        causal = model(architecture)
        batch = tokens(1, 40)
        batch[:, 0] = batch[:, 18] = END
        batch[:, 1:18] = neighbour
        apart = SequenceModel(causal, separator=END)
        hidden = apart.hidden(batch[:, :-1])
        next_token_loss(causal, hidden[0, 18:], batch[0, 19:]).backward()
        found.append(gradients(causal))
    for name, value in found[0].items():
        # the neighbour's tokens are not even looked up with a gradient
        torch.testing.assert_close(value, found[1][name], atol=1e-5, rtol=1e-4, msg=name)


def test_a_base_that_mixes_documents_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SequenceModel, "hidden", lambda self, ids: ids.float().cumsum(1)[:, :, None])
    with pytest.raises(MetierError, match="cannot keep the documents") as error:
        SequenceModel(model("llama"), separator=END)
    assert "document_mask: false" in str(error.value)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_activations_computed_twice_give_the_same_gradients(architecture: str) -> None:
    found = []
    for checkpointed in (False, True):
        causal = model(architecture).train()
        if checkpointed:
            causal.gradient_checkpointing_enable({"use_reentrant": False})
        SequenceModel(causal, separator=END)(tokens()).backward()
        found.append(gradients(causal))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_a_fast_bloom_still_answers_as_transformers_does() -> None:
    causal, ids = model("bloom").eval(), tokens()
    with torch.no_grad():
        before = causal(ids).logits
        SequenceModel(causal)
        torch.testing.assert_close(causal(ids).logits, before)
        written = causal.generate(ids[:1, :8], max_new_tokens=4, do_sample=False)
    assert written.shape == (1, 12)


def test_bfloat16_keeps_the_loss_in_float32() -> None:
    causal, batch = model("bloom"), tokens()
    with torch.no_grad():
        exact = SequenceModel(causal)(batch)
        rough = SequenceModel(causal.to(torch.bfloat16))(batch)
    assert rough.dtype == torch.float32
    assert (rough.mean() - exact.mean()).abs() < 0.02
    loss = SequenceModel(causal)(batch)
    loss.backward()
    assert loss.dtype == torch.float32
    assert causal.lm_head.weight.grad.dtype == torch.bfloat16


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("scaled", [False, True])
def test_the_loss_in_pieces_is_cross_entropy(scaled: bool) -> None:
    causal = model("llama")
    if scaled:
        causal.config.logit_scale = 0.5
    hidden = torch.randn(30, 48, requires_grad=True)
    targets = torch.arange(30)
    expected = F.cross_entropy(hidden @ causal.lm_head.weight.t() * (0.5 if scaled else 1), targets, reduction="none")
    wanted = torch.autograd.grad(expected.sum(), [hidden, causal.lm_head.weight])
    found = torch.autograd.grad(next_token_loss(causal, hidden, targets), [hidden, causal.lm_head.weight])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(next_token_loss(causal, hidden, targets), expected, atol=1e-5, rtol=1e-4)


def test_logits_of_bfloat16_weights_are_as_exact_as_in_float32() -> None:
    causal = model("llama").to(torch.bfloat16)
    hidden, targets = torch.randn(300, 48).to(torch.bfloat16), torch.arange(300) % VOCABULARY
    exact = hidden.double() @ causal.lm_head.weight.double().t()
    wanted = F.cross_entropy(exact, targets, reduction="none")
    before = torch.backends.mkldnn.matmul.fp32_precision
    with torch.no_grad():
        torch.testing.assert_close(next_token_loss(causal, hidden, targets).double(), wanted, atol=1e-5, rtol=1e-5)
    learnt = next_token_loss(causal, hidden.requires_grad_(), targets)
    torch.testing.assert_close(learnt.double(), wanted.sum(), atol=1e-5, rtol=1e-6)
    assert torch.backends.mkldnn.matmul.fp32_precision == before  # nothing else is computed more coarsely


def test_a_hopeless_target_has_a_finite_loss() -> None:
    causal = model("llama")
    hidden = (1000 * causal.lm_head.weight[:1] / causal.lm_head.weight[0].norm()).detach().requires_grad_()
    loss = next_token_loss(causal, hidden, torch.tensor([1]))
    assert 100 < loss.item() < 1e5
