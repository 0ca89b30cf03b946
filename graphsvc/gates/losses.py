"""Loss gates: how far scores are from what they should be."""

from collections.abc import Iterable
from math import prod
from typing import Annotated, ClassVar
from typing import Literal as OneOf

import numpy as np
from pydantic import Field, FiniteFloat

from graphsvc.arrays import Array, ArraySpec, divided, narrowed, reduce_mean, reduce_sum, widened
from graphsvc.errors import DtypeError, GateDataError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Loss(Gate):
    """Base of the losses: one number for each sample, and how they are put together."""

    reduction: Annotated[
        OneOf["mean", "sum", "none"],
        Field(description="Whether the losses of the samples are averaged, summed, or given one by one."),
    ] = "mean"

    def _reduced(self, losses: Array) -> Array:
        if self.reduction == "none":
            return losses
        return reduce_sum(losses) if self.reduction == "sum" else reduce_mean(losses)

    def _reduced_spec(self, samples: tuple[int, ...], scores: ArraySpec) -> ArraySpec:
        if scores.dtype.kind != "f":
            msg = f"The operand must be floating point, got {scores.dtype}. Convert it with the gate 'cast'."
            raise DtypeError(msg)
        return ArraySpec(samples if self.reduction == "none" else (), scores.dtype)

    def _shared(self, dz: Array, samples: tuple[int, ...]) -> Array:
        """Return the gradient of each sample's loss. Shape `samples`."""
        if self.reduction == "mean":
            dz = divided(dz, prod(samples))
        return np.broadcast_to(dz, samples)


class MeanSquaredError(_Loss):
    """Squared difference, averaged over all elements: ``z = mean((x - target)**2)``. The shapes must be equal."""

    name: ClassVar[str] = "mean_squared_error"
    saves: ClassVar[tuple[str, ...]] = ("difference",)

    def infer(self, x: ArraySpec, target: ArraySpec) -> ArraySpec:
        if x.shape != target.shape:
            msg = f"Operand and target must have one shape, got {x.shape} and {target.shape}. Reshape one of them."
            raise ShapeError(msg)
        return self._reduced_spec(x.shape, ArraySpec(x.shape, np.result_type(x.dtype, target.dtype)))

    def forward(self, x: Array, target: Array) -> tuple[Array, Array]:
        difference = np.subtract(widened(x), widened(target))
        dtype = np.result_type(x.dtype, target.dtype)
        return narrowed(self._reduced(difference * difference), dtype), difference

    def backward_x(self, dz: Array, difference: Array) -> Array:
        return self._shared(dz, difference.shape) * (2 * difference)

    def backward_target(self, dz: Array, difference: Array) -> Array:
        return self._shared(dz, difference.shape) * (-2 * difference)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        for reduction in ("mean", "sum", "none"):
            yield Example(cls(reduction=reduction), random.normal(size=(4, 3)), random.normal(size=(4, 3)))


class _Classification(_Loss):
    """Base of the losses of scores of shape ``(..., classes)`` against integer labels of shape ``(...)``."""

    integers: ClassVar[tuple[str, ...]] = ("labels",)

    def infer(self, scores: ArraySpec, labels: ArraySpec) -> ArraySpec:
        if scores.ndim == 0 or scores.shape[:-1] != labels.shape or scores.shape[-1] == 0:
            msg = f"Scores and labels must have shapes (..., classes) and (...), got {scores.shape} and {labels.shape}."
            msg += " Give one label for each row of scores."
            raise ShapeError(msg)
        return self._reduced_spec(labels.shape, scores)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        for reduction in ("mean", "sum", "none"):
            yield Example(cls(reduction=reduction), random.normal(size=(4, 3)), np.array([0, 2, 1, 1]))
        yield Example(cls(), random.normal(size=(3,)), np.array(2))


def _check_labels(labels: Array, classes: int) -> None:
    """Raise GateDataError if a label is no class."""
    outside = (labels < 0) | (labels >= classes)
    if np.any(outside):
        first = labels.flat[int(np.argmax(outside))]
        msg = f"Label {first} is out of range for {classes} classes. Labels run from 0 to {classes - 1}."
        raise GateDataError(msg)


class SoftmaxCrossEntropy(_Classification):
    """Cross-entropy of the softmax of scores: ``z = log(sum(exp(s))) - s[label]`` for each row ``s``, averaged."""

    name: ClassVar[str] = "softmax_cross_entropy"
    saves: ClassVar[tuple[str, ...]] = ("probabilities",)

    def forward(self, scores: Array, labels: Array) -> tuple[Array, Array]:
        _check_labels(labels, scores.shape[-1])
        wide = widened(scores)
        shifted = wide - np.max(wide, axis=-1, keepdims=True)
        e = np.exp(shifted)
        total = reduce_sum(e, -1, keepdims=True)
        right = np.take_along_axis(shifted, labels[..., np.newaxis], -1)
        loss = self._reduced((np.log(total) - right)[..., 0])
        return narrowed(loss, scores.dtype), e / total

    def backward_scores(self, dz: Array, probabilities: Array, labels: Array) -> Array:
        right = labels[..., np.newaxis]
        gradient = probabilities.copy()
        np.put_along_axis(gradient, right, np.take_along_axis(probabilities, right, -1) - 1, -1)
        return self._shared(dz, labels.shape)[..., np.newaxis] * gradient


class SvmHinge(_Classification):
    """Multi-class hinge loss: ``z = sum over wrong classes of max(0, s[j] - s[label] + margin)``, averaged.

    The derivative where a class stands exactly at the margin is 0.
    """

    name: ClassVar[str] = "svm_hinge"
    saves: ClassVar[tuple[str, ...]] = ("violates", "is_label")

    margin: Annotated[FiniteFloat, Field(description="By how much the right class must lead.")] = 1.0

    def forward(self, scores: Array, labels: Array) -> tuple[Array, Array, Array]:
        _check_labels(labels, scores.shape[-1])
        is_label = np.equal(labels[..., np.newaxis], np.arange(scores.shape[-1]))
        wide = widened(scores)
        right = reduce_sum(np.where(is_label, wide, 0), -1, keepdims=True)
        excess = np.where(is_label, 0, wide - right + self.margin)
        loss = self._reduced(reduce_sum(np.maximum(excess, 0), -1))
        return narrowed(loss, scores.dtype), ~(excess <= 0), is_label

    def backward_scores(self, dz: Array, violates: Array, is_label: Array) -> Array:
        count = np.sum(violates, axis=-1, keepdims=True)
        dz = self._shared(widened(dz), is_label.shape[:-1])[..., np.newaxis]
        return np.where(is_label, -count * dz, np.where(violates, dz, 0))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [MeanSquaredError, SoftmaxCrossEntropy, SvmHinge]
