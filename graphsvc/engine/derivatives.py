"""Derivatives beyond one gradient: along directions, second ones, whole Jacobians, and many vectors in one call."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from graphsvc.arrays import Array, ArraySpec, Literal, Weak, as_array, is_differentiable, owned, read_only, spec_of
from graphsvc.engine import backprop
from graphsvc.engine.calls import Record, call_forward
from graphsvc.engine.evaluation import InputGradients, Results
from graphsvc.engine.plan import Plan
from graphsvc.engine.question import (
    judge_differentiated,
    judge_inputs,
    judge_output_gradients,
    judge_outputs,
    judge_vectors,
    judge_wrt,
)
from graphsvc.engine.running import RunnableGraph, gradients_of
from graphsvc.engine.tangents import loops
from graphsvc.engine.tangents.movement import Primal
from graphsvc.engine.tangents.verification import Verification, check_random_adjoint
from graphsvc.errors import (
    DtypeError,
    LimitError,
    NotDifferentiableError,
    OutputGradientError,
    RequestError,
    ShapeError,
    TangentLostError,
)

__all__ = ["Blocks", "Derivatives"]

Blocks = dict[str, dict[str, Array]]
"""Parts of a matrix of derivatives: by output or input, and by input."""

Between = Callable[[], None] | None
Within = Callable[[int], None] | None

_MOST_KEPT: Final = 2**24


@dataclass(frozen=True, slots=True)
class _Question:
    """What all questions for derivatives have in common, judged."""

    inputs: dict[str, Array]
    specs: dict[str, ArraySpec]
    names: tuple[str, ...]
    wrt: tuple[str, ...]
    plan: Plan

    @property
    def size(self) -> int:
        """Bytes of the gradients."""
        return sum(self.specs[name].nbytes for name in self.wrt)


class Derivatives:
    """Answers for derivatives of one graph."""

    def __init__(self, runnable: RunnableGraph, between: Between = None) -> None:
        """Make one.

        Args:
            runnable: The graph.
            between: Called before every gate; what it raises stops the run.
        """
        self._runnable = runnable
        self._between = between

    def many_gradients(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
        vectors: int,
        within: Within = None,
    ) -> Results:
        """Return outputs, and gradients for several gradients that arrive, stacked along a new first axis."""
        count = judge_vectors(vectors)
        names, differentiated = self._differentiated(outputs, output_gradients)
        if output_gradients is None:
            msg = "Several vectors need output_gradients: for each output an array whose first axis counts them."
            raise OutputGradientError(msg)
        question = self._question(inputs, names, wrt, (), differentiated)
        if within:
            within(count * question.size)
        values, records = self._evaluated(question)
        results = self._results(question, values)
        arriving = [
            judge_output_gradients({n: spec_of(a) for n, a in results.items()}, differentiated, part)
            for part in _sliced(output_gradients, count, "output_gradients")
        ]
        several = [
            gradients_of(question.plan, question.wrt, question.specs, dict(records), given, self._between)
            for given in arriving
        ]
        stacked = {name: np.stack([gradients[name] for gradients in several]) for name in question.wrt}
        return _handed_over(results), InputGradients(stacked, several[0].disconnected)

    def jvp(
        self,
        inputs: Mapping[str, object],
        directions: Mapping[str, object],
        outputs: Iterable[str] | None,
        vectors: int | None,
        within: Within = None,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """See `ComputationalGraph.jvp`."""
        names = judge_outputs(self._runnable.sources, outputs)
        given = _mapping(directions, "tangents")
        question = self._question(inputs, names, tuple(given), (), names)
        parts = self._judged_directions(question, given, vectors, "The tangent")
        values, primal = (None, None) if vectors is None else self._primal(question)
        several: list[dict[str, Array | None]] = []
        for part in parts:
            run, dots = self._pushed(question, part, primal, verify=True)
            values = values or run
            if within and not several:
                within(len(parts) * sum(z.nbytes for z in self._results(question, values).values()))
            several.append({name: dots.get(source, None) for name, source in question.plan.outputs.items()})
        results = self._results(question, values or {})
        tangents_of = [
            {
                name: np.zeros(results[name].shape, results[name].dtype) if dot is None else dot
                for name, dot in part.items()
                if is_differentiable(results[name].dtype)
            }
            for part in several
        ]
        return _handed_over(results), _stacked(tangents_of, vectors)

    def hvp(
        self,
        inputs: Mapping[str, object],
        directions: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
        vectors: int | None,
        within: Within = None,
    ) -> tuple[InputGradients, InputGradients]:
        """See `ComputationalGraph.hvp`."""
        given = _mapping(directions, "vectors")
        names, differentiated = self._differentiated(outputs, output_gradients)
        question = self._question(inputs, names, wrt, tuple(given), differentiated)
        parts = self._judged_directions(question, given, vectors, "The vector")
        if within:
            within((len(parts) + 1) * question.size)
        primal = None if vectors is None else self._primal(question)[1]
        _keep_memory(question.size)
        several: list[dict[str, Array]] = []
        gradients: dict[str, Array] = {}
        verification = Verification(self._runnable.verified)
        for part in parts:
            gradients, products = self._second(question, differentiated, output_gradients, part, primal, verification)
            several.append(products)
            del products
        disconnected = [name for name in question.wrt if name not in gradients]
        for part in (gradients, *several):
            for name in question.wrt:
                if name not in part:
                    part[name] = np.zeros(question.specs[name].shape, question.specs[name].dtype)
        firsts = {name: _taken(gradients, name) for name in question.wrt}
        del part
        seconds = {name: _stacked_taken(several, name, vectors) for name in question.wrt}
        return InputGradients(firsts, disconnected), InputGradients(seconds, disconnected)

    def jacobian(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        outputs: Iterable[str] | None,
        within: Within = None,
    ) -> Blocks:
        """See `ComputationalGraph.jacobian`; `within` is told how many bytes it would have, and may refuse them."""
        names = judge_outputs(self._runnable.sources, outputs)
        question = self._question(inputs, names, wrt, (), names)
        values, records = self._evaluated(question)
        results = {n: a for n, a in self._results(question, values).items() if is_differentiable(a.dtype)}
        if not results:
            msg = f"No output of {', '.join(names)[:300]} has a derivative: they are integers or booleans."
            raise NotDifferentiableError(msg)
        _require_real({**results, **{n: question.inputs[n] for n in question.wrt}})
        specs = question.specs
        if within:
            within(sum(z.nbytes * specs[x].size for z in results.values() for x in question.wrt))
        blocks = {name: {x: _block(name, z, x, specs[x]) for x in question.wrt} for name, z in results.items()}
        rows = sum(z.size for z in results.values())
        columns = sum(question.specs[x].size for x in question.wrt)
        if columns < rows:
            try:
                return self._by_columns(question, blocks)
            except TangentLostError:
                # By rows it needs no tangents.
                pass
        return self._by_rows(question, records, results, blocks)

    def hessian(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
        within: Within = None,
    ) -> Blocks:
        """See `ComputationalGraph.hessian`; `within` is told how many bytes it would have, and may refuse them."""
        names, differentiated = self._differentiated(outputs, output_gradients)
        question = self._question(inputs, names, wrt, (), differentiated)
        _require_real({n: question.inputs[n] for n in question.wrt})
        specs = question.specs
        if within:
            size = sum(specs[x].size for x in question.wrt)
            within(size * size * max((specs[x].dtype.itemsize for x in question.wrt), default=0))
        blocks = {x: {y: _block(x, specs[x], y, specs[y]) for y in question.wrt} for x in question.wrt}
        _, primal = self._primal(question)
        # Where one random direction keeps its tangents, so do all, but for a chance of zero.
        random = np.random.default_rng(7)
        drawn = {x: _like(random.standard_normal(specs[x].shape), specs[x].dtype) for x in question.wrt}
        known = self._runnable.verified
        asked = question, differentiated, output_gradients
        self._second(*asked, drawn, primal, Verification(known))
        for y, place, unit in _units(question):
            _, products = self._second(*asked, {y: unit}, primal, Verification(known, always=False))
            for x in question.wrt:
                if x in products:
                    blocks[x][y][_column(place)] = products[x]
        return blocks

    # Parts

    def _differentiated(
        self, outputs: Iterable[str] | None, output_gradients: Mapping[str, object] | None
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        names = judge_outputs(self._runnable.sources, outputs)
        return names, judge_differentiated(names, output_gradients)

    def _question(
        self,
        inputs: Mapping[str, object],
        names: tuple[str, ...],
        wrt: Iterable[str] | None,
        directions: tuple[str, ...],
        differentiated: tuple[str, ...],
    ) -> _Question:
        """Judge a question. The plan is for gradients of `wrt` and of what has a direction."""
        runnable = self._runnable
        arrays = judge_inputs(runnable.inputs, inputs)
        wanted = judge_wrt(arrays, wrt)
        moving = judge_wrt(arrays, directions)
        specs = {name: spec_of(array) for name, array in arrays.items()}
        both = tuple(name for name in arrays if name in wanted or name in moving)
        plan = runnable.plan(specs, names, both, differentiated)
        if plan.blocked:
            raise plan.blocked.again()
        return _Question(arrays, specs, names, wanted, plan)

    def _judged_directions(
        self, question: _Question, given: Mapping[str, object], vectors: int | None, what: str
    ) -> list[dict[str, Array]]:
        parts: Iterable[Mapping[str, object]] = (given,)
        if vectors is not None:
            parts = _sliced(given, judge_vectors(vectors), what)
        return [
            {name: _judged_direction(f"{what} of input {name!r}", value, question.specs[name], name)
             for name, value in part.items()}
            for part in parts
        ]  # fmt: skip

    def _values(self, question: _Question) -> dict[str, Array | Literal]:
        return {**self._runnable.constants, **question.inputs}

    def _results(self, question: _Question, values: Mapping[str, Any]) -> dict[str, Array]:
        return {name: np.asarray(values[source]) for name, source in question.plan.outputs.items()}

    def _evaluated(self, question: _Question) -> tuple[dict[str, Array | Literal], dict[str, Record]]:
        values = self._values(question)
        with np.errstate(all="ignore"):
            records = backprop.forward(question.plan.steps, values, self._between)
        return values, records

    def _primal(self, question: _Question) -> tuple[dict[str, Array | Literal], Primal]:
        """Run forward once for many directions."""
        values = self._values(question)
        primal: Primal = {}
        with np.errstate(all="ignore"):
            for step in question.plan.steps:
                if self._between:
                    self._between()
                node = step.node
                primal[node.name] = call_forward(step, [values[operand] for operand in node.operands])
                values.update(zip(node.results, primal[node.name][0], strict=True))
        return values, primal

    def _pushed(
        self, question: _Question, direction: Mapping[str, Array], primal: Primal | None, *, verify: bool
    ) -> tuple[dict[str, Array | Literal], dict[str, Array]]:
        """Run forward along a direction; return values and tangents by reference."""
        values, dots = self._values(question), dict(direction)
        steps = question.plan.steps
        with np.errstate(all="ignore"):
            moved = loops.forward(steps, values, dots, self._between, primal)
            for step in steps if verify else ():
                kept = moved.get(step.node.name)
                if kept and kept.unproven:
                    check_random_adjoint(step, kept)
        return values, dots

    def _second(
        self,
        question: _Question,
        differentiated: tuple[str, ...],
        output_gradients: Mapping[str, object] | None,
        direction: Mapping[str, Array],
        primal: Primal | None,
        verification: Verification,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return gradients and their tangents, by input, of those that have any."""
        values, dots = self._values(question), dict(direction)
        plan = question.plan
        known = self._runnable.output_specs(question.specs, question.names)
        # Judged before the run where shapes are known by then.
        arriving = None if known is None else judge_output_gradients(known, differentiated, output_gradients)
        with np.errstate(all="ignore"):
            moved = loops.forward(plan.steps, values, dots, self._between, primal)
            if arriving is None:
                specs = {name: spec_of(array) for name, array in self._results(question, values).items()}
                arriving = judge_output_gradients(specs, differentiated, output_gradients)
            gradients: dict[str, Array] = {}
            for name, gradient in arriving.items():
                source = plan.outputs[name]
                gradients[source] = np.asarray(gradients[source] + gradient) if source in gradients else gradient
            moving: dict[str, Array] = {}
            loops.backward(plan.steps, moved, gradients, moving, verification, self._between)
            return (
                {n: np.asarray(g.astype(question.specs[n].dtype, copy=False)) for n, g in gradients.items()
                 if n in question.wrt},
                {n: np.asarray(g.astype(question.specs[n].dtype, copy=False)) for n, g in moving.items()
                 if n in question.wrt},
            )  # fmt: skip

    def _by_rows(
        self, question: _Question, records: dict[str, Record], results: Mapping[str, Array], blocks: Blocks
    ) -> Blocks:
        for name, z in results.items():
            for place in np.ndindex(z.shape):
                unit = np.zeros(z.shape, z.dtype)
                unit[place] = 1
                gradients = gradients_of(
                    question.plan, question.wrt, question.specs, dict(records), {name: read_only(unit)}, self._between
                )
                for x in question.wrt:
                    blocks[name][x][place] = gradients[x]
        return blocks

    def _by_columns(self, question: _Question, blocks: Blocks) -> Blocks:
        _, primal = self._primal(question)
        # Where one random direction keeps its tangents, so do all, but for a chance of zero.
        random = np.random.default_rng(7)
        specs = question.specs
        drawn = {x: _like(random.standard_normal(specs[x].shape), specs[x].dtype) for x in question.wrt}
        self._pushed(question, drawn, primal, verify=True)
        for x, place, unit in _units(question):
            _, dots = self._pushed(question, {x: unit}, primal, verify=False)
            for name in blocks:
                source = question.plan.outputs[name]
                if source in dots:
                    blocks[name][x][_column(place)] = dots[source]
        return blocks


