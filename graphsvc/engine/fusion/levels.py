"""Levels: large graphs of single numbers, many gates at a time.

The level of a node is the length of the longest path to it. Gates of one level do not depend on each other, so those
of one kind run as one call on arrays: operands are gathered, results lie side by side. Backward goes level by level
down; the contributions of a level are added in the order in which the loop adds them, so every bit is the same.
"""

import functools
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard, cast

import numpy as np

from graphsvc.arrays import Array, ArraySpec, Literal, read_only
from graphsvc.engine.evaluation import InputGradients, Results
from graphsvc.engine.fusion.instructions import Instruction, Kind, powered
from graphsvc.engine.fusion.lowering import call_rule
from graphsvc.engine.fusion.proof import UntrueRecordingError, same_bits
from graphsvc.engine.fusion.recording import Recording
from graphsvc.engine.fusion.recordings import Recordings
from graphsvc.engine.inference import literal_array
from graphsvc.engine.plan import Plan, Step
from graphsvc.gate import Elementwise
from graphsvc.signature import Source

__all__ = ["LevelProgram", "level_program"]

_NUMBER: Final = ArraySpec((), np.dtype(np.float64))
_LEAST: Final = 256
"""Gates from which on levels are worth their preparation."""

_CALL: Final = 0.3e-6
"""Seconds of one call on a short array."""

_GATE: Final = 0.8e-6
"""Seconds of one gate, forward and backward, on single numbers."""


@dataclass(eq=False, slots=True)
class _Kind:
    """What gates have in common that run together.

    Attributes:
        step: One of them.
        fixed: The literal operands, by position.
        forward: What forward computes of the operands.
        backward: What each rule computes, and the positions in its arguments: operands from 0 on, the output as -1,
            the gradient that arrives as -2.
        wanted: The positions whose gradient is wanted, each with the rule and the result that gives it.
    """

    step: Step
    fixed: dict[int, Array]
    forward: Recording
    backward: list[tuple[Recording, tuple[int, ...], Callable[[list[Any]], object]]]
    wanted: list[tuple[int, int, int]]


def level_program(
    plan: Plan,
    recordings: Recordings,
    constants: Mapping[str, Array | Literal],
    inputs: Mapping[str, ArraySpec],
    wrt: Sequence[str],
    differentiated: Sequence[str],
) -> "LevelProgram | None":
    """Prepare a plan to run level by level.

    Returns:
        The program; None where something else than single numbers of float64 occurs, a gate cannot be recorded, or the
        levels are too thin to gain anything.
    """
    if len(plan.steps) < _LEAST or any(spec != _NUMBER for spec in inputs.values()):
        return None
    numbers = {n: v for n, v in constants.items() if not isinstance(v, np.ndarray) or v.shape == ()}
    if any(isinstance(v, np.ndarray) and v.dtype != np.float64 for v in numbers.values()):
        return None
    layout = _Layout(recordings, numbers, inputs)
    if not all(map(layout.place, plan.steps)) or not layout.pays():
        return None
    if any(source not in layout.values for source in plan.outputs.values()):
        return None
    return LevelProgram(layout, plan, wrt, differentiated)


