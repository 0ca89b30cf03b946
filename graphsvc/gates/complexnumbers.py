"""Gates of complex numbers: their parts, their conjugates and angles, and making one of two real numbers.

The gradient of a complex value is ``dL/dRe + i dL/dIm``, the direction in which the loss grows fastest.
"""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array, conjugated
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.gates._elementwise import RealElementwise, complex_operand, signed_operand
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Part(Elementwise):
    """Base of the gates of one complex operand; a real one is a complex one on the real axis."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), complex_operand())
        yield Example(cls(), complex_operand()[0].reshape(()))
        yield Example(cls(), signed_operand())


class Real(_Part):
    """Real part, element by element: ``z = Re(x)``; a real operand as it is."""

    name: ClassVar[str] = "real"
    linear: ClassVar[bool] = True

    def forward(self, x: Array) -> Array:
        return x.real if x.dtype.kind == "c" else x.astype(x.dtype)

    def backward(self, dz: Array) -> Array:
        return dz


class Imag(_Part):
    """Imaginary part, element by element: ``z = Im(x)``; of a real operand 0."""

    name: ClassVar[str] = "imag"
    linear: ClassVar[bool] = True

    def forward(self, x: Array) -> Array:
        return x.imag if x.dtype.kind == "c" else np.zeros_like(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return 1j * dz if x.dtype.kind == "c" else np.zeros_like(dz)


class Conjugate(_Part):
    """Complex conjugate, element by element: ``z = Re(x) - i Im(x)``; a real operand as it is."""

    name: ClassVar[str] = "conjugate"
    linear: ClassVar[bool] = True

    def forward(self, x: Array) -> Array:
        return np.conjugate(x)

    def backward(self, dz: Array) -> Array:
        return conjugated(dz)


class Angle(_Part):
    """Angle of a complex number, element by element: ``z = arctan2(Im(x), Re(x))``, from -pi to pi, in radians.

    Its derivative at 0 is 0. The angle of a real operand is 0 or pi.
    """

    name: ClassVar[str] = "angle"

    def forward(self, x: Array) -> Array:
        return np.arctan2(x.imag, x.real) if x.dtype.kind == "c" else np.arctan2(np.zeros_like(x), x)

    def backward(self, dz: Array, x: Array) -> Array:
        if x.dtype.kind != "c":
            return np.zeros_like(dz)
        size = np.abs(x)
        size = np.where(size == 0, 1, size)
        return dz * (1j * x / size / size)


class Complex(RealElementwise):
    """Complex number of two real ones, element by element: ``z = x + i y``. Two of float64 make one of complex128."""

    name: ClassVar[str] = "complex"
    linear: ClassVar[bool] = True

    def forward(self, x: Array, y: Array) -> Array:
        # `x + 1j * y` would be NaN where `y` is infinite.
        z = np.empty(np.broadcast_shapes(x.shape, y.shape), np.result_type(x.dtype, y.dtype, np.complex64))
        z.real, z.imag = x, y
        return z

    def backward_x(self, dz: Array) -> Array:
        return dz.real

    def backward_y(self, dz: Array) -> Array:
        return dz.imag


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Real, Imag, Conjugate, Angle, Complex]
