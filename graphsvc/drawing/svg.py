"""A picture as SVG: circles and boxes, green values above the edges and red gradients below, in light and dark."""

import math
from collections.abc import Iterable
from typing import Final
from xml.etree import ElementTree as ET

from graphsvc.drawing.labels import clean, edge_lines, sum_text
from graphsvc.drawing.layout import Box, Layout, Link, Route, lay_out
from graphsvc.drawing.picture import Picture, PictureEdge
from graphsvc.drawing.shapes import CHARACTER, LINE, SMALL, Shape, add_text, pixels, shape_of
from graphsvc.drawing.summaries import Summary

__all__ = ["STYLE", "notes_of", "svg_of"]

_MARGIN: Final = 18.0
_BAR: Final = 3.0
_BARS_HEIGHT: Final = 9.0

STYLE: Final = """
.graphsvc { --paper: #ffffff; --ink: #1f2328; --line: #7d8590; --fill: #f6f8fa; --pale: #59636e;
  --value: #0a7a2f; --gradient: #cf222e; --loud: #bf008f; --vanishing: #8250df; --exploding: #c75300; }
@media (prefers-color-scheme: dark) {
  .graphsvc { --paper: #0d1117; --ink: #e6edf3; --line: #848d97; --fill: #161b22; --pale: #9198a1;
    --value: #56d364; --gradient: #ff7b72; --loud: #ff5fd2; --vanishing: #bc8cff; --exploding: #ffa657; } }
.graphsvc text { font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: var(--ink);
  text-anchor: middle; }
.graphsvc .paper { fill: var(--paper); }
.graphsvc .body { fill: var(--fill); stroke: var(--ink); stroke-width: 1.5; }
.graphsvc .folded { stroke-dasharray: 5 3; }
.graphsvc .dot { fill: var(--line); }
.graphsvc text.symbol { font-size: 15px; }
.graphsvc text.name { font-weight: bold; font-size: 13px; }
.graphsvc text.small { font-size: 10px; fill: var(--pale); }
.graphsvc text.left { text-anchor: start; }
.graphsvc text.right { text-anchor: end; }
.graphsvc .edge { fill: none; stroke: var(--line); stroke-width: 1.3; }
.graphsvc .tip { fill: var(--line); }
.graphsvc text.value { fill: var(--value); }
.graphsvc text.gradient { fill: var(--gradient); }
.graphsvc path.value { fill: var(--value); }
.graphsvc path.gradient { fill: var(--gradient); }
.graphsvc .vanishing .edge { stroke: var(--vanishing); stroke-dasharray: 2 3; }
.graphsvc .vanishing text.gradient { fill: var(--vanishing); font-style: italic; }
.graphsvc .exploding .edge { stroke: var(--exploding); stroke-width: 3; }
.graphsvc .exploding text.gradient { fill: var(--exploding); font-weight: bold; }
.graphsvc text.loud { fill: var(--loud); font-weight: bold; }
.graphsvc .finding .body { stroke: var(--loud); stroke-width: 4; }
"""


def svg_of(picture: Picture, *, with_notes: bool = True) -> str:
    """Return a picture as SVG, with its notes below it unless they are said elsewhere."""
    leaving: dict[str, list[PictureEdge]] = {node.id: [] for node in picture.nodes}
    operands: dict[str, list[str]] = {node.id: [] for node in picture.nodes}
    entries = []
    for edge in picture.edges:
        leaving[edge.source].append(edge)
        entries.append(len(operands[edge.target]))
        operands[edge.target].append(edge.operand)
    shapes = [shape_of(node, operands[node.id], sum_text(node, leaving[node.id])) for node in picture.nodes]
    numbers = {node.id: number for number, node in enumerate(picture.nodes)}
    ports = {(node.id, port.name): number for node in picture.nodes for number, port in enumerate(node.ports)}
    links = [
        Link(numbers[e.source], ports[e.source, e.port], numbers[e.target], entry, _text_box(e))
        for e, entry in zip(picture.edges, entries, strict=True)
    ]
    layout = lay_out([shape.box for shape in shapes], links)
    return _written(picture, shapes, links, layout, notes_of(picture) if with_notes else [])


