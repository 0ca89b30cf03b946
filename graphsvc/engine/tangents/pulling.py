"""Pulling gradients, with their tangents, back through one gate."""

from collections.abc import Sequence
from typing import Any

from graphsvc.arrays import Array
from graphsvc.engine.calls import argument_of, call_rule, checked, handed, listed
from graphsvc.engine.duals.dual import Dual, holds_dual, tangent_of, value_of
from graphsvc.engine.plan import Step, WantedRule
from graphsvc.engine.tangents.movement import Moved, paired, run_on_duals
from graphsvc.signature import Parameter, Source

__all__ = ["Pulled", "pull"]

Pulled = list[tuple[int, Array, Array | None]]
"""Position, gradient and its tangent for each wanted operand."""


def pull(step: Step, kept: Moved, arriving: list[Array | None], arriving_dots: list[Array | None]) -> Pulled:
    """Run a gate backward with tangents.

    Args:
        step: The gate, and which of its operands want a gradient.
        kept: What its forward pass kept.
        arriving: The gradient at each output; None where none arrives.
        arriving_dots: The tangents of these.

    Raises:
        TangentLostError: The gate cannot be run with tangents.
        GateError: It failed.
    """
    record = kept.record
    found: Pulled = []
    for asked in step.rules:
        gradients: Sequence[Any]
        dots: Sequence[Any]
        if _reads_tangents(step, asked, kept):
            arguments = [_argument(p, step, kept, arriving, arriving_dots) for p in asked.rule.parameters]
            both = listed(step, asked, run_on_duals(step.node, asked.method, asked.rule.call, arguments))
            gradients, dots = [value_of(x) for x in both], [tangent_of(x) for x in both]
        else:
            # What reads nothing that moves is linear in dz alone.
            gradients = call_rule(step, asked, record, arriving)
            still = all(dot is None for dot in arriving_dots)
            dots = (None,) * len(gradients) if still else call_rule(step, asked, record, arriving_dots)
        for position, gradient, dot in zip(asked.positions, gradients, dots, strict=True):
            if step.wanted[position]:
                moved = None if dot is None else checked(step, record, asked.method, position, dot)
                found.append((position, checked(step, record, asked.method, position, gradient), moved))
    return found


def _reads_tangents(step: Step, asked: WantedRule, kept: Moved) -> bool:
    """Tell whether a rule reads something besides dz that has a tangent."""
    needs, index = asked.rule.needs, step.node.gate.signature.index
    operands = needs[Source.OPERAND]
    return (
        (bool(operands) and any(d is not None and index(i) in operands for i, d in enumerate(kept.operand_dots)))
        or any(kept.output_dots[i] is not None for i in needs[Source.OUTPUT])
        or any(holds_dual(kept.record.saved[i]) for i in needs[Source.SAVED])
    )


def _argument(
    parameter: Parameter,
    step: Step,
    kept: Moved,
    arriving: list[Array | None],
    arriving_dots: list[Array | None],
) -> Any:
    """Return what a parameter of a backward stands for, with its tangent."""
    argument, index = argument_of(parameter, step, kept.record, arriving), parameter.index
    match parameter.source:
        case Source.OUTPUT_GRADIENT:
            dot = arriving_dots[index]
            return argument if dot is None or argument is None else Dual(argument, handed(dot))
        case Source.OPERAND:
            if isinstance(argument, tuple):
                return tuple(paired(x, dot) for x, dot in zip(argument, kept.operand_dots[index:], strict=True))
            return paired(argument, kept.operand_dots[index])
        case Source.OUTPUT:
            return paired(argument, kept.output_dots[index])
        case _:
            return argument
