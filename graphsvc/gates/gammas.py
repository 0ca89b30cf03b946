"""Gates of the gamma function and its kin: logarithms, derivatives, beta and zeta functions, incomplete ones."""

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, narrowed, widened
from graphsvc.gate import Example, Gate
from graphsvc.gates._elementwise import RealElementwise
from graphsvc.gates._gammas import doubled, polygamma, rounded
from graphsvc.gates._scipy import special
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Gamma(RealElementwise):
    """Base of the functions of one operand with poles at 0, -1, -2 and so on."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([[0.5, -1.25, 3.0], [-0.5, 1.25, 4.5]]))
        yield Example(cls(), np.array(0.75))


class Gamma(_Gamma):
    """Gamma function, element by element: ``z = integral of t**(x - 1) * exp(-t) from 0 to infinity``.

    Infinite at 0, NaN at negative integers.
    """

    name: ClassVar[str] = "gamma"

    def forward(self, x: Array) -> Array:
        return narrowed(special().gamma(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array, z: Array) -> Array:
        return dz * (widened(z) * special().digamma(widened(x)))


class Gammaln(_Gamma):
    """Logarithm of the absolute value of the gamma function, element by element: ``z = log(|gamma(x)|)``.

    Infinite at 0 and at negative integers.
    """

    name: ClassVar[str] = "gammaln"

    def forward(self, x: Array) -> Array:
        return narrowed(special().gammaln(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * special().digamma(widened(x))


class Digamma(_Gamma):
    """Derivative of ``gammaln``, element by element: ``z = gamma'(x) / gamma(x)``."""

    name: ClassVar[str] = "digamma"

    def forward(self, x: Array) -> Array:
        return narrowed(special().digamma(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * polygamma(1, doubled(x))


class Trigamma(_Gamma):
    """Derivative of ``digamma``, element by element: ``z = sum of 1 / (x + k)**2 over k = 0, 1, 2, ...``."""

    name: ClassVar[str] = "trigamma"

    def forward(self, x: Array) -> Array:
        return rounded(polygamma(1, doubled(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * polygamma(2, doubled(x))


class Polygamma(RealElementwise):
    """Derivative of ``digamma`` of any order, element by element; of order 0 ``digamma`` itself."""

    name: ClassVar[str] = "polygamma"

    order: Annotated[int, Field(ge=0, le=20, description="How often digamma is differentiated.")]

    def forward(self, x: Array) -> Array:
        if self.order == 0:
            return narrowed(special().digamma(widened(x)), x.dtype)
        return rounded(polygamma(self.order, doubled(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * polygamma(self.order + 1, doubled(x))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        for order in range(4):
            yield Example(cls(order=order), np.array([[0.5, -1.25, 3.0], [-0.5, 1.25, 4.5]]))


class Multigammaln(RealElementwise):
    """Logarithm of the multivariate gamma function: the sum of ``gammaln(x - j / 2)`` over ``j < d``, and a constant.

    The constant is ``d * (d - 1) / 4 * log(pi)``. NaN where ``x < (d - 1) / 2``.
    """

    name: ClassVar[str] = "multigammaln"

    d: Annotated[int, Field(ge=1, le=64, description="Number of dimensions.")]

    def forward(self, x: Array) -> Array:
        wide = doubled(x)
        total = special().gammaln(wide) + self.d * (self.d - 1) / 4 * math.log(math.pi)
        for j in range(1, self.d):
            total = total + special().gammaln(wide - 0.5 * j)
        return rounded(np.where(wide < (self.d - 1) / 2, np.nan, total), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        x = doubled(x)
        slope = special().digamma(x)
        for j in range(1, self.d):
            slope = slope + special().digamma(x - 0.5 * j)
        return dz * np.where(x < (self.d - 1) / 2, np.nan, slope)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(d=1), np.array([0.5, 2.0]))
        yield Example(cls(d=3), np.array([[1.25, 2.0], [3.5, 10.0]]))


class Beta(RealElementwise):
    """Beta function, element by element: ``z = gamma(a) * gamma(b) / gamma(a + b)``."""

    name: ClassVar[str] = "beta"

    def forward(self, a: Array, b: Array) -> Array:
        return narrowed(special().beta(widened(a), widened(b)), np.result_type(a.dtype, b.dtype))

    def backward_a(self, dz: Array, a: Array, b: Array, z: Array) -> Array:
        return dz * (widened(z) * _digamma_difference(a, b))

    def backward_b(self, dz: Array, a: Array, b: Array, z: Array) -> Array:
        return dz * (widened(z) * _digamma_difference(b, a))


class Betaln(RealElementwise):
    """Logarithm of the absolute value of the beta function, element by element: ``z = log(|beta(a, b)|)``."""

    name: ClassVar[str] = "betaln"

    def forward(self, a: Array, b: Array) -> Array:
        return narrowed(special().betaln(widened(a), widened(b)), np.result_type(a.dtype, b.dtype))

    def backward_a(self, dz: Array, a: Array, b: Array) -> Array:
        return dz * _digamma_difference(a, b)

    def backward_b(self, dz: Array, a: Array, b: Array) -> Array:
        return dz * _digamma_difference(b, a)


def _digamma_difference(a: Array, b: Array) -> Array:
    a, b = doubled(a), doubled(b)
    return special().digamma(a) - special().digamma(a + b)


class Betainc(RealElementwise):
    """Regularised incomplete beta function: the share of ``beta(a, b)`` that lies below ``x``, from 0 to 1.

    ``z = integral of t**(a - 1) * (1 - t)**(b - 1) from 0 to x, over beta(a, b)``. It has no gradient in ``a`` and
    ``b``.
    """

    name: ClassVar[str] = "betainc"

    def forward(self, a: Array, b: Array, x: Array) -> Array:
        z = special().betainc(widened(a), widened(b), widened(x))
        return narrowed(z, np.result_type(a.dtype, b.dtype, x.dtype))

    def backward_x(self, dz: Array, a: Array, b: Array, x: Array, z: Array) -> Array:
        a, b, x = doubled(a), doubled(b), doubled(x)
        logarithm = special().xlogy(a - 1, x) + special().xlog1py(b - 1, -x) - special().betaln(a, b)
        return dz * np.where(np.isnan(z), np.nan, np.exp(logarithm))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([0.5, 2.0, 5.0]), np.array([[1.5], [3.0]]), np.array([0.2, 0.5, 0.9]))


class Gammainc(RealElementwise):
    """Regularised incomplete gamma function: the share of ``gamma(a)`` that lies below ``x``.

    ``z = integral of t**(a - 1) * exp(-t) from 0 to x, over gamma(a)``. It has no gradient in ``a``.
    """

    name: ClassVar[str] = "gammainc"

    def forward(self, a: Array, x: Array) -> Array:
        return narrowed(special().gammainc(widened(a), widened(x)), np.result_type(a.dtype, x.dtype))

    def backward_x(self, dz: Array, a: Array, x: Array, z: Array) -> Array:
        return dz * _gamma_density(a, x, z)


class Gammaincc(RealElementwise):
    """Complement of the regularised incomplete gamma function: ``z = 1 - gammainc(a, x)``, with its digits."""

    name: ClassVar[str] = "gammaincc"

    def forward(self, a: Array, x: Array) -> Array:
        return narrowed(special().gammaincc(widened(a), widened(x)), np.result_type(a.dtype, x.dtype))

    def backward_x(self, dz: Array, a: Array, x: Array, z: Array) -> Array:
        return -dz * _gamma_density(a, x, z)


def _gamma_density(a: Array, x: Array, z: Array) -> Array:
    """Return the derivative of the incomplete gamma function; NaN where the function is."""
    a, x = doubled(a), doubled(x)
    return np.where(np.isnan(z), np.nan, np.exp(special().xlogy(a - 1, x) - x - special().gammaln(a)))


class Zeta(RealElementwise):
    """Hurwitz zeta function, element by element: ``z = sum of 1 / (q + k)**x over k = 0, 1, 2, ...``.

    Infinite at ``q = 0`` and NaN below. It has no gradient in ``x``.
    """

    name: ClassVar[str] = "zeta"

    def forward(self, x: Array, q: Array) -> Array:
        return rounded(_zeta(doubled(x), doubled(q)), np.result_type(x.dtype, q.dtype))

    def backward_q(self, dz: Array, x: Array, q: Array) -> Array:
        x = doubled(x)
        return dz * (-x * _zeta(x + 1, doubled(q)))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([1.5, 2.0, 4.5]), np.array([[0.5], [2.0]]))
        yield Example(cls(), np.array(3.0), np.array(1.25))


def _zeta(x: Array, q: Array) -> Array:
    """Return the zeta function; SciPy's sums for ever where `q` is very negative."""
    return special().zeta(x, np.where(q < 0, np.nan, q))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    derivatives: list[type[Gate]] = [Gamma, Gammaln, Digamma, Trigamma, Polygamma, Multigammaln]
    return [*derivatives, Beta, Betaln, Betainc, Gammainc, Gammaincc, Zeta]
