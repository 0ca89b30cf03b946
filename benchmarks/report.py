"""Tables of what was measured: as text to read, and as benchmarks/RESULTS.md to keep."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from measured import Measured, Memory

__all__ = ["Table", "as_text", "progress", "tables", "write"]

_COLD_TARGET: Final = 10.0
_COLD_GATE_TARGET: Final = 30.0
_MEMORY_TARGET: Final = 8.0
_NONE: Final = "—"

_BEGIN: Final = "<!-- By hand from here on: -->"
_END: Final = "<!-- By hand up to here. -->"
_BY_HAND: Final = "\n## What bounds what is not reached\n\nNothing is said yet.\n"


@dataclass(frozen=True)
class Table:
    """A table: its title, what its columns mean, and its rows, of which the first is the head."""

    title: str
    about: str
    rows: list[tuple[str, ...]]


def progress(one: Measured) -> str:
    """Say in a line how a work went."""
    best = one.best_peer()
    times = ", ".join(f"{engine} {_time(one.median(engine))}" for engine in one.warm)
    return f"{one.work.name}: {times}; {best} / graphsvc = {one.ratio(best):.2f}"


def tables(measured: Sequence[Measured], memory: Sequence[Memory]) -> list[Table]:
    """Return all tables that have rows."""
    made = [_warm(measured), _cold(measured), _gates(measured), _memory(memory)]
    return [table for table in made if len(table.rows) > 1]


def _warm(measured: Sequence[Measured]) -> Table:
    head = (
        "work",
        "graphsvc",
        "torch",
        "jax",
        "autograd",
        "NumPy by hand",
        "best peer",
        "ratio",
        "fastest",
        "aim",
        "reached",
    )
    about = (
        "Value and gradients of a graph that was run before: median and quartiles of the time of one run. The ratio is "
        "best peer / graphsvc, and after the semicolon NumPy by hand / graphsvc where there is an aim for it; the next "
        "column is the ratio of the fastest batches. Where the two do not agree on what is reached, it is unclear."
    )
    return Table("Warm", about, [head, *map(_warm_row, measured)])


def _warm_row(one: Measured) -> tuple[str, ...]:
    best = one.best_peer()
    ratio, aim = f"{one.ratio(best):.2f}", f"{one.work.target:g}"
    if one.work.by_hand_target:
        ratio += f"; {one.ratio('numpy'):.2f}"
        aim += f"; {one.work.by_hand_target:g}"
    cells = (_spread(one, engine) for engine in ("graphsvc", "torch", "jax", "autograd", "numpy"))
    return one.work.name, *cells, best, ratio, f"{one.ratio(one.best_peer(min), min):.2f}", aim, _verdict(one)


def _verdict(one: Measured) -> str:
    return _yes(one.reached()) if one.reached() == one.reached(min) else "unclear"


def _cold(measured: Sequence[Measured]) -> Table:
    head = ("work", "graphsvc, first", "graphsvc", "jax", "ratio", "aim", "reached")
    about = (
        "From a graph never seen to its gradients: graphsvc from the bytes of its document, which has new names each "
        "time; jax.jit in its first call of a new function, after jax.clear_caches(). Medians, and the first time."
    )
    return Table("Cold", about, [head, *map(_cold_row, measured)])


def _cold_row(one: Measured) -> tuple[str, ...]:
    ratio, at_least = one.cold_ratio()
    jax = (
        _time(one.cold_median("jax")) if "jax" in one.cold else f"> {_time(one.too_slow['jax'])}" if at_least else _NONE
    )
    times = _time(sum(one.cold["graphsvc"][0])), _time(one.cold_median("graphsvc")), jax
    if ratio is None:
        return one.work.name, *times, _NONE, f"{_COLD_TARGET:g}", _NONE
    said = f"{'> ' if at_least else ''}{ratio:.1f}"
    return one.work.name, *times, said, f"{_COLD_TARGET:g}", _yes(ratio >= _COLD_TARGET)


def _gates(measured: Sequence[Measured]) -> Table:
    head = ("work", "parse", "structure", "first run", "all", "aim", "reached")
    about = "What each gate costs graphsvc from the bytes of a graph never seen to its gradients: medians, in µs."
    rows = [_gates_row(one, one.work.gates) for one in measured if one.work.gates]
    return Table("Cold, by gate", about, [head, *rows])


def _gates_row(one: Measured, gates: int) -> tuple[str, ...]:
    stages = [stage / gates * 1e6 for stage in one.cold_stages()]
    costs = (f"{cost:.1f}" for cost in (*stages, sum(stages)))
    return one.work.name, *costs, f"{_COLD_GATE_TARGET:g}", _yes(sum(stages) <= _COLD_GATE_TARGET)


def _memory(memory: Sequence[Memory]) -> Table:
    head = ("work", "needed", "graphsvc", "torch", "jax", "autograd", "graphsvc, allocated", "aim", "reached")
    about = (
        "Peak of the resident set of a fresh process beyond inputs, outputs and gradients, in MiB; `needed` is what "
        "outputs and gradients take. The last is what graphsvc allocated beyond them, as tracemalloc counts it."
    )
    return Table("Memory", about, [head, *map(_memory_row, memory)])


def _memory_row(one: Memory) -> tuple[str, ...]:
    sizes = (f"{size:.1f}" for size in (one.needed, *one.resident.values(), one.allocated))
    reached = max(one.resident["graphsvc"], one.allocated) <= _MEMORY_TARGET
    return one.name, *sizes, f"{_MEMORY_TARGET:g}", _yes(reached)


def _spread(one: Measured, engine: str) -> str:
    if engine in one.too_slow:
        return f"> {_time(one.too_slow[engine])}"
    if engine not in one.warm:
        return _NONE
    times = one.warm[engine]
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    unit, scale = _unit(middle)
    return f"{_number(middle * scale)} {unit} ({_number(low * scale)}–{_number(high * scale)})"  # noqa: RUF001 - a range


def _time(seconds: float) -> str:
    unit, scale = _unit(seconds)
    return f"{_number(seconds * scale)} {unit}"


def _number(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def _unit(seconds: float) -> tuple[str, float]:
    return ("µs", 1e6) if seconds < 1e-3 else ("ms", 1e3) if seconds < 1 else ("s", 1.0)


def _yes(reached: bool) -> str:
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


def write(path: Path, described: dict[str, str], made: Sequence[Table]) -> None:
    """Write the results; the section that is written by hand stays as it is."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    by_hand = before.partition(_BEGIN)[2].partition(_END)[0] or _BY_HAND
    parts = [
        "# Results of `make bench`",
        "",
        f"Made on {datetime.now(UTC):%Y-%m-%d}; `make bench` writes this file, and leaves the last section as it is.",
        "",
        *(f"- {label}: {text}" for label, text in described.items()),
        "",
        *map(_markdown, made),
        f"{_BEGIN}{by_hand}{_END}",
        "",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")
