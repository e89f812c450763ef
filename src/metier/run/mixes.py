"""Models of one shape, tokens and schedule that differ in the mix they learnt: what mixing bought and cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.evaluation.intervals import ratio, ratio_difference
from metier.evaluation.retention import read_bits
from metier.files import write_json
from metier.recipe import Recipe
from metier.report.corpus import FEW_DOCUMENTS
from metier.run.pretrain import Corpus, pretrain
from metier.run.pretrain_parts import bits_file
from metier.run.progress import console
from metier.training import distributed

Bits = dict[str, tuple[list[float], list[float]]]  # by hold-out: bits and bytes of each document


def compare_mixes(recipe: Recipe, corpus: Corpus, out: Path, *, base: Path | None) -> Path:
    """Train every mix with every seed in ``out/mixes/``, and write ``out/evidence/mixes.json``.

    Returns:
        The run directory of the mix named ``mixed``, of the first seed.

    Errors: :class:`MetierError` for weights of a source that has nothing to learn, before anything is trained.
    """
    choice = recipe.pretrain
    assert choice is not None
    assert choice.mixes is not None
    for mix, weights in choice.mixes.items():
        unknown = sorted(set(weights) - set(corpus.sources))
        if unknown:
            raise MetierError(
                f"the mix '{mix}' weighs {', '.join(unknown)}, which no source is named or nothing is left of",
                where=f"recipe, pretrain.mixes.{mix}",
                fix=f"name sources among {', '.join(sorted(corpus.sources))}",
            )
    seeds = recipe.seeds or [recipe.seed]
    plain = choice.model_copy(update={"mixes": None})
    first = mix_folder(out, next(iter(choice.mixes)), seeds[0], seeds[0])
    for seed in seeds:
        for mix, weights in choice.mixes.items():
            if distributed.is_first():
                console.print(f"[bold]mix {mix}[/], seed {seed}")
            own = replace(corpus, sources={name: corpus.sources[name] for name in weights}, weights=weights)
            folder = mix_folder(out, mix, seed, seeds[0])
            pretrain(
                plain, own, folder, base=base, beside=first if folder != first else None, seed=seed,
                device=recipe.device, dtype=recipe.dtype,
            )  # fmt: skip
    if distributed.is_first():
        domains = _domains(out, corpus)
        found = comparison(out, choice.mixes, seeds, list(corpus.hold_outs), domains)
        write_json(out / "evidence" / "mixes.json", found)
        console.print(f"  {found['answer']}", markup=False)
    distributed.barrier()
    return mix_folder(out, "mixed", seeds[0], seeds[0])


def mix_folder(out: Path, mix: str, seed: int, first: int) -> Path:
    """The run directory of a mix: its name, and the seed where it is not the first."""
    return out / "mixes" / (mix if seed == first else f"{mix}-seed{seed}")


def bases_beside(recipe: Recipe, path: Path) -> dict[str, str]:
    """Bases on which the run's task is learnt beside ``mixed``, by the name of the system: ``after-<mix>`` for every
    other mix, and ``after-nothing`` for a base that was continued, as it was before.

    Args:
        path: the run directory.
    """
    choice = recipe.pretrain
    if choice is None or choice.mixes is None:
        return {}
    first = (recipe.seeds or [recipe.seed])[0]
    folders = {mix: mix_folder(path / "pretrained", mix, first, first) for mix in choice.mixes if mix != "mixed"}
    found = {f"after-{mix}": str(folder / "specialist") for mix, folder in folders.items()}
    return found | ({"after-nothing": recipe.base} if choice.method == "continue" else {})


def comparison(
    out: Path, mixes: dict[str, dict[str, float]], seeds: list[int], hold_outs: list[str], domains: dict[str, str]
) -> dict[str, Any]:
    """Bits per byte of each mix on each hold-out and on all of a domain, and ``mixed`` less each other mix.

    Values, intervals and differences are of the first seed's models, by (paired) bootstrap over documents; ``seeds``
    has every seed's value.

    Args:
        domains: the domain of each hold-out.
    """
    bits = {(mix, seed): _read(mix_folder(out, mix, seed, seeds[0]), hold_outs) for mix in mixes for seed in seeds}
    names = {name: [name] for name in hold_outs}
    areas = {domain: [name for name in hold_outs if domains[name] == domain] for domain in domains.values()}
    first = seeds[0]
    tokens = {mix: _tokens(mix_folder(out, mix, first, first)) for mix in mixes}

    def table(groups: dict[str, list[str]]) -> dict[str, Any]:
        return {name: _entry(members, bits, list(mixes), seeds) for name, members in groups.items()}

    found = {
        "mixes": mixes,
        "seeds": seeds,
        "tokens": tokens,
        "hold_outs": table(names),
        "domains": table(areas),
    }
    return {**found, "answer": answer(found)}


def answer(found: dict[str, Any]) -> str:
    """What mixing bought and cost, in one sentence, from the differences by domain."""
    parts = []
    for domain, entry in found["domains"].items():
        for mix, change in entry["mixed_less"].items():
            value, low, high = (change[key] for key in ("value", "low", "high"))
            if low is None:
                known = f"one document, no interval: {value:+.3f}"
            else:
                few = f"; only {change['n']} documents" if change["n"] < FEW_DOCUMENTS else ""
                known = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]{few}"
            size = f"{abs(value):.3f} bits a byte"
            if low is None or low <= 0 <= high:
                did = "made no difference beyond chance"
            else:
                did = f"bought {size}" if value < 0 else f"cost {size}"
            parts.append(f"on {domain} text it {did} against {mix} alone ({known})")
    equal = len(set(found["tokens"].values())) == 1
    note = "" if equal else " – but the mixes did not learn from the same number of tokens"
    return f"What mixing bought and cost: {'; '.join(parts)}{note}."


def _entry(members: list[str], bits: dict[tuple[str, int], Bits], mixes: list[str], seeds: list[int]) -> dict[str, Any]:
    first = seeds[0]

    def joined(mix: str, seed: int) -> tuple[list[float], list[float]]:
        own = [bits[mix, seed][name] for name in members]
        return [bit for one, _ in own for bit in one], [size for _, sizes in own for size in sizes]

    mixed, sizes = joined("mixed", first)
    values: dict[str, Any] = {}
    for mix in mixes:
        by_seed = [sum(a) / sum(b) for a, b in (joined(mix, seed) for seed in seeds)]
        values[mix] = {**ratio(*joined(mix, first), seed=first).to_json(), "seeds": by_seed}
    return {
        "bits_per_byte": values,
        "mixed_less": {
            mix: ratio_difference(mixed, joined(mix, first)[0], sizes, seed=first).to_json()
            for mix in mixes
            if mix != "mixed"
        },
    }


def _read(run: Path, hold_outs: list[str]) -> Bits:
    found = {}
    for name in hold_outs:
        bits, sizes = read_bits(bits_file(run, name, "specialist"))
        found[name] = ([float(b) for b in bits], [float(size) for size in sizes])
    return found


def _tokens(run: Path) -> int:
    return int(json.loads((run / "manifest.json").read_text("utf-8"))["training"]["tokens"])


def _domains(out: Path, corpus: Corpus) -> dict[str, str]:
    """The domain of each hold-out, by the ledger of the run (beside ``out``, or in it)."""
    file = next(path for path in (out / "ledger.json", out.parent / "ledger.json") if path.exists())
    sources = json.loads(file.read_text("utf-8"))["sources"]
    return {name: sources[name.removesuffix(".later")]["domain"] for name in corpus.hold_outs}
