"""Tables of results: as text to read, and as a page to keep, whose last section is written by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

__all__ = ["NONE", "Table", "as_number", "as_text", "as_time", "as_yes", "unit_of", "write"]

NONE: Final = "—"

_BEGIN: Final = "<!-- By hand from here on: -->"
_END: Final = "<!-- By hand up to here. -->"
_BY_HAND: Final = "\n## What bounds what is not reached\n\nNothing is said yet.\n"


@dataclass(frozen=True)
class Table:
    """A table: its title, what its columns mean, and its rows, of which the first is the head."""

    title: str
    about: str
    rows: list[tuple[str, ...]]


def as_time(seconds: float) -> str:
    """Return seconds in a unit that suits them."""
    name, scale = unit_of(seconds)
    return f"{as_number(seconds * scale)} {name}"


def as_number(value: float) -> str:
    """Return a number with three digits or more."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def unit_of(seconds: float) -> tuple[str, float]:
    """Return the unit that suits a time, and how many of it are a second."""
    return ("µs", 1e6) if seconds < 1e-3 else ("ms", 1e3) if seconds < 1 else ("s", 1.0)


def as_yes(reached: bool) -> str:
    """Say whether something is reached."""
    return "yes" if reached else "no"


def as_text(made: Sequence[Table]) -> str:
    """Return tables with columns in line."""
    return "\n".join(f"\n{table.title}\n{table.about}\n\n{_aligned(table.rows)}" for table in made)


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _markdown(table: Table) -> str:
    head, *rows = ("| " + " | ".join(row) + " |" for row in table.rows)
    line = "|" + "---|" * len(table.rows[0])
    return "\n".join([f"## {table.title}", "", table.about, "", head, line, *rows, ""])


def write(path: Path, command: str, described: dict[str, str], made: Sequence[Table]) -> None:
    """Write the results of a command; the section that is written by hand stays as it is."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    by_hand = before.partition(_BEGIN)[2].partition(_END)[0] or _BY_HAND
    parts = [
        f"# Results of `{command}`",
        "",
        f"Made on {datetime.now(UTC):%Y-%m-%d}; `{command}` writes this file, and leaves the last section as it is.",
        "",
        *(f"- {label}: {text}" for label, text in described.items()),
        "",
        *map(_markdown, made),
        f"{_BEGIN}{by_hand}{_END}",
        "",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")
