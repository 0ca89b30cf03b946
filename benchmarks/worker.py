"""One process per engine, which computes when it is asked to and sleeps otherwise."""

import ctypes
import gc
import importlib
import multiprocessing
import time
import traceback
import tracemalloc
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from threadpoolctl import threadpool_info

from works import WORKS, Work, chain_of

__all__ = ["TimeLimitError", "Worker"]

_WARM_UP: Final = 0.1
"""Seconds for which an engine runs before it is timed."""

_MIB: Final = 2**20


class TimeLimitError(Exception):
    """An engine took longer than it may."""


# What a worker can be asked, in its process ---------------------------------------------------------------------------


class _Asked:
    """The requests, as methods; the engine has one work at a time."""

    def __init__(self, engine: str) -> None:
        self._engine: Any = importlib.import_module(f"engines.{engine}_")
        self._run: Callable[[], Any] | None = None
        self._cold: Callable[[], tuple[float, ...]] | None = None
        self._repetitions = 1

    def about(self) -> tuple[str, list[dict[str, Any]]]:
        """Say what the engine is, and which thread pools it has."""
        return self._engine.about(), threadpool_info()

    def prepare(self, name: str) -> bool:
        """Make ready for the work of this name; answer whether the engine has it."""
        return self._prepare(WORKS[name])

    def _prepare(self, work: Work) -> bool:
        self._work, self._run, self._cold = work, None, None
        gc.collect()
        self._run = self._engine.prepare(work)
        return self._run is not None

    def results(self) -> list[Any]:
        """Run once, and answer with value and gradients."""
        return self._engine.arrays(self._run())

    def cold(self) -> tuple[float, ...] | None:
        """Time the stages from a graph never seen to its gradients, in seconds."""
        if not hasattr(self._engine, "cold"):
            return None
        self._cold = self._cold or self._engine.cold(self._work)
        gc.collect()
        return self._cold()

    def calibrate(self, seconds: float) -> None:
        """Settle how many repetitions make a batch of at least so many seconds."""
        self._run()  # it may have something to prepare
        # The fastest of some, for one that was disturbed would make all batches short.
        fastest = self._timed(1)
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            fastest = min(fastest, self._timed(1))
        self._repetitions = max(1, round(seconds / fastest))

    def batch(self) -> float:
        """Return the seconds of a run, averaged over a batch.

        It comes warmed up: threads that slept are spread over the cores again only after some milliseconds.
        """
        began = time.perf_counter()
        while time.perf_counter() - began < _WARM_UP:
            self._run()
        return self._timed(self._repetitions)

    def _timed(self, repetitions: int) -> float:
        run = self._run
        began = time.perf_counter()
        for _ in range(repetitions):
            run()
        return (time.perf_counter() - began) / repetitions

    def memory(self, n: int, dtype: str) -> float:
        """Return by how many MiB the chain raised the peak of the resident set, its inputs being there before."""
        self._prepare(chain_of(1000, dtype))
        self._run()
        self._prepare(chain_of(n, dtype))
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _peak()
        for _ in range(3):
            self._run()
        return _peak() - before

    def allocations(self, n: int, dtype: str) -> float:
        """Return the peak in MiB of what the chain allocated, as tracemalloc counts it."""
        self._prepare(chain_of(n, dtype))
        tracemalloc.start()
        self._run()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / _MIB


def _peak() -> float:
    """Return the peak of the resident set in MiB, since it was last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _serve(engine: str, connection: Connection) -> None:
    asked = _Asked(engine)
    while True:
        try:
            request, arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = getattr(asked, request)(*arguments)
        except Exception:  # noqa: BLE001 - whatever it was, the parent shows it
            answer = RuntimeError(traceback.format_exc())
        connection.send(answer)


# Asking, in the parent ------------------------------------------------------------------------------------------------


class Worker:
    """The process of one engine, seen from the parent."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(engine, other), daemon=True)
        self._process.start()
        other.close()

    def ask(self, request: str, *arguments: Any, limit: float | None = None) -> Any:
        """Ask, and wait for the answer.

        Raises:
            TimeLimitError: There was none within `limit` seconds. The worker is closed.
            RuntimeError: The engine failed; the message is its traceback.
        """
        self._connection.send((request, arguments))
        if not self._connection.poll(limit):
            self.close()
            raise TimeLimitError
        answer = self._connection.recv()
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()
