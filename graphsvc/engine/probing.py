"""Probing: what values and gradients are like within a graph that another runs, who answers with outputs and gradients.

Values are asked for as outputs. A gradient on its way along an edge is that of a probe: an input of zeros that is added
to the operand. Two calls are enough, a third tells why a number is not finite, and nobody need have the gates but who
runs them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from graphsvc.arrays import Array, is_differentiable, spec_of
from graphsvc.document import GraphDocument, InputEntry, NodeEntry, OutputEntry
from graphsvc.drawing.picture import Trace
from graphsvc.drawing.summaries import summary_of
from graphsvc.engine.evaluation import Results
from graphsvc.engine.picturing import source_of
from graphsvc.engine.question import judge_differentiated, judge_output_gradients, judge_outputs, judge_wrt
from graphsvc.engine.structure import Structure
from graphsvc.engine.tracing import findings_of
from graphsvc.errors import NotDifferentiableError, OutputGradientError
from graphsvc.names import reference

__all__ = ["Ask", "trace_by_asking"]


Ask: TypeAlias = Callable[..., Results]
"""Who runs a graph: called with its document, and as `ComputationalGraph.value_and_grad`, with `debug` or without."""


@dataclass(frozen=True, slots=True)
class _Edge:
    """An operand of a gate node, and the reference to the value that it is."""

    node: str
    position: int
    source: str


def trace_by_asking(
    structure: Structure,
    document: GraphDocument,
    ask: Ask,
    inputs: Mapping[str, Array],
    wrt: Iterable[str] | None,
    output_gradients: Mapping[str, object] | None,
    outputs: Iterable[str] | None,
) -> Trace:
    """Return what there is to see of a run by another; see `picturing.trace_of`.

    Args:
        structure: The graph.
        document: The same.
        ask: Who runs it.
        inputs: Judged inputs.
        wrt: Inputs whose gradients are wanted; None means every floating-point one.
        output_gradients: The gradient that arrives at each output.
        outputs: Outputs that are run; None means all.
    """
    trace = _seen(structure, document, ask, inputs, wrt, output_gradients, outputs)
    if not any(summary.alarm for seen in (trace.values, trace.contributions) for summary in seen.values()):
        return trace
    if not trace.contributions:
        wrt, output_gradients = (), None
    _, gradients = ask(document, inputs, wrt, output_gradients, outputs, debug=True)
    return replace(trace, findings=findings_of(gradients.diagnosis))


def _seen(
    structure: Structure,
    document: GraphDocument,
    ask: Ask,
    inputs: Mapping[str, Array],
    wrt: Iterable[str] | None,
    output_gradients: Mapping[str, object] | None,
    outputs: Iterable[str] | None,
) -> Trace:
    """Ask for every value, and for every gradient."""
    names = judge_outputs(structure.outputs, outputs)
    edges = list(_edges(structure, names))
    values = {**inputs, **_values(structure, document, ask, inputs, edges, names)}
    trace = Trace({_canonical(structure, source): summary_of(value) for source, value in values.items()})
    moving, stem = judge_wrt(inputs, wrt), _free_stem(document)
    if not moving:
        return trace
    try:
        given = {name: spec_of(values[structure.outputs[name]]) for name in names}
        arriving = judge_output_gradients(given, judge_differentiated(names, output_gradients), output_gradients)
        probed = [edge for edge in _active(edges, moving) if is_differentiable(values[edge.source].dtype)]
        probes = {f"{stem}.{i}": edge for i, edge in enumerate(probed)}
        # Minus zero changes no number that it is added to, zeros with their signs included.
        zeros = {name: np.full_like(values[edge.source], -0.0) for name, edge in probes.items()}
        asked = _with_probes(document, probes)
        _, gradients = ask(asked, {**inputs, **zeros}, (*moving, *probes), arriving, names)
    except (OutputGradientError, NotDifferentiableError) as error:
        if wrt is not None or output_gradients is not None:
            raise
        return replace(trace, note=f"No gradients: {error.message}")
    arrived = {edge: gradients[name] for name, edge in probes.items() if name not in gradients.disconnected}
    _note_gradients(structure, trace, arrived, arriving)
    return trace


def _note_gradients(
    structure: Structure, trace: Trace, arrived: Mapping[_Edge, Array], arriving: Mapping[str, Array]
) -> None:
    """Note the gradients that came back along edges, those given at outputs, and what they add up to at each value."""
    trace.output_gradients = {name: summary_of(array) for name, array in arriving.items()}
    trace.contributions = {(edge.node, edge.position): summary_of(array) for edge, array in arrived.items()}
    branches = [(edge.source, array) for edge, array in arrived.items()]
    branches += [(structure.outputs[name], array) for name, array in arriving.items()]
    # Where a gate passes no gradient on, none is needed of it.
    passing = {*structure.inputs, *(edge.node for edge in arrived)}
    sums: dict[str, Array] = {}
    for source, array in branches:
        if reference(source)[0] in passing:
            sums[source] = np.asarray(sums[source] + array) if source in sums else array
    trace.gradients = {_canonical(structure, source): summary_of(array) for source, array in sums.items()}


def _values(
    structure: Structure,
    document: GraphDocument,
    ask: Ask,
    inputs: Mapping[str, Array],
    edges: Iterable[_Edge],
    names: Sequence[str],
) -> dict[str, Array]:
    """Ask for every value of a gate that some outputs depend on, by reference."""
    sources = dict.fromkeys([edge.source for edge in edges] + [structure.outputs[name] for name in names])
    inner = [source for source in sources if reference(source)[0] in structure.nodes]
    stem = _free_stem(document)
    looks = {f"{stem}.{i}": source for i, source in enumerate(inner)}
    entries = (*document.outputs, *[OutputEntry(name=name, source=source) for name, source in looks.items()])
    found, _ = ask(document.model_copy(update={"outputs": entries}), inputs, (), None, (*names, *looks))
    given = {name: np.asarray(structure.constants[name]) for name in sources if name in structure.constants}
    return {**given, **{source: found[name] for name, source in looks.items()}}


def _edges(structure: Structure, outputs: Iterable[str]) -> Iterator[_Edge]:
    """Yield the operands that some outputs depend on, in topological order."""
    needed = {reference(structure.outputs[name])[0] for name in outputs}
    found = []
    for node in reversed(structure.order()):
        if node.name in needed:
            needed.update(reference(operand)[0] for operand in node.operands)
            found.append(node)
    for node in reversed(found):
        yield from (_Edge(node.name, i, operand) for i, operand in enumerate(node.operands))


def _active(edges: Iterable[_Edge], wrt: Iterable[str]) -> Iterator[_Edge]:
    """Yield the edges that lead from the inputs whose gradients are wanted."""
    active = set(wrt)
    for edge in edges:
        if reference(edge.source)[0] in active:
            active.add(edge.node)
            yield edge


def _with_probes(document: GraphDocument, probes: Mapping[str, _Edge]) -> GraphDocument:
    """Return a document with a probe added to each of some operands."""
    replaced = {(edge.node, edge.position): f"{name}.sum" for name, edge in probes.items()}
    nodes = [
        node.model_copy(
            update={"operands": tuple([replaced.get((node.name, i), o) for i, o in enumerate(node.operands)])}
        )
        for node in document.nodes
    ]
    nodes += [NodeEntry(name=f"{name}.sum", gate="add", operands=(edge.source, name)) for name, edge in probes.items()]
    entries = (*document.inputs, *[InputEntry(name=name) for name in probes])
    return document.model_copy(update={"inputs": entries, "nodes": tuple(nodes)})


def _free_stem(document: GraphDocument) -> str:
    """Return what no name of the document begins with."""
    names = [entry.name for part in ("inputs", "constants", "nodes", "outputs") for entry in getattr(document, part)]
    stem = "probe"
    while any(name.startswith(stem) for name in names):
        stem += "_"
    return stem


def _canonical(structure: Structure, operand: str) -> str:
    """Return a reference as pictures have it."""
    name, port = source_of(structure, operand)
    return f"{name}:{port}" if port else name
