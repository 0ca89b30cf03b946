"""The texts of a picture, the same in every form that it takes."""

import cmath
import re
from typing import Final

from graphsvc.drawing.picture import PictureEdge, PictureNode
from graphsvc.drawing.summaries import Summary, number_text

__all__ = ["clean", "details", "edge_lines", "gate_lines", "sum_text"]

_MOST_TERMS: Final = 3
_DIGITS: Final = (4, 8, 12, 17)
_NEAR: Final = 0.005
_NO_TEXT: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def edge_lines(edge: PictureEdge) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what stands above an edge, of its value, and what stands below it, of its gradient."""
    above = edge.value.lines() if edge.value else (f"{edge.count} values",) if edge.count > 1 else ()
    if edge.count > 1 and edge.gradient:
        return above, (f"up to {number_text(edge.gradient.magnitude)}",)
    return above, edge.gradient.lines(with_shape=False) if edge.gradient else ()


def gate_lines(node: PictureNode) -> tuple[str, ...]:
    """Return what stands below a circle or in a box, after the gate: the node's name, and the attributes."""
    if node.kind == "group":
        held = [gate if count == "1" else f"{gate} ×{count}" for gate, count in node.attributes.items()]
        return (*held[:3], *(["…"] if len(held) > 3 else []))
    if node.kind != "gate":
        return ()
    attributes = [f"{name}={value}" for name, value in node.attributes.items()]
    return (*([node.name] if node.name else []), *attributes)


def sum_text(node: PictureNode, edges: list[PictureEdge]) -> str:
    """Return how the gradients of the branches add up at a node: `-4 + 7 = 3`; empty where there is one branch.

    Args:
        node: The node.
        edges: Those that leave it.
    """
    texts = []
    for port in node.ports if node.kind != "group" else ():
        branches = [edge for edge in edges if edge.port == port.name and edge.gradient]
        count = sum(edge.count for edge in branches)
        if port.gradient is None or count < 2:
            continue
        lines = port.gradient.lines(with_shape=False)
        # How many are NaN stands in the last.
        said = "; ".join(lines if port.gradient.alarm else lines[:1])
        terms = [number for edge in branches if edge.count == 1 and (number := _single(edge.gradient)) is not None]
        if len(terms) < count or count > _MOST_TERMS:
            texts.append(f"Σ {count} branches = {said}")
        else:
            texts.append(f"{_added(terms)} = {said}")
    return "; ".join(texts)


def _added(terms: list[complex]) -> str:
    """Return a sum with as many digits as lead to its result: with four, terms that cancel leave what is not theirs."""
    total = sum(terms)
    written = [[number_text(term, digits) for term in terms] for digits in _DIGITS]
    led = (numbers for numbers in written if abs(sum(map(complex, numbers)) - total) <= _NEAR * abs(total))
    return " + ".join(next(led, written[0] if not cmath.isfinite(total) else written[-1])).replace("+ -", "- ")


def clean(text: str) -> str:
    """Return a text with what no file of text may hold replaced; markup is for those who write it to escape."""
    return _NO_TEXT.sub("\ufffd", text)


def _single(summary: Summary | None) -> complex | None:
    """Return the number that an array of one element holds."""
    elements = summary.elements if summary else None
    while isinstance(elements, tuple) and len(elements) == 1:
        elements = elements[0]
    return elements if isinstance(elements, int | float | complex) else None


def details(node: PictureNode) -> str:
    """Return all that is known of a node, for a reader who asks for it."""
    said = [node.kind if node.kind != "gate" else f"gate {node.gate}", node.id]
    lines = [" ".join(said), *(f"{name} = {value}" for name, value in node.attributes.items())]
    for port in node.ports:
        of = f" of {port.name}" if port.name else ""
        for what, summary in (("value", port.value), ("gradient", port.gradient)):
            if summary:
                shape = f"{summary.dtype}, shape {summary.shape}"
                lines.append(f"{what}{of}: {'; '.join(summary.lines(with_shape=False))} ({shape})")
    if node.finding:
        lines.append(node.finding)
    return "\n".join(lines)
