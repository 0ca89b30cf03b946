"""Loss gates of distributions: divergence between two of them, and negative logarithms of likelihoods."""

from collections.abc import Iterable
from typing import Annotated, ClassVar
from typing import Literal as OneOf

import numpy as np
from pydantic import Field

from graphsvc.arrays import (
    Array,
    ArraySpec,
    divided,
    narrowed,
    reduce_sum,
    require_floating,
    sum_to_shape,
    widened,
)
from graphsvc.errors import ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._losses import Loss, PairLoss, loss_dtype, widened_all
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class KlDiv(PairLoss):
    """Kullback-Leibler divergence, element by element: ``z = target * (log(target) - x)``, averaged.

    ``x`` holds logarithms of probabilities, ``target`` probabilities. An element of probability 0 has no loss; its
    derivative in the target is infinite. With ``log_target`` the target, too, holds logarithms.
    """

    name: ClassVar[str] = "kl_div"

    reduction: Annotated[
        OneOf["mean", "sum", "none", "batchmean"],
        Field(
            description="Whether the losses of the elements are averaged, summed, given one by one, or summed and "
            "divided by the length of the first axis, which makes it the mean divergence of the rows."
        ),
    ] = "mean"  # type: ignore[assignment]
    log_target: Annotated[bool, Field(description="Whether the target holds logarithms of probabilities.")] = False

    def infer(self, x: ArraySpec, target: ArraySpec) -> ArraySpec:
        if self.reduction == "batchmean" and x.ndim == 0:
            msg = "Reduction 'batchmean' divides by the length of the first axis, and operand 'x' has no axis."
            msg += " Choose another reduction."
            raise ShapeError(msg)
        return super().infer(x, target)

    def _put_together(self, losses: Array) -> Array:
        if self.reduction == "batchmean":
            return reduce_sum(losses) / losses.shape[0]
        return self._reduced(losses)

    def _each(self, dz: Array, shape: tuple[int, ...]) -> Array:
        if self.reduction == "batchmean":
            return np.broadcast_to(divided(widened(dz), shape[0]), shape)
        return self._shared(dz, shape)

    def forward(self, x: Array, target: Array) -> Array:
        dtype = loss_dtype(x.dtype, target.dtype)
        x, target = widened_all(x, target)
        if self.log_target:
            share = np.exp(target)
            losses = np.where(share == 0, 0, share * (target - x))
        else:
            losses = np.where(target == 0, 0, target * (np.log(np.where(target == 0, 1, target)) - x))
        return narrowed(self._put_together(losses), dtype)

    def backward_x(self, dz: Array, target: Array) -> Array:
        target = widened(target)
        return self._each(dz, target.shape) * -(np.exp(target) if self.log_target else target)

    def backward_target(self, dz: Array, x: Array, target: Array) -> Array:
        x, target = widened_all(x, target)
        if self.log_target:
            share = np.exp(target)
            slope = np.where(share == 0, 0, share * (target - x + 1))
        else:
            slope = np.log(target) + 1 - x
        return self._each(dz, target.shape) * slope

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        x, target = np.log(random.dirichlet(np.ones(3), 4)), random.dirichlet(np.ones(3), 4)
        for reduction in ("mean", "sum", "none", "batchmean"):
            yield Example(cls(reduction=reduction), x, target)
        yield Example(cls(log_target=True), x, np.log(target))
        yield Example(cls(), np.array(-1.5), np.array(0.25))


