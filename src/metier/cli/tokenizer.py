"""Tokenizers: train one, extend a base's with the terms of a trade, compare several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metier.cli.shared import Offline, app, new_table, print_table
from metier.errors import MetierError

if TYPE_CHECKING:
    from metier.tokenization import Size

tokenizer = typer.Typer(no_args_is_help=True, help="Train, extend and compare tokenizers.", rich_markup_mode="rich")
app.add_typer(tokenizer, name="tokenizer")

Texts = Annotated[
    list[str], typer.Argument(metavar="TEXT...", help="Files, folders or patterns of txt, md, jsonl, csv, parquet.")
]
Column = Annotated[str, typer.Option(help="Column with the text, where files are tables.")]


@tokenizer.command()
def train(
    texts: Texts,
    out: Annotated[Path, typer.Option(help="Folder to write; AutoTokenizer loads it.")],
    kind: Annotated[str, typer.Option(help="bpe, unigram, or unigram-split (bounded memory).")] = "unigram-split",
    vocab_size: Annotated[int, typer.Option(help="Tokens, with 256 bytes and the end token.")] = 32_768,
    sizes: Annotated[
        str | None, typer.Option(help="Choose among sizes such as 8192,16384,32768 by tokens × log2(V).")
    ] = None,
    part_bytes: Annotated[int, typer.Option(help="unigram-split: bytes of text of one part.")] = 1_000_000,
    part_size: Annotated[int | None, typer.Option(help="unigram-split: pieces of one part's model.")] = None,
    longest: Annotated[int, typer.Option(help="unigram: most bytes in a piece.")] = 16,
    column: Column = "text",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line.")] = False,
) -> None:
    """Train a tokenizer on texts, and choose its size where several are given."""
    from pydantic import ValidationError

    from metier.recipe.tokenizer import TokenizerChoice
    from metier.recipe.words import told
    from metier.run.progress import bar
    from metier.run.texts import find_sources
    from metier.run.tokenizer import train_to_folder

    given = {"kind": kind, "vocab_size": vocab_size, "part_bytes": part_bytes, "part_size": part_size,
             "longest": longest, "sizes": _numbers(sizes) if sizes else None}  # fmt: skip
    try:
        choice = TokenizerChoice.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        what, fix = told([first])
        where = "option --" + str((first["loc"] or ("sizes",))[0]).replace("_", "-")
        raise MetierError(what, where=where, fix=fix or "see metier tokenizer train --help") from None
    total = sum(source.bytes for source in find_sources(texts, column))
    with bar("tokenizer, bytes", total) as advance:
        done = train_to_folder(choice, texts, out, column=column, tick=advance)
    if as_json:
        record = json.loads((out / "training.json").read_text(encoding="utf-8"))
        typer.echo(json.dumps({"folder": str(out), **record}, ensure_ascii=False))
        return
    if done.curve:
        _print_curve(done.curve)
    typer.echo(f"{out}: {done.vocab_size:,} tokens, {choice.kind}")


@tokenizer.command()
def compare(
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Sources: files, folders, patterns; NAME=…")],
    tokenizers: Annotated[
        list[str], typer.Option("--tokenizer", "-t", help="A base's name, a folder or a tokenizer.json; repeat it.")
    ],
    column: Column = "text",
    documents: Annotated[int | None, typer.Option(min=2, help="At most so many texts of each source.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a plot of bytes per token, SVG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line.")] = False,
    offline: Offline = False,
) -> None:
    """Compare tokenizers on sources: tokens a word, bytes a token, stray bytes, with 95 % intervals over documents."""
    from metier.run.tokenizer import compare_tokenizers, comparison_json, write_comparison

    if plot and plot.suffix.lower() != ".svg":
        raise MetierError("the plot is written as SVG", where=f"--plot {plot}", fix="end its name in .svg")
    found = compare_tokenizers(tokenizers, texts, column=column, documents=documents, offline=offline)
    if plot:
        write_comparison(found, plot)
    if as_json:
        typer.echo(json.dumps(comparison_json(found), ensure_ascii=False))
        return
    table = new_table("source", "tokenizer", "documents", "tokens", "tokens per word", "bytes per token", "stray")
    for source in next(iter(found.values())):
        for label, by_source in found.items():
            entry = by_source[source]
            cells = [_score(entry["tokens_per_word"]), _score(entry["bytes_per_token"])]
            stray = f"{entry['stray_share'].value:.2%}"
            table.add_row(source, label, f"{entry['documents']:,}", f"{entry['tokens']:,}", *cells, stray)
    print_table(table)
    typer.echo("stray: tokens that are unknown or only a part of a character; words are between white space")


@tokenizer.command()
def extend(
    base: Annotated[str, typer.Argument(help="A base: its name, hf:owner/name or a folder.")],
    texts: Texts,
    out: Annotated[Path, typer.Option(help="Folder to write: model, tokenizer, extension.json.")],
    terms: Annotated[int, typer.Option(min=1, help="At most so many terms, those that save most tokens.")] = 1000,
    terms_file: Annotated[Path | None, typer.Option("--list", help="Your own terms, one a line, instead.")] = None,
    max_words: Annotated[int, typer.Option(min=1, help="Longest phrase.")] = 3,
    min_count: Annotated[int, typer.Option(min=2, help="Rarest term.")] = 10,
    documents: Annotated[int, typer.Option(min=2, help="Texts kept aside to measure on.")] = 40,
    column: Column = "text",
    seed: Annotated[int, typer.Option(help="Draws the texts kept aside.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print extension.json as one line.")] = False,
    offline: Offline = False,
) -> None:
    """Give a base the terms of a trade as tokens, rows starting as their pieces' mean; measure before and after."""
    from metier.run.progress import console
    from metier.run.vocabulary import extend_base

    record = extend_base(
        base, texts, out, column=column, most=terms, terms_file=terms_file, max_words=max_words, min_count=min_count,
        documents=documents, seed=seed, offline=offline, say=lambda text: console.print(f"  {text}", style="dim"),
    )  # fmt: skip
    modules = record["modules_to_save"]
    typer.echo(
        "note: the new rows are averages until they are trained. LoRA leaves them as they are: give peft "
        f"modules_to_save={modules}, or train fully",
        err=True,
    )
    if as_json:
        typer.echo(json.dumps(record, ensure_ascii=False))
        return
    _print_extension(out, record)


