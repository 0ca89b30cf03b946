"""A draft: the graph of an expression as far as it is read, in which gate nodes get their names last."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graphsvc.document import ConstantEntry, GraphDocument, InputEntry, NodeEntry, OutputEntry

__all__ = ["Draft", "DraftCall", "DraftInput", "DraftOutput", "DraftValue"]


@dataclass(frozen=True, slots=True)
class DraftInput:
    """An input to be."""

    name: str


@dataclass(slots=True)
class DraftCall:
    """A gate node to be; it gets a name when it is assigned, or at the end.

    Attributes:
        start: Where in the expression its gate or operator stands.
    """

    gate: str
    operands: "list[DraftValue]"
    attributes: dict[str, Any]
    start: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class DraftOutput:
    """An output of a gate, by its name."""

    call: DraftCall
    name: str


DraftValue: TypeAlias = DraftInput | DraftCall | DraftOutput | int | float


@dataclass(slots=True)
class Draft:
    """What has been read so far."""

    inputs: dict[str, DraftInput] = field(default_factory=dict)
    calls: list[DraftCall] = field(default_factory=list)
    assigned: dict[str, DraftValue] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def call(
        self, gate: str, operands: list[DraftValue], start: int, attributes: dict[str, Any] | None = None
    ) -> DraftCall:
        """Add a gate node."""
        call = DraftCall(gate, operands, attributes or {}, start)
        self.calls.append(call)
        return call

    def look_up(self, name: str) -> DraftValue:
        """Return what a name stands for: what was assigned to it, or an input."""
        self.used.add(name)
        if name in self.assigned:
            return self.assigned[name]
        return self.inputs.setdefault(name, DraftInput(name))

    def document(self) -> GraphDocument:
        """Give every gate node a name, and return the graph."""
        counts: dict[str, int] = {}
        for call in self.calls:
            if call.name is None:
                counts[call.gate] = counts.get(call.gate, 0) + 1
                # No name in an expression holds a dot followed by a digit, so these cannot clash.
                call.name = f"{call.gate}.{counts[call.gate]}"
        constants: dict[str, ConstantEntry] = {}

        def refer(value: DraftValue) -> str:
            if isinstance(value, DraftInput | DraftCall):
                return str(value.name)
            if isinstance(value, DraftOutput):
                return f"{value.call.name}:{value.name}"
            entry = ConstantEntry(name=f"constant.{len(constants) + 1}", value=value)
            return constants.setdefault(repr(value), entry).name

        nodes = tuple(
            NodeEntry(
                name=str(call.name),
                gate=call.gate,
                operands=tuple(refer(operand) for operand in call.operands),
                attributes=call.attributes,
            )
            for call in self.calls
        )
        outputs = tuple(
            OutputEntry(name=name, source=refer(value))
            for name, value in self.assigned.items()
            if name not in self.used
        )
        inputs = tuple(InputEntry(name=name) for name in self.inputs)
        return GraphDocument(inputs=inputs, constants=tuple(constants.values()), nodes=nodes, outputs=outputs)
