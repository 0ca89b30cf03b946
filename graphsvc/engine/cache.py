"""A cache of what is dear to make, bounded, for many threads."""

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Cache"]

_T = TypeVar("_T")


class Cache(Generic[_T]):
    """The latest made of what is dear to make. Safe for many threads; two may make one thing twice, unharmed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # A signal handler may come while this thread holds it.
        self._lock = threading.RLock()
        self._made: dict[Hashable, _T] = {}

    def __len__(self) -> int:
        return len(self._made)

    def find(self, key: Hashable) -> _T | None:
        """Return what belongs to `key`, if it was made."""
        return self._made.get(key)

    def set(self, key: Hashable, value: _T) -> None:
        """Keep a value; the oldest goes first."""
        with self._lock:
            while len(self._made) >= self._limit:
                self._made.pop(next(iter(self._made)), None)
            self._made[key] = value

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return what belongs to `key`, made if need be."""
        found = self._made.get(key)
        if found is None:
            found = make()
            self.set(key, found)
        return found
