"""Derivatives along a direction: the two loops once more, with a tangent beside each value and each gradient.

`forward` runs the gates with the tangents of their operands, `backward` the gradients with theirs. An elementwise gate
moves as its own backward says; a linear one moves as it computes; any other runs on dual arrays (`engine.duals`). All
but the first are held to what their backward says: a tangent that got lost shows as `<dz, z_dot>` different from
`sum <dx, x_dot>`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from graphsvc.arrays import Array, Literal, is_differentiable
from graphsvc.engine.calls import (
    Record,
    argument_of,
    break_contract,
    call_backward,
    call_forward,
    call_rule,
    checked,
    completed,
    flaw_of,
    freeze,
    handed,
    invoke,
    listed,
    listed_results,
    operands_of,
    specs_of,
)
from graphsvc.engine.duals.dual import Dual, LostTangent, holds_dual, noted, stripped, tangent_of, value_of
from graphsvc.engine.inference import BoundNode, described
from graphsvc.engine.plan import Step
from graphsvc.engine.verification import Motion, agrees, check_adjoint, check_gradients_move, refuse, wide
from graphsvc.errors import GateDataError, GateNotDifferentiableError, GraphsvcError, TangentLostError
from graphsvc.gate import Elementwise
from graphsvc.signature import BackwardRule, Parameter, Source

__all__ = ["Moved", "Primal", "Verification", "backward", "forward"]


_BESIDE: Final = 1e-3
"""How far aside a gate is run again, relative to the size of its operands."""


@dataclass(slots=True)
class Moved:
    """What of a gate's forward pass its backward will need, and the tangents of it.

    Attributes:
        record: As for a first derivative, with duals among the saved values.
        operands: All operands, because differences are taken at them.
        outputs: The outputs, for their size.
        operand_dots: Tangents of the operands; None where there is none.
        output_dots: Tangents of the outputs.
        constants: Whether a function that is constant almost everywhere met a tangent.
        by_duals: Whether the tangents come from a run on dual arrays.
    """

    record: Record
    operands: list[Array]
    outputs: tuple[Array, ...]
    operand_dots: list[Array | None]
    output_dots: tuple[Array | None, ...]
    constants: bool
    by_duals: bool


Primal = dict[str, tuple[tuple[Array, ...], Record | None]]
"""A forward pass that was run before: outputs and record by the name of the node."""


class Verification:
    """Which nodes were compared with differences already. A node is compared once, or always where it may lose much."""

    def __init__(self, known: set[Any], *, always: bool = True) -> None:
        """Make one.

        Args:
            known: What was found right so far; it grows.
            always: Whether nodes that meet functions that are constant almost everywhere are compared every time.
        """
        self.known = known
        self.always = always


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
    moved = {}
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
        if not step.rules or all(dot is None for dot in dots):
            outputs, record = known or call_forward(step, given)
            if record:
                none = (None,) * len(outputs)
                moved[node.name] = Moved(
                    record, operands_of(step, given), outputs, dots, none, constants=False, by_duals=False
                )
        else:
            operands = operands_of(step, given)
            outputs, kept = _moved(step, given, operands, dots, known)
            moved[node.name] = kept
            for reference, dot in zip(node.results, kept.output_dots, strict=True):
                if dot is not None:
                    freeze(dot)
                    tangents[reference] = dot
        values.update(zip(node.results, outputs, strict=True))
    return moved


def _moved(
    step: Step,
    given: list[Array | Literal],
    operands: list[Array],
    dots: list[Array | None],
    known: tuple[tuple[Array, ...], Record | None] | None,
) -> tuple[tuple[Array, ...], Moved]:
    """Run a gate with tangents, in the way that it allows."""
    gate = step.node.gate
    signature = gate.signature
    reads_saved = any(asked.rule.needs[Source.SAVED] for asked in step.rules)
    own = isinstance(gate, Elementwise) or gate.linear or signature.jvp is not None
    if not own or (reads_saved and not gate.linear):
        outputs, kept = _on_duals(step, operands, dots)
        if not own:
            return outputs, kept
    else:
        outputs, record = known or call_forward(step, given)
        assert record is not None  # noqa: S101 - rules are wanted
        kept = Moved(record, operands, outputs, dots, (), constants=False, by_duals=False)
    if signature.jvp is not None:
        kept.output_dots = _by_own_jvp(step, kept, outputs, signature.jvp)
    elif isinstance(gate, Elementwise):
        along = _along_diagonal(step, kept)
        if along is None:
            return _on_duals(step, operands, dots)
        if kept.by_duals:
            _compare_saved(step, kept, along)
        kept.output_dots = along
        kept.by_duals = False
        return outputs, kept
    else:
        kept.output_dots = _by_linearity(step, operands, dots)
    kept.by_duals = True
    return outputs, kept


def _on_duals(step: Step, operands: list[Array], dots: list[Array | None]) -> tuple[tuple[Array, ...], Moved]:
    """Run forward on dual arrays."""
    node = step.node
    specs = specs_of(step, operands)
    before = noted().constants
    arguments = [_paired(x, dot) for x, dot in zip(operands, dots, strict=True)]
    returned = _run_on_duals(node, "forward", node.gate.signature.forward, arguments)
    results, saved = listed_results(node, returned)
    values, record = completed(step, operands, tuple(map(value_of, results)), saved, specs)
    assert record is not None  # noqa: S101 - rules are wanted
    output_dots = tuple(map(tangent_of, results))
    constants = noted().constants != before
    return values, Moved(record, operands, values, dots, output_dots, constants=constants, by_duals=True)


def _paired(x: Any, dot: Array | None) -> Any:
    """Return an operand as the gate is given it, with its tangent if it has one."""
    return handed(x) if dot is None else Dual(handed(x), handed(dot))


def _run_on_duals(node: BoundNode, method: str, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Call a method of a gate on duals. Whatever goes wrong means that it cannot be run on them."""
    notes = noted()
    notes.lost = None
    try:
        returned = function(node.gate, *arguments)
        if notes.lost is None:
            return returned
        reason = notes.lost
    except GateDataError as error:
        # Where the data are at fault, they are so without tangents, too.
        invoke(node, method, function, *map(stripped, arguments))
        reason = str(error)
    except (KeyboardInterrupt, TangentLostError):
        raise
    except LostTangent as error:
        reason = notes.lost or str(error)
    except BaseException as error:  # noqa: BLE001 - a stranger's gate may raise anything on what is no array
        reason = notes.lost or described(error)
    msg = f"{method} cannot be followed by tangents: {reason.removesuffix('.')}. Its author can write it in plain NumPy"
    msg += ", or give the gate a jvp." if method == "forward" else "."
    raise TangentLostError(msg).at(node.name, node.gate_name)


