"""Experiments: a backward called again with other gradients arriving, to establish why it gave a NaN or an infinity.

Nothing is known of a gate but its rules. If a NaN turns into an infinity once the zeros that arrive are replaced by
ones, then a zero had met an infinite derivative; and so on.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from graphsvc.arrays import Array, sum_to_shape
from graphsvc.engine.calls import Record, call_backward
from graphsvc.engine.diagnosis import Cause
from graphsvc.engine.plan import Step
from graphsvc.errors import GraphsvcError
from graphsvc.gate import Elementwise
from graphsvc.signature import Parameter, Source

__all__ = ["Explained", "explain_gradient", "is_finite", "placed", "values_at"]

Explained: TypeAlias = tuple[Mapping[str, Array], Cause | None]
"""What an elementwise gate read at a place, by name, and why a number there is not finite."""


def explain_gradient(
    step: Step,
    record: Record,
    arriving: Sequence[Array | None],
    position: int,
    index: tuple[int, ...],
    is_nan: bool,
) -> Explained:
    """Establish what made an element of an operand's gradient NaN or infinite.

    Args:
        step: The gate.
        record: What its forward pass kept.
        arriving: The gradients that arrived, which hold no NaN, and no infinity either unless `is_nan`.
        position: Which operand.
        index: Which element of its gradient.
        is_nan: Whether the element is NaN, and not infinite.

    Returns:
        What an elementwise gate read for this element, and the cause if it could be established.
    """
    return _Experiment(step, record, arriving, position).explain(index, is_nan)


class _Experiment:
    """A backward to call again, for one of its operands."""

    def __init__(self, step: Step, record: Record, arriving: Sequence[Array | None], position: int) -> None:
        self.step = step
        self.record = record
        self.position = position
        rules = [asked.rule for asked in step.rules if position in asked.positions]
        self.parameters = [parameter for rule in rules for parameter in rule.parameters]
        # Where no gradient arrives the engine hands out zeros, unless the rule takes None.
        asked = {p.index for p in self.parameters if p.source is Source.OUTPUT_GRADIENT and not p.optional}
        self.arriving = [
            np.zeros(record.output_shapes[i], record.output_dtypes[i]) if gradient is None and i in asked else gradient
            for i, gradient in enumerate(arriving)
        ]

    def explain(self, index: tuple[int, ...], is_nan: bool) -> Explained:
        """Return what the rule read at that place, and what made the element there."""
        shape = self.record.operand_shapes[self.position]
        read = dict(self._read())
        given = {p.name: dz for p in self.parameters if (dz := self._given(p)) is not None}
        values = values_at(self.step, {**given, **read}, shape, index)
        try:
            return values, self._cause(index, is_nan, {name: values.get(name, array) for name, array in read.items()})
        except GraphsvcError:
            # The run itself went through; an experiment that a gate refuses establishes nothing.
            return values, None

    def _cause(self, index: tuple[int, ...], is_nan: bool, read: Mapping[str, Array]) -> Cause | None:
        cause = self._cause_of_nan(index) if is_nan else None
        if cause is not None or not _all_finite(read):
            return cause or Cause.VALUE_NOT_FINITE
        derivative = self._again(index, np.ones_like)
        if is_nan:
            return Cause.DERIVATIVE_NAN if np.isnan(derivative) else None
        if np.isinf(derivative):
            return Cause.DERIVATIVE_INFINITE
        return Cause.GRADIENT_OVERFLOW if np.isfinite(derivative) else None

    def _cause_of_nan(self, index: tuple[int, ...]) -> Cause | None:
        """Return how an arriving gradient made the NaN, if one did."""
        # Of both signs, because beside other infinite terms of a sum one of them would cancel.
        for one in (1, -1):
            if np.isinf(self._again(index, partial(_replaced, lambda dz: dz == 0, one))):
                return Cause.ZERO_MET_INFINITE
        given = [dz for dz in self.arriving if dz is not None]
        if any(np.isinf(dz).any() for dz in given) and np.isfinite(self._again(index, partial(_replaced, np.isinf, 1))):
            return Cause.INFINITE_GRADIENT
        if all(self._is_zero(dz, index) for dz in given) and np.isnan(self._again(index, np.ones_like)):
            return Cause.ZERO_MET_NAN
        return None

    def _is_zero(self, dz: Array, index: tuple[int, ...]) -> bool:
        """Tell whether all is zero that arrives for an element of the operand."""
        shape = self.record.operand_shapes[self.position]
        if isinstance(self.step.node.gate, Elementwise) and _broadcasts(shape, dz.shape):
            return not sum_to_shape((dz != 0).astype(np.float64), shape)[index]
        return not dz.any()

    def _again(self, index: tuple[int, ...], change: Callable[[Array], Array]) -> np.inexact[Any]:
        """Return the element that the backward gives where other gradients arrive."""
        arriving = [None if dz is None else change(dz) for dz in self.arriving]
        gradients = call_backward(self.step, self.record, arriving)
        found = next(gradient for position, gradient in placed(self.step, gradients) if position == self.position)
        element: np.inexact[Any] = found[index]
        return element

    def _given(self, parameter: Parameter) -> Array | None:
        return self.arriving[parameter.index] if parameter.source is Source.OUTPUT_GRADIENT else None

    def _read(self) -> Iterator[tuple[str, Array]]:
        """Yield the arrays of the forward pass that the rule is given, by name."""
        signature = self.step.node.gate.signature
        for parameter in self.parameters:
            found: object = None
            if parameter.source is Source.OPERAND:
                for position, operand in enumerate(self.record.operands):
                    if signature.index(position) == parameter.index and operand is not None:
                        yield signature.operand_name(position), operand
            elif parameter.source is Source.OUTPUT:
                found = self.record.outputs[parameter.index]
            elif parameter.source is Source.SAVED:
                found = self.record.saved[parameter.index]
            if isinstance(found, np.ndarray | np.generic):
                yield parameter.name, np.asarray(found)


def placed(step: Step, gradients: Iterable[tuple[str, Array]]) -> Iterator[tuple[int, Array]]:
    """Yield the gradients that a backward gave, each with the position of its operand.

    One value may be several operands; their gradients come in the order of the operands.
    """
    position = -1
    for reference, gradient in gradients:
        position = step.node.operands.index(reference, position + 1)
        yield position, gradient


def _replaced(chosen: Callable[[Array], Array], one: int, dz: Array) -> Array:
    """Return an arriving gradient with ones for the chosen elements."""
    return np.where(chosen(dz), dz.dtype.type(one), dz)


def values_at(
    step: Step, arrays: Mapping[str, Array], shape: tuple[int, ...], index: tuple[int, ...]
) -> dict[str, Array]:
    """Return what an elementwise gate read at a place; nothing where more than one element went into it."""
    if not isinstance(step.node.gate, Elementwise) or not all(
        array.dtype.kind in "biuf" and _broadcasts(array.shape, shape) for array in arrays.values()
    ):
        return {}
    return {name: np.broadcast_to(array, shape)[index] for name, array in arrays.items()}


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def is_finite(array: Array) -> bool:
    """Tell whether an array holds neither NaN nor infinity."""
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def _all_finite(arrays: Mapping[str, Array]) -> bool:
    return all(map(is_finite, arrays.values()))
