"""What a server keeps between calls: the latest used, within bounds."""

import threading
import time
from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["Kept"]

_T = TypeVar("_T")


class Kept(Generic[_T]):
    """Things by digest, bounded in bytes, number and time; those not used for longest make room. Safe for many threads.

    Who was given a thing may go on with it after it went.
    """

    def __init__(self, nbytes: int, count: int | None = None, seconds: float | None = None) -> None:
        """Keep nothing yet.

        Args:
            nbytes: Bytes that all may take; a thing that takes more is not kept.
            count: How many they may be; None means any number.
            seconds: How long each is kept after it was last used; None means for ever.
        """
        self._limit = nbytes
        self._count = count
        self._seconds = seconds
        self._lock = threading.Lock()
        self._things: OrderedDict[bytes, tuple[_T, int, float]] = OrderedDict()
        self.nbytes = 0

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._things

    def get(self, digest: bytes) -> _T | None:
        """Return the thing of that digest, if it is kept."""
        with self._lock:
            self._drop_old()
            if digest not in self._things:
                return None
            thing, nbytes, _ = self._things.pop(digest)
            self._things[digest] = thing, nbytes, time.monotonic()
            return thing

    def put(self, digest: bytes, thing: _T, nbytes: int) -> None:
        """Keep a thing that takes about `nbytes`."""
        with self._lock:
            self._drop_old()
            if digest in self._things:
                self._drop(digest)
            if nbytes > self._limit or self._count == 0:
                return
            self._things[digest] = thing, nbytes, time.monotonic()
            self.nbytes += nbytes
            while self.nbytes > self._limit or (self._count is not None and len(self._things) > self._count):
                self._drop(next(iter(self._things)))

    def _drop_old(self) -> None:
        if self._seconds is None:
            return
        oldest = time.monotonic() - self._seconds
        while self._things and next(iter(self._things.values()))[2] < oldest:
            self._drop(next(iter(self._things)))

    def _drop(self, digest: bytes) -> None:
        self.nbytes -= self._things.pop(digest)[1]
