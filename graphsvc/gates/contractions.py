"""Gates that multiply vectors and tensors of any rank: dot, inner, outer, kron, vdot, tensordot, cross."""

from collections.abc import Iterable
from math import prod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import (
    MAX_RANK,
    Array,
    ArraySpec,
    broadcast_shapes,
    conjugated,
    normalized_axes,
    reduce_sum,
    sum_to_shape,
)
from graphsvc.errors import AttributeValueError, DtypeError, ShapeError
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._costs import of_products
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

_Pairs = tuple[tuple[int, ...], tuple[int, ...]]


def _examples(cls: type[Gate], *shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> Iterable[Example]:
    """Yield real operands of each pair of shapes, and complex ones of the first."""
    random = np.random.default_rng(1)
    for x, y in shapes:
        yield Example(cls(), random.normal(size=x), random.normal(size=y))
    x, y = shapes[0]
    yield Example(cls(), random.normal(size=x) + 1j, random.normal(size=y) + 1j * random.normal(size=y))


class _Contraction(Gate):
    """Base of the gates that sum products over pairs of axes: the result has the other axes of ``x``, then of ``y``."""

    def _pairs(self, x_ndim: int, y_ndim: int) -> _Pairs:
        """Return the axes of each operand that are summed over, pair by pair, from 0."""
        raise NotImplementedError

    def infer(self, x: ArraySpec, y: ArraySpec) -> ArraySpec:
        of_x, of_y = self._pairs(x.ndim, y.ndim)
        if [x.shape[axis] for axis in of_x] != [y.shape[axis] for axis in of_y]:
            msg = f"Axes {of_x} of an operand of shape {x.shape} and axes {of_y} of one of shape {y.shape} are summed "
            msg += "over together, so they must have the same lengths. Transpose or reshape one of them."
            raise ShapeError(msg)
        rest = [x.shape[a] for a in _rest(of_x, x.ndim)] + [y.shape[a] for a in _rest(of_y, y.ndim)]
        return ArraySpec(tuple(rest), np.result_type(x.dtype, y.dtype))

    def cost(self, x: ArraySpec, y: ArraySpec) -> Cost:
        of_x, _ = self._pairs(x.ndim, y.ndim)
        return of_products(x, y, self.infer(x, y), prod(x.shape[axis] for axis in of_x))

    def forward(self, x: Array, y: Array) -> Array:
        return np.tensordot(x, y, self._pairs(x.ndim, y.ndim))

    def backward_x(self, dz: Array, y: Array, x_shape: tuple[int, ...]) -> Array:
        of_x, of_y = self._pairs(len(x_shape), y.ndim)
        free = _rest(of_x, len(x_shape))
        after = _rest(of_y, y.ndim)
        dx = np.tensordot(dz, conjugated(y), (tuple(range(len(free), dz.ndim)), after))
        # What is left of y stands in the order of its axes.
        return _in_order(dx, (*free, *(of_x[of_y.index(axis)] for axis in sorted(of_y))))

    def backward_y(self, dz: Array, x: Array, y_shape: tuple[int, ...]) -> Array:
        of_x, of_y = self._pairs(x.ndim, len(y_shape))
        free = _rest(of_x, x.ndim)
        dy = np.tensordot(conjugated(x), dz, (free, tuple(range(len(free)))))
        return _in_order(dy, (*(of_y[of_x.index(axis)] for axis in sorted(of_x)), *_rest(of_y, len(y_shape))))


def _rest(axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    return tuple(axis for axis in range(ndim) if axis not in axes)


def _in_order(x: Array, axes: tuple[int, ...]) -> Array:
    """Return `x`, whose axes are those of the result that `axes` names, with its axes in order."""
    return x.transpose(sorted(range(len(axes)), key=axes.__getitem__))


class Dot(_Contraction):
    """Sum of products over the last axis of ``x`` and the last but one of ``y`` (of a vector its only), as `numpy.dot`.

    An operand of no axes multiplies.
    """

    name: ClassVar[str] = "dot"

    def _pairs(self, x_ndim: int, y_ndim: int) -> _Pairs:
        return ((x_ndim - 1,), (max(y_ndim - 2, 0),)) if x_ndim and y_ndim else ((), ())

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from _examples(cls, ((2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (2, 3, 2)), ((), (2,)), ((), ()))


class Inner(_Contraction):
    """Sum of products over the last axes: ``z_ij = sum_k x_ik y_jk``, nothing conjugated; no axes multiply."""

    name: ClassVar[str] = "inner"

    def _pairs(self, x_ndim: int, y_ndim: int) -> _Pairs:
        return ((x_ndim - 1,), (y_ndim - 1,)) if x_ndim and y_ndim else ((), ())

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from _examples(cls, ((2, 3), (4, 3)), ((3,), (3,)), ((2, 3), (3,)), ((2,), ()))


class TensorDot(_Contraction):
    """Sum of products over pairs of axes, of operands of any rank."""

    name: ClassVar[str] = "tensordot"

    axes: Annotated[
        Annotated[int, Field(ge=0, le=MAX_RANK)] | tuple[tuple[int, ...], tuple[int, ...]],
        Field(
            description="How many of the last axes of x are summed over with as many first ones of y; or the axes of "
            "x and those of y, pair by pair."
        ),
    ] = 2

    def _pairs(self, x_ndim: int, y_ndim: int) -> _Pairs:
        if isinstance(self.axes, int):
            if self.axes > min(x_ndim, y_ndim):
                msg = f"Attribute 'axes' is {self.axes}, but the operands have {x_ndim} and {y_ndim} axes. Name fewer."
                raise AttributeValueError(msg, attribute="axes")
            return tuple(range(x_ndim - self.axes, x_ndim)), tuple(range(self.axes))
        of_x, of_y = self.axes
        if len(of_x) != len(of_y):
            msg = f"Attribute 'axes' names {len(of_x)} axes of x and {len(of_y)} of y. Name as many of each."
            raise AttributeValueError(msg, attribute="axes")
        return normalized_axes(of_x, x_ndim), normalized_axes(of_y, y_ndim)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from _examples(cls, ((2, 3, 4), (3, 4, 2)))
        random = np.random.default_rng(2)
        x, y = random.normal(size=(2, 3, 4)), random.normal(size=(4, 2, 3))
        yield Example(cls(axes=((2, 1), (0, -1))), x, y)
        yield Example(cls(axes=((0,), (1,))), x, y)
        yield Example(cls(axes=0), x[0, 0], y[0])


class Outer(Gate):
    """Every product of two elements, ``z_ij = x_i y_j``, of operands that are flattened first."""

    name: ClassVar[str] = "outer"

    def infer(self, x: ArraySpec, y: ArraySpec) -> ArraySpec:
        return ArraySpec((x.size, y.size), np.result_type(x.dtype, y.dtype))

    def forward(self, x: Array, y: Array) -> Array:
        return x.reshape(-1, 1) * y.reshape(1, -1)

    def backward_x(self, dz: Array, y: Array, x_shape: tuple[int, ...]) -> Array:
        return (dz @ conjugated(y).reshape(-1)).reshape(x_shape)

    def backward_y(self, dz: Array, x: Array, y_shape: tuple[int, ...]) -> Array:
        return (conjugated(x).reshape(-1) @ dz).reshape(y_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from _examples(cls, ((3,), (2,)), ((2, 2), (2, 1)), ((), (2,)))


class VDot(Gate):
    """Inner product of two operands of as many elements: ``z = sum conj(x) * y``, both flattened."""

    name: ClassVar[str] = "vdot"

    def infer(self, x: ArraySpec, y: ArraySpec) -> ArraySpec:
        if x.size != y.size:
            msg = f"Operands must have as many elements, got shapes {x.shape} and {y.shape}. Cut one of them."
            raise ShapeError(msg)
        return ArraySpec((), np.result_type(x.dtype, y.dtype))

    def forward(self, x: Array, y: Array) -> Array:
        return np.tensordot(conjugated(x).reshape(-1), y.reshape(-1), 1)

    def backward_x(self, dz: Array, y: Array, x_shape: tuple[int, ...]) -> Array:
        return (conjugated(dz) * y).reshape(x_shape)

    def backward_y(self, dz: Array, x: Array, y_shape: tuple[int, ...]) -> Array:
        return (dz * x).reshape(y_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from _examples(cls, ((3,), (3,)), ((2, 3), (6,)), ((), ()))


class Kron(Gate):
    """Kronecker product: a copy of ``y`` for each element of ``x``, times it; lengths multiply axis by axis.

    The operand of fewer axes gets leading ones of length 1.
    """

    name: ClassVar[str] = "kron"

    def infer(self, x: ArraySpec, y: ArraySpec) -> ArraySpec:
        pairs = zip(*_apart(x.shape, y.shape), strict=True)
        return ArraySpec(tuple(m * n for m, n in pairs), np.result_type(x.dtype, y.dtype))

    def forward(self, x: Array, y: Array) -> Array:
        of_x, of_y = _apart(x.shape, y.shape)
        shape = [m * n for m, n in zip(of_x, of_y, strict=True)]
        return (x.reshape(_interleaved(of_x, None)) * y.reshape(_interleaved(None, of_y))).reshape(shape)

    def backward_x(self, dz: Array, y: Array, x_shape: tuple[int, ...]) -> Array:
        of_x, of_y = _apart(x_shape, y.shape)
        products = dz.reshape(_interleaved(of_x, of_y)) * conjugated(y).reshape(_interleaved(None, of_y))
        return reduce_sum(products, tuple(range(1, products.ndim, 2))).reshape(x_shape)

    def backward_y(self, dz: Array, x: Array, y_shape: tuple[int, ...]) -> Array:
        of_x, of_y = _apart(x.shape, y_shape)
        products = dz.reshape(_interleaved(of_x, of_y)) * conjugated(x).reshape(_interleaved(of_x, None))
        return reduce_sum(products, tuple(range(0, products.ndim, 2))).reshape(y_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from _examples(cls, ((2, 3), (2, 2)), ((2,), (3, 2)), ((2, 1, 2), (3,)), ((), (2,)))


def _apart(x: tuple[int, ...], y: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give the shorter of two shapes leading ones."""
    ndim = max(len(x), len(y))
    return (1,) * (ndim - len(x)) + x, (1,) * (ndim - len(y)) + y


def _interleaved(x: tuple[int, ...] | None, y: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the lengths of two shapes by turns, ones for a shape that is None."""
    ndim = len(x or y or ())
    x, y = x or (1,) * ndim, y or (1,) * ndim
    return tuple(size for pair in zip(x, y, strict=True) for size in pair)


class Cross(Gate):
    """Vector product of vectors of three elements: ``z_1 = x_2 y_3 - x_3 y_2`` and so on. The other axes broadcast."""

    name: ClassVar[str] = "cross"

    axis: Annotated[int, Field(description="The axis of the vectors, in both operands and in the result.")] = -1

    def infer(self, x: ArraySpec, y: ArraySpec) -> ArraySpec:
        rests = []
        for operand in (x, y):
            (axis,) = normalized_axes(self.axis, operand.ndim)
            if operand.shape[axis] != 3:
                msg = f"Vectors must have three elements along axis {self.axis}, got shapes {x.shape} and {y.shape}."
                msg += " Choose another axis."
                raise ShapeError(msg)
            rests.append((*operand.shape[:axis], *operand.shape[axis + 1 :]))
        dtype = np.result_type(x.dtype, y.dtype)
        if dtype.kind == "b":
            msg = "Operands are booleans, which have no difference. Convert one of them with the gate 'cast'."
            raise DtypeError(msg)
        shape = list(broadcast_shapes(*rests))
        shape.insert(self.axis % (len(shape) + 1), 3)
        return ArraySpec(tuple(shape), dtype)

    def forward(self, x: Array, y: Array) -> Array:
        return np.moveaxis(_cross(np.moveaxis(x, self.axis, -1), np.moveaxis(y, self.axis, -1)), -1, self.axis)

    def backward_x(self, dz: Array, y: Array, x_shape: tuple[int, ...]) -> Array:
        return self._summed(_cross(np.moveaxis(conjugated(y), self.axis, -1), np.moveaxis(dz, self.axis, -1)), x_shape)

    def backward_y(self, dz: Array, x: Array, y_shape: tuple[int, ...]) -> Array:
        return self._summed(_cross(np.moveaxis(dz, self.axis, -1), np.moveaxis(conjugated(x), self.axis, -1)), y_shape)

    def _summed(self, gradient: Array, shape: tuple[int, ...]) -> Array:
        axis = self.axis % len(shape)
        moved = (*shape[:axis], *shape[axis + 1 :], 3)
        return np.moveaxis(sum_to_shape(gradient, moved), -1, axis)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from _examples(cls, ((2, 3), (3,)), ((3,), (3,)), ((2, 1, 3), (4, 3)))
        random = np.random.default_rng(2)
        yield Example(cls(axis=0), random.normal(size=(3, 2)), random.normal(size=(3,)))


def _cross(x: Array, y: Array) -> Array:
    """Return the vector product along the last axis."""
    return np.roll(x, -1, -1) * np.roll(y, -2, -1) - np.roll(x, -2, -1) * np.roll(y, -1, -1)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Dot, Inner, TensorDot, Outer, VDot, Kron, Cross]
