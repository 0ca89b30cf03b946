"""Picturing: a graph, and what was seen of a run of it, as the data that is drawn."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, count
from typing import TYPE_CHECKING

import numpy as np

from graphsvc.drawing.picture import Picture, PictureEdge, PictureNode, PicturePort, Trace, tinted
from graphsvc.drawing.summaries import summary_of
from graphsvc.drawing.symbols import SYMBOLS
from graphsvc.engine.structure import GateNode, Structure
from graphsvc.errors import NotDifferentiableError, OutputGradientError, quoted
from graphsvc.gate import attributes_of
from graphsvc.names import reference
from graphsvc.plaindata import GraphReference

if TYPE_CHECKING:
    from graphsvc.engine.running import RunnableGraph

__all__ = ["is_made_up", "lettered", "letters_of", "picture_of", "source_of", "trace_of"]


def trace_of(
    runnable: "RunnableGraph",
    inputs: Mapping[str, object],
    wrt: Iterable[str] | None,
    output_gradients: Mapping[str, object] | None,
    outputs: Iterable[str] | None,
) -> Trace:
    """Run a graph, and return what was seen; where no gradient was asked for and none can be had, the values alone.

    Arguments and errors are those of `ComputationalGraph.value_and_grad`.
    """
    try:
        return runnable.traced(inputs, wrt, output_gradients, outputs)
    except (OutputGradientError, NotDifferentiableError) as error:
        if wrt is not None or output_gradients is not None:
            raise
        return replace(runnable.traced(inputs, (), None, outputs), note=f"No gradients: {error.message}")


def picture_of(structure: Structure, trace: Trace) -> Picture:
    """Return the picture of a graph.

    Args:
        structure: The graph.
        trace: What was seen of a run; an empty one gives a picture without numbers.
    """
    order = structure.order()
    # What is constant is known without a run.
    constants = {name: summary_of(np.asarray(value)) for name, value in structure.constants.items()}
    trace = replace(trace, values=constants | trace.values)
    edges = tinted((*_operand_edges(structure, order, trace), *_output_edges(structure, trace)))
    ports = {edge.source: [""] for edge in edges}
    for edge in edges:
        if edge.port not in ports[edge.source]:
            ports[edge.source].append(edge.port)
    nodes = [*_given(structure), *(_gate(structure, node) for node in order), *_outputs(structure)]
    filled = [_filled(node, ports.get(node.id, [""]), trace) for node in nodes]
    return _with_constants_at_their_uses(Picture(tuple(filled), edges, trace.note))


def _with_constants_at_their_uses(picture: Picture) -> Picture:
    """Draw a constant that nobody gave a name at each of its uses; it stands in the graph once."""
    nameless = {node.id: node for node in picture.nodes if node.kind == "constant" and not node.name}
    uses = dict.fromkeys(nameless, 0)
    edges, copies = [], []
    for edge in picture.edges:
        if edge.source in nameless:
            uses[edge.source] += 1
            copy = replace(nameless[edge.source], id=f"{edge.source} {uses[edge.source]}")
            copies.append(copy)
            edge = replace(edge, source=copy.id)
        edges.append(edge)
    return replace(picture, nodes=(*copies, *(n for n in picture.nodes if n.id not in nameless)), edges=tuple(edges))


# Nodes


def _given(structure: Structure) -> Iterator[PictureNode]:
    for name, entry in structure.inputs.items():
        yield PictureNode(name, "parameter" if entry.parameter else "input", name)
    for name in structure.constants:
        yield PictureNode(name, "constant", "" if is_made_up(name, "constant") else name)


def _gate(structure: Structure, node: GateNode) -> PictureNode:
    # An output of the same name stands beside it.
    known = is_made_up(node.name, node.gate_name) or structure.outputs.get(node.name) == node.name
    said = node.attributes if node.gate is None or node.by_name else attributes_of(node.gate)
    return PictureNode(
        node.name,
        "gate",
        "" if known else node.name,
        gate=node.gate_name,
        symbol=SYMBOLS.get(node.gate_name, ""),
        attributes={key: _attribute_text(value) for key, value in said.items()},
    )


def _outputs(structure: Structure) -> Iterator[PictureNode]:
    for name in structure.outputs:
        yield PictureNode(f"output {name}", "output", name)


def _filled(node: PictureNode, ports: list[str], trace: Trace) -> PictureNode:
    """Return a node with its values, and what was found there."""
    finding = trace.findings.get(node.id, "")
    if node.kind == "output":
        return replace(node, finding=finding)
    references = [(port, f"{node.id}:{port}" if port else node.id) for port in ports]
    filled = tuple(PicturePort(port, trace.values.get(ref), trace.gradients.get(ref)) for port, ref in references)
    return replace(node, ports=filled, finding=finding)


def is_made_up(name: str, stem: str) -> bool:
    """Tell whether a name is one that graphs give: a stem and a number."""
    return name.startswith(f"{stem}.") and name[len(stem) + 1 :].isdecimal()


def letters_of(structure: Structure) -> dict[str, str]:
    """Return what a reader calls the gate nodes that nobody named: `q`, or `q1`, `q2` and so on, in their order."""
    nameless = [node.name for node in structure.order() if is_made_up(node.name, node.gate_name)]
    taken = {*structure.inputs, *structure.constants, *structure.nodes, *structure.outputs}
    numbered = (f"q{number}" for number in count(1))
    letters = chain(["q"] if len(nameless) == 1 else [], numbered)
    free = (letter for letter in letters if letter not in taken)
    return dict(zip(nameless, free, strict=False))


def lettered(picture: Picture, letters: Mapping[str, str]) -> Picture:
    """Return a picture with letters at the gate nodes that nobody named."""
    return replace(picture, nodes=tuple([replace(n, name=n.name or letters.get(n.id, "")) for n in picture.nodes]))


def _attribute_text(value: object) -> str:
    if isinstance(value, GraphReference):
        return value.name
    return quoted(value, 40)


# Edges


def _operand_edges(structure: Structure, order: list[GateNode], trace: Trace) -> Iterator[PictureEdge]:
    for node in order:
        for position, operand in enumerate(node.operands):
            source, port = source_of(structure, operand)
            yield PictureEdge(
                source,
                port,
                node.name,
                position,
                operand=node.gate.signature.operand_name(position) if node.gate else "",
                value=trace.values.get(f"{source}:{port}" if port else source),
                gradient=trace.contributions.get((node.name, position)),
            )


def _output_edges(structure: Structure, trace: Trace) -> Iterator[PictureEdge]:
    for name, operand in structure.outputs.items():
        source, port = source_of(structure, operand)
        value = trace.values.get(f"{source}:{port}" if port else source)
        yield PictureEdge(source, port, f"output {name}", 0, value=value, gradient=trace.output_gradients.get(name))


def source_of(structure: Structure, operand: str) -> tuple[str, str]:
    """Return the node that an operand is a value of, and the name of that value; empty for the first."""
    name, port = reference(operand)
    node = structure.nodes.get(name)
    first = node.gate.signature.outputs[0] if node and node.gate else None
    return name, "" if port is None or port == first else port
