"""Gates for the diagonals and triangles of matrices."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, normalized_axes, reduce_sum
from graphsvc.errors import ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._reduction import sum_dtype
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

Offset = Annotated[int, Field(ge=-(2**31), le=2**31)]


def _length(rows: int, columns: int, offset: int) -> int:
    """Return how many elements a diagonal has."""
    return max(0, min(rows + min(offset, 0), columns - max(offset, 0)))


def _placed(values: Array, shape: tuple[int, ...], offset: int) -> Array:
    """Return zeros with `values` on a diagonal of the last two axes."""
    made = np.zeros(shape, values.dtype)
    steps = np.arange(values.shape[-1])
    made[..., steps + max(-offset, 0), steps + max(offset, 0)] = values
    return made


class _OfDiagonal(Gate):
    """Base of the gates that read a diagonal of two axes."""

    offset: Annotated[Offset, Field(description="Which diagonal: above the main one where positive.")] = 0
    axis1: Annotated[int, Field(description="The axis of the rows.")] = 0
    axis2: Annotated[int, Field(description="The axis of the columns.")] = 1

    def _axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) < 2:
            msg = f"An operand of shape {shape} has no diagonal. Give it two axes."
            raise ShapeError(msg)
        return normalized_axes((self.axis1, self.axis2), len(shape))

    def _rest(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        axes = self._axes(shape)
        return tuple(size for axis, size in enumerate(shape) if axis not in axes)

    def _spread(self, values: Array, shape: tuple[int, ...]) -> Array:
        """Return zeros of `shape` with `values` on the diagonal; their last axis runs along it."""
        rows, columns = self._axes(shape)
        moved = (*self._rest(shape), shape[rows], shape[columns])
        return np.moveaxis(_placed(values, moved, self.offset), (-2, -1), (rows, columns))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3, 4))
        yield Example(cls(), x[0])
        yield Example(cls(offset=1, axis1=-2, axis2=-1), x)
        yield Example(cls(offset=-1, axis1=1, axis2=0), x + 1j * x[::-1])


class Diagonal(_OfDiagonal):
    """A diagonal of two axes, laid along a new last one: ``z[..., i] = x[i, i + offset]``."""

    name: ClassVar[str] = "diagonal"
    linear: ClassVar[bool] = True

    def infer(self, x: ArraySpec) -> ArraySpec:
        rows, columns = self._axes(x.shape)
        return ArraySpec((*self._rest(x.shape), _length(x.shape[rows], x.shape[columns], self.offset)), x.dtype)

    def forward(self, x: Array) -> Array:
        return np.diagonal(x, self.offset, self.axis1, self.axis2)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        return self._spread(dz, x_shape)


class Trace(_OfDiagonal):
    """Sum of a diagonal of two axes: ``z = sum of x[i, i + offset]``."""

    name: ClassVar[str] = "trace"
    linear: ClassVar[bool] = True

    def infer(self, x: ArraySpec) -> ArraySpec:
        return ArraySpec(self._rest(x.shape), sum_dtype(x.dtype))

    def forward(self, x: Array) -> Array:
        return reduce_sum(np.diagonal(x, self.offset, self.axis1, self.axis2), -1)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        rows, columns = self._axes(x_shape)
        length = _length(x_shape[rows], x_shape[columns], self.offset)
        return self._spread(np.broadcast_to(dz.reshape((*dz.shape, 1)), (*dz.shape, length)), x_shape)


class Diag(Gate):
    """The diagonal of a matrix, or the matrix with the operand of one axis on its diagonal and zeros elsewhere."""

    name: ClassVar[str] = "diag"
    linear: ClassVar[bool] = True

    k: Annotated[Offset, Field(description="Which diagonal: above the main one where positive.")] = 0

    def infer(self, x: ArraySpec) -> ArraySpec:
        if x.ndim == 1:
            return ArraySpec((x.shape[0] + abs(self.k),) * 2, x.dtype)
        if x.ndim == 2:
            return ArraySpec((_length(x.shape[0], x.shape[1], self.k),), x.dtype)
        msg = f"The operand must have one axis or two, got shape {x.shape}. The gate 'diagonal' takes more."
        raise ShapeError(msg)

    def forward(self, x: Array) -> Array:
        return np.diagonal(x, self.k) if x.ndim == 2 else _placed(x, (x.shape[0] + abs(self.k),) * 2, self.k)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        return np.diagonal(dz, self.k) if dz.ndim == 2 else _placed(dz, x_shape, self.k)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 4))
        yield Example(cls(), x)
        yield Example(cls(k=-1), x + 1j)
        yield Example(cls(), x[0])
        yield Example(cls(k=1), x[0] + 1j)


class _Triangle(Gate):
    """Base of the gates that keep a triangle of the last two axes."""

    k: Annotated[Offset, Field(description="The diagonal that bounds it: above the main one where positive.")] = 0

    def _mask(self, shape: tuple[int, ...]) -> Array:
        raise NotImplementedError

    def _below(self, shape: tuple[int, ...], k: int) -> Array:
        """Tell for each place of the last two axes whether it lies on the `k`-th diagonal or below it."""
        return np.arange(shape[-2]).reshape((-1, 1)) + k >= np.arange(shape[-1])

    def infer(self, x: ArraySpec) -> ArraySpec:
        if x.ndim < 2:
            msg = f"The operand must have the shape (..., rows, columns), got {x.shape}. Reshape it."
            raise ShapeError(msg)
        return x

    def forward(self, x: Array) -> Array:
        return np.where(self._mask(x.shape), x, x.dtype.type(0))

    def backward(self, dz: Array) -> Array:
        return np.where(self._mask(dz.shape), dz, dz.dtype.type(0))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3, 4))
        yield Example(cls(), x)
        yield Example(cls(k=1), x[0])
        yield Example(cls(k=-1), x[0] + 1j)


class Tril(_Triangle):
    """The lower triangle of the last two axes, with zeros above the ``k``-th diagonal."""

    name: ClassVar[str] = "tril"
    linear: ClassVar[bool] = True

    def _mask(self, shape: tuple[int, ...]) -> Array:
        return self._below(shape, self.k)


class Triu(_Triangle):
    """The upper triangle of the last two axes, with zeros below the ``k``-th diagonal."""

    name: ClassVar[str] = "triu"
    linear: ClassVar[bool] = True

    def _mask(self, shape: tuple[int, ...]) -> Array:
        return ~self._below(shape, self.k - 1)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Diagonal, Trace, Diag, Tril, Triu]
