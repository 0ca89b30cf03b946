"""Gates that give elements another shape, and gates that tell a shape."""

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


class Flatten(Gate):
    """The axes from ``start_axis`` to ``end_axis`` made one, in C order; all of them by default."""

    name: ClassVar[str] = "flatten"
    linear: ClassVar[bool] = True

    start_axis: Annotated[int, Field(description="The first axis of those made one.")] = 0
    end_axis: Annotated[int, Field(description="The last axis of those made one.")] = -1

    def _flat_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if not shape:
            shape = (1,)
        ends = [normalized_axes(axis, len(shape))[0] for axis in (self.start_axis, self.end_axis)]
        if ends[0] > ends[1]:
            msg = f"Attributes 'start_axis' and 'end_axis' are {self.start_axis} and {self.end_axis}, but an operand"
            msg += f" of shape {shape} has no axes between them. Name the earlier one first."
            raise AttributeValueError(msg, attribute="start_axis")
        return (*shape[: ends[0]], prod(shape[ends[0] : ends[1] + 1]), *shape[ends[1] + 1 :])

    def infer(self, x: ArraySpec) -> ArraySpec:
        return ArraySpec(self._flat_shape(x.shape), x.dtype)

    def forward(self, x: Array) -> Array:
        return x.reshape(self._flat_shape(x.shape))

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        return dz.reshape(x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3, 2))
        yield Example(cls(), x)
        yield Example(cls(start_axis=1), x)
        yield Example(cls(end_axis=-2), x + 1j * x)
        yield Example(cls(), x[0, 0, 0, ...])


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


class Shape(Gate):
    """The lengths of the axes of the operand, as an int64 array of one axis."""

    name: ClassVar[str] = "shape"

    def infer(self, x: ArraySpec) -> ArraySpec:
        return ArraySpec((x.ndim,), np.dtype(np.int64))

    def forward(self, x: Array) -> Array:
        return np.array(x.shape, np.int64)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.ones((2, 0, 3)))
        yield Example(cls(), np.ones(()))


class Size(Gate):
    """The number of elements of the operand, as an int64."""

    name: ClassVar[str] = "size"

    def infer(self, x: ArraySpec) -> ArraySpec:
        return ArraySpec((), np.dtype(np.int64))

    def forward(self, x: Array) -> Array:
        return np.array(x.size, np.int64)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.ones((2, 3)))
        yield Example(cls(), np.ones(()))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Reshape, Flatten, BroadcastTo, Shape, Size]
