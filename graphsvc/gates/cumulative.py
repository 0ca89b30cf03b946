"""Cumulative gates, which run along an axis and keep what they found so far: running sums, products, extremes."""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, conjugated, narrowed, normalized_axes, require_floating, widened
from graphsvc.gate import Example, Gate
from graphsvc.gates._reduction import require_real, sum_dtype
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Cumulative(Gate):
    """Base of the cumulative gates: along which axis they run."""

    axis: Annotated[
        int | None, Field(description="The axis to run along; None takes the elements in C order, flattened.")
    ] = None

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype

    def infer(self, x: ArraySpec) -> ArraySpec:
        normalized_axes(self.axis, x.ndim)
        return ArraySpec((x.size,) if self.axis is None else x.shape, self._result_dtype(x.dtype))

    def _along_last(self, x: Array) -> Array:
        """Return `x` with the axis moved to the end, or flattened."""
        return x.reshape((x.size,)) if self.axis is None else np.moveaxis(x, self.axis, -1)

    def _back(self, x: Array, shape: tuple[int, ...]) -> Array:
        """Undo `_along_last`, for an array of `shape`."""
        return x.reshape(shape) if self.axis is None else np.moveaxis(x, -1, self.axis)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 5))
        yield Example(cls(axis=0), x)
        yield Example(cls(axis=-1), x)
        yield Example(cls(), x)
        yield Example(cls(), x[0, 0, ...])


def _suffix_sums(x: Array, factors: Array) -> Array:
    """Return ``r`` with ``r[i] = x[i] + factors[i] * r[i + 1]`` along the last axis, in log(n) steps.

    Args:
        x: Shape `(..., n)`.
        factors: Shape `(..., n)`; numbers, or booleans that tell where the sum goes on.
    """
    step, n = 1, x.shape[-1]
    while step < n:
        head = slice(None, n - step)
        further = x[..., step:]
        if factors.dtype.kind == "b":
            added = np.where(factors[..., head], further, 0)
            joined = factors[..., head] & factors[..., step:]
        else:
            added = factors[..., head] * further
            joined = factors[..., head] * factors[..., step:]
        x = np.concatenate([x[..., head] + added, x[..., n - step :]], axis=-1)
        # Near the end nothing follows, so that what stands there is multiplied by nothing any more.
        factors = np.concatenate([joined, factors[..., n - step :]], axis=-1)
        step *= 2
    return x


class Cumsum(_Cumulative):
    """Running sum along an axis: ``z[k] = x[0] + ... + x[k]``."""

    name: ClassVar[str] = "cumsum"
    linear: ClassVar[bool] = True

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return sum_dtype(dtype)

    def forward(self, x: Array) -> Array:
        # Running sums lose digits in narrow dtypes, and stop at 2048 in float16.
        if x.dtype in (np.float16, np.float32):
            return np.cumsum(x.astype(np.float64), axis=self.axis).astype(x.dtype)
        return np.cumsum(x, axis=self.axis)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        wide = dz.astype(np.float64) if dz.dtype.kind == "f" else dz
        total = np.flip(np.cumsum(np.flip(self._along_last(wide), -1), axis=-1), -1)
        return self._back(total, x_shape)


class Cumprod(_Cumulative):
    """Running product along an axis: ``z[k] = x[0] * ... * x[k]``. The derivative divides by no element."""

    name: ClassVar[str] = "cumprod"

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return sum_dtype(dtype)

    def forward(self, x: Array) -> Array:
        wide = widened(x) if x.dtype.kind == "f" else x
        return narrowed(np.cumprod(wide, axis=self.axis), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        along = conjugated(self._along_last(widened(x)))
        one = np.ones_like(along[..., :1])
        before = np.cumprod(np.concatenate([one, along[..., :-1]], axis=-1), axis=-1)
        following = _suffix_sums(self._along_last(dz), np.concatenate([along[..., 1:], one], axis=-1))
        return self._back(before * following, x.shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        x = np.array([[2.0, 0.0, 3.0, -1.0], [0.0, 1.5, 0.0, 2.0]])
        yield Example(cls(axis=1), x)
        yield Example(cls(axis=1), x + 1j * x[::-1])


class Cummax(_Cumulative):
    """Running maximum along an axis: ``z[k] = max(x[0], ..., x[k])``. Ties share the gradient evenly."""

    name: ClassVar[str] = "cummax"

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_real("x", x)
        return super().infer(x)

    def forward(self, x: Array) -> Array:
        return np.maximum.accumulate(x.reshape((x.size,)) if self.axis is None else x, axis=self.axis or 0)

    def backward(self, dz: Array, x: Array, z: Array) -> Array:
        return self._back(_of_runs(*map(self._along_last, (dz, x, z))), x.shape)


class Cummin(_Cumulative):
    """Running minimum along an axis: ``z[k] = min(x[0], ..., x[k])``. Ties share the gradient evenly."""

    name: ClassVar[str] = "cummin"

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_real("x", x)
        return super().infer(x)

    def forward(self, x: Array) -> Array:
        return np.minimum.accumulate(x.reshape((x.size,)) if self.axis is None else x, axis=self.axis or 0)

    def backward(self, dz: Array, x: Array, z: Array) -> Array:
        return self._back(_of_runs(*map(self._along_last, (dz, x, z))), x.shape)


def _of_runs(dz: Array, x: Array, z: Array) -> Array:
    """Share the gradients of running extremes `z` among those elements of their run that gave the value."""
    # NaN is unequal to itself: where there is one, it gave the value.
    chosen = (x == z) | (x != x)
    first = np.ones_like(chosen[..., :1])
    same = (z[..., 1:] == z[..., :-1]) | ((z[..., 1:] != z[..., 1:]) & (z[..., :-1] != z[..., :-1]))
    starts = np.concatenate([first, ~same], axis=-1)
    seen = np.cumsum(chosen, axis=-1)
    # What was counted before the run began; the counts only rise, so that the last start has the largest.
    earlier = np.maximum.accumulate(np.where(starts, seen - 1, 0), axis=-1)
    goes_on = np.concatenate([same, ~first], axis=-1)
    return np.where(chosen, _suffix_sums(dz / (seen - earlier), goes_on), 0)


class Logcumsumexp(_Cumulative):
    """Logarithm of the running sum of exponentials: ``z[k] = log(exp(x[0]) + ... + exp(x[k]))``; nothing overflows."""

    name: ClassVar[str] = "logcumsumexp"
    saves: ClassVar[tuple[str, ...]] = ("sums",)

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_floating("x", x)
        return super().infer(x)

    def forward(self, x: Array) -> tuple[Array, Array]:
        # Far out, the digits of narrow dtypes do not tell the sums apart.
        wide = (x.reshape((x.size,)) if self.axis is None else x).astype(np.float64)
        sums = np.logaddexp.accumulate(wide, axis=self.axis or 0)
        return sums.astype(x.dtype), sums

    def backward(self, dz: Array, x: Array, sums: Array) -> Array:
        along, sums = self._along_last(x), self._along_last(sums)
        # The sums never fall, so these factors are at most 1.
        factors = np.exp(sums[..., :-1] - sums[..., 1:])
        last = np.ones_like(sums[..., :1])
        following = _suffix_sums(self._along_last(dz), np.concatenate([factors, last], axis=-1))
        return self._back(np.exp(along - sums) * following, x.shape)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Cumsum, Cumprod, Cummax, Cummin, Logcumsumexp]
