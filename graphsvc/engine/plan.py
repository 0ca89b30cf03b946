"""Plans: what to run for a question, settled before anything runs.

A plan is made once for each combination of wanted outputs, wanted gradients, shapes and dtypes. It holds the gates in
topological order, which operands need a gradient, and which values nobody needs after a gate.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from graphsvc.arrays import ArraySpec, is_differentiable
from graphsvc.engine.inference import BoundNode, Spec
from graphsvc.errors import GateNotDifferentiableError, NotDifferentiableError
from graphsvc.garbage import full_collections_put_off
from graphsvc.gate import Gate
from graphsvc.signature import BackwardRule, Source

__all__ = ["Plan", "Step", "WantedRule", "make_plan"]


class WantedRule(NamedTuple):
    """A backward rule that is to be called for a gate node.

    Attributes:
        rule: The method, and what it needs.
        operand: Index of the named operand whose gradient it gives; None for the joint `backward`.
        method: Its name.
        positions: Positions of the operands that it gives gradients of.
    """

    rule: BackwardRule
    operand: int | None
    method: str
    positions: tuple[int, ...]


class Step(NamedTuple):
    """One gate of a plan; a tuple, because a plan may have a hundred thousand, and tuples are made five times as fast.

    Attributes:
        literal: Whether an operand is a Python literal.
        wanted: For each operand, whether its gradient is wanted.
        rules: The backward rules to call.
        kept_operands: Positions of the operands that must live until the backward pass.
        kept_outputs: Positions of the outputs that must.
        specs: Shape and dtype of each output, as far as they could be inferred.
        frees: References to the values that nobody needs after this gate.
    """

    node: BoundNode
    literal: bool
    wanted: tuple[bool, ...]
    rules: tuple[WantedRule, ...]
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


@full_collections_put_off()
def make_plan(
    nodes: Sequence[BoundNode],
    specs: Mapping[str, Spec],
    outputs: Mapping[str, str],
    wrt: Iterable[str],
    differentiated: Iterable[str],
) -> Plan:
    """Settle what to run.

    Args:
        nodes: Every gate node, in topological order.
        specs: What is known of each value, by reference.
        outputs: Reference to the value of each wanted output.
        wrt: Inputs whose gradients are wanted.
        differentiated: The wanted outputs at which a gradient arrives.
    """
    needed = _needed(nodes, outputs.values())
    literals = {reference for reference, spec in specs.items() if type(spec) in (int, float)}
    reached, active = _reached(needed, specs, wrt)
    wanted, blocked = _wanted(needed, reached, active, {outputs[name] for name in differentiated})
    steps = []
    alive = set(outputs.values())
    for node in reversed(needed):
        operands, results = node.operands, node.results
        frees = () if alive.issuperset(operands) else tuple(dict.fromkeys([o for o in operands if o not in alive]))
        if not alive.issuperset(results):
            frees += tuple([result for result in results if result not in alive])
        alive.update(operands)
        flags = wanted.get(node.name, ())
        rules, kept_operands, kept_outputs = _needs(type(node.gate), flags)
        steps.append(
            Step(
                node,
                not literals.isdisjoint(operands),
                flags,
                rules,
                kept_operands,
                kept_outputs,
                tuple([spec if isinstance(spec := specs[result], ArraySpec) else None for result in results]),
                frees,
            )
        )
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
    """Tell whether a gradient may arrive at a value. At unknown values it may."""
    return spec is None or (isinstance(spec, ArraySpec) and is_differentiable(spec.dtype))


def _reached(
    nodes: Sequence[BoundNode], specs: Mapping[str, Spec], wrt: Iterable[str]
) -> tuple[dict[str, tuple[bool, ...]], set[str]]:
    """Find which operands depend on the wanted inputs, through values that have gradients."""
    active = set(wrt)
    reached = {}
    for node in nodes:
        operands = node.operands
        if active.isdisjoint(operands):
            continue
        flags = [operand in active for operand in operands]
        signature = node.gate.signature
        if signature.disconnected:
            flags = [f and signature.index(i) not in signature.disconnected for i, f in enumerate(flags)]
            if not any(flags):
                continue
        reached[node.name] = tuple(flags)
        active.update([result for result in node.results if _has_gradient(specs[result])])
    return reached, active


def _wanted(
    nodes: Sequence[BoundNode],
    reached: Mapping[str, tuple[bool, ...]],
    active: set[str],
    differentiated: set[str],
) -> tuple[dict[str, tuple[bool, ...]], NotDifferentiableError | None]:
    """Find which operands a gradient must be computed for, and the last gate that cannot give one, if there is one."""
    live = set(differentiated)
    wanted = {}
    blocked: NotDifferentiableError | None = None
    unblocked: set[tuple[type[Gate], tuple[bool, ...], tuple[int, ...]]] = set()
    for node in reversed(nodes):
        flags = reached.get(node.name)
        if flags is None or live.isdisjoint(node.results):
            continue
        arriving = tuple([i for i, result in enumerate(node.results) if result in live and result in active])
        if not arriving:
            continue
        # Nodes that are alike are looked at once.
        alike = type(node.gate), flags, arriving
        if alike not in unblocked:
            blocked = blocked or _obstacle(node, flags, arriving)
            unblocked.add(alike)
        # What is blocked for this question may be kept for a narrower one, that a later backward asks.
        wanted[node.name] = flags
        live.update([operand for operand, flag in zip(node.operands, flags, strict=True) if flag])
    return wanted, blocked


def _obstacle(node: BoundNode, flags: tuple[bool, ...], arriving: Sequence[int]) -> NotDifferentiableError | None:
    """Return why no gradient passes through a node, if none does."""
    signature = node.gate.signature
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


@functools.lru_cache(maxsize=4096)
def _needs(cls: type[Gate], wanted: tuple[bool, ...]) -> tuple[tuple[WantedRule, ...], frozenset[int], frozenset[int]]:
    """Return the rules to call for the wanted gradients, and the positions of the operands and outputs they read."""
    signature = cls.signature
    positions = tuple(range(len(wanted)))
    indices = frozenset(signature.index(position) for position in positions if wanted[position])
    rules: tuple[WantedRule, ...] = ()
    if indices and signature.rule:
        rules = (WantedRule(signature.rule, None, "backward", positions),)
    elif indices:
        rules = tuple(
            WantedRule(
                signature.rules[index],
                index,
                f"backward_{signature.operands[index]}",
                tuple(position for position in positions if signature.index(position) == index),
            )
            for index in sorted(indices)
            if index in signature.rules
        )
    read = frozenset[int]().union(*(asked.rule.needs[Source.OPERAND] for asked in rules))
    operands = frozenset(position for position in positions if signature.index(position) in read)
    return rules, operands, frozenset[int]().union(*(asked.rule.needs[Source.OUTPUT] for asked in rules))
