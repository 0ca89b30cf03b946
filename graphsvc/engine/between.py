"""What a run calls before whatever may take long, for the graphs that gates of the run hold."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["asked_between", "asking"]


class _Asked(threading.local):
    between: Callable[[], None] | None = None


_asked = _Asked()


@contextmanager
def asking(between: Callable[[], None] | None) -> Iterator[None]:
    """Let the graphs that gates hold call `between` as well, in runs of this thread."""
    before = _asked.between
    _asked.between = between
    try:
        yield
    finally:
        _asked.between = before


def asked_between() -> Callable[[], None] | None:
    """Return what the run of this thread calls before whatever may take long; None if nothing is to be called."""
    return _asked.between
