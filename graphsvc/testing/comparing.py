"""How laws compare: to the bit, or within rounding; and how they complain."""

from collections.abc import Mapping

import numpy as np

from graphsvc.arrays import Array, is_differentiable

__all__ = ["require", "require_close", "same_bits"]


def require(holds: object, problem: str) -> None:
    """Raise AssertionError with what is wrong, unless all is well. Unlike `assert` it is never left out."""
    if not holds:
        raise AssertionError(problem)


def same_bits(a: Mapping[str, Array], b: Mapping[str, Array]) -> str:
    """Return the name of the first array in which `a` and `b` differ; empty if they are the same to the bit."""
    for name, x in a.items():
        y = b[name]
        if x.shape != y.shape or x.dtype != y.dtype or x.tobytes() != y.tobytes():
            return name
    return ""


def require_close(a: Array, b: Array, problem: str, *, size: float | None = None, ulps: float = 1e4) -> None:
    """Compare two arrays within what rounding explains.

    Args:
        a: The one. Shape `(...)`.
        b: The other, of the same shape.
        problem: What is wrong if they differ, as the begin of a sentence.
        size: Size of the numbers that were added up; None means the largest of `b`.
        ulps: Allowed difference, in units of the last place of that size.

    Raises:
        AssertionError: They differ.
    """
    require(np.shape(a) == np.shape(b), f"{problem}: of shape {np.shape(a)} instead of {np.shape(b)}.")
    with np.errstate(all="ignore"):
        alike = (a == b) | ((a != a) & (b != b))
        if np.all(alike):
            return
        inexact = is_differentiable(a.dtype)
        difference = np.where(alike, 0, np.abs(np.subtract(a, b))) if inexact else np.ones(1)
        scale = float(np.abs(b).max(initial=0.0)) if size is None else float(size)
        allowed = ulps * float(np.finfo(a.dtype).eps) * scale if inexact else 0.0
    worst = float(np.max(difference))
    require(worst <= allowed, f"{problem}: the difference is {worst:.3g}, of numbers up to {scale:.3g}.")
