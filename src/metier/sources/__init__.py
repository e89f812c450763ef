"""Bytes in: files from the package index, the Hub and this machine, one cache, one lock, and tables of every kind."""

from __future__ import annotations

from metier.sources.cache import cache_root, derived
from metier.sources.fetch import fetch_file
from metier.sources.hub import fetch_model_repo, hub_reachable
from metier.sources.hubdata import load_hub_dataset
from metier.sources.lock import Fetched, Lock
from metier.sources.tables import Row, read_table, table_columns
from metier.sources.writing import writable_format, write_beside, write_table

__all__ = [
    "Fetched",
    "Lock",
    "Row",
    "cache_root",
    "derived",
    "fetch_file",
    "fetch_model_repo",
    "hub_reachable",
    "load_hub_dataset",
    "read_table",
    "table_columns",
    "writable_format",
    "write_beside",
    "write_table",
]