class PoissonNll(PairLoss):
    """Negative logarithm of a Poisson likelihood: ``z = exp(x) - target * x``, averaged over all elements.

    ``x`` holds logarithms of rates, ``target`` counts; what does not depend on the rate is left out. With
    ``log_input=False``, ``x`` holds the rates: ``z = x - target * log(x)``, and a count of 0 loses ``x`` alone.
    """

    name: ClassVar[str] = "poisson_nll"

    log_input: Annotated[bool, Field(description="Whether x holds logarithms of rates.")] = True

    def forward(self, x: Array, target: Array) -> Array:
        dtype = loss_dtype(x.dtype, target.dtype)
        x, target = widened_all(x, target)
        if self.log_input:
            losses = np.exp(x) - target * x
        else:
            losses = x - target * np.log(np.where((x == 0) & (target == 0), 1, x))
        return narrowed(self._reduced(losses), dtype)

    def backward_x(self, dz: Array, x: Array, target: Array) -> Array:
        x, target = widened_all(x, target)
        slope = np.exp(x) - target if self.log_input else 1 - target / np.where((x == 0) & (target == 0), 1, x)
        return self._shared(dz, x.shape) * slope

    def backward_target(self, dz: Array, x: Array) -> Array:
        x = widened(x)
        return self._shared(dz, x.shape) * -(x if self.log_input else np.log(x))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        x, target = random.normal(size=(4, 3)), random.uniform(0.5, 3.5, (4, 3))
        for reduction in ("mean", "sum", "none"):
            yield Example(cls(reduction=reduction), x, target)
        yield Example(cls(log_input=False), np.exp(x), target)
        yield Example(cls(), x, np.arange(12).reshape(4, 3))
        yield Example(cls(), np.array(0.5), np.array(2.0))


class GaussianNll(Loss):
    """Negative logarithm of a normal likelihood: ``z = (log(variance) + (x - target)**2 / variance) / 2``, averaged.

    ``variance`` broadcasts to the shape of ``x``; a constant is left out. A variance of 0 or less gives infinity or
    NaN.

    Source:
        D. Nix and A. Weigend, "Estimating the mean and variance of the target probability distribution" (1994),
        equation 1.
    """

    name: ClassVar[str] = "gaussian_nll"

    def infer(self, x: ArraySpec, target: ArraySpec, variance: ArraySpec) -> ArraySpec:
        if x.shape != target.shape:
            msg = f"Operand and target must have one shape, got {x.shape} and {target.shape}. Reshape one of them."
            raise ShapeError(msg)
        trailing = x.shape[x.ndim - variance.ndim :] if variance.ndim <= x.ndim else ()
        if len(trailing) != variance.ndim or any(
            n not in (1, m) for n, m in zip(variance.shape, trailing, strict=True)
        ):
            msg = f"The variance of shape {variance.shape} does not broadcast to the operand's shape {x.shape}."
            msg += " Give one number for all elements, or one for each."
            raise ShapeError(msg)
        require_floating("variance", variance)
        dtype = loss_dtype(x.dtype, target.dtype, variance.dtype)
        return self._reduced_spec(x.shape, "x", ArraySpec(x.shape, dtype))

    def forward(self, x: Array, target: Array, variance: Array) -> Array:
        dtype = loss_dtype(x.dtype, target.dtype, variance.dtype)
        x, target, variance = widened_all(x, target, variance)
        difference = x - target
        return narrowed(self._reduced(0.5 * (np.log(variance) + difference * (difference / variance))), dtype)

    def backward_x(self, dz: Array, x: Array, target: Array, variance: Array) -> Array:
        x, target, variance = widened_all(x, target, variance)
        return self._shared(dz, x.shape) * ((x - target) / variance)

    def backward_target(self, dz: Array, x: Array, target: Array, variance: Array) -> Array:
        x, target, variance = widened_all(x, target, variance)
        return self._shared(dz, x.shape) * ((target - x) / variance)

    def backward_variance(self, dz: Array, x: Array, target: Array, variance: Array) -> Array:
        x, target, variance = widened_all(x, target, variance)
        scaled = (x - target) / variance
        return sum_to_shape(self._shared(dz, x.shape) * (0.5 * (1 / variance - scaled * scaled)), variance.shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        x, target, variance = random.normal(size=(4, 3)), random.normal(size=(4, 3)), random.uniform(0.5, 1.5, (4, 3))
        for reduction in ("mean", "sum", "none"):
            yield Example(cls(reduction=reduction), x, target, variance)
        yield Example(cls(), x, target, variance[:, :1])
        yield Example(cls(), x, target, np.array(0.75))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [KlDiv, PoissonNll, GaussianNll]
