"""Log-likelihoods equal those of lm-eval's HFLM: on the same token ids, and on the same rendered strings.

lm-eval is given strings, and finds the answer's tokens by a rule of its own: white space that ends the context is
moved to the answer, prompt and answer are tokenized as one string, and what exceeds the context's token count is the
answer. Three things can follow, all checked here:

- the same ids and the same cut (plain prompts end in "Answer:"): the likelihoods themselves are equal;
- the same ids, cut earlier (chat prompts end in a line end): its likelihood is that of the line end and the answer
  together. The line end adds the same to every answer of a prompt, so differences between answers are equal;
- other ids, where prompt and answer merge into one token. We tokenize them apart, as they are when a model answers;
  no likelihood of lm-eval's strings is comparable then, but of its ids our scorer must still say the same.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from metier.errors import MetierError
from metier.evaluation.retention import document_bits
from metier.evaluation.scoring import score
from metier.models.bases import resolve
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.load import load_model, load_tokenizer
from metier.models.packed import Item
from metier.tasks import Example, Task, get, load_task, names
from metier.tasks.choices import asked
from metier.tasks.task import Template
from tests.toy import make_base, sentences

if TYPE_CHECKING:  # importing it takes seconds: only the process that runs this file does
    from lm_eval.models.huggingface import HFLM

TOLERANCE = 1e-4
LABELS = {
    "one-token": ["a", "b", "c"],
    "one-token-after-a-space": ["rose", "fell", "in"],
    "several-tokens": ["negative", "neutral in part", "wholly positive"],
    "one-begins-another": ["up", "up strongly", "goes down"],
}


@pytest.fixture(scope="module", params=["chat", "plain"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / request.param, chat=request.param == "chat")


@pytest.fixture(scope="module")
def systems(base: Path) -> tuple[Runner, Any, HFLM]:
    return both(base)


class Remembered:
    """lm-eval's forward, which need not be run again for the same tokens with the answer cut off elsewhere."""

    MOST = 250_000_000  # logits that are kept, of 4 bytes

    def __init__(self, call: Callable[..., torch.Tensor]) -> None:
        self.call = call
        self.known: dict[bytes, torch.Tensor] = {}

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        key = repr(tokens.tolist()).encode()
        if key in self.known:
            return self.known[key]
        logits = self.call(tokens)
        if sum(kept.numel() for kept in self.known.values()) + logits.numel() <= self.MOST:
            self.known[key] = logits
        return logits


def both(base: Path) -> tuple[Runner, Any, HFLM]:
    """Our runner and tokenizer, and lm-eval's model, of one base in float32."""
    from lm_eval.models.huggingface import HFLM

    runner = Runner(load_model(base, dtype=torch.float32, device="cpu"))
    hflm = HFLM(pretrained=str(base), dtype="float32", device="cpu", batch_size=4)
    hflm._model_call = Remembered(hflm._model_call)
    return runner, load_tokenizer(base), hflm


def asked_of(kind: str, *texts: str) -> Any:
    """A request to lm-eval's model."""
    from lm_eval.api.instance import Instance

    return Instance(kind, {}, texts, 0)


def a_task(labels: Sequence[str]) -> Task:
    return Task(
        name="t", version=1, kind="classification", title="t", labels=list(labels),
        template=Template(instruction="Which way?", input="{text}"),
    )  # fmt: skip


def check_ids(hflm: HFLM, item: Item, found: np.ndarray) -> None:
    """The same token ids, cut into prompt and answer at the same place."""
    requests = [(("", ""), list(item.trunk), list(answer)) for answer in item.answers]
    expected = [value for value, _ in hflm._loglikelihood_tokens(requests, disable_tqdm=True)]
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE)


def rendered(encoder: Encoder, example: Example, item: Item, choices: Sequence[str]) -> tuple[str, list[str]]:
    """The prompt and the answers as strings, as a user would hand them to lm-eval."""
    lead = "" if encoder.tokenizer.chat_template else " "
    ended = any(answer[-1] == encoder.end for answer in item.answers)
    end = encoder.tokenizer.decode([encoder.end]) if ended else ""
    return encoder.render(example.inputs), [lead + choice + end for choice in choices]


