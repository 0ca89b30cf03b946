"""Lowering: from gates to NumPy calls, forward and backward in one list.

The two loops of the lecture are gone through once without data. Each gate that can be recorded leaves its instructions
in the list, each other one a call of the gate itself.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from graphsvc.arrays import Array, ArraySpec, Literal, is_differentiable, spec_of, sum_to_shape
from graphsvc.engine.calls import Record, call_backward, call_forward
from graphsvc.engine.fusion.instructions import Instruction, Kind
from graphsvc.engine.fusion.merging import GateCall, InstructionList, Lowered, Trace
from graphsvc.engine.fusion.recording import Recording, record
from graphsvc.engine.fusion.recordings import Recordings
from graphsvc.engine.inference import literal_array
from graphsvc.engine.plan import Plan, Step, WantedRule
from graphsvc.gate import Elementwise, Gate
from graphsvc.signature import Source

__all__ = ["call_rule", "lower"]


def lower(
    plan: Plan,
    recordings: Recordings,
    constants: Mapping[str, Array | Literal],
    inputs: Mapping[str, ArraySpec],
    wrt: Iterable[str],
    differentiated: Iterable[str],
    *,
    ones: bool,
) -> Lowered:
    """Lower a plan, of which all shapes are known.

    Args:
        plan: What to run.
        recordings: Recordings of the graph's gates; new ones are added.
        constants: The constants of the graph.
        inputs: Shape and dtype of each input.
        wrt: Inputs whose gradients are wanted.
        differentiated: The wanted outputs at which a gradient arrives.
        ones: Whether these gradients are 1, and not given with each question.
    """
    lowering = _Lowering(recordings, constants, inputs)
    for step in plan.steps:
        lowering.forward(step)
    lowering.arrive(plan, differentiated, ones=ones)
    for step in reversed(plan.steps):
        if step.rules:
            lowering.backward(step)
    lowering.finish(plan, inputs, wrt)
    return lowering.lowered


class _Lowering:
    """Goes through the two loops without data."""

    def __init__(
        self, recordings: Recordings, constants: Mapping[str, Array | Literal], inputs: Mapping[str, ArraySpec]
    ) -> None:
        self.list = InstructionList()
        self.lowered = self.list.lowered
        self.recordings = recordings
        self.literals = {name: value for name, value in constants.items() if not isinstance(value, np.ndarray)}
        self.values: dict[str, int] = {}
        self.gradients: dict[str, int] = {}
        self.saved: dict[str, tuple[int, ...]] = {}
        self.reasons: dict[str, str] = {}
        for name, spec in inputs.items():
            self.values[name] = self.lowered.inputs[name] = self.list.new(spec)
        for name, value in constants.items():
            if isinstance(value, np.ndarray):
                self.values[name] = self.list.constant(value)

    def replay(self, recording: Recording, operands: Sequence[int], floor: int = -1) -> tuple[int | None, ...]:
        """Add the instructions of a recording, called on these values, and return its results."""
        values = list(operands)
        for entry in recording.entries:
            if isinstance(entry, Instruction):
                values.append(self.list.emit(entry, tuple(values[i] for i in entry.operands), floor))
            else:
                values.append(self.list.constant(entry))
        self.lowered.guards += [(values[index], expected) for index, expected in recording.guards]
        return tuple(None if index is None else values[index] for index in recording.results)

    # Forward

    def forward(self, step: Step) -> None:
        """Lower the forward call of a gate."""
        self.list.node = step.node
        node, signature = step.node, step.node.gate.signature
        operands = self._operands(step)
        recording = self.recordings.get(
            "forward",
            node.gate,
            lambda arrays: signature.forward(node.gate, *arrays),
            [self.lowered.spec(operand) for operand in operands],
        )
        results = self._recorded_forward(step, recording, operands)
        if results is None:
            reason = recording if isinstance(recording, str) else "it does not give what infer says"
            self.reasons[node.name] = reason
            saves = len(signature.saves) if step.rules else 0
            results = tuple(self.list.new(spec) for spec in (*step.specs, *([None] * saves)))
            self.lowered.operations.append(
                GateCall(step, functools.partial(_forward, step), operands, results, backward=False, reason=reason)
            )
        outputs = results[: len(signature.outputs)]
        self.values.update(zip(node.results, outputs, strict=True))
        self.saved[node.name] = results[len(signature.outputs) :]

    def _operands(self, step: Step) -> tuple[int, ...]:
        node, signature = step.node, step.node.gate.signature
        if not step.literal:
            return tuple(self.values[operand] for operand in node.operands)
        strong = [
            self.lowered.spec(self.values[operand]).dtype
            for position, operand in enumerate(node.operands)
            if operand not in self.literals and signature.index(position) not in signature.integers
        ]
        return tuple(
            self.list.constant(literal_array(node, position, self.literals[operand], strong))
            if operand in self.literals
            else self.values[operand]
            for position, operand in enumerate(node.operands)
        )

    def _recorded_forward(
        self, step: Step, recording: Recording | str, operands: tuple[int, ...]
    ) -> tuple[int, ...] | None:
        """Replay a forward call; None if it was not recorded, or gives something else than it should."""
        node, signature = step.node, step.node.gate.signature
        if isinstance(recording, str) or None in recording.results:
            return None
        if len(recording.results) != len(signature.outputs) + len(signature.saves):
            return None
        results = cast("tuple[int, ...]", self.replay(recording, operands))
        if any(self.lowered.specs[made] != spec for made, spec in zip(results, step.specs, strict=False)):
            return None
        call = functools.partial(_call, signature.forward, node.gate)
        self.lowered.traces.append(Trace(node, "forward", call, operands, results))
        return results

    # Backward

    def arrive(self, plan: Plan, differentiated: Iterable[str], *, ones: bool) -> None:
        """Let the gradients arrive at the outputs."""
        for name in differentiated:
            source = plan.outputs[name]
            literal = self.literals.get(source)
            spec = self.lowered.spec(self.values[source]) if literal is None else spec_of(np.asarray(literal))
            if ones:
                value = self.list.widened(self.list.constant(spec.dtype.type(1)), spec.shape, -1)
            else:
                value = self.lowered.output_gradients[name] = self.list.new(spec)
            if source in self.gradients:
                add = Instruction(Kind.MAP, np.add, (), (), spec.dtype, None)
                value = self.list.emit(add, (self.gradients[source], value), -1)
            self.gradients[source] = value

    def accumulate(self, reference: str, gradient: int, floor: int) -> None:
        """Add a contribution to a gradient, as the loop does."""
        before = self.gradients.get(reference)
        if before is None:
            self.gradients[reference] = gradient
            return
        dtype = self.lowered.spec(gradient).dtype
        wide = np.dtype(np.float32) if dtype == np.float16 else dtype
        keywords = (("dtype", wide),) if wide != dtype else ()
        add = Instruction(Kind.MAP, np.add, (), keywords, wide, None)
        self.gradients[reference] = self.list.emit(add, (before, gradient), floor)

    def backward(self, step: Step) -> None:
        """Lower the backward call of a gate."""
        self.list.node = step.node
        arriving = [
            self._arrived(result, cast(ArraySpec, spec))
            for result, spec in zip(step.node.results, step.specs, strict=True)
        ]
        floor = max((value for value in arriving if value is not None), default=-1)
        if floor < 0:
            return
        operands = self._operands(step)
        gradients: list[tuple[int, int]] = []
        for asked in step.rules:
            found = self._recorded_backward(step, asked, operands, arriving, floor)
            if isinstance(found, str):
                gradients = self._called_backward(step, operands, arriving, found)
                break
            gradients += found
        for position, gradient in gradients:
            self.accumulate(step.node.operands[position], gradient, floor)

    def _arrived(self, reference: str, spec: ArraySpec) -> int | None:
        """Return the gradient of a value now that it is complete, in the dtype of the value."""
        gradient = self.gradients.get(reference)
        return None if gradient is None else self.list.recast(gradient, spec.dtype, -1)

    def _recorded_backward(
        self,
        step: Step,
        asked: WantedRule,
        operands: tuple[int, ...],
        arriving: Sequence[int | None],
        floor: int,
    ) -> list[tuple[int, int]] | str:
        """Replay a backward call; return the gradient at each operand's position, or why it cannot be recorded."""
        node, signature, spec = step.node, step.node.gate.signature, self.lowered.spec
        given: list[int] = []
        fixed: dict[str, Any] = {}
        places: dict[str, int | list[int]] = {}
        for parameter in asked.rule.parameters:
            name, source, at = parameter.name, parameter.source, parameter.index
            several = signature.variadic and at == len(signature.operands) - 1
            if source is Source.OPERAND_SHAPE:
                shapes = tuple(spec(operand).shape for operand in operands[at:])
                fixed[name] = shapes if several else shapes[0]
                continue
            if source is Source.OUTPUT_GRADIENT and arriving[at] is None:
                if not parameter.optional:
                    return "no gradient arrives at one of its outputs"
                fixed[name] = None
                continue
            if source is Source.OPERAND and several:
                places[name] = list(range(len(given), len(given) + len(operands) - at))
                given += operands[at:]
                continue
            places[name] = len(given)
            given.append(self._argument(step, source, at, operands, arriving))
        if any(self.lowered.specs[value] is None for value in given):
            return self.reasons.get(node.name, "forward saves what is no array")
        call = functools.partial(call_rule, asked.rule.call, node.gate, fixed, places)
        recording = self.recordings.get(
            (asked.operand, tuple(fixed.items()), tuple(places)), node.gate, call, [spec(value) for value in given]
        )
        if isinstance(recording, str):
            return recording
        if len(recording.results) != len(asked.positions):
            return "backward does not give one gradient for each operand"
        made = self.replay(recording, given, floor)
        found = []
        for position, gradient in zip(asked.positions, made, strict=True):
            if not step.wanted[position] or not is_differentiable(spec(operands[position]).dtype):
                continue
            fitted = None if gradient is None else self._fitted(step, operands[position], gradient, floor)
            if fitted is None:
                return "backward does not give what it should"
            found.append((position, fitted))
        if Source.OPERAND_SHAPE not in {parameter.source for parameter in asked.rule.parameters}:
            self.lowered.traces.append(Trace(node, asked.method, call, tuple(given), made))
        return found

    def _argument(
        self, step: Step, source: Source, at: int, operands: tuple[int, ...], arriving: Sequence[int | None]
    ) -> int:
        if source is Source.OPERAND:
            return operands[at]
        if source is Source.OUTPUT:
            return self.values[step.node.results[at]]
        if source is Source.SAVED:
            return self.saved[step.node.name][at]
        return cast(int, arriving[at])

    def _fitted(self, step: Step, operand: int, gradient: int, floor: int) -> int | None:
        """Return a gradient in the shape and dtype of its operand; None if it has neither."""
        spec, wanted = self.lowered.spec(gradient), self.lowered.spec(operand)
        if not is_differentiable(spec.dtype):
            return None
        of_output = isinstance(step.node.gate, Elementwise) and any(
            cast(ArraySpec, output).shape == spec.shape for output in step.specs
        )
        if spec.shape != wanted.shape and of_output:
            recording = record(lambda arrays: sum_to_shape(arrays[0], wanted.shape), [(spec.dtype, spec.shape)])
            (gradient,) = cast("tuple[int]", self.replay(cast(Recording, recording), (gradient,), floor))
        if self.lowered.spec(gradient).shape != wanted.shape:
            return None
        return self.list.recast(gradient, wanted.dtype, floor)

    def _called_backward(
        self, step: Step, operands: tuple[int, ...], arriving: Sequence[int | None], reason: str
    ) -> list[tuple[int, int]]:
        """Lower a backward call to the call of the gate as it is."""
        node = step.node
        positions = [
            position
            for asked in step.rules
            for position in asked.positions
            if step.wanted[position] and is_differentiable(self.lowered.spec(operands[position]).dtype)
        ]
        results = tuple(self.list.new(self.lowered.spec(operands[position])) for position in positions)
        parts = (
            tuple(arriving),
            tuple(operand if i in step.kept_operands else None for i, operand in enumerate(operands)),
            tuple(self.values[r] if i in step.kept_outputs else None for i, r in enumerate(node.results)),
            self.saved[node.name],
        )
        given = tuple(value for part in parts for value in part if value is not None)
        specs = [self.lowered.spec(operand) for operand in operands]
        call = functools.partial(_backward, step, specs, [[value is not None for value in part] for part in parts])
        self.lowered.operations.append(GateCall(step, call, given, results, backward=True, reason=reason))
        return list(zip(positions, results, strict=True))

    # The end

    def finish(self, plan: Plan, inputs: Mapping[str, ArraySpec], wrt: Iterable[str]) -> None:
        """Name the results, and drop what nobody needs."""
        made = self.lowered
        for name, source in plan.outputs.items():
            literal = self.literals.get(source)
            made.outputs[name] = self.values[source] if literal is None else self.list.constant(np.asarray(literal))
        for name in wrt:
            gradient = self.gradients.get(name)
            made.gradients[name] = None if gradient is None else self.list.recast(gradient, inputs[name].dtype, -1)
        needed = {*made.outputs.values(), *made.gradients.values(), *(value for value, _ in made.guards)}
        kept = []
        for operation in reversed(made.operations):
            if isinstance(operation, GateCall) or operation.result in needed:
                needed.update(operation.operands)
                kept.append(operation)
        made.operations = kept[::-1]


