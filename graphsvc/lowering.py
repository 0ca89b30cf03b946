"""Lowering: from gates to NumPy calls, forward and backward in one list.

The two loops of the lecture are gone through once without data. Each gate that can be recorded leaves its instructions
in the list, each other one a call of the gate itself. Equal instructions are merged, what is known beforehand is
computed, factors of one and whatever nobody needs are dropped; none of it changes a bit of a result.
"""

import functools
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np

from graphsvc.arrays import Array, ArraySpec, Literal, broadcast_shapes, is_differentiable, spec_of, sum_to_shape
from graphsvc.cache import Cache
from graphsvc.calls import Record, call_backward, call_forward
from graphsvc.gate import Elementwise, Gate
from graphsvc.inference import BoundNode, literal_array
from graphsvc.plan import Plan, Step
from graphsvc.recording import Constant, Instruction, Kind, Recording, filled, recast, record, reshaped
from graphsvc.signature import BackwardRule, Source
from graphsvc.trial import holds

__all__ = ["GateCall", "Lowered", "Operation", "Recordings", "Trace", "call_rule", "lower"]


@dataclass(frozen=True, slots=True)
class Operation:
    """An instruction between numbered values."""

    kind: Kind
    function: Callable[..., Any]
    operands: tuple[int, ...]
    keywords: tuple[tuple[str, Any], ...]
    result: int
    floor: int
    """A value without which the result is of no use yet, as a gradient that arrives; -1 if there is none."""

    @property
    def results(self) -> tuple[int, ...]:
        """The values it makes."""
        return (self.result,)


@dataclass(frozen=True, slots=True)
class GateCall:
    """A call of a gate's `forward` or `backward` as it is."""

    step: Step
    call: Callable[..., Sequence[Any]]
    operands: tuple[int, ...]
    results: tuple[int, ...]
    backward: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Trace:
    """Where the recording of a method ended up: calling the method on the operands must give the results."""

    node: BoundNode
    method: str
    call: Callable[[list[Any]], object]
    operands: tuple[int, ...]
    results: tuple[int | None, ...]


@dataclass(slots=True)
class Lowered:
    """A question to a graph as a list of calls between numbered values.

    Attributes:
        specs: Shape and dtype of each value; None for what a gate saved.
        constants: The values that are known.
        inputs: The value of each input.
        outputs: The value of each wanted output.
        gradients: The value of each wanted gradient; None where no path leads.
        output_gradients: The value of each gradient that arrives from outside.
        guards: Values that must be found true or false.
        traces: What was recorded, and where it ended up.
        sources: For each value that is another one broadcast, that one.
    """

    specs: list[ArraySpec | None] = field(default_factory=list)
    operations: list[Operation | GateCall] = field(default_factory=list)
    constants: dict[int, Constant] = field(default_factory=dict)
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    gradients: dict[str, int | None] = field(default_factory=dict)
    output_gradients: dict[str, int] = field(default_factory=dict)
    guards: list[tuple[int, bool]] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    sources: dict[int, int] = field(default_factory=dict)

    def spec(self, value: int) -> ArraySpec:
        """Return shape and dtype of an array."""
        return cast(ArraySpec, self.specs[value])


