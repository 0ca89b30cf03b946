"""Smooth activation gates, element by element: sigmoid, tanh, softplus, and what is made of them."""

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar
from typing import Literal as OneOf

import numpy as np
from pydantic import Field, FiniteFloat

from graphsvc.arrays import Array, conjugated, narrowed, widened
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.gates._activations import logistic, softplus, two_sided_examples
from graphsvc.gates._elementwise import RealElementwise
from graphsvc.gates._scipy import special
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class Sigmoid(Elementwise):
    """Logistic function, element by element: ``z = 1 / (1 + exp(-x))``."""

    name: ClassVar[str] = "sigmoid"

    def forward(self, x: Array) -> Array:
        return narrowed(1 / (1 + np.exp(-widened(x))), x.dtype)

    def backward(self, dz: Array, z: Array) -> Array:
        z = conjugated(z)
        return dz * z * (1 - z)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from two_sided_examples(cls())
        yield Example(cls(), np.array([0.5 + 1j, -1.5 - 0.25j]))


class LogSigmoid(RealElementwise):
    """Logarithm of the logistic function, element by element: ``z = -log(1 + exp(-x))``.

    It is finite, and its derivative right, where ``log(sigmoid(x))`` is not.
    """

    name: ClassVar[str] = "log_sigmoid"

    def forward(self, x: Array) -> Array:
        return narrowed(-softplus(-widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * logistic(-widened(x))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return two_sided_examples(cls())


class Softplus(RealElementwise):
    """Smooth rectifier, element by element: ``z = log(1 + exp(beta * x)) / beta``.

    With a ``threshold``, the operand itself is given where ``beta * x`` exceeds it, as other libraries do; without one
    the function is exact everywhere.
    """

    name: ClassVar[str] = "softplus"

    beta: Annotated[FiniteFloat, Field(gt=0, description="How sharp the bend is; positive.")] = 1.0
    threshold: Annotated[
        FiniteFloat | None, Field(description="Value of beta * x above which the result is x; None means never.")
    ] = None

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        z = softplus(self.beta * wide) / self.beta
        if self.threshold is not None:
            z = np.where(self.beta * wide > self.threshold, wide, z)
        return narrowed(z, x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        t = self.beta * widened(x)
        slope = logistic(t)
        return dz * (slope if self.threshold is None else np.where(t > self.threshold, 1, slope))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from two_sided_examples(cls())
        yield from two_sided_examples(cls(beta=2.0, threshold=2.0))


class Softsign(RealElementwise):
    """Softsign, element by element: ``z = x / (1 + |x|)``."""

    name: ClassVar[str] = "softsign"

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        return narrowed(wide / (1 + np.abs(wide)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        share = 1 / (1 + np.abs(widened(x)))
        return dz * share * share

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return two_sided_examples(cls())


class Silu(RealElementwise):
    """Sigmoid linear unit, or swish, element by element: ``z = x * sigmoid(x)``."""

    name: ClassVar[str] = "silu"

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        return narrowed(wide / (1 + np.exp(-wide)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        x = widened(x)
        s = logistic(x)
        return dz * (s + x * s * logistic(-x))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return two_sided_examples(cls())


class Mish(RealElementwise):
    """Mish, element by element: ``z = x * tanh(log(1 + exp(x)))``.

    Source:
        D. Misra, "Mish: a self regularized non-monotonic activation function" (2019), equation 1.
    """

    name: ClassVar[str] = "mish"

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        return narrowed(wide * np.tanh(softplus(wide)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        x = widened(x)
        t = np.tanh(softplus(x))
        return dz * (t + x * (1 - t * t) * logistic(x))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return two_sided_examples(cls())


class Gelu(RealElementwise):
    """Gaussian error linear unit, element by element: ``z = x * P(N < x)`` for a standard normal ``N``.

    With ``approximate="tanh"``, ``z = x * (1 + tanh(u)) / 2`` for ``u = sqrt(2 / pi) * (x + 0.044715 * x**3)``.

    Source:
        D. Hendrycks and K. Gimpel, "Gaussian error linear units" (2016), section 2.
    """

    name: ClassVar[str] = "gelu"

    approximate: Annotated[
        OneOf["none", "tanh"], Field(description="'none' for the normal distribution, 'tanh' for the paper's formula.")
    ] = "none"

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        if self.approximate == "none":
            z = (0.5 * wide) * special().erfc(-math.sqrt(0.5) * wide)
        else:
            z = wide / (1 + np.exp(-2 * _bent(wide)))
        return narrowed(z, x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        x = widened(x)
        if self.approximate == "none":
            below = 0.5 * special().erfc(-math.sqrt(0.5) * x)
            return dz * (below + x * (np.exp(-0.5 * (x * x)) / math.sqrt(2 * math.pi)))
        u = 2 * _bent(x)
        s = logistic(u)
        return dz * (s + s * logistic(-u) * x * (math.sqrt(8 / math.pi) * (1 + 0.134145 * (x * x))))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from two_sided_examples(cls())
        yield from two_sided_examples(cls(approximate="tanh"))


def _bent(x: Array) -> Array:
    """Return the argument of the hyperbolic tangent that is like the normal distribution's."""
    return math.sqrt(2 / math.pi) * (x * (1 + 0.044715 * (x * x)))


class Tanhshrink(RealElementwise):
    """What tanh takes away, element by element: ``z = x - tanh(x)``."""

    name: ClassVar[str] = "tanhshrink"

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        return narrowed(wide - np.tanh(wide), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        t = np.tanh(widened(x))
        return dz * (t * t)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return two_sided_examples(cls())


class Logit(RealElementwise):
    """Logarithm of the odds, element by element: ``z = log(x / (1 - x))``, the inverse of sigmoid.

    Infinite at 0 and 1, as is its derivative there; NaN outside.
    """

    name: ClassVar[str] = "logit"

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        # Near a half the quotient is near 1, and rounding it loses the digits that the logarithm shows.
        middle = -2 * np.arctanh(1 - 2 * wide)
        return narrowed(np.where(np.abs(wide - 0.5) < 0.25, middle, np.log(wide) - np.log1p(-wide)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        x = widened(x)
        return dz * np.where((x < 0) | (x > 1), np.nan, 1 / (x * (1 - x)))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([[0.1, 0.3, 0.45], [0.55, 0.7, 0.95]]))
        yield Example(cls(), np.array(0.9))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Sigmoid, LogSigmoid, Softplus, Softsign, Silu, Mish, Gelu, Tanhshrink, Logit]
