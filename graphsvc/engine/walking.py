"""Walking: a run gate by gate, of which everything is kept that a person may want to see."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from graphsvc.arrays import Array, Literal
from graphsvc.drawing.picture import Picture, Trace
from graphsvc.drawing.summaries import Summary, nested_text, number_text, summary_of
from graphsvc.drawing.symbols import written
from graphsvc.engine.between import asking
from graphsvc.engine.cache import Cache
from graphsvc.engine.calls import Record, call_backward
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.experiment import placed
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.picturing import is_made_up, letters_of, picture_of
from graphsvc.engine.plan import Plan, Step
from graphsvc.engine.tracing import Tracer
from graphsvc.engine.wording import Wording, sum_text, wording_of
from graphsvc.errors import GraphsvcError, NotDifferentiableError, OutputGradientError
from graphsvc.gate import Elementwise

__all__ = ["MOST_VISITS", "Exhibit", "Visit", "VisitedOperand", "Walk", "exhibit", "sketch", "walk"]

MOST_VISITS: Final = 300
"""Gates of a graph that anybody steps through."""

_SIDE: Final = 64
_MOST_ELEMENTS: Final = 1 << 18
"""Elements that all exhibits of a walk show together."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """An array to be looked at, long after the run is done with it.

    Attributes:
        summary: What it is like.
        elements: Its elements; of a large array some, every so many rows and columns of it as a matrix; None where too
            many are shown already.
    """

    summary: Summary
    elements: Array | None

    @property
    def whole(self) -> bool:
        """Whether all elements are shown."""
        return self.elements is not None and self.elements.shape == self.summary.shape

    @property
    def few(self) -> Array | None:
        """Its elements, if they are few enough to be read."""
        return self.elements if self.summary.elements is not None else None


def exhibit(array: Array) -> Exhibit:
    """Return an array to be looked at."""
    return Exhibit(summary_of(array), _thinned(array).copy())


def _thinned(array: Array) -> Array:
    if array.size <= _SIDE**2:
        return array
    matrix = array.reshape(-1, array.shape[-1])
    rows, columns = (-(-size // _SIDE) for size in matrix.shape)
    return matrix[::rows, ::columns]


@dataclass(slots=True)
class VisitedOperand:
    """An operand of a visited gate.

    Attributes:
        name: What the gate calls it.
        source: The value that it is, as in a document.
        label: What a reader calls that: the same, a letter, or the number that a constant without a name is.
        value: The value.
        gradient: What backward gave for it; None where it gave none.
        local: What backward gives where a gradient of 1 arrives, so that `gradient` is this times the one that
            arrived, element by element; None where it is no such product.
        formula: What backward computes for it, in the names of the graph; empty where that is not said in few words.
        numbers: The formula with numbers where the names stand; empty where there is none, and where they are many.
        note: Why the formula reads so, if it would not for other numbers or shapes; else empty.
        uses: How often the value is used, if gradients come from there.
        total: What the gradients of all uses add up to, at the last that the backward pass comes to; else empty.
    """

    name: str
    source: str
    label: str
    value: Exhibit
    gradient: Exhibit | None = None
    local: Exhibit | None = None
    formula: str = ""
    numbers: str = ""
    note: str = ""
    uses: int = 1
    total: str = ""


@dataclass(slots=True)
class Visit:
    """A gate node that was run.

    Attributes:
        node: Its name.
        label: What a reader calls it: the same, or a letter if nobody named it.
        gate: Name of its gate.
        operands: Its operands.
        outputs: Its values, by what a reader calls them.
        arriving: The gradients that arrived at them; None where none did.
        formula: What forward computes, in the names of the graph and the symbol of the gate.
        numbers: The same with numbers where the names stand; empty where these are many.
        finding: What was found, if numbers that are not finite came up first here; else empty.
    """

    node: str
    label: str
    gate: str
    operands: list[VisitedOperand]
    outputs: dict[str, Exhibit]
    arriving: dict[str, Exhibit | None]
    formula: str = ""
    numbers: str = ""
    finding: str = ""


@dataclass(frozen=True, slots=True)
class Walk:
    """A run, gate by gate.

    Attributes:
        outputs: The outputs by name.
        gradients: The gradients of the inputs.
        visits: The gates in the order of the forward pass; none of a graph that nobody would step through.
        picture: The graph with what was seen of the run.
        letters: What a reader calls the gate nodes that nobody named.
    """

    outputs: dict[str, Array]
    gradients: InputGradients
    visits: list[Visit]
    picture: Picture
    letters: dict[str, str]


class _Walker(Tracer):
    """An observer of one run that keeps something of everything."""

    def __init__(self, wordings: Cache[Wording], letters: Mapping[str, str]) -> None:
        super().__init__()
        self._wordings = wordings
        self._letters = letters
        self.visits: dict[str, Visit] = {}
        self._names: dict[str, list[str | float]] = {}
        self._room = _MOST_ELEMENTS
        self._outputs: Mapping[str, str] = {}
        # The gradients that add up at a value, in the order of the backward pass, and what they add up to.
        self._contributions: dict[str, list[Exhibit | VisitedOperand]] = {}
        self._sums: dict[str, Exhibit] = {}

    def _exhibit(self, array: Array | Literal) -> Exhibit:
        made = exhibit(np.asarray(array))
        self._room -= made.elements.size if made.elements is not None else 0
        return made if self._room >= 0 else replace(made, elements=None)

    def given_values(self, plan: Plan, inputs: Mapping[str, Array], values: Mapping[str, Array | Literal]) -> None:
        """Note all inputs and constants, and which values are outputs."""
        super().given_values(plan, inputs, values)
        self._outputs = plan.outputs

    def given_gradients(self, output_gradients: Mapping[str, Array]) -> None:
        """Note the gradients that arrive at the outputs."""
        super().given_gradients(output_gradients)
        for name, gradient in output_gradients.items():
            self._contributions.setdefault(self._outputs[name], []).append(exhibit(gradient))

    def forward(self, step: Step, operands: list[Array | Literal]) -> tuple[tuple[Array, ...], Record | None]:
        """Call a gate forward, and keep its operands and outputs."""
        outputs, record = super().forward(step, operands)
        node, signature = step.node, step.node.gate.signature
        names = [self._name(source, value) for source, value in zip(node.operands, operands, strict=True)]
        self._names[node.name] = names
        visited = [
            VisitedOperand(signature.operand_name(i), source, _label(names[i]), self._exhibit(value))
            for i, (source, value) in enumerate(zip(node.operands, operands, strict=True))
        ]
        named = dict(zip(map(self._label, node.results), map(self._exhibit, outputs), strict=True))
        label = self._label(node.name)
        formula, numbers = _call_texts(node.gate_name, visited)
        arriving: dict[str, Exhibit | None] = dict.fromkeys(named)
        self.visits[node.name] = Visit(node.name, label, node.gate_name, visited, named, arriving, formula, numbers)
        return outputs, record

    def backward(self, step: Step, record: Record, arriving: Sequence[Array | None]) -> Iterator[tuple[str, Array]]:
        """Call a gate backward, and keep the gradients that arrive and those that it gives."""
        visit = self.visits[step.node.name]
        given = list(super().backward(step, record, arriving))
        for result, gradient in zip(step.node.results, arriving, strict=True):
            if gradient is not None:
                visit.arriving[self._label(result)] = self._sums[result] = self._exhibit(gradient)
        for position, gradient in placed(step, given):
            visit.operands[position].gradient = self._exhibit(gradient)
            self._contributions.setdefault(step.node.operands[position], []).append(visit.operands[position])
        for position, local in _locals(step, record):
            visit.operands[position].local = self._exhibit(local)
        self._spell_out(visit, self._wording(step, record))
        yield from given

    def final_gradients(self, gradients: Mapping[str, Array]) -> None:
        """Note the gradients of the inputs, and say where gradients added up."""
        super().final_gradients(gradients)
        shared = {source: parts for source, parts in self._contributions.items() if len(parts) > 1}
        self._sums |= {name: self._exhibit(gradient) for name, gradient in gradients.items() if name in shared}
        for source, parts in shared.items():
            _add_up(parts, self._sums[source])

    def _label(self, reference: str) -> str:
        node, colon, output = reference.partition(":")
        return f"{self._letters.get(node, node)}{colon}{output}"

    def _name(self, source: str, value: Array | Literal) -> str | float:
        """Return a constant without a name as the number that it is, and anything else by what it is called."""
        if is_made_up(source, "constant") and isinstance(value, int | float):
            return value
        return self._label(source)

    def _wording(self, step: Step, record: Record) -> Wording:
        # Learning calls backward twice; what it computes depends on no number.
        label = self._label(step.node.name)
        key = (step.node.name, step.wanted, record.operand_dtypes, record.operand_shapes)
        return self._wordings.get(key, lambda: wording_of(step, record, self._names[step.node.name], label))

    def _spell_out(self, visit: Visit, wording: Wording) -> None:
        """Put formulas into a visit, and numbers where these are few."""
        shown = [*(operand.value for operand in visit.operands), *visit.outputs.values(), *visit.arriving.values()]
        arrays = [made.elements for made in shown if made and made.whole and made.elements is not None]
        values = wording.values(arrays) if wording.chooses and len(arrays) == len(shown) else []
        formulas = {i: f for i, f in wording.formulas(values).items() if visit.operands[i].gradient}
        for position, formula in formulas.items():
            operand = visit.operands[position]
            operand.formula, operand.note = formula.text, formula.note
        if not formulas or any(made is None or made.few is None for made in shown):
            return
        given = {i: few for i, o in enumerate(visit.operands) if o.gradient and (few := o.gradient.few) is not None}
        for position, numbers in wording.numbers(arrays, values, given).items():
            if position in formulas and numbers != formulas[position].text:
                visit.operands[position].numbers = numbers


def _call_texts(gate: str, operands: Sequence[VisitedOperand]) -> tuple[str, str]:
    """Return the call of a gate in names, and in numbers if these are few."""
    few = [operand.value.few for operand in operands]
    numbers = [nested_text(array.tolist()) for array in few if array is not None]
    called = written(gate, [operand.label for operand in operands])
    return called, written(gate, numbers) if len(numbers) == len(operands) else ""


def _add_up(parts: Sequence[Exhibit | VisitedOperand], total: Exhibit) -> None:
    """Say of a value that is used several times that gradients add up, and at the last of them, to what."""
    operands = [part for part in parts if isinstance(part, VisitedOperand)]
    for operand in operands:
        operand.uses = len(parts)
        added = f"{operand.label} is used {len(parts)} times, its gradients add up"
        operand.note = "; ".join(filter(None, [operand.note, added]))
    gradients = [part.gradient if isinstance(part, VisitedOperand) else part for part in parts]
    few = [made.few for made in gradients if made]
    shown = [array for array in few if array is not None]
    if operands and total.few is not None and len(shown) == len(parts):
        operands[-1].total = sum_text(shown, total.few)


def _label(name: str | float) -> str:
    return name if isinstance(name, str) else number_text(name)


def _locals(step: Step, record: Record) -> Iterator[tuple[int, Array]]:
    """Yield the derivatives by each operand, where the gradient of it is a product of that and of what arrives."""
    shape, dtype = record.output_shapes[0], record.output_dtypes[0]
    if len(record.output_shapes) > 1 or dtype.kind != "f":
        return
    elementwise = isinstance(step.node.gate, Elementwise)
    # Whatever this gate has against a gradient of 1, it took the one that arrived.
    with suppress(GraphsvcError):
        for position, local in placed(step, call_backward(step, record, [np.ones(shape, dtype)])):
            if local.dtype.kind == "f" and (math.prod(shape) == 1 or (elementwise and local.shape == shape)):
                yield position, local


def sketch(graph: ComputationalGraph) -> tuple[Picture, dict[str, str]]:
    """Return the picture of a graph without numbers, and what a reader calls the gate nodes that nobody named."""
    return picture_of(graph._structure, Trace()), letters_of(graph._structure)


def walk(
    graph: ComputationalGraph,
    inputs: Mapping[str, object],
    output_gradients: Mapping[str, object] | None = None,
    wrt: Iterable[str] | None = None,
    outputs: Iterable[str] | None = None,
    between: Callable[[], None] | None = None,
) -> Walk:
    """Run a graph gate by gate, and keep every value and every gradient.

    Where no gradients are asked for and none can be had, as for several outputs, it goes forward alone.

    Args:
        graph: The graph.
        inputs: Its inputs by name.
        output_gradients: The gradient that arrives at each output; None means 1 for one output of one element.
        wrt: Inputs whose gradients are wanted; None means every floating-point one.
        outputs: Outputs that are run; None means all.
        between: Called before every gate; what it raises stops the run.

    Raises:
        GraphsvcError: As `ComputationalGraph.value_and_grad`.
    """
    try:
        return _walked(graph, inputs, output_gradients, wrt, outputs, between)
    except (OutputGradientError, NotDifferentiableError) as error:
        if wrt is not None or output_gradients is not None:
            raise
        walked = _walked(graph, inputs, None, (), outputs, between)
        return replace(walked, picture=replace(walked.picture, note=f"No gradients: {error.message}"))


def _walked(
    graph: ComputationalGraph,
    inputs: Mapping[str, object],
    output_gradients: Mapping[str, object] | None,
    wrt: Iterable[str] | None,
    outputs: Iterable[str] | None,
    between: Callable[[], None] | None,
) -> Walk:
    runnable = graph._bind()
    letters = letters_of(graph._structure)
    walker = _Walker(runnable.wordings, letters) if len(graph) <= MOST_VISITS else Tracer()
    with asking(between) if runnable.holds_graphs else nullcontext():
        results, gradients = runnable.watched(inputs, wrt, output_gradients, outputs, between, walker)
    trace = walker.trace()
    picture = picture_of(graph._structure, trace)
    visits = list(walker.visits.values()) if isinstance(walker, _Walker) else []
    for visit in visits:
        visit.finding = trace.findings.get(visit.node, "")
    return Walk(results, gradients, visits, picture, letters)
