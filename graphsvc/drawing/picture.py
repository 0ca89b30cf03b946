"""A drawn graph as plain data: what DOT, SVG and text are written from, and what a page is given."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from graphsvc.drawing.summaries import Summary
from graphsvc.plaindata import number_to_data

__all__ = ["Flow", "Kind", "Picture", "PictureEdge", "PictureNode", "PicturePort", "Trace", "picture_to_data", "tinted"]

Kind: TypeAlias = Literal["input", "parameter", "constant", "gate", "output", "group"]
Flow: TypeAlias = Literal["", "vanishing", "exploding"]

_RATIO: Final = 1e7


@dataclass(slots=True)
class Trace:
    """What was seen of one run.

    Attributes:
        values: Values of inputs, constants and gates, by reference.
        gradients: Gradients that arrived at them, added up, by reference.
        contributions: The gradient that a gate node gave for an operand, by node and position.
        output_gradients: The gradients given for outputs, by output.
        findings: What was found of numbers that are not finite, by the node, input or constant where they came up.
        note: Why there are no gradients, if there are none.
    """

    values: dict[str, Summary] = field(default_factory=dict)
    gradients: dict[str, Summary] = field(default_factory=dict)
    contributions: dict[tuple[str, int], Summary] = field(default_factory=dict)
    output_gradients: dict[str, Summary] = field(default_factory=dict)
    findings: dict[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class PicturePort:
    """A value of a node, with the gradient that arrived at it: the sum of those of the edges that leave it.

    Attributes:
        name: Name of the gate's output; empty for the first, and for what is no gate.
        value: None if the graph was drawn without inputs.
        gradient: None if no gradient arrived.
    """

    name: str
    value: Summary | None = None
    gradient: Summary | None = None


@dataclass(frozen=True, slots=True)
class PictureNode:
    """Something that is drawn as one.

    Attributes:
        id: Unique in the picture: the name of an input, constant or gate node; `output NAME`, `group NAME`, and
            `NAME 1`, `NAME 2`, ... for the uses of a constant without a name that people gave.
        kind: What it is.
        name: Its name as people gave it; empty for a name that was made up.
        gate: Name of its gate; empty for what is no gate.
        symbol: What stands in its circle; empty for a box.
        attributes: Its attributes as text, by name; of a group, how many gates of each name it holds.
        ports: Its values.
        members: Names of what is folded into a group.
        finding: What was found of numbers that are not finite, which came up here first.
    """

    id: str
    kind: Kind
    name: str
    gate: str = ""
    symbol: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PicturePort, ...] = ()
    members: tuple[str, ...] = ()
    finding: str = ""


@dataclass(frozen=True, slots=True)
class PictureEdge:
    """A value on its way to where it is an operand, and the gradient that came back this way.

    Attributes:
        source: `id` of the node that it leaves.
        port: Name of its value there.
        target: `id` of the node that it enters.
        position: Which operand it is.
        operand: What the gate calls that operand; empty if that is not known.
        value: The value; None if the graph was drawn without inputs, and from a group that several leave.
        gradient: Its contribution to the gradient of the value; between groups the largest.
        flow: Whether the gradient vanishes or explodes.
        count: How many edges are drawn as this one; more than one between groups.
    """

    source: str
    port: str
    target: str
    position: int
    operand: str = ""
    value: Summary | None = None
    gradient: Summary | None = None
    flow: Flow = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """A graph to be drawn.

    Attributes:
        nodes: In topological order.
        edges: In the order of the nodes that they enter, and of their operands.
        note: What a reader has to know; empty if nothing.
    """

    nodes: tuple[PictureNode, ...]
    edges: tuple[PictureEdge, ...]
    note: str = ""


def tinted(edges: tuple[PictureEdge, ...]) -> tuple[PictureEdge, ...]:
    """Say which gradients explode, beyond 1e7 times those given for outputs, and which vanish beside the others."""
    sizes = [edge.gradient.magnitude for edge in edges if edge.gradient]
    given = max((e.gradient.magnitude for e in edges if e.gradient and e.target.startswith("output ")), default=0.0)
    bound = given * _RATIO
    largest = max((size for size in sizes if size <= bound), default=0.0)

    def flow(gradient: Summary | None) -> Flow:
        if gradient is None or gradient.magnitude == 0:
            return ""
        if gradient.magnitude > bound:
            return "exploding"
        return "vanishing" if gradient.magnitude * _RATIO < largest else ""

    return tuple(replace(edge, flow=made) if (made := flow(edge.gradient)) else edge for edge in edges)


def picture_to_data(picture: Picture) -> dict[str, Any]:
    """Return a picture as JSON can hold it."""
    data: dict[str, Any] = _plain(asdict(picture))
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return [number_to_data(value.real), number_to_data(value.imag)] if isinstance(value, complex) else _number(value)


def _number(value: Any) -> Any:
    return number_to_data(value) if isinstance(value, float) else value
