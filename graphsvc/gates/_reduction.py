"""What the gates that reduce axes share: which axes, what shape comes out, and axes laid side by side."""

from collections.abc import Iterable
from math import prod
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, normalized_axes
from graphsvc.errors import DtypeError, ShapeError
from graphsvc.gate import Example, Gate

__all__ = ["ReducedAxes", "Reduction", "combined", "require_elements", "require_real", "separated", "sum_dtype"]


class ReducedAxes(Gate):
    """Base of the gates that reduce axes: which axes, and what shape comes out."""

    axis: Annotated[
        int | tuple[int, ...] | None, Field(description="Axes to reduce; None means all, () means none.")
    ] = None
    keepdims: Annotated[bool, Field(description="Whether reduced axes stay, with length 1.")] = False

    def _kept_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the result with the reduced axes kept."""
        axes = normalized_axes(self.axis, len(shape))
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))

    def _reduced_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the result."""
        if self.keepdims:
            return self._kept_shape(shape)
        axes = normalized_axes(self.axis, len(shape))
        return tuple(size for axis, size in enumerate(shape) if axis not in axes)

    def _count(self, shape: tuple[int, ...]) -> int:
        """How many elements of an operand of `shape` go into one of the result."""
        return prod(shape[axis] for axis in normalized_axes(self.axis, len(shape)))

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype


class Reduction(ReducedAxes):
    """Base of the reductions of one operand."""

    def infer(self, x: ArraySpec) -> ArraySpec:
        """Return the shape without the reduced axes."""
        return ArraySpec(self._reduced_shape(x.shape), self._result_dtype(x.dtype))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        """Yield reductions over all axes, one, several, and of a single number."""
        x = np.random.default_rng(1).normal(size=(2, 3, 4))
        yield Example(cls(), x)
        yield Example(cls(axis=1), x)
        yield Example(cls(axis=(0, -1), keepdims=True), x)
        yield Example(cls(axis=0), x[:, 0, 0])
        yield Example(cls(), x[0, 0, 0, ...])


def sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of NumPy's sums and products of numbers of `dtype`: small integers become int64."""
    return np.sum(np.ones(1, dtype)).dtype


def require_elements(count: int, shape: tuple[int, ...], what: str) -> None:
    """Refuse to reduce no elements at all.

    Raises:
        ShapeError: `count` is 0.
    """
    if count == 0:
        msg = f"The operand of shape {shape} has no element along the reduced axes, so there is no {what}."
        msg += " Reduce other axes, or give it elements."
        raise ShapeError(msg)


def require_real(name: str, x: ArraySpec) -> None:
    """Refuse complex numbers, which have no order.

    Raises:
        DtypeError: The operand is complex.
    """
    if x.dtype.kind == "c":
        msg = f"Operand {name!r} must be real, because complex numbers have no order, got {x.dtype}."
        msg += " Take its real part or its absolute value first."
        raise DtypeError(msg)


def combined(x: Array, axes: tuple[int, ...]) -> Array:
    """Return `x` with `axes` moved to the end and made one axis there. Shape `(rest..., n)`."""
    rest = tuple(axis for axis in range(x.ndim) if axis not in axes)
    count = prod(x.shape[axis] for axis in axes)
    return np.transpose(x, (*rest, *axes)).reshape((*(x.shape[axis] for axis in rest), count))


def separated(x: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """Return what `combined` made of an array of `shape` to that shape, the axes back where they were."""
    order = (*(axis for axis in range(len(shape)) if axis not in axes), *axes)
    back = sorted(range(len(shape)), key=order.__getitem__)
    return np.transpose(x.reshape(tuple(shape[axis] for axis in order)), back)
