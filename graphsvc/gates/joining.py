"""Gates that join arrays, cut them, and repeat them."""

from collections.abc import Iterable
from math import prod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, normalized_axes, reduce_sum
from graphsvc.errors import AttributeValueError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


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


class Stack(Gate):
    """The operands beside each other along a new axis; their shapes are equal."""

    name: ClassVar[str] = "stack"
    linear: ClassVar[bool] = True

    axis: Annotated[int, Field(description="Where the new axis stands in the result.")] = 0

    def infer(self, *xs: ArraySpec) -> ArraySpec:
        (axis,) = normalized_axes(self.axis, xs[0].ndim + 1)
        if len({x.shape for x in xs}) != 1:
            listed = ", ".join(str(x.shape) for x in xs)
            msg = f"Operands of shapes {listed} cannot be stacked. Give them one shape."
            raise ShapeError(msg)
        shape = (*xs[0].shape[:axis], len(xs), *xs[0].shape[axis:])
        return ArraySpec(shape, np.result_type(*(x.dtype for x in xs)))

    def forward(self, *xs: Array) -> Array:
        return np.stack(xs, axis=self.axis)

    def backward(self, dz: Array) -> list[Array]:
        return list(np.moveaxis(dz, self.axis, 0))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(axis=-1), *(random.normal(size=(2, 3)) for _ in range(3)))
        yield Example(cls(), random.normal(size=(2, 2)))
        yield Example(cls(), random.normal(size=()), random.normal(size=()) + 1j)


class _Part(Gate):
    """Base of the gates that give one part of an array, cut along an axis."""

    axis: Annotated[int, Field(description="The axis along which the operand is cut.")] = 0

    def _bounds(self, size: int) -> slice:
        raise NotImplementedError

    def _index(self, shape: tuple[int, ...]) -> tuple[slice, ...]:
        (axis,) = normalized_axes(self.axis, len(shape))
        return (*(slice(None),) * axis, self._bounds(shape[axis]))

    def infer(self, x: ArraySpec) -> ArraySpec:
        (axis,) = normalized_axes(self.axis, x.ndim)
        length = len(range(*self._bounds(x.shape[axis]).indices(x.shape[axis])))
        return ArraySpec((*x.shape[:axis], length, *x.shape[axis + 1 :]), x.dtype)

    def forward(self, x: Array) -> Array:
        return x[self._index(x.shape)]

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        dx = np.zeros(x_shape, dz.dtype)
        dx[self._index(x_shape)] = dz
        return dx


class Slice(_Part):
    """Elements along an axis from ``start`` to before ``stop``, each ``step``: Python's ``x[start:stop:step]``."""

    name: ClassVar[str] = "slice"
    linear: ClassVar[bool] = True

    start: Annotated[int | None, Field(description="The first index; from the end where negative.")] = None
    stop: Annotated[int | None, Field(description="The index before which it ends; from the end where negative.")] = (
        None
    )
    step: Annotated[int, Field(description="From one index to the next; negative runs backwards, 0 is refused.")] = 1

    def _bounds(self, size: int) -> slice:
        if self.step == 0:
            msg = "Attribute 'step' is 0, so that the slice never ends. Choose another step."
            raise AttributeValueError(msg, attribute="step")
        return slice(self.start, self.stop, self.step)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(4, 5))
        yield Example(cls(start=1, stop=-1), x)
        yield Example(cls(step=-2, axis=-1), x)
        yield Example(cls(start=3, stop=0, step=-1, axis=1), x + 1j * x)


