"""Loss gates of numbers: how far `x` is from a target of the same shape, element by element."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, FiniteFloat

from graphsvc.arrays import Array, narrowed, widened
from graphsvc.gate import Example, Gate
from graphsvc.gates._losses import PairLoss, loss_dtype, widened_all
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _DifferenceLoss(PairLoss):
    """Base of the losses of a difference alone, whose two gradients are opposite."""

    saves: ClassVar[tuple[str, ...]] = ("difference",)

    def _loss(self, difference: Array) -> Array:
        raise NotImplementedError

    def _slope(self, difference: Array) -> Array:
        raise NotImplementedError

    def forward(self, x: Array, target: Array) -> tuple[Array, Array]:
        difference = np.subtract(*widened_all(x, target))
        return narrowed(self._reduced(self._loss(difference)), loss_dtype(x.dtype, target.dtype)), difference

    def backward_x(self, dz: Array, difference: Array) -> Array:
        return self._shared(dz, difference.shape) * self._slope(difference)

    def backward_target(self, dz: Array, difference: Array) -> Array:
        return self._shared(dz, difference.shape) * -self._slope(difference)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        for reduction in ("mean", "sum", "none"):
            yield Example(cls(reduction=reduction), random.normal(size=(4, 3)), random.normal(size=(4, 3)))
        yield Example(cls(), np.array(0.25), np.array(-3.5))


class MeanSquaredError(_DifferenceLoss):
    """Squared difference, averaged over all elements: ``z = mean((x - target)**2)``. The shapes must be equal."""

    name: ClassVar[str] = "mean_squared_error"

    def _loss(self, difference: Array) -> Array:
        return difference * difference

    def _slope(self, difference: Array) -> Array:
        return 2 * difference


class MeanAbsoluteError(_DifferenceLoss):
    """Absolute difference, averaged over all elements: ``z = mean(|x - target|)``. Its derivative at 0 is 0."""

    name: ClassVar[str] = "mean_absolute_error"

    def _loss(self, difference: Array) -> Array:
        return np.abs(difference)

    def _slope(self, difference: Array) -> Array:
        return np.sign(difference)


class Huber(_DifferenceLoss):
    """Square of small differences, line for large ones: ``z = d**2 / 2 if |d| < delta else delta * (|d| - delta / 2)``.

    ``d = x - target``; averaged over all elements.

    Source:
        P. J. Huber, "Robust estimation of a location parameter" (1964), section 4.
    """

    name: ClassVar[str] = "huber"

    delta: Annotated[FiniteFloat, Field(gt=0, description="Difference from which the loss grows linearly.")] = 1.0

    def _loss(self, difference: Array) -> Array:
        size = np.abs(difference)
        small = np.minimum(size, self.delta)
        return small * (size - 0.5 * small)

    def _slope(self, difference: Array) -> Array:
        return np.clip(difference, -self.delta, self.delta)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        yield Example(cls(delta=0.5), np.array([0.25, 2.0, -1.0]), np.array([0.0, 0.5, 0.5]))


class SmoothL1(_DifferenceLoss):
    """Absolute difference with a round corner: ``z = d**2 / (2 * beta) if |d| < beta else |d| - beta / 2``.

    ``d = x - target``; averaged over all elements. With ``beta = 0`` it is the absolute difference.

    Source:
        R. Girshick, "Fast R-CNN" (2015), equation 3.
    """

    name: ClassVar[str] = "smooth_l1"

    beta: Annotated[FiniteFloat, Field(ge=0, description="Difference from which the loss grows linearly.")] = 1.0

    def _loss(self, difference: Array) -> Array:
        size = np.abs(difference)
        if self.beta == 0:
            return size
        return np.where(size < self.beta, 0.5 * size * (size / self.beta), size - 0.5 * self.beta)

    def _slope(self, difference: Array) -> Array:
        return np.sign(difference) if self.beta == 0 else np.clip(difference / self.beta, -1, 1)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        for beta in (0.5, 0.0):
            yield Example(cls(beta=beta), np.array([0.25, 2.0, -1.0]), np.array([0.0, 0.5, 0.5]))


class BinaryCrossEntropyWithLogits(PairLoss):
    """Cross-entropy of ``sigmoid(x)`` against shares: ``z = log(1 + exp(x)) - x * target``, averaged over all elements.

    ``target`` holds booleans, or numbers from 0 to 1.
    """

    name: ClassVar[str] = "binary_cross_entropy_with_logits"

    def forward(self, x: Array, target: Array) -> Array:
        wide, share = widened_all(x, target)
        losses = np.where(wide < 0, 0, wide) - wide * share + np.log1p(np.exp(np.where(wide < 0, wide, -wide)))
        return narrowed(self._reduced(losses), loss_dtype(x.dtype, target.dtype))

    def backward_x(self, dz: Array, x: Array, target: Array) -> Array:
        x, share = widened_all(x, target)
        e = np.exp(np.where(x < 0, x, -x))
        # Each of the two terms keeps its digits where the other vanishes.
        slope = ((1 - share) * np.where(x < 0, e, 1) - share * np.where(x < 0, 1, e)) / (1 + e)
        return self._shared(dz, x.shape) * slope

    def backward_target(self, dz: Array, x: Array) -> Array:
        return self._shared(dz, x.shape) * -widened(x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        for reduction in ("mean", "sum", "none"):
            yield Example(cls(reduction=reduction), random.normal(size=(4, 3)), random.uniform(size=(4, 3)))
        yield Example(cls(), random.normal(size=(3,)), np.array([True, False, True]))
        yield Example(cls(), np.array(0.25), np.array(1.0))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [MeanSquaredError, MeanAbsoluteError, Huber, SmoothL1, BinaryCrossEntropyWithLogits]
