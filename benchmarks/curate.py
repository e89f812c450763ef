"""Curation: metier against datatrove's stock pipeline, on the same documents with duplicates planted.

    pip install -e '.[curate,bench]'
    python benchmarks/curate.py --json

Both read JSON lines, apply Gopher's repetition and quality rules, find near-duplicates by MinHash (word 5-grams, 14
bands of 8) and tokenize with the same ``tokenizer.json``, on all cores. Language identification is left out of both:
datatrove downloads its model. metier also repairs Unicode and finds exact duplicates; its time is counted.

Systems, each in a process of its own, in turn: ``metier``; ``datatrove`` (``LocalPipelineExecutor``, as its FineWeb
example arranges the steps); ``metier-double`` has twice the documents, for the memory. A tenth of the documents is
planted again exactly and a tenth with a word in 60 changed. ``recall`` is of planted copies whose Jaccard similarity of
5-grams with their original is at least 0.8, and which the rules keep; ``precision`` is the share of dropped documents
that have another one with at least 0.5. ``peak_rss_mb`` is the largest process's.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import resource
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from machine import facts, in_turn, median, parser_for, peak_rss_mb

SYSTEMS = ["metier", "datatrove", "metier-double"]
WORKERS = os.cpu_count() or 1


def documents(options: argparse.Namespace, count: int) -> list[dict[str, str]]:
    """Passages, four at a time, in another order each time round; planted copies are named for what they are."""
    from metier.tasks import load_task

    passages = [e.text for e in load_task("wikipedia-passages", data_root=options.data_root).examples]
    generator = random.Random(0)
    texts: list[str] = []
    while len(texts) < count:
        generator.shuffle(passages)
        texts += ["\n".join(passages[n : n + 4]) for n in range(0, len(passages) - 3, 4)]
    texts = list(dict.fromkeys(texts))[:count]
    rows = [{"id": f"original-{n}", "text": text} for n, text in enumerate(texts)]
    for n in range(0, count, 10):
        rows.append({"id": f"exact-{n}", "text": texts[n]})
        words = texts[n + 1].split(" ")
        changed = [f"changed{place}" if place % 60 == 30 else word for place, word in enumerate(words)]
        rows.append({"id": f"near-{n + 1}", "text": " ".join(changed)})
    order = rows[count:]
    generator.shuffle(order)
    return rows[:count] + order


def write(rows: list[dict[str, str]], folder: Path) -> None:
    """As many files as workers."""
    folder.mkdir()
    for worker in range(WORKERS):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows[worker::WORKERS]]
        (folder / f"{worker:03d}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def metier(folder: Path, tokenizer: Path) -> None:
    from metier.corpus.encoder import tokenizer_encoder
    from metier.corpus.source import Source, expand
    from metier.corpus.work import Work, spread

    files = tuple(expand(str(folder / "in"), []))
    source = Source("text", files, id="id", language=None, deidentify=False)
    work = Work(folder / "out", (source,), tokenizer_encoder(tokenizer), world_size=WORKERS)
    spread([(work.clean, (0, rank)) for rank in range(WORKERS)], WORKERS, lambda _: None)
    work.deduplicate()
    spread([(work.pack, (0, rank)) for rank in range(WORKERS)], WORKERS, lambda _: None)
    work.assemble(0)


def metier_kept(folder: Path) -> set[str]:
    from metier.corpus.shards import TokenShards

    return set(TokenShards.open(folder / "out" / "tokens" / "train" / "text").ids())


def datatrove(folder: Path, tokenizer: Path) -> None:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers import JsonlWriter

    place = {name: str(folder / name) for name in ("in", "clean", "signatures", "buckets", "drop", "dropped", "out")}
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    read_clean = JsonlReader(place["clean"])
    phases: list[tuple[int, list[Any]]] = [
        (
            WORKERS,
            [JsonlReader(place["in"]), GopherRepetitionFilter(), GopherQualityFilter(), JsonlWriter(place["clean"])],
        ),
        (WORKERS, [read_clean, MinhashDedupSignature(place["signatures"], config=config)]),
        (14, [MinhashDedupBuckets(place["signatures"], place["buckets"], config=config)]),
        (1, [MinhashDedupCluster(place["buckets"], place["drop"], config=config)]),
        (
            WORKERS,
            [
                JsonlReader(place["clean"]),
                MinhashDedupFilter(place["drop"], exclusion_writer=JsonlWriter(place["dropped"])),
                DocumentTokenizer(place["out"], str(tokenizer), eos_token="<|endoftext|>", shuffle_documents=False),
            ],
        ),
    ]
    for number, (tasks, pipeline) in enumerate(phases):
        logs = str(folder / "logs" / str(number))
        LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=min(tasks, WORKERS), logging_dir=logs).run()


def datatrove_kept(folder: Path) -> set[str]:
    """What passed the rules less what was dropped as a duplicate."""
    found = []
    for name in ("clean", "dropped"):
        lines = [
            line for path in (folder / name).rglob("*.gz") for line in gzip.decompress(path.read_bytes()).split(b"\n")
        ]
        found.append({json.loads(line)["id"] for line in lines if line})
    clean, dropped = found
    return clean - dropped


def grams(text: str) -> frozenset[int]:
    words = re.findall(r"\w+", text.lower())
    return frozenset(map(hash, zip(*(words[n:] for n in range(5)), strict=False)))


def judge(rows: list[dict[str, str]], kept: set[str]) -> dict[str, float]:
    """Recall of planted copies and precision of what was dropped as a duplicate, by true Jaccard similarity."""
    sets = {row["id"]: grams(row["text"]) for row in rows}
    judged = {row["id"] for row in rows if passes(row["text"])}
    holders: dict[int, list[str]] = defaultdict(list)
    for id, found in sets.items():
        for gram in found:
            holders[gram].append(id)
    planted = [id for id in judged if not id.startswith("original") and original(id) in judged]
    due = [id for id in planted if jaccard(sets[id], sets[original(id)]) >= 0.8]
    dropped = [id for id in judged if id not in kept]
    right = 0
    for id in dropped:
        shared = Counter(other for gram in sets[id] for other in holders[gram] if other != id)
        right += any(n / (len(sets[id]) + len(sets[other]) - n) >= 0.5 for other, n in shared.most_common(3))
    gone = sum(id not in kept or original(id) not in kept for id in due)
    return {"recall": gone / len(due), "precision": right / max(1, len(dropped)), "dropped": len(dropped)}


def original(id: str) -> str:
    return f"original-{id.split('-')[1]}"


def jaccard(one: frozenset[Any], other: frozenset[Any]) -> float:
    return len(one & other) / max(1, len(one | other))


def passes(text: str) -> bool:
    """Far from every limit of the rules: both keep it unless it is a duplicate."""
    from metier.corpus.quality import broken_rules

    return broken_rules([text], "standard", min_words=60)[0][0] == ""


def alone(options: argparse.Namespace) -> None:
    from metier.models.bases import resolve

    rows = documents(options, options.examples * (2 if "double" in options.system else 1))
    tokenizer = resolve(options.base).path / "tokenizer.json"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(rows, folder / "in")
        begin = time.perf_counter()
        peer = options.system == "datatrove"
        (datatrove if peer else metier)(folder, tokenizer)
        seconds = time.perf_counter() - begin
        kept = (datatrove_kept if peer else metier_kept)(folder)
    size = sum(len(row["text"].encode()) for row in rows)
    found = {"mb_per_s": size / 1e6 / seconds, "seconds": seconds, "mb": size / 1e6, "kept": len(kept)}
    found["peak_rss_mb"] = max(peak_rss_mb(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    if "double" not in options.system:
        found |= judge(rows, kept)
    print(json.dumps(found))


def main() -> None:
    parser = parser_for(__doc__, SYSTEMS, examples=2500)
    parser.add_argument("--data-root", type=Path, default=os.environ.get("METIER_DATA"))
    options = parser.parse_args()
    if options.system:
        alone(options)
        return
    passed = ["--examples", str(options.examples), "--base", options.base]
    passed += ["--data-root", str(options.data_root)] if options.data_root else []
    found = in_turn(__file__, SYSTEMS, passed, options.repeats)
    ours, theirs, double = (found[name] for name in SYSTEMS)
    result = {
        "benchmark": "curate",
        "mb_per_s": round(median(ours, "mb_per_s"), 2),
        "mb_per_s_datatrove": round(median(theirs, "mb_per_s"), 2),
        "ratio_datatrove": round(median(ours, "mb_per_s") / median(theirs, "mb_per_s"), 2),
        "recall": round(ours[0]["recall"], 4),
        "precision": round(ours[0]["precision"], 4),
        "recall_datatrove": round(theirs[0]["recall"], 4),
        "precision_datatrove": round(theirs[0]["precision"], 4),
        "peak_rss_mb": median(ours, "peak_rss_mb"),
        "peak_rss_mb_double": median(double, "peak_rss_mb"),
        "peak_rss_mb_datatrove": median(theirs, "peak_rss_mb"),
        "mb": round(ours[0]["mb"], 1),
        "documents": options.examples,
        "repeats": options.repeats,
        "workers": WORKERS,
        **facts(),
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
