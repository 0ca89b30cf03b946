"""Programs: a question to a graph, lowered and scheduled, run as straight-line code or as a loop.

The first run is a proof: each recording is compared, bit for bit, with the gate that it was taken from. From the second
run on a short program is a Python function made for it, with one local variable for each value; its source holds
nothing but our own numbers. Long ones stay a loop, because compiling takes 18 microseconds a line.
"""

import functools
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from graphsvc.arrays import Array, owned, read_only
from graphsvc.engine.evaluation import InputGradients, Results
from graphsvc.engine.fusion.blocks import BlockedKernel
from graphsvc.engine.fusion.instructions import Kind, reshaped
from graphsvc.engine.fusion.kernels import Kernel, schedule
from graphsvc.engine.fusion.merging import GateCall, Lowered, Operation, Trace
from graphsvc.engine.fusion.proof import COMPARED, holds, to_prove
from graphsvc.engine.plan import Step
from graphsvc.errors import GraphsvcError, StoppedError
from graphsvc.gate import Elementwise

__all__ = ["GuardError", "Program"]

_STRAIGHT: Final = 256
"""Calls up to which a program becomes straight-line code."""

_KEPT_BYTES: Final = 1 << 20
"""Bytes of all values that are kept for the proof."""

_LARGE: Final = 1 << 12
"""Elements from which on a value is dropped as soon as nobody needs it."""

_LONG: Final = 1 << 18
"""Elements from which on a call may take long, so that a run may have to stop before it."""

_OPERATORS: Final[Mapping[Any, str]] = {
    np.add: "{} + {}",
    np.subtract: "{} - {}",
    np.multiply: "{} * {}",
    np.divide: "{} / {}",
    np.negative: "-{}",
    np.greater: "{} > {}",
    np.less: "{} < {}",
    np.greater_equal: "{} >= {}",
    np.less_equal: "{} <= {}",
}
"""Operators that give NumPy's scalars the bits of the ufunc, in a tenth of the time."""


class GuardError(RuntimeError):
    """A value was not what a recording took for granted; the gates themselves must run."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One call of a program; `operator` stands for it where single numbers are computed."""

    function: Callable[..., Any]
    operands: tuple[int, ...]
    results: tuple[int, ...]
    interruptible: bool = False
    operator: str | None = None