class _Layout:
    """Which gates run together, and where their values lie."""

    def __init__(
        self, recordings: Recordings, constants: Mapping[str, Array | Literal], inputs: Mapping[str, ArraySpec]
    ) -> None:
        self.recordings = recordings
        self.inputs = tuple(inputs)
        self.literals = {name: value for name, value in constants.items() if not isinstance(value, np.ndarray)}
        self.arrays = {name: value for name, value in constants.items() if isinstance(value, np.ndarray)}
        self.level = dict.fromkeys((*inputs, *constants), 0)
        self.kinds: dict[Hashable, _Kind | None] = {}
        self.batches: dict[tuple[int, int], list[tuple[int, Step]]] = {}
        self.levels: list[dict[_Kind, list[tuple[int, Step]]]] = []
        self.values: dict[str, int] = {}
        self.count = 0

    def place(self, step: Step) -> bool:
        """Put a gate to those that it runs with; tell whether it can be."""
        node = step.node
        operands = node.operands
        key = (
            id(node.gate),
            step.wanted,
            bool(step.rules),
            tuple(operand if operand in self.literals else None for operand in operands) if step.literal else None,
        )
        kind = self.kinds.get(key, self)
        if kind is self:
            kind = self.kinds[key] = self._kind(step)
        level = 0
        for operand in operands:
            if (found := self.level.get(operand, -1)) > level:
                level = found
            elif found < 0:
                return False
        if not isinstance(kind, _Kind):
            return False
        if level == len(self.levels):
            self.levels.append({})
        self.level[node.name] = level + 1
        self.levels[level].setdefault(kind, []).append((self.count, step))
        self.count += 1
        return True

    def pays(self) -> bool:
        """Tell whether calls on arrays take less time than calls on numbers, and give every value its place."""
        calls = sum(
            1 + len(kind.forward.entries) + sum(len(recording.entries) for recording, _, _ in kind.backward)
            for level in self.levels
            for kind in level
        )
        if (calls + 3 * len(self.levels)) * _CALL > self.count * _GATE:
            return False
        names = [*self.inputs, *self.arrays, *self.literals]
        for level in self.levels:
            for members in level.values():
                names += [step.node.name for _, step in members]
        self.values = dict(zip(names, range(len(names)), strict=True))
        return True

    def _kind(self, step: Step) -> _Kind | None:
        """Record a gate, and see whether it can run on arrays of numbers."""
        node, signature = step.node, step.node.gate.signature
        if not isinstance(node.gate, Elementwise) or step.specs != (_NUMBER,) or signature.saves or signature.variadic:
            return None
        fixed = {
            i: literal_array(node, i, self.literals[operand], [_NUMBER.dtype])
            for i, operand in enumerate(node.operands)
            if operand in self.literals
        }
        if any(array.dtype != _NUMBER.dtype for array in fixed.values()) or len(fixed) == len(node.operands):
            return None
        call = lambda arrays: signature.forward(node.gate, *arrays)  # noqa: E731
        forward = self.recordings.get("forward", node.gate, call, [_NUMBER] * len(node.operands))
        if not _fits(forward, fixed) or len(forward.results) != 1:
            return None
        made = _Kind(step, fixed, forward, [], [])
        for asked in step.rules:
            places, names = [], []
            for parameter in asked.rule.parameters:
                if parameter.source is Source.OPERAND_SHAPE:
                    return None
                names.append(parameter.name)
                places.append({Source.OPERAND: parameter.index, Source.OUTPUT: -1}.get(parameter.source, -2))
            called = _rule_call(asked.rule.call, node.gate, names)
            found = self.recordings.get((asked.operand, (), tuple(names)), node.gate, called, [_NUMBER] * len(places))
            if not _fits(found, {p: fixed[at] for p, at in enumerate(places) if at in fixed}):
                return None
            if len(found.results) != len(asked.positions):
                return None
            for result, position in enumerate(asked.positions):
                if step.wanted[position]:
                    made.wanted.append((position, len(made.backward), result))
            made.backward.append((found, tuple(places), called))
        return made


def _rule_call(method: Callable[..., Any], gate: Any, names: Sequence[str]) -> Callable[[list[Any]], object]:
    places = {name: place for place, name in enumerate(names)}
    return lambda arrays: call_rule(method, gate, {}, places, arrays)


