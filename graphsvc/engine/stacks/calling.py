"""Calling a gate's backward once for many gradients that arrive, or once for each where that cannot be."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from graphsvc.arrays import Array, is_differentiable, sum_to_shape
from graphsvc.engine.calls import Record, call_backward, call_rule, freeze
from graphsvc.engine.plan import Step
from graphsvc.engine.stacks.stack import Stack, refuse
from graphsvc.gate import Elementwise

__all__ = ["call_backward_stacked", "most_stacked"]

_MOST_BYTES: Final = 2**24
"""What the gradients of all values take together at most; more than this is no faster than one after the other."""


def most_stacked(records: Iterable[Record]) -> int:
    """Return how many gradients may run through a graph at once, by what these gates kept of a forward pass."""
    elements = sum(
        np.prod(shape, dtype=np.float64) * dtype.itemsize
        for record in records
        for shape, dtype in zip(
            record.operand_shapes + record.output_shapes, record.operand_dtypes + record.output_dtypes, strict=True
        )
    )
    return int(max(1, _MOST_BYTES // max(1, elements)))


def call_backward_stacked(step: Step, record: Record, arriving: Sequence[Array | None]) -> Iterator[tuple[str, Array]]:
    """Run a gate backward as `call_backward` does, for gradients whose first axis counts them.

    A gate whose backward leaves plain NumPy, or asks for the numbers of its gradient, is called for each of them.
    """
    try:
        found = _at_once(step, record, arriving)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a stranger's gate may raise anything on what is no array
        found = _one_by_one(step, record, arriving)
    yield from found


def _at_once(step: Step, record: Record, arriving: Sequence[Array | None]) -> list[tuple[str, Array]]:
    stacks: list[Any] = [None if gradient is None else Stack(gradient) for gradient in arriving]
    return [
        (step.node.operands[position], _fitting(step, record, position, gradient))
        for asked in step.rules
        for position, gradient in zip(asked.positions, call_rule(step, asked, record, stacks), strict=True)
        if step.wanted[position] and is_differentiable(record.operand_dtypes[position])
    ]


def _fitting(step: Step, record: Record, position: int, gradient: Any) -> Array:
    """Return gradients in the shape and dtype of their operand."""
    shape, dtype = record.operand_shapes[position], record.operand_dtypes[position]
    if type(gradient) is not Stack or gradient.dtype.kind != dtype.kind:
        refuse("backward returned no stack")
    array: Array = gradient.array
    if gradient.shape != shape:
        if not isinstance(step.node.gate, Elementwise) or gradient.shape not in record.output_shapes:
            refuse("backward returned another shape")
        whole = (len(array), *(1,) * (gradient.ndim - len(shape)), *shape)
        array = sum_to_shape(array, whole).reshape(len(array), *shape)
    array = array.astype(dtype, copy=False)
    freeze(array)
    return array


def _one_by_one(step: Step, record: Record, arriving: Sequence[Array | None]) -> list[tuple[str, Array]]:
    count = next(len(gradient) for gradient in arriving if gradient is not None)
    several = [
        list(call_backward(step, record, [None if gradient is None else gradient[k] for gradient in arriving]))
        for k in range(count)
    ]
    return [(first[0][0], np.stack([gradient for _, gradient in first])) for first in zip(*several, strict=True)]
