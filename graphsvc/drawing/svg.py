"""A picture as SVG: circles and boxes, green values above the edges and red gradients below, in light and dark."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from graphsvc.drawing.labels import clean, details, edge_lines, gate_lines, sum_text
from graphsvc.drawing.layout import Box, Layout, Link, Route, lay_out
from graphsvc.drawing.picture import Picture, PictureEdge, PictureNode
from graphsvc.drawing.summaries import Summary

__all__ = ["svg_of"]

_CHARACTER: Final = 7.3
"""Width of a character of the values, which are set in a font of one width, 12 pixels high."""

_SMALL: Final = 6.1
_LINE: Final = 14.0
_RADIUS: Final = 19.0
_MARGIN: Final = 18.0
_BAR: Final = 3.0
_BARS_HEIGHT: Final = 9.0

_STYLE: Final = """
.graphsvc { --paper: #ffffff; --ink: #1f2328; --line: #7d8590; --fill: #f6f8fa; --pale: #59636e;
  --value: #0a7a2f; --gradient: #cf222e; --loud: #bf008f; --vanishing: #8250df; --exploding: #c75300; }
@media (prefers-color-scheme: dark) {
  .graphsvc { --paper: #0d1117; --ink: #e6edf3; --line: #848d97; --fill: #161b22; --pale: #9198a1;
    --value: #56d364; --gradient: #ff7b72; --loud: #ff5fd2; --vanishing: #bc8cff; --exploding: #ffa657; } }
.graphsvc text { font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: var(--ink);
  text-anchor: middle; }
.graphsvc .paper { fill: var(--paper); }
.graphsvc .body { fill: var(--fill); stroke: var(--ink); stroke-width: 1.5; }
.graphsvc .group { stroke-dasharray: 5 3; }
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


def svg_of(picture: Picture) -> str:
    """Return a picture as SVG."""
    leaving: dict[str, list[PictureEdge]] = {node.id: [] for node in picture.nodes}
    entering: dict[str, list[PictureEdge]] = {node.id: [] for node in picture.nodes}
    for edge in picture.edges:
        leaving[edge.source].append(edge)
        entering[edge.target].append(edge)
    shapes = [_Shape.of(node, entering[node.id], sum_text(node, leaving[node.id])) for node in picture.nodes]
    numbers = {node.id: number for number, node in enumerate(picture.nodes)}
    links = [
        Link(
            numbers[edge.source],
            [port.name for port in shapes[numbers[edge.source]].node.ports].index(edge.port),
            numbers[edge.target],
            entering[edge.target].index(edge),
            _text_box(edge),
        )
        for edge in picture.edges
    ]
    layout = lay_out([shape.box for shape in shapes], links)
    return _written(picture, shapes, links, layout)


def _written(picture: Picture, shapes: list["_Shape"], links: list[Link], layout: Layout) -> str:
    notes = _notes(picture)
    width = max(layout.width, max((len(note) * _SMALL for note in notes), default=0.0)) + 2 * _MARGIN
    height = layout.height + 2 * _MARGIN + _LINE * len(notes)
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "graphsvc",
            "role": "img",
            "viewBox": f"0 0 {width:.0f} {height:.0f}",
            "width": f"{width:.0f}",
            "height": f"{height:.0f}",
        },
    )
    outputs = ", ".join(node.name for node in picture.nodes if node.kind == "output")
    ET.SubElement(root, "title").text = clean(f"Graph of {outputs or 'no output'}: values in green, gradients in red")
    ET.SubElement(root, "style").text = _STYLE
    ET.SubElement(root, "rect", {"class": "paper", "width": "100%", "height": "100%", "rx": "6"})
    drawing = ET.SubElement(root, "g", {"transform": f"translate({_MARGIN:.0f} {_MARGIN:.0f})"})
    for edge, link, route in zip(picture.edges, links, layout.routes, strict=True):
        _draw_edge(drawing, edge, shapes[link.target], route, layout.places[link.target])
    for shape, place in zip(shapes, layout.places, strict=True):
        shape.draw(drawing, *place)
    for i, note in enumerate(notes):
        _text(drawing, 0, layout.height + _LINE * (i + 1), note, "small left")
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode") + "\n"


def _notes(picture: Picture) -> list[str]:
    notes = [picture.note] if picture.note else []
    flows = {edge.flow for edge in picture.edges}
    if "vanishing" in flows:
        notes.append("dotted: the gradient vanishes, below 1e-7 of the largest")
    if "exploding" in flows:
        notes.append("thick: the gradient explodes, above 1e7 of what was given at the outputs")
    return notes


# Nodes


@dataclass(frozen=True, slots=True)
class _Shape:
    """A node with what it takes, and what is written around it."""

    node: PictureNode
    box: Box
    lines: tuple[str, ...]
    operands: tuple[str, ...]
    added: str

    @classmethod
    def of(cls, node: PictureNode, entering: list[PictureEdge], added: str) -> "_Shape":
        lines = gate_lines(node)
        operands = tuple([edge.operand for edge in entering]) if len(entering) > 1 and not node.symbol else ()
        ports = [port.name for port in node.ports]
        below = _LINE * bool(added) + 2
        above = _LINE * bool(node.finding)
        wide = max(len(added) * _CHARACTER, 160.0 * bool(node.finding))
        late = node.kind in ("constant", "parameter")
        if node.symbol:
            below += _LINE * len(lines)
            box = Box(
                2 * _RADIUS,
                _RADIUS + above,
                _RADIUS + below,
                max([wide, *(len(line) * _SMALL for line in lines)]),
                entries=_spread(len(entering), _RADIUS * 0.9),
                commutes=node.gate in ("add", "multiply", "maximum", "minimum"),
                exits=_spread(len(ports), _RADIUS * 0.9),
            )
        elif node.kind in ("gate", "group"):
            title = node.gate if node.kind == "gate" else node.name
            sides = max((len(name) for name in operands), default=0) + max(map(len, ports), default=0) * (
                len(ports) > 1
            )
            inner = max([len(title) * _CHARACTER, *(len(line) * _SMALL for line in lines)])
            half = max(_LINE * (1 + len(lines)), _LINE * max(len(entering), len(ports))) / 2 + 6
            box = Box(
                inner + 2 * sides * _SMALL + 20,
                half + above,
                half + below,
                wide,
                entries=_spread(len(entering), _LINE * (len(entering) - 1)),
                commutes=node.kind == "group",
                exits=_spread(len(ports), _LINE * (len(ports) - 1)),
            )
        elif node.kind == "constant" and not node.name:
            box = Box(7, 4 + above, 4 + below, wide, late=late, exits=(0.0,) * len(ports))
        else:
            width = len(node.name) * 8.0 + 8
            box = Box(width, 9 + above, 9 + below, wide, late, entries=(0.0,), exits=(0.0,) * max(1, len(ports)))
        return cls(node, box, lines, operands, added)

    def draw(self, parent: ET.Element, x: float, y: float) -> None:
        node, box = self.node, self.box
        group = ET.SubElement(parent, "g", {"class": f"node {node.kind}" + " finding" * bool(node.finding)})
        ET.SubElement(group, "title").text = clean(details(node))
        below = y + box.below - _LINE * bool(self.added)
        if node.symbol:
            ET.SubElement(group, "circle", {"class": "body", "cx": _n(x), "cy": _n(y), "r": _n(_RADIUS)})
            _text(group, x, y + 5, node.symbol, "symbol")
            for i, line in enumerate(self.lines):
                _text(group, x, y + _RADIUS + 11 + _LINE * i, line, "small")
        elif node.kind in ("gate", "group"):
            self._draw_box(group, x, y)
        elif box.width < 8:
            ET.SubElement(group, "circle", {"class": "dot", "cx": _n(x), "cy": _n(y), "r": "3.5"})
        else:
            _text(group, x, y + 4.5, node.name, "name")
        if node.finding:
            _text(group, x, y - box.above + 10, f"{_alarm(node)} first here", "loud")
        if self.added:
            _text(group, x, below + 9, self.added, "gradient")

    def _draw_box(self, group: ET.Element, x: float, y: float) -> None:
        node, width = self.node, self.box.width
        half = self.box.above - _LINE * bool(node.finding)
        kind = "body group" if node.kind == "group" else "body"
        left, top = x - width / 2, y - half
        ET.SubElement(
            group,
            "rect",
            {"class": kind, "x": _n(left), "y": _n(top), "width": _n(width), "height": _n(2 * half), "rx": "6"},
        )
        first = y - _LINE * len(self.lines) / 2 + 4
        _text(group, x, first, node.gate if node.kind == "gate" else node.name, "title")
        for i, line in enumerate(self.lines):
            _text(group, x, first + _LINE * (i + 1), line, "small")
        for name, way in zip(self.operands, self.box.entries, strict=False):
            _text(group, left + 5, y + way + 3.5, name, "small left")
        if len(node.ports) > 1:
            for port, way in zip(node.ports, self.box.exits, strict=True):
                _text(group, left + width - 5, y + way + 3.5, port.name, "small right")


def _alarm(node: PictureNode) -> str:
    what = "NaN" if " NaN" in node.finding else "infinity"
    return f"{what} gradient" if node.finding.startswith("backward") else what


def _spread(count: int, whole: float) -> tuple[float, ...]:
    """Return `count` distances from the middle, evenly over a whole."""
    if count < 2:
        return (0.0,) * max(1, count)
    return tuple([whole * (i / (count - 1) - 0.5) for i in range(count)])


# Edges


def _text_box(edge: PictureEdge) -> Box:
    above, below = edge_lines(edge)
    width = max([_width(above, edge.value), _width(below, edge.gradient)])
    return Box(width + 12 * bool(width), 5 + _LINE * len(above), 5 + _LINE * len(below))


def _width(lines: tuple[str, ...], summary: Summary | None) -> float:
    widths = [len(line) * _CHARACTER for line in lines]
    if widths and summary and summary.histogram:
        widths[-1] += _BAR * len(summary.histogram) + 6
    return max(widths, default=0.0)


def _draw_edge(parent: ET.Element, edge: PictureEdge, target: _Shape, route: Route, place: tuple[float, float]) -> None:
    group = ET.SubElement(parent, "g", {"class": edge.flow} if edge.flow else {})
    *runs, (left, right, y) = route.runs
    if target.node.symbol:
        # Down to the circle, and not to the box around it.
        right = place[0] - math.sqrt(max(0.0, _RADIUS**2 - (y - place[1]) ** 2))
    runs.append((min(left, right - 8), right - 7, y))
    ET.SubElement(group, "path", {"class": "edge", "d": _path(runs)})
    tip = f"M{_n(right)} {_n(y)}l-8 -4v8z"
    ET.SubElement(group, "path", {"class": "tip", "d": tip})
    above, below = edge_lines(edge)
    x, y = route.text
    _draw_lines(group, x, y - 7 - _LINE * (len(above) - 1), above, edge.value, "value")
    _draw_lines(group, x, y + 15, below, edge.gradient, "gradient")


def _draw_lines(
    group: ET.Element, x: float, y: float, lines: tuple[str, ...], summary: Summary | None, kind: str
) -> None:
    loud = kind + " loud" * bool(summary and summary.alarm)
    for i, line in enumerate(lines):
        bars = summary.histogram if summary and i == len(lines) - 1 else ()
        shift = (_BAR * len(bars) + 6) / 2 if bars else 0.0
        _text(group, x - shift, y + _LINE * i, line, loud)
        if bars:
            start = x - shift + len(line) * _CHARACTER / 2 + 6
            ET.SubElement(group, "path", {"class": kind, "d": _bars(bars, start, y + _LINE * i)})


def _bars(counts: tuple[int, ...], x: float, y: float) -> str:
    most = max(counts)
    heights = [_BARS_HEIGHT * count / most for count in counts]
    return "".join(
        f"M{_n(x + _BAR * i)} {_n(y)}v{_n(-height)}h{_n(_BAR - 0.5)}v{_n(height)}z"
        for i, height in enumerate(heights)
        if height
    )


def _path(runs: Iterable[tuple[float, float, float]]) -> str:
    """Return straight runs with bends between them that leave and enter them level."""
    parts: list[str] = []
    at = (math.nan, math.nan)
    for start, end, y in runs:
        if not parts:
            parts.append(f"M{_n(start)} {_n(y)}")
        elif _n(at[1]) == _n(y):
            parts.append(f"H{_n(start)}")
        else:
            middle = (at[0] + start) / 2
            parts.append(f"C{_n(middle)} {_n(at[1])} {_n(middle)} {_n(y)} {_n(start)} {_n(y)}")
        if end > start:
            parts.append(f"H{_n(end)}")
        at = (end, y)
    return "".join(parts)


def _text(parent: ET.Element, x: float, y: float, text: str, kind: str) -> None:
    ET.SubElement(parent, "text", {"class": kind, "x": _n(x), "y": _n(y)}).text = clean(text)


def _n(number: float) -> str:
    return f"{round(number, 1) + 0:g}"
