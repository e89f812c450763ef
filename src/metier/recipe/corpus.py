"""The corpus of a recipe: sources, what is held out, tokenizer, weights."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from metier.recipe.part import Part

Rules = Literal["standard", "web", "none"]


class CorpusSource(Part):
    """Documents of one kind: a path alone, or with what is known about them."""

    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="of the path if left out"
    )
    path: str | list[str] = Field(
        description="a file, a folder or a glob; or pypi:…!file, hf:owner/name!file, edgar:AAPL/10-K, rss:…, posts:…"
    )
    domain: str | None = Field(default=None, description="for the ledger's subtotals; the recipe's name if left out")
    licence: str = "unknown"
    redistributable: bool | None = Field(default=None, description="may the text be passed on? unknown if left out")
    format: str | None = Field(
        default=None, description="txt, md, html, pdf, jsonl, json, parquet, xml, csv, tsv or xlsx; by the file's name"
    )
    encoding: str | None = None
    split_on: str = Field(
        default="file", description="in txt and md: file, line, blank-line, or the line that separates documents"
    )
    text: str | list[str] | None = Field(default=None, description="column(s), field(s) or path expression(s)")
    records: str | None = Field(default=None, description="XML: path expression of the documents, such as //page")
    date: str | None = Field(default=None, description="column or field with the day of publication")
    id: str | None = None
    group: str | None = Field(default=None, description="column or field of what is held out together")
    limit: int | None = Field(default=None, ge=1, description="of documents, for edgar:, rss: and posts:")
    language: str | None = Field(default=None, description="the corpus's if left out")
    quality: Rules | None = Field(default=None, description="the corpus's if left out")
    min_words: int | None = Field(default=None, ge=0, description="the corpus's if left out")
    deidentify: bool | None = Field(default=None, description="the corpus's if left out")


class HoldOutChoice(Part):
    """Documents that are never trained on."""

    share: float = Field(default=0.05, ge=0, lt=1, description="of the groups of documents")
    after: date | None = Field(default=None, description="documents of this day and later")


class CorpusChoice(Part):
    """Text that is curated into token shards."""

    sources: list[CorpusSource] = Field(min_length=1)
    hold_out: HoldOutChoice = HoldOutChoice()
    tokenizer: str = Field(
        default="smollm2-135m-instruct",
        description="a base's name, a folder or a tokenizer.json; or train one: the recipe's field tokenizer",
    )
    weights: dict[str, float] | None = Field(default=None, description="shares of the mixture; by size if left out")
    stop: Literal["first-exhausted", "repeat", "error"] | int = Field(
        default="first-exhausted",
        description="when a source runs out: stop, repeat it, an error, or so many epochs; pretrain.stop wins",
    )
    language: str = Field(default="en", description="what texts are in (ISO 639-1), or `any`")
    quality: Rules = Field(default="standard", description="rules of Gopher; `web` adds those of C4 and FineWeb")
    min_words: int = Field(default=50, ge=0, description="shorter texts are dropped")
    deidentify: bool = Field(default=True, description="replace what identifies a person by its kind")
    names: bool = Field(default=False, description="also names and places, by presidio (the extra pii)")
    world_size: int = Field(default=2, ge=1, le=4096, description="parts that are worked on at once; decides the order")

    @field_validator("sources", mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        if not isinstance(value, list):
            value = [value]
        return [{"path": one} if isinstance(one, str) else one for one in value]

    @model_validator(mode="after")
    def _weights_name_sources(self) -> CorpusChoice:
        names = [source.name for source in self.sources if source.name]
        if len(set(names)) < len(names):
            raise ValueError("two sources have the same name")
        if self.weights is not None and min(self.weights.values(), default=0) <= 0:
            raise ValueError("every weight is above 0")
        return self
