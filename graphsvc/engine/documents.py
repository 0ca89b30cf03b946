"""Structures made of documents, and documents made of structures."""

from collections.abc import Mapping
from typing import Any

from graphsvc.document import (
    ConstantEntry,
    GraphDocument,
    HeldGraphEntry,
    NodeEntry,
    OutputEntry,
)
from graphsvc.engine.library import Library
from graphsvc.engine.registry import Registry
from graphsvc.engine.structure import GateNode, Structure
from graphsvc.errors import CycleError
from graphsvc.garbage import full_collections_put_off
from graphsvc.gate import attributes_of

__all__ = ["document_of", "structure_of"]


@full_collections_put_off()
def structure_of(document: GraphDocument, registry: Registry, library: Library | None = None) -> Structure:
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
            library.add(graph.name, _structure_of_body(graph, document.gates, registry, library, path), f"{path}name")
        except CycleError as error:
            raise error.within(graph.name) from None
    structure = _structure_of_body(document, document.gates, registry, library)
    library.check(structure)
    return structure


def _structure_of_body(
    body: GraphDocument | HeldGraphEntry,
    versions: Mapping[str, int],
    registry: Registry,
    library: Library,
    path: str = "",
) -> Structure:
    structure = Structure(registry, library)
    structure.versions = dict(versions)
    for i, entry in enumerate(body.inputs):
        structure.add_input(entry, f"{path}inputs[{i}].name")
    for i, constant in enumerate(body.constants):
        structure.add_constant(constant.name, constant.value, f"{path}constants[{i}].name")
    for i, node in enumerate(body.nodes):
        if node.name in structure:
            structure.check_free(node.name, f"{path}nodes[{i}].name")
        structure.add_node(GateNode(node.name, node.gate, node.operands, node.attributes))
    structure.check_references(body.nodes, path)
    for i, output in enumerate(body.outputs):
        structure.add_output(output.name, output.source, f"{path}outputs[{i}].source")
    structure.order()
    return structure


def document_of(structure: Structure) -> GraphDocument:
    """Return the graph as a document. It says nothing else after a run than before it.

    Raises:
        UnregisteredGateError: A gate object stands in the graph that no plugin provides.
    """
    versions: dict[str, int] = {}
    body = _body(structure, versions)
    graphs = tuple(
        HeldGraphEntry(name=name, **_body(held, versions)) for name, held in structure.library.graphs.items()
    )
    return GraphDocument(gates=dict(sorted(versions.items())), **body, graphs=graphs)


def _body(structure: Structure, versions: dict[str, int]) -> dict[str, Any]:
    """Return all of the document but the graphs that gates hold, and note the versions of its gates."""
    nodes = []
    for node in structure.nodes.values():
        name, attributes = node.gate_name, node.attributes
        version = structure.versions.get(name)
        if node.gate is not None and not node.by_name:
            name = structure.registry.name_of(type(node.gate))
            # In the object stand the graphs themselves, and here their names.
            attributes = {key: node.attributes.get(key, value) for key, value in attributes_of(node.gate).items()}
            version = structure.versions.get(name, type(node.gate).version)
        if version is not None:
            versions.setdefault(name, version)
        nodes.append(NodeEntry(name=node.name, gate=name, operands=node.operands, attributes=dict(attributes)))
    return {
        "inputs": tuple(structure.inputs.values()),
        "constants": tuple(ConstantEntry(name=name, value=value) for name, value in structure.constants.items()),
        "nodes": tuple(nodes),
        "outputs": tuple(OutputEntry(name=name, source=source) for name, source in structure.outputs.items()),
    }
