"""Activation gates in which the elements along an axis compete: softmax and its kin, maxout, glu."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import (
    MAX_DIMENSION,
    Array,
    ArraySpec,
    divided,
    narrowed,
    normalized_axes,
    reduce_sum,
    require_floating,
    widened,
)
from graphsvc.errors import DtypeError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._activations import logistic
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class Maxout(Gate):
    """Largest of every ``pieces`` neighbours along an axis: ``z[i] = max(x[i * pieces : (i + 1) * pieces])``.

    ``axis`` of length ``n * pieces`` becomes one of length ``n``. Ties share the gradient evenly.

    Source:
        I. Goodfellow and others, "Maxout networks" (2013), section 3.
    """

    name: ClassVar[str] = "maxout"
    saves: ClassVar[tuple[str, ...]] = ("chosen",)

    pieces: Annotated[int, Field(ge=1, le=MAX_DIMENSION, description="How many neighbours compete.")] = 2
    axis: Annotated[int, Field(description="The axis whose elements compete.")] = -1

    def _split_shape(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
        (axis,) = normalized_axes(self.axis, len(shape))
        return (*shape[:axis], shape[axis] // self.pieces, self.pieces, *shape[axis + 1 :]), axis + 1

    def infer(self, x: ArraySpec) -> ArraySpec:
        (axis,) = normalized_axes(self.axis, x.ndim)
        if x.dtype.kind == "c":
            msg = f"Operand 'x' must be real, got {x.dtype}. Give its real part or its absolute value."
            raise DtypeError(msg)
        if x.shape[axis] % self.pieces:
            msg = f"Axis {axis} has length {x.shape[axis]}, which is no multiple of pieces={self.pieces}. Pad it."
            raise ShapeError(msg)
        split, competing = self._split_shape(x.shape)
        return ArraySpec((*split[:competing], *split[competing + 1 :]), x.dtype)

    def forward(self, x: Array) -> tuple[Array, Array]:
        split, competing = self._split_shape(x.shape)
        candidates = x.reshape(split)
        z = np.max(candidates, axis=competing, keepdims=True)
        chosen = (candidates == z) | np.isnan(candidates)
        return np.squeeze(z, axis=competing), chosen

    def backward(self, dz: Array, chosen: Array, x_shape: tuple[int, ...]) -> Array:
        _, competing = self._split_shape(x_shape)
        count = np.sum(chosen, axis=competing, keepdims=True)
        return np.where(chosen, divided(np.expand_dims(dz, competing), count), 0).reshape(x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(), random.normal(size=(2, 6)))
        yield Example(cls(pieces=3, axis=0), random.normal(size=(6, 2)))


class _Gated(Gate):
    """Base of the gates that cut an axis in halves, and let the one decide how much of the other passes."""

    axis: Annotated[int, Field(description="The axis that is cut in halves.")] = -1

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_floating("x", x)
        (axis,) = normalized_axes(self.axis, x.ndim)
        if x.shape[axis] % 2:
            msg = f"Axis {axis} has length {x.shape[axis]} and cannot be cut in halves. Give it an even length."
            raise ShapeError(msg)
        return ArraySpec((*x.shape[:axis], x.shape[axis] // 2, *x.shape[axis + 1 :]), x.dtype)

    def _halves(self, x: Array) -> tuple[Array, Array]:
        (axis,) = normalized_axes(self.axis, x.ndim)
        half, before = x.shape[axis] // 2, (slice(None),) * axis
        return widened(x[(*before, slice(None, half))]), widened(x[(*before, slice(half, None))])

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(), random.normal(size=(2, 6)))
        yield Example(cls(axis=0), random.normal(size=(4, 3)))


class Glu(_Gated):
    """Gated linear unit: the first half of an axis times the sigmoid of the second, ``z = a * sigmoid(b)``.

    ``axis`` of length ``2 * n`` becomes one of length ``n``.

    Source:
        Y. Dauphin and others, "Language modeling with gated convolutional networks" (2017), equation 1.
    """

    name: ClassVar[str] = "glu"

    def forward(self, x: Array) -> Array:
        a, b = self._halves(x)
        return narrowed(a * logistic(b), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        a, b = self._halves(x)
        s = logistic(b)
        return np.concatenate((dz * s, dz * a * (s * logistic(-b))), axis=self.axis)


class Swiglu(_Gated):
    """Gated linear unit with silu: the silu of the first half of an axis times the second, ``z = a * sigmoid(a) * b``.

    ``axis`` of length ``2 * n`` becomes one of length ``n``.

    Source:
        N. Shazeer, "GLU variants improve transformer" (2020), equation 5.
    """

    name: ClassVar[str] = "swiglu"

    def forward(self, x: Array) -> Array:
        a, b = self._halves(x)
        return narrowed(a * logistic(a) * b, x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        a, b = self._halves(x)
        s = logistic(a)
        return np.concatenate((dz * b * (s + a * (s * logistic(-a))), dz * (a * s)), axis=self.axis)


class _AlongAxis(Gate):
    """Base of the gates that normalise along an axis; shape and dtype stay."""

    axis: Annotated[int, Field(description="The axis along which the elements are normalised.")] = -1

    def infer(self, x: ArraySpec) -> ArraySpec:
        normalized_axes(self.axis, x.ndim)
        require_floating("x", x)
        if x.size == 0:
            msg = f"The operand of shape {x.shape} is empty, and nothing can be normalised."
            raise ShapeError(msg)
        return x

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(), random.normal(size=(2, 4)))
        yield Example(cls(axis=0), random.normal(size=(3, 2)))


class Softmax(_AlongAxis):
    """Softmax along an axis: ``z = exp(x) / sum(exp(x))``, shifted by the maximum so that nothing overflows."""

    name: ClassVar[str] = "softmax"

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        e = np.exp(wide - np.max(wide, axis=self.axis, keepdims=True))
        return narrowed(e / reduce_sum(e, self.axis, keepdims=True), x.dtype)

    def backward(self, dz: Array, z: Array) -> Array:
        dz, z = widened(dz), widened(z)
        return z * (dz - reduce_sum(dz * z, self.axis, keepdims=True))


class Softmin(_AlongAxis):
    """Softmax of the negated elements along an axis: ``z = exp(-x) / sum(exp(-x))``, shifted by the minimum."""

    name: ClassVar[str] = "softmin"

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        e = np.exp(np.min(wide, axis=self.axis, keepdims=True) - wide)
        return narrowed(e / reduce_sum(e, self.axis, keepdims=True), x.dtype)

    def backward(self, dz: Array, z: Array) -> Array:
        dz, z = widened(dz), widened(z)
        return z * (reduce_sum(dz * z, self.axis, keepdims=True) - dz)


class LogSoftmax(_AlongAxis):
    """Logarithm of the softmax along an axis: ``z = x - log(sum(exp(x)))``."""

    name: ClassVar[str] = "log_softmax"

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        shifted = wide - np.max(wide, axis=self.axis, keepdims=True)
        return narrowed(shifted - np.log(reduce_sum(np.exp(shifted), self.axis, keepdims=True)), x.dtype)

    def backward(self, dz: Array, z: Array) -> Array:
        dz, z = widened(dz), widened(z)
        return dz - np.exp(z) * reduce_sum(dz, self.axis, keepdims=True)


class Hardmax(_AlongAxis):
    """One at the first largest element along an axis, and zero elsewhere; it has no gradient. NaN counts as largest."""

    name: ClassVar[str] = "hardmax"
    disconnected: ClassVar[tuple[str, ...]] = ("x",)

    def forward(self, x: Array) -> Array:
        (axis,) = normalized_axes(self.axis, x.ndim)
        places = np.arange(x.shape[axis]).reshape((-1,) + (1,) * (x.ndim - axis - 1))
        return (places == np.argmax(x, axis=axis, keepdims=True)).astype(x.dtype)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Maxout, Glu, Swiglu, Softmax, Softmin, LogSoftmax, Hardmax]