def _mapping(given: object, what: str) -> dict[str, object]:
    if not isinstance(given, Mapping):
        msg = f"{what} are given by name of the input, not as {type(given).__name__}."
        raise RequestError(msg)
    return dict(given)


def _judged_direction(what: str, value: object, spec: ArraySpec, name: str) -> Array:
    try:
        array = as_array(value, spec.dtype)
    except DtypeError as error:
        msg = f"{what}: {error.message}"
        raise DtypeError(msg, input=name) from None
    if array.shape != spec.shape:
        msg = f"{what} has shape {array.shape}, but the input has shape {spec.shape}. Give one number for each element."
        raise ShapeError(msg, input=name)
    return read_only(array)


def _sliced(given: Mapping[str, object], count: int, what: str) -> list[dict[str, object]]:
    """Split arrays, whose first axis counts the vectors, into one set for each vector."""
    arrays: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Weak):
            value = value.array if value.array.ndim == 0 else [Weak(part) for part in value.array]
        array = value if isinstance(value, list | tuple) else as_array(value)
        length = len(array) if isinstance(array, list | tuple) else (array.shape[0] if array.ndim else -1)
        if length != count:
            msg = f"{what} {name!r} must have a first axis of length {count}, one for each of vectors={count}."
            raise ShapeError(msg, name=name)
        arrays[name] = array
    return [{name: array[k] for name, array in arrays.items()} for k in range(count)]


