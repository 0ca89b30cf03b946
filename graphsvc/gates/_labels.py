"""What the losses of integer labels share: which rows count, how much, and how the losses of the rows are averaged."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, reduce_sum, require_floating, widened
from graphsvc.errors import GateDataError, ShapeError
from graphsvc.gate import Example
from graphsvc.gates._losses import Loss

__all__ = ["LabelledLoss", "check_labels", "log_softmax"]


class LabelledLoss(Loss):
    """Base of the losses of scores of shape `(..., classes)` against integer labels of shape `(...)`.

    The loss of a row is `-sum(wanted * logs)`, where `wanted` is the weight of the label at its place, or that weight
    with a share of it spread over all classes.
    """

    integers: ClassVar[tuple[str, ...]] = ("labels",)

    ignore_index: Annotated[int | None, Field(description="Label of rows that count for nothing; None for none.")] = (
        None
    )

    def _labelled_spec(self, name: str, scores: ArraySpec, labels: ArraySpec) -> ArraySpec:
        """Return the spec of the loss: a number, or one for each row.

        Raises:
            ShapeError: There is not one label for each row, or no class.
            DtypeError: The scores are not floating point.
        """
        if scores.ndim == 0 or scores.shape[:-1] != labels.shape or scores.shape[-1] == 0:
            msg = f"{name.capitalize()} and labels must have shapes (..., classes) and (...), got {scores.shape} and"
            msg += f" {labels.shape}. Give one label for each row of {name}."
            raise ShapeError(msg)
        return self._reduced_spec(labels.shape, name, scores)

    def _weighted_spec(
        self, scores: ArraySpec, labels: ArraySpec, weights: ArraySpec, name: str = "scores"
    ) -> ArraySpec:
        spec = self._labelled_spec(name, scores, labels)
        require_floating("weights", weights)
        if weights.shape != scores.shape[-1:]:
            msg = f"Weights must have shape {scores.shape[-1:]}, one for each class, got {weights.shape}. Reshape them."
            raise ShapeError(msg)
        return ArraySpec(spec.shape, np.result_type(scores.dtype, weights.dtype))

    def _smoothing(self) -> float:
        """Return the share of a label that is spread over all classes."""
        return 0.0

    def _safe_labels(self, labels: Array, classes: int) -> tuple[Array, Array | None]:
        """Return labels that are classes all, and which rows count; None for all."""
        kept = None if self.ignore_index is None else labels != self.ignore_index
        labels = labels if kept is None else np.where(kept, labels, 0)
        check_labels(labels, classes)
        return labels, kept

    def _is_label(self, labels: Array, classes: int) -> Array:
        """Return which class is the label of each row. Shape `(..., classes)`."""
        labels, _ = self._safe_labels(labels, classes)
        return np.equal(labels[..., np.newaxis], np.arange(classes))

    def _wanted(self, logs: Array, labels: Array, weights: Array | None = None) -> Array:
        """Return what the logarithms are multiplied by. Shape of `logs`."""
        classes = logs.shape[-1]
        weights = np.ones(classes, logs.dtype) if weights is None else weights
        spread = self._smoothing() / classes
        return np.where(self._is_label(labels, classes), (1 - self._smoothing() + spread) * weights, spread * weights)

    def _wanted_part(self, x: Array, labels: Array) -> Array:
        """Return `x` with zeros where no share of the label is, even if there it is NaN, as of `0 * -inf`."""
        if self._smoothing():
            return x
        return np.where(self._is_label(labels, x.shape[-1]), x, 0)

    def _loss(self, logs: Array, labels: Array, weights: Array | None = None) -> Array:
        """Return the losses of all rows, put together."""
        _, kept = self._safe_labels(labels, logs.shape[-1])
        losses = -reduce_sum(self._wanted_part(self._wanted(logs, labels, weights) * logs, labels), -1)
        return self._kept_loss(losses, kept, self._label_weights(labels, weights))

    def _kept_loss(self, losses: Array, kept: Array | None, label_weights: Array | None = None) -> Array:
        """Put losses together, of which some do not count."""
        losses = losses if kept is None else np.where(kept, losses, 0)
        if self.reduction != "mean" or (kept is None and label_weights is None):
            return self._reduced(losses)
        return reduce_sum(losses) / self._total(losses, kept, label_weights)

    def _total(self, like: Array, kept: Array | None, label_weights: Array | None) -> Array:
        """Return the sum of the weights of the rows that count, in the dtype of `like`."""
        weights = np.ones_like(like) if label_weights is None else label_weights
        return reduce_sum(weights if kept is None else np.where(kept, weights, 0))

    def _label_weights(self, labels: Array, weights: Array | None) -> Array | None:
        """Return the weight of each row's label, whose sum an average divides by."""
        if weights is None:
            return None
        return reduce_sum(np.where(self._is_label(labels, weights.shape[0]), weights, 0), -1)

    def _each(self, dz: Array, labels: Array, weights: Array | None = None) -> Array:
        """Return the gradient of each row's loss. Shape `(..., 1)`."""
        if self.ignore_index is None and weights is None:
            return self._shared(dz, labels.shape)[..., np.newaxis]
        dz = widened(dz)
        kept = None if self.ignore_index is None else labels != self.ignore_index
        if self.reduction == "mean":
            like = np.broadcast_to(dz, labels.shape)
            dz = dz / self._total(like, kept, self._label_weights(labels, weights))
        each = np.broadcast_to(dz, labels.shape)
        return (each if kept is None else np.where(kept, each, 0))[..., np.newaxis]

    def _weights_gradient(self, dz: Array, logs: Array, labels: Array, weights: Array) -> Array:
        """Return the gradient of the weights of the classes. Shape `(classes,)`."""
        each = self._each(dz, labels, weights)
        gradient = -self._wanted_part(each * self._wanted(logs, labels) * logs, labels)
        if self.reduction == "mean":
            # The weights of the labels are in the divisor, too.
            is_label = self._is_label(labels, logs.shape[-1])
            gradient = gradient - np.where(is_label, each * self._loss(logs, labels, weights), 0)
        return reduce_sum(gradient, tuple(range(labels.ndim)))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        """Yield the gate with every reduction, and on a single row."""
        random = np.random.default_rng(1)
        for reduction in ("mean", "sum", "none"):
            yield Example(cls(reduction=reduction), random.normal(size=(4, 3)), np.array([0, 2, 1, 1]))
        yield Example(cls(), random.normal(size=(3,)), np.array(2))


def check_labels(labels: Array, classes: int) -> None:
    """Raise GateDataError if a label is no class."""
    outside = (labels < 0) | (labels >= classes)
    if np.any(outside):
        first = labels.flat[int(np.argmax(outside))]
        msg = f"Label {first} is out of range for {classes} classes. Labels run from 0 to {classes - 1}."
        raise GateDataError(msg)


def log_softmax(x: Array) -> Array:
    """Return the logarithm of the softmax along the last axis."""
    shifted = x - np.max(x, axis=-1, keepdims=True)
    return shifted - np.log(reduce_sum(np.exp(shifted), -1, keepdims=True))