class Program:
    """What answers a question, again and again. Safe for many threads."""

    def __init__(self, lowered: Lowered) -> None:
        self.lowered = lowered
        self.parts = schedule(lowered)
        self.kernels = {id(part): BlockedKernel(part, lowered) for part in self.parts if isinstance(part, Kernel)}
        self._views = {o.result for o in lowered.operations if isinstance(o, Operation) and o.function in _VIEWS}
        self._given = (*lowered.inputs.values(), *lowered.output_gradients.values())
        self._lines = [self._line(part) for part in self.parts]
        self._results = (*lowered.outputs.values(), *(v for v in lowered.gradients.values() if v is not None))
        self._straight: Callable[..., Results] | None = None
        self._copied = self._to_copy()
        self._frees = self._dropped()
        self._checks, self._last_checks = self._checked()
        self.proven = False
        self.connected = tuple(name for name, value in lowered.gradients.items() if value is not None)
        self.pure = not any(isinstance(part, GateCall) for part in self.parts)

    def run(self, given: Sequence[Any], between: Callable[[], None] | None = None) -> Results:
        """Run.

        Args:
            given: The inputs, then the gradients that arrive at outputs; single numbers as NumPy scalars.
            between: Called before the run and before every call that may take long; what it raises stops the run.

        Returns:
            Outputs, and gradients of the inputs that are connected, as arrays of their own.

        Raises:
            GuardError: The gates themselves must run; they may have an error to tell.
            UntrueRecordingError: In the first run: a gate's recording is not what the gate computes.
        """
        try:
            return (self._straight or self._slower)(between, *given)
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            if isinstance(error, GraphsvcError):
                raise
            # NumPy refuses data that the gate itself has words for.
            raise GuardError from error

    def _slower(self, between: Callable[[], None] | None, *given: Any) -> Results:
        """Run the first time, and prepare for the next times."""
        if not self.proven:
            return self._prove(given, between)
        if len(self._lines) > _STRAIGHT:
            return self._finished(self._loop(given, between, self._frees))
        self._straight = self._compiled()
        return self._straight(between, *given)

    @functools.cached_property
    def peak_bytes(self) -> int:
        """Bytes of arrays that a run takes at most at one time, with its results and without its inputs.

        What a gate that runs as it is takes for itself is not known, and not counted.
        """
        alive = peak = 0
        roots: dict[int, int] = {}
        holders: Counter[int] = Counter()
        for part, frees in zip(self.parts, self._frees, strict=True):
            for value in self._line_results(part):
                # An array lives as long as any view of it.
                root = value
                if isinstance(part, Operation) and value in self._views:
                    root = roots.get(part.operands[0], part.operands[0])
                roots[value] = root
                holders[root] += 1
                alive += self.nbytes(value)
            peak = max(peak, alive)
            for value in frees:
                root = roots.get(value, value)
                holders[root] -= 1
                alive -= self.nbytes(root) if holders[root] == 0 and root not in self._given else 0
        # A view becomes an array of its own as well, such as the gradient of a sum, which repeats one number.
        copies = sum(
            self.lowered.spec(value).nbytes
            for value in self._results
            if value in self._copied or (value in self._views and value not in self._given)
        )
        return max(peak, alive + copies)

    @functools.cached_property
    def scratch_bytes(self) -> int:
        """Bytes of the registers, which threads keep from run to run."""
        return max((kernel.scratch_bytes for kernel in self.kernels.values()), default=0)

    def gates_as_they_are(self) -> list[Step]:
        """Return the steps whose gates are called themselves, forward, backward or both."""
        return list({id(part.step): part.step for part in self.parts if isinstance(part, GateCall)}.values())

    def _line_results(self, part: Operation | GateCall | Kernel) -> tuple[int, ...]:
        return self.kernels[id(part)].results if isinstance(part, Kernel) else part.results

    @property
    def result_bytes(self) -> int:
        """Bytes of outputs and gradients."""
        return sum(self.lowered.spec(value).nbytes for value in self._results)

    def nbytes(self, value: int) -> int:
        """Return the bytes that making a value takes; a view takes none."""
        spec = self.lowered.specs[value]
        return spec.nbytes if spec and value not in self._views else 0

    # Lines

    def _line(self, part: Operation | GateCall | Kernel) -> _Line:
        if isinstance(part, Kernel):
            kernel = self.kernels[id(part)]
            return _Line(kernel, kernel.operands, kernel.results, interruptible=True)
        if isinstance(part, GateCall):
            call = functools.partial(_call_gate, part.call)
            return _Line(call, part.operands, part.results, interruptible=True)
        keywords = dict(part.keywords)
        function: Callable[..., Any] = part.function
        symbols = None
        if part.kind is Kind.REDUCE:
            function = functools.partial(function.reduce, **keywords, keepdims=keywords["axis"] is not None)  # type: ignore[attr-defined]
        elif function in _METHODS:
            function = operator.methodcaller(_METHODS[function], *keywords.values())
        elif keywords:
            function = functools.partial(function, **keywords)
        elif self._is_number(part.result) and all(self._is_number(v) or self._is_weak(v) for v in part.operands):
            symbols = _OPERATORS.get(function)
            if function is np.where and self._specs_alike(part):
                # What is chosen is NumPy's number, not Python's, which divides by zero otherwise and has no dtype.
                first, second = (f"w{v}" if self._is_weak(v) else f"v{v}" for v in part.operands[1:])
                symbols = f"{first} if {{0}} else {second}"
        if self._takes_long(part):
            return _Line(functools.partial(_call_alone, function), part.operands, part.results, interruptible=True)
        return _Line(function, part.operands, part.results, operator=symbols)

    def _takes_long(self, part: Operation) -> bool:
        if part.function in _VIEWS:
            return False
        return any(self.lowered.spec(value).size >= _LONG for value in (part.result, *part.operands))

    def _is_number(self, value: int) -> bool:
        spec = self.lowered.specs[value]
        return spec is not None and spec.shape == () and (spec.dtype.kind == "b" or spec.dtype.name in _NUMBERS)

    def _is_weak(self, value: int) -> bool:
        return type(self.lowered.constants.get(value)) in (int, float)

    def _specs_alike(self, part: Operation) -> bool:
        return all(self.lowered.specs[operand] == self.lowered.specs[part.result] for operand in part.operands[1:])

    def _to_copy(self) -> set[int]:
        """Return the results that another holds as well: a caller, a gate, or a second result."""
        fresh: set[int] = set()
        for part in self.parts:
            if isinstance(part, Kernel):
                kernel = self.kernels[id(part)]
                fresh.update(value for value in kernel.results if kernel.owns(value))
            elif isinstance(part, Operation) and (part.kind in (Kind.MAP, Kind.REDUCE) or part.function is np.matmul):
                fresh.add(part.result)
        # A gate that holds a view holds what it is a view of.
        roots: dict[int, int] = {}
        for part in self.parts:
            if isinstance(part, GateCall):
                fresh.difference_update(roots.get(operand, operand) for operand in part.operands)
            elif isinstance(part, Operation) and part.function in _VIEWS:
                roots[part.result] = roots.get(part.operands[0], part.operands[0])
        return {value for value in self._results if value not in fresh}

    def _dropped(self) -> list[tuple[int, ...]]:
        """Return for each line the large values that nobody needs after it."""
        alive = {*self._results, *(value for value, _ in self.lowered.guards)}
        frees = []
        for line in reversed(self._lines):
            frees.append(tuple({v for v in (*line.operands, *line.results) if v not in alive and self._is_large(v)}))
            alive.update(line.operands)
        return frees[::-1]

    def _checked(self) -> tuple[list[list[tuple[int, bool]]], list[tuple[int, bool]]]:
        """Return the guards to check before each line, and after all.

        A gate that runs as it is may never end on what a gate before it refuses, so guards are checked before it.
        """
        made = {*self._given, *self.lowered.constants}
        pending = list(self.lowered.guards)
        checks = []
        for part, line in zip(self.parts, self._lines, strict=True):
            due = [guard for guard in pending if isinstance(part, GateCall) and guard[0] in made]
            pending = [guard for guard in pending if guard not in due]
            checks.append(due)
            made.update(line.results)
        return checks, pending

    def _is_large(self, value: int) -> bool:
        spec = self.lowered.specs[value]
        return value not in self.lowered.constants and (spec is None or spec.size >= _LARGE)

    # The loop

    def _loop(
        self, given: Sequence[Any], between: Callable[[], None] | None, frees: Sequence[tuple[int, ...]]
    ) -> dict[int, Any]:
        values: dict[int, Any] = dict(self.lowered.constants)
        values.update(zip(self._given, given, strict=True))
        for line, checks, dropped in zip(self._lines, self._checks, frees, strict=True):
            operands = [values[operand] for operand in line.operands]
            _check(values, checks)
            if between:
                between()
            if line.interruptible:
                made = line.function(between, *operands)
                values.update(zip(line.results, made, strict=True))
            else:
                values[line.results[0]] = line.function(*operands)
            for value in dropped:
                del values[value]
        _check(values, self._last_checks)
        return values

    def _finished(self, values: Mapping[int, Any]) -> Results:
        seen: set[int] = set()
        results = []
        for value in self._results:
            mine = value not in self._copied and value not in seen
            results.append(_contiguous(values[value]) if mine else owned(values[value]))
            seen.add(value)
        outputs = dict(zip(self.lowered.outputs, results, strict=False))
        return outputs, InputGradients(zip(self.connected, results[len(outputs) :], strict=True))

    # Straight-line code

    def _compiled(self) -> Callable[..., Results]:
        """Make the function of this program."""
        scope: dict[str, Any] = {"own": owned, "array": np.array, "contiguous": _contiguous, "GuardError": GuardError}
        for value, constant in self.lowered.constants.items():
            scope[f"v{value}"] = constant[()] if isinstance(constant, np.ndarray) and constant.ndim == 0 else constant
            if self._is_weak(value):
                scope[f"w{value}"] = np.asarray(constant)[()]
        lines: list[str] = []
        for i, (line, frees) in enumerate(zip(self._lines, self._frees, strict=True)):
            operands = [f"v{operand}" for operand in line.operands]
            results = ", ".join(f"v{result}" for result in line.results)
            lines += map(_check_line, self._checks[i])
            if line.operator:
                lines.append(f"{results} = {line.operator.format(*operands)}")
                continue
            scope[f"f{i}"] = line.function
            if line.interruptible:
                lines.append(f"[{results}] = f{i}({', '.join(['between', *operands])})")
            else:
                lines.append(f"{results} = f{i}({', '.join(operands)})")
            if frees:
                lines.append("del " + ", ".join(f"v{value}" for value in frees))
        lines += map(_check_line, self._last_checks)
        lines += self._result_lines(scope)
        arguments = ", ".join(["between", *(f"v{value}" for value in self._given)])
        body = "\n    ".join(["if between: between()", *lines])
        exec(f"def program({arguments}):\n    {body}", scope)  # noqa: S102 - only names that are made here
        made: Callable[..., Results] = scope["program"]
        return made

    def _result_lines(self, scope: dict[str, Any]) -> list[str]:
        """Return the lines that name the results; the names themselves are constants of the code."""
        terms, seen = [], set()
        for i, (name, value) in enumerate(zip((*self.lowered.outputs, *self.connected), self._results, strict=True)):
            mine = value not in self._copied and value not in seen
            number = self.lowered.spec(value).shape == ()
            scope[f"n{i}"] = name
            terms.append((f"n{i}", f"{'array' if number else 'contiguous' if mine else 'own'}(v{value})"))
            seen.add(value)
        scope["gradients"] = functools.partial(InputGradients.__new__, InputGradients)
        outputs, rest = terms[: len(self.lowered.outputs)], terms[len(self.lowered.outputs) :]
        made = ", ".join(f"{name}: {term}" for name, term in outputs)
        return ["g = gradients()", *(f"g[{name}] = {term}" for name, term in rest), f"return {{{made}}}, g"]

    # The proof

    def _prove(self, given: Sequence[Any], between: Callable[[], None] | None) -> Results:
        """Run once, and compare recordings with gates: in kernels on the first rows, elsewhere on small values."""
        waiting: dict[int, list[Trace]] = {}
        for trace in to_prove(self.lowered.traces):
            for value in trace.results:
                if value is not None:
                    waiting.setdefault(value, []).append(trace)
        proven: set[int] = set()
        values: dict[int, Any] = dict(self.lowered.constants)
        values.update(zip(self._given, given, strict=True))
        for line, checks, dropped in zip(self._lines, self._checks, self._kept_longer(), strict=True):
            _check(values, checks)
            if between:
                between()
            operands = [values[operand] for operand in line.operands]
            if isinstance(line.function, BlockedKernel):
                block = line.function.first_rows(operands)
                for trace in (trace for value in block for trace in waiting.get(value, ())):
                    if id(trace) not in proven and isinstance(trace.node.gate, Elementwise) and holds(trace, block):
                        proven.add(id(trace))
            if line.interruptible:
                values.update(zip(line.results, line.function(between, *operands), strict=True))
            else:
                values[line.results[0]] = line.function(*operands)
            for value in dropped:
                del values[value]
        _check(values, self._last_checks)
        for source in self.lowered.sources.items():
            values.setdefault(source[0], values.get(source[1]))
        for trace in {id(trace): trace for traces in waiting.values() for trace in traces}.values():
            if id(trace) not in proven:
                holds(trace, values)
        self.proven = True
        return self._finished(values)

    def _kept_longer(self) -> list[tuple[int, ...]]:
        """Return for each line what to drop after it in the proof, which keeps a megabyte of small values."""
        kept, dropped = 0, []
        for frees in self._frees:
            dropped.append(tuple(v for v in frees if kept > _KEPT_BYTES or not self._is_small(v)))
            kept += sum(self.lowered.spec(v).nbytes for v in set(frees).difference(dropped[-1]))
        return dropped

    def _is_small(self, value: int) -> bool:
        spec = self.lowered.specs[value]
        return spec is not None and spec.size <= COMPARED


