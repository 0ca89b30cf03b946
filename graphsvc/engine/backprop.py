"""Backpropagation: the two loops of the lecture.

`forward` runs the gates in topological order and keeps what the backward pass will ask for. `backward` runs them in
the reversed order: each gate turns the gradients arriving at its outputs into gradients of its operands (the chain
rule), and where a value went to several gates, the gradients that come back from them add up.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphsvc.arrays import Array, Literal
from graphsvc.engine.calls import BackwardCall, ForwardCall, Record, call_backward, call_forward, freeze
from graphsvc.engine.plan import Step

__all__ = ["backward", "forward"]


def forward(
    steps: Sequence[Step],
    values: dict[str, Array | Literal],
    between: Callable[[], None] | None = None,
    call: ForwardCall = call_forward,
) -> dict[str, Record]:
    """Run the gates in topological order.

    Args:
        steps: The gates, in topological order.
        values: Inputs and constants by name. The outputs of the gates are added; what nobody needs is dropped.
        between: Called before every gate; what it raises stops the run.
        call: What calls a gate; an observer stands here.

    Returns:
        For each gate that the backward pass will visit, what it kept.
    """
    records = {}
    for step in steps:
        if between:
            between()
        outputs, record = call(step, [values[operand] for operand in step.node.operands])
        values.update(zip(step.node.results, outputs, strict=True))
        if record:
            records[step.node.name] = record
        for reference in step.frees:
            del values[reference]
    return records


def backward(
    steps: Sequence[Step],
    records: dict[str, Record],
    gradients: dict[str, Array],
    between: Callable[[], None] | None = None,
    call: BackwardCall = call_backward,
) -> None:
    """Run the gates in the reversed order.

    Args:
        steps: The gates, in topological order.
        records: What `forward` kept; each record is dropped once it is used.
        gradients: The gradients arriving at outputs of the graph. In the end it holds those of the inputs.
        between: Called before every gate; what it raises stops the run.
        call: What calls a gate; an observer stands here.
    """
    sums: set[str] = set()
    for step in reversed(steps):
        if not step.rules:
            continue
        if between:
            between()
        record = records.pop(step.node.name)
        arriving = [
            None if result not in gradients else _rounded(gradients.pop(result), dtype)
            for result, dtype in zip(step.node.results, record.output_dtypes, strict=True)
        ]
        if all(gradient is None for gradient in arriving):
            continue
        for operand, gradient in call(step, record, arriving):
            _accumulate(gradients, sums, operand, gradient)


def _accumulate(gradients: dict[str, Array], sums: set[str], reference: str, gradient: Array) -> None:
    """Add a contribution. The first is borrowed, the second makes a sum of our own, later ones are added in place."""
    if reference not in gradients:
        gradients[reference] = gradient
    elif reference not in sums:
        # Sums in float16 stop at 2048.
        wide = np.float32 if gradient.dtype == np.float16 else gradient.dtype
        gradients[reference] = np.asarray(np.add(gradients[reference], gradient, dtype=wide))
        sums.add(reference)
    else:
        np.add(gradients[reference], gradient, out=gradients[reference])


def _rounded(gradient: Array, dtype: np.dtype[Any]) -> Array:
    """Return a gradient that is complete, in the dtype of its value, read-only."""
    gradient = gradient.astype(dtype, copy=False)
    freeze(gradient)
    return gradient