def _stacked(parts: list[dict[str, Array]], vectors: int | None) -> dict[str, Array]:
    return {name: _stacked_taken(parts, name, vectors) for name in tuple(parts[0])}


def _stacked_taken(parts: list[dict[str, Array]], name: str, vectors: int | None) -> Array:
    return _taken(parts[0], name) if vectors is None else np.stack([part[name] for part in parts])


def _keep_memory(size: int) -> None:
    """Have the allocator keep freed memory of about that size for the next call, and not give it back to the system.

    It keeps twice as much as the largest array that was ever freed, and the results of one call are as much as that;
    getting their pages anew took as long as three gradients. This array is not written to, and so takes no memory.
    """
    np.empty(min(8 * size, _MOST_KEPT), np.uint8)


def _taken(arrays: dict[str, Array], name: str) -> Array:
    """Take an array out, as one that nobody else has and that may be written to; a copy if somebody might have it."""
    array = arrays.pop(name)
    # Fresh memory for a large copy takes longer than the rest. Two references are this one and that of the call.
    if sys.getrefcount(array) > 2 or not array.flags.c_contiguous:
        return owned(array)
    base = array.base
    if base is None and array.flags.owndata:
        array.flags.writeable = True
        return array
    # Another shape of an array that is nobody's: one reference more, that of the view.
    whole = type(base) is np.ndarray and base.flags.owndata and base.size == array.size and sys.getrefcount(base) == 3
    if base is None or not whole or not base.flags.writeable:
        return owned(array)
    array.flags.writeable = True
    return array


