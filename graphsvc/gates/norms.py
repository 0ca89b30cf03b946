"""Gates that measure the size of what lies along axes: norms, and the logarithm of a sum of exponentials."""

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from graphsvc.arrays import Array, ArraySpec, divided, narrowed, reduce_sum, require_floating, widened
from graphsvc.gate import Example, Gate
from graphsvc.gates._reduction import Reduction, require_elements
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Norm(Reduction):
    """Base of the norms of vectors: real, also of complex numbers."""

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.abs(np.ones(1, dtype)).dtype

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_floating("x", x, complex_too=True)
        return super().infer(x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        random = np.random.default_rng(1)
        yield Example(cls(axis=-1), random.normal(size=(2, 3)) + 1j * random.normal(size=(2, 3)))


class Norm1(_Norm):
    """Sum of absolute values over axes: ``z = sum(|x|)``. The derivative at 0 is 0."""

    name: ClassVar[str] = "norm1"

    def forward(self, x: Array) -> Array:
        return reduce_sum(np.abs(x), self.axis, keepdims=self.keepdims)

    def backward(self, dz: Array, x: Array) -> Array:
        # Of a complex number the sign is x / |x|.
        return dz.reshape(self._kept_shape(x.shape)) * np.sign(x)


class Norm2(_Norm):
    """Euclidean length over axes: ``z = sqrt(sum(|x|**2))``. The derivative at the origin is 0."""

    name: ClassVar[str] = "norm2"

    def forward(self, x: Array) -> Array:
        size = np.abs(widened(x))
        return narrowed(np.sqrt(reduce_sum(size * size, self.axis, keepdims=self.keepdims)), x.dtype)

    def backward(self, dz: Array, x: Array, z: Array) -> Array:
        length = z.reshape(self._kept_shape(x.shape))
        return dz.reshape(length.shape) * (x / np.where(length == 0, 1, length))


class NormInf(_Norm):
    """Largest absolute value over axes: ``z = max(|x|)``. Ties share the gradient evenly; the derivative at 0 is 0."""

    name: ClassVar[str] = "norm_inf"

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_elements(self._count(x.shape), x.shape, "largest one")
        return super().infer(x)

    def forward(self, x: Array) -> Array:
        return np.max(np.abs(x), axis=self.axis, keepdims=self.keepdims)

    def backward(self, dz: Array, x: Array, z: Array) -> Array:
        kept = self._kept_shape(x.shape)
        size = np.abs(x)
        chosen = (size == z.reshape(kept)) | (size != size)
        count = np.sum(chosen, axis=self.axis, keepdims=True).reshape(kept)
        return np.where(chosen, divided(dz.reshape(kept), count) * np.sign(x), 0)


class Logsumexp(Reduction):
    """Logarithm of the sum of exponentials over axes: ``z = log(sum(exp(x)))``, shifted so that nothing overflows.

    Where all are -inf, or one is +inf, the gradient is NaN there, as the limit does not exist.
    """

    name: ClassVar[str] = "logsumexp"
    saves: ClassVar[tuple[str, ...]] = ("shares",)

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_floating("x", x)
        require_elements(self._count(x.shape), x.shape, "largest one")
        return super().infer(x)

    def forward(self, x: Array) -> tuple[Array, Array]:
        wide = widened(x)
        largest = np.max(wide, axis=self.axis, keepdims=True).reshape(self._kept_shape(x.shape))
        shift = np.where(np.isfinite(largest), largest, 0)
        e = np.exp(wide - shift)
        total = reduce_sum(e, self.axis, keepdims=True).reshape(shift.shape)
        z = (np.log(total) + shift).reshape(self._reduced_shape(x.shape))
        return narrowed(z, x.dtype), e / total

    def backward(self, dz: Array, shares: Array) -> Array:
        return dz.reshape(self._kept_shape(shares.shape)) * shares


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Norm1, Norm2, NormInf, Logsumexp]