def _fits(recording: Recording | str, fixed: Iterable[int]) -> TypeGuard[Recording]:
    """Tell whether a recording gives the same bits on arrays of numbers as on numbers."""
    if isinstance(recording, str) or recording.guards or None in recording.results:
        return False
    known = {*fixed, *(recording.count + i for i, e in enumerate(recording.entries) if not isinstance(e, Instruction))}
    for entry in recording.entries:
        if isinstance(entry, Instruction):
            plain = entry.kind is Kind.MAP and not entry.keywords and entry.dtype in (np.float64, np.bool_)
            # Powers of arrays take other ways than those of numbers, and with one exponent for all than with many.
            if (
                not plain
                or entry.function is powered
                or (entry.function is np.power and entry.operands[1] not in known)
            ):
                return False
        elif np.size(entry) != 1:
            return False
    return True


class _Batch:
    """Gates of one kind and one level, and where their numbers lie."""

    def __init__(self, kind: _Kind, members: Sequence[tuple[int, Step]], values: Mapping[str, int], free: int) -> None:
        self.kind = kind
        self.start = values[members[0][1].node.name]
        self.count = len(members)
        self.ranks = np.array([rank for rank, _ in members])
        self.operands = {
            position: np.array([values[step.node.operands[position]] for _, step in members])
            for position in range(len(kind.step.node.operands))
            if position not in kind.fixed
        }
        self.free = free
        """Where its gathered operands begin."""

    def place(self, position: int) -> slice:
        """Return where the gathered operands of a position lie."""
        start = self.free + list(self.operands).index(position) * self.count
        return slice(start, start + self.count)


