"""The structure of a graph: inputs, constants, gate nodes and outputs, and how they hang together.

The DAG is a `networkx.DiGraph`. It alone would lose `multiply(x, x)`, so each gate node keeps its operands in order.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast

import networkx as nx

from graphsvc.arrays import Array, Literal
from graphsvc.document import ConstantEntry, GraphDocument, InputEntry, NodeEntry, OutputEntry, reference
from graphsvc.errors import (
    ArityError,
    CycleError,
    DuplicateNameError,
    GateError,
    GraphError,
    PluginError,
    UnknownGateError,
    UnknownReferenceError,
    did_you_mean,
    quoted,
)
from graphsvc.gate import Gate, attributes_of
from graphsvc.inference import BoundNode, described
from graphsvc.registry import Registry

__all__ = ["GateNode", "Structure", "check_arity"]

_LISTED: Final = 16
"""How many unknown gates an error lists."""


@dataclass(slots=True)
class GateNode:
    """A gate node: its gate by name and attributes, and its operands in order.

    `gate` is the gate itself, once it is at hand. Where the node was made of a gate object and not `by_name`, the
    object says what name and attributes are.
    """

    name: str
    gate_name: str
    operands: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    gate: Gate | None = None
    by_name: bool = True


class Structure:
    """What a graph consists of. Names are unique over inputs, constants and nodes; outputs have names of their own."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.inputs: dict[str, InputEntry] = {}
        self.constants: dict[str, Literal | Array] = {}
        self.nodes: dict[str, GateNode] = {}
        self.outputs: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.topology: nx.DiGraph[str] = nx.DiGraph()

    def __contains__(self, name: str) -> bool:
        return name in self.topology

    # Building

    def add_input(self, entry: InputEntry, path: str = "") -> None:
        """Add an input. Raises DuplicateNameError."""
        self._claim(entry.name, path)
        self.inputs[entry.name] = entry

    def add_constant(self, name: str, value: Literal | Array, path: str = "") -> None:
        """Add a constant. Raises DuplicateNameError."""
        self._claim(name, path)
        self.constants[name] = value

    def add_node(self, node: GateNode, path: str = "") -> None:
        """Add a gate node; its operands may come later. Raises DuplicateNameError."""
        self._claim(node.name, path)
        self.nodes[node.name] = node
        self.topology.add_edges_from((reference(operand)[0], node.name) for operand in node.operands)

    def add_output(self, name: str, source: str, path: str = "") -> None:
        """Add an output. Raises DuplicateNameError or UnknownReferenceError."""
        self.check_output_free(name, path)
        self.check_reference(source, path)
        self.outputs[name] = source

    def check_output_free(self, name: str, path: str = "") -> None:
        """Raise DuplicateNameError if there is an output of that name."""
        if name in self.outputs:
            msg = f"{_at(path)}There are two outputs named {name!r}. Give each its own name."
            raise DuplicateNameError(msg, name=name, path=path)

    def _claim(self, name: str, path: str) -> None:
        self.check_free(name, path)
        self.topology.add_node(name)

    def check_free(self, name: str, path: str = "") -> None:
        """Raise DuplicateNameError if an input, a constant or a node bears the name."""
        if name in self.inputs or name in self.constants or name in self.nodes:
            msg = f"{_at(path)}The name {name!r} is taken. Inputs, constants and nodes need different names."
            raise DuplicateNameError(msg, name=name, path=path)

    def check_reference(self, source: str, path: str = "") -> None:
        """Raise UnknownReferenceError if `source` refers to nothing in the graph."""
        name = reference(source)[0]
        if name not in self.inputs and name not in self.constants and name not in self.nodes:
            known = [*self.inputs, *self.constants, *self.nodes]
            msg = f"{_at(path)}There is no value {quoted(name)} in the graph.{did_you_mean(name, known)}"
            raise UnknownReferenceError(msg, name=name[:128], path=path)

    # Documents

    @classmethod
    def from_document(cls, document: GraphDocument, registry: Registry) -> "Structure":
        """Make the structure that a document describes.

        Raises:
            DuplicateNameError: One name stands for two things.
            UnknownReferenceError: An operand or an output refers to nothing.
            CycleError: A value depends on itself.
        """
        structure = cls(registry)
        structure.versions = dict(document.gates)
        for i, entry in enumerate(document.inputs):
            structure.add_input(entry, f"inputs[{i}].name")
        for i, constant in enumerate(document.constants):
            structure.add_constant(constant.name, constant.value, f"constants[{i}].name")
        for i, node in enumerate(document.nodes):
            structure.add_node(GateNode(node.name, node.gate, node.operands, node.attributes), f"nodes[{i}].name")
        for i, node in enumerate(document.nodes):
            for j, operand in enumerate(node.operands):
                structure.check_reference(operand, f"nodes[{i}].operands[{j}]")
        for i, output in enumerate(document.outputs):
            structure.add_output(output.name, output.source, f"outputs[{i}].source")
        structure.order()
        return structure

    def document(self) -> GraphDocument:
        """Return the graph as a document. It says nothing else after a run than before it.

        Raises:
            UnregisteredGateError: A gate object stands in the graph that no plugin provides.
        """
        nodes = []
        versions = dict(self.versions)
        for node in self.nodes.values():
            name, attributes = node.gate_name, node.attributes
            if node.gate is not None and not node.by_name:
                name = self.registry.name_of(type(node.gate))
                attributes = attributes_of(node.gate)
                versions.setdefault(name, type(node.gate).version)
            nodes.append(NodeEntry(name=node.name, gate=name, operands=node.operands, attributes=dict(attributes)))
        used = {node.gate for node in nodes}
        return GraphDocument(
            gates={name: version for name, version in sorted(versions.items()) if name in used},
            inputs=tuple(self.inputs.values()),
            constants=tuple(ConstantEntry(name=name, value=value) for name, value in self.constants.items()),
            nodes=tuple(nodes),
            outputs=tuple(OutputEntry(name=name, source=source) for name, source in self.outputs.items()),
        )

    # Running

    def order(self) -> list[GateNode]:
        """Return the gate nodes in topological order.

        Raises:
            CycleError: There is none, because a value depends on itself.
        """
        try:
            return [self.nodes[name] for name in nx.topological_sort(self.topology) if name in self.nodes]
        except nx.NetworkXUnfeasible:
            pass
        names = [edge[0] for edge in nx.find_cycle(self.topology)]
        shown = " -> ".join([*map(repr, names[:5]), *(["..."] if len(names) > 5 else []), repr(names[0])])
        msg = f"The values {shown} depend on each other. Remove one of these operands."
        raise CycleError(msg, node=names[0])

    def bind(self) -> tuple[BoundNode, ...]:
        """Find the gate of every node, and check what can be checked without shapes.

        Returns:
            The gate nodes in topological order, with their gates.

        Raises:
            UnknownGateError: Gates are not installed; the message lists them.
            GateVersionError: One is of another version than the document was written for.
            ArityError: A node has too few or too many operands.
            AttributeValueError: An attribute is not one that the gate takes.
            UnknownReferenceError: An operand names an output that its node does not have.
        """
        order = self.order()
        self._check_installed(order)
        bare: dict[str, Gate] = {}
        for node in order:
            if node.gate is None and not node.attributes and node.gate_name in bare:
                node.gate = bare[node.gate_name]
            elif node.gate is None:
                node.gate = self._make_gate(node)
                if not node.attributes:
                    bare[node.gate_name] = node.gate
        bound = tuple(self._bound(node) for node in order)
        self._check_outputs({result for node in bound for result in node.results})
        return bound

    def note_versions(self) -> None:
        """Note the versions of the gates that are installed here, where none is noted yet."""
        for name in dict.fromkeys(node.gate_name for node in self.nodes.values() if node.by_name):
            with suppress(UnknownGateError, PluginError):
                self.versions.setdefault(name, self.registry.gate_class(name).version)

    def _check_installed(self, order: list[GateNode]) -> None:
        problems: dict[str, str] = {}
        for name in dict.fromkeys(node.gate_name for node in order if node.gate is None):
            try:
                self.registry.check_version(name, self.versions.get(name))
            except UnknownGateError as error:
                problems[name] = error.message
            if len(problems) == _LISTED:
                break
        if problems:
            raise UnknownGateError(" ".join(problems.values()), gates=",".join(problems))

    def _make_gate(self, node: GateNode) -> Gate:
        cls = self.registry.gate_class(node.gate_name)
        try:
            return cls(**node.attributes)
        except GraphError as error:
            raise error.at(node.name, node.gate_name) from None
        except Exception as error:
            msg = f"its attributes cannot be checked: {described(error)}"
            raise GateError(msg).at(node.name, node.gate_name) from error

    def _bound(self, node: GateNode) -> BoundNode:
        gate = cast(Gate, node.gate)
        check_arity(node.name, node.gate_name, type(gate), len(node.operands))
        # `node:first` means the first output as well as `node` does, but one value has one reference.
        results = (node.name, *(f"{node.name}:{output}" for output in gate.signature.outputs[1:]))
        operands = tuple(self._canonical(operand) for operand in node.operands)
        return BoundNode(node.name, node.gate_name, gate, operands, results)

    def _canonical(self, source: str) -> str:
        name, output = reference(source)
        node = self.nodes.get(name)
        if output and node and node.gate and node.gate.signature.outputs[0] == output:
            return name
        return source

    def sources(self) -> dict[str, str]:
        """Return the reference to the value of each output. The graph must be bound."""
        return {name: self._canonical(source) for name, source in self.outputs.items()}

    def _check_outputs(self, results: set[str]) -> None:
        """Check references with an output name, which only a bound node can answer."""
        for owner, source in self._references():
            name, output = reference(source)
            if output is None or self._canonical(source) in results:
                continue
            gate = self.nodes[name].gate if name in self.nodes else None
            known = ", ".join(gate.signature.outputs) if gate else "none, for it is no gate node"
            msg = f"{owner} refers to {quoted(source)}, but {name!r} has no such output. Its outputs: {known}."
            raise UnknownReferenceError(msg, name=source)

    def _references(self) -> Iterator[tuple[str, str]]:
        for node in self.nodes.values():
            yield from ((f"Node {node.name!r}", operand) for operand in node.operands)
        yield from ((f"Output {name!r}", source) for name, source in self.outputs.items())


def _at(path: str) -> str:
    return f"{path}: " if path else ""


def check_arity(node: str, gate_name: str, cls: type[Gate], count: int) -> None:
    """Raise ArityError if a gate of class `cls` does not take `count` operands."""
    signature = cls.signature
    if not signature.accepts(count):
        least = "at least " if signature.variadic else ""
        needed = len(signature.operands)
        operands = f"{needed} operand{'s' if needed > 1 else ''} ({signature.describe_operands()})"
        attributes = f" Attributes go by name: {', '.join(cls.model_fields)}." if cls.model_fields else ""
        msg = f"It takes {least}{operands}, got {count}.{attributes}"
        raise ArityError(msg).at(node, gate_name)
