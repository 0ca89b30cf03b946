"""Gates of reduction: one number of many along axes, as sums, products, extremes."""

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from graphsvc.arrays import (
    Array,
    ArraySpec,
    conjugated,
    divided,
    narrowed,
    normalized_axes,
    reduce_mean,
    reduce_sum,
    widened,
)
from graphsvc.gate import Example, Gate
from graphsvc.gates._reduction import Reduction, combined, require_elements, require_real, separated, sum_dtype
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class Sum(Reduction):
    """Sum over axes: ``z = sum(x)``."""

    name: ClassVar[str] = "sum"
    linear: ClassVar[bool] = True

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return sum_dtype(dtype)

    def forward(self, x: Array) -> Array:
        return reduce_sum(x, self.axis, keepdims=self.keepdims)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        return np.broadcast_to(dz.reshape(self._kept_shape(x_shape)), x_shape)


class Mean(Reduction):
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


class SumSquare(Reduction):
    """Sum of squares over axes: ``z = sum(x**2)``, the L2 loss."""

    name: ClassVar[str] = "sum_square"

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return sum_dtype(dtype)

    def forward(self, x: Array) -> Array:
        wide = widened(x) if x.dtype.kind == "f" else x.astype(self._result_dtype(x.dtype))
        return narrowed(reduce_sum(wide * wide, self.axis, keepdims=self.keepdims), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz.reshape(self._kept_shape(x.shape)) * (2 * conjugated(x))


class Prod(Reduction):
    """Product over axes: ``z = prod(x)``. The derivative for an element is the product of all others, zeros or not."""

    name: ClassVar[str] = "prod"

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return sum_dtype(dtype)

    def forward(self, x: Array) -> Array:
        wide = widened(x) if x.dtype.kind == "f" else x
        return narrowed(np.prod(wide, axis=self.axis, keepdims=self.keepdims), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        axes = normalized_axes(self.axis, x.ndim)
        others = separated(_products_of_others(combined(conjugated(widened(x)), axes)), x.shape, axes)
        return dz.reshape(self._kept_shape(x.shape)) * others

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        x = np.array([[2.0, 0.0, 3.0], [0.0, 1.5, 0.0]])
        yield Example(cls(axis=1), x)
        yield Example(cls(axis=0, keepdims=True), x + 1j * x[::-1])


def _products_of_others(x: Array) -> Array:
    """Return for each element along the last axis the product of all others, through products of pairs."""
    n = x.shape[-1]
    if n <= 1:
        return np.ones_like(x)
    if n % 2:
        x = np.concatenate([x, np.ones_like(x[..., :1])], axis=-1)
    left, right = x[..., ::2], x[..., 1::2]
    outside = _products_of_others(left * right)
    both = np.stack([outside * right, outside * left], axis=-1)
    return both.reshape(x.shape)[..., :n]


class Extreme(Reduction):
    """Base of maximum and minimum over axes. Ties share the gradient evenly."""

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_real("x", x)
        require_elements(self._count(x.shape), x.shape, "extreme")
        return super().infer(x)

    def _shared(self, dz: Array, x: Array, kept: Array) -> Array:
        """Return `dz` shared among the elements that gave the value `kept`, whose reduced axes are kept."""
        # NaN is unequal to itself: where there is one, it gave the value.
        chosen = (x == kept) | (x != x)
        count = np.sum(chosen, axis=self.axis, keepdims=True).reshape(kept.shape)
        return np.where(chosen, divided(dz.reshape(kept.shape), count), 0)


class Max(Extreme):
    """Largest element over axes: ``z = max(x)``. Ties share the gradient evenly."""

    name: ClassVar[str] = "max"

    def forward(self, x: Array) -> Array:
        return np.max(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, dz: Array, x: Array, z: Array) -> Array:
        return self._shared(dz, x, z.reshape(self._kept_shape(x.shape)))


class Min(Extreme):
    """Smallest element over axes: ``z = min(x)``. Ties share the gradient evenly."""

    name: ClassVar[str] = "min"

    def forward(self, x: Array) -> Array:
        return np.min(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, dz: Array, x: Array, z: Array) -> Array:
        return self._shared(dz, x, z.reshape(self._kept_shape(x.shape)))


class Ptp(Extreme):
    """Peak to peak over axes: ``z = max(x) - min(x)``. Ties share the gradient evenly."""

    name: ClassVar[str] = "ptp"

    def infer(self, x: ArraySpec) -> ArraySpec:
        spec = super().infer(x)
        # Differences of booleans are no numbers.
        return ArraySpec(spec.shape, np.dtype(np.int64)) if x.dtype.kind == "b" else spec

    def forward(self, x: Array) -> Array:
        numbers = x.astype(np.int64) if x.dtype.kind == "b" else x
        return np.max(numbers, axis=self.axis, keepdims=self.keepdims) - np.min(
            numbers, axis=self.axis, keepdims=self.keepdims
        )

    def backward(self, dz: Array, x: Array) -> Array:
        most = np.max(x, axis=self.axis, keepdims=True).reshape(self._kept_shape(x.shape))
        least = np.min(x, axis=self.axis, keepdims=True).reshape(self._kept_shape(x.shape))
        return self._shared(dz, x, most) - self._shared(dz, x, least)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Sum, Mean, SumSquare, Prod, Max, Min, Ptp]
