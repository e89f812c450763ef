"""metier turns a general language model into a specialist, and proves what was gained and what was forgotten."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

__version__ = version("metier")

if TYPE_CHECKING:
    from metier.inference.specialist import Specialist

__all__ = ["Specialist", "__version__"]


def __getattr__(name: str) -> object:
    # torch takes seconds to import: only those who ask for a specialist pay for it
    if name == "Specialist":
        from metier.inference.specialist import Specialist

        return Specialist
    raise AttributeError(f"module 'metier' has no attribute '{name}'")
