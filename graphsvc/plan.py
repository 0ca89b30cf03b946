"""Plans: what to run for a question, settled before anything runs.

A plan is made once for each combination of wanted outputs, wanted gradients, shapes and dtypes. It holds the gates in
topological order, which operands need a gradient, and which values nobody needs after a gate.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from graphsvc.arrays import Array, ArraySpec, Literal, is_differentiable, literal_dtype
from graphsvc.errors import (
    AttributeValueError,
    DtypeError,
    GateContractError,
    GateError,
    GateNotDifferentiableError,
    GraphsvcError,
    InputError,
    NonFiniteError,
    NotDifferentiableError,
)
from graphsvc.gate import Gate
from graphsvc.signature import BackwardRule, Source

__all__ = ["BoundNode", "Plan", "Spec", "Step", "described", "infer_specs", "literal_array", "make_plan"]

Spec: TypeAlias = ArraySpec | Literal | None
"""What is known of a value before the run: shape and dtype, a Python literal, or nothing."""


@dataclass(frozen=True, slots=True)
class BoundNode:
    """A gate node whose gate is at hand.

    Attributes:
        operands: References to its operands, in order.
        results: References to its outputs, in order.
    """

    name: str
    gate_name: str
    gate: Gate
    operands: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One gate of a plan.

    Attributes:
        literal: Whether an operand is a Python literal.
        wanted: For each operand, whether its gradient is wanted.
        rules: The backward rules to call, each with the index of its named operand; None for the joint `backward`.
        kept_operands: Positions of the operands that must live until the backward pass.
        kept_outputs: Positions of the outputs that must.
        specs: Shape and dtype of each output, as far as they could be inferred.
        frees: References to the values that nobody needs after this gate.
    """

    node: BoundNode
    literal: bool
    wanted: tuple[bool, ...]
    rules: tuple[tuple[BackwardRule, int | None], ...]
    kept_operands: frozenset[int]
    kept_outputs: frozenset[int]
    specs: tuple[ArraySpec | None, ...]
    frees: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run for a question.

    Attributes:
        steps: The gates to run, in topological order.
        outputs: Reference to the value of each wanted output.
        blocked: Why the wanted gradients cannot be had, if they cannot.
    """

    steps: tuple[Step, ...]
    outputs: Mapping[str, str]
    blocked: NotDifferentiableError | None


# Shapes and dtypes --------------------------------------------------------------------------------------------------


def literal_array(node: BoundNode, position: int, value: Literal, dtypes: Iterable[np.dtype[Any]]) -> Array:
    """Return a Python literal as the 0-d array that the gate is given.

    Args:
        node: The gate node.
        position: Which operand it is.
        value: The literal.
        dtypes: Dtypes of the operands beside it, without those that must be integers.

    Raises:
        DtypeError: The literal does not fit the dtype that it meets.
    """
    signature = node.gate.signature
    dtype = (
        np.dtype(np.int64) if signature.index(position) in signature.integers else literal_dtype(value, list(dtypes))
    )
    if isinstance(value, float) and dtype.kind in "iu":
        msg = f"Operand {position} must be an integer, got {value!r}."
        raise DtypeError(msg).at(node.name, node.gate_name)
    try:
        array = np.asarray(value, dtype)
    except OverflowError:
        msg = f"The literal {value} does not fit {dtype}, the dtype that it meets. Make it a constant of a wider dtype."
        raise DtypeError(msg).at(node.name, node.gate_name) from None
    array.flags.writeable = False
    return array


def infer_specs(nodes: Iterable[BoundNode], specs: dict[str, Spec]) -> dict[str, Spec]:
    """Infer shape and dtype of every value, without data.

    Args:
        nodes: In topological order.
        specs: What is known of inputs and constants, by reference; the other values are added to it.

    Returns:
        `specs`. None stands for a value that a gate without `infer` makes, and for what depends on it.

    Raises:
        InputError: Shapes or dtypes do not fit a gate; the message names the node.
        AttributeValueError: An attribute does not fit the operand.
        GateError: An `infer` failed, or returned what it may not.
    """
    for node in nodes:
        results = _infer_node(node, [specs[operand] for operand in node.operands])
        specs.update(zip(node.results, results, strict=True))
    return specs


def _infer_node(node: BoundNode, operands: Sequence[Spec]) -> Sequence[ArraySpec | None]:
    signature = node.gate.signature
    unknown = (None,) * len(node.results)
    strong = [
        spec.dtype
        for position, spec in enumerate(operands)
        if isinstance(spec, ArraySpec) and signature.index(position) not in signature.integers
    ]
    known = []
    for position, spec in enumerate(operands):
        if spec is None:
            return unknown
        if not isinstance(spec, ArraySpec):
            spec = ArraySpec((), literal_array(node, position, spec, strong).dtype)
        if signature.index(position) in signature.integers and spec.dtype.kind not in "iu":
            name = signature.operands[signature.index(position)]
            msg = f"Operand {name!r} must be of an integer dtype, got {spec.dtype}. Convert it with the gate 'cast'."
            raise DtypeError(msg).at(node.name, node.gate_name)
        known.append(spec)
    if not signature.infers:
        return unknown
    try:
        inferred = node.gate.infer(*known)  # type: ignore[attr-defined]
    except (InputError, AttributeValueError, NonFiniteError) as error:
        raise error.at(node.name, node.gate_name) from None
    except GraphsvcError:
        raise
    except Exception as error:
        msg = f"infer failed: {described(error)}"
        raise GateError(msg).at(node.name, node.gate_name) from error
    return unknown if inferred is None else _checked_specs(node, inferred)


def _checked_specs(node: BoundNode, inferred: object) -> Sequence[ArraySpec]:
    signature = node.gate.signature
    specs = (inferred,) if isinstance(inferred, ArraySpec) else inferred
    counts = (len(signature.outputs), len(signature.outputs) + len(signature.saves))
    if not isinstance(specs, tuple | list) or len(specs) not in counts:
        msg = f"infer must return {counts[0]} specs of outputs, with or without {len(signature.saves)} of saves."
        raise GateContractError(msg).at(node.name, node.gate_name)
    outputs = specs[: counts[0]]
    if not all(isinstance(spec, ArraySpec) for spec in outputs):
        msg = f"infer must return ArraySpec objects, got {', '.join(type(s).__name__ for s in outputs)}."
        raise GateContractError(msg).at(node.name, node.gate_name)
    return outputs


def described(error: BaseException) -> str:
    """Return class and message of a stranger's exception, whose `__str__` may itself fail or be very long."""
    try:
        text = str(error)[:300]
    except BaseException:  # noqa: BLE001 - a stranger's __str__ may raise anything
        text = "(its message cannot be read)"
    return f"{type(error).__name__}: {text}"