def _by_own_jvp(step: Step, kept: Moved, outputs: tuple[Array, ...], rule: BackwardRule) -> tuple[Array | None, ...]:
    record = replace(kept.record, operands=tuple(kept.operands), outputs=outputs, saved=stripped(kept.record.saved))
    none = (None,) * len(outputs)
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
    return _fitting(step, kept.record, tuple(returned) if several else (returned,), "jvp")


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


def _by_linearity(step: Step, operands: list[Array], dots: list[Array | None]) -> tuple[Array | None, ...]:
    """Return what forward makes of the tangents."""
    node = step.node
    arguments = [
        dot if dot is not None else np.zeros_like(x) if is_differentiable(x.dtype) else x
        for x, dot in zip(operands, dots, strict=True)
    ]
    returned = invoke(node, "forward", node.gate.signature.forward, *map(handed, arguments))
    results, _ = listed_results(node, returned)
    record = Record((), (), (), (), (), (), ())
    return _fitting(step, record, results, "forward")


def _fitting(step: Step, record: Record, dots: Sequence[Any], method: str) -> tuple[Array | None, ...]:
    """Check tangents of outputs, and return them in the dtypes of these."""
    fitting: list[Array | None] = []
    for i, dot in enumerate(dots):
        if dot is None:
            fitting.append(None)
            continue
        if flaw := flaw_of(dot):
            break_contract(step.node, f"{method} returned for the tangent of an output {flaw}")
        if not is_differentiable(dot.dtype):
            fitting.append(None)
            continue
        if record.output_shapes:
            if dot.shape != record.output_shapes[i]:
                break_contract(step.node, f"{method} returned a tangent of shape {dot.shape} for an output of another")
            dtype = record.output_dtypes[i]
            dot = (dot.real if dtype.kind == "f" else dot).astype(dtype, copy=False)
        fitting.append(dot)
    return tuple(fitting)


