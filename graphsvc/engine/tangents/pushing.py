"""Pushing tangents forward through one gate, in the way that it allows.

An elementwise gate moves as its own backward says, for its Jacobian is diagonal; a linear one moves as it computes; one
with a `jvp` as that says; any other runs on dual arrays.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphsvc.arrays import Array, Literal, is_differentiable
from graphsvc.engine.calls import (
    Record,
    argument_of,
    break_contract,
    call_forward,
    call_rule,
    completed,
    flaw_of,
    handed,
    invoke,
    listed_results,
    operands_of,
    specs_of,
)
from graphsvc.engine.duals.dual import holds_dual, noted, stripped, tangent_of, value_of
from graphsvc.engine.plan import Step
from graphsvc.engine.stacks.stack import Stack
from graphsvc.engine.tangents.agreement import agrees
from graphsvc.engine.tangents.movement import Moved, paired, run_on_duals
from graphsvc.errors import GateNotDifferentiableError, TangentLostError
from graphsvc.gate import Elementwise
from graphsvc.signature import BackwardRule, Parameter, Source

__all__ = ["push", "still"]

Dots = tuple[Array | None, ...]


def still(
    step: Step,
    given: list[Array | Literal],
    dots: list[Array | None],
    known: tuple[tuple[Array, ...], Record | None] | None,
) -> tuple[tuple[Array, ...], Moved | None]:
    """Run a gate of which nothing moves; return its outputs, and what its backward will need if that is wanted."""
    outputs, record = known or call_forward(step, given)
    if record is None:
        return outputs, None
    return outputs, Moved(record, operands_of(step, given), outputs, dots, (None,) * len(outputs))


def push(
    step: Step,
    given: list[Array | Literal],
    dots: list[Array | None],
    known: tuple[tuple[Array, ...], Record | None] | None,
) -> Moved:
    """Run a gate with tangents.

    Args:
        step: The gate, of which gradients are wanted.
        given: Its operands.
        dots: Their tangents.
        known: Outputs and record of a run on the same operands, if there was one.

    Raises:
        TangentLostError: The gate cannot be run with tangents.
        GateError: It failed.
    """
    gate, operands = step.node.gate, operands_of(step, given)
    signature = gate.signature
    diagonal = isinstance(gate, Elementwise)
    if not (diagonal or gate.linear or signature.jvp):
        return _on_duals(step, operands, dots)
    saved = signature.saves and not gate.linear and any(asked.rule.needs[Source.SAVED] for asked in step.rules)
    if saved:
        # What backward reads of it moves, too, and only duals say how.
        kept = _on_duals(step, operands, dots)
    else:
        outputs, record = known or call_forward(step, given)
        assert record is not None  # noqa: S101 - rules are wanted
        kept = Moved(record, operands, outputs, dots, ())
    if signature.jvp:
        kept.output_dots = _by_own_jvp(step, kept, signature.jvp)
    elif not diagonal:
        kept.output_dots = _by_linearity(step, operands, dots)
    else:
        along = _along_diagonal(step, kept)
        if along is None:
            return _on_duals(step, operands, dots)
        if saved:
            _compare_saved(step, kept, along)
        kept.output_dots = along
    kept.unproven = bool(signature.jvp) or not diagonal
    return kept


def _on_duals(step: Step, operands: list[Array], dots: list[Array | None]) -> Moved:
    """Run forward on dual arrays."""
    node = step.node
    specs = specs_of(step, operands)
    before = noted().constants
    arguments = [paired(x, dot) for x, dot in zip(operands, dots, strict=True)]
    returned = run_on_duals(node, "forward", node.gate.signature.forward, arguments)
    results, saved = listed_results(node, returned)
    outputs, record = completed(step, operands, tuple(map(value_of, results)), saved, specs)
    assert record is not None  # noqa: S101 - rules are wanted
    output_dots = tuple(map(tangent_of, results))
    return Moved(record, operands, outputs, dots, output_dots, constants=noted().constants != before, unproven=True)


# By an own jvp, or by linearity -------------------------------------------------------------------------------------


def _by_own_jvp(step: Step, kept: Moved, rule: BackwardRule) -> Dots:
    record = replace(
        kept.record, operands=tuple(kept.operands), outputs=kept.outputs, saved=stripped(kept.record.saved)
    )
    none = (None,) * len(kept.outputs)
    arguments = [
        _tangent_argument(parameter, step, kept)
        if parameter.source is Source.OPERAND_TANGENT
        else argument_of(parameter, step, record, none)
        for parameter in rule.parameters
    ]
    returned = invoke(step.node, "jvp", rule.call, *arguments)
    names = step.node.gate.signature.outputs
    several = len(names) > 1
    if several and (not isinstance(returned, tuple | list) or len(returned) != len(names)):
        break_contract(step.node, f"jvp must return the tangents of {', '.join(names)}")
    return _fitting(step, kept.outputs, tuple(returned) if several else (returned,), "jvp")


def _tangent_argument(parameter: Parameter, step: Step, kept: Moved) -> Any:
    signature, index = step.node.gate.signature, parameter.index
    several = signature.variadic and index == len(signature.operands) - 1
    positions = range(index, len(kept.operands)) if several else (index,)
    dots = tuple(
        (None if parameter.optional else np.zeros_like(kept.operands[i])) if kept.operand_dots[i] is None
        else handed(kept.operand_dots[i])
        for i in positions
    )  # fmt: skip
    return dots if several else dots[0]


def _by_linearity(step: Step, operands: list[Array], dots: list[Array | None]) -> Dots:
    """Return what forward makes of the tangents."""
    node = step.node
    arguments = [
        dot if dot is not None else np.zeros_like(x) if is_differentiable(x.dtype) else x
        for x, dot in zip(operands, dots, strict=True)
    ]
    returned = invoke(node, "forward", node.gate.signature.forward, *map(handed, arguments))
    results, _ = listed_results(node, returned)
    return _fitting(step, None, results, "forward")


def _fitting(step: Step, outputs: Sequence[Array] | None, dots: Sequence[Any], method: str) -> Dots:
    """Check tangents of outputs, and return them in the dtypes of these, where they are given."""
    fitting: list[Array | None] = []
    for i, dot in enumerate(dots):
        if dot is None:
            fitting.append(None)
            continue
        if flaw := _flaw_of(dot):
            break_contract(step.node, f"{method} returned for the tangent of an output {flaw}")
        if not is_differentiable(dot.dtype):
            fitting.append(None)
            continue
        if outputs is not None and dot.shape != outputs[i].shape:
            break_contract(step.node, f"{method} returned a tangent of shape {dot.shape} for an output of another")
        fitting.append(dot if outputs is None else _as(dot, outputs[i].dtype))
    return tuple(fitting)


def _flaw_of(dot: Any) -> str | None:
    """Return what a gate returned instead of a tangent, or of many at once."""
    return None if type(dot) is Stack else flaw_of(dot)


def _as(x: Array, dtype: np.dtype[Any]) -> Array:
    return (x.real if dtype.kind == "f" and x.dtype.kind == "c" else x).astype(dtype, copy=False)


# Along the diagonal -------------------------------------------------------------------------------------------------


def _along_diagonal(step: Step, kept: Moved) -> Dots | None:
    """Return the tangents of an elementwise gate's outputs, which its own backward gives, for its Jacobian is diagonal.

    None if backward has summed over the elements already, so that the diagonal cannot be seen.
    """
    record = kept.record
    if holds_dual(record.saved):
        record = replace(record, saved=stripped(record.saved))
    moving = {i: dot for i, dot in enumerate(kept.operand_dots) if dot is not None}
    real = all(dtype.kind != "c" for dtype in (*record.output_dtypes, *record.operand_dtypes))
    # Backward is linear in dz, so where it speaks of one moving operand alone the tangent itself may arrive.
    alone = len(moving) == 1 or all(asked.operand is not None for asked in step.rules)
    way = _tangent_through if real and alone and len(record.output_shapes) == 1 else _tangent_by_units
    along: list[Array | None] = []
    for output, dtype in enumerate(record.output_dtypes):
        if not is_differentiable(dtype):
            along.append(None)
            continue
        parts = way(step, record, output, moving)
        if parts is None:
            return None
        along.append(_as(sum(parts[1:], start=parts[0]), dtype))
    return tuple(along)


def _tangent_through(step: Step, record: Record, output: int, moving: dict[int, Array]) -> list[Any] | None:
    """Return the part of an output's tangent that each moving operand has: what backward makes of its tangent."""
    shape, dtype = record.output_shapes[output], record.output_dtypes[output]
    parts = []
    for i, dot in moving.items():
        dz = dot.astype(dtype, copy=False)
        dz = dz if dz.shape == shape else np.broadcast_to(dz, shape)
        part = _diagonal(step, record, output, dz, [i]).get(i)
        if part is None or part.shape != shape:
            return None
        parts.append(part)
    return parts


