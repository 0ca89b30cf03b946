"""Loss gates of classification: scores of shape ``(..., classes)`` against labels, or against shares of each class."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, FiniteFloat

from graphsvc.arrays import Array, ArraySpec, narrowed, reduce_sum, require_floating, widened
from graphsvc.errors import ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._labels import LabelledLoss, check_labels, log_softmax
from graphsvc.gates._losses import Loss, loss_dtype, widened_all
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _CrossEntropy(LabelledLoss):
    """Base of the losses of labels of which some may be ignored, and all smoothed."""

    label_smoothing: Annotated[
        FiniteFloat, Field(ge=0, le=1, description="Share of each label that is spread evenly over all classes.")
    ] = 0.0

    def _smoothing(self) -> float:
        return self.label_smoothing


class SoftmaxCrossEntropy(_CrossEntropy):
    """Cross-entropy of the softmax of scores: ``z = log(sum(exp(s))) - s[label]`` for each row ``s``, averaged.

    ``scores`` has shape ``(..., classes)``, ``labels`` has shape ``(...)``. Rows with the label ``ignore_index`` count
    for nothing, not in the average either.
    """

    name: ClassVar[str] = "softmax_cross_entropy"
    saves: ClassVar[tuple[str, ...]] = ("probabilities",)

    def infer(self, scores: ArraySpec, labels: ArraySpec) -> ArraySpec:
        return self._labelled_spec("scores", scores, labels)

    def forward(self, scores: Array, labels: Array) -> tuple[Array, Array]:
        if self.ignore_index is not None or self.label_smoothing:
            logs = log_softmax(widened(scores))
            return narrowed(self._loss(logs, labels), scores.dtype), np.exp(logs)
        check_labels(labels, scores.shape[-1])
        wide = widened(scores)
        shifted = wide - np.max(wide, axis=-1, keepdims=True)
        e = np.exp(shifted)
        total = reduce_sum(e, -1, keepdims=True)
        right = np.take_along_axis(shifted, labels[..., np.newaxis], -1)
        loss = self._reduced((np.log(total) - right)[..., 0])
        return narrowed(loss, scores.dtype), e / total

    def backward_scores(self, dz: Array, probabilities: Array, labels: Array) -> Array:
        if self.ignore_index is not None or self.label_smoothing:
            wanted = self._wanted(probabilities, labels)
            return self._each(dz, labels) * (reduce_sum(wanted, -1, keepdims=True) * probabilities - wanted)
        right = labels[..., np.newaxis]
        gradient = probabilities.copy()
        np.put_along_axis(gradient, right, np.take_along_axis(probabilities, right, -1) - 1, -1)
        return self._shared(dz, labels.shape)[..., np.newaxis] * gradient

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        scores, labels = np.random.default_rng(2).normal(size=(4, 3)), np.array([0, -1, 1, 1])
        yield Example(cls(ignore_index=-1, label_smoothing=0.1), scores, labels)
        yield Example(cls(ignore_index=-1, reduction="none"), scores.reshape(2, 2, 3), labels.reshape(2, 2))


class SoftmaxCrossEntropyWeighted(_CrossEntropy):
    """Cross-entropy of the softmax of scores, with a weight for each class: ``z = -w[label] * log(softmax(s)[label])``.

    ``weights`` has shape ``(classes,)``. The average divides by the sum of the labels' weights. Smoothed labels spread
    over the other classes with the weights of these.
    """

    name: ClassVar[str] = "softmax_cross_entropy_weighted"
    saves: ClassVar[tuple[str, ...]] = ("logs",)

    def infer(self, scores: ArraySpec, labels: ArraySpec, weights: ArraySpec) -> ArraySpec:
        return self._weighted_spec(scores, labels, weights)

    def forward(self, scores: Array, labels: Array, weights: Array) -> tuple[Array, Array]:
        logs = log_softmax(widened(scores))
        loss = self._loss(logs, labels, widened(weights))
        return narrowed(loss, np.result_type(scores.dtype, weights.dtype)), logs

    def backward_scores(self, dz: Array, logs: Array, labels: Array, weights: Array) -> Array:
        weights = widened(weights)
        wanted = self._wanted(logs, labels, weights)
        each = self._each(dz, labels, weights)
        return each * (reduce_sum(wanted, -1, keepdims=True) * np.exp(logs) - wanted)

    def backward_weights(self, dz: Array, logs: Array, labels: Array, weights: Array) -> Array:
        return self._weights_gradient(dz, logs, labels, widened(weights))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        weights = np.array([0.5, 2.0, 1.0])
        for example in super().examples():
            yield Example(example.gate, *example.operands, weights)
        scores, labels = np.random.default_rng(2).normal(size=(4, 3)), np.array([0, 9, 1, 1])
        yield Example(cls(ignore_index=9, label_smoothing=0.1), scores, labels, weights)


class Nll(LabelledLoss):
    """Negative log-likelihood: ``z = -l[label]`` for each row ``l`` of logarithms of probabilities, averaged.

    ``logs`` has shape ``(..., classes)``, ``labels`` has shape ``(...)``. Rows with the label ``ignore_index`` count
    for nothing, not in the average either.
    """

    name: ClassVar[str] = "nll"

    def infer(self, logs: ArraySpec, labels: ArraySpec) -> ArraySpec:
        return self._labelled_spec("logs", logs, labels)

    def forward(self, logs: Array, labels: Array) -> Array:
        return narrowed(self._loss(widened(logs), labels), logs.dtype)

    def backward_logs(self, dz: Array, logs: Array, labels: Array) -> Array:
        return -self._each(dz, labels) * self._wanted(widened(logs), labels)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        logs = np.random.default_rng(2).normal(size=(4, 3))
        yield Example(cls(ignore_index=-1), logs, np.array([0, -1, 1, 1]))


class NllWeighted(LabelledLoss):
    """Negative log-likelihood with a weight for each class: ``z = -w[label] * l[label]`` for each row ``l``.

    ``weights`` has shape ``(classes,)``. The average divides by the sum of the labels' weights.
    """

    name: ClassVar[str] = "nll_weighted"

    def infer(self, logs: ArraySpec, labels: ArraySpec, weights: ArraySpec) -> ArraySpec:
        return self._weighted_spec(logs, labels, weights, "logs")

    def forward(self, logs: Array, labels: Array, weights: Array) -> Array:
        loss = self._loss(widened(logs), labels, widened(weights))
        return narrowed(loss, np.result_type(logs.dtype, weights.dtype))

    def backward_logs(self, dz: Array, logs: Array, labels: Array, weights: Array) -> Array:
        weights = widened(weights)
        return -self._each(dz, labels, weights) * self._wanted(widened(logs), labels, weights)

    def backward_weights(self, dz: Array, logs: Array, labels: Array, weights: Array) -> Array:
        return self._weights_gradient(dz, widened(logs), labels, widened(weights))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        weights = np.array([0.5, 2.0, 1.0])
        for example in super().examples():
            yield Example(example.gate, *example.operands, weights)
        logs = np.random.default_rng(2).normal(size=(4, 3))
        yield Example(cls(ignore_index=-1), logs, np.array([0, -1, 1, 1]), weights)


class SoftCrossEntropy(Loss):
    """Cross-entropy of the softmax of scores with shares of classes: ``z = -sum(target * log(softmax(s)))``, averaged.

    ``scores`` and ``target`` have shape ``(..., classes)``. The shares of a row need not sum to 1; a share of 0 counts
    for nothing, even where the score is minus infinity.
    """

    name: ClassVar[str] = "soft_cross_entropy"
    saves: ClassVar[tuple[str, ...]] = ("logs",)

    def infer(self, scores: ArraySpec, target: ArraySpec) -> ArraySpec:
        if scores.shape != target.shape or scores.ndim == 0 or scores.shape[-1] == 0:
            msg = f"Scores and target must have one shape (..., classes), got {scores.shape} and {target.shape}."
            msg += " Give one share for each score."
            raise ShapeError(msg)
        require_floating("scores", scores)
        dtype = loss_dtype(scores.dtype, target.dtype)
        return self._reduced_spec(scores.shape[:-1], "target", ArraySpec(scores.shape, dtype))

    def forward(self, scores: Array, target: Array) -> tuple[Array, Array]:
        dtype = loss_dtype(scores.dtype, target.dtype)
        scores, target = widened_all(scores, target)
        logs = log_softmax(scores)
        # No share of a class that cannot be is no loss, although 0 * -inf is NaN.
        counted = np.where((target == 0) & (logs == -np.inf), 0, logs)
        losses = -reduce_sum(target * counted, -1)
        return narrowed(self._reduced(losses), dtype), logs

    def backward_scores(self, dz: Array, logs: Array, target: Array) -> Array:
        _, target = widened_all(logs, target)
        each = self._shared(dz, target.shape[:-1])[..., np.newaxis]
        return each * (reduce_sum(target, -1, keepdims=True) * np.exp(logs) - target)

    def backward_target(self, dz: Array, logs: Array) -> Array:
        return -self._shared(dz, logs.shape[:-1])[..., np.newaxis] * logs

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        for reduction in ("mean", "sum", "none"):
            yield Example(cls(reduction=reduction), random.normal(size=(4, 3)), random.dirichlet(np.ones(3), 4))
        yield Example(cls(), random.normal(size=(3,)), np.array([0.2, 0.5, 0.3]))


class SvmHinge(LabelledLoss):
    """Multi-class hinge loss: ``z = sum over wrong classes of max(0, s[j] - s[label] + margin)``, averaged.

    With ``squared`` each of these is squared. The derivative where a class stands exactly at the margin is 0.
    """

    name: ClassVar[str] = "svm_hinge"
    saves: ClassVar[tuple[str, ...]] = ("slopes", "is_label")

    margin: Annotated[FiniteFloat, Field(description="By how much the right class must lead.")] = 1.0
    squared: Annotated[bool, Field(description="Whether what is missing of the lead is squared.")] = False

    def infer(self, scores: ArraySpec, labels: ArraySpec) -> ArraySpec:
        return self._labelled_spec("scores", scores, labels)

    def forward(self, scores: Array, labels: Array) -> tuple[Array, Array, Array]:
        _, kept = self._safe_labels(labels, scores.shape[-1])
        is_label = self._is_label(labels, scores.shape[-1])
        wide = widened(scores)
        right = reduce_sum(np.where(is_label, wide, 0), -1, keepdims=True)
        excess = np.where(is_label, 0, wide - right + self.margin)
        violation = np.maximum(excess, 0)
        losses = reduce_sum(violation * violation if self.squared else violation, -1)
        slopes = 2 * violation if self.squared else ~(excess <= 0)
        return narrowed(self._kept_loss(losses, kept), scores.dtype), slopes, is_label

    def backward_scores(self, dz: Array, slopes: Array, is_label: Array, labels: Array) -> Array:
        each = self._each(dz, labels)
        if self.squared:
            return each * np.where(is_label, -reduce_sum(slopes, -1, keepdims=True), slopes)
        count = np.sum(slopes, axis=-1, keepdims=True)
        return np.where(is_label, -count * each, np.where(slopes, each, 0))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        scores = np.random.default_rng(2).normal(size=(4, 3))
        yield Example(cls(margin=0.5, squared=True), scores, np.array([0, 2, 1, 1]))
        yield Example(cls(ignore_index=-1), scores, np.array([0, -1, 1, 1]))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [SoftmaxCrossEntropy, SoftmaxCrossEntropyWeighted, Nll, NllWeighted, SoftCrossEntropy, SvmHinge]
