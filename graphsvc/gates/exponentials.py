"""Gates of exponentials and logarithms, element by element."""

import math
from collections.abc import Iterable
from typing import ClassVar, Final

import numpy as np

from graphsvc.arrays import Array, conjugated
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.gates._activations import logistic
from graphsvc.gates._elementwise import RealElementwise, complex_operand, signed_operand
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

_LN2: Final = math.log(2)
_LN10: Final = math.log(10)


class _Exponential(Elementwise):
    """Base of the gates of one operand that take complex numbers as well."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        yield Example(cls(), complex_operand())


class Exp(_Exponential):
    """Exponential, element by element: ``z = exp(x)``."""

    name: ClassVar[str] = "exp"

    def forward(self, x: Array) -> Array:
        return np.exp(x)

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * conjugated(z)


class Exp2(_Exponential):
    """Power of two, element by element: ``z = 2**x``."""

    name: ClassVar[str] = "exp2"

    def forward(self, x: Array) -> Array:
        return np.exp2(x)

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * (_LN2 * conjugated(z))


class Expm1(_Exponential):
    """Exponential less one, element by element: ``z = exp(x) - 1``, exact also near 0."""

    name: ClassVar[str] = "expm1"

    def forward(self, x: Array) -> Array:
        return np.expm1(x)

    def backward(self, dz: Array, x: Array) -> Array:
        # `z + 1` would have no digits left where x is very negative.
        return dz * np.exp(conjugated(x))


def _log_backward(dz: Array, y: Array) -> Array:
    """Return `dz / y`, the gradient of a logarithm of `y`: NaN below 0, and +inf at either zero."""
    if y.dtype.kind == "c":
        return dz / np.conjugate(y)
    return np.where(y < 0, np.nan, dz / np.abs(y))


class Log(_Exponential):
    """Natural logarithm, element by element: ``z = log(x)``. Its derivative at 0 is infinite, below 0 it is NaN."""

    name: ClassVar[str] = "log"

    def forward(self, x: Array) -> Array:
        return np.log(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return _log_backward(dz, x)


class Log2(_Exponential):
    """Logarithm to base 2, element by element: ``z = log2(x)``. Its derivative at 0 is infinite, below 0 it is NaN."""

    name: ClassVar[str] = "log2"

    def forward(self, x: Array) -> Array:
        return np.log2(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return _log_backward(dz, _LN2 * x)


class Log10(_Exponential):
    """Logarithm to base 10, element by element: ``z = log10(x)``. Its derivative at 0 is infinite, below it is NaN."""

    name: ClassVar[str] = "log10"

    def forward(self, x: Array) -> Array:
        return np.log10(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return _log_backward(dz, _LN10 * x)


class Log1p(_Exponential):
    """Logarithm of one more, element by element: ``z = log(1 + x)``, exact also near 0.

    Its derivative at -1 is infinite, below it is NaN.
    """

    name: ClassVar[str] = "log1p"

    def forward(self, x: Array) -> Array:
        return np.log1p(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return _log_backward(dz, 1 + x)


class Logaddexp(RealElementwise):
    """Logarithm of a sum of exponentials, element by element: ``z = log(exp(x) + exp(y))``, with no overflow."""

    name: ClassVar[str] = "logaddexp"

    def forward(self, x: Array, y: Array) -> Array:
        return np.logaddexp(x, y)

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        return dz * logistic(x - y)

    def backward_y(self, dz: Array, x: Array, y: Array) -> Array:
        return dz * logistic(y - x)


class Logaddexp2(RealElementwise):
    """Logarithm of a sum of powers of two, element by element: ``z = log2(2**x + 2**y)``, with no overflow."""

    name: ClassVar[str] = "logaddexp2"

    def forward(self, x: Array, y: Array) -> Array:
        return np.logaddexp2(x, y)

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        return dz * logistic(_LN2 * (x - y))

    def backward_y(self, dz: Array, x: Array, y: Array) -> Array:
        return dz * logistic(_LN2 * (y - x))


class _TimesLog(Elementwise):
    """Base of the products with a logarithm, which are 0 where the factor is 0."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), signed_operand(), np.array([[0.5], [1.5]]))
        yield Example(cls(), np.array(-1.5), np.array(0.25))
        yield Example(cls(), complex_operand(), 2 + complex_operand())


class Xlogy(_TimesLog):
    """Product with a logarithm, element by element: ``z = x * log(y)``, and 0 where ``x`` is 0, also at ``y = 0``.

    There its derivatives are 0 as well: that in ``y``, and for ``y <= 0`` that in ``x``.
    """

    name: ClassVar[str] = "xlogy"

    def forward(self, x: Array, y: Array) -> Array:
        # What is not equal to itself is NaN, and stays so.
        return np.where((x == 0) & (y == y), 0, x * np.log(y))

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        outside = y == 0 if y.dtype.kind == "c" else y <= 0
        return dz * conjugated(np.where((x == 0) & outside, 0, np.log(y)))

    def backward_y(self, dz: Array, x: Array, y: Array) -> Array:
        return dz * conjugated(np.where((x == 0) & (y == 0), 0, x / y))


class Xlog1py(_TimesLog):
    """Product with a logarithm, element by element: ``z = x * log(1 + y)``, and 0 where ``x`` is 0.

    There its derivatives are 0 as well: that in ``y``, and for ``y <= -1`` that in ``x``.
    """

    name: ClassVar[str] = "xlog1py"

    def forward(self, x: Array, y: Array) -> Array:
        return np.where((x == 0) & (y == y), 0, x * np.log1p(y))

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        outside = y == -1 if y.dtype.kind == "c" else y <= -1
        return dz * conjugated(np.where((x == 0) & outside, 0, np.log1p(y)))

    def backward_y(self, dz: Array, x: Array, y: Array) -> Array:
        return dz * conjugated(np.where((x == 0) & (y == -1), 0, x / (1 + y)))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Exp, Exp2, Expm1, Log, Log2, Log10, Log1p, Logaddexp, Logaddexp2, Xlogy, Xlog1py]
