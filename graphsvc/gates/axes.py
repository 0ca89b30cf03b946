"""Gates that reorder, add and drop axes and move no element."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, normalized_axes
from graphsvc.errors import AttributeValueError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


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


class Moveaxis(Gate):
    """Some axes at other places; the rest stay in order, as `numpy.moveaxis` has it."""

    name: ClassVar[str] = "moveaxis"
    linear: ClassVar[bool] = True

    source: Annotated[int | tuple[int, ...], Field(description="The axes to move.")]
    destination: Annotated[int | tuple[int, ...], Field(description="The place of each of them in the result.")]

    def _order(self, ndim: int) -> tuple[int, ...]:
        source, destination = normalized_axes(self.source, ndim), normalized_axes(self.destination, ndim)
        if len(source) != len(destination):
            msg = f"Attributes 'source' and 'destination' are {self.source} and {self.destination}."
            msg += " Give as many places as axes."
            raise AttributeValueError(msg, attribute="destination")
        rest = iter([axis for axis in range(ndim) if axis not in source])
        places = dict(zip(destination, source, strict=True))
        return tuple(places[axis] if axis in places else next(rest) for axis in range(ndim))

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
        yield Example(cls(source=0, destination=-1), x)
        yield Example(cls(source=(0, -1), destination=(1, 0)), x + 1j * x)


class Swapaxes(Gate):
    """Two axes interchanged."""

    name: ClassVar[str] = "swapaxes"
    linear: ClassVar[bool] = True

    axis1: Annotated[int, Field(description="One axis.")]
    axis2: Annotated[int, Field(description="The other axis.")]

    def infer(self, x: ArraySpec) -> ArraySpec:
        one, other = (normalized_axes(axis, x.ndim)[0] for axis in (self.axis1, self.axis2))
        shape = list(x.shape)
        shape[one], shape[other] = shape[other], shape[one]
        return ArraySpec(tuple(shape), x.dtype)

    def forward(self, x: Array) -> Array:
        return np.swapaxes(x, self.axis1, self.axis2)

    def backward(self, dz: Array) -> Array:
        return np.swapaxes(dz, self.axis1, self.axis2)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3, 4))
        yield Example(cls(axis1=0, axis2=-1), x)
        yield Example(cls(axis1=1, axis2=1), x + 1j * x)


class Squeeze(Gate):
    """The operand without axes of length 1: without the named ones, or without all of them."""

    name: ClassVar[str] = "squeeze"
    linear: ClassVar[bool] = True

    axis: Annotated[
        int | tuple[int, ...] | None, Field(description="Axes of length 1 to drop; None drops all of them.")
    ] = None

    def _squeezed(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.axis is None:
            return tuple(size for size in shape if size != 1)
        axes = normalized_axes(self.axis, len(shape))
        if any(shape[axis] != 1 for axis in axes):
            msg = f"Attribute 'axis' is {self.axis}, but in the operand's shape {shape} not all of these have length 1."
            msg += " Drop only such as have, or reshape it."
            raise ShapeError(msg)
        return tuple(size for axis, size in enumerate(shape) if axis not in axes)

    def infer(self, x: ArraySpec) -> ArraySpec:
        return ArraySpec(self._squeezed(x.shape), x.dtype)

    def forward(self, x: Array) -> Array:
        return x.reshape(self._squeezed(x.shape))

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        return dz.reshape(x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(1, 3, 1, 2))
        yield Example(cls(), x)
        yield Example(cls(axis=0), x)
        yield Example(cls(axis=(0, -2)), x + 1j * x)
        yield Example(cls(), x[0, 0, 0, 0, ...])


class ExpandDims(Gate):
    """The operand with further axes of length 1, also known as unsqueeze."""

    name: ClassVar[str] = "expand_dims"
    linear: ClassVar[bool] = True

    axis: Annotated[int | tuple[int, ...], Field(description="Where the new axes stand in the result.")]

    def _expanded(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        count = 1 if isinstance(self.axis, int) else len(self.axis)
        axes = normalized_axes(self.axis, len(shape) + count)
        rest = iter(shape)
        return tuple(1 if axis in axes else next(rest) for axis in range(len(shape) + count))

    def infer(self, x: ArraySpec) -> ArraySpec:
        return ArraySpec(self._expanded(x.shape), x.dtype)

    def forward(self, x: Array) -> Array:
        return x.reshape(self._expanded(x.shape))

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        return dz.reshape(x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 2))
        yield Example(cls(axis=0), x)
        yield Example(cls(axis=(1, -1)), x + 1j * x)
        yield Example(cls(axis=0), x[0, 0, ...])


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Transpose, Moveaxis, Swapaxes, Squeeze, ExpandDims]
