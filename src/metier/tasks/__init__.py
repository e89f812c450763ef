"""Labelled examples: a catalogue of tasks as data, readers, templates, duplicates and splits."""

from __future__ import annotations

from metier.tasks import catalogue
from metier.tasks.catalogue import get, load_task, names
from metier.tasks.entities import Entity, format_entities, parse_entities
from metier.tasks.example import Example, Loaded
from metier.tasks.prepare import Prepared, prepare
from metier.tasks.splits import PARTS, Split, fewer, only_test, split
from metier.tasks.table import from_table
from metier.tasks.task import DataSource, Task, Template
from metier.tasks.templates import Shot, messages, plain
from metier.tasks.worked import Worked, read_worked

__all__ = [
    "PARTS",
    "DataSource",
    "Entity",
    "Example",
    "Loaded",
    "Prepared",
    "Shot",
    "Split",
    "Task",
    "Template",
    "Worked",
    "catalogue",
    "fewer",
    "format_entities",
    "from_table",
    "get",
    "load_task",
    "messages",
    "names",
    "only_test",
    "parse_entities",
    "plain",
    "prepare",
    "read_worked",
    "split",
]