def _written(picture: Picture, shapes: list[Shape], links: list[Link], layout: Layout, notes: list[str]) -> str:
    width = max(layout.width, max((len(note) * SMALL for note in notes), default=0.0)) + 2 * _MARGIN
    height = layout.height + 2 * _MARGIN + LINE * len(notes)
    size = {"viewBox": f"0 0 {width:.0f} {height:.0f}", "width": f"{width:.0f}", "height": f"{height:.0f}"}
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "graphsvc", "role": "img"} | size)
    outputs = ", ".join(node.name for node in picture.nodes if node.kind == "output")
    ET.SubElement(root, "title").text = clean(f"Graph of {outputs or 'no output'}: values in green, gradients in red")
    ET.SubElement(root, "style").text = STYLE
    ET.SubElement(root, "rect", {"class": "paper", "width": "100%", "height": "100%", "rx": "6"})
    drawing = ET.SubElement(root, "g", {"transform": f"translate({_MARGIN:.0f} {_MARGIN:.0f})"})
    for edge, link, route in zip(picture.edges, links, layout.routes, strict=True):
        _draw_edge(drawing, edge, shapes[link.target], route, layout.places[link.target])
    for shape, place in zip(shapes, layout.places, strict=True):
        shape.draw(drawing, *place)
    for i, note in enumerate(notes):
        add_text(drawing, 0, layout.height + LINE * (i + 1), note, "small left")
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode") + "\n"


def notes_of(picture: Picture) -> list[str]:
    """Return what a reader has to know of a picture, and what the signs in it mean that not every picture has."""
    notes = [picture.note] if picture.note else []
    flows = {edge.flow for edge in picture.edges}
    if "vanishing" in flows:
        notes.append("dotted: the gradient vanishes, below 1e-7 of the largest")
    if "exploding" in flows:
        notes.append("thick: the gradient explodes, above 1e7 of what was given at the outputs")
    return notes


# Edges


def _text_box(edge: PictureEdge) -> Box:
    above, below = edge_lines(edge)
    width = max([_width(above, edge.value), _width(below, edge.gradient)])
    return Box(width + 12 * bool(width), 5 + LINE * len(above), 5 + LINE * len(below))


def _width(lines: tuple[str, ...], summary: Summary | None) -> float:
    widths = [len(line) * CHARACTER for line in lines]
    if widths and summary and summary.histogram:
        widths[-1] += _BAR * len(summary.histogram) + 6
    return max(widths, default=0.0)


def _draw_edge(parent: ET.Element, edge: PictureEdge, target: Shape, route: Route, place: tuple[float, float]) -> None:
    ends = {"data-source": clean(edge.source), "data-target": clean(edge.target), "data-position": str(edge.position)}
    group = ET.SubElement(parent, "g", ({"class": edge.flow} if edge.flow else {}) | ends)
    *runs, (left, _, y) = route.runs
    right = place[0] - target.side(y - place[1])
    runs.append((min(left, right - 8), right - 7, y))
    ET.SubElement(group, "path", {"class": "edge", "d": _path(runs)})
    ET.SubElement(group, "path", {"class": "tip", "d": f"M{pixels(right, y)}l-8 -4v8z"})
    above, below = edge_lines(edge)
    x, y = route.text
    _draw_lines(group, x, y - 7 - LINE * (len(above) - 1), above, edge.value, "value")
    _draw_lines(group, x, y + 15, below, edge.gradient, "gradient")


def _draw_lines(
    group: ET.Element, x: float, y: float, lines: tuple[str, ...], summary: Summary | None, kind: str
) -> None:
    loud = kind + " loud" * bool(summary and summary.alarm)
    for i, line in enumerate(lines):
        bars = summary.histogram if summary and i == len(lines) - 1 else ()
        shift = (_BAR * len(bars) + 6) / 2 if bars else 0.0
        add_text(group, x - shift, y + LINE * i, line, loud)
        if bars:
            start = x - shift + len(line) * CHARACTER / 2 + 6
            ET.SubElement(group, "path", {"class": kind, "d": _bars(bars, start, y + LINE * i)})


def _bars(counts: tuple[int, ...], x: float, y: float) -> str:
    most = max(counts)
    heights = [_BARS_HEIGHT * count / most for count in counts]
    return "".join(
        f"M{pixels(x + _BAR * i, y)}v{pixels(-height)}h{pixels(_BAR - 0.5)}v{pixels(height)}z"
        for i, height in enumerate(heights)
        if height
    )


def _path(runs: Iterable[tuple[float, float, float]]) -> str:
    """Return straight runs with bends between them that leave and enter them level."""
    parts: list[str] = []
    x, y = math.nan, math.nan
    for start, end, level in runs:
        middle = (x + start) / 2
        if not parts:
            parts.append(f"M{pixels(start, level)}")
        elif abs(level - y) < 0.1:
            parts.append(f"H{pixels(start)}")
        else:
            parts.append(f"C{pixels(middle, y, middle, level, start, level)}")
        if end > start:
            parts.append(f"H{pixels(end)}")
        x, y = end, level
    return "".join(parts)
