"""Numbers as a plan prints them."""

from __future__ import annotations


def count(value: float) -> str:
    """Parameters or tokens: 568.75B, 1.31M, 900."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:,.2f}{letter}"
    return f"{value:,.0f}"


def amount(value: float) -> str:
    """Of any unit: 2.36e+23, 643,413, 0.12."""
    if value >= 1e9:
        return f"{value:.3g}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def gigabytes(value: float) -> str:
    """Bytes in GiB, the unit in which devices are sold."""
    size = value / 2**30
    return f"{size:,.1f} GB" if size >= 0.1 else f"{value / 2**20:,.1f} MB"


def duration(seconds: float) -> str:
    """In the largest unit that is not below one."""
    for size, unit in ((365.25 * 86400, "years"), (86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{amount(seconds / size)} {unit}"
    return f"{seconds:.1f} seconds"
