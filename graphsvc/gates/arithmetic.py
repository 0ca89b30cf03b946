"""Gates of arithmetic: sums, products, quotients, powers."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array, conjugated
from graphsvc.errors import GateDataError
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class Add(Elementwise):
    """Sum, element by element: ``z = x + y``. A distributor of gradients."""

    name: ClassVar[str] = "add"
    linear: ClassVar[bool] = True

    def forward(self, x: Array, y: Array) -> Array:
        return np.add(x, y)

    def backward(self, dz: Array) -> tuple[Array, Array]:
        return dz, dz


class Subtract(Elementwise):
    """Difference, element by element: ``z = x - y``."""

    name: ClassVar[str] = "subtract"
    linear: ClassVar[bool] = True

    def forward(self, x: Array, y: Array) -> Array:
        return np.subtract(x, y)

    def backward_x(self, dz: Array) -> Array:
        return dz

    def backward_y(self, dz: Array) -> Array:
        return -dz


class Multiply(Elementwise):
    """Product, element by element: ``z = x * y``. A switcher of gradients."""

    name: ClassVar[str] = "multiply"

    def forward(self, x: Array, y: Array) -> Array:
        return np.multiply(x, y)

    def backward_x(self, dz: Array, y: Array) -> Array:
        return dz * conjugated(y)

    def backward_y(self, dz: Array, x: Array) -> Array:
        return dz * conjugated(x)


class Divide(Elementwise):
    """Quotient, element by element: ``z = x / y``."""

    name: ClassVar[str] = "divide"

    def forward(self, x: Array, y: Array) -> Array:
        return np.divide(x, y)

    def backward_x(self, dz: Array, y: Array) -> Array:
        return dz / conjugated(y)

    def backward_y(self, dz: Array, y: Array, z: Array) -> Array:
        return -dz * conjugated(z) / conjugated(y)


class Negative(Elementwise):
    """Negation, element by element: ``z = -x``."""

    name: ClassVar[str] = "negative"
    linear: ClassVar[bool] = True

    def forward(self, x: Array) -> Array:
        return np.negative(x)

    def backward(self, dz: Array) -> Array:
        return -dz


class Reciprocal(Elementwise):
    """Reciprocal, element by element: ``z = 1 / x``."""

    name: ClassVar[str] = "reciprocal"

    def forward(self, x: Array) -> Array:
        return np.divide(1, x)

    def backward(self, dz: Array, z: Array) -> Array:
        z = conjugated(z)
        return -dz * z * z


class Square(Elementwise):
    """Square, element by element: ``z = x**2``."""

    name: ClassVar[str] = "square"

    def forward(self, x: Array) -> Array:
        return np.multiply(x, x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * (2 * conjugated(x))


class Sqrt(Elementwise):
    """Square root, element by element: ``z = sqrt(x)``. Its derivative at 0 is infinite."""

    name: ClassVar[str] = "sqrt"

    def forward(self, x: Array) -> Array:
        return np.sqrt(x)

    def backward(self, dz: Array, z: Array) -> Array:
        return dz / (2 * np.abs(z))


class Power(Elementwise):
    """Power, element by element: ``z = x**y``.

    The derivative in ``x`` is 0 where ``y`` is 0, also at ``x = 0``. That in ``y`` is 0 at ``x = 0`` for ``y >= 0``,
    and NaN for negative ``x``, where ``log(x)`` does not exist.
    """

    name: ClassVar[str] = "power"

    def forward(self, x: Array, y: Array) -> Array:
        if x.dtype.kind in "biu" and y.dtype.kind == "i" and np.any(y < 0):
            msg = "Integers have no negative integer powers. Make the base or the exponent floating point."
            raise GateDataError(msg)
        return np.power(x, y)

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        return dz * np.where(y == 0, 0, y * np.power(x, y - 1.0))

    def backward_y(self, dz: Array, x: Array, y: Array, z: Array) -> Array:
        return dz * z * np.log(np.where((x == 0) & (y >= 0), 1, x))


class Abs(Elementwise):
    """Absolute value, element by element: ``z = |x|``. Its derivative at 0 is 0."""

    name: ClassVar[str] = "abs"

    def forward(self, x: Array) -> Array:
        return np.abs(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * np.sign(x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([[1.5, -0.5, 2.0], [-1.0, 0.25, -3.0]]))


class Exp(Elementwise):
    """Exponential, element by element: ``z = exp(x)``."""

    name: ClassVar[str] = "exp"

    def forward(self, x: Array) -> Array:
        return np.exp(x)

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * conjugated(z)


class Log(Elementwise):
    """Natural logarithm, element by element: ``z = log(x)``. Its derivative at 0 is infinite, below 0 it is NaN."""

    name: ClassVar[str] = "log"

    def forward(self, x: Array) -> Array:
        return np.log(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return np.where(x < 0, np.nan, dz / np.abs(x))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Add, Subtract, Multiply, Divide, Negative, Reciprocal, Square, Sqrt, Power, Abs, Exp, Log]
