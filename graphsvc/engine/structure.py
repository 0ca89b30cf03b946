"""The structure of a graph: inputs, constants, gate nodes and outputs, and how they hang together.

Each gate node keeps its operands in order. A `networkx.DiGraph` alone would lose `multiply(x, x)`; it is made for those
who ask.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphsvc.arrays import Array, Literal
from graphsvc.document import (
    InputEntry,
    NodeEntry,
)
from graphsvc.engine.library import Library
from graphsvc.engine.registry import Registry
from graphsvc.errors import (
    CycleError,
    DuplicateNameError,
)
from graphsvc.gate import Gate
from graphsvc.names import at, name_taken, reference, unknown_reference
from graphsvc.plaindata import GraphReference

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["GateNode", "Structure", "node_of"]


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

    def __init__(self, registry: Registry, library: Library | None = None) -> None:
        self.registry = registry
        # The graphs that gates hold; those graphs have the same.
        self.library = Library() if library is None else library
        self.inputs: dict[str, InputEntry] = {}
        self.constants: dict[str, Literal | Array] = {}
        self.nodes: dict[str, GateNode] = {}
        self.outputs: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        # For each value the gate nodes that it is an operand of, as often as it is.
        self._users: dict[str, list[str]] = {}
        self._topology: nx.DiGraph[str] | None = None
        self._order: list[GateNode] | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._users

    @property
    def topology(self) -> "nx.DiGraph[str]":
        """The DAG by name. Few ask for it and it is dear, so it is made when somebody does, and kept up from then."""
        if self._topology is None:
            # Importing it takes a third of the time that all of graphsvc takes.
            import networkx as nx

            made: nx.DiGraph[str] = nx.DiGraph()
            made.add_nodes_from(self._users)
            made.add_edges_from(edge for node in self.nodes.values() for edge in _edges(node))
            # Only now, for another thread may ask meanwhile.
            self._topology = made
        return self._topology

    # Building

    def add_input(self, entry: InputEntry, path: str = "") -> None:
        """Add an input. Raises DuplicateNameError."""
        self._claim(entry.name, path)
        self.inputs[entry.name] = entry

    def add_constant(self, name: str, value: Literal | Array, path: str = "") -> None:
        """Add a constant. Raises DuplicateNameError."""
        self._claim(name, path)
        self.constants[name] = value

    def add_node(self, node: GateNode) -> None:
        """Add a gate node; its operands may come later. Raises DuplicateNameError."""
        self._claim(node.name)
        self.nodes[node.name] = node
        self._order = None
        for operand in node.operands:
            source = node_of(operand) if ":" in operand else operand
            if source in self._users:
                self._users[source].append(node.name)
            else:
                self._users[source] = [node.name]
        if self._topology is not None:
            self._topology.add_edges_from(_edges(node))

    def add_output(self, name: str, source: str, path: str = "") -> None:
        """Add an output. Raises DuplicateNameError or UnknownReferenceError."""
        self.check_output_free(name, path)
        self.check_reference(source, path)
        self.outputs[name] = source

    def check_output_free(self, name: str, path: str = "") -> None:
        """Raise DuplicateNameError if there is an output of that name."""
        if name in self.outputs:
            msg = f"{at(path)}There are two outputs named {name!r}. Give each its own name."
            raise DuplicateNameError(msg, name=name, path=path)

    def _claim(self, name: str, path: str = "") -> None:
        if name in self._users:
            # It was taken, or only referred to.
            self.check_free(name, path)
        else:
            self._users[name] = []
        if self._topology is not None:
            self._topology.add_node(name)

    def _has(self, name: str) -> bool:
        return name in self.nodes or name in self.inputs or name in self.constants

    def check_free(self, name: str, path: str = "") -> None:
        """Raise DuplicateNameError if an input, a constant or a node bears the name."""
        if self._has(name):
            raise name_taken(name, path)

    def check_reference(self, source: str, path: str = "") -> None:
        """Raise UnknownReferenceError if `source` refers to nothing in the graph."""
        name = node_of(source)
        if not self._has(name):
            raise unknown_reference(name, [*self.inputs, *self.constants, *self.nodes], path)

    def check_references(self, nodes: Sequence[NodeEntry], path: str) -> None:
        """Raise UnknownReferenceError if an operand of these nodes refers to nothing in the graph."""
        if len(self._users) == len(self.inputs) + len(self.constants) + len(self.nodes):
            # Whatever is referred to is there.
            return
        for i, node in enumerate(nodes):
            for j, operand in enumerate(node.operands):
                self.check_reference(operand, f"{path}nodes[{i}].operands[{j}]")

    # Graphs that gates hold

    def held(self) -> Iterator[tuple[GateNode, str, str]]:
        """Yield each gate node that holds a graph, with the attribute and the name of the graph."""
        for node in self.nodes.values():
            for attribute, value in node.attributes.items():
                if isinstance(value, GraphReference):
                    yield node, attribute, value.name

    def copied(self, library: Library, names: Mapping[str, str]) -> "Structure":
        """Return a copy that holds graphs of another library.

        Args:
            library: The other library.
            names: The name there of each graph that is held.
        """
        copy = Structure(self.registry, library)
        copy.versions = dict(self.versions)
        for entry in self.inputs.values():
            copy.add_input(entry)
        for name, value in self.constants.items():
            copy.add_constant(name, value)
        for node in self.nodes.values():
            attributes = {
                key: GraphReference(names[value.name]) if isinstance(value, GraphReference) else value
                for key, value in node.attributes.items()
            }
            # A gate that was made by name is made anew, with the graphs that go by the new names.
            gate = None if node.by_name and attributes != node.attributes else node.gate
            copy.add_node(GateNode(node.name, node.gate_name, node.operands, attributes, gate, node.by_name))
        copy.outputs = dict(self.outputs)
        return copy

    # The topological order

    def order(self) -> list[GateNode]:
        """Return the gate nodes in topological order.

        Raises:
            CycleError: There is none, because a value depends on itself.
        """
        if self._order is None:
            self._order = self._sorted()
        return self._order

    def _sorted(self) -> list[GateNode]:
        waiting = {name: len(node.operands) for name, node in self.nodes.items()}
        order = [name for name in self._users if not waiting.get(name)]
        for name in order:
            for user in self._users[name]:
                waiting[user] -= 1
                if not waiting[user]:
                    order.append(user)
        if len(order) == len(self._users):
            return [self.nodes[name] for name in order if name in self.nodes]
        names = self._cycle()
        shown = " -> ".join([*map(repr, names[:5]), *(["..."] if len(names) > 5 else []), repr(names[0])])
        msg = f"The values {shown} depend on each other. Remove one of these operands."
        raise CycleError(msg, node=names[0])

    def _cycle(self) -> list[str]:
        """Return the first cycle that a depth-first search meets; networkx's takes quadratic time."""
        done: set[str] = set()
        for start in self._users:
            path = {} if start in done else {start: iter(self._users[start])}
            while path:
                name, users = path.popitem()
                path[name] = users
                user = next((user for user in users if user not in done), None)
                if user is None:
                    path.popitem()
                    done.add(name)
                elif user in path:
                    return list(path)[list(path).index(user) :]
                else:
                    path[user] = iter(self._users[user])
        return []


def node_of(source: str) -> str:
    """Return the name of the node that a reference refers to an output of."""
    return reference(source)[0] if ":" in source else source


def _edges(node: GateNode) -> list[tuple[str, str]]:
    return [(node_of(operand), node.name) for operand in node.operands]
