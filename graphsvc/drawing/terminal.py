"""A picture for a terminal: a tree from each output to the inputs, with values in green and gradients in red."""

from collections.abc import Iterator, Mapping
from typing import Final

from rich.text import Text

from graphsvc.drawing.labels import edge_lines, gate_lines, sum_text
from graphsvc.drawing.picture import Picture, PictureEdge, PictureNode
from graphsvc.drawing.summaries import Summary

__all__ = ["HEADINGS", "tree_rows"]

HEADINGS: Final = ("graph", "value", "gradient")
"""What stands over the columns of `tree_rows`."""

_DEEPEST: Final = 16
_ABOVE: Final = " (above)"
_BELOW: Final = " (below)"


def tree_rows(picture: Picture) -> Iterator[tuple[Text, Text, Text]]:
    """Yield a row for each edge, from the outputs down: what it leaves, its value, and the gradient that came back.

    What stands in several places has its operands at the first; what would stand too far to the right has them below.
    """
    nodes = {node.id: node for node in picture.nodes}
    entering: dict[str, list[PictureEdge]] = {name: [] for name in nodes}
    leaving: dict[str, list[PictureEdge]] = {name: [] for name in nodes}
    for edge in picture.edges:
        entering[edge.target].append(edge)
        leaving[edge.source].append(edge)
    roots = [node.id for node in picture.nodes if node.kind == "output"]
    roots += [node.id for node in reversed(picture.nodes) if not leaving[node.id] and node.kind != "output"]
    shown: set[str] = set()
    for root in roots:
        if root in shown:
            continue
        yield Text(_named(nodes[root])), Text(), Text()
        shown.add(root)
        for edge, before, where in _walk(root, entering, shown):
            if where == _BELOW:
                roots.append(edge.source)
            source = nodes[edge.source]
            total = sum_text(source, leaving[source.id]) if where != _ABOVE and source.id not in shown else ""
            yield _row(before + _named(source) + where, edge, total)


def _walk(
    root: str, entering: Mapping[str, list[PictureEdge]], shown: set[str]
) -> Iterator[tuple[PictureEdge, str, str]]:
    """Yield each edge below a root with the lines before it, and where its operands stand if not below it.

    A stack, because graphs may be deep. What it leaves is among those `shown` once the caller has taken the edge.
    """
    stack = [(edge, "", last) for edge, last in _last_first(entering[root])]
    while stack:
        edge, before, last = stack.pop()
        operands = entering[edge.source]
        deep = len(before) >= 2 * _DEEPEST
        where = "" if not operands else _ABOVE if edge.source in shown else _BELOW if deep else ""
        yield edge, before + ("└ " if last else "├ "), where
        if not where:
            shown.add(edge.source)
            inner = before + ("  " if last else "│ ")
            stack += [(operand, inner, final) for operand, final in _last_first(operands)]


def _last_first(edges: list[PictureEdge]) -> Iterator[tuple[PictureEdge, bool]]:
    """Yield edges from the last on, each with whether it is that."""
    return ((edge, i == 0) for i, edge in enumerate(reversed(edges)))


def _named(node: PictureNode) -> str:
    lines = ", ".join(line for line in gate_lines(node) if line != node.name)
    if node.kind == "group":
        return f"{node.name} [{lines}]"
    if node.kind == "gate":
        return " ".join(filter(None, [node.symbol or node.gate, lines and f"({lines})", node.name]))
    return node.name or "constant"


def _row(name: str, edge: PictureEdge, total: str) -> tuple[Text, Text, Text]:
    above, below = edge_lines(edge)
    gradient = _text(below, edge.gradient, "red")
    if edge.flow:
        gradient.append(f"  {edge.flow}", style="magenta")
    if total:
        gradient.append(f"   (branches: {total})", style="red")
    return Text(name), _text(above, edge.value, "green"), gradient


def _text(lines: tuple[str, ...], summary: Summary | None, colour: str) -> Text:
    bars = f"  {summary.bars}" if summary and summary.histogram else ""
    loud = "bold magenta" if summary and summary.alarm else colour
    return Text("  ".join(lines) + bars, style=loud)
