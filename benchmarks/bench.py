"""graphsvc beside torch, jax, autograd and NumPy by hand: warm, cold, and in memory.

Usage: python benchmarks/bench.py [--only SUBSTRING] [--rounds N] [--quick]

Each engine is a process of its own, and one computes at a time: they take turns, round by round, so that noise hits all
alike. Before anything is timed, they must agree on value and gradients. A whole run writes benchmarks/RESULTS.md.
"""

import argparse
import time
from pathlib import Path
from typing import Final

import numpy as np

import machine
import report
import tables
from measured import Measured, Memory
from worker import TimeLimitError, Worker
from works import WORKS, Work, chain_of

ENGINES: Final = ("graphsvc", "torch", "jax", "autograd", "numpy")
PACKAGES: Final = ("numpy", "torch", "jax", "jaxlib", "autograd", "scipy", "threadpoolctl")
RESULTS: Final = Path(__file__).with_name("RESULTS.md")

_LIMIT: Final = 60.0
"""Seconds that an engine may take for an answer."""

_BUDGET: Final = 8.0
"""Seconds after which a work is measured no longer, warm or cold, once it was measured three times."""

_BATCH: Final = 0.1
"""Seconds that a batch of repetitions takes at least."""

_PAUSE: Final = 0.03
"""Seconds between turns, in which the threads of the engine before stop spinning."""

_CHAIN_LENGTH: Final = 4_000_000
_TOLERANCE: Final = {"float64": 1e-10, "float32": 1e-4}
"""How far results may lie apart, by the largest element of an array."""


class Crew:
    """The workers, and what they were too slow for."""

    def __init__(self) -> None:
        self.workers = {engine: Worker(engine) for engine in ENGINES}
        self.about = {engine: worker.ask("about") for engine, worker in self.workers.items()}
        self._too_slow: set[tuple[str, str | None]] = set()

    def begin(self, work: Work) -> Measured:
        """Make all engines ready for a work, and check that they agree.

        Raises:
            SystemExit: They do not.
        """
        measured = Measured(work)
        expected: list[np.ndarray] = []
        for engine, worker in self.workers.items():
            if work.kind and (engine, work.kind) in self._too_slow:
                continue
            try:
                if not worker.ask("prepare", work.name, limit=_LIMIT):
                    continue
                found = worker.ask("results", limit=_LIMIT)
            except TimeLimitError:
                measured.too_slow[engine] = _LIMIT
                self._too_slow.add((engine, work.kind))
                self.workers[engine] = Worker(engine)
                self.workers[engine].ask("about")
                continue
            expected = expected or found
            _check_agreement(work, engine, expected, found)
            measured.warm[engine] = []
        return measured

    def time_cold(self, measured: Measured, rounds: int) -> None:
        """Time graphs never seen."""
        engines = [engine for engine in measured.warm if engine in ("graphsvc", "jax")]
        began = time.perf_counter()
        for turn in range(rounds):
            if turn and time.perf_counter() - began > _BUDGET:
                break
            for engine in engines:
                time.sleep(_PAUSE)
                measured.cold.setdefault(engine, []).append(self.workers[engine].ask("cold"))

    def time_warm(self, measured: Measured, rounds: int) -> None:
        """Time batches in turns; in each round another engine begins."""
        engines = list(measured.warm)
        for engine in engines:
            self.workers[engine].ask("calibrate", _BATCH)
        began = time.perf_counter()
        for turn in range(rounds):
            if turn >= min(3, rounds) and time.perf_counter() - began > _BUDGET:
                break
            first = turn % len(engines)
            for engine in engines[first:] + engines[:first]:
                time.sleep(_PAUSE)
                measured.warm[engine].append(self.workers[engine].ask("batch"))

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers.values():
            worker.close()


def _check_agreement(work: Work, engine: str, expected: list[np.ndarray], found: list[np.ndarray]) -> None:
    for name, one, other in zip(("value", *work.wrt), expected, found, strict=True):
        same_kind = (one.dtype, one.shape) == (other.dtype, other.shape)
        # Written so that a NaN is no agreement.
        if not same_kind or not np.max(np.abs(one - other)) <= _TOLERANCE[one.dtype.name] * np.max(np.abs(one)):
            msg = f"{work.name}: {engine} disagrees on {name!r}: {other!r} instead of {one!r}. Nothing is timed."
            raise SystemExit(msg)


def measure_memory(dtype: str) -> Memory:
    """Measure the longest chain in fresh processes."""
    inputs = chain_of(_CHAIN_LENGTH, dtype).inputs()
    needed = sum(array.nbytes for array in inputs.values()) / 2**20
    resident = {}
    for engine in ("graphsvc", "torch", "jax", "autograd"):
        worker = Worker(engine)
        resident[engine] = worker.ask("memory", _CHAIN_LENGTH, dtype) - needed
        if engine == "graphsvc":
            allocated = worker.ask("allocations", _CHAIN_LENGTH, dtype) - needed
        worker.close()
    return Memory(f"chain of 11 gates, 4e6, {dtype}", needed, resident, allocated)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="SUBSTRING", default="", help="works whose name holds this")
    parser.add_argument("--rounds", metavar="N", type=int, default=25, help="most rounds of a work (25)")
    parser.add_argument("--quick", action="store_true", help="three rounds, small works, nothing written")
    return parser.parse_args()


def _chosen(arguments: argparse.Namespace) -> list[Work]:
    works = [work for name, work in WORKS.items() if arguments.only in name]
    return [work for work in works if not work.kind and "4e+06" not in work.name] if arguments.quick else works


def main() -> None:
    """Measure, print, and write the results of a whole run."""
    arguments = _arguments()
    rounds = 3 if arguments.quick else arguments.rounds
    whole = not arguments.only and not arguments.quick
    load = machine.Load()
    crew = Crew()
    measured = []
    for work in _chosen(arguments):
        one = crew.begin(work)
        crew.time_cold(one, min(5, rounds))
        crew.time_warm(one, rounds)
        print(report.progress(one), flush=True)
        measured.append(one)
    crew.close()
    memory = [measure_memory(dtype) for dtype in ("float64", "float32")] if whole else []
    made = report.tables(measured, memory)
    described = machine.describe(PACKAGES) | machine.describe_engines(crew.about) | {"Load": load.describe()}
    print(tables.as_text(made), described["Load"], sep="\n\n")
    if whole:
        tables.write(RESULTS, "make bench", described, made)


if __name__ == "__main__":
    main()