# Plans --------------------------------------------------------------------------------------------------------------


def make_plan(
    nodes: Sequence[BoundNode],
    specs: Mapping[str, Spec],
    outputs: Mapping[str, str],
    wrt: Iterable[str],
    seeds: Iterable[str],
) -> Plan:
    """Settle what to run.

    Args:
        nodes: Every gate node, in topological order.
        specs: What is known of each value, by reference.
        outputs: Reference to the value of each wanted output.
        wrt: Inputs whose gradients are wanted.
        seeds: The wanted outputs at which a gradient arrives.
    """
    needed = _needed(nodes, outputs.values())
    reached, active = _reached(needed, specs, wrt)
    wanted, blocked = _wanted(needed, reached, active, {outputs[name] for name in seeds}, specs)
    steps = []
    alive = set(outputs.values())
    for node in reversed(needed):
        frees = tuple({ref for ref in (*node.operands, *node.results) if ref not in alive})
        alive.update(node.operands)
        steps.append(_step(node, wanted.get(node.name, ()), frees, specs))
    return Plan(tuple(reversed(steps)), dict(outputs), blocked)


def _needed(nodes: Sequence[BoundNode], references: Iterable[str]) -> list[BoundNode]:
    """Return the nodes that the referenced values depend on, in their order."""
    pending = set(references)
    needed = []
    for node in reversed(nodes):
        if not pending.isdisjoint(node.results):
            pending.update(node.operands)
            needed.append(node)
    return needed[::-1]


def _has_gradient(spec: Spec) -> bool:
    """Tell whether a gradient may arrive at a value. Of unknown values it may; of complex ones it is refused later."""
    return spec is None or (isinstance(spec, ArraySpec) and (is_differentiable(spec.dtype) or spec.dtype.kind == "c"))


