"""Gates of angles and distances between vectors: cosine similarity, and the loss of triplets."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, FiniteFloat

from graphsvc.arrays import (
    Array,
    ArraySpec,
    broadcast_shapes,
    narrowed,
    normalized_axes,
    reduce_sum,
    require_floating,
    sum_to_shape,
    widened,
)
from graphsvc.errors import ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._losses import Loss
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class CosineSimilarity(Gate):
    """Cosine of the angle between vectors along an axis: ``z = sum(x * y) / (norm(x) * norm(y))``.

    The operands broadcast. With a vector of zeros the cosine is 0, and so are its derivatives.
    """

    name: ClassVar[str] = "cosine_similarity"
    saves: ClassVar[tuple[str, ...]] = ("x_unit", "y_unit", "x_share", "y_share")

    axis: Annotated[int, Field(description="The axis along which a vector lies, of the broadcast operands.")] = -1

    def infer(self, x: ArraySpec, y: ArraySpec) -> ArraySpec:
        require_floating("x", x)
        require_floating("y", y)
        shape = broadcast_shapes(x.shape, y.shape)
        (axis,) = normalized_axes(self.axis, len(shape))
        return ArraySpec((*shape[:axis], *shape[axis + 1 :]), np.result_type(x.dtype, y.dtype))

    def _unit(self, x: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Return vectors of length 1, or 0, and the share of 1 that a vector's length is."""
        x = np.broadcast_to(widened(x), shape)
        square = reduce_sum(x * x, self.axis, keepdims=True)
        share = np.where(square == 0, 0, 1 / np.sqrt(np.where(square == 0, 1, square)))
        return x * share, share

    def forward(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array, Array]:
        shape = broadcast_shapes(x.shape, y.shape)
        x_unit, x_share = self._unit(x, shape)
        y_unit, y_share = self._unit(y, shape)
        cosine = narrowed(reduce_sum(x_unit * y_unit, self.axis), np.result_type(x.dtype, y.dtype))
        return cosine, x_unit, y_unit, x_share, y_share

    def _pulled(self, dz: Array, unit: Array, other: Array, share: Array) -> Array:
        """Return the gradient of a vector: what of the other unit vector is at right angles to its own, shared."""
        cosine = reduce_sum(unit * other, self.axis, keepdims=True)
        return np.expand_dims(widened(dz), self.axis) * share * (other - cosine * unit)

    def backward_x(self, dz: Array, x_unit: Array, y_unit: Array, x_share: Array, x_shape: tuple[int, ...]) -> Array:
        return sum_to_shape(self._pulled(dz, x_unit, y_unit, x_share), x_shape)

    def backward_y(self, dz: Array, x_unit: Array, y_unit: Array, y_share: Array, y_shape: tuple[int, ...]) -> Array:
        return sum_to_shape(self._pulled(dz, y_unit, x_unit, y_share), y_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(), random.normal(size=(4, 3)), random.normal(size=(4, 3)))
        yield Example(cls(axis=0), random.normal(size=(4, 1)), random.normal(size=(4, 3)))
        yield Example(cls(), random.normal(size=(3,)), random.normal(size=(2, 4, 3)))


class Triplet(Loss):
    """Loss of triplets: ``z = max(0, norm(anchor - positive) - norm(anchor - negative) + margin)``, averaged.

    The operands have one shape ``(..., n)``; vectors lie along the last axis. The derivative at the margin, and of the
    norm of zeros, is 0.

    Source:
        F. Schroff and others, "FaceNet" (2015), section 3.1; with lengths instead of their squares.
    """

    name: ClassVar[str] = "triplet"
    saves: ClassVar[tuple[str, ...]] = ("towards", "away", "violates")

    margin: Annotated[FiniteFloat, Field(description="By how much the positive must be nearer.")] = 1.0

    def infer(self, anchor: ArraySpec, positive: ArraySpec, negative: ArraySpec) -> ArraySpec:
        if anchor.ndim == 0 or not anchor.shape == positive.shape == negative.shape:
            msg = f"Anchor, positive and negative must have one shape (..., n), got {anchor.shape}, {positive.shape}"
            msg += f" and {negative.shape}. Reshape them."
            raise ShapeError(msg)
        dtype = np.result_type(anchor.dtype, positive.dtype, negative.dtype)
        return self._reduced_spec(anchor.shape[:-1], "anchor", ArraySpec(anchor.shape, dtype))

    def forward(self, anchor: Array, positive: Array, negative: Array) -> tuple[Array, Array, Array, Array]:
        near, towards = _distance(anchor, positive)
        far, away = _distance(anchor, negative)
        excess = near - far + self.margin
        loss = self._reduced(np.maximum(excess, 0)[..., 0])
        dtype = np.result_type(anchor.dtype, positive.dtype, negative.dtype)
        return narrowed(loss, dtype), towards, away, ~(excess <= 0)

    def _each(self, dz: Array, violates: Array) -> Array:
        return np.where(violates, self._shared(dz, violates.shape[:-1])[..., np.newaxis], 0)

    def backward_anchor(self, dz: Array, towards: Array, away: Array, violates: Array) -> Array:
        return self._each(dz, violates) * (towards - away)

    def backward_positive(self, dz: Array, towards: Array, violates: Array) -> Array:
        return self._each(dz, violates) * -towards

    def backward_negative(self, dz: Array, away: Array, violates: Array) -> Array:
        return self._each(dz, violates) * away

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        operands = [random.normal(size=(4, 3)) for _ in range(3)]
        for reduction in ("mean", "sum", "none"):
            yield Example(cls(reduction=reduction, margin=2.0), *operands)
        yield Example(cls(), *(operand[0] for operand in operands))


def _distance(x: Array, y: Array) -> tuple[Array, Array]:
    """Return lengths of differences, shape `(..., 1)`, and unit vectors in their direction, or zeros."""
    difference = np.subtract(widened(x), widened(y))
    square = reduce_sum(difference * difference, -1, keepdims=True)
    length = np.where(square == 0, 0, np.sqrt(np.where(square == 0, 1, square)))
    return length, difference / np.where(square == 0, 1, length)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [CosineSimilarity, Triplet]
