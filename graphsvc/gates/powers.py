"""Gates of powers and roots, element by element."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array, conjugated, narrowed, widened
from graphsvc.errors import GateDataError
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.gates._elementwise import RealElementwise, complex_operand, signed_operand
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Root(Elementwise):
    """Base of the gates of one operand that take positive and complex numbers."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        yield Example(cls(), complex_operand())


class Reciprocal(_Root):
    """Reciprocal, element by element: ``z = 1 / x``. That of an integer is a float."""

    name: ClassVar[str] = "reciprocal"

    def forward(self, x: Array) -> Array:
        return np.divide(1, x)

    def backward(self, dz: Array, z: Array) -> Array:
        z = conjugated(z)
        return -dz * z * z


class Square(_Root):
    """Square, element by element: ``z = x**2``."""

    name: ClassVar[str] = "square"

    def forward(self, x: Array) -> Array:
        return np.multiply(x, x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * (2 * conjugated(x))


class Sqrt(_Root):
    """Square root, element by element: ``z = sqrt(x)``. Its derivative at 0 is infinite."""

    name: ClassVar[str] = "sqrt"

    def forward(self, x: Array) -> Array:
        return np.sqrt(x)

    def backward(self, dz: Array, z: Array) -> Array:
        # The root of -0.0 is -0.0, and the derivative there is +inf as well.
        return dz / (2 * (np.conjugate(z) if z.dtype.kind == "c" else np.abs(z)))


class Rsqrt(_Root):
    """Reciprocal of the square root, element by element: ``z = 1 / sqrt(x)``."""

    name: ClassVar[str] = "rsqrt"

    def forward(self, x: Array) -> Array:
        return narrowed(1 / np.sqrt(widened(x)), x.dtype)

    def backward(self, dz: Array, z: Array) -> Array:
        wide = conjugated(widened(z))
        return -0.5 * dz * wide * wide * wide


class Cbrt(RealElementwise):
    """Cube root, element by element: ``z**3 = x``, negative for negative ``x``. Its derivative at 0 is infinite."""

    name: ClassVar[str] = "cbrt"

    def forward(self, x: Array) -> Array:
        return np.cbrt(x)

    def backward(self, dz: Array, z: Array) -> Array:
        wide = widened(z)
        return dz / (3 * wide * wide)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), signed_operand())
        yield Example(cls(), np.array(-8.0))


class Hypot(RealElementwise):
    """Length of the hypotenuse, element by element: ``z = sqrt(x**2 + y**2)``, with no overflow on the way.

    Its derivatives at the origin are 0.
    """

    name: ClassVar[str] = "hypot"

    def forward(self, x: Array, y: Array) -> Array:
        return np.hypot(x, y)

    def backward_x(self, dz: Array, x: Array, z: Array) -> Array:
        return dz * (x / np.where(z == 0, 1, z))

    def backward_y(self, dz: Array, y: Array, z: Array) -> Array:
        return dz * (y / np.where(z == 0, 1, z))


class Power(Elementwise):
    """Power, element by element: ``z = x**y``.

    The derivative in ``x`` is 0 where ``y`` is 0, also at ``x = 0``. That in ``y`` is 0 at ``x = 0`` for ``y >= 0``,
    and NaN for negative ``x``, where ``log(x)`` does not exist; for complex operands it does.
    """

    name: ClassVar[str] = "power"

    def forward(self, x: Array, y: Array) -> Array:
        if x.dtype.kind in "biu" and y.dtype.kind == "i" and np.any(y < 0):
            msg = "Integers have no negative integer powers. Make the base or the exponent floating point."
            raise GateDataError(msg)
        return np.power(x, y)

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        return dz * conjugated(np.where(y == 0, 0, y * np.power(x, y - 1.0)))

    def backward_y(self, dz: Array, x: Array, y: Array, z: Array) -> Array:
        if z.dtype.kind == "c":
            return dz * np.conjugate(z * np.log(np.where(x == 0, 1, x.astype(z.dtype))))
        return dz * z * np.log(np.where((x == 0) & (y >= 0), 1, x))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        yield Example(cls(), complex_operand(), np.array([[2.0], [-0.5]]))
        yield Example(cls(), np.array([[0.5], [1.5]]), complex_operand())


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Reciprocal, Square, Sqrt, Rsqrt, Cbrt, Hypot, Power]