class Split(_Part):
    """One of the parts into which an array is cut along an axis, the one that ``index`` counts.

    A gate has as many outputs as it has, so this gives one part; a graph has a node for each part that it needs.
    ``sections`` is how many equal parts there are, or the places of the cuts, as `numpy.split` has it.
    """

    name: ClassVar[str] = "split"
    linear: ClassVar[bool] = True

    sections: Annotated[
        Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=0)], ...],
        Field(description="How many equal parts, or the indices before which to cut, ascending."),
    ]
    index: Annotated[int, Field(description="Which part; from the end where negative.")]

    def _bounds(self, size: int) -> slice:
        count = self.sections if isinstance(self.sections, int) else len(self.sections) + 1
        if not -count <= self.index < count:
            msg = f"Attribute 'index' is {self.index}, but there are {count} parts. They are {-count} to {count - 1}."
            raise AttributeValueError(msg, attribute="index")
        part = self.index % count
        if isinstance(self.sections, int):
            if size % count:
                msg = f"An axis of length {size} cannot be cut into {count} equal parts. Give the indices of the cuts."
                raise ShapeError(msg)
            return slice(part * (size // count), (part + 1) * (size // count))
        if list(self.sections) != sorted(self.sections) or (self.sections and self.sections[-1] > size):
            msg = (
                f"Attribute 'sections' is {self.sections}. The cuts of an axis of length {size} must ascend within it."
            )
            raise AttributeValueError(msg, attribute="sections")
        cuts = (0, *self.sections, size)
        return slice(cuts[part], cuts[part + 1])

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(4, 6))
        yield Example(cls(sections=2, index=1), x)
        yield Example(cls(sections=(1, 3), index=-2, axis=-1), x)
        yield Example(cls(sections=(1, 3), index=2, axis=1), x + 1j * x)


class Unstack(Gate):
    """One of the arrays that lie beside each other along an axis, the one that ``index`` counts; the axis goes."""

    name: ClassVar[str] = "unstack"
    linear: ClassVar[bool] = True

    index: Annotated[int, Field(description="Which one; from the end where negative.")]
    axis: Annotated[int, Field(description="The axis along which they lie.")] = 0

    def _index(self, shape: tuple[int, ...]) -> tuple[slice | int, ...]:
        (axis,) = normalized_axes(self.axis, len(shape))
        size = shape[axis]
        if not -size <= self.index < size:
            msg = f"Attribute 'index' is {self.index}, but axis {axis} of the operand's shape {shape} has {size}."
            msg += f" Indices run from {-size} to {size - 1}."
            raise AttributeValueError(msg, attribute="index")
        return (*(slice(None),) * axis, self.index)

    def infer(self, x: ArraySpec) -> ArraySpec:
        axis = len(self._index(x.shape)) - 1
        return ArraySpec((*x.shape[:axis], *x.shape[axis + 1 :]), x.dtype)

    def forward(self, x: Array) -> Array:
        return x[self._index(x.shape)]

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        dx = np.zeros(x_shape, dz.dtype)
        dx[self._index(x_shape)] = dz
        return dx

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(4, 3))
        yield Example(cls(index=1), x)
        yield Example(cls(index=-1, axis=-1), x + 1j * x)
        yield Example(cls(index=0), x[:, 0])


class Tile(Gate):
    """The operand laid side by side, ``reps`` times along each axis, as `numpy.tile` has it."""

    name: ClassVar[str] = "tile"
    linear: ClassVar[bool] = True

    reps: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...],
        Field(description="How often along each axis, the last axes where there are fewer; more make new axes."),
    ]

    def _aligned(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return counts and lengths of all axes of the result."""
        rank = max(len(shape), len(self.reps))
        return (1,) * (rank - len(self.reps)) + self.reps, (1,) * (rank - len(shape)) + shape

    def infer(self, x: ArraySpec) -> ArraySpec:
        reps, shape = self._aligned(x.shape)
        return ArraySpec(tuple(count * size for count, size in zip(reps, shape, strict=True)), x.dtype)

    def forward(self, x: Array) -> Array:
        return np.tile(x, self.reps)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        reps, shape = self._aligned(x_shape)
        pairs = tuple(n for pair in zip(reps, shape, strict=True) for n in pair)
        return reduce_sum(dz.reshape(pairs), tuple(range(0, len(pairs), 2))).reshape(x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3))
        yield Example(cls(reps=(2,)), x)
        yield Example(cls(reps=(2, 1, 3)), x + 1j * x)
        yield Example(cls(reps=(3,)), x[0, 0, ...])


class Repeat(Gate):
    """Each element ``repeats`` times in a row, along an axis or of the flattened operand."""

    name: ClassVar[str] = "repeat"
    linear: ClassVar[bool] = True

    repeats: Annotated[int, Field(ge=0, le=2**31, description="How often each element stands in the result.")]
    axis: Annotated[int | None, Field(description="The axis to repeat along; None flattens the operand.")] = None

    def _axis(self, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Return the axis, and the shape of which it is one."""
        if self.axis is None:
            return 0, (prod(shape),)
        return normalized_axes(self.axis, len(shape))[0], shape

    def infer(self, x: ArraySpec) -> ArraySpec:
        axis, shape = self._axis(x.shape)
        return ArraySpec((*shape[:axis], shape[axis] * self.repeats, *shape[axis + 1 :]), x.dtype)

    def forward(self, x: Array) -> Array:
        return np.repeat(x, self.repeats, axis=self.axis)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        axis, shape = self._axis(x_shape)
        split = (*shape[: axis + 1], self.repeats, *shape[axis + 1 :])
        return reduce_sum(dz.reshape(split), axis + 1).reshape(x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3))
        yield Example(cls(repeats=2), x)
        yield Example(cls(repeats=3, axis=0), x)
        yield Example(cls(repeats=2, axis=-1), x + 1j * x)
        yield Example(cls(repeats=3), x[0, 0, ...])


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Concatenate, Stack, Slice, Split, Unstack, Tile, Repeat]