def _along_diagonal(step: Step, kept: Moved) -> tuple[Array | None, ...] | None:
    """Return the tangents of an elementwise gate's outputs, which its own backward gives, for its Jacobian is diagonal.

    None if backward has summed over the elements already, so that the diagonal cannot be seen.
    """
    record = kept.record
    if holds_dual(record.saved):
        record = replace(record, saved=stripped(record.saved))
    dtypes = (*record.output_dtypes, *record.operand_dtypes)
    moving = [i for i, dot in enumerate(kept.operand_dots) if dot is not None]
    real = all(dtype.kind != "c" for dtype in dtypes)
    # Backward is linear in dz, so with one moving operand the tangent itself may arrive.
    at_once = real and len(record.output_shapes) == 1 and all(asked.operand is not None for asked in step.rules)
    along: list[Array | None] = []
    for output, (shape, dtype) in enumerate(zip(record.output_shapes, record.output_dtypes, strict=True)):
        if not is_differentiable(dtype):
            along.append(None)
            continue
        total: Any = None
        if at_once or (real and len(moving) == 1 and len(record.output_shapes) == 1):
            for i in moving:
                dot = kept.operand_dots[i]
                assert dot is not None  # noqa: S101 - it moves
                dz = dot.astype(dtype, copy=False)
                dz = dz if dz.shape == shape else np.broadcast_to(dz, shape)
                part = _diagonal(step, record, output, dz, [i]).get(i)
                if part is None or part.shape != shape:
                    return None
                total = part if total is None else total + part
        else:
            units = (1.0, 1.0j) if dtype.kind == "c" else (1.0,)
            for unit in units:
                rows = _diagonal(step, record, output, np.full(shape, unit, dtype), moving)
                if any(row is None or row.shape != shape for row in rows.values()) or len(rows) < len(moving):
                    return None
                for i in moving:
                    part = unit * np.real(np.conjugate(rows[i]) * kept.operand_dots[i])
                    total = part if total is None else total + part
        along.append(None if total is None else _as(total, dtype))
    return tuple(along)


def _as(x: Array, dtype: np.dtype[Any]) -> Array:
    return (x.real if dtype.kind == "f" and x.dtype.kind == "c" else x).astype(dtype, copy=False)


def _diagonal(step: Step, record: Record, output: int, dz: Array, positions: Sequence[int]) -> dict[int, Any]:
    """Return what backward gives for operands, as it gives it."""
    signature = step.node.gate.signature
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
                msg = f"{asked.method} gives no gradient for operand {signature.operand_name(i)!r}."
                raise GateNotDifferentiableError(msg + " Ask for other derivatives with wrt.").at(
                    step.node.name, step.node.gate_name
                )
            if flaw := flaw_of(row):
                break_contract(step.node, f"{asked.method} returned {flaw}")
            rows[i] = row
    return rows


def _compare_saved(step: Step, kept: Moved, along: tuple[Array | None, ...]) -> None:
    """Hold the run on duals, which the saved values come from, to what backward says of the outputs."""
    for mine, theirs in zip(kept.output_dots, along, strict=True):
        if theirs is not None and not agrees(np.zeros_like(theirs) if mine is None else mine, theirs):
            _refuse(step.node, "forward", "the tangents of its result are not what backward says")


def _refuse(node: BoundNode, method: str, reason: str) -> None:
    msg = f"{method} loses tangents: {reason}. Ask for first derivatives only, or have its author mend it."
    raise TangentLostError(msg).at(node.name, node.gate_name)


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
        dtypes = kept.record.output_dtypes
        arriving = [_popped(gradients, r, d) for r, d in zip(step.node.results, dtypes, strict=True)]
        arriving_dots = [_popped(tangents, r, d) for r, d in zip(step.node.results, dtypes, strict=True)]
        if all(gradient is None for gradient in arriving):
            continue
        for position, gradient, dot in _backward_of(step, kept, arriving, arriving_dots, verification):
            reference = step.node.operands[position]
            _accumulate(gradients, sums, reference, gradient)
            if dot is not None:
                _accumulate(tangents, dot_sums, reference, dot)


