"""The structure of a graph: inputs, constants, gate nodes and outputs, and how they hang together.

Each gate node keeps its operands in order. A `networkx.DiGraph` alone would lose `multiply(x, x)`; it is made for those
who ask.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from graphsvc.arrays import Array, Literal
from graphsvc.document import (
    ConstantEntry,
    GraphDocument,
    HeldGraphEntry,
    InputEntry,
    NodeEntry,
    OutputEntry,
    reference,
)
from graphsvc.engine.inference import BoundNode, described
from graphsvc.engine.library import Library
from graphsvc.engine.registry import Registry
from graphsvc.errors import (
    ArityError,
    CycleError,
    DuplicateNameError,
    GateError,
    GraphError,
    GraphsvcError,
    PluginError,
    UnknownGateError,
    UnknownReferenceError,
    did_you_mean,
    quoted,
)
from graphsvc.garbage import collection_put_off
from graphsvc.gate import Gate, attributes_of
from graphsvc.plaindata import GraphReference

if TYPE_CHECKING:
    import networkx as nx

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
            source = _node_of(operand) if ":" in operand else operand
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
            msg = f"{_at(path)}There are two outputs named {name!r}. Give each its own name."
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
            msg = f"{_at(path)}The name {name!r} is taken. Inputs, constants and nodes need different names."
            raise DuplicateNameError(msg, name=name, path=path)

    def check_reference(self, source: str, path: str = "") -> None:
        """Raise UnknownReferenceError if `source` refers to nothing in the graph."""
        name = _node_of(source)
        if not self._has(name):
            known = [*self.inputs, *self.constants, *self.nodes]
            msg = f"{_at(path)}There is no value {quoted(name)} in the graph.{did_you_mean(name, known)}"
            raise UnknownReferenceError(msg, name=name[:128], path=path)

    def _check_references(self, nodes: Sequence[NodeEntry], path: str) -> None:
        if len(self._users) == len(self.inputs) + len(self.constants) + len(self.nodes):
            # Whatever is referred to is there.
            return
        for i, node in enumerate(nodes):
            for j, operand in enumerate(node.operands):
                self.check_reference(operand, f"{path}nodes[{i}].operands[{j}]")

    # Documents

    @classmethod
    @collection_put_off()
    def from_document(cls, document: GraphDocument, registry: Registry, library: Library | None = None) -> "Structure":
        """Make the structure that a document describes.

        Args:
            document: The document.
            registry: Where gates are looked up.
            library: An empty one; the graphs that gates hold are put into it. Without one they cannot be run.

        Raises:
            DuplicateNameError: One name stands for two things.
            UnknownReferenceError: An operand or an output refers to nothing, or a gate holds a graph that is not there.
            CycleError: A value depends on itself, or a graph holds itself.
            DocumentError: Graphs hold each other too deep.
        """
        library = Library() if library is None else library
        for i, graph in enumerate(document.graphs):
            path = f"graphs[{i}]."
            try:
                library.add(graph.name, cls._from_body(graph, document.gates, registry, library, path), f"{path}name")
            except CycleError as error:
                raise error.within(graph.name) from None
        structure = cls._from_body(document, document.gates, registry, library)
        library.check(structure)
        return structure

    @classmethod
    def _from_body(
        cls,
        body: GraphDocument | HeldGraphEntry,
        versions: Mapping[str, int],
        registry: Registry,
        library: Library,
        path: str = "",
    ) -> "Structure":
        structure = cls(registry, library)
        structure.versions = dict(versions)
        for i, entry in enumerate(body.inputs):
            structure.add_input(entry, f"{path}inputs[{i}].name")
        for i, constant in enumerate(body.constants):
            structure.add_constant(constant.name, constant.value, f"{path}constants[{i}].name")
        for i, node in enumerate(body.nodes):
            if node.name in structure:
                structure.check_free(node.name, f"{path}nodes[{i}].name")
            structure.add_node(GateNode(node.name, node.gate, node.operands, node.attributes))
        structure._check_references(body.nodes, path)
        for i, output in enumerate(body.outputs):
            structure.add_output(output.name, output.source, f"{path}outputs[{i}].source")
        structure.order()
        return structure

    def document(self) -> GraphDocument:
        """Return the graph as a document. It says nothing else after a run than before it.

        Raises:
            UnregisteredGateError: A gate object stands in the graph that no plugin provides.
        """
        versions: dict[str, int] = {}
        body = self._body(versions)
        graphs = tuple(
            HeldGraphEntry(name=name, **structure._body(versions)) for name, structure in self.library.graphs.items()
        )
        return GraphDocument(gates=dict(sorted(versions.items())), **body, graphs=graphs)

    def _body(self, versions: dict[str, int]) -> dict[str, Any]:
        """Return all of the document but the graphs that gates hold, and note the versions of its gates."""
        nodes = []
        for node in self.nodes.values():
            name, attributes = node.gate_name, node.attributes
            version = self.versions.get(name)
            if node.gate is not None and not node.by_name:
                name = self.registry.name_of(type(node.gate))
                # In the object stand the graphs themselves, and here their names.
                attributes = {key: node.attributes.get(key, value) for key, value in attributes_of(node.gate).items()}
                version = self.versions.get(name, type(node.gate).version)
            if version is not None:
                versions.setdefault(name, version)
            nodes.append(NodeEntry(name=node.name, gate=name, operands=node.operands, attributes=dict(attributes)))
        return {
            "inputs": tuple(self.inputs.values()),
            "constants": tuple(ConstantEntry(name=name, value=value) for name, value in self.constants.items()),
            "nodes": tuple(nodes),
            "outputs": tuple(OutputEntry(name=name, source=source) for name, source in self.outputs.items()),
        }

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

    # Running

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

    @collection_put_off()
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
        made: dict[str, Gate] = {}
        for node in order:
            if node.gate is not None:
                continue
            # What reads alike is alike, save for the bits of a NaN.
            said = f"{node.gate_name} {node.attributes}" if node.attributes else node.gate_name
            if said not in made or "nan" in said:
                made[said] = self._make_gate(node)
            node.gate = made[said]
        self._check_held(order)
        # `node:first` means the first output as well as `node` does, but one value has one reference.
        canonical = {source: self._canonical(source) for _, source in self._named_outputs()}
        bound = tuple([_bound(node, canonical) for node in order])
        if canonical:
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

    def _check_held(self, order: list[GateNode]) -> None:
        """Bind the graphs that gates hold, so that what is wrong in them is known before anything runs."""
        for node in order:
            gate = cast(Gate, node.gate)
            for attribute in gate.signature.graphs:
                try:
                    getattr(gate, attribute).check()
                except GraphsvcError as error:
                    raise error.at(node.name, node.gate_name) from None

    def _make_gate(self, node: GateNode) -> Gate:
        cls = self.registry.gate_class(node.gate_name)
        attributes = {
            key: self.library.subgraph(value.name) if isinstance(value, GraphReference) else value
            for key, value in node.attributes.items()
        }
        try:
            return cls(**attributes)
        except GraphError as error:
            located = error.at(node.name, node.gate_name)
            if "attribute" in error.facts:
                place = f"nodes[{list(self.nodes).index(node.name)}].attributes.{error.facts['attribute']}"
                located.facts = located.facts | {"path": place}
            raise located from None
        except Exception as error:
            msg = f"its attributes cannot be checked: {described(error)}"
            raise GateError(msg).at(node.name, node.gate_name) from error

    def _canonical(self, source: str) -> str:
        name, output = reference(source)
        node = self.nodes.get(name)
        if output and node and node.gate and node.gate.signature.outputs[0] == output:
            return name
        return source

    def sources(self) -> dict[str, str]:
        """Return the reference to the value of each output. The graph must be bound."""
        return {name: self._canonical(source) for name, source in self.outputs.items()}

    def _named_outputs(self) -> Iterator[tuple[str, str]]:
        """Yield who refers to an output by its name, and the reference."""
        for node in self.nodes.values():
            for operand in node.operands:
                if ":" in operand:
                    yield f"Node {node.name!r}", operand
        yield from ((f"Output {name!r}", source) for name, source in self.outputs.items() if ":" in source)

    def _check_outputs(self, results: set[str]) -> None:
        """Check references with an output name, which only a bound node can answer."""
        for owner, source in self._named_outputs():
            if self._canonical(source) in results:
                continue
            name = _node_of(source)
            gate = self.nodes[name].gate if name in self.nodes else None
            known = ", ".join(gate.signature.outputs) if gate else "none, for it is no gate node"
            msg = f"{owner} refers to {quoted(source)}, but {name!r} has no such output. Its outputs: {known}."
            raise UnknownReferenceError(msg, name=source)


def _bound(node: GateNode, canonical: Mapping[str, str]) -> BoundNode:
    """Return a node whose gate has been made, with the references that are not canonical replaced."""
    name, operands, gate = node.name, node.operands, cast(Gate, node.gate)
    signature = gate.signature
    if not signature.accepts(len(operands)):
        check_arity(name, node.gate_name, type(gate), len(operands))
    if canonical:
        operands = tuple([canonical.get(operand, operand) for operand in operands])
    others = signature.outputs[1:]
    results = (name, *[f"{name}:{output}" for output in others]) if others else (name,)
    return BoundNode(name, node.gate_name, gate, operands, results)


def _node_of(source: str) -> str:
    """Return the name of the node that a reference refers to an output of."""
    return reference(source)[0] if ":" in source else source


def _edges(node: GateNode) -> list[tuple[str, str]]:
    return [(_node_of(operand), node.name) for operand in node.operands]


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
