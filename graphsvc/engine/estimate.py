"""Estimates: what a run will take, from shapes alone, before anything is allocated.

Peak memory is counted over the two loops of the lecture: which values are alive at each gate, forward and backward, for
how long a backward keeps what it asks for, and what a gate takes for itself. All numbers are Python integers, so that
none overflows, and every one is an upper bound.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from graphsvc.arrays import ArraySpec
from graphsvc.cost import Cost
from graphsvc.engine.inference import BoundNode, Spec, described
from graphsvc.engine.plan import Plan, Step
from graphsvc.errors import GateContractError, GateError
from graphsvc.gate import Elementwise

__all__ = ["Estimate", "cost_of", "estimate_plan", "scratch_of"]

_NUMBER: Final = ArraySpec((), np.dtype(np.float64))
"""What stands for a Python literal."""

_NODE_BYTES: Final = 1024
"""What a gate takes in a run beside its arrays: what is kept of it, and the objects around each array."""

_RUN_BYTES: Final = 1 << 17
"""What a run takes beside its arrays and gates."""

_FLOPS_OF_AN_ELEMENT: Final = 8
_TEMPORARIES: Final = 6
"""How many temporaries of the size of operands and outputs a gate is taken to need that does not say."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run takes at most.

    Attributes:
        peak_bytes: Bytes of arrays at one time, with results and without inputs.
        result_bytes: Bytes of outputs and gradients.
        output_elements: Elements of the outputs.
        flops: Floating-point operations.
        touched_bytes: Bytes that gates read and write.
        calls: How many times a gate is called, those in held graphs with them.
        largest: Bytes of the largest value, as its shape says even where it is a view.
        largest_node: The node that makes it; empty if no gate does.
        dearest: Floating-point operations of the gate that needs most, which cannot be stopped meanwhile; of gates that
            hold graphs, which can be, those of the gate there that needs most.
        dearest_node: Its node.
        unknown: The first node whose outputs cannot be inferred, which are not in these numbers; empty if none.
    """

    peak_bytes: int
    result_bytes: int
    output_elements: int
    flops: int
    touched_bytes: int
    calls: int
    largest: int
    largest_node: str
    dearest: int
    dearest_node: str
    unknown: str


def cost_of(node: BoundNode, operands: Sequence[ArraySpec], outputs: Sequence[ArraySpec]) -> Cost:
    """Return the cost of a gate on operands of these specs: its own word, or what operands and outputs suggest.

    Raises:
        GateError: Its `cost` failed, or returned no `Cost`.
    """
    gate = node.gate
    if not gate.signature.costs:
        elements = sum(spec.size for spec in outputs)
        if not isinstance(gate, Elementwise):
            elements += sum(spec.size for spec in operands)
        widest = max((spec.dtype.itemsize for spec in (*operands, *outputs)), default=8)
        return Cost(_FLOPS_OF_AN_ELEMENT * elements, _TEMPORARIES * elements * max(widest, 8))
    try:
        cost = gate.cost(*operands)  # type: ignore[attr-defined]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        msg = f"cost failed: {described(error)}"
        raise GateError(msg).at(node.name, node.gate_name) from error
    counts = isinstance(cost, tuple) and all(type(number) is int and number >= 0 for number in cost)
    if not counts or len(cost) not in (2, len(Cost._fields)):
        msg = "cost must return graphsvc.Cost(flops, scratch_bytes), of integers from 0."
        raise GateContractError(msg).at(node.name, node.gate_name)
    return Cost(*cost)


class _Ledger:
    """Bytes of what is alive, and the most that it ever was."""

    def __init__(self) -> None:
        self.alive = 0
        self.peak = 0

    def take(self, nbytes: int, passing: int = 0) -> None:
        """Allocate, with so many bytes for the moment beside it."""
        self.alive += nbytes
        self.peak = max(self.peak, self.alive + passing)

    def free(self, nbytes: int) -> None:
        self.alive -= nbytes


def estimate_plan(plan: Plan, specs: Mapping[str, Spec], wrt: Iterable[str]) -> Estimate:
    """Estimate what the two loops take for a plan, which is no less than what a program takes.

    Args:
        plan: The plan.
        specs: What is known of each value, by reference.
        wrt: The inputs whose gradients are wanted.

    Raises:
        GateError: A gate cannot say what it costs.
    """
    steps = [step for step in plan.steps if None not in step.specs]
    unknown = next((step.node.name for step in plan.steps if None in step.specs), "")
    known = {name: spec if isinstance(spec, ArraySpec) else _NUMBER for name, spec in specs.items() if spec is not None}
    steps = [step for step in steps if all(operand in known for operand in step.node.operands)]
    costs = {step.node.name: _step_cost(step, known) for step in steps}
    ledger = _Ledger()
    outputs = [known[source].nbytes for source in plan.outputs.values() if source in known]
    gradients = [known[name].nbytes for name in wrt]
    held = _forward(steps, known, costs, ledger, plan)
    _backward(steps, known, costs, ledger, held)
    # Results are copied in the end, each while the others are there.
    ledger.take(sum(outputs) + 2 * sum(gradients))
    passes = {step.node.name: 3 if step.rules else 1 for step in steps}
    nodes = [step.node for step in steps]
    touched = {node.name: sum(known[name].nbytes for name in (*node.operands, *node.results)) for node in nodes}
    sizes = {node.name: max(known[result].nbytes for result in node.results) for node in nodes}
    largest = max(sizes, key=sizes.__getitem__, default="")
    # A gate that holds graphs can be stopped between the gates that it calls.
    alone = {name: cost.dearest if cost.calls else cost.flops for name, cost in costs.items()}
    dearest = max(alone, key=alone.__getitem__, default="")
    return Estimate(
        peak_bytes=ledger.peak + _RUN_BYTES + _NODE_BYTES * len(steps),
        result_bytes=sum(outputs) + sum(gradients),
        output_elements=sum(known[source].size for source in plan.outputs.values() if source in known),
        flops=sum(cost.flops * passes[name] for name, cost in costs.items()),
        touched_bytes=sum(nbytes * passes[name] for name, nbytes in touched.items()),
        calls=sum(passes[name] * (1 + cost.calls) for name, cost in costs.items()),
        largest=sizes.get(largest, 0),
        largest_node=largest,
        dearest=alone.get(dearest, 0),
        dearest_node=dearest,
        unknown=unknown,
    )


def scratch_of(steps: Iterable[Step], specs: Mapping[str, Spec]) -> int:
    """Return the bytes that gates take for themselves: those that save something all together, the others in turn."""
    known = {name: spec if isinstance(spec, ArraySpec) else _NUMBER for name, spec in specs.items() if spec is not None}
    saved = passing = 0
    for step in steps:
        scratch = _step_cost(step, known).scratch_bytes
        if step.node.gate.signature.saves and step.rules:
            saved += scratch
        # What backward returns may be summed over broadcast axes, and cast.
        passing = max(
            passing, scratch + sum(3 * known[name].nbytes for name in (*step.node.operands, *step.node.results))
        )
    return saved + passing


def _step_cost(step: Step, known: Mapping[str, ArraySpec]) -> Cost:
    node = step.node
    return cost_of(node, [known[name] for name in node.operands], [known[name] for name in node.results])


def _forward(
    steps: Sequence[Step],
    known: Mapping[str, ArraySpec],
    costs: Mapping[str, Cost],
    ledger: _Ledger,
    plan: Plan,
) -> Counter[str]:
    """Go through the forward loop; return by how many records and results each value is held after it."""
    made: set[str] = set()
    holders: Counter[str] = Counter()
    for step in steps:
        node, scratch = step.node, costs[step.node.name].scratch_bytes
        ledger.take(sum(known[result].nbytes for result in node.results), scratch)
        made.update(node.results)
        if step.rules:
            holders.update(_kept(step))
            if node.gate.signature.saves:
                ledger.take(scratch)
        for reference in step.frees:
            if reference in made and not holders[reference]:
                ledger.free(known[reference].nbytes)
                made.discard(reference)
    # Then only results and what records keep are alive.
    holders.update(set(plan.outputs.values()))
    for reference in made:
        if not holders[reference]:
            ledger.free(known[reference].nbytes)
    return Counter({reference: count for reference, count in holders.items() if reference in made})


def _kept(step: Step) -> list[str]:
    operands = [step.node.operands[position] for position in step.kept_operands]
    return operands + [step.node.results[position] for position in step.kept_outputs]


def _backward(
    steps: Sequence[Step],
    known: Mapping[str, ArraySpec],
    costs: Mapping[str, Cost],
    ledger: _Ledger,
    holders: Counter[str],
) -> None:
    """Go through the backward loop."""
    gradients: dict[str, int] = {}
    for step in reversed(steps):
        node, scratch = step.node, costs[step.node.name].scratch_bytes
        if not step.rules:
            continue
        arriving = [gradients.pop(result, 0) for result in node.results]
        wanted = [known[operand] for operand, flag in zip(node.operands, step.wanted, strict=True) if flag]
        made = sum(_gradient_bytes(step, spec, known) for spec in wanted)
        # Gradients that arrive nowhere are zeros that are made; each that is made may be cast, summed and added.
        passing = sum(known[result].nbytes for result in node.results) + 2 * made + scratch
        ledger.take(0, made + passing)
        for operand, flag in zip(node.operands, step.wanted, strict=True):
            if flag and operand not in gradients:
                spec = known[operand]
                # Sums in float16 are carried in float32.
                gradients[operand] = spec.nbytes * 2 if spec.dtype == np.float16 else spec.nbytes
                ledger.take(gradients[operand])
        ledger.free(sum(arriving))
        if node.gate.signature.saves:
            ledger.free(scratch)
        for reference in _kept(step):
            holders[reference] -= 1
            if holders[reference] == 0:
                ledger.free(known[reference].nbytes)


def _gradient_bytes(step: Step, operand: ArraySpec, known: Mapping[str, ArraySpec]) -> int:
    """Bytes of a gradient as a gate returns it: an elementwise one may leave broadcast axes to be summed."""
    if not isinstance(step.node.gate, Elementwise):
        return operand.nbytes
    shapes = [known[result].shape for result in step.node.results]
    return max(prod(shape) for shape in (*shapes, operand.shape)) * operand.dtype.itemsize