def _popped(gradients: dict[str, Array], reference: str, dtype: np.dtype[Any]) -> Array | None:
    gradient = gradients.pop(reference, None)
    if gradient is None:
        return None
    gradient = gradient.astype(dtype, copy=False)
    freeze(gradient)
    return gradient


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


def _backward_of(
    step: Step,
    kept: Moved,
    arriving: list[Array | None],
    arriving_dots: list[Array | None],
    verification: Verification,
) -> list[tuple[int, Array, Array | None]]:
    """Run a gate backward with tangents, and check what can be checked of them."""
    moving = any(dot is not None for dot in (*kept.operand_dots, *arriving_dots))
    before = noted().constants
    found = list(_gradients_of(step, kept, arriving, arriving_dots))
    if not moving:
        return found
    gradients = {position: gradient for position, gradient, _ in found}
    if kept.by_duals:
        check_adjoint(step, kept, arriving, gradients)
    constants = kept.constants or noted().constants != before
    key = (
        step.node.name,
        tuple(dot is None for dot in (*kept.operand_dots, *arriving_dots)),
        kept.record.operand_shapes,
        kept.record.operand_dtypes,
    )
    if (constants and verification.always) or key not in verification.known:
        if kept.by_duals:
            check_random_adjoint(step, kept)
        _check_gradients(step, kept, arriving, arriving_dots, found)
        verification.known.add(key)
    return found


def _check_gradients(
    step: Step,
    kept: Moved,
    arriving: list[Array | None],
    arriving_dots: list[Array | None],
    found: list[tuple[int, Array, Array | None]],
) -> None:
    """Compare tangents of gradients with differences; narrow dtypes in double precision, for the code is what counts.

    Raises:
        TangentLostError: A tangent is lost.
    """
    given = (*kept.operands, *kept.operand_dots, *arriving, *arriving_dots)
    if any(a is not None and a is not wide(a) for a in given):
        motion = _checked_anew(step, kept, arriving, arriving_dots, 0.0)
    else:
        motion = _compared(step, kept, arriving, arriving_dots, found)
    if motion is Motion.AT_A_TIE:
        # There nothing need agree with its neighbours; code that loses tangents loses them beside it, too.
        try:
            motion = _checked_anew(step, kept, arriving, arriving_dots, _BESIDE)
        except GraphsvcError:
            motion = Motion.LOST
    if motion is not Motion.RIGHT:
        refuse(step, "backward does not move as differences of it do")


def _compared(
    step: Step,
    kept: Moved,
    arriving: list[Array | None],
    arriving_dots: list[Array | None],
    found: list[tuple[int, Array, Array | None]],
) -> Motion:
    gradients = {position: gradient for position, gradient, _ in found}
    moved = {position: dot for position, _, dot in found}
    return check_gradients_move(step, kept, arriving, arriving_dots, gradients, moved)


def _checked_anew(
    step: Step, kept: Moved, arriving: list[Array | None], arriving_dots: list[Array | None], aside: float
) -> Motion:
    """Run a gate again in double precision, `aside` from its operands relative to their size, and compare there."""
    random = np.random.default_rng(5)

    def beside(x: Any) -> Any:
        x = wide(x)
        if not aside or x is None or not is_differentiable(x.dtype):
            return x
        size = float(np.max(np.abs(x), initial=0.0)) or 1.0
        return handed(np.asarray(x + aside * size * _random_like(random, x.shape, x.dtype)))

    step = step._replace(specs=(None,) * len(step.specs))
    operands = [beside(x) for x in kept.operands]
    given: list[Array | Literal] = [*operands]
    dots = [None if dot is None else wide(dot) for dot in kept.operand_dots]
    if any(dot is not None for dot in dots):
        kept = _moved(step, given, operands, dots, None)[1]
    else:
        outputs, record = call_forward(step, given)
        assert record is not None  # noqa: S101 - rules are wanted
        kept = Moved(record, operands, outputs, dots, (None,) * len(outputs), constants=False, by_duals=False)
    dtypes = kept.record.output_dtypes
    arriving = [
        None if dz is None else handed(beside(dz).astype(d, copy=False)) for dz, d in zip(arriving, dtypes, strict=True)
    ]
    arriving_dots = [
        None if dot is None else handed(wide(dot).astype(d, copy=False))
        for dot, d in zip(arriving_dots, dtypes, strict=True)
    ]
    return _compared(step, kept, arriving, arriving_dots, list(_gradients_of(step, kept, arriving, arriving_dots)))


