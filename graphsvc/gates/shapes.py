"""Gates that rearrange elements and compute nothing."""

from collections.abc import Iterable
from math import prod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import MAX_DIMENSION, Array, ArraySpec, broadcast_shapes, normalized_axes, sum_to_shape
from graphsvc.errors import AttributeValueError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

Dimension = Annotated[int, Field(ge=0, le=MAX_DIMENSION)]


class Reshape(Gate):
    """The same elements in C order under another shape; one dimension may be -1, which takes what is left."""

    name: ClassVar[str] = "reshape"
    linear: ClassVar[bool] = True

    shape: Annotated[tuple[Annotated[int, Field(ge=-1, le=MAX_DIMENSION)], ...], Field(description="The new shape.")]

    def infer(self, x: ArraySpec) -> ArraySpec:
        known = prod(size for size in self.shape if size != -1)
        unknown = self.shape.count(-1)
        fits = known == x.size if unknown == 0 else unknown == 1 and known > 0 and x.size % known == 0
        if not fits:
            msg = f"An operand of shape {x.shape} with {x.size} elements cannot take the shape {self.shape}."
            msg += " Choose one of as many elements, with at most one -1."
            raise ShapeError(msg)
        return ArraySpec(tuple(x.size // known if size == -1 else size for size in self.shape), x.dtype)

    def forward(self, x: Array) -> Array:
        return x.reshape(self.shape)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        return dz.reshape(x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 6))
        yield Example(cls(shape=(3, -1)), x)
        yield Example(cls(shape=(12,)), x)


class Transpose(Gate):
    """The axes in another order, reversed where ``axes`` is None."""

    name: ClassVar[str] = "transpose"
    linear: ClassVar[bool] = True

    axes: Annotated[tuple[int, ...] | None, Field(description="For each axis of the result, the one it was.")] = None

    def _order(self, ndim: int) -> tuple[int, ...]:
        if self.axes is None:
            return tuple(reversed(range(ndim)))
        if len(self.axes) != ndim:
            msg = f"Attribute 'axes' is {self.axes}, but the operand has {ndim} axes. Name each of them once."
            raise AttributeValueError(msg, attribute="axes")
        return normalized_axes(self.axes, ndim)

    def infer(self, x: ArraySpec) -> ArraySpec:
        return ArraySpec(tuple(x.shape[axis] for axis in self._order(x.ndim)), x.dtype)

    def forward(self, x: Array) -> Array:
        return x.transpose(self._order(x.ndim))

    def backward(self, dz: Array) -> Array:
        order = self._order(dz.ndim)
        return dz.transpose(sorted(range(dz.ndim), key=order.__getitem__))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3, 4))
        yield Example(cls(), x)
        yield Example(cls(axes=(1, -1, 0)), x)


class BroadcastTo(Gate):
    """The operand repeated to a larger shape, as NumPy's broadcasting does."""

    name: ClassVar[str] = "broadcast_to"
    linear: ClassVar[bool] = True

    shape: Annotated[tuple[Dimension, ...], Field(description="The shape to broadcast to.")]

    def infer(self, x: ArraySpec) -> ArraySpec:
        if broadcast_shapes(x.shape, self.shape) != self.shape:
            msg = f"An operand of shape {x.shape} does not broadcast to {self.shape}. Reshape it, or choose another."
            raise ShapeError(msg)
        return ArraySpec(self.shape, x.dtype)

    def forward(self, x: Array) -> Array:
        return np.broadcast_to(x, self.shape)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        return sum_to_shape(dz, x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(shape=(4, 2, 3)), random.normal(size=(2, 1)))
        yield Example(cls(shape=(2, 2)), random.normal(size=()))


class Concatenate(Gate):
    """The operands one after the other along an axis; their other axes are alike."""

    name: ClassVar[str] = "concatenate"
    linear: ClassVar[bool] = True

    axis: Annotated[int, Field(description="The axis along which the operands are joined.")] = 0

    def infer(self, *xs: ArraySpec) -> ArraySpec:
        (axis,) = normalized_axes(self.axis, xs[0].ndim)
        rests = {(*x.shape[:axis], *x.shape[axis + 1 :]) for x in xs}
        if len(rests) != 1 or len({x.ndim for x in xs}) != 1:
            listed = ", ".join(str(x.shape) for x in xs)
            msg = f"Operands of shapes {listed} differ in more than axis {axis}. Reshape them."
            raise ShapeError(msg)
        length = sum(x.shape[axis] for x in xs)
        shape = (*xs[0].shape[:axis], length, *xs[0].shape[axis + 1 :])
        return ArraySpec(shape, np.result_type(*(x.dtype for x in xs)))

    def forward(self, *xs: Array) -> Array:
        return np.concatenate(xs, axis=self.axis)

    def backward(self, dz: Array, xs_shape: tuple[tuple[int, ...], ...]) -> list[Array]:
        ends = np.cumsum([shape[self.axis] for shape in xs_shape])
        return np.split(dz, ends[:-1], axis=self.axis)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(axis=-1), *(random.normal(size=(2, n)) for n in (3, 1, 2)))
        yield Example(cls(), random.normal(size=(2, 2)))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Reshape, Transpose, BroadcastTo, Concatenate]
