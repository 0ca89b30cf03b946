"""Folding: a large picture made small."""

from collections.abc import Iterable

from graphsvc.drawing.picture import Picture

__all__ = ["folded"]


def folded(picture: Picture, most: int | None, unfold: Iterable[str] = ()) -> Picture:
    """Fold."""
    return picture
