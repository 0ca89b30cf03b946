"""Graphs read from text: from an expression, and from a JSON file."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from graphsvc.document import GraphDocument, InputEntry, document_from_json
from graphsvc.engine.binding import note_versions
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.errors import GraphsvcError, NotAGraphError, UnknownReferenceError, did_you_mean
from graphsvc.expression import document_from_expression
from graphsvc.names import check_name

__all__ = ["load", "parse", "with_integers"]


def parse(text: str, inputs: Iterable[str] | None = None) -> ComputationalGraph:
    """Make a graph of an expression, such as `f = (x + y) * z`.

    Operators and precedence are Python's: `+ - * / ** @ -x`, the comparisons, parentheses, numbers, `x[0]`, `x[1:3]`.
    Gates are called by name, with attributes by keyword: `sum(x, axis=0)`. `max` and `min` of several operands compare
    these, of one they reduce it. Statements end at a newline or `;`, comments start with `#`. Names that are not
    assigned are inputs; names that are assigned and not used are outputs; one expression without a name is the output
    `f`.

    Args:
        text: The expression.
        inputs: Names of the inputs in their order, unused ones too; None means the order in which they first stand in
            the expression. It matters for a graph that a gate holds.

    Raises:
        ExpressionError: It does not parse; the message shows where.
        UnknownReferenceError: A name in it is not among `inputs`.
    """
    document = document_from_expression(text)
    if inputs is not None:
        document = _with_inputs(document, inputs)
    graph = ComputationalGraph.from_document(document)
    note_versions(graph._structure)
    return graph


def _with_inputs(document: GraphDocument, names: Iterable[str]) -> GraphDocument:
    listed = [check_name(name) for name in names]
    for entry in document.inputs:
        if entry.name not in listed:
            msg = f"The expression uses {entry.name!r}, which is none of its inputs: {', '.join(listed) or 'none'}."
            msg += f"{did_you_mean(entry.name, listed)} List it, or assign it first."
            raise UnknownReferenceError(msg, name=entry.name)
    return document.model_copy(update={"inputs": tuple(InputEntry(name=name) for name in listed)})


def load(path: str | Path) -> ComputationalGraph:
    """Read a graph from a JSON file.

    Raises:
        NotAGraphError: The file holds no graph.
        GraphError: It holds one that is wrong; the message names the entry.
        OSError: The file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        msg = f"{Path(path).name!r} is not text, so it is no graph. A graph is a JSON document."
        raise NotAGraphError(msg) from None
    try:
        return ComputationalGraph.from_document(document_from_json(text))
    except NotAGraphError as error:
        msg = f"{Path(path).name!r}: {error.message}"
        raise NotAGraphError(msg) from None


def with_integers(inputs: Mapping[str, object], graph: ComputationalGraph) -> dict[str, object]:
    """Return inputs that a person wrote, with whole numbers as integers where they are labels or indices.

    That is so for an input without a dtype that is used, and only where gates take integers.
    """
    made = dict(inputs)
    for name in _integer_inputs(graph) & inputs.keys():
        # Lists of unequal length are refused as any input.
        with suppress(ValueError, OverflowError):
            given = np.asarray(inputs[name])
            made[name] = given if given.dtype.kind == "i" else inputs[name]
    return made


def _integer_inputs(graph: ComputationalGraph) -> set[str]:
    document = graph.document()
    undeclared = {entry.name for entry in document.inputs if entry.dtype is None}
    uses: dict[str, list[bool]] = {name: [] for name in undeclared}
    for node in document.nodes:
        # A gate that only a server has says nothing here; that there is none is said when the graph runs.
        with suppress(GraphsvcError):
            signature = graph._structure.registry.gate_class(node.gate).signature
            for position, operand in enumerate(node.operands):
                if operand in uses:
                    uses[operand].append(signature.index(position) in signature.integers)
    return {name for name, integers in uses.items() if integers and all(integers)}