def _tangent_by_units(step: Step, record: Record, output: int, moving: dict[int, Array]) -> list[Any] | None:
    """Return the same as products of the diagonal, which backward makes of ones, with the tangents."""
    shape, dtype = record.output_shapes[output], record.output_dtypes[output]
    parts = []
    for unit in (1.0, 1.0j) if dtype.kind == "c" else (1.0,):
        rows = _diagonal(step, record, output, np.full(shape, unit, dtype), list(moving))
        if any(row.shape != shape for row in rows.values()) or len(rows) < len(moving):
            return None
        parts += [unit * np.real(np.conjugate(rows[i]) * dot) for i, dot in moving.items()]
    return parts


def _diagonal(step: Step, record: Record, output: int, dz: Array, positions: Sequence[int]) -> dict[int, Any]:
    """Return what backward gives for operands, as it gives it."""
    arriving: list[Array | None] = [None] * len(record.output_shapes)
    arriving[output] = dz
    rows: dict[int, Any] = {}
    for asked in step.rules:
        if not set(asked.positions) & set(positions):
            continue
        for i, row in zip(asked.positions, call_rule(step, asked, record, arriving), strict=True):
            if i not in positions:
                continue
            if row is None:
                operand = step.node.gate.signature.operand_name(i)
                msg = f"{asked.method} gives no gradient for operand {operand!r}. Ask for other derivatives with wrt."
                raise GateNotDifferentiableError(msg).at(step.node.name, step.node.gate_name)
            if flaw := _flaw_of(row):
                break_contract(step.node, f"{asked.method} returned {flaw}")
            rows[i] = row
    return rows


def _compare_saved(step: Step, kept: Moved, along: Dots) -> None:
    """Hold the run on duals, which the saved values come from, to what backward says of the outputs."""
    for mine, theirs in zip(kept.output_dots, along, strict=True):
        if theirs is not None and not agrees(np.zeros_like(theirs) if mine is None else mine, theirs):
            msg = "forward loses tangents: the tangents of its result are not what backward says. Ask for first "
            msg += "derivatives only, or have its author mend it."
            raise TangentLostError(msg).at(step.node.name, step.node.gate_name)
