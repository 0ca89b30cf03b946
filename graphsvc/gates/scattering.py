"""Gates that scatter elements to given places of an array: replaced, added, multiplied, or the extreme kept."""

from collections.abc import Iterable
from math import prod
from typing import Annotated, ClassVar
from typing import Literal as OneOf

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, conjugated, divided, normalized_axes
from graphsvc.errors import DtypeError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._places import (
    added_at,
    check_elements,
    element_places,
    judged_indices,
    row_places,
    slice_places,
    slices_shape,
)
from graphsvc.gates._reduction import require_real
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Scatter(Gate):
    """Base of the gates that write updates to places of an operand.

    Several updates of one place: with "none" the last one stands and the others have no gradient; "max" and "min"
    share the gradient evenly among equal candidates, the operand's own element included.
    """

    reduction: Annotated[
        OneOf["none", "add", "multiply", "max", "min"],
        Field(description="What becomes of an element and its updates: the last update, sum, product or extreme."),
    ] = "none"

    def _infer(self, x: ArraySpec, updates: ArraySpec, shape: tuple[int, ...]) -> ArraySpec:
        if updates.shape != shape:
            msg = f"The updates must have shape {shape}, got {updates.shape}. Reshape or broadcast them."
            raise ShapeError(msg)
        if updates.dtype != x.dtype:
            msg = f"Operand and updates must have one dtype, got {x.dtype} and {updates.dtype}."
            msg += " Convert one with the gate 'cast'."
            raise DtypeError(msg)
        if self.reduction in ("max", "min"):
            require_real("x", x)
        return x

    def _scattered(self, x: Array, places: Array, updates: Array) -> Array:
        match self.reduction:
            case "none":
                writer, written = _writers(places, x.shape)
                # Nothing can be taken of no updates.
                return np.where(written, np.take(updates.reshape(-1), writer), x) if places.size else x.copy()
            case "add":
                return x | added_at(places, updates, x.shape) if x.dtype.kind == "b" else _sum(x, places, updates)
            case "multiply":
                return x * _products(places, updates, x.shape)
            case _:
                if not places.size:
                    return x.copy()
                best, written = _extremes(places, updates, x.shape, largest=self.reduction == "max")
                extreme = np.maximum(x, best) if self.reduction == "max" else np.minimum(x, best)
                return np.where(written, extreme, x)

    def _of_operand(self, dz: Array, x: Array, places: Array, updates: Array, z: Array) -> Array:
        match self.reduction:
            case "none":
                return np.where(_writers(places, x.shape)[1], 0, dz)
            case "add":
                return dz
            case "multiply":
                return dz * conjugated(_products(places, updates, x.shape))
            case _:
                chosen, _, share = _shares(dz, x, places, updates, z)
                return np.where(chosen, share, 0)

    def _of_updates(self, dz: Array, x: Array, places: Array, updates: Array, z: Array) -> Array:
        if not places.size:
            return np.zeros_like(dz, shape=places.shape)
        match self.reduction:
            case "none":
                last = np.take(_writers(places, x.shape)[0], places) == np.arange(places.size).reshape(places.shape)
                return np.where(last, np.take(dz, places), 0)
            case "add":
                return np.take(dz, places)
            case "multiply":
                return np.take(dz * conjugated(x), places) * conjugated(_products_of_others(places, updates))
            case _:
                _, chosen, share = _shares(dz, x, places, updates, z)
                return np.where(chosen, np.take(share, places), 0)


def _sum(x: Array, places: Array, updates: Array) -> Array:
    """Return `x` with the updates added, rounded once where the dtype is narrow."""
    if x.dtype in (np.float16, np.float32):
        wide = added_at(places, updates.astype(np.float64), x.shape)
        return (x.astype(np.float64) + wide).astype(x.dtype)
    return x + added_at(places, updates, x.shape)


