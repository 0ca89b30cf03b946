"""Activation gates: the nonlinear functions between the layers of a network."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, FiniteFloat

from graphsvc.arrays import MAX_DIMENSION, Array, ArraySpec, divided, narrowed, normalized_axes, reduce_sum, widened
from graphsvc.errors import DtypeError, ShapeError
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class Sigmoid(Elementwise):
    """Logistic function, element by element: ``z = 1 / (1 + exp(-x))``."""

    name: ClassVar[str] = "sigmoid"

    def forward(self, x: Array) -> Array:
        return narrowed(1 / (1 + np.exp(-widened(x))), x.dtype)

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * z * (1 - z)


class Tanh(Elementwise):
    """Hyperbolic tangent, element by element: ``z = tanh(x)``."""

    name: ClassVar[str] = "tanh"

    def forward(self, x: Array) -> Array:
        return np.tanh(x)

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * (1 - z * z)


def _kinked_examples(gate: Elementwise) -> Iterable[Example]:
    yield Example(gate, np.array([[1.5, -0.5, 2.0], [-1.0, 0.25, -3.0]]))


def _least(left: float, right: float) -> float:
    """Return the subgradient of smallest size at a kink with slopes `left` and `right`."""
    return 0.0 if left * right <= 0 else min(left, right, key=abs)


class Relu(Elementwise):
    """Rectifier, element by element: ``z = max(x, 0)``. Its derivative at 0 is 0."""

    name: ClassVar[str] = "relu"

    def forward(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def backward(self, dz: Array, z: Array) -> Array:
        return np.where(z <= 0, 0, dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return _kinked_examples(cls())


class LeakyRelu(Elementwise):
    """Leaky rectifier, element by element: ``z = x if x > 0 else slope * x``.

    Its derivative at 0 is the one of smallest size between ``slope`` and 1.
    """

    name: ClassVar[str] = "leaky_relu"

    slope: Annotated[FiniteFloat, Field(description="Slope for negative operands.")] = 0.01

    def forward(self, x: Array) -> Array:
        return np.where(x > 0, x, self.slope * x)

    def backward(self, dz: Array, x: Array) -> Array:
        below = np.where(x < 0, self.slope * dz, _least(self.slope, 1.0) * dz)
        return np.where(x <= 0, below, dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return [*_kinked_examples(cls()), *_kinked_examples(cls(slope=0.3))]


class Elu(Elementwise):
    """Exponential linear unit, element by element: ``z = x if x > 0 else alpha * (exp(x) - 1)``.

    Its derivative at 0 is 1, or the one of smallest size between ``alpha`` and 1 where they differ.
    """

    name: ClassVar[str] = "elu"

    alpha: Annotated[FiniteFloat, Field(description="Negated limit for very negative operands.")] = 1.0

    def forward(self, x: Array) -> Array:
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0)))

    def backward(self, dz: Array, x: Array) -> Array:
        below = np.where(x < 0, self.alpha * np.exp(np.minimum(x, 0)) * dz, _least(self.alpha, 1.0) * dz)
        return np.where(x <= 0, below, dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return [*_kinked_examples(cls()), *_kinked_examples(cls(alpha=0.5))]


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


class _AlongAxis(Gate):
    """Base of the gates that normalise along an axis; shape and dtype stay."""

    axis: Annotated[int, Field(description="The axis along which the elements are normalised.")] = -1

    def infer(self, x: ArraySpec) -> ArraySpec:
        normalized_axes(self.axis, x.ndim)
        if x.dtype.kind != "f":
            msg = f"The operand must be floating point, got {x.dtype}. Convert it with the gate 'cast'."
            raise DtypeError(msg)
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


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Sigmoid, Tanh, Relu, LeakyRelu, Elu, Maxout, Softmax, LogSoftmax]