class LevelProgram:
    """A large graph of single numbers, ready to run. Safe for many threads."""

    pure = True

    def __init__(self, layout: _Layout, plan: Plan, wrt: Sequence[str], differentiated: Sequence[str]) -> None:
        values = layout.values
        self._constants = [float(value) for value in (*layout.arrays.values(), *layout.literals.values())]
        self._inputs = len(layout.inputs)
        self._size = len(values)
        self._names = tuple(plan.outputs)
        self._outputs = np.array([values[source] for source in plan.outputs.values()])
        self._seeds = np.array([values[plan.outputs[name]] for name in differentiated], np.intp)
        self._levels: list[list[_Batch]] = []
        self._gathered = 0
        for level in layout.levels:
            batches = []
            for kind, members in level.items():
                batches.append(_Batch(kind, members, values, self._gathered))
                self._gathered += batches[-1].count * len(batches[-1].operands)
            self._levels.append(batches)
        self._contributions = [self._order(batches) for batches in self._levels]
        reached = {int(seed) for seed in self._seeds}.union(*(targets.tolist() for _, targets in self._contributions))
        self.connected = tuple(name for name in wrt if values[name] in reached)
        self._gradients = np.array([values[name] for name in self.connected], np.intp)
        self._spaces: list[_Workspace] = []
        self._proven = False

    @property
    def result_bytes(self) -> int:
        """Bytes of outputs and gradients."""
        return 8 * (len(self._outputs) + len(self._gradients))

    @property
    def peak_bytes(self) -> int:
        """Bytes of arrays that a run takes at most at one time, with its results."""
        return 8 * (2 * self._size + 3 * self._gathered) + self.result_bytes

    def describe(self) -> tuple[dict[str, int], int]:
        """Return how many gates of each name there are, and how many calls they make."""
        gates: Counter[str] = Counter()
        for batches in self._levels:
            for batch in batches:
                gates[batch.kind.step.node.gate_name] += batch.count
        space = self._spaces[-1] if self._spaces else _Workspace(self)
        return dict(gates.most_common()), sum(map(len, [*space.forward, *space.backward]))

    def _order(self, batches: Sequence[_Batch]) -> tuple[Array, Array]:
        """Return where the contributions of a level to gradients lie, and to which values they go, in the loop's order.

        Gradients of values lie before the contributions.
        """
        parts = []
        for batch in batches:
            for order, (position, rule, result) in enumerate(batch.kind.wanted):
                recording, places, _ = batch.kind.backward[rule]
                index = recording.results[result]
                if index is not None and index < recording.count and places[index] == -2:
                    start = batch.start
                else:
                    start = self._size + self._gathered_place(batch, position)
                sources = np.arange(start, start + batch.count)
                parts.append((batch.ranks, np.full(batch.count, order), sources, batch.operands[position]))
        if not parts:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        ranks, orders, sources, targets = map(np.concatenate, zip(*parts, strict=True))
        sequence = np.lexsort((orders, -ranks))
        return sources[sequence], targets[sequence]

    @staticmethod
    def _gathered_place(batch: _Batch, position: int) -> int:
        # A contribution for each gathered operand: one place serves both.
        return cast(int, batch.place(position).start)

    def run(self, given: Sequence[Any], between: Callable[[], None] | None = None) -> Results:
        """Run.

        Args:
            given: The inputs, then the gradients that arrive at outputs, or nothing where they are 1.
            between: Called between levels; what it raises stops the run.

        Returns:
            Outputs, and gradients of the inputs that are connected, as arrays of their own.

        Raises:
            UntrueRecordingError: In the first run: a gate's recording is not what the gate computes.
        """
        try:
            space = self._spaces.pop()
        except IndexError:
            space = _Workspace(self)
        values, gradients = space.values, space.gradients
        count = self._inputs
        values[:count] = given[:count]
        values[count : count + len(self._constants)] = self._constants
        gradients.fill(-0.0)
        for calls in space.forward:
            if between:
                between()
            for function, arguments in calls:
                function(*arguments)
        np.add.at(gradients, self._seeds, given[count:] or np.ones(len(self._seeds)))
        for calls in space.backward:
            if between:
                between()
            for function, arguments in calls:
                function(*arguments)
        if not self._proven:
            self._prove(space)
        outputs = dict(zip(self._names, map(np.array, values[self._outputs]), strict=True))
        made = InputGradients(zip(self.connected, map(np.array, gradients[self._gradients]), strict=True))
        self._spaces.append(space)
        return outputs, made

    def _prove(self, space: "_Workspace") -> None:
        """Compare each recording with its gate on the largest batch of its kind."""
        largest: dict[_Kind, _Batch] = {}
        for batches in self._levels:
            for batch in batches:
                if batch.kind not in largest or largest[batch.kind].count < batch.count:
                    largest[batch.kind] = batch
        for kind, batch in largest.items():
            node = kind.step.node
            operands = [read_only(space.operand(batch, p)) for p in range(len(node.operands))]
            found = read_only(space.values[batch.start : batch.start + batch.count])
            try:
                same = same_bits(found, node.gate.signature.forward(node.gate, *operands))
                gradient = read_only(space.gradients[batch.start : batch.start + batch.count])
                for rule, (recording, places, call) in enumerate(kind.backward):
                    arguments = [(*operands, gradient, found)[p] for p in places]
                    returned = call(arguments)
                    listed = returned if isinstance(returned, tuple | list) else (returned,)
                    for position, of, result in kind.wanted:
                        if of == rule:
                            mine = space.contribution(batch, position, recording.results[result], recording, places)
                            same = same and same_bits(mine, listed[result])
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                raise UntrueRecordingError(node, "its code") from error
            if not same:
                raise UntrueRecordingError(node, "its code")
        self._proven = True


_Calls = list[tuple[Callable[..., Any], tuple[Any, ...]]]