def _handed_over(results: Mapping[str, Array]) -> dict[str, Array]:
    return {name: owned(result) for name, result in results.items()}


def _like(drawn: Any, dtype: np.dtype[Any]) -> Array:
    return read_only(np.asarray(drawn).astype(dtype))


def _block(of: str, z: Array | ArraySpec, by: str, x: ArraySpec) -> Array:
    """Return zeros for the derivatives of one array by another. Raises LimitError where there is no memory for them."""
    try:
        return np.zeros((*z.shape, *x.shape), z.dtype)
    except MemoryError:
        nbytes = z.nbytes * x.size
        msg = f"There is not memory enough: the derivatives of {of!r} by {by!r} have {nbytes:,} bytes. Ask for some "
        msg += "directions alone, with jvp or hvp, or for fewer inputs with wrt."
        raise LimitError(msg, asked=str(nbytes)) from None


def _units(question: _Question) -> Iterator[tuple[str, tuple[int, ...], Array]]:
    """Yield every input, place in it, and the direction that has 1 there."""
    for x in question.wrt:
        spec = question.specs[x]
        for place in np.ndindex(spec.shape):
            unit = np.zeros(spec.shape, spec.dtype)
            unit[place] = 1
            yield x, place, read_only(unit)


def _column(place: tuple[int, ...]) -> Any:
    return (..., *place)


def _require_real(arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "c":
            msg = f"{name!r} is {array.dtype}, and matrices of derivatives are of real numbers. Ask for jvp or hvp."
            raise NotDifferentiableError(msg)
