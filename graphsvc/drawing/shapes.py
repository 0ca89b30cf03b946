"""The shapes of nodes in SVG: what room each takes, and how it is drawn."""

import math
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from graphsvc.drawing.labels import clean, details, gate_lines
from graphsvc.drawing.layout import Box
from graphsvc.drawing.picture import PictureNode

__all__ = ["CHARACTER", "LINE", "SMALL", "Shape", "add_text", "pixels", "shape_of"]

CHARACTER: Final = 7.3
"""Width of a character of the values, which are set in a font of one width, 12 pixels high."""

SMALL: Final = 6.1
"""Width of a small one."""

LINE: Final = 14.0
"""Height of a line of text."""

_RADIUS: Final = 19.0
_COMMUTE: Final = ("add", "multiply", "maximum", "minimum")
_ALARM_WIDTH: Final = 160.0


class Shape:
    """A node, the room that it takes, and how it is drawn.

    Attributes:
        node: The node.
        box: What it takes.
        above: What of that is taken by the word that a NaN or infinity came up there.
    """

    def __init__(self, node: PictureNode, operands: Sequence[str], added: str) -> None:
        """Make the shape of a node.

        Args:
            node: The node.
            operands: The names of the operands that enter it.
            added: How the gradients of the branches that leave it add up.
        """
        self.node = node
        self.operands = operands
        self.added = added
        self.lines = gate_lines(node)
        self.above = LINE * bool(node.finding)
        self.box = self._box()

    def _box(self) -> Box:
        raise NotImplementedError

    def _draw_body(self, group: ET.Element, x: float, y: float) -> None:
        raise NotImplementedError

    def draw(self, parent: ET.Element, x: float, y: float) -> None:
        """Draw it with its middle at a place."""
        node = self.node
        kind = f"node {node.kind}" + " finding" * bool(node.finding)
        group = ET.SubElement(parent, "g", {"class": kind, "data-node": clean(node.id)})
        ET.SubElement(group, "title").text = clean(details(node))
        self._draw_body(group, x, y)
        if node.finding:
            add_text(group, x, y - self.box.above + 10, f"{_alarm(node)} first here", "loud")
        if self.added:
            add_text(group, x, y + self.box.below - 5, self.added, "gradient")

    def _around(self, half: float, lines: int = 0) -> tuple[float, float, float]:
        """Return how far it reaches above and below, with what is written there, and how wide that is."""
        written = max(len(self.added) * CHARACTER, _ALARM_WIDTH * bool(self.node.finding))
        room = max([written, *(len(line) * SMALL for line in self.lines[:lines])])
        return half + self.above, half + LINE * (lines + bool(self.added)) + 2, room

    def side(self, way: float) -> float:
        """Return how far from its middle an edge ends that enters it so far from its line."""
        return self.box.width / 2

    def _exits(self, whole: float) -> tuple[float, ...]:
        return _spread(len(self.node.ports), whole)


class _Circle(Shape):
    """A gate that has a symbol; its name and attributes stand below."""

    def _box(self) -> Box:
        return Box(
            2 * _RADIUS,
            *self._around(_RADIUS, len(self.lines)),
            entries=_spread(len(self.operands), _RADIUS * 0.9),
            commutes=self.node.gate in _COMMUTE,
            exits=self._exits(_RADIUS * 0.9),
        )

    def side(self, way: float) -> float:
        """Return how far from its middle an edge meets the circle."""
        return math.sqrt(_RADIUS**2 - way**2)

    def _draw_body(self, group: ET.Element, x: float, y: float) -> None:
        circle = {"class": "body", "cx": pixels(x), "cy": pixels(y), "r": pixels(_RADIUS)}
        ET.SubElement(group, "circle", circle)
        add_text(group, x, y + 5, self.node.symbol, "symbol")
        for i, line in enumerate(self.lines):
            add_text(group, x, y + _RADIUS + 11 + LINE * i, line, "small")


