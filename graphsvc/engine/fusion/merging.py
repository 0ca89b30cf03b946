"""Merging: a list of NumPy calls in which nothing is computed twice.

Equal instructions are merged, what is known beforehand is computed, factors of one are dropped and signs moved out of
products, and what is the same along an axis is computed once. None of it changes a bit of a result, sums excepted.
"""

import functools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np

from graphsvc.arrays import ArraySpec, broadcast_shapes, spec_of
from graphsvc.engine.fusion.instructions import Constant, Instruction, Kind, filled, recast, reshaped
from graphsvc.engine.inference import BoundNode
from graphsvc.engine.plan import Step

__all__ = ["GateCall", "InstructionList", "Lowered", "Operation", "Trace"]

_SUMMED: Final = frozenset({"float32", "float64"})
"""Dtypes in which a sum of equal numbers may be had by a product."""


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
        makers: The gate node that a value was first computed for.
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
    makers: dict[int, BoundNode] = field(default_factory=dict)

    def spec(self, value: int) -> ArraySpec:
        """Return shape and dtype of an array."""
        return cast(ArraySpec, self.specs[value])


class InstructionList:
    """Instructions on numbered values, as they come.

    Attributes:
        lowered: The list so far.
        node: The gate node that instructions are added for.
    """

    def __init__(self) -> None:
        self.lowered = Lowered()
        self.node: BoundNode | None = None
        self._known: dict[Hashable, int] = {}
        self._negatives: dict[int, int] = {}

    def new(self, spec: ArraySpec | None) -> int:
        """Return the number of a value that comes from elsewhere."""
        self.lowered.specs.append(spec)
        return len(self.lowered.specs) - 1

    def constant(self, value: Constant) -> int:
        """Return the value that is known to be `value`."""
        array = np.asarray(value)
        key = (type(value), array.dtype, array.shape, array.tobytes())
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self.new(spec_of(array))
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
            found = self._known[key] = self.new(ArraySpec(cast("tuple[int, ...]", shape), made.dtype))
            self.lowered.operations.append(Operation(made.kind, made.function, operands, made.keywords, found, floor))
            if self.node:
                self.lowered.makers[found] = self.node
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


def _broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    first = shapes[0]
    return first if all(shape == first for shape in shapes) else broadcast_shapes(*shapes)


def _is(value: Constant | None, number: int) -> bool:
    """Tell whether a value is known to be a number."""
    return value is not None and np.size(value) == 1 and bool(np.all(np.equal(value, number)))
