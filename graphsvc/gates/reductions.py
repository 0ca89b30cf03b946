"""Gates that make one number of many along axes: sums, means, extremes."""

from collections.abc import Iterable
from math import prod
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, divided, narrowed, normalized_axes, reduce_mean, reduce_sum, widened
from graphsvc.errors import ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Reduction(Gate):
    """Base of the reductions: which axes, and what shape comes out."""

    axis: Annotated[int | tuple[int, ...] | None, Field(description="Axes to reduce; None means all.")] = None
    keepdims: Annotated[bool, Field(description="Whether reduced axes stay, with length 1.")] = False

    def _kept_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the result with the reduced axes kept."""
        axes = normalized_axes(self.axis, len(shape))
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))

    def _count(self, shape: tuple[int, ...]) -> int:
        """How many elements of an operand of `shape` go into one of the result."""
        return prod(shape[axis] for axis in normalized_axes(self.axis, len(shape)))

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype

    def infer(self, x: ArraySpec) -> ArraySpec:
        axes = normalized_axes(self.axis, x.ndim)
        shape = self._kept_shape(x.shape)
        if not self.keepdims:
            shape = tuple(size for axis, size in enumerate(shape) if axis not in axes)
        return ArraySpec(shape, self._result_dtype(x.dtype))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3, 4))
        yield Example(cls(), x)
        yield Example(cls(axis=1), x)
        yield Example(cls(axis=(0, -1), keepdims=True), x)
        yield Example(cls(axis=0), x[:, 0, 0])


class Sum(_Reduction):
    """Sum over axes: ``z = sum(x)``."""

    name: ClassVar[str] = "sum"
    linear: ClassVar[bool] = True

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.sum(np.ones(1, dtype)).dtype

    def forward(self, x: Array) -> Array:
        return reduce_sum(x, self.axis, keepdims=self.keepdims)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        return np.broadcast_to(dz.reshape(self._kept_shape(x_shape)), x_shape)


class Mean(_Reduction):
    """Mean over axes: ``z = sum(x) / n``. The mean of nothing is NaN."""

    name: ClassVar[str] = "mean"
    linear: ClassVar[bool] = True

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype if dtype.kind in "fc" else np.dtype(np.float64)

    def forward(self, x: Array) -> Array:
        return reduce_mean(x, self.axis, keepdims=self.keepdims)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        share = divided(dz.reshape(self._kept_shape(x_shape)), self._count(x_shape))
        return np.broadcast_to(share, x_shape)


class SumSquare(_Reduction):
    """Sum of squares over axes: ``z = sum(x**2)``, the L2 loss."""

    name: ClassVar[str] = "sum_square"

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.sum(np.ones(1, dtype)).dtype

    def forward(self, x: Array) -> Array:
        wide = widened(x) if x.dtype.kind == "f" else x.astype(self._result_dtype(x.dtype))
        return narrowed(reduce_sum(wide * wide, self.axis, keepdims=self.keepdims), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz.reshape(self._kept_shape(x.shape)) * (2 * x)


class _Extreme(_Reduction):
    """Base of maximum and minimum over axes. Ties share the gradient evenly."""

    def infer(self, x: ArraySpec) -> ArraySpec:
        if self._count(x.shape) == 0:
            msg = f"The operand of shape {x.shape} has no element along the reduced axes, so there is no extreme."
            raise ShapeError(msg)
        return super().infer(x)

    def backward(self, dz: Array, x: Array, z: Array) -> Array:
        kept = self._kept_shape(x.shape)
        # NaN is unequal to itself: where there is one, it gave the value.
        chosen = (x == z.reshape(kept)) | (x != x)
        count = np.sum(chosen, axis=self.axis, keepdims=True).reshape(kept)
        return np.where(chosen, divided(dz.reshape(kept), count), 0)


class Max(_Extreme):
    """Largest element over axes: ``z = max(x)``. Ties share the gradient evenly."""

    name: ClassVar[str] = "max"

    def forward(self, x: Array) -> Array:
        return np.max(x, axis=self.axis, keepdims=self.keepdims)


class Min(_Extreme):
    """Smallest element over axes: ``z = min(x)``. Ties share the gradient evenly."""

    name: ClassVar[str] = "min"

    def forward(self, x: Array) -> Array:
        return np.min(x, axis=self.axis, keepdims=self.keepdims)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Sum, Mean, SumSquare, Max, Min]