def check_random_adjoint(step: Step, kept: Moved) -> None:
    """Check the tangents of a gate's outputs against its backward, for random gradients that arrive.

    Raises:
        TangentLostError: They do not agree.
    """
    random = np.random.default_rng(12)
    record = replace(kept.record, saved=stripped(kept.record.saved))
    differentiable = step.node.gate.signature.differentiable_outputs
    arriving = [
        _random_like(random, shape, dtype) if i in differentiable and is_differentiable(dtype) else None
        for i, (shape, dtype) in enumerate(zip(record.output_shapes, record.output_dtypes, strict=True))
    ]
    positions = iter([i for i, wanted in enumerate(step.wanted) if wanted])
    gradients = {next(positions): gradient for _, gradient in call_backward(step, record, arriving)}
    check_adjoint(step, kept, arriving, gradients)


def _random_like(random: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    made = random.standard_normal(shape)
    drawn = made + 1j * random.standard_normal(shape) if dtype.kind == "c" else made
    array = np.asarray(drawn).astype(dtype)
    array.flags.writeable = False
    return array


def _gradients_of(
    step: Step, kept: Moved, arriving: list[Array | None], arriving_dots: list[Array | None]
) -> Iterator[tuple[int, Array, Array | None]]:
    """Yield position, gradient and its tangent for each wanted operand."""
    record = kept.record
    for asked in step.rules:
        rule, positions = asked.rule, asked.positions
        gradients: Sequence[Any]
        dots: Sequence[Any]
        if _reads_tangents(rule, step, kept):
            arguments = [_dual_argument(p, step, kept, arriving, arriving_dots) for p in rule.parameters]
            both = listed(step, asked, _run_on_duals(step.node, asked.method, rule.call, arguments))
            gradients, dots = [value_of(x) for x in both], [tangent_of(x) for x in both]
        else:
            # What reads nothing that moves is linear in dz alone.
            gradients = call_rule(step, asked, record, arriving)
            still = all(dot is None for dot in arriving_dots)
            dots = (None,) * len(positions) if still else call_rule(step, asked, record, arriving_dots)
        for position, gradient, dot in zip(positions, gradients, dots, strict=True):
            if step.wanted[position]:
                moved = None if dot is None else checked(step, record, asked.method, position, dot)
                yield position, checked(step, record, asked.method, position, gradient), moved


def _reads_tangents(rule: BackwardRule, step: Step, kept: Moved) -> bool:
    """Tell whether a rule reads something besides dz that has a tangent."""
    signature = step.node.gate.signature
    for parameter in rule.parameters:
        match parameter.source:
            case Source.OPERAND:
                dots = kept.operand_dots
                if any(dots[i] is not None for i in range(len(dots)) if signature.index(i) == parameter.index):
                    return True
            case Source.OUTPUT:
                if kept.output_dots[parameter.index] is not None:
                    return True
            case Source.SAVED:
                if holds_dual(kept.record.saved[parameter.index]):
                    return True
            case _:
                pass
    return False


def _dual_argument(
    parameter: Parameter,
    step: Step,
    kept: Moved,
    arriving: list[Array | None],
    arriving_dots: list[Array | None],
) -> Any:
    argument = argument_of(parameter, step, kept.record, arriving)
    index = parameter.index
    match parameter.source:
        case Source.OUTPUT_GRADIENT:
            dot = arriving_dots[index]
            return argument if dot is None or argument is None else Dual(argument, handed(dot))
        case Source.OPERAND:
            if isinstance(argument, tuple):
                return tuple(_paired(x, dot) for x, dot in zip(argument, kept.operand_dots[index:], strict=True))
            return _paired(argument, kept.operand_dots[index])
        case Source.OUTPUT:
            return _paired(argument, kept.output_dots[index])
        case _:
            return argument