def _writers(places: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return for each place the number of the last update of it, and whether there is one. Shape `shape`."""
    writer = np.full(prod(shape), -1, np.intp)
    writer[places.reshape(-1)] = np.arange(places.size)
    return np.maximum(writer, 0).reshape(shape), (writer >= 0).reshape(shape)


def _extremes(places: Array, updates: Array, shape: tuple[int, ...], *, largest: bool) -> tuple[Array, Array]:
    """Return for each place the extreme of its updates, and whether there is one. Shape `shape`.

    It is picked out of the sorted updates, so that it may be differentiated along a direction as well.
    """
    flat, values = places.reshape(-1), updates.reshape(-1)
    by_value = np.argsort(values, kind="stable")
    order = np.take(by_value, np.argsort(np.take(flat, by_value), kind="stable"))
    last, written = _writers(np.take(flat, order), shape)
    best = np.take(values, np.take(order, last))
    if not largest:
        backwards = np.flip(order)
        first, _ = _writers(np.take(flat, backwards), shape)
        # NaN, which is sorted to the end, is less than nothing and still the result.
        best = np.where(np.isnan(best), best, np.take(values, np.take(backwards, first)))
    return best, written


def _running_products(values: Array, group: Array) -> Array:
    """Return running products within groups of neighbours, in as many steps as the longest has digits."""
    step = 1
    while step < len(values) and np.any(goes_on := group[step:] == group[:-step]):
        before = np.where(goes_on, values[:-step], 1)
        values = np.concatenate([values[:step], values[step:] * before])
        step *= 2
    return values


def _products_of_others(places: Array, updates: Array) -> Array:
    """Return for each update the product of all others of its place; no division, so zeros are right."""
    flat = places.reshape(-1)
    order = np.argsort(flat, kind="stable")
    group, values = flat[order], np.take(updates.reshape(-1), order)
    same = group[1:] == group[:-1]
    one = np.ones_like(values[:1])
    up = _running_products(values, group)
    down = np.flip(_running_products(np.flip(values), np.flip(group)))
    before = np.concatenate([one, np.where(same, up[:-1], 1)])
    after = np.concatenate([np.where(same, down[1:], 1), one])
    return np.take(before * after, np.argsort(order)).astype(updates.dtype).reshape(updates.shape)


def _products(places: Array, updates: Array, shape: tuple[int, ...]) -> Array:
    """Return for each place of an array of `shape` the product of its updates; 1 where there is none."""
    if not places.size:
        return np.ones_like(updates, shape=shape)
    flat = places.reshape(-1)
    order = np.argsort(flat, kind="stable")
    group = flat[order]
    running = _running_products(np.take(updates.reshape(-1), order), group)
    # The last of each group holds the whole product.
    last, found = _writers(group, shape)
    return np.where(found, np.take(running, last), 1).astype(updates.dtype)


def _shares(dz: Array, x: Array, places: Array, updates: Array, z: Array) -> tuple[Array, Array, Array]:
    """Return which elements and which updates gave the extreme, and what each of them gets at each place."""
    # NaN is unequal to itself: where there is one, it gave the value.
    own = (x == z) | (x != x)
    given = (updates == np.take(z, places)) | (updates != updates) if places.size else places.astype(bool)
    count = own + added_at(places, given.astype(np.int64), x.shape)
    return own, given, divided(dz, count)


class ScatterElements(_Scatter):
    """The operand with updates at the places of indices along an axis: ``z[indices[i, j], j] = updates[i, j]``.

    Indices and updates have one shape, as many axes as the operand, and are no longer than it along the other axes.
    Several updates of one place: with "none" the last stands, and the others have no gradient; "add" and "multiply"
    take the element and all updates; "max" and "min" share the gradient evenly among equal candidates.
    """

    name: ClassVar[str] = "scatter_elements"
    integers: ClassVar[tuple[str, ...]] = ("indices",)

    axis: Annotated[int, Field(description="The axis along which the indices count.")] = 0

    def infer(self, x: ArraySpec, indices: ArraySpec, updates: ArraySpec) -> ArraySpec:
        check_elements(x.shape, indices.shape, self.axis)
        return self._infer(x, updates, indices.shape)

    def _places(self, indices: Array, shape: tuple[int, ...]) -> Array:
        (axis,) = normalized_axes(self.axis, len(shape))
        return element_places(judged_indices(indices, shape[axis]), shape, axis)

    def forward(self, x: Array, indices: Array, updates: Array) -> Array:
        return self._scattered(x, self._places(indices, x.shape), updates)

    def backward_x(self, dz: Array, x: Array, indices: Array, updates: Array, z: Array) -> Array:
        return self._of_operand(dz, x, self._places(indices, x.shape), updates, z)

    def backward_updates(self, dz: Array, x: Array, indices: Array, updates: Array, z: Array) -> Array:
        return self._of_updates(dz, x, self._places(indices, x.shape), updates, z)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        x, updates = random.normal(size=(3, 4)), random.normal(size=(2, 3))
        indices = np.array([[0, -1, 1], [0, 2, 2]])
        for reduction in ("none", "add", "multiply", "max", "min"):
            yield Example(cls(reduction=reduction), x, indices, updates)
        yield Example(cls(axis=-1), x[:2] + 1j, np.array([[0, 0], [3, -2]]), updates[:, :2] - 2j)
        yield Example(cls(reduction="multiply"), x[0] + 1j, np.array([1, 1]), updates[0, :2] - 2j)


class ScatterNd(_Scatter):
    """The operand with updates at given places: ``z[indices[i, 0], indices[i, 1], ...] = updates[i]``.

    Each row of ``indices`` of shape ``(rows..., k)`` names a place along the first ``k`` axes. Several updates of one
    place: with "none" the last stands, and the others have no gradient; "add" and "multiply" take the element and all
    updates; "max" and "min" share the gradient evenly among equal candidates.
    """

    name: ClassVar[str] = "scatter_nd"
    integers: ClassVar[tuple[str, ...]] = ("indices",)

    def infer(self, x: ArraySpec, indices: ArraySpec, updates: ArraySpec) -> ArraySpec:
        return self._infer(x, updates, slices_shape(x.shape, indices.shape))

    def forward(self, x: Array, indices: Array, updates: Array) -> Array:
        return self._scattered(x, slice_places(indices, x.shape), updates)

    def backward_x(self, dz: Array, x: Array, indices: Array, updates: Array, z: Array) -> Array:
        return self._of_operand(dz, x, slice_places(indices, x.shape), updates, z)

    def backward_updates(self, dz: Array, x: Array, indices: Array, updates: Array, z: Array) -> Array:
        return self._of_updates(dz, x, slice_places(indices, x.shape), updates, z)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        x, updates = random.normal(size=(3, 2)), random.normal(size=(2, 2))
        for reduction in ("none", "add", "multiply", "max", "min"):
            yield Example(cls(reduction=reduction), x, np.array([[0], [-1]]), updates)
        yield Example(cls(), x + 1j, np.array([[0, 1], [0, -1]]), updates[0] - 2j)


class IndexAdd(Gate):
    """The operand with updates added to its slices along an axis: ``z[indices[i]] += updates[i]`` for axis 0."""

    name: ClassVar[str] = "index_add"
    integers: ClassVar[tuple[str, ...]] = ("indices",)
    linear: ClassVar[bool] = True

    axis: Annotated[int, Field(description="The axis along which the indices count.")] = 0

    def infer(self, x: ArraySpec, indices: ArraySpec, updates: ArraySpec) -> ArraySpec:
        (axis,) = normalized_axes(self.axis, x.ndim)
        shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
        if indices.ndim != 1 or updates.shape != shape:
            msg = f"Indices must have one axis and updates of them the shape {shape}, got {indices.shape} and"
            msg += f" {updates.shape}. Reshape them."
            raise ShapeError(msg)
        if updates.dtype != x.dtype or x.dtype.kind == "b":
            msg = f"Operand and updates must be numbers of one dtype, got {x.dtype} and {updates.dtype}."
            msg += " Convert one with the gate 'cast'."
            raise DtypeError(msg)
        return x

    def forward(self, x: Array, indices: Array, updates: Array) -> Array:
        (axis,) = normalized_axes(self.axis, x.ndim)
        return _sum(x, row_places(judged_indices(indices, x.shape[axis]), x.shape, axis), updates)

    def backward_x(self, dz: Array) -> Array:
        return dz

    def backward_updates(self, dz: Array, indices: Array) -> Array:
        return np.take(dz, indices.astype(np.intp), axis=self.axis)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        x = random.normal(size=(3, 4))
        yield Example(cls(), x, np.array([2, 0, 2]), random.normal(size=(3, 4)))
        yield Example(cls(axis=-1), x + 1j, np.array([-1, 0]), random.normal(size=(3, 2)) - 1j)


class SegmentSum(Gate):
    """Sums of the slices that share a number: ``z[s] = sum of x[i] where segments[i] == s``, along the first axis."""

    name: ClassVar[str] = "segment_sum"
    integers: ClassVar[tuple[str, ...]] = ("segments",)
    linear: ClassVar[bool] = True

    count: Annotated[int, Field(ge=0, le=2**31 - 1, description="How many segments there are, from 0 on.")]

    def infer(self, x: ArraySpec, segments: ArraySpec) -> ArraySpec:
        if x.ndim == 0 or segments.shape != x.shape[:1]:
            msg = f"There must be one segment for each slice of the operand, got shapes {segments.shape} and {x.shape}."
            msg += " Reshape one of them."
            raise ShapeError(msg)
        if x.dtype.kind == "b":
            msg = "Operand 'x' must be numbers, got bool. Convert it with the gate 'cast'."
            raise DtypeError(msg)
        return ArraySpec((self.count, *x.shape[1:]), x.dtype)

    def forward(self, x: Array, segments: Array) -> Array:
        shape = (self.count, *x.shape[1:])
        return added_at(row_places(judged_indices(segments, self.count, "Segment"), shape, 0), x, shape)

    def backward_x(self, dz: Array, segments: Array) -> Array:
        return np.take(dz, segments.astype(np.intp), axis=0)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(4, 3))
        yield Example(cls(count=3), x, np.array([2, 0, 2, 0]))
        yield Example(cls(count=2), x[:, 0] + 1j, np.array([1, -2, 1, 1]))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [ScatterElements, ScatterNd, IndexAdd, SegmentSum]
