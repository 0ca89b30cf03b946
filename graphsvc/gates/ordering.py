"""Gates that put elements in order: sorting, the largest few, and places among them. Ties keep their order."""

from collections.abc import Iterable
from typing import Annotated, ClassVar
from typing import Literal as OneOf

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, normalized_axes
from graphsvc.errors import GateDataError, ShapeError
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._costs import logarithm, of_order
from graphsvc.gates._reduction import require_real
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

INT64 = np.dtype(np.int64)


class _Ordering(Gate):
    """Base of the gates that sort along an axis."""

    axis: Annotated[int, Field(description="The axis along which to sort.")] = -1
    descending: Annotated[bool, Field(description="Whether the largest comes first; NaN counts as largest.")] = False

    def _cost(self, x: ArraySpec) -> Cost:
        return of_order(x, x.shape[self.axis], 5)

    def _order(self, x: Array) -> Array:
        """Return the indices that sort `x`; of equal elements the first comes first."""
        return _sorting(x, normalized_axes(self.axis, x.ndim)[0], descending=self.descending)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 4))
        yield Example(cls(), x)
        yield Example(cls(axis=0, descending=True), x)
        yield Example(cls(descending=True), x[0])


def _sorting(x: Array, axis: int, *, descending: bool) -> Array:
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)


class Sort(_Ordering):
    """The elements in ascending order along an axis; ties keep their order. The gradient goes to where each was."""

    name: ClassVar[str] = "sort"
    saves: ClassVar[tuple[str, ...]] = ("order",)

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_real("x", x)
        normalized_axes(self.axis, x.ndim)
        return x

    def cost(self, x: ArraySpec) -> Cost:
        return self._cost(x)

    def forward(self, x: Array) -> tuple[Array, Array]:
        order = self._order(x)
        return np.take_along_axis(x, order, self.axis), order

    def backward(self, dz: Array, order: Array) -> Array:
        # Sorting the order undoes it.
        return np.take_along_axis(dz, np.argsort(order, axis=self.axis), self.axis)


class Argsort(_Ordering):
    """The indices that put the elements in ascending order along an axis, an int64 array. Ties keep their order."""

    name: ClassVar[str] = "argsort"

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_real("x", x)
        normalized_axes(self.axis, x.ndim)
        return ArraySpec(x.shape, INT64)

    def cost(self, x: ArraySpec) -> Cost:
        return self._cost(x)

    def forward(self, x: Array) -> Array:
        return self._order(x)


class Topk(Gate):
    """The ``k`` largest elements along an axis, the largest first, and their indices; or the smallest.

    Outputs are ``values`` and ``indices``, the latter int64. Of equal elements the first comes first; NaN counts as
    largest. The gradient goes to where a value was.
    """

    name: ClassVar[str] = "topk"
    outputs: ClassVar[tuple[str, ...]] = ("values", "indices")
    saves: ClassVar[tuple[str, ...]] = ("order",)

    k: Annotated[int, Field(ge=0, le=2**31 - 1, description="How many elements.")]
    axis: Annotated[int, Field(description="The axis along which to look.")] = -1
    largest: Annotated[bool, Field(description="Whether the largest are wanted, or the smallest.")] = True

    def infer(self, x: ArraySpec) -> tuple[ArraySpec, ArraySpec]:
        require_real("x", x)
        (axis,) = normalized_axes(self.axis, x.ndim)
        if self.k > x.shape[axis]:
            msg = f"Attribute 'k' is {self.k}, but axis {axis} of the operand's shape {x.shape} has fewer elements."
            msg += " Ask for fewer."
            raise ShapeError(msg)
        shape = (*x.shape[:axis], self.k, *x.shape[axis + 1 :])
        return ArraySpec(shape, x.dtype), ArraySpec(shape, INT64)

    def cost(self, x: ArraySpec) -> Cost:
        return of_order(x, x.shape[self.axis], 6)

    def forward(self, x: Array) -> tuple[Array, Array, Array]:
        (axis,) = normalized_axes(self.axis, x.ndim)
        order = _sorting(x, axis, descending=self.largest)
        indices = order[(*(slice(None),) * axis, slice(self.k))]
        return np.take_along_axis(x, indices, axis), indices, order

    def backward(self, dvalues: Array, order: Array) -> Array:
        (axis,) = normalized_axes(self.axis, order.ndim)
        rest = (*order.shape[:axis], order.shape[axis] - self.k, *order.shape[axis + 1 :])
        padded = np.concatenate([dvalues, np.zeros_like(dvalues, shape=rest)], axis=axis)
        return np.take_along_axis(padded, np.argsort(order, axis=axis), axis)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 4))
        yield Example(cls(k=2), x)
        yield Example(cls(k=1, axis=0, largest=False), x)
        yield Example(cls(k=4), x[0])


class Searchsorted(Gate):
    """Where each value belongs in ascending numbers: the number of ``a`` that are less than ``v``, an int64.

    With ``side="right"`` those that equal the value count as well. Numbers that do not ascend are refused.
    """

    name: ClassVar[str] = "searchsorted"

    side: Annotated[OneOf["left", "right"], Field(description="Whether a value goes before or after its equals.")] = (
        "left"
    )

    def infer(self, a: ArraySpec, v: ArraySpec) -> ArraySpec:
        require_real("a", a)
        require_real("v", v)
        if a.ndim != 1:
            msg = f"Operand 'a' must have one axis, got shape {a.shape}. Reshape it."
            raise ShapeError(msg)
        return ArraySpec(v.shape, INT64)

    def cost(self, a: ArraySpec, v: ArraySpec) -> Cost:
        return Cost(a.size + 8 * v.size * logarithm(a.size), a.size + 2 * v.nbytes)

    def forward(self, a: Array, v: Array) -> Array:
        if np.any(a[1:] < a[:-1]):
            msg = "The numbers of operand 'a' do not ascend. Sort them."
            raise GateDataError(msg)
        return np.searchsorted(a, v, side=self.side)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        a = np.array([0.0, 1.0, 1.0, 3.0])
        yield Example(cls(), a, np.array([[-1.0, 1.0], [2.0, 5.0]]))
        yield Example(cls(side="right"), a, np.array(1.0))


class Bincount(Gate):
    """How often each number from 0 to ``length - 1`` occurs, an int64 array; other numbers are refused."""

    name: ClassVar[str] = "bincount"
    integers: ClassVar[tuple[str, ...]] = ("x",)

    length: Annotated[int, Field(ge=0, le=2**31 - 1, description="How many numbers are counted.")]

    def infer(self, x: ArraySpec) -> ArraySpec:
        return ArraySpec((self.length,), INT64)

    def forward(self, x: Array) -> Array:
        outside = (x < 0) | (x >= self.length)
        if np.any(outside):
            first = x.flat[int(np.argmax(outside))]
            msg = f"The number {first} is out of range. Attribute 'length' is {self.length}, so they run from 0 to"
            msg += f" {self.length - 1}."
            raise GateDataError(msg)
        return np.bincount(x.reshape(-1).astype(np.intp), minlength=self.length).astype(np.int64)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(length=4), np.array([[0, 2], [2, 3]]))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Sort, Argsort, Topk, Searchsorted, Bincount]