class _Rectangle(Shape):
    """Another gate, or a group: a box with its name, and the names of operands and outputs at its sides."""

    def _box(self) -> Box:
        several = self.node.ports if len(self.node.ports) > 1 else ()
        self._named = self.operands if len(self.operands) > 1 else ()
        sides = max(map(len, self._named), default=0) + max((len(port.name) for port in several), default=0)
        self._title = self.node.gate if self.node.kind == "gate" else self.node.name
        inner = max([len(self._title) * CHARACTER, *(len(line) * SMALL for line in self.lines)])
        rows = max(1 + len(self.lines), len(self.operands), len(several))
        self._half = LINE * rows / 2 + 6
        return Box(
            inner + 2 * sides * SMALL + 20,
            *self._around(self._half),
            entries=_spread(len(self.operands), LINE * (len(self.operands) - 1)),
            commutes=self.node.kind == "group",
            exits=self._exits(LINE * (len(self.node.ports) - 1)),
        )

    def _draw_body(self, group: ET.Element, x: float, y: float) -> None:
        left, width = x - self.box.width / 2, self.box.width
        body = {"class": "body" + " folded" * (self.node.kind == "group"), "rx": "6"}
        body |= {"x": pixels(left), "y": pixels(y - self._half)}
        body |= {"width": pixels(width), "height": pixels(2 * self._half)}
        ET.SubElement(group, "rect", body)
        first = y - LINE * len(self.lines) / 2 + 4
        add_text(group, x, first, self._title, "title")
        for i, line in enumerate(self.lines):
            add_text(group, x, first + LINE * (i + 1), line, "small")
        for name, way in zip(self._named, self.box.entries, strict=False):
            add_text(group, left + 5, y + way + 3.5, name, "small left")
        for port, way in zip(self.node.ports, self.box.exits, strict=False):
            if len(self.node.ports) > 1:
                add_text(group, left + width - 5, y + way + 3.5, port.name, "small right")


class _Name(Shape):
    """What is no gate: its name."""

    def _box(self) -> Box:
        late = self.node.kind in ("constant", "parameter")
        return Box(len(self.node.name) * 8.0 + 8, *self._around(9), late=late, entries=(0.0,), exits=self._exits(0.0))

    def _draw_body(self, group: ET.Element, x: float, y: float) -> None:
        add_text(group, x, y + 4.5, self.node.name, "name")


class _Dot(Shape):
    """A constant without a name; its value stands at its edge."""

    def _box(self) -> Box:
        return Box(7, *self._around(4), late=True, exits=self._exits(0.0))

    def _draw_body(self, group: ET.Element, x: float, y: float) -> None:
        ET.SubElement(group, "circle", {"class": "dot", "cx": pixels(x), "cy": pixels(y), "r": "3.5"})


def shape_of(node: PictureNode, operands: Sequence[str], added: str) -> Shape:
    """Return the shape of a node; arguments are those of `Shape`."""
    if node.symbol:
        return _Circle(node, operands, added)
    if node.kind in ("gate", "group"):
        return _Rectangle(node, operands, added)
    return (_Name if node.name else _Dot)(node, operands, added)


def add_text(parent: ET.Element, x: float, y: float, text: str, kind: str) -> None:
    """Write a text at a place, of a class of the style."""
    ET.SubElement(parent, "text", {"class": kind, "x": pixels(x), "y": pixels(y)}).text = clean(text)


def pixels(*numbers: float) -> str:
    """Return numbers of pixels as text, to a tenth."""
    return " ".join([f"{round(number, 1) + 0:.1f}".removesuffix(".0") for number in numbers])


def _alarm(node: PictureNode) -> str:
    what = "NaN" if " NaN" in node.finding else "infinity"
    return f"{what} gradient" if node.finding.startswith("backward") else what


def _spread(count: int, whole: float) -> tuple[float, ...]:
    """Return so many distances from the middle, evenly over a whole."""
    if count < 2:
        return (0.0,)
    return tuple([whole * (i / (count - 1) - 0.5) for i in range(count)])
