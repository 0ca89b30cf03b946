"""Gates that pick elements: getitem by a fixed index, take by an array of indices."""

from collections.abc import Iterable
from types import EllipsisType
from typing import Annotated, ClassVar, TypeAlias
from typing import Literal as OneOf

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, normalized_axes
from graphsvc.errors import AttributeValueError, GateDataError
from graphsvc.gate import Example, Gate
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
        return np.asarray(x[self._numpy_index()])

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
    linear: ClassVar[bool] = True
    integers: ClassVar[tuple[str, ...]] = ("indices",)

    axis: Annotated[int | None, Field(description="The axis along which elements are taken; None flattens.")] = None

    def infer(self, x: ArraySpec, indices: ArraySpec) -> ArraySpec:
        if self.axis is None:
            return ArraySpec(indices.shape, x.dtype)
        (axis,) = normalized_axes(self.axis, x.ndim)
        return ArraySpec((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)

    def forward(self, x: Array, indices: Array) -> Array:
        size = x.size if self.axis is None else x.shape[self.axis]
        outside = (indices < -size) | (indices >= size)
        if np.any(outside):
            first = indices.flat[int(np.argmax(outside))]
            msg = f"Index {first} is out of range for {size} elements. Indices run from {-size} to {size - 1}."
            raise GateDataError(msg)
        return np.asarray(np.take(x, indices, axis=self.axis))

    def backward_x(self, dz: Array, indices: Array, x_shape: tuple[int, ...]) -> Array:
        # Sums in float16 stop at 2048.
        dx = np.zeros(x_shape, np.result_type(dz.dtype, np.float32))
        if self.axis is None:
            np.add.at(dx.reshape(-1), indices, dz)
        else:
            (axis,) = normalized_axes(self.axis, len(x_shape))
            np.add.at(
                np.moveaxis(dx, axis, 0),
                indices,
                np.moveaxis(dz, range(axis, axis + indices.ndim), range(indices.ndim)),
            )
        return dx

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 4))
        yield Example(cls(axis=0), x, np.array([2, 0, 2]))
        yield Example(cls(axis=-1), x, np.array([[0, -1], [1, 1]]))
        yield Example(cls(), x, np.array(7))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [GetItem, Take]