_METHODS: Final[Mapping[Any, str]] = {np.transpose: "transpose", reshaped: "reshape"}
"""Methods of arrays, which take a third of the time of the functions."""

_VIEWS: Final = (np.broadcast_to, np.transpose, reshaped)

_NUMBERS: Final = frozenset({"float32", "float64"})


def _check(values: Mapping[int, Any], guards: Sequence[tuple[int, bool]]) -> None:
    """Raise GuardError unless all guards hold."""
    for value, expected in guards:
        if bool(values[value]) is not expected:
            raise GuardError


def _check_line(guard: tuple[int, bool]) -> str:
    value, expected = guard
    return f"if {'not ' if expected else ''}v{value}: raise GuardError"


def _call_gate(call: Callable[..., Any], between: Callable[[], None] | None, *operands: Any) -> Any:
    """Call a gate as it is; its operands belong to others."""
    if between:
        between()
    try:
        return call(*map(read_only, operands))
    except StoppedError:
        raise
    except GraphsvcError as error:
        # A gate that comes before it in the graph may have an error to tell, too: the loops find the first one.
        raise GuardError from error


def _call_alone(function: Callable[..., Any], between: Callable[[], None] | None, *operands: Any) -> tuple[Any]:
    """Call a function of NumPy that may take long."""
    if between:
        between()
    return (function(*operands),)


def _contiguous(value: Any) -> Array:
    """Return a result of our own as an array in C order."""
    return value if isinstance(value, np.ndarray) and value.flags.c_contiguous else owned(value)
