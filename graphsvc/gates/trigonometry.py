"""Gates of angles: circular functions, their inverses, and the units of angles."""

import math
from collections.abc import Iterable
from typing import ClassVar, Final

import numpy as np

from graphsvc.arrays import Array, conjugated, narrowed, widened
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.gates._elementwise import RealElementwise, complex_operand, signed_operand
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Circular(Elementwise):
    """Base of the gates of one operand; complex ones are taken as well."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), signed_operand())
        yield Example(cls(), np.array(-0.5))
        yield Example(cls(), complex_operand())


class Sin(_Circular):
    """Sine, element by element: ``z = sin(x)``, of radians."""

    name: ClassVar[str] = "sin"

    def forward(self, x: Array) -> Array:
        return np.sin(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * np.cos(conjugated(x))


class Cos(_Circular):
    """Cosine, element by element: ``z = cos(x)``, of radians."""

    name: ClassVar[str] = "cos"

    def forward(self, x: Array) -> Array:
        return np.cos(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return -dz * np.sin(conjugated(x))


class Tan(_Circular):
    """Tangent, element by element: ``z = tan(x)``, of radians."""

    name: ClassVar[str] = "tan"

    def forward(self, x: Array) -> Array:
        return np.tan(x)

    def backward(self, dz: Array, z: Array) -> Array:
        z = conjugated(z)
        return dz * (1 + z * z)


class Arcsin(_Circular):
    """Inverse sine, element by element: ``z = arcsin(x)``, in radians.

    Its derivative at 1 and -1 is infinite, beyond them it is NaN.
    """

    name: ClassVar[str] = "arcsin"

    def forward(self, x: Array) -> Array:
        return np.arcsin(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz / conjugated(np.sqrt((1 - x) * (1 + x)))


class Arccos(_Circular):
    """Inverse cosine, element by element: ``z = arccos(x)``, in radians.

    Its derivative at 1 and -1 is infinite, beyond them it is NaN.
    """

    name: ClassVar[str] = "arccos"

    def forward(self, x: Array) -> Array:
        return np.arccos(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return -dz / conjugated(np.sqrt((1 - x) * (1 + x)))


class Arctan(_Circular):
    """Inverse tangent, element by element: ``z = arctan(x)``, in radians."""

    name: ClassVar[str] = "arctan"

    def forward(self, x: Array) -> Array:
        return np.arctan(x)

    def backward(self, dz: Array, x: Array) -> Array:
        x = conjugated(x)
        return dz / (1 + x * x)


class Arctan2(RealElementwise):
    """Angle of the point ``(x, y)``, element by element: ``z = arctan2(y, x)``, from -pi to pi, in radians.

    Its derivatives at the origin are 0.
    """

    name: ClassVar[str] = "arctan2"

    def forward(self, y: Array, x: Array) -> Array:
        return np.arctan2(y, x)

    def backward_y(self, dz: Array, y: Array, x: Array) -> Array:
        size = _length(y, x)
        return dz * (x / size / size)

    def backward_x(self, dz: Array, y: Array, x: Array) -> Array:
        size = _length(y, x)
        return -dz * (y / size / size)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), signed_operand(), np.array([[0.5], [-1.5]]))
        yield Example(cls(), np.array(-2.0), np.array(-1.0))


def _length(y: Array, x: Array) -> Array:
    """Return the distance to the origin, and 1 at the origin. Its square may not be a number, so none is made."""
    size = np.hypot(y, x)
    return np.where(size == 0, 1, size)


_SINC_SLOPE: Final = [(-1) ** k * 2 * k / math.factorial(2 * k + 1) for k in range(1, 8)]
"""Coefficients of the odd powers in the series of the derivative of ``sin(y) / y``."""


class Sinc(_Circular):
    """Normalised sine, element by element: ``z = sin(pi * x) / (pi * x)``, and 1 at 0."""

    name: ClassVar[str] = "sinc"

    def forward(self, x: Array) -> Array:
        y = np.pi * widened(x)
        return narrowed(np.where(y == 0, 1, np.sin(y) / y), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        y = np.pi * widened(x)
        # Near 0 the difference has no digits left.
        square = y * y
        series = _SINC_SLOPE[-1] * square
        for coefficient in reversed(_SINC_SLOPE[1:-1]):
            series = (series + coefficient) * square
        slope = np.where(np.abs(y) < 0.5, y * (series + _SINC_SLOPE[0]), (np.cos(y) - np.sin(y) / y) / y)
        return dz * (np.pi * conjugated(slope))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        yield Example(cls(), np.array([0.0, 0.01, -0.1, 0.15, 0.17, 3.5]))


class Deg2rad(RealElementwise):
    """Degrees as radians, element by element: ``z = pi / 180 * x``."""

    name: ClassVar[str] = "deg2rad"
    linear: ClassVar[bool] = True

    def forward(self, x: Array) -> Array:
        return np.deg2rad(x)

    def backward(self, dz: Array) -> Array:
        return dz * (np.pi / 180)


class Rad2deg(RealElementwise):
    """Radians as degrees, element by element: ``z = 180 / pi * x``."""

    name: ClassVar[str] = "rad2deg"
    linear: ClassVar[bool] = True

    def forward(self, x: Array) -> Array:
        return np.rad2deg(x)

    def backward(self, dz: Array) -> Array:
        return dz * (180 / np.pi)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Sin, Cos, Tan, Arcsin, Arccos, Arctan, Arctan2, Sinc, Deg2rad, Rad2deg]
