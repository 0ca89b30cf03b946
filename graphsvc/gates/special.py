"""Gates of entropies, of the dilogarithm, and of the inverse of ``w * exp(w)``."""

import math
from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array, ArraySpec, narrowed, widened
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._elementwise import RealElementwise
from graphsvc.gates._gammas import doubled, rounded
from graphsvc.gates._scipy import special
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class Entr(RealElementwise):
    """Entropy, element by element: ``z = -x * log(x)``, 0 at 0, and minus infinity below.

    The derivative at 0 is infinite.
    """

    name: ClassVar[str] = "entr"

    def forward(self, x: Array) -> Array:
        return narrowed(special().entr(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * (-np.log(widened(x)) - 1)


class RelEntr(RealElementwise):
    """Relative entropy, element by element: ``z = x * log(x / y)``, 0 where ``x`` is, and infinite out of domain.

    The derivative in ``x`` at 0 is minus infinity.
    """

    name: ClassVar[str] = "rel_entr"

    def forward(self, x: Array, y: Array) -> Array:
        return narrowed(special().rel_entr(widened(x), widened(y)), np.result_type(x.dtype, y.dtype))

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        return dz * (np.log(widened(x)) - np.log(widened(y)) + 1)

    def backward_y(self, dz: Array, x: Array, y: Array) -> Array:
        x, y = widened(x), widened(y)
        slope = -x / np.where((x == 0) & (y == 0), 1, y)
        return dz * np.where((x < 0) | (y < 0), np.nan, slope)


class Spence(RealElementwise):
    """Dilogarithm, element by element: ``z = integral of log(t) / (1 - t) from 1 to x``. NaN for negative ``x``.

    The derivative at 0 is minus infinity.
    """

    name: ClassVar[str] = "spence"

    def forward(self, x: Array) -> Array:
        return narrowed(special().spence(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        # Near 1 a series, for the quotient would be 0 / 0, and its derivative the difference of two large numbers.
        x = doubled(x)
        u = x - 1
        near = np.abs(u) < 1e-3
        series = -1 + u * (1 / 2 + u * (-1 / 3 + u * (1 / 4 + u * (-1 / 5 + u * (1 / 6)))))
        return dz * np.where(near, series, np.log(x) / np.where(near, 1, -u))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([[0.5, 1.0, 1.0005], [3.0, 0.1, 20.0]]))
        yield Example(cls(), np.array(1.5))


class Lambertw(RealElementwise):
    """Principal branch of the inverse of ``w * exp(w)``, element by element: ``z * exp(z) = x``.

    NaN below ``-1 / e``, where the derivative is infinite.

    Source:
        R. Corless and others, "On the Lambert W function" (1996), equations 3.2 and 4.22. First guess: R. Iacono and
        J. Boyd, "New approximations to the principal real-valued branch of the Lambert W-function" (2017). Refined by:
        F. Fritsch, R. Shafer, W. Crowley, "Solution of the transcendental equation w e^w = x" (1973).
    """

    name: ClassVar[str] = "lambertw"

    def cost(self, x: ArraySpec) -> Cost:
        # A dozen arrays of float64 are alive at a time, whatever the operand is.
        return Cost(200 * x.size, 128 * x.size)

    def forward(self, x: Array) -> Array:
        wide = doubled(x)
        root = np.sqrt(np.maximum(wide - _BRANCH - _BRANCH_REST, 0))
        y = math.sqrt(math.e) * root
        guess = 2.036 * np.log((1 + 1.14956131 * y) / (1 + 0.4549574 * np.log1p(y))) - 1
        w = np.where(np.abs(wide) < 0.1, wide * (1 - wide * (1 - 1.5 * wide)), guess)
        for _ in range(3):
            z = np.log(wide / w) - w
            q = 2 * (1 + w) * (1 + w + 2 / 3 * z)
            w = w * (1 + z / (1 + w) * ((q - z) / (q - 2 * z)))
        p = math.sqrt(2 * math.e) * root
        series = np.full_like(p, _SERIES[-1])
        for coefficient in reversed(_SERIES[:-1]):
            series = series * p + coefficient
        w = np.where(p < 0.03, series, w)
        w = np.where((wide == 0) | (wide == np.inf), wide, w)
        return rounded(np.where(wide < _BRANCH, np.nan, w), x.dtype)

    def backward(self, dz: Array, z: Array) -> Array:
        z = doubled(z)
        return dz * (np.exp(-z) / (1 + z))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([[0.5, -0.25, 3.0], [-0.0625, 0.0, 20.0]]))
        yield Example(cls(), np.array(-0.3))


_BRANCH = -0.36787944117144233
_BRANCH_REST = 1.2428753672788363e-17
"""What -1 / e is beyond the nearest number to it."""

_SERIES = (-1, 1, -1 / 3, 11 / 72, -43 / 540, 769 / 17280, -221 / 8505, 680863 / 43545600, -1963 / 204120)
"""Coefficients of the powers of `sqrt(2 * (e * x + 1))`, near the branch point."""


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Entr, RelEntr, Spence, Lambertw]
