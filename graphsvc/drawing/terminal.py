"""A picture for a terminal: a tree from each output to the inputs, with values in green and gradients in red."""

from collections.abc import Iterator

from rich.text import Text

from graphsvc.drawing.labels import edge_lines, gate_lines, sum_text
from graphsvc.drawing.picture import Picture, PictureEdge, PictureNode
from graphsvc.drawing.summaries import Summary

__all__ = ["HEADINGS", "tree_rows"]

HEADINGS = ("graph", "value", "gradient")

_DEEPEST = 16


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
    roots = [node.id for node in reversed(picture.nodes) if node.kind == "output"][::-1]
    roots += [node.id for node in reversed(picture.nodes) if not leaving[node.id] and node.kind != "output"]
    shown: set[str] = set()
    for root in roots:
        if root in shown:
            continue
        node = nodes[root]
        yield Text(_named(node)), Text(), Text()
        shown.add(root)
        # Each with the lines before it; a stack, for graphs may be deep.
        stack = [(edge, "", i == 0) for i, edge in enumerate(reversed(entering[root]))]
        while stack:
            edge, before, last = stack.pop()
            source = nodes[edge.source]
            again = source.id in shown and bool(entering[source.id])
            deep = len(before) >= 2 * _DEEPEST and bool(entering[source.id]) and not again
            name = _named(source) + (" (above)" if again else " (below)" if deep else "")
            yield _row(
                before + ("└ " if last else "├ ") + name,
                edge,
                "" if source.id in shown else sum_text(source, leaving[source.id]),
            )
            if deep and source.id not in roots:
                roots.append(source.id)
            if again or deep:
                continue
            shown.add(source.id)
            inner = before + ("  " if last else "│ ")
            stack += [(operand, inner, i == 0) for i, operand in enumerate(reversed(entering[source.id]))]


def _named(node: PictureNode) -> str:
    what = node.symbol or node.gate
    name = node.name if node.kind != "gate" or node.name else ""
    if node.kind == "gate":
        attributes = ", ".join(line for line in gate_lines(node) if line != node.name)
        return " ".join(part for part in (what, f"({attributes})" if attributes else "", name) if part)
    if node.kind == "group":
        return f"{node.name} [{', '.join(gate_lines(node))}]"
    return name or "constant"


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
