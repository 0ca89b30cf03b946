"""Threads that share a kernel, as many as there are cores."""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress

import numpy as np

from graphsvc.arrays import Array
from graphsvc.cores import core_count
from graphsvc.errors import RequestError, quoted

__all__ = ["Workers", "thread_count", "workers"]


def thread_count() -> int:
    """Return how many threads share a kernel: GRAPHSVC_THREADS if it is set, otherwise the cores of this process.

    Raises:
        RequestError: GRAPHSVC_THREADS is no number from 1.
    """
    given = os.environ.get("GRAPHSVC_THREADS", "")
    if not given:
        return core_count()
    if not given.isdecimal() or int(given) < 1:
        msg = f"GRAPHSVC_THREADS is {quoted(given)}, but must be a number of threads from 1. Set it, or unset it."
        raise RequestError(msg)
    return int(given)


class _Thread(threading.local):
    """What a thread keeps from run to run.

    Attributes:
        busy: Whether it runs a kernel. A signal handler, a finalizer or `between` may ask a graph meanwhile: that run
            takes memory of its own, and no helpers, for whose queue this thread may hold a lock.
        memory: Memory for registers.
    """

    busy = False
    memory: Array = np.empty(0, np.uint8)


class Workers:
    """The threads that help, and the memory for the registers of each thread."""

    def __init__(self) -> None:
        self.count = thread_count()
        self.thread = _Thread()
        self._pool = ThreadPoolExecutor(max(1, self.count - 1), thread_name_prefix="graphsvc-blocks")
        self._lock = threading.Lock()
        self._at_work = 0

    @contextmanager
    def helped(self, helpers: int, work: Callable[[], None]) -> Iterator[None]:
        """Have so many threads do some work beside what is done here, and wait for them.

        There are fewer where others are at work: more threads than cores would only wait for each other.
        """
        with self._lock:
            helpers = max(0, min(helpers, self.count - self._at_work - 1))
            self._at_work += 1 + helpers
        futures: list[Future[None]] = []
        try:
            # Without helpers where threads cannot start, as when the interpreter ends.
            with suppress(RuntimeError):
                for _ in range(helpers):
                    futures.append(self._pool.submit(self._quietly, work))
            yield
        finally:
            # Nobody needs those any more that have not begun.
            begun = [future for future in futures if not future.cancel()]
            wait(begun)
            with self._lock:
                self._at_work -= 1 + helpers
        for future in begun:
            future.result()

    def _quietly(self, work: Callable[[], None]) -> None:
        """Work in another thread, where no numeric warning is printed either."""
        try:
            self.thread.busy = True
            with np.errstate(all="ignore"):
                work()
        finally:
            self.thread.busy = False


def workers() -> Workers:
    """Return the threads of this process; a fork has none of its parent's."""
    return _workers(os.getpid())


@functools.cache
def _workers(_: int) -> Workers:
    return Workers()
