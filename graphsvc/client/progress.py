"""A progress bar on stderr, where that is a terminal."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

__all__ = ["tracked"]

_T = TypeVar("_T")


def tracked(items: Iterable[_T], total: int | None, *, shown: bool) -> Iterator[_T]:
    """Yield the items, and show how far it is of so many, if that is known."""
    console = Console(stderr=True)
    yield from track(
        items, "Evaluating", total, console=console, disable=not (shown and console.is_terminal), transient=True
    )
