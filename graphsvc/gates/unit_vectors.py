"""Gates of normalization of vectors: they scale them to length 1."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, narrowed, normalized_axes, reduce_sum, require_floating, widened
from graphsvc.gate import Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _UnitVectors(Gate):
    """Base of the gates of this module; shape and dtype stay."""

    axis: Annotated[int | tuple[int, ...], Field(description="Axes that are normalised together.")] = -1

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_floating("x", x)
        normalized_axes(self.axis, x.ndim)
        return x

    def _summed(self, x: Array) -> Array:
        return reduce_sum(x, self.axis, keepdims=True)

    def _lengthened(self, x: Array) -> tuple[Array, Array]:
        """Return vectors of Euclidean length 1, and by what they were multiplied."""
        wide = widened(x)
        square = self._summed(wide * wide)
        scale = np.where(square == 0, 0, 1 / np.sqrt(np.where(square == 0, 1, square)))
        return narrowed(wide * scale, x.dtype), scale

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(), random.normal(size=(3, 4)))
        yield Example(cls(axis=(0, 2)), random.normal(size=(2, 3, 2)))


class L2Normalize(_UnitVectors):
    """Vectors of length 1: ``z = x / sqrt(sum(x**2))`` over axes. A vector of zeros stays, and its gradient is 0."""

    name: ClassVar[str] = "l2_normalize"
    saves: ClassVar[tuple[str, ...]] = ("scale",)

    def forward(self, x: Array) -> tuple[Array, Array]:
        return self._lengthened(x)

    def backward(self, dz: Array, z: Array, scale: Array) -> Array:
        dz, z = widened(dz), widened(z)
        return scale * (dz - z * self._summed(dz * z))


class LpNormalize(_UnitVectors):
    """Vectors of which the absolute values, or with ``p=2`` the squares, add up to 1: ``z = x / norm(x, p)``.

    A vector of zeros stays, and its gradient is 0; the absolute value has the derivative 0 at 0.
    """

    name: ClassVar[str] = "lp_normalize"
    saves: ClassVar[tuple[str, ...]] = ("scale",)

    p: Annotated[
        int, Field(ge=1, le=2, description="1 for the sum of absolute values, 2 for the Euclidean length.")
    ] = 2

    def forward(self, x: Array) -> tuple[Array, Array]:
        if self.p == 2:
            return self._lengthened(x)
        wide = widened(x)
        length = self._summed(np.abs(wide))
        scale = np.where(length == 0, 0, 1 / np.where(length == 0, 1, length))
        return narrowed(wide * scale, x.dtype), scale

    def backward(self, dz: Array, x: Array, z: Array, scale: Array) -> Array:
        dz, z = widened(dz), widened(z)
        slope = z if self.p == 2 else np.sign(widened(x))
        return scale * (dz - slope * self._summed(dz * z))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        yield Example(cls(p=1, axis=0), np.array([[0.5, -2.0], [1.5, 0.75], [-0.25, 3.0]]))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [L2Normalize, LpNormalize]
