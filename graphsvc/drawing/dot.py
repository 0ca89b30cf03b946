"""A picture in Graphviz's language."""

from collections.abc import Iterator
from html import escape
from typing import Final

from graphsvc.drawing.labels import clean, details, edge_lines, gate_lines, sum_text
from graphsvc.drawing.picture import Picture, PictureEdge, PictureNode
from graphsvc.drawing.summaries import Summary

__all__ = ["dot_of"]

_GREEN: Final = "#0a7a2f"
_RED: Final = "#cf222e"
_LOUD: Final = "#bf008f"
_PALE: Final = "#59636e"
_FLOWS: Final = {
    "": "",
    "vanishing": ' style=dotted color="#8250df"',
    "exploding": ' penwidth=3 color="#c75300"',
}


def dot_of(picture: Picture) -> str:
    """Return a picture in Graphviz's language."""
    leaving: dict[str, list[PictureEdge]] = {node.id: [] for node in picture.nodes}
    for edge in picture.edges:
        leaving[edge.source].append(edge)
    note = f" label={_quoted(picture.note)} labelloc=b" if picture.note else ""
    lines = [
        f"  graph [rankdir=LR nodesep=0.3 ranksep=0.4{note}]",
        '  node [fontname="Helvetica" fontsize=11]',
        '  edge [fontname="Helvetica" fontsize=10 arrowsize=0.7 color="#7d8590"]',
        *(f"  {_quoted(node.id)} [{_node(node, leaving[node.id])}]" for node in picture.nodes),
        *(f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [{_edge(edge)}]" for edge in picture.edges),
    ]
    return "\n".join(["digraph {", *lines, "}", ""])


def _node(node: PictureNode, leaving: list[PictureEdge]) -> str:
    around = [_font(line, _PALE, 9) for line in gate_lines(node)]
    added = sum_text(node, leaving)
    around += [_font(added, _RED, 10)] if added else []
    around += [_font("first NaN or infinity here", _LOUD, 10)] if node.finding else []
    tooltip = f" tooltip={_quoted(details(node))}" + (f' color="{_LOUD}" penwidth=3' if node.finding else "")
    if node.symbol:
        below = f" xlabel=<{'<BR/>'.join(around)}>" if around else ""
        return f"shape=circle width=0.5 fixedsize=true fontsize=13 label={_quoted(node.symbol)}{below}{tooltip}"
    if node.kind == "constant" and not node.name:
        return f'shape=point width=0.06 label=""{tooltip}'
    title = escape(clean(node.gate if node.kind == "gate" else node.name))
    if node.kind not in ("gate", "group"):
        title = f"<B>{title}</B>"
    shape = {"gate": "box style=rounded", "group": 'box style="rounded,dashed"'}.get(node.kind, "plaintext")
    return f"shape={shape} label=<{'<BR/>'.join([title, *around])}>{tooltip}"


def _edge(edge: PictureEdge) -> str:
    above, below = edge_lines(edge)
    rows = [*_rows(above, edge.value, _GREEN), *_rows(below, edge.gradient, _RED)]
    named = f" taillabel={_quoted(edge.port)}" if edge.port else ""
    return f"label=<{'<BR/>'.join(rows)}>{named}{_FLOWS[edge.flow]}" if rows else f"{named}{_FLOWS[edge.flow]}".strip()


def _rows(lines: tuple[str, ...], summary: Summary | None, colour: str) -> Iterator[str]:
    for i, line in enumerate(lines):
        shade = _LOUD if summary and summary.alarm else colour
        bars = summary.bars if summary and i == len(lines) - 1 else ""
        yield _font(line, shade, 10) + (f" {_font(bars, shade, 6)}" if bars else "")


def _font(text: str, colour: str, size: int) -> str:
    return f'<FONT COLOR="{colour}" POINT-SIZE="{size}">{escape(clean(text))}</FONT>'


def _quoted(text: str) -> str:
    """Return a text in quotes; a backslash, with which Graphviz begins its escapes, means itself."""
    escaped = clean(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
