"""Activation gates with corners, element by element: relu and its variants, hard sigmoids, shrinkage.

At a corner the derivative is the one of smallest size between those of the two sides.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, FiniteFloat

from graphsvc.arrays import Array, ArraySpec, narrowed, widened
from graphsvc.errors import AttributeValueError
from graphsvc.gate import Example, Gate
from graphsvc.gates._activations import least, two_sided_examples
from graphsvc.gates._elementwise import RealElementwise
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Rectifier(RealElementwise):
    """Base of the gates of this module that have one operand."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return two_sided_examples(cls())


class Relu(_Rectifier):
    """Rectifier, element by element: ``z = max(x, 0)``. Its derivative at 0 is 0."""

    name: ClassVar[str] = "relu"

    def forward(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def backward(self, dz: Array, z: Array) -> Array:
        return np.where(z <= 0, 0, dz)


class LeakyRelu(_Rectifier):
    """Leaky rectifier, element by element: ``z = x if x > 0 else slope * x``.

    Its derivative at 0 is the one of smallest size between ``slope`` and 1.
    """

    name: ClassVar[str] = "leaky_relu"

    slope: Annotated[FiniteFloat, Field(description="Slope for negative operands.")] = 0.01

    def forward(self, x: Array) -> Array:
        return np.where(x > 0, x, self.slope * x)

    def backward(self, dz: Array, x: Array) -> Array:
        below = np.where(x < 0, self.slope * dz, least(self.slope, 1.0) * dz)
        return np.where(x <= 0, below, dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return [*two_sided_examples(cls()), *two_sided_examples(cls(slope=0.3))]


class Prelu(RealElementwise):
    """Leaky rectifier whose slopes are an operand, element by element: ``z = x if x > 0 else slope * x``.

    ``slope`` broadcasts against ``x``: one number for all, or one for each channel along the last axis. The derivative
    at 0 is the one of smallest size between the slope and 1.

    Source:
        K. He and others, "Delving deep into rectifiers" (2015), section 2.1.
    """

    name: ClassVar[str] = "prelu"

    def forward(self, x: Array, slope: Array) -> Array:
        return np.where(x > 0, x, slope * x)

    def backward_x(self, dz: Array, x: Array, slope: Array) -> Array:
        below = np.where(x < 0, slope, np.clip(slope, 0, 1))
        return np.where(x <= 0, dz * below, dz)

    def backward_slope(self, dz: Array, x: Array) -> Array:
        return dz * np.where(x > 0, 0, x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.array([[1.5, -0.6, 7.0], [-1.25, 0.25, -3.5]])
        yield Example(cls(), x, np.array([0.1, 0.25, -0.5]))
        yield Example(cls(), x, np.array(0.25))
        yield Example(cls(), np.array(-1.5), np.array(0.25))


class Elu(_Rectifier):
    """Exponential linear unit, element by element: ``z = x if x > 0 else alpha * (exp(x) - 1)``.

    Its derivative at 0 is 1, or the one of smallest size between ``alpha`` and 1 where they differ.
    """

    name: ClassVar[str] = "elu"

    alpha: Annotated[FiniteFloat, Field(description="Negated limit for very negative operands.")] = 1.0

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        return narrowed(np.where(wide > 0, wide, self.alpha * np.expm1(np.minimum(wide, 0))), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        below = np.where(x < 0, self.alpha * np.exp(np.minimum(x, 0)) * dz, least(self.alpha, 1.0) * dz)
        return np.where(x <= 0, below, dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return [*two_sided_examples(cls()), *two_sided_examples(cls(alpha=0.5))]


class Celu(_Rectifier):
    """Exponential linear unit without a corner: ``z = x if x > 0 else alpha * (exp(x / alpha) - 1)``.

    Source:
        J. T. Barron, "Continuously differentiable exponential linear units" (2017).
    """

    name: ClassVar[str] = "celu"

    alpha: Annotated[FiniteFloat, Field(gt=0, description="Negated limit for very negative operands; positive.")] = 1.0

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        return narrowed(np.where(wide > 0, wide, self.alpha * np.expm1(np.minimum(wide, 0) / self.alpha)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        return np.where(x < 0, dz * np.exp(np.minimum(x, 0) / self.alpha), dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return [*two_sided_examples(cls()), *two_sided_examples(cls(alpha=0.5))]


_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717


class Selu(_Rectifier):
    """Self-normalising exponential linear unit: ``z = scale * (x if x > 0 else alpha * (exp(x) - 1))``.

    ``scale`` is 1.0507..., ``alpha`` is 1.6732...; the derivative at 0 is ``scale``.

    Source:
        G. Klambauer and others, "Self-normalizing neural networks" (2017), equations 2 and 14.
    """

    name: ClassVar[str] = "selu"

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        below = (_SELU_SCALE * _SELU_ALPHA) * np.expm1(np.minimum(wide, 0))
        return narrowed(np.where(wide > 0, _SELU_SCALE * wide, below), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        below = (_SELU_SCALE * _SELU_ALPHA) * np.exp(np.minimum(x, 0)) * dz
        return np.where(x < 0, below, _SELU_SCALE * dz)


class Relu6(_Rectifier):
    """Rectifier with a ceiling, element by element: ``z = min(max(x, 0), 6)``. Its derivative at 0 and 6 is 0."""

    name: ClassVar[str] = "relu6"

    def forward(self, x: Array) -> Array:
        return np.clip(x, 0, 6)

    def backward(self, dz: Array, x: Array) -> Array:
        return np.where((x <= 0) | (x >= 6), 0, dz)


class Hardtanh(_Rectifier):
    """Piecewise linear tanh, element by element: ``z = min(max(x, lower), upper)``. Its derivative at both is 0."""

    name: ClassVar[str] = "hardtanh"

    lower: Annotated[FiniteFloat, Field(description="Least result.")] = -1.0
    upper: Annotated[FiniteFloat, Field(description="Largest result; more than the least.")] = 1.0

    def infer(self, *operands: ArraySpec) -> ArraySpec | tuple[ArraySpec, ...] | None:
        if self.lower >= self.upper:
            msg = f"Attribute 'upper' is {self.upper}, which is not more than lower={self.lower}. Exchange them."
            raise AttributeValueError(msg, attribute="upper")
        return super().infer(*operands)

    def forward(self, x: Array) -> Array:
        return np.clip(x, self.lower, self.upper)

    def backward(self, dz: Array, x: Array) -> Array:
        return np.where((x <= self.lower) | (x >= self.upper), 0, dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return [*two_sided_examples(cls()), *two_sided_examples(cls(lower=-2.0, upper=0.5))]


class Hardsigmoid(_Rectifier):
    """Piecewise linear sigmoid, element by element: ``z = min(max(x + 3, 0), 6) / 6``. Its derivative at +-3 is 0."""

    name: ClassVar[str] = "hardsigmoid"

    def forward(self, x: Array) -> Array:
        return narrowed(np.clip(widened(x) + 3, 0, 6) / 6, x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        return np.where((x <= -3) | (x >= 3), 0, dz / 6)


class Hardswish(_Rectifier):
    """Swish with a piecewise linear sigmoid: ``z = x * min(max(x + 3, 0), 6) / 6``.

    Its derivative is 0 at -3 and 1 at 3.

    Source:
        A. Howard and others, "Searching for MobileNetV3" (2019), section 5.2.
    """

    name: ClassVar[str] = "hardswish"

    def forward(self, x: Array) -> Array:
        wide = widened(x)
        return narrowed(wide * (np.clip(wide + 3, 0, 6) / 6), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        x = widened(x)
        return np.where(x <= -3, 0, np.where(x >= 3, dz, dz * ((2 * x + 3) / 6)))


class ThresholdedRelu(_Rectifier):
    """The operand where it exceeds a threshold, else 0: ``z = x if x > threshold else 0``.

    The function jumps at the threshold; its derivative there is 0.
    """

    name: ClassVar[str] = "thresholded_relu"

    threshold: Annotated[FiniteFloat, Field(description="What an operand must exceed.")] = 1.0

    def forward(self, x: Array) -> Array:
        return np.where(x <= self.threshold, 0, x)

    def backward(self, dz: Array, x: Array) -> Array:
        return np.where(x <= self.threshold, 0, dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return [*two_sided_examples(cls()), *two_sided_examples(cls(threshold=-1.0))]


class _Shrinkage(_Rectifier):
    """Base of the gates that give 0 for small operands; at their edges, the derivative is 0."""

    threshold: Annotated[FiniteFloat, Field(ge=0, description="Size up to which an operand becomes 0.")] = 0.5

    def backward(self, dz: Array, x: Array) -> Array:
        return np.where((x >= -self.threshold) & (x <= self.threshold), 0, dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return [*two_sided_examples(cls()), *two_sided_examples(cls(threshold=1.0))]


class Softshrink(_Shrinkage):
    """Soft shrinkage, element by element: ``z = sign(x) * max(|x| - threshold, 0)``.

    Its derivative at ``x = +-threshold`` is 0.
    """

    name: ClassVar[str] = "softshrink"

    def forward(self, x: Array) -> Array:
        return x - np.clip(x, -self.threshold, self.threshold)


class Hardshrink(_Shrinkage):
    """Hard shrinkage, element by element: ``z = x if |x| > threshold else 0``.

    The function jumps at ``x = +-threshold``; its derivative there is 0.
    """

    name: ClassVar[str] = "hardshrink"

    def forward(self, x: Array) -> Array:
        return np.where((x >= -self.threshold) & (x <= self.threshold), 0, x)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    leaky: list[type[Gate]] = [LeakyRelu, Prelu, Elu, Celu, Selu]
    hard: list[type[Gate]] = [Relu6, Hardtanh, Hardsigmoid, Hardswish, ThresholdedRelu, Softshrink, Hardshrink]
    return [Relu, *leaky, *hard]
