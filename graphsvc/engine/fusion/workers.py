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
        self._pool = ThreadPoolExecutor(max(1, self.count - 1), "graphsvc-blocks", self._begin)
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
        # Our own: what a thread that cannot start was submitted for, another one may still come to do.
        futures: list[Future[None]] = [Future() for _ in range(helpers)]
        try:
            # Without helpers where threads cannot start, as when the interpreter ends.
            with suppress(RuntimeError):
                for future in futures:
                    self._pool.submit(_do, future, work)
            yield
        finally:
            try:
                # Nobody needs those any more that have not begun.
                begun = [future for future in futures if not future.cancel()]
                wait(begun)
            finally:
                with self._lock:
                    self._at_work -= 1 + helpers
        for future in begun:
            future.result()

    def _begin(self) -> None:
        """Begin a thread that helps: always busy, also between kernels, and where no numeric warning is printed."""
        self.thread.busy = True
        np.seterr(all="ignore")


def _do(future: Future[None], work: Callable[[], None]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - raised again by who waits
        future.set_exception(error)
    else:
        future.set_result(None)


def workers() -> Workers:
    """Return the threads of this process; a fork has none of its parent's."""
    return _workers(os.getpid())


@functools.cache
def _workers(_: int) -> Workers:
    return Workers()