class _Workspace:
    """The arrays of one run, and the calls that go over them."""

    def __init__(self, program: LevelProgram) -> None:
        size, gathered = program._size, program._gathered
        self.values = np.zeros(size)
        self._work = np.empty(size + gathered)
        self.gradients, self._contributions = self._work[:size], self._work[size:]
        self._operands = np.empty(gathered)
        self._registers: dict[tuple[int, np.dtype[Any]], Array] = {}
        self._width = max(batch.count for batches in program._levels for batch in batches)
        self.forward = [self._forward(batches) for batches in program._levels]
        steps = zip(reversed(program._levels), reversed(program._contributions), strict=True)
        self.backward = [self._backward(batches, *order) for batches, order in steps]

    def operand(self, batch: _Batch, position: int) -> Array:
        """Return the operands of a batch at a position."""
        fixed = batch.kind.fixed.get(position)
        return self._operands[batch.place(position)] if fixed is None else fixed

    def contribution(
        self, batch: _Batch, position: int, index: int | None, recording: Recording, places: Sequence[int]
    ) -> Array:
        """Return what a batch contributes to the gradients of its operands at a position."""
        if index is not None and index < recording.count and places[index] == -2:
            return self.gradients[batch.start : batch.start + batch.count]
        return self._contributions[batch.place(position)]

    def _forward(self, batches: Sequence[_Batch]) -> _Calls:
        indices = [index for batch in batches for index in batch.operands.values()]
        start, stop = batches[0].free, batches[0].free + sum(map(len, indices))
        gather = (np.concatenate(indices), None, self._operands[start:stop], "clip")
        calls: _Calls = [(self.values.take, gather)]
        for batch in batches:
            operands = [self.operand(batch, p) for p in range(len(batch.kind.step.node.operands))]
            result = self.values[batch.start : batch.start + batch.count]
            self._emit(calls, batch.kind.forward, operands, [result], batch.count)
        return calls

    def _backward(self, batches: Sequence[_Batch], sources: Array, targets: Array) -> _Calls:
        calls: _Calls = []
        for batch in batches:
            node, part = batch.kind.step.node, slice(batch.start, batch.start + batch.count)
            operands = [self.operand(batch, p) for p in range(len(node.operands))]
            given = [*operands, self.gradients[part], self.values[part]]
            for rule, (recording, places, _) in enumerate(batch.kind.backward):
                results: list[Array | None] = [None] * len(recording.results)
                for position, of, result in batch.kind.wanted:
                    index = recording.results[result]
                    if of == rule and not (index is not None and index < recording.count and places[index] == -2):
                        results[result] = self._contributions[batch.place(position)]
                self._emit(calls, recording, [given[p] for p in places], results, batch.count)
        if len(targets):
            contributions = np.empty(len(targets))
            calls.append((self._work.take, (sources, None, contributions, "clip")))
            calls.append((np.add.at, (self.gradients, targets, contributions)))
        return calls

    def _emit(
        self, calls: _Calls, recording: Recording, operands: list[Any], results: Sequence[Array | None], count: int
    ) -> None:
        """Add the calls of a recording that its results need."""
        places: dict[int, Array] = {}
        copies = []
        for index, result in zip(recording.results, results, strict=True):
            if result is not None and index is not None:
                if index >= recording.count and index not in places:
                    places[index] = result
                else:
                    copies.append((result, index))
        values = list(operands)
        needed = {*places, *(index for _, index in copies)}
        for i in reversed(range(len(recording.entries))):
            entry = recording.entries[i]
            if recording.count + i in needed and isinstance(entry, Instruction):
                needed.update(entry.operands)
        for i, entry in enumerate(recording.entries):
            index = recording.count + i
            if not isinstance(entry, Instruction) or index not in needed:
                values.append(entry)
                continue
            target = places.get(index)
            if target is None:
                target = self._register(i, entry.dtype)[:count]
            arguments = tuple(values[operand] for operand in entry.operands)
            calls.append(_writing(entry.function, arguments, target))
            values.append(target)
        calls += [(np.copyto, (result, values[index])) for result, index in copies]

    def _register(self, number: int, dtype: np.dtype[Any]) -> Array:
        found = self._registers.get((number, dtype))
        if found is None:
            found = self._registers[number, dtype] = np.empty(self._width, dtype)
        return found


def _writing(function: Any, arguments: tuple[Any, ...], target: Array) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return a call that writes its result to an array."""
    if isinstance(function, np.ufunc) and function not in (np.maximum, np.minimum):
        return function, (*arguments, target)
    if isinstance(function, np.ufunc):
        return functools.partial(function, out=target), arguments
    return (lambda *given: np.copyto(target, function(*given))), arguments
