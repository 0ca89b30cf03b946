"""What the page is answered: JSON out."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, Field

from graphsvc.document import document_to_json
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.walking import MOST_VISITS, Exhibit, Visit, Walk, exhibit
from graphsvc.errors import GraphsvcError
from graphsvc.plaindata import array_to_data, number_to_data

__all__ = [
    "ErrorAnswer",
    "EvaluateAnswer",
    "GateEntry",
    "GraphAnswer",
    "InputEntry",
    "ShownArray",
    "ShownOperand",
    "ShownOutput",
    "ShownVisit",
    "error_answer",
    "evaluate_answer",
    "graph_answer",
]

Number: TypeAlias = float | int | str
"""A number; NaN, Infinity and -Infinity are strings."""


_HERE: Final = (
    (r"List them with `graphsvc gates[^`]*`", "All are listed under Gates, above"),
    (
        r"The outputs are .* Say which .*output_gradients=\{'([^']+)'.*outputs=\[[^]]*\]\.",
        r"there are several outputs; fill in d\1, the gradient that arrives at one of them.",
    ),
    (
        r"Output '([^']+)' has shape .*, and only a single number .* as by sum\(\.\.\.\)",
        r"\1 is no single number; write sum(...) around it, or fill in d\1",
    ),
    (r"Give output_gradients=\{'([^']+)': \.\.\.\}", r"Fill in d\1"),
    (r" Ask for no gradients with wrt=\[\]\.", ""),
)
"""How messages name what there is elsewhere, and what there is in its place on the page."""


class ErrorAnswer(BaseModel):
    """What is wrong."""

    reason: Annotated[str, Field(description="Stable code of the error, such as EXPRESSION_INVALID.")]
    message: Annotated[str, Field(description="What is wrong, and how to put it right.")]
    facts: Annotated[
        dict[str, str], Field(description="The places that the message speaks of: line, column, node, input, path ...")
    ]


class InputEntry(BaseModel):
    """An input of a graph."""

    name: str
    dtype: Annotated[str | None, Field(description="Its dtype, if the graph declares one.")]
    shape: Annotated[list[int | None] | None, Field(description="Its shape, if declared; null is any length.")]
    parameter: Annotated[bool, Field(description="Whether it is learned.")]


class GraphAnswer(BaseModel):
    """A graph that was read and checked."""

    inputs: list[InputEntry]
    outputs: list[str]
    gates: Annotated[int, Field(description="How many gate nodes it has.")]
    digest: Annotated[str, Field(description="The SHA-256 digest by which gRPC calls may refer to it.")]
    document: Annotated[str, Field(description="The graph as a document in JSON.")]
    svg: Annotated[str, Field(description="The graph drawn without numbers.")]
    signs: Annotated[list[str], Field(description="What to know of the drawing, such as that nodes are folded.")]


class ShownArray(BaseModel):
    """An array to be looked at."""

    dtype: str
    shape: list[int]
    text: Annotated[str, Field(description="The array in a few words: its elements, or what they are like.")]
    elements: Annotated[
        Any,
        Field(description="Its elements in nested lists; of a large array some rows and columns; null if left out."),
    ]
    whole: Annotated[bool, Field(description="Whether these are all elements.")]
    smallest: Annotated[Number, Field(description="The smallest finite element.")]
    largest: Annotated[Number, Field(description="The largest finite element.")]
    histogram: Annotated[list[int], Field(description="How many lie in each tenth from the smallest to the largest.")]


class ShownOperand(BaseModel):
    """An operand of a visited gate."""

    name: Annotated[str, Field(description="What the gate calls it.")]
    source: Annotated[str, Field(description="The value that it is, as in the document.")]
    label: Annotated[
        str,
        Field(description="What it is called: the same, a letter as in the drawing, or the number that a constant is."),
    ]
    value: ShownArray
    gradient: Annotated[ShownArray | None, Field(description="What backward gave for it.")]
    local: Annotated[
        ShownArray | None,
        Field(description="Its derivative, where the gradient is this times the one that arrived; null elsewhere."),
    ]
    formula: Annotated[str, Field(description="What backward computes for it, such as z · df; empty if not known.")]
    numbers: Annotated[
        str, Field(description="The formula with numbers in the places of names; empty where these are many.")
    ]
    note: Annotated[str, Field(description="Why the formula reads so, as in `as f > 0`; empty if that is plain.")]
    uses: Annotated[int, Field(description="How often the value is used; the gradients of all uses add up.")]
    total: Annotated[
        str, Field(description="What they add up to, at the last of them in the backward pass; empty elsewhere.")
    ]


class ShownOutput(BaseModel):
    """A value of a visited gate."""

    name: Annotated[str, Field(description="What it is called, as in the drawing.")]
    value: ShownArray
    gradient: Annotated[ShownArray | None, Field(description="The gradient that arrived at it.")]


class ShownVisit(BaseModel):
    """A gate node that was run."""

    node: str
    label: Annotated[str, Field(description="The same, or the letter that a node without a name has in the drawing.")]
    gate: str
    formula: Annotated[str, Field(description="What forward computes, such as w × x.")]
    numbers: Annotated[str, Field(description="The same with numbers; empty where these are many.")]
    operands: list[ShownOperand]
    outputs: list[ShownOutput]
    finding: Annotated[
        str, Field(description="Where and why numbers that are not finite came up first, if here; else empty.")
    ]


class EvaluateAnswer(BaseModel):
    """A graph that was run."""

    outputs: dict[str, ShownArray]
    gradients: Annotated[dict[str, Any], Field(description="Gradients of the inputs, each with all its elements.")]
    shown_gradients: Annotated[dict[str, ShownArray], Field(description="The same to be looked at.")]
    shown_inputs: Annotated[dict[str, ShownArray], Field(description="The inputs to be looked at.")]
    disconnected: Annotated[list[str], Field(description="Inputs that no path leads from to an output.")]
    note: Annotated[str, Field(description="What a reader has to know, such as why there are no gradients.")]
    visits: Annotated[
        list[ShownVisit], Field(description="The gates in the order of the forward pass; none of a large graph.")
    ]
    most_visits: Annotated[int, Field(description="Of how many gates a graph has visits at most.")]
    svg: Annotated[str, Field(description="The graph with values in green and gradients in red.")]
    signs: Annotated[list[str], Field(description="What to know of the drawing, such as what a dotted line means.")]


class GateEntry(BaseModel):
    """A gate that graphs may use."""

    name: str
    symbol: Annotated[str, Field(description="What stands in its circle; empty where it is drawn as a box.")]
    operator: Annotated[
        str, Field(description="How it is written without its name, such as x * y; empty if it is not.")
    ]
    operands: list[str]
    outputs: list[str]
    attributes: list[str]
    documentation: str
    words: Annotated[str, Field(description="Further words under which it is to be found.")]


def error_answer(error: GraphsvcError) -> ErrorAnswer:
    """Return an error as it is told."""
    return ErrorAnswer(reason=error.reason, message=_on_the_page(error.message), facts=error.facts)


def _on_the_page(message: str) -> str:
    """Return a message with what there is on the page in the place of arguments of Python and of commands."""
    for elsewhere, here in _HERE:
        message = re.sub(elsewhere, here, message)
    return message


def graph_answer(graph: ComputationalGraph, digest: bytes, svg: str, signs: list[str]) -> GraphAnswer:
    """Return what there is to say of a graph."""
    document = graph.document()
    inputs = [
        InputEntry(
            name=entry.name,
            dtype=entry.dtype,
            shape=None if entry.shape is None else list(entry.shape),
            parameter=entry.parameter,
        )
        for entry in document.inputs
    ]
    return GraphAnswer(
        inputs=inputs,
        outputs=list(graph.outputs),
        gates=len(graph),
        digest=digest.hex(),
        document=document_to_json(document),
        svg=svg,
        signs=signs,
    )


def evaluate_answer(
    walk: Walk, inputs: Mapping[str, Any], svg: str, signs: list[str], *, visits: bool
) -> EvaluateAnswer:
    """Return what there is to say of a run."""
    gradients = walk.gradients
    return EvaluateAnswer(
        outputs=_shown_all(walk.outputs),
        gradients={name: array_to_data(array) for name, array in gradients.items()},
        shown_gradients=_shown_all(gradients),
        shown_inputs=_shown_all(inputs),
        disconnected=list(gradients.disconnected),
        note=_on_the_page(walk.picture.note),
        visits=list(map(_shown_visit, walk.visits)) if visits else [],
        most_visits=MOST_VISITS,
        svg=svg,
        signs=signs,
    )


def _shown_all(arrays: Mapping[str, Any]) -> dict[str, ShownArray]:
    return {name: _shown(exhibit(array)) for name, array in arrays.items()}


def _shown(made: Exhibit) -> ShownArray:
    summary = made.summary
    return ShownArray(
        dtype=summary.dtype,
        shape=list(summary.shape),
        text="; ".join(summary.lines()),
        elements=None if made.elements is None else array_to_data(made.elements),
        whole=made.whole,
        smallest=number_to_data(summary.smallest),
        largest=number_to_data(summary.largest),
        histogram=list(summary.histogram),
    )


def _shown_or_none(made: Exhibit | None) -> ShownArray | None:
    return None if made is None else _shown(made)


def _shown_visit(visit: Visit) -> ShownVisit:
    return ShownVisit(
        node=visit.node,
        label=visit.label,
        gate=visit.gate,
        formula=visit.formula,
        numbers=visit.numbers,
        finding=visit.finding,
        operands=[
            ShownOperand(
                name=operand.name,
                source=operand.source,
                label=operand.label,
                value=_shown(operand.value),
                gradient=_shown_or_none(operand.gradient),
                local=_shown_or_none(operand.local),
                formula=operand.formula,
                numbers=operand.numbers,
                note=operand.note,
                uses=operand.uses,
                total=operand.total,
            )
            for operand in visit.operands
        ],
        outputs=[
            ShownOutput(name=name, value=_shown(value), gradient=_shown_or_none(visit.arriving[name]))
            for name, value in visit.outputs.items()
        ],
    )
