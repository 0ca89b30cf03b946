"""The two loops once more, with a tangent beside each value and each gradient.

`forward` runs the gates with the tangents of their operands, `backward` the gradients with theirs. What a gate gives is
held to what its backward says, and to differences: a tangent that got lost is found, and refused.
"""

from collections.abc import Callable, Sequence

import numpy as np

from graphsvc.arrays import Array, Literal
from graphsvc.engine.calls import freeze
from graphsvc.engine.duals.dual import noted
from graphsvc.engine.plan import Step
from graphsvc.engine.tangents.movement import Moved, Primal
from graphsvc.engine.tangents.pulling import pull
from graphsvc.engine.tangents.pushing import push, still
from graphsvc.engine.tangents.verification import Verification

__all__ = ["backward", "forward"]


# Forward ------------------------------------------------------------------------------------------------------------


def forward(
    steps: Sequence[Step],
    values: dict[str, Array | Literal],
    tangents: dict[str, Array],
    between: Callable[[], None] | None = None,
    primal: Primal | None = None,
) -> dict[str, Moved]:
    """Run the gates in topological order, with tangents.

    Args:
        steps: The gates, in topological order.
        values: Inputs and constants by name. The outputs of the gates are added.
        tangents: Tangents of inputs. Those of the outputs of the gates are added.
        between: Called before every gate; what it raises stops the run.
        primal: A forward pass on the same values, if there was one.

    Returns:
        For each gate that the backward pass will visit, what it kept.

    Raises:
        TangentLostError: A gate cannot be run with tangents.
        GateError: A gate failed.
    """
    moved: dict[str, Moved] = {}
    for step in steps:
        if between:
            between()
        node = step.node
        given = [values[operand] for operand in node.operands]
        dots: list[Array | None] = [
            tangents.get(operand) if wanted else None
            for operand, wanted in zip(node.operands, step.wanted or (False,) * len(given), strict=True)
        ]
        known = primal[node.name] if primal else None
        kept: Moved | None
        if not step.rules or all(dot is None for dot in dots):
            outputs, kept = still(step, given, dots, known)
        else:
            kept = push(step, given, dots, known)
            outputs = kept.outputs
            for reference, dot in zip(node.results, kept.output_dots, strict=True):
                if dot is not None:
                    freeze(dot)
                    tangents[reference] = dot
        if kept:
            moved[node.name] = kept
        values.update(zip(node.results, outputs, strict=True))
    return moved


# Backward -----------------------------------------------------------------------------------------------------------


def backward(
    steps: Sequence[Step],
    moved: dict[str, Moved],
    gradients: dict[str, Array],
    tangents: dict[str, Array],
    verification: Verification,
    between: Callable[[], None] | None = None,
) -> None:
    """Run the gates in the reversed order, with the tangents of the gradients.

    Args:
        steps: The gates, in topological order.
        moved: What `forward` kept.
        gradients: The gradients arriving at outputs of the graph. In the end it holds those of the inputs.
        tangents: The tangents of the gradients; in the end those of the inputs' gradients.
        verification: Which nodes are compared with differences.
        between: Called before every gate; what it raises stops the run.

    Raises:
        TangentLostError: A gate cannot be run with tangents, or loses them.
        GateError: A gate failed.
    """
    sums: set[str] = set()
    dot_sums: set[str] = set()
    for step in reversed(steps):
        if not step.rules:
            continue
        if between:
            between()
        kept = moved[step.node.name]
        arriving = _arrived(gradients, step, kept)
        arriving_dots = _arrived(tangents, step, kept)
        if all(gradient is None for gradient in arriving):
            continue
        before = noted().constants
        found = pull(step, kept, arriving, arriving_dots)
        if any(dot is not None for dot in (*kept.operand_dots, *arriving_dots)):
            constants = kept.constants or noted().constants != before
            verification.check(step, kept, arriving, arriving_dots, found, constants=constants)
        for position, gradient, dot in found:
            reference = step.node.operands[position]
            _accumulate(gradients, sums, reference, gradient)
            if dot is not None:
                _accumulate(tangents, dot_sums, reference, dot)


def _arrived(gradients: dict[str, Array], step: Step, kept: Moved) -> list[Array | None]:
    """Take the gradients of a gate's outputs, which are complete, in the dtypes of these, read-only."""
    arrived: list[Array | None] = []
    for reference, dtype in zip(step.node.results, kept.record.output_dtypes, strict=True):
        gradient = gradients.pop(reference, None)
        if gradient is not None:
            gradient = gradient.astype(dtype, copy=False)
            freeze(gradient)
        arrived.append(gradient)
    return arrived


def _accumulate(gradients: dict[str, Array], sums: set[str], reference: str, gradient: Array) -> None:
    """Add a contribution, as `backprop` does."""
    if reference not in gradients:
        gradients[reference] = gradient
    elif reference not in sums:
        wide = np.float32 if gradient.dtype == np.float16 else gradient.dtype
        gradients[reference] = np.asarray(np.add(gradients[reference], gradient, dtype=wide))
        sums.add(reference)
    else:
        np.add(gradients[reference], gradient, out=gradients[reference])
