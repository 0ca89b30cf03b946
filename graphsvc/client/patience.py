"""Trying again what a server is too busy for; for streams, which gRPC does not try again itself."""

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from graphsvc.errors import BusyError

__all__ = ["attempts", "patiently", "pause"]

_T = TypeVar("_T")

_ATTEMPTS: Final = 4


def patiently(ask: Callable[[float | None], _T], seconds: float | None) -> _T:
    """Return what `ask` returns; while the server is busy, wait as long as it says and ask again.

    Args:
        ask: Takes the seconds that are left.
        seconds: Seconds that all may take; None means any time.
    """
    for left, last in attempts(seconds):
        try:
            return ask(left)
        except BusyError as error:
            if last or (left is not None and pause(error) >= left):
                raise
            time.sleep(pause(error))
    raise AssertionError


def attempts(seconds: float | None) -> Iterator[tuple[float | None, bool]]:
    """Yield for each attempt the seconds that are left, and whether it is the last."""
    end = None if seconds is None else time.monotonic() + seconds
    for attempt in range(1, _ATTEMPTS + 1):
        yield None if end is None else max(0.0, end - time.monotonic()), attempt == _ATTEMPTS


def pause(error: BusyError) -> float:
    """Return how many seconds a busy server asks to wait."""
    return int(error.facts.get("retry_ms", "100")) / 1000