def check_strings(
    runner: Runner, hflm: HFLM, encoder: Encoder, examples: Sequence[Example], choices: Sequence[Sequence[str]]
) -> dict[str, int]:
    """The same ids, and the same strings; returns how many answers were cut at the same place, earlier, or tokenized
    otherwise.
    """
    counts = {"same": 0, "earlier": 0, "other": 0}
    items = [encoder.choice_item(e.inputs, c) for e, c in zip(examples, choices, strict=True)]
    ours = score(runner, items).logprobs
    for example, offered, item, values in zip(examples, choices, items, ours, strict=True):
        hflm._model_call.known.clear()
        check_ids(hflm, item, values)
        prompt, answers = rendered(encoder, example, item, offered)
        requests = [asked_of("loglikelihood", prompt, answer) for answer in answers]
        theirs = np.array([value for value, _ in hflm.loglikelihood(requests, disable_tqdm=True)])
        cuts = [hflm._encode_pair(prompt, answer) for answer in answers]
        np.testing.assert_allclose(on_ids(runner, cuts), theirs, rtol=TOLERANCE)
        alike = []
        for place, ((context, rest), answer) in enumerate(zip(cuts, item.answers, strict=True)):
            if (*context, *rest) != (*item.trunk, *answer):
                counts["other"] += 1
            elif tuple(context) == item.trunk:
                counts["same"] += 1
                np.testing.assert_allclose(values[place], theirs[place], rtol=TOLERANCE)
            else:
                counts["earlier"] += 1
                assert len(context) < len(item.trunk)
                alike.append(place)
        if alike:
            moved = theirs[alike] - values[alike]  # the likelihood of what was moved: one for all answers of a prompt
            assert np.ptp(moved) <= TOLERANCE * np.abs(theirs[alike]).max()
    return counts


def on_ids(runner: Runner, cuts: Sequence[tuple[list[int], list[int]]]) -> np.ndarray:
    """Our log-likelihood of each answer behind its context; a context that several share is run once."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, (context, _) in enumerate(cuts):
        places.setdefault(tuple(context), []).append(place)
    found = np.empty(len(cuts))
    items = [Item(context, tuple(tuple(cuts[i][1]) for i in mine)) for context, mine in places.items()]
    for mine, values in zip(places.values(), score(runner, items).logprobs, strict=True):
        found[mine] = values
    return found


@pytest.mark.parametrize("kind", LABELS)
def test_labels(systems: tuple[Runner, Any, HFLM], kind: str) -> None:
    runner, tokenizer, hflm = systems
    encoder = Encoder(tokenizer, a_task(LABELS[kind]))
    examples = [Example(str(i), {"text": text}, "") for i, (text, _) in enumerate(sentences(12, seed=3))]
    items = [encoder.choice_item(e.inputs, LABELS[kind]) for e in examples]
    short = kind == ("one-token" if tokenizer.chat_template else "one-token-after-a-space")
    assert (max(len(answer) for answer in items[0].answers) == 1) == short
    assert all((a[-1] == encoder.end) == (kind == "one-begins-another") for a in items[0].answers)
    counts = check_strings(runner, hflm, encoder, examples, [LABELS[kind]] * len(examples))
    expected = "earlier" if tokenizer.chat_template else "same"
    assert counts == {"same": 0, "earlier": 0, "other": 0, expected: 3 * len(examples)}


def test_multiple_choice(systems: tuple[Runner, Any, HFLM]) -> None:
    runner, tokenizer, hflm = systems
    task = Task(name="q", version=1, kind="multiple_choice", title="q", template=Template(input="{question}"))
    choices = [("in May", "in 1990", "never", "the office is in Turku"), ("costs fell", "costs", "Alma"), ("x", "yy")]
    examples = [Example(str(i), {"question": f"When, {i}?"}, c[0], c) for i, c in enumerate(choices)]
    encoder = Encoder(tokenizer, task)
    counts = check_strings(runner, hflm, encoder, examples, choices)
    assert counts["other"] == 0


def test_a_document(systems: tuple[Runner, Any, HFLM]) -> None:
    """Every token of a text, the first one after the begin token: lm-eval's rolling likelihood."""
    runner, tokenizer, hflm = systems
    check_documents(runner, tokenizer, hflm, [". ".join(text for text, _ in sentences(5, seed=n)) for n in range(3)])


