"""Instructions: calls of NumPy's functions as data, and the few functions that NumPy has no single call for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeAlias

import numpy as np

from graphsvc.arrays import Array

__all__ = ["Constant", "Instruction", "Kind", "Shape", "filled", "placed", "powered", "recast", "reshaped", "taken"]


Shape: TypeAlias = tuple[int, ...] | None
"""A shape; None stands for any, as that of an elementwise gate's operand may be."""


class Kind(Enum):
    """What an instruction does to shapes."""

    MAP = auto()
    """Element by element, with broadcasting."""
    REDUCE = auto()
    """A ufunc's `reduce` over axes."""
    VIEW = auto()
    """The same elements in the same order under another shape, or broadcast to it."""
    ALONG = auto()
    """Elements picked or replaced along the last axis, at one place for each row."""
    WHOLE = auto()
    """Anything else that is a pure function of arrays, such as a matrix product."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One call of a NumPy function.

    Attributes:
        function: The function; a ufunc for `MAP` and `REDUCE`, or `np.where`, `recast`, `np.broadcast_to`, `reshaped`.
        operands: Indices of values: first the operands of the recording, then constants and results in their order.
        keywords: Further arguments by keyword.
        dtype: Dtype of the result.
        shape: Shape of the result; None where it is that to which the operands' shapes broadcast.
    """

    kind: Kind
    function: Callable[..., Any]
    operands: tuple[int, ...]
    keywords: tuple[tuple[str, Any], ...]
    dtype: np.dtype[Any]
    shape: Shape

    def call(self, operands: Sequence[Any]) -> Any:
        """Call the function; a reduction keeps the axes that it reduces."""
        keywords = dict(self.keywords)
        if self.kind is not Kind.REDUCE:
            return self.function(*operands, **keywords)
        function: Any = self.function
        return function.reduce(*operands, **keywords, keepdims=keywords["axis"] is not None)


Constant: TypeAlias = int | float | bool | np.generic | Array


def recast(x: Array, dtype: np.dtype[Any]) -> Array:
    """Return `x` in another dtype, as `x.astype` does."""
    return x.astype(dtype)


def filled(x: Array, value: Constant) -> Array:
    """Return an array like `x`, every element of which is `value`."""
    return np.full_like(x, value)


def powered(x: Array, exponent: Array) -> Array:
    """Return what the operator gives, which takes other ways for NumPy's numbers than for arrays."""
    return x**exponent


def placed(x: Array, indices: Array, values: Array) -> Array:
    """Return `x` with the elements at `indices` along the last axis replaced by `values`."""
    made = np.array(x)
    np.put_along_axis(made, indices, values, -1)
    return made


def taken(x: Array, indices: Array) -> Array:
    """Return the elements of `x` at `indices` along the last axis."""
    return np.take_along_axis(x, indices, -1)


def reshaped(x: Array, shape: tuple[int, ...]) -> Array:
    """Return `x` under another shape, in C order."""
    return np.reshape(x, shape)
