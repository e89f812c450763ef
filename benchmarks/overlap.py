"""Overlap: metier against a set of 13-grams in plain Python, on the same corpus with questions planted in it.

    python benchmarks/overlap.py --json --data-root FOLDER

Looked for are the questions of MedQA's test set in the textbooks, regulations and answers beside it
(``medicine/corpus`` and ``finance/corpus``, JSON lines by all their strings), with every tenth question planted whole
and every tenth by 120 of its characters, cut anywhere, between two characters of a document.

Systems, each in a process of its own, in turn: ``metier`` (all three definitions, from files to ``overlap.json``);
``set`` (every 13 words of a document, joined and looked up in a set of the questions' own, as lm-eval's
decontamination and GPT-3's do it: one definition, reading by the same readers); ``metier-double`` has the corpus twice,
for the memory. ``recall`` is of the planted questions: by the definition that each was planted for; the set's by 13
words, of those that have so many. ``chance`` are questions that were found and not planted: they share words with a
planted one, or stand there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import string
import tempfile
import time
from pathlib import Path

from machine import facts, in_turn, median, parser_for, peak_rss_mb

SYSTEMS = ["metier", "set", "metier-double"]
NGRAM = 13
_BARE = str.maketrans("", "", string.punctuation)


def prepare(options: argparse.Namespace, folder: Path) -> None:
    """Write the corpus, once and twice, and the questions with which of them were planted whole and in part."""
    generator, root = random.Random(0), Path(options.data_root)
    lines = (root / "medicine" / "medqa" / "test.jsonl").read_text("utf-8").splitlines()
    questions = [json.loads(line)["question"] for line in lines][: options.examples]
    whole = set(range(0, len(questions), 10))
    part = {n for n in range(5, len(questions), 10) if len(questions[n]) > 120}
    planted = [questions[n] for n in sorted(whole)]
    for n in sorted(part):
        begin = generator.randrange(len(questions[n]) - 120)
        planted.append(questions[n][begin : begin + 120])
    generator.shuffle(planted)
    for name in ("once", "twice"):
        (folder / name).mkdir()
    files = [path for name in ("medicine", "finance") for path in sorted((root / name / "corpus").glob("*.*"))]
    shares = [planted[place :: len(files)] for place in range(len(files))]
    for path, mine in zip(files, shares, strict=True):
        rows = path.read_text("utf-8").split("\n")
        for text in mine:
            place = generator.randrange(len(rows))
            if path.suffix == ".jsonl":
                record = json.loads(rows[place] or "{}")
                key = next((key for key, value in record.items() if isinstance(value, str)), "text")
                rows[place] = json.dumps({**record, key: insert(record.get(key, ""), text, generator)})
            else:
                rows[place] = insert(rows[place], text, generator)
        for start in ("once/0", "twice/0", "twice/1"):
            (folder / f"{start}-{path.name}").write_text("\n".join(rows), "utf-8")
    facts = {"questions": questions, "whole": sorted(whole), "part": sorted(part)}
    (folder / "questions.json").write_text(json.dumps(facts), "utf-8")


def insert(text: str, part: str, generator: random.Random) -> str:
    place = generator.randrange(len(text) + 1)
    return f"{text[:place]} {part} {text[place:]}"


def by_metier(questions: list[str], corpus: Path, whole: set[int], part: set[int]) -> dict[str, float]:
    from metier.run.overlap import overlap
    from metier.run.overlap_items import Asked, Item

    asked = Asked("medqa", "benchmark", [Item(str(n), (text,)) for n, text in enumerate(questions)])
    begin, processor = time.perf_counter(), time.process_time()
    found = overlap([asked], [str(corpus)], corpus.parent / "overlap.json")
    seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    widths = {int(row["id"]): row["widths"] for row in found["tasks"]["medqa"]["found"]}
    hits = [n for n in whole if "whole question" in widths.get(n, ())]
    hits += [n for n in part if "120 characters" in widths.get(n, ())]
    return {
        "seconds": seconds,
        "processor": processor,
        "mb": found["corpus"]["bytes"] / 1e6,
        "recall": len(hits) / len(whole | part),
        "chance": len(set(widths) - whole - part),
    }


def by_set(questions: list[str], corpus: Path, whole: set[int], part: set[int]) -> dict[str, float]:
    from metier.corpus.text import Tally
    from metier.run.overlap_corpus import Reading, corpus_parts

    begin, processor = time.perf_counter(), time.process_time()
    holders: dict[str, set[int]] = {}
    for number, text in enumerate(questions):
        for gram in grams(text):
            holders.setdefault(gram, set()).add(number)
    found: set[int] = set()
    size, tally = 0, Tally()
    for one in corpus_parts([str(corpus)], Reading(), corpus, data_root=None, offline=True):
        for document in one.read(tally):
            text = "".join(document.blocks)
            size += len(text.encode())
            for gram in grams(text):
                if gram in holders:
                    found |= holders[gram]
    seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    due = {n for n in whole if len(questions[n].split()) >= NGRAM + 1}
    return {
        "seconds": seconds,
        "processor": processor,
        "mb": size / 1e6,
        "recall": len(due & found) / len(due),
        "chance": len(found - whole - part),
    }


def grams(text: str) -> list[str]:
    words = text.lower().translate(_BARE).split()
    return [" ".join(words[n : n + NGRAM]) for n in range(len(words) - NGRAM + 1)]


def alone(options: argparse.Namespace) -> None:
    facts = json.loads((options.folder / "questions.json").read_text("utf-8"))
    corpus = options.folder / ("twice" if options.system == "metier-double" else "once")
    run = by_set if options.system == "set" else by_metier
    found = run(facts["questions"], corpus, set(facts["whole"]), set(facts["part"]))
    rates = {"mb_per_s": found["mb"] / found["seconds"], "mb_per_cpu_s": found["mb"] / found["processor"]}
    print(json.dumps({**found, **rates, "peak_rss_mb": peak_rss_mb()}))


def main() -> None:
    parser = parser_for(__doc__, SYSTEMS, examples=1273)
    parser.add_argument("--data-root", type=Path, default=os.environ.get("METIER_DATA"))
    parser.add_argument("--folder", type=Path, help="where the corpus was written, for --system")
    options = parser.parse_args()
    if options.system:
        alone(options)
        return
    if options.data_root is None:
        raise SystemExit("this needs the published data sets: --data-root FOLDER, or METIER_DATA")
    with tempfile.TemporaryDirectory() as name:
        prepare(options, Path(name))
        found = in_turn(__file__, SYSTEMS, ["--folder", name], options.repeats)
    ours, theirs, double = (found[name] for name in SYSTEMS)
    result = {
        "benchmark": "overlap",
        "mb_per_s": round(median(ours, "mb_per_s"), 2),
        "mb_per_s_set": round(median(theirs, "mb_per_s"), 2),
        "ratio_set": round(median(ours, "mb_per_s") / median(theirs, "mb_per_s"), 2),
        "mb_per_cpu_s": round(median(ours, "mb_per_cpu_s"), 2),
        "mb_per_cpu_s_set": round(median(theirs, "mb_per_cpu_s"), 2),
        "ratio_cpu_set": round(median(ours, "mb_per_cpu_s") / median(theirs, "mb_per_cpu_s"), 2),
        "recall": round(ours[0]["recall"], 4),
        "recall_set": round(theirs[0]["recall"], 4),
        "chance": ours[0]["chance"],
        "peak_rss_mb": median(ours, "peak_rss_mb"),
        "peak_rss_mb_double": median(double, "peak_rss_mb"),
        "peak_rss_mb_set": median(theirs, "peak_rss_mb"),
        "mb": round(ours[0]["mb"], 1),
        "questions": options.examples,
        "repeats": options.repeats,
        **facts(),
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