# Calls that are made at run time -------------------------------------------------------------------------------------


def _call(method: Callable[..., Any], gate: Gate, arrays: Sequence[Any]) -> object:
    return method(gate, *arrays)


def call_rule(
    method: Callable[..., Any],
    gate: Gate,
    fixed: Mapping[str, Any],
    places: Mapping[str, int | list[int]],
    arrays: Sequence[Any],
) -> object:
    """Call a backward with its arguments by name: some fixed, the others from a list."""
    given = {
        name: arrays[place] if isinstance(place, int) else tuple(arrays[i] for i in place)
        for name, place in places.items()
    }
    return method(gate, **fixed, **given)


def _forward(step: Step, *operands: Any) -> tuple[Any, ...]:
    """Call a gate's forward as the loop does, and return its outputs and what it saved."""
    outputs, made = call_forward(step, list(operands))
    return (*outputs, *made.saved) if made else outputs


def _backward(
    step: Step, operands: Sequence[ArraySpec], present: Sequence[Sequence[bool]], *given: Any
) -> tuple[Array, ...]:
    """Call a gate's backward as the loop does, on the values that are given for what it needs."""
    values = iter(given)
    arriving, kept, outputs, saved = ([next(values) if there else None for there in part] for part in present)
    specs = [cast(ArraySpec, spec) for spec in step.specs]
    made = Record(
        operands=tuple(kept),
        operand_shapes=tuple(spec.shape for spec in operands),
        operand_dtypes=tuple(spec.dtype for spec in operands),
        outputs=tuple(outputs),
        output_shapes=tuple(spec.shape for spec in specs),
        output_dtypes=tuple(spec.dtype for spec in specs),
        saved=tuple(saved),
    )
    return tuple(gradient for _, gradient in call_backward(step, made, arriving))
