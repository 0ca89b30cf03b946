"""Gates of arithmetic: sums, products, quotients and what is left of them, signs and sizes."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array, conjugated
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.gates._elementwise import RealElementwise, complex_operand, signed_operand
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Arithmetic(Elementwise):
    """Base of the gates of two operands that take complex numbers as well."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        yield Example(cls(), complex_operand(), np.array([[0.75], [-1.25]]))
        yield Example(cls(), np.array(0.5), complex_operand()[::-1])


class Add(_Arithmetic):
    """Sum, element by element: ``z = x + y``. A distributor of gradients."""

    name: ClassVar[str] = "add"
    linear: ClassVar[bool] = True

    def forward(self, x: Array, y: Array) -> Array:
        return np.add(x, y)

    def backward(self, dz: Array) -> tuple[Array, Array]:
        return dz, dz


class Subtract(_Arithmetic):
    """Difference, element by element: ``z = x - y``."""

    name: ClassVar[str] = "subtract"
    linear: ClassVar[bool] = True

    def forward(self, x: Array, y: Array) -> Array:
        return np.subtract(x, y)

    def backward_x(self, dz: Array) -> Array:
        return dz

    def backward_y(self, dz: Array) -> Array:
        return -dz


class Multiply(_Arithmetic):
    """Product, element by element: ``z = x * y``. A switcher of gradients."""

    name: ClassVar[str] = "multiply"

    def forward(self, x: Array, y: Array) -> Array:
        return np.multiply(x, y)

    def backward_x(self, dz: Array, y: Array) -> Array:
        return dz * conjugated(y)

    def backward_y(self, dz: Array, x: Array) -> Array:
        return dz * conjugated(x)


class Divide(_Arithmetic):
    """Quotient, element by element: ``z = x / y``. That of integers is a float."""

    name: ClassVar[str] = "divide"

    def forward(self, x: Array, y: Array) -> Array:
        return np.divide(x, y)

    def backward_x(self, dz: Array, y: Array) -> Array:
        return dz / conjugated(y)

    def backward_y(self, dz: Array, y: Array, z: Array) -> Array:
        return -dz * conjugated(z) / conjugated(y)


class _Quotient(RealElementwise):
    """Base of the gates that divide into whole numbers."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([[5.5, -5.5, 0.4], [7.3, -0.4, -6.1]]), np.array([[3.0], [-2.0]]))
        yield Example(cls(), np.array(-5.0), np.array(3.0))


class FloorDivide(_Quotient):
    """Largest whole number not above the quotient, element by element: ``z = floor(x / y)``.

    No gradient passes through it.
    """

    name: ClassVar[str] = "floor_divide"
    disconnected: ClassVar[tuple[str, ...]] = ("x", "y")

    def forward(self, x: Array, y: Array) -> Array:
        return np.floor_divide(x, y)


class Remainder(_Quotient):
    """Remainder with the sign of the divisor, as Python's ``%``: ``z = x - floor(x / y) * y``, element by element."""

    name: ClassVar[str] = "remainder"

    def forward(self, x: Array, y: Array) -> Array:
        return np.remainder(x, y)

    def backward_x(self, dz: Array) -> Array:
        return dz

    def backward_y(self, dz: Array, x: Array, y: Array) -> Array:
        return -dz * np.floor_divide(x, y)


class Fmod(_Quotient):
    """Remainder with the sign of the dividend, as C's: ``z = x - trunc(x / y) * y``, element by element."""

    name: ClassVar[str] = "fmod"

    def forward(self, x: Array, y: Array) -> Array:
        return np.fmod(x, y)

    def backward_x(self, dz: Array) -> Array:
        return dz

    def backward_y(self, dz: Array, x: Array, y: Array, z: Array) -> Array:
        # The quotient itself may have been rounded up to the next whole number.
        return -dz * np.rint((x - z) / y)


class Negative(Elementwise):
    """Negation, element by element: ``z = -x``."""

    name: ClassVar[str] = "negative"
    linear: ClassVar[bool] = True

    def forward(self, x: Array) -> Array:
        return np.negative(x)

    def backward(self, dz: Array) -> Array:
        return -dz

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        yield Example(cls(), complex_operand())


class Abs(Elementwise):
    """Absolute value, element by element: ``z = |x|``; that of a complex number is real. Its derivative at 0 is 0."""

    name: ClassVar[str] = "abs"

    def forward(self, x: Array) -> Array:
        return np.abs(x)

    def backward(self, dz: Array, x: Array) -> Array:
        if x.dtype.kind == "c":
            size = np.abs(x)
            return dz * (x / np.where(size == 0, 1, size))
        return dz * np.sign(x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([[1.5, -0.5, 2.0], [-1.0, 0.25, -3.0]]))
        yield Example(cls(), complex_operand())


class Sign(RealElementwise):
    """Sign, element by element: ``z`` is -1, 0 or 1 as ``x`` is below, at or above 0. No gradient passes through it."""

    name: ClassVar[str] = "sign"
    disconnected: ClassVar[tuple[str, ...]] = ("x",)

    def forward(self, x: Array) -> Array:
        return np.sign(x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), signed_operand())
        yield Example(cls(), np.array(-2.0))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Add, Subtract, Multiply, Divide, FloorDivide, Remainder, Fmod, Negative, Abs, Sign]