def _reached(
    nodes: Sequence[BoundNode], specs: Mapping[str, Spec], wrt: Iterable[str]
) -> tuple[dict[str, tuple[bool, ...]], set[str]]:
    """Find which operands depend on the wanted inputs, through values that have gradients."""
    active = set(wrt)
    reached = {}
    for node in nodes:
        flags = tuple(operand in active for operand in node.operands)
        if any(flags):
            reached[node.name] = flags
            active.update(result for result in node.results if _has_gradient(specs[result]))
    return reached, active


def _wanted(
    nodes: Sequence[BoundNode],
    reached: Mapping[str, tuple[bool, ...]],
    active: set[str],
    seeds: set[str],
    specs: Mapping[str, Spec],
) -> tuple[dict[str, tuple[bool, ...]], NotDifferentiableError | None]:
    """Find which operands a gradient must be computed for, and the last gate that cannot give one, if there is one."""
    live = set(seeds)
    wanted = {}
    blocked: NotDifferentiableError | None = None
    for node in reversed(nodes):
        arriving = [i for i, result in enumerate(node.results) if result in live and result in active]
        if not arriving or node.name not in reached:
            continue
        flags = reached[node.name]
        obstacle = _obstacle(node, flags, arriving, specs)
        blocked = blocked or obstacle
        if not obstacle:
            wanted[node.name] = flags
        live.update(operand for operand, flag in zip(node.operands, flags, strict=True) if flag)
    return wanted, blocked


def _obstacle(
    node: BoundNode, flags: tuple[bool, ...], arriving: Sequence[int], specs: Mapping[str, Spec]
) -> NotDifferentiableError | None:
    """Return why no gradient passes through a node, if none does."""
    signature = node.gate.signature
    for ref in (*node.results, *node.operands):
        spec = specs[ref]
        if isinstance(spec, ArraySpec) and spec.dtype.kind == "c":
            msg = f"The value {ref!r} is {spec.dtype}, and gradients through complex values are not computed."
            return NotDifferentiableError(msg).at(node.name, node.gate_name)
    for position, flag in enumerate(flags):
        index = signature.index(position)
        if flag and index not in signature.integers and signature.rule_for(index) is None:
            msg = f"It has no backward for its operand {signature.operands[index]!r}. Ask for other gradients with wrt."
            return GateNotDifferentiableError(msg).at(node.name, node.gate_name)
    for index in arriving:
        if index not in signature.differentiable_outputs:
            msg = f"No backward takes the gradient of its output {signature.outputs[index]!r}. Use another output."
            return GateNotDifferentiableError(msg).at(node.name, node.gate_name)
    return None


def _step(node: BoundNode, wanted: tuple[bool, ...], frees: tuple[str, ...], specs: Mapping[str, Spec]) -> Step:
    rules, kept_operands, kept_outputs = _needs(type(node.gate), wanted)
    return Step(
        node=node,
        literal=any(type(specs[operand]) in (int, float) for operand in node.operands),
        wanted=wanted,
        rules=rules,
        kept_operands=kept_operands,
        kept_outputs=kept_outputs,
        specs=tuple(spec if isinstance(spec := specs[result], ArraySpec) else None for result in node.results),
        frees=frees,
    )


@functools.lru_cache(maxsize=4096)
def _needs(
    cls: type[Gate], wanted: tuple[bool, ...]
) -> tuple[tuple[tuple[BackwardRule, int | None], ...], frozenset[int], frozenset[int]]:
    """Return the rules to call, and the operands and outputs that they read, for gradients of the wanted operands."""
    signature = cls.signature
    rules: tuple[tuple[BackwardRule, int | None], ...] = ()
    if any(wanted) and signature.rule:
        rules = ((signature.rule, None),)
    elif any(wanted):
        indices = sorted({signature.index(position) for position, flag in enumerate(wanted) if flag})
        rules = tuple((signature.rules[index], index) for index in indices if index in signature.rules)
    read = frozenset[int]().union(*(rule.needs[Source.OPERAND] for rule, _ in rules))
    operands = frozenset(position for position in range(len(wanted)) if signature.index(position) in read)
    return rules, operands, frozenset[int]().union(*(rule.needs[Source.OUTPUT] for rule, _ in rules))
