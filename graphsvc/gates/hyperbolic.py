"""Gates of hyperbolic functions and their inverses."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array, conjugated
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.gates._elementwise import complex_operand, signed_operand
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Hyperbolic(Elementwise):
    """Base of the gates of one operand; complex ones are taken as well."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), signed_operand())
        yield Example(cls(), np.array(-0.5))
        yield Example(cls(), complex_operand())


class Sinh(_Hyperbolic):
    """Hyperbolic sine, element by element: ``z = (exp(x) - exp(-x)) / 2``."""

    name: ClassVar[str] = "sinh"

    def forward(self, x: Array) -> Array:
        return np.sinh(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * np.cosh(conjugated(x))


class Cosh(_Hyperbolic):
    """Hyperbolic cosine, element by element: ``z = (exp(x) + exp(-x)) / 2``."""

    name: ClassVar[str] = "cosh"

    def forward(self, x: Array) -> Array:
        return np.cosh(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * np.sinh(conjugated(x))


class Tanh(_Hyperbolic):
    """Hyperbolic tangent, element by element: ``z = tanh(x)``."""

    name: ClassVar[str] = "tanh"

    def forward(self, x: Array) -> Array:
        return np.tanh(x)

    def backward(self, dz: Array, z: Array) -> Array:
        z = conjugated(z)
        return dz * (1 - z * z)


class Arcsinh(_Hyperbolic):
    """Inverse hyperbolic sine, element by element: ``sinh(z) = x``."""

    name: ClassVar[str] = "arcsinh"

    def forward(self, x: Array) -> Array:
        return np.arcsinh(x)

    def backward(self, dz: Array, x: Array) -> Array:
        if x.dtype.kind == "c":
            return dz / np.conjugate(np.sqrt((1 + 1j * x) * (1 - 1j * x)))
        # The square of a large number overflows.
        return dz / np.hypot(x, 1.0)


class Arccosh(_Hyperbolic):
    """Inverse hyperbolic cosine, element by element: ``cosh(z) = x``, for ``x >= 1``.

    Its derivative at 1 is infinite, below it is NaN.
    """

    name: ClassVar[str] = "arccosh"

    def forward(self, x: Array) -> Array:
        return np.arccosh(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz / conjugated(np.sqrt(x - 1) * np.sqrt(x + 1))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), 2 + signed_operand())
        yield Example(cls(), np.array(5.0))
        yield Example(cls(), complex_operand())


class Arctanh(_Hyperbolic):
    """Inverse hyperbolic tangent, element by element: ``tanh(z) = x``, for ``x`` from -1 to 1.

    Its derivative at -1 and 1 is infinite, beyond them it is NaN.
    """

    name: ClassVar[str] = "arctanh"

    def forward(self, x: Array) -> Array:
        return np.arctanh(x)

    def backward(self, dz: Array, x: Array) -> Array:
        slope = dz / conjugated((1 - x) * (1 + x))
        return slope if x.dtype.kind == "c" else np.where(np.abs(x) > 1, np.nan, slope)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Sinh, Cosh, Tanh, Arcsinh, Arccosh, Arctanh]