def _print_extension(out: Path, record: dict[str, Any]) -> None:
    tokens, bits = record["tokens"], record["bits_per_byte"]
    shown = ", ".join(repr(term["text"]) for term in record["terms"][:12])
    typer.echo(f"{out}: {len(record['terms'])} terms added, {record['vocab_size']:,} tokens: {shown}, …")
    saved = 1 - tokens["after"] / tokens["before"]
    typer.echo(
        f"tokens         {tokens['before']:,} before, {tokens['after']:,} after: {saved:.1%} saved on "
        f"{record['documents']} texts kept aside"
    )
    for name in ("before", "after", "difference"):
        one = bits[name]
        interval = f" [{one['low']:.3f}, {one['high']:.3f}]" if one["low"] is not None else f" ({one['reason']})"
        typer.echo(f"bits per byte  {name:<10} {one['value']:.3f}{interval}")


def _print_curve(curve: list[Size]) -> None:
    best = min(curve, key=lambda one: one.bits)
    table = new_table("V", "tokens", "tokens × log2(V)", "")
    for one in curve:
        mark = "least" if one is best else ""
        table.add_row(f"{one.vocabulary:,}", f"{one.tokens:,}", f"{one.bits:,.0f} bits", mark)
    print_table(table)
    if best in (curve[0], curve[-1]):
        typer.echo("the least is at an end of the list: the best size may lie beyond it")


def _score(score: Any) -> str:
    return f"{score.value:.3f}" + (f" [{score.low:.3f}, {score.high:.3f}]" if score.low is not None else "")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise MetierError(f"--sizes are whole numbers, not {text!r}", fix="such as --sizes 8192,16384") from error
