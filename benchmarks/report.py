"""Tables of what was measured in process."""

import statistics
from collections.abc import Sequence
from typing import Final

from measured import Measured, Memory
from tables import NONE, Table, as_number, as_time, as_yes, unit_of

__all__ = ["progress", "tables"]

_COLD_TARGET: Final = 10.0
_COLD_GATE_TARGET: Final = 30.0
_MEMORY_TARGET: Final = 8.0


def progress(one: Measured) -> str:
    """Say in a line how a work went."""
    best = one.best_peer()
    times = ", ".join(f"{engine} {as_time(one.median(engine))}" for engine in one.warm)
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
    return as_yes(one.reached()) if one.reached() == one.reached(min) else "unclear"


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
        as_time(one.cold_median("jax"))
        if "jax" in one.cold
        else f"> {as_time(one.too_slow['jax'])}"
        if at_least
        else NONE
    )
    times = as_time(sum(one.cold["graphsvc"][0])), as_time(one.cold_median("graphsvc")), jax
    if ratio is None:
        return one.work.name, *times, NONE, f"{_COLD_TARGET:g}", NONE
    said = f"{'> ' if at_least else ''}{ratio:.1f}"
    return one.work.name, *times, said, f"{_COLD_TARGET:g}", as_yes(ratio >= _COLD_TARGET)


def _gates(measured: Sequence[Measured]) -> Table:
    head = ("work", "parse", "structure", "first run", "all", "aim", "reached")
    about = "What each gate costs graphsvc from the bytes of a graph never seen to its gradients: medians, in µs."
    rows = [_gates_row(one, one.work.gates) for one in measured if one.work.gates]
    return Table("Cold, by gate", about, [head, *rows])


def _gates_row(one: Measured, gates: int) -> tuple[str, ...]:
    stages = [stage / gates * 1e6 for stage in one.cold_stages()]
    costs = (f"{cost:.1f}" for cost in (*stages, sum(stages)))
    return one.work.name, *costs, f"{_COLD_GATE_TARGET:g}", as_yes(sum(stages) <= _COLD_GATE_TARGET)


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
    return one.name, *sizes, f"{_MEMORY_TARGET:g}", as_yes(reached)


def _spread(one: Measured, engine: str) -> str:
    if engine in one.too_slow:
        return f"> {as_time(one.too_slow[engine])}"
    if engine not in one.warm:
        return NONE
    times = one.warm[engine]
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    unit, scale = unit_of(middle)
    return f"{as_number(middle * scale)} {unit} ({as_number(low * scale)}–{as_number(high * scale)})"  # noqa: RUF001 - a range