class Recordings:
    """The recordings of the gates of one graph, each made when it is first needed. Safe for many threads."""

    def __init__(self) -> None:
        self._made = Cache[Recording | str](_RECORDINGS)
        self._distrusted: dict[int, str] = {}

    @property
    def distrusted(self) -> int:
        """How many gates turned out to compute something else than their recordings."""
        return len(self._distrusted)

    def get(
        self,
        key: Hashable,
        gate: Gate,
        call: Callable[[list[Any]], object],
        operands: Sequence[ArraySpec],
    ) -> Recording | str:
        """Return the recording of a method of a gate, or why there is none."""
        shaped = not isinstance(gate, Elementwise)
        given = tuple((spec.dtype, spec.shape if shaped else None) for spec in operands)
        if id(gate) in self._distrusted:
            return self._distrusted[id(gate)]
        found = self._made.find((id(gate), key, given))
        if found is None:
            found = record(call, given) if type(gate).deterministic else "it is not deterministic"
            if not isinstance(found, str) and not holds(found, call, given):
                found = "it gives something else than its recording"
            self._made.set((id(gate), key, given), found)
        return found

    def distrust(self, gate: Gate, reason: str) -> None:
        """Run a gate as it is from now on."""
        self._distrusted[id(gate)] = reason


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
        self.lowered = Lowered()
        self.recordings = recordings
        self.literals = {name: value for name, value in constants.items() if not isinstance(value, np.ndarray)}
        self.values: dict[str, int] = {}
        self.gradients: dict[str, int] = {}
        self.sums: set[str] = set()
        self.saved: dict[str, tuple[int, ...]] = {}
        self.reasons: dict[str, str] = {}
        self._known: dict[Hashable, int] = {}
        self._negatives: dict[int, int] = {}
        for name, spec in inputs.items():
            self.values[name] = self.lowered.inputs[name] = self._new(spec)
        for name, value in constants.items():
            if isinstance(value, np.ndarray):
                self.values[name] = self.constant(value)

    # Values

    def _new(self, spec: ArraySpec | None) -> int:
        self.lowered.specs.append(spec)
        return len(self.lowered.specs) - 1

    def constant(self, value: Constant) -> int:
        """Return the value that is known to be `value`."""
        array = np.asarray(value)
        key = (type(value), array.dtype, array.shape, array.tobytes())
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._new(spec_of(array))
            self.lowered.constants[found] = value
        return found

    def emit(self, made: Instruction, operands: tuple[int, ...], floor: int) -> int:
        """Add an instruction, unless what it gives is at hand already.

        Args:
            made: The instruction.
            operands: The values that it is called on, instead of those of its recording.
            floor: See `Operation`.
        """
        specs, shape = self.lowered.specs, made.shape
        if made.kind is Kind.MAP:
            shape = _broadcast([cast(ArraySpec, specs[operand]).shape for operand in operands])
            narrow = tuple(self.lowered.sources.get(operand, operand) for operand in operands)
            if narrow != operands:
                # What is the same along an axis is computed once and broadcast afterwards.
                return self.widened(self.emit(made, narrow, floor), shape, floor)
            simple = self._simplified(made, operands, shape, floor)
            if simple is not None:
                return simple
        elif made.kind is Kind.VIEW:
            simple = self._seen(made, operands[0], floor)
            if simple is not None:
                return simple
        elif made.kind is Kind.REDUCE and operands[0] in self.lowered.sources:
            simple = self._multiplied(made, operands[0], floor)
            if simple is not None:
                return simple
        key = (made.function, operands, made.keywords, made.kind)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._new(ArraySpec(cast("tuple[int, ...]", shape), made.dtype))
            self.lowered.operations.append(Operation(made.kind, made.function, operands, made.keywords, found, floor))
            if made.function is np.negative and made.dtype.kind == "f":
                self._negatives[found] = operands[0]
            if made.function is np.broadcast_to:
                self.lowered.sources[found] = self.lowered.sources.get(operands[0], operands[0])
        return found

    def widened(self, value: int, shape: tuple[int, ...], floor: int) -> int:
        """Return a value broadcast to a shape."""
        spec = self.lowered.spec(value)
        if spec.shape == shape:
            return value
        made = Instruction(Kind.VIEW, np.broadcast_to, (), (("shape", shape),), spec.dtype, shape)
        return self.emit(made, (value,), floor)

    def recast(self, value: int, dtype: np.dtype[Any], floor: int) -> int:
        """Return a value in another dtype."""
        if self.lowered.spec(value).dtype == dtype:
            return value
        return self.emit(Instruction(Kind.MAP, recast, (), (("dtype", dtype),), dtype, None), (value,), floor)

    def _simplified(
        self, made: Instruction, operands: tuple[int, ...], shape: tuple[int, ...], floor: int
    ) -> int | None:
        """Return the value of an element by element instruction that is known, at hand, or had for less."""
        constants, specs = self.lowered.constants, self.lowered.specs
        spec = ArraySpec(shape, made.dtype)
        if made.function is filled:
            return self.widened(self.constant(made.keywords[0][1]), shape, -1)
        if all(operand in constants for operand in operands) and spec.size == 1:
            with np.errstate(all="ignore"):
                known = made.function(*(constants[operand] for operand in operands), **dict(made.keywords))
            return self.constant(known) if known.dtype == made.dtype and known.shape == shape else None
        if made.function is recast and specs[operands[0]] == spec:
            return operands[0]
        if made.function is np.power and spec == specs[operands[0]] and spec.dtype.kind == "f":
            exponent = constants.get(operands[1])
            if _is(exponent, 1):
                return operands[0]
            if _is(exponent, 2):
                # NumPy multiplies for this exponent; the proof compares.
                square = Instruction(Kind.MAP, np.multiply, (), (), made.dtype, None)
                return self.emit(square, (operands[0], operands[0]), floor)
        if not made.keywords and made.dtype.kind == "f" and all(specs[operand] == spec for operand in operands):
            unsigned = self._unsigned(made, operands, floor)
            if unsigned is not None:
                return unsigned
        if made.function in (np.multiply, np.divide):
            first, second = operands
            # The divisor alone may be dropped, either factor may.
            kept = first if _is(constants.get(second), 1) else second if _is(constants.get(first), 1) else None
            if made.function is np.divide and kept == second:
                kept = None
            return kept if kept is not None and specs[kept] == spec else None
        if made.function is np.where and operands[0] in constants and np.size(constants[operands[0]]) == 1:
            kept = operands[1] if np.all(constants[operands[0]]) else operands[2]
            return kept if specs[kept] == spec and kept not in constants else None
        return None

    def _unsigned(self, made: Instruction, operands: tuple[int, ...], floor: int) -> int | None:
        """Return a value computed without the negations of its operands, which change no other bit than the sign."""
        bases = tuple(self._negatives.get(operand, operand) for operand in operands)
        if bases == operands:
            return None
        if made.function is np.negative:
            return bases[0]
        plain = functools.partial(Instruction, Kind.MAP, operands=(), keywords=(), dtype=made.dtype, shape=None)
        signs = tuple(base != operand for base, operand in zip(bases, operands, strict=True))
        if made.function in (np.multiply, np.divide):
            value = self.emit(made, bases, floor)
            return value if all(signs) else self.emit(plain(function=np.negative), (value,), floor)
        if made.function is np.add and signs[0] != signs[1]:
            minuend, subtrahend = bases if signs[1] else bases[::-1]
            return self.emit(plain(function=np.subtract), (minuend, subtrahend), floor)
        # -a - b is another zero than -(a + b) where they cancel, so it stays.
        if made.function is np.subtract and signs == (False, True):
            return self.emit(plain(function=np.add), bases, floor)
        return None

    def _seen(self, made: Instruction, operand: int, floor: int) -> int | None:
        """Return a view of a single number, be it broadcast, as that number broadcast."""
        source, shape = self.lowered.sources.get(operand, operand), cast("tuple[int, ...]", made.shape)
        known = self.lowered.constants.get(source)
        if known is not None and np.size(known) == 1 and made.function is reshaped:
            return self.widened(self.constant(np.reshape(known, ())[()]), shape, floor)
        if source != operand and made.function is reshaped and self.lowered.spec(source).size == 1:
            number = Instruction(Kind.VIEW, reshaped, (), (("shape", ()),), made.dtype, ())
            return self.widened(self.emit(number, (source,), floor), shape, floor)
        return None

    def _multiplied(self, made: Instruction, operand: int, floor: int) -> int | None:
        """Return the sum of what is the same along all the summed axes: a product."""
        axes = dict(made.keywords)["axis"]
        source, wide = self.lowered.sources[operand], self.lowered.spec(operand).shape
        narrow = self.lowered.spec(source).shape
        padded = (1,) * (len(wide) - len(narrow)) + narrow
        if made.function is not np.add or made.dtype.name not in _SUMMED or axes is None:
            return None
        length = math.prod(wide[axis] for axis in axes)
        # The sum of nothing is 0, but infinity times 0 is not.
        if not length or any(padded[axis] != 1 for axis in axes):
            return None
        count = self.constant(np.asarray(length, made.dtype)[()])
        value = self.recast(source, made.dtype, floor)
        value = self.emit(Instruction(Kind.MAP, np.multiply, (), (), made.dtype, None), (value, count), floor)
        if padded != narrow:
            view = Instruction(Kind.VIEW, reshaped, (), (("shape", padded),), made.dtype, padded)
            value = self.emit(view, (value,), floor)
        return self.widened(value, cast("tuple[int, ...]", made.shape), floor)

    def replay(self, recording: Recording, operands: Sequence[int], floor: int = -1) -> tuple[int | None, ...]:
        """Add the instructions of a recording, called on these values, and return its results."""
        values = list(operands)
        for entry in recording.entries:
            if isinstance(entry, Instruction):
                values.append(self.emit(entry, tuple(values[i] for i in entry.operands), floor))
            else:
                values.append(self.constant(entry))
        self.lowered.guards += [(values[index], expected) for index, expected in recording.guards]
        return tuple(None if index is None else values[index] for index in recording.results)

    # Forward

    def forward(self, step: Step) -> None:
        """Lower the forward call of a gate."""
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
            results = tuple(self._new(spec) for spec in (*step.specs, *([None] * saves)))
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
            self.constant(literal_array(node, position, self.literals[operand], strong))
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
                value = self.widened(self.constant(spec.dtype.type(1)), spec.shape, -1)
            else:
                value = self.lowered.output_gradients[name] = self._new(spec)
            if source in self.gradients:
                add = Instruction(Kind.MAP, np.add, (), (), spec.dtype, None)
                value = self.emit(add, (self.gradients[source], value), -1)
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
        self.gradients[reference] = self.emit(add, (before, gradient), floor)

    def backward(self, step: Step) -> None:
        """Lower the backward call of a gate."""
        arriving = [
            self.recast(self.gradients[result], cast(ArraySpec, spec).dtype, -1) if result in self.gradients else None
            for result, spec in zip(step.node.results, step.specs, strict=True)
        ]
        floor = max((value for value in arriving if value is not None), default=-1)
        if floor < 0:
            return
        operands = self._operands(step)
        gradients: list[tuple[int, int]] = []
        for rule, index in step.rules:
            found = self._recorded_backward(step, rule, index, operands, arriving, floor)
            if isinstance(found, str):
                gradients = self._called_backward(step, operands, arriving, found)
                break
            gradients += found
        for position, gradient in gradients:
            self.accumulate(step.node.operands[position], gradient, floor)

    def _recorded_backward(
        self,
        step: Step,
        rule: BackwardRule,
        index: int | None,
        operands: tuple[int, ...],
        arriving: Sequence[int | None],
        floor: int,
    ) -> list[tuple[int, int]] | str:
        """Replay a backward call; return the gradient at each operand's position, or why it cannot be recorded."""
        node, signature, spec = step.node, step.node.gate.signature, self.lowered.spec
        given: list[int] = []
        fixed: dict[str, Any] = {}
        places: dict[str, int | list[int]] = {}
        for parameter in rule.parameters:
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
        call = functools.partial(call_rule, rule.call, node.gate, fixed, places)
        recording = self.recordings.get(
            (index, tuple(fixed.items()), tuple(places)), node.gate, call, [spec(value) for value in given]
        )
        if isinstance(recording, str):
            return recording
        positions = [p for p in range(len(operands)) if index is None or signature.index(p) == index]
        if len(recording.results) != len(positions):
            return "backward does not give one gradient for each operand"
        made = self.replay(recording, given, floor)
        found = []
        for position, gradient in zip(positions, made, strict=True):
            if not step.wanted[position] or not is_differentiable(spec(operands[position]).dtype):
                continue
            fitted = None if gradient is None else self._fitted(step, operands[position], gradient, floor)
            if fitted is None:
                return "backward does not give what it should"
            found.append((position, fitted))
        method = "backward" if index is None else f"backward_{signature.operands[index]}"
        if Source.OPERAND_SHAPE not in {parameter.source for parameter in rule.parameters}:
            self.lowered.traces.append(Trace(node, method, call, tuple(given), made))
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
        return self.recast(gradient, wanted.dtype, floor)

    def _called_backward(
        self, step: Step, operands: tuple[int, ...], arriving: Sequence[int | None], reason: str
    ) -> list[tuple[int, int]]:
        """Lower a backward call to the call of the gate as it is."""
        node = step.node
        positions = [
            position
            for _, index in step.rules
            for position in range(len(operands))
            if (index is None or node.gate.signature.index(position) == index)
            and step.wanted[position]
            and is_differentiable(self.lowered.spec(operands[position]).dtype)
        ]
        results = tuple(self._new(self.lowered.spec(operands[position])) for position in positions)
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
            made.outputs[name] = self.values[source] if literal is None else self.constant(np.asarray(literal))
        for name in wrt:
            gradient = self.gradients.get(name)
            made.gradients[name] = None if gradient is None else self.recast(gradient, inputs[name].dtype, -1)
        needed = {*made.outputs.values(), *made.gradients.values(), *(value for value, _ in made.guards)}
        kept = []
        for operation in reversed(made.operations):
            if isinstance(operation, GateCall) or operation.result in needed:
                needed.update(operation.operands)
                kept.append(operation)
        made.operations = kept[::-1]


_RECORDINGS: Final = 1 << 13
"""Recordings that a graph keeps: a matrix product has some for each shape."""

_SUMMED: Final = frozenset({"float32", "float64"})
"""Dtypes in which a sum of equal numbers may be had by a product."""


def _broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    first = shapes[0]
    return first if all(shape == first for shape in shapes) else broadcast_shapes(*shapes)


def _is(value: Constant | None, number: int) -> bool:
    """Tell whether a value is known to be a number."""
    return value is not None and np.size(value) == 1 and bool(np.all(np.equal(value, number)))


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
