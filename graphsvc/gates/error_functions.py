"""Gates of the normal distribution: error functions, their inverses, and the distribution function itself."""

import math
from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array, narrowed, widened
from graphsvc.gate import Example, Gate
from graphsvc.gates._elementwise import RealElementwise
from graphsvc.gates._scipy import special
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _ErrorFunction(RealElementwise):
    """Base of the gates of this module that take any number."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([[0.5, -1.5, 3.0], [-0.25, 0.0, 1.25]]))
        yield Example(cls(), np.array(-0.75))


class Erf(_ErrorFunction):
    """Error function, element by element: ``z = 2 / sqrt(pi) * integral of exp(-t**2) from 0 to x``."""

    name: ClassVar[str] = "erf"

    def forward(self, x: Array) -> Array:
        return narrowed(special().erf(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        x = widened(x)
        return dz * (2 / math.sqrt(math.pi) * np.exp(-(x * x)))


class Erfc(_ErrorFunction):
    """Complement of the error function, element by element: ``z = 1 - erf(x)``, with its digits for large ``x``."""

    name: ClassVar[str] = "erfc"

    def forward(self, x: Array) -> Array:
        return narrowed(special().erfc(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        x = widened(x)
        return dz * (-2 / math.sqrt(math.pi) * np.exp(-(x * x)))


class Erfinv(RealElementwise):
    """Inverse of the error function, element by element: ``erf(z) = x``.

    Infinite at -1 and 1, as is its derivative there; NaN outside.
    """

    name: ClassVar[str] = "erfinv"

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        # SciPy comes to the same outside, and takes hundreds of times as long.
        return narrowed(special().erfinv(np.where(np.abs(wide) <= 1, wide, np.nan)), x.dtype)

    def backward(self, dz: Array, z: Array) -> Array:
        z = widened(z)
        return dz * (math.sqrt(math.pi) / 2 * np.exp(z * z))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([[0.5, -0.9, 0.25], [-0.25, 0.0, 0.75]]))
        yield Example(cls(), np.array(-0.75))


class Erfcinv(RealElementwise):
    """Inverse of the complement of the error function, element by element: ``erfc(z) = x``.

    Infinite at 0 and 2, as is its derivative there; NaN outside.
    """

    name: ClassVar[str] = "erfcinv"

    def forward(self, x: Array) -> Array:
        return narrowed(special().erfcinv(widened(x)), x.dtype)

    def backward(self, dz: Array, z: Array) -> Array:
        z = widened(z)
        return dz * (-math.sqrt(math.pi) / 2 * np.exp(z * z))


class Ndtr(_ErrorFunction):
    """Distribution function of the standard normal distribution, element by element: ``z = erfc(-x / sqrt(2)) / 2``."""

    name: ClassVar[str] = "ndtr"

    def forward(self, x: Array) -> Array:
        return narrowed(special().ndtr(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        x = widened(x)
        return dz * (np.exp(-0.5 * (x * x)) / math.sqrt(2 * math.pi))


class LogNdtr(_ErrorFunction):
    """Logarithm of the normal distribution function, element by element: ``z = log(ndtr(x))``.

    It is finite, and its derivative right, where ``ndtr(x)`` is too small for a number.
    """

    name: ClassVar[str] = "log_ndtr"

    def forward(self, x: Array) -> Array:
        return narrowed(special().log_ndtr(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        # The density divided by the distribution function, below 0 both scaled by exp(x**2 / 2).
        x = widened(x)
        below, above = np.where(x < 0, x, 0), np.where(x < 0, 0, x)
        scaled = math.sqrt(2 / math.pi) / special().erfcx(-math.sqrt(0.5) * below)
        plain = np.exp(-0.5 * (above * above)) / (math.sqrt(2 * math.pi) * special().ndtr(above))
        return dz * np.where(x < 0, scaled, plain)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Erf, Erfc, Erfinv, Erfcinv, Ndtr, LogNdtr]
