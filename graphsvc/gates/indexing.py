"""Gates that pick elements: by a fixed index, by an array of indices, or by a mask."""

from collections.abc import Iterable
from math import prod
from types import EllipsisType
from typing import Annotated, ClassVar, TypeAlias
from typing import Literal as OneOf

import numpy as np
from pydantic import Field, FiniteFloat

from graphsvc.arrays import Array, ArraySpec, normalized_axes
from graphsvc.errors import AttributeValueError, DtypeError
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.gates._places import added_at, judged_indices, row_places
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

Triple: TypeAlias = tuple[int | None, int | None, int | None]
Item: TypeAlias = int | Triple | OneOf["..."] | None


class GetItem(Gate):
    """The part of an array that a fixed index picks: ``z = x[index]``.

    ``index`` has one item for each axis: an integer, a slice as ``(start, stop, step)``, None for a new axis, or
    ``"..."`` for all axes that are not named.
    """

    name: ClassVar[str] = "getitem"
    linear: ClassVar[bool] = True

    index: Annotated[tuple[Item, ...], Field(description="One item for each axis.")]

    def _numpy_index(self) -> tuple[int | slice | EllipsisType | None, ...]:
        return tuple(
            slice(*item) if isinstance(item, tuple) else ... if isinstance(item, str) else item for item in self.index
        )

    def infer(self, x: ArraySpec) -> ArraySpec:
        index = self._numpy_index()
        named = sum(item is not None and item is not ... for item in index)
        if named > x.ndim or index.count(...) > 1:
            msg = f"Index {self.index} names {named} axes, but the operand has shape {x.shape}. Name each axis once."
            raise AttributeValueError(msg, attribute="index")
        dots = index.index(...) if ... in index else len(index)
        rest = (slice(None),) * (x.ndim - named)
        shape: list[int] = []
        axis = 0
        for item in (*index[:dots], *rest, *index[dots + 1 :]):
            if item is None:
                shape.append(1)
                continue
            size = x.shape[axis]
            if isinstance(item, slice):
                if item.step == 0:
                    msg = f"Index {self.index} has a slice with step 0. Choose another step."
                    raise AttributeValueError(msg, attribute="index")
                shape.append(len(range(*item.indices(size))))
            elif isinstance(item, int) and not -size <= item < size:
                msg = f"Index {item} is out of range for axis {axis} of the operand's shape {x.shape}."
                raise AttributeValueError(msg, attribute="index")
            axis += 1
        return ArraySpec(tuple(shape), x.dtype)

    def forward(self, x: Array) -> Array:
        return x[self._numpy_index()]

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        dx = np.zeros(x_shape, dz.dtype)
        dx[self._numpy_index()] = dz
        return dx

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(4, 5))
        yield Example(cls(index=(1,)), x)
        yield Example(cls(index=((None, None, -2), -1)), x)
        yield Example(cls(index=(None, "...", (1, 3, None))), x)


class Take(Gate):
    """The elements at given places along an axis: ``z = x[indices]`` for ``axis = 0``.

    Indices count from the end where negative; out of range they are refused. Without an axis they count the elements
    in C order. An element taken twice gets both gradients.
    """

    name: ClassVar[str] = "take"
    integers: ClassVar[tuple[str, ...]] = ("indices",)
    linear: ClassVar[bool] = True

    axis: Annotated[int | None, Field(description="The axis along which elements are taken; None flattens.")] = None

    def infer(self, x: ArraySpec, indices: ArraySpec) -> ArraySpec:
        if self.axis is None:
            return ArraySpec(indices.shape, x.dtype)
        (axis,) = normalized_axes(self.axis, x.ndim)
        return ArraySpec((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)

    def _size(self, shape: tuple[int, ...]) -> int:
        return prod(shape) if self.axis is None else shape[self.axis]

    def forward(self, x: Array, indices: Array) -> Array:
        places = judged_indices(indices, self._size(x.shape))
        return np.take(x, places, axis=self.axis)

    def backward_x(self, dz: Array, indices: Array, x_shape: tuple[int, ...]) -> Array:
        places = judged_indices(indices, self._size(x_shape))
        if self.axis is not None:
            places = row_places(places, x_shape, normalized_axes(self.axis, len(x_shape))[0])
        return added_at(places, dz, x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 4))
        yield Example(cls(axis=0), x, np.array([2, 0, 2]))
        yield Example(cls(axis=-1), x, np.array([[0, -1], [1, 1]]))
        yield Example(cls(), x, np.array(7))
        yield Example(cls(axis=1), x + 1j, np.array([1, -3]))


class MaskedFill(Elementwise):
    """The operand with a value where a mask holds: ``z = value if mask else x``; the mask is boolean."""

    name: ClassVar[str] = "masked_fill"
    disconnected: ClassVar[tuple[str, ...]] = ("mask",)

    value: Annotated[int | FiniteFloat, Field(description="What stands where the mask holds.")] = 0

    def infer(self, *operands: ArraySpec) -> ArraySpec | tuple[ArraySpec, ...] | None:
        if operands[1].dtype.kind != "b":
            msg = f"The mask must be boolean, got {operands[1].dtype}. Compare it, as in mask != 0."
            raise DtypeError(msg)
        dtype = operands[0].dtype
        if dtype.kind in "biu":
            limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            held = self.value == int(self.value) and limits[0] <= self.value <= limits[1]
        else:
            held = abs(self.value) <= np.finfo(dtype).max
        if not held:
            msg = f"Attribute 'value' is {self.value}, which {dtype} does not hold. Choose another, or convert the"
            msg += " operand with the gate 'cast'."
            raise AttributeValueError(msg, attribute="value")
        return super().infer(*operands)

    def forward(self, x: Array, mask: Array) -> Array:
        return np.where(mask, x.dtype.type(self.value), x)

    def backward_x(self, dz: Array, mask: Array) -> Array:
        return np.where(mask, 0, dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3))
        yield Example(cls(value=-1.5), x, np.array([True, False, True]))
        yield Example(cls(), x[0] + 1j, np.array([[True], [False]]))
        yield Example(cls(value=2), x[0, 0, ...], np.array(False))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [GetItem, Take, MaskedFill]
