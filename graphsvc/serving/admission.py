"""Admission: what a server lets in, by what it will take, before anything is allocated for it.

`judge` refuses what is too much whatever else happens, which stays refused. `Queue` lets in as much at a time as there
are threads and bytes, keeps a bounded number waiting in the order of their coming, and refuses the rest at once, to be
tried again.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from graphsvc.engine.estimate import Estimate
from graphsvc.errors import BusyError, DeadlineTooShortError, LimitError
from graphsvc.serving.settings import Settings, setters_of

__all__ = ["Lease", "Machine", "Queue", "judge"]

_SECONDS_OF_A_CALL: Final = 10e-6
_MARGIN: Final = 0.5
"""Estimates of time may be twice what is then taken."""

_LEARNING: Final = 0.1

_LEAST_FLOPS: Final = 5e9
_LEAST_BYTES: Final = 2e9
"""What every machine does in a second; one that seems slower was busy while it was measured."""


@dataclass(frozen=True, slots=True)
class Machine:
    """How fast this machine is."""

    flops_per_second: float
    bytes_per_second: float

    @classmethod
    def measured(cls) -> Self:
        """Measure it, in a tenth of a second; the fastest of many short tries, for others may use it meanwhile."""
        a = np.ones((128, 128))
        # Three arrays that no cache holds.
        b = np.ones(1 << 21)
        out = np.empty_like(b)
        flops = 2 * 128**3 / _fastest(lambda: a @ a)
        nbytes = 3 * b.nbytes / _fastest(lambda: np.add(b, b, out=out))
        return cls(max(flops, _LEAST_FLOPS), max(nbytes, _LEAST_BYTES))

    def seconds(self, estimate: Estimate) -> float:
        """Return how long a run will take, within a factor of two or three."""
        work = estimate.flops / self.flops_per_second + estimate.touched_bytes / self.bytes_per_second
        return work + _SECONDS_OF_A_CALL * estimate.calls


def _fastest(call: Callable[[], object]) -> float:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def judge(estimate: Estimate, seconds: float, remaining: float, settings: Settings) -> None:
    """Refuse a run that is too much for this server at any time, or for the time that is left.

    Args:
        estimate: What it takes.
        seconds: How long it will take.
        remaining: Seconds until its deadline.
        settings: The limits.

    Raises:
        LimitError: It is over a limit; the facts say which, and what was asked.
        DeadlineTooShortError: It cannot be done by then.
    """
    node = estimate.largest_node
    _within(settings, "max_tensor_bytes", estimate.largest, "bytes in the largest value", node)
    _within(settings, "max_gate_flops", estimate.dearest, "operations in one gate", estimate.dearest_node)
    _within(settings, "max_flops", estimate.flops, "operations")
    if seconds * _MARGIN > settings.max_seconds:
        msg = f"It would take about {seconds:.3g} seconds; this server gives {settings.max_seconds:g} "
        msg += f"({setters_of('max_seconds')})."
        raise LimitError(msg, limit="max_seconds", asked=f"{seconds:.3g}")
    if seconds * _MARGIN > remaining:
        left = max(remaining, 0)
        msg = f"It would take about {seconds:.3g} seconds, but {left:.3g} are left. Give it a longer timeout."
        raise DeadlineTooShortError(msg, estimate_ms=str(round(1000 * seconds)))


def _within(settings: Settings, limit: str, asked: int, what: str, node: str = "") -> None:
    most = getattr(settings, limit)
    if asked > most:
        at = f" at node {node!r}" if node else ""
        msg = f"There would be {asked:,} {what}{at}; this server allows {most:,} ({setters_of(limit)})."
        msg += " Ask for less at a time."
        raise LimitError(msg, limit=limit, asked=str(asked), **({"node": node} if node else {}))


class Lease:
    """A place among the runs, and the bytes that go with it; each is given back exactly once. Safe for many threads.

    Attributes:
        nbytes: The bytes.
        seconds: How long the run will take.
        work: What a thread does with them.
    """

    def __init__(self, queue: "Queue", nbytes: int, seconds: float) -> None:
        self._queue = queue
        self.nbytes = nbytes
        self.seconds = seconds
        self.work: Future[Any] = Future()

    def resize(self, nbytes: int) -> None:
        """Take or give back bytes.

        Raises:
            LimitError: That is more than the server has for all.
            BusyError: That is more than it has now.
        """
        self._queue.resize(self, nbytes)

    def vacate(self) -> None:
        """Give the place to who waits for one, and keep the bytes."""
        self._queue.vacate(self)

    def give_up(self) -> bool:
        """Wait no more; tells whether it waited."""
        return self._queue.give_up(self)

    def release(self) -> None:
        """Give all back; where a thread works with it, when that is done. Only the first call does."""
        if self.work.cancel():
            self._queue.leave(self)
        else:
            self.work.add_done_callback(lambda _: self._queue.leave(self))


class Queue:
    """Lets in what fits, in the order of its coming. Safe for many threads.

    Who gives back what another waits for lets that one in, in its own thread, so that no place is empty until the event
    loop has its turn.
    """

    def __init__(self, slots: int, settings: Settings) -> None:
        """Make a queue before so many threads."""
        self._slots = slots
        self._settings = settings
        self._lock = threading.RLock()
        self._running: dict[Lease, float] = {}
        self._holding: set[Lease] = set()
        self._used = 0
        self._waiting: dict[Lease, Callable[[Lease], object]] = {}
        self._waiting_bytes = 0
        # Of all that runs and waits, kept up to date: who is refused costs nothing, however many wait.
        self._seconds = 0.0
        self._slowness = 1.0
        self._random = np.random.default_rng()

    @property
    def used_bytes(self) -> int:
        """Bytes that are given out."""
        return self._used

    @property
    def is_empty(self) -> bool:
        """Whether nothing runs, nothing waits and nothing is held."""
        return not self._running and not self._waiting and not self._holding

    def wait_seconds(self) -> float:
        """Return about how long who comes now would wait."""
        return self._slowness * self._seconds / self._slots

    def check_open(self) -> None:
        """Refuse who comes where nobody may wait any more; it takes no time, so that refusing costs nothing.

        Raises:
            BusyError: The queue is full.
        """
        if self._waiting or len(self._running) >= self._slots:
            self._check_length()

    def _check_length(self) -> None:
        if len(self._waiting) >= self._settings.queue_length:
            self._refuse(f"{len(self._waiting)} calls wait already")
        if self._waiting and self.wait_seconds() > self._settings.queue_seconds:
            self._refuse(f"it would wait {self.wait_seconds():.3g} seconds")

    def hold(self, nbytes: int) -> Lease:
        """Take bytes without a place, for a call whose data are still to come; it does not wait for them.

        All that the call takes is held, for calls that had a part each would wait for each other.

        Raises:
            LimitError: The server never has so many bytes.
            BusyError: It has not so many now.
        """
        lease = Lease(self, 0, 0)
        with self._lock:
            self.resize(lease, nbytes)
            self._holding.add(lease)
        return lease

    def enter(self, nbytes: int, seconds: float, begin: Callable[[Lease], object], held: Lease | None = None) -> Lease:
        """Wait for a place, and for bytes.

        Args:
            nbytes: What it takes at most at one time.
            seconds: How long it will take.
            begin: Called with the lease once it has both; at once, or later by who makes room.
            held: What `hold` gave for those bytes, which gets the place; it is given back if there is none.

        Raises:
            LimitError: The server never has so many bytes.
            BusyError: The queue is full.
        """
        lease = held or Lease(self, nbytes, seconds)
        lease.seconds = seconds
        try:
            with self._lock:
                self._enter(lease, begin)
        except BaseException:
            lease.release()
            raise
        return lease

    def _enter(self, lease: Lease, begin: Callable[[Lease], object]) -> None:
        self._judge(lease.nbytes)
        if not self._waiting and self._fits(lease):
            self._seconds += lease.seconds
            self._start(lease, begin)
            return
        self._check_length()
        if self._waiting_bytes + lease.nbytes > self._settings.memory_bytes // 4 and self._waiting:
            self._refuse("the calls that wait take a quarter of its memory")
        self._waiting[lease] = begin
        self._waiting_bytes += lease.nbytes
        self._seconds += lease.seconds

    def vacate(self, lease: Lease) -> None:
        """See `Lease.vacate`."""
        with self._lock:
            started = self._running.pop(lease, None)
            if started is None:
                return
            self._holding.add(lease)
            self._take_off(lease.seconds)
            if lease.seconds > 1e-3:
                seen = min(max((time.monotonic() - started) / lease.seconds, 0.1), 10.0)
                self._slowness += _LEARNING * (seen - self._slowness)
            self._let_in()

    def give_up(self, lease: Lease) -> bool:
        """See `Lease.give_up`."""
        with self._lock:
            waited = self._waiting.pop(lease, None) is not None
            if waited:
                self._waiting_bytes -= lease.nbytes
                self._take_off(lease.seconds)
            self._let_in()
        return waited

    def leave(self, lease: Lease) -> None:
        """Take a lease back, whatever became of it, and let others in."""
        with self._lock:
            self.vacate(lease)
            if lease in self._holding:
                self._holding.remove(lease)
                self._used -= lease.nbytes
            self.give_up(lease)

    def resize(self, lease: Lease, nbytes: int) -> None:
        """See `Lease.resize`."""
        self._judge(nbytes)
        with self._lock:
            if self._used + nbytes - lease.nbytes > self._settings.memory_bytes and nbytes > lease.nbytes:
                self._refuse("other calls have its memory")
            self._used += nbytes - lease.nbytes
            lease.nbytes = nbytes
            self._let_in()

    def _judge(self, nbytes: int) -> None:
        most = min(self._settings.max_run_bytes, self._settings.memory_bytes)
        if nbytes > most:
            msg = f"The run would take {nbytes:,} bytes at a time; this server allows {most:,} "
            msg += f"({setters_of('max_run_bytes')})."
            msg += " Ask for less at a time."
            raise LimitError(msg, limit="max_run_bytes", asked=str(nbytes))

    def _refuse(self, why: str) -> None:
        now = time.monotonic()
        with self._lock:
            # For all that is known, a run that takes longer than was thought has as long to go as it has run.
            overdue = min((now - started for started in self._running.values()), default=0)
        # Not all at the same time again.
        later = max(0.05, overdue, self.wait_seconds()) * (1 + 0.5 * self._random.random())
        msg = f"The server is busy: {why}. Try again in {later:.2g} seconds."
        raise BusyError(msg, retry_ms=str(round(1000 * later)))

    def _fits(self, lease: Lease) -> bool:
        more = 0 if lease in self._holding else lease.nbytes
        return len(self._running) < self._slots and self._used + more <= self._settings.memory_bytes

    def _start(self, lease: Lease, begin: Callable[[Lease], object]) -> None:
        self._running[lease] = time.monotonic()
        if lease in self._holding:
            self._holding.remove(lease)
        else:
            self._used += lease.nbytes
        begin(lease)

    def _let_in(self) -> None:
        while self._waiting and self._fits(lease := next(iter(self._waiting))):
            self._waiting_bytes -= lease.nbytes
            self._start(lease, self._waiting.pop(lease))

    def _take_off(self, seconds: float) -> None:
        """Take seconds off those of all, which are none where nobody is left, whatever was lost in rounding."""
        self._seconds = self._seconds - seconds if self._running or self._waiting else 0.0
