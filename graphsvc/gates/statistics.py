"""Gates that describe many numbers by a few: variance, standard deviation, weighted means, medians and quantiles."""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import (
    Array,
    ArraySpec,
    broadcast_shapes,
    conjugated,
    narrowed,
    normalized_axes,
    reduce_mean,
    reduce_sum,
    sum_to_shape,
    widened,
)
from graphsvc.errors import ShapeError
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._costs import of_order
from graphsvc.gates._reduction import ReducedAxes, Reduction, combined, require_elements, require_real, separated
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


def _float_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.kind in "fc" else np.dtype(np.float64)


class _Spread(Reduction):
    """Base of variance and standard deviation: numbers less their mean, twice, so that a constant leaves zeros."""

    ddof: Annotated[
        int, Field(ge=0, le=2**31, description="What is taken from the count: the divisor is n - ddof.")
    ] = 0

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.abs(np.ones(1, _float_dtype(dtype))).dtype

    def _divisor(self, shape: tuple[int, ...]) -> float:
        count = self._count(shape) - self.ddof
        return float(count) if count > 0 else np.nan

    def _centred(self, x: Array) -> Array:
        kept = self._kept_shape(x.shape)
        centred = widened(x)
        for _ in range(2):
            centred = centred - reduce_mean(centred, self.axis, keepdims=True).reshape(kept)
        return centred

    def _variance(self, centred: Array) -> Array:
        size = np.abs(centred)
        return reduce_sum(size * size, self.axis, keepdims=self.keepdims) / self._divisor(centred.shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        x = random.normal(size=(2, 3, 4))
        yield Example(cls(), x)
        yield Example(cls(axis=1, ddof=1), x)
        yield Example(cls(axis=(0, -1), keepdims=True), x)
        yield Example(cls(axis=-1, ddof=1), x[0] + 1j * x[1])


class Var(_Spread):
    """Variance over axes: ``z = sum(|x - mean(x)|**2) / (n - ddof)``; NaN where n is not more than ``ddof``."""

    name: ClassVar[str] = "var"
    saves: ClassVar[tuple[str, ...]] = ("centred",)

    def forward(self, x: Array) -> tuple[Array, Array]:
        centred = self._centred(x)
        return narrowed(self._variance(centred), x.dtype), centred

    def backward(self, dz: Array, centred: Array) -> Array:
        return dz.reshape(self._kept_shape(centred.shape)) * (centred * (2 / self._divisor(centred.shape)))


class Std(_Spread):
    """Standard deviation over axes: ``z = sqrt(sum(|x - mean(x)|**2) / (n - ddof))``.

    NaN where n is not more than ``ddof``. The derivative at a constant is 0.
    """

    name: ClassVar[str] = "std"
    saves: ClassVar[tuple[str, ...]] = ("centred", "deviation")

    def forward(self, x: Array) -> tuple[Array, Array, Array]:
        centred = self._centred(x)
        deviation = np.sqrt(self._variance(centred))
        return narrowed(deviation, x.dtype), centred, deviation

    def backward(self, dz: Array, centred: Array, deviation: Array) -> Array:
        kept = self._kept_shape(centred.shape)
        scale = np.where(deviation == 0, 1, deviation * self._divisor(centred.shape)).reshape(kept)
        return dz.reshape(kept) * (centred / scale)


class WeightedMean(ReducedAxes):
    """Weighted mean over axes: ``z = sum(w * x) / sum(w)``.

    The weights ``w`` broadcast to the shape of ``x``. Where they add up to 0, the result is not finite.
    """

    name: ClassVar[str] = "weighted_mean"
    saves: ClassVar[tuple[str, ...]] = ("total", "mean")

    def infer(self, x: ArraySpec, w: ArraySpec) -> ArraySpec:
        if broadcast_shapes(x.shape, w.shape) != x.shape:
            msg = f"Weights of shape {w.shape} do not broadcast to the operand's shape {x.shape}. Reshape them."
            raise ShapeError(msg)
        return ArraySpec(self._reduced_shape(x.shape), _float_dtype(np.result_type(x.dtype, w.dtype)))

    def forward(self, x: Array, w: Array) -> tuple[Array, Array, Array]:
        kept = self._kept_shape(x.shape)
        dtype = np.result_type(x.dtype, w.dtype)
        weights = np.broadcast_to(widened(w), x.shape)
        total = reduce_sum(weights, self.axis, keepdims=True).reshape(kept)
        mean = reduce_sum(widened(x) * weights, self.axis, keepdims=True).reshape(kept) / total
        return narrowed(mean.reshape(self._reduced_shape(x.shape)), dtype).astype(_float_dtype(dtype)), total, mean

    def backward_x(self, dz: Array, w: Array, total: Array, x_shape: tuple[int, ...]) -> Array:
        return np.broadcast_to(dz.reshape(total.shape) * conjugated(widened(w) / total), x_shape)

    def backward_w(self, dz: Array, x: Array, total: Array, mean: Array, w_shape: tuple[int, ...]) -> Array:
        return sum_to_shape(dz.reshape(total.shape) * conjugated((widened(x) - mean) / total), w_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        x = random.normal(size=(2, 3, 4))
        yield Example(cls(), x, random.uniform(0.5, 1.5, size=(2, 3, 4)))
        yield Example(cls(axis=1, keepdims=True), x, random.uniform(0.5, 1.5, size=(3, 1)))
        yield Example(cls(axis=-1), x[0] + 1j * x[1], random.uniform(0.5, 1.5, size=4))
        yield Example(cls(), x[0, 0, 0, ...], np.array(random.uniform(0.5, 1.5)))


class _OrderStatistic(Reduction):
    """Base of median and quantile: between two neighbours in the sorted numbers. NaN where there is a NaN."""

    def _fraction(self) -> float:
        raise NotImplementedError

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return _float_dtype(dtype)

    def _neighbours(self, count: int) -> tuple[int, float]:
        """Return the place below the fraction, and how far on to the next it lies."""
        place = self._fraction() * (count - 1)
        below = min(int(place), max(count - 2, 0))
        return below, place - below

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_real("x", x)
        require_elements(self._count(x.shape), x.shape, "order")
        return super().infer(x)

    def cost(self, x: ArraySpec) -> Cost:
        return of_order(x, self._count(x.shape), 10)

    def _found(self, x: Array) -> tuple[Array, Array]:
        """Return the statistic, and the places of the elements in order."""
        flat = combined(widened(x), normalized_axes(self.axis, x.ndim))
        order = np.argsort(flat, axis=-1, kind="stable")
        below, share = self._neighbours(flat.shape[-1])
        z = np.take_along_axis(flat, order[..., below : below + 1], -1)
        if share > 0:
            above = np.take_along_axis(flat, order[..., below + 1 : below + 2], -1)
            z = above if share == 1 else z * (1 - share) + above * share
        # NaN is sorted to the end.
        last = np.take_along_axis(flat, order[..., -1:], -1)
        return narrowed(np.where(np.isnan(last), np.nan, z).reshape(self._reduced_shape(x.shape)), x.dtype), order

    def _spread(self, dz: Array, order: Array, shape: tuple[int, ...]) -> Array:
        """Send `dz` to the two neighbours, by their shares."""
        below, share = self._neighbours(order.shape[-1])
        # Undoes the sorting: where in the order each element stands.
        rank = np.argsort(order, axis=-1)
        weight = np.where(rank == below, 1 - share, np.where(rank == below + 1, share, 0))
        arriving = dz.reshape((*order.shape[:-1], 1))
        return separated(np.where(weight != 0, arriving * weight, 0), shape, normalized_axes(self.axis, len(shape)))


class Median(_OrderStatistic):
    """Median over axes: the middle of the sorted numbers, or the mean of the two in the middle.

    The gradient goes to the elements that gave the value, of equal ones to the first.
    """

    name: ClassVar[str] = "median"
    saves: ClassVar[tuple[str, ...]] = ("order",)

    def _fraction(self) -> float:
        return 0.5

    def forward(self, x: Array) -> tuple[Array, Array]:
        return self._found(x)

    def backward(self, dz: Array, order: Array, x_shape: tuple[int, ...]) -> Array:
        return self._spread(dz, order, x_shape)


class Quantile(_OrderStatistic):
    """Quantile over axes: the number at the place ``q * (n - 1)`` of the sorted ones, on the line between neighbours.

    The gradient goes to the two neighbours by their shares, of equal ones to the first.
    """

    name: ClassVar[str] = "quantile"
    saves: ClassVar[tuple[str, ...]] = ("order",)

    q: Annotated[float, Field(ge=0, le=1, description="The fraction of the numbers that lie below.")]

    def _fraction(self) -> float:
        return self.q

    def forward(self, x: Array) -> tuple[Array, Array]:
        return self._found(x)

    def backward(self, dz: Array, order: Array, x_shape: tuple[int, ...]) -> Array:
        return self._spread(dz, order, x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3, 4))
        yield Example(cls(q=0.3), x)
        yield Example(cls(q=1.0, axis=1), x)
        yield Example(cls(q=0.25, axis=(0, -1), keepdims=True), x)
        yield Example(cls(q=0.5), x[0, 0, 0, ...])


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Var, Std, WeightedMean, Median, Quantile]