def check_documents(runner: Runner, tokenizer: Any, hflm: HFLM, texts: Sequence[str]) -> None:
    requests = [asked_of("loglikelihood_rolling", text) for text in texts]
    theirs = np.array(hflm.loglikelihood_rolling(requests, disable_tqdm=True))
    bits, _ = document_bits(runner, tokenizer, texts)
    np.testing.assert_allclose(-bits * math.log(2), theirs, rtol=TOLERANCE)


def test_a_merge_across_the_cut_is_told_apart(systems: tuple[Runner, Any, HFLM]) -> None:
    """Without a lead, a plain prompt and its answer may merge; scored on lm-eval's ids we still say what it says."""
    runner, tokenizer, hflm = systems
    prompt, answer = "Alma: profit ro", "se in 1/1990"
    context, rest = hflm._encode_pair(prompt, answer)
    apart = tokenizer.encode(prompt, add_special_tokens=False) + tokenizer.encode(answer, add_special_tokens=False)
    assert context + rest != apart
    theirs = hflm.loglikelihood([asked_of("loglikelihood", prompt, answer)], disable_tqdm=True)[0][0]
    ours = score(runner, [Item(tuple(context), (tuple(rest),))]).logprobs[0]
    np.testing.assert_allclose(ours, [theirs], rtol=TOLERANCE)


@pytest.fixture(scope="module")
def real() -> tuple[Runner, Any, HFLM]:
    try:
        return both(resolve("smollm2-135m-instruct").path)
    except MetierError as error:
        if os.environ.get("METIER_REQUIRE_DATA"):
            raise
        pytest.skip(f"the base is neither cached nor in reach: {error.what}")


_SCORED = [n for n in names() if {s.where for s in get(n).sources} != {"hub"} and get(n).metric != "none"]


@pytest.mark.real
@pytest.mark.parametrize("name", _SCORED)
def test_every_task_with_the_real_base(real: tuple[Runner, Any, HFLM], name: str) -> None:
    runner, tokenizer, hflm = real
    place = os.environ.get("METIER_DATA")
    try:
        loaded = load_task(name, data_root=Path(place).resolve() if place else None)
    except MetierError as error:
        if os.environ.get("METIER_REQUIRE_DATA"):
            raise
        pytest.skip(f"{error.what} ({error.where})")
    some = sorted(loaded.examples, key=lambda e: (len(e.text), e.id))
    middle = some[len(some) // 2]
    few = 4 if len(middle.text + middle.target) < 800 else 2  # long texts take minutes in float32
    some = some[:: max(1, len(some) // 4)][:few]  # short, middling and long ones
    if loaded.task.kind == "perplexity":
        # within one window: lm-eval gives a longer document other windows
        check_documents(runner, tokenizer, hflm, [e.inputs["text"][:1500] for e in some])
        return
    some = asked(loaded.task, some)
    # where answers are written out, the right one and another example's
    others = [*some[1:], some[0]]
    written = [[e.target, o.target] if e.target != o.target else [e.target] for e, o in zip(some, others, strict=True)]
    plain = [loaded.task.labels or e.choices for e in some]
    choices = written if loaded.task.written else plain
    counts = check_strings(runner, hflm, Encoder(tokenizer, loaded.task, max_tokens=8000), some, choices)
    print(f"{name}: {counts}")
