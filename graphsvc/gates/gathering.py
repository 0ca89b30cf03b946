"""Gates that gather elements by arrays of indices, one for each element or for each slice. Duplicates add up."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, broadcast_shapes, normalized_axes
from graphsvc.errors import GateDataError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._places import added_at, check_elements, element_places, judged_indices, slice_places, slices_shape
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class TakeAlongAxis(Gate):
    """For each place the element with the index that stands there: ``z[i, j] = x[i, indices[i, j]]`` for axis 1.

    Operand and indices broadcast along all other axes. Indices count from the end where negative; out of range they
    are refused. An element taken twice gets both gradients.
    """

    name: ClassVar[str] = "take_along_axis"
    integers: ClassVar[tuple[str, ...]] = ("indices",)
    linear: ClassVar[bool] = True

    axis: Annotated[int, Field(description="The axis along which the indices count.")] = -1

    def _shapes(self, x: tuple[int, ...], indices: tuple[int, ...]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """Return the axis, the shape of the result, and that to which `x` is broadcast."""
        if len(x) != len(indices):
            msg = f"Operand and indices must have equally many axes, got shapes {x} and {indices}. Reshape one of them."
            raise ShapeError(msg)
        (axis,) = normalized_axes(self.axis, len(x))
        one = (1,)
        others = broadcast_shapes(x[:axis] + one + x[axis + 1 :], indices[:axis] + one + indices[axis + 1 :])
        return axis, *((*others[:axis], shape[axis], *others[axis + 1 :]) for shape in (indices, x))  # type: ignore[return-value]

    def infer(self, x: ArraySpec, indices: ArraySpec) -> ArraySpec:
        return ArraySpec(self._shapes(x.shape, indices.shape)[1], x.dtype)

    def forward(self, x: Array, indices: Array) -> Array:
        axis, result, source = self._shapes(x.shape, indices.shape)
        places = np.broadcast_to(judged_indices(indices, x.shape[axis]), result)
        return np.take_along_axis(np.broadcast_to(x, source), places, axis)

    def backward_x(self, dz: Array, indices: Array, x_shape: tuple[int, ...]) -> Array:
        axis, result, _ = self._shapes(x_shape, indices.shape)
        along = np.broadcast_to(judged_indices(indices, x_shape[axis]), result)
        places = np.zeros(result, np.intp)
        stride = 1
        for a in range(len(result) - 1, -1, -1):
            if a == axis:
                places = places + along * stride
            elif x_shape[a] != 1:
                places = places + np.arange(result[a]).reshape((-1, *(1,) * (len(result) - 1 - a))) * stride
            stride *= x_shape[a]
        return added_at(places, dz, x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 4))
        yield Example(cls(), x, np.array([[0, -1], [2, 2], [1, 3]]))
        yield Example(cls(axis=0), x + 1j * x, np.array([[0, -1, 1, 1]]))
        yield Example(cls(axis=1), x[:1], np.array([[0], [1], [1]]))


class GatherElements(Gate):
    """For each index the element that has it along an axis, and elsewhere the place of the index itself.

    As `take_along_axis`, but nothing broadcasts: along the other axes, the indices may be shorter than the operand.
    """

    name: ClassVar[str] = "gather_elements"
    integers: ClassVar[tuple[str, ...]] = ("indices",)
    linear: ClassVar[bool] = True

    axis: Annotated[int, Field(description="The axis along which the indices count.")] = 0

    def infer(self, x: ArraySpec, indices: ArraySpec) -> ArraySpec:
        check_elements(x.shape, indices.shape, self.axis)
        return ArraySpec(indices.shape, x.dtype)

    def _places(self, indices: Array, shape: tuple[int, ...]) -> Array:
        (axis,) = normalized_axes(self.axis, len(shape))
        return element_places(judged_indices(indices, shape[axis]), shape, axis)

    def forward(self, x: Array, indices: Array) -> Array:
        return np.take(x, self._places(indices, x.shape))

    def backward_x(self, dz: Array, indices: Array, x_shape: tuple[int, ...]) -> Array:
        return added_at(self._places(indices, x_shape), dz, x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 4))
        yield Example(cls(), x, np.array([[0, -1, 0, 0], [0, 1, 2, 1]]))
        yield Example(cls(axis=-1), x + 1j * x, np.array([[3, -1], [0, 0]]))


class GatherNd(Gate):
    """The elements or slices at given places: ``z[i] = x[indices[i, 0], indices[i, 1], ...]``.

    Each row of ``indices`` of shape ``(rows..., k)`` names a place along the first ``k`` axes.
    """

    name: ClassVar[str] = "gather_nd"
    integers: ClassVar[tuple[str, ...]] = ("indices",)
    linear: ClassVar[bool] = True

    def infer(self, x: ArraySpec, indices: ArraySpec) -> ArraySpec:
        return ArraySpec(slices_shape(x.shape, indices.shape), x.dtype)

    def forward(self, x: Array, indices: Array) -> Array:
        return np.take(x, slice_places(indices, x.shape))

    def backward_x(self, dz: Array, indices: Array, x_shape: tuple[int, ...]) -> Array:
        return added_at(slice_places(indices, x_shape), dz, x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 4, 2))
        yield Example(cls(), x, np.array([[0, 1], [-1, 3], [0, 1]]))
        yield Example(cls(), x[..., 0] + 1j, np.array([[[0, 1], [2, -1]]]))
        yield Example(cls(), x, np.array([2]))


class Compress(Gate):
    """The slices along an axis for which a condition holds: ``z = x[condition]`` for axis 0.

    ``size`` says how many there are, because shapes are known before the numbers; another count is refused.
    """

    name: ClassVar[str] = "compress"
    disconnected: ClassVar[tuple[str, ...]] = ("condition",)

    size: Annotated[int, Field(ge=0, le=2**31 - 1, description="For how many elements the condition holds.")]
    axis: Annotated[int | None, Field(description="The axis along which to choose; None flattens.")] = None

    def infer(self, x: ArraySpec, condition: ArraySpec) -> ArraySpec:
        axis = 0 if self.axis is None else normalized_axes(self.axis, x.ndim)[0]
        shape = (x.size,) if self.axis is None else x.shape
        if condition.dtype.kind != "b" or condition.shape != shape[axis : axis + 1]:
            msg = f"The condition must be boolean of shape {shape[axis : axis + 1]}, got {condition}."
            msg += " Compare, or reshape it."
            raise ShapeError(msg)
        return ArraySpec((*shape[:axis], self.size, *shape[axis + 1 :]), x.dtype)

    def forward(self, x: Array, condition: Array) -> Array:
        count = int(np.count_nonzero(condition))
        if count != self.size:
            msg = f"The condition holds for {count} elements, but attribute 'size' is {self.size}. Make them equal."
            raise GateDataError(msg)
        return np.take(x, np.flatnonzero(condition), axis=self.axis)

    def backward_x(self, dz: Array, condition: Array, x_shape: tuple[int, ...]) -> Array:
        # Where each element stands among the chosen ones; a gather may be differentiated again.
        rank = np.maximum(np.cumsum(condition) - 1, 0)
        if self.axis is None:
            padded = np.concatenate([dz, np.zeros_like(dz, shape=(1,))])
            return np.where(condition, np.take(padded, rank), 0).reshape(x_shape)
        (axis,) = normalized_axes(self.axis, len(x_shape))
        padded = np.concatenate([dz, np.zeros_like(dz, shape=(*dz.shape[:axis], 1, *dz.shape[axis + 1 :]))], axis=axis)
        held = condition.reshape((-1, *(1,) * (len(x_shape) - 1 - axis)))
        return np.where(held, np.take(padded, rank, axis=axis), 0)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 4))
        yield Example(cls(size=2, axis=0), x, np.array([True, False, True]))
        yield Example(cls(size=3, axis=-1), x + 1j * x, np.array([False, True, True, True]))
        yield Example(cls(size=1), x[0], np.array([False, True, False, False]))


class Nonzero(Gate):
    """The indices of the elements that are not zero, one row each, in C order: an int64 array ``(size, axes)``.

    ``size`` says how many there are, because shapes are known before the numbers; another count is refused.
    """

    name: ClassVar[str] = "nonzero"

    size: Annotated[int, Field(ge=0, le=2**31 - 1, description="How many elements are not zero.")]

    def infer(self, x: ArraySpec) -> ArraySpec:
        if x.ndim == 0:
            msg = "An operand without axes has no indices. Reshape it to one axis."
            raise ShapeError(msg)
        return ArraySpec((self.size, x.ndim), np.dtype(np.int64))

    def forward(self, x: Array) -> Array:
        found = np.argwhere(x)
        if len(found) != self.size:
            msg = f"{len(found)} elements are not zero, but attribute 'size' is {self.size}. Make them equal."
            raise GateDataError(msg)
        return found.astype(np.int64)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(size=3), np.array([[0.0, 1.0], [2.0, 3.0]]))


class OneHot(Gate):
    """Rows of zeros with a one at each index: ``z[i, j] = 1 if indices[i] == j else 0``.

    Indices count from the end where negative; out of range they are refused.
    """

    name: ClassVar[str] = "one_hot"
    integers: ClassVar[tuple[str, ...]] = ("indices",)

    depth: Annotated[int, Field(ge=0, le=2**31 - 1, description="Length of the new axis.")]
    axis: Annotated[int, Field(description="Where the new axis stands in the result.")] = -1

    def infer(self, indices: ArraySpec) -> ArraySpec:
        (axis,) = normalized_axes(self.axis, indices.ndim + 1)
        return ArraySpec((*indices.shape[:axis], self.depth, *indices.shape[axis:]), np.dtype(np.float64))

    def forward(self, indices: Array) -> Array:
        (axis,) = normalized_axes(self.axis, indices.ndim + 1)
        places = np.expand_dims(judged_indices(indices, self.depth), axis)
        steps = np.arange(self.depth).reshape((-1, *(1,) * (indices.ndim - axis)))
        return np.equal(places, steps).astype(np.float64)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(depth=3), np.array([0, 2, -1]))
        yield Example(cls(depth=2, axis=0), np.array([[0, 1], [1, 1]]))
        yield Example(cls(depth=4), np.array(1))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [TakeAlongAxis, GatherElements, GatherNd, Compress, Nonzero, OneHot]
