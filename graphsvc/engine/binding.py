"""Binding a structure: the gate of every node found, and all checked that can be without shapes."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final, cast

from graphsvc.engine.inference import BoundNode, described
from graphsvc.engine.structure import GateNode, Structure, node_of
from graphsvc.errors import (
    ArityError,
    GateError,
    GraphError,
    GraphsvcError,
    PluginError,
    UnknownGateError,
    UnknownReferenceError,
    quoted,
)
from graphsvc.garbage import full_collections_put_off
from graphsvc.gate import Gate
from graphsvc.names import reference
from graphsvc.plaindata import GraphReference

__all__ = ["bind", "check_arity", "note_versions", "sources"]

_LISTED: Final = 16
"""How many unknown gates an error lists."""


@full_collections_put_off()
def bind(structure: Structure) -> tuple[BoundNode, ...]:
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
    order = structure.order()
    _check_installed(structure, order)
    made: dict[str, Gate] = {}
    for node in order:
        if node.gate is not None:
            continue
        # What reads alike is alike, save for the bits of a NaN.
        said = f"{node.gate_name} {node.attributes}" if node.attributes else node.gate_name
        if said not in made or "nan" in said:
            made[said] = _make_gate(structure, node)
        node.gate = made[said]
    _check_held(structure, order)
    # `node:first` means the first output as well as `node` does, but one value has one reference.
    canonical = {source: _canonical(structure, source) for _, source in _named_outputs(structure)}
    bound = tuple([_bound(node, canonical) for node in order])
    if canonical:
        _check_outputs(structure, {result for node in bound for result in node.results})
    return bound


def note_versions(structure: Structure) -> None:
    """Note the versions of the gates that are installed here, where none is noted yet."""
    for name in dict.fromkeys(node.gate_name for node in structure.nodes.values() if node.by_name):
        with suppress(UnknownGateError, PluginError):
            structure.versions.setdefault(name, structure.registry.gate_class(name).version)


def _check_installed(structure: Structure, order: list[GateNode]) -> None:
    problems: dict[str, str] = {}
    for name in dict.fromkeys(node.gate_name for node in order if node.gate is None):
        try:
            structure.registry.check_version(name, structure.versions.get(name))
        except UnknownGateError as error:
            problems[name] = error.message
        if len(problems) == _LISTED:
            break
    if problems:
        raise UnknownGateError(" ".join(problems.values()), gates=",".join(problems))


def _check_held(structure: Structure, order: list[GateNode]) -> None:
    """Bind the graphs that gates hold, so that what is wrong in them is known before anything runs."""
    for node in order:
        gate = cast(Gate, node.gate)
        for attribute in gate.signature.graphs:
            try:
                getattr(gate, attribute).check()
            except GraphsvcError as error:
                raise error.at(node.name, node.gate_name) from None


def _make_gate(structure: Structure, node: GateNode) -> Gate:
    cls = structure.registry.gate_class(node.gate_name)
    attributes = {
        key: structure.library.subgraph(value.name) if isinstance(value, GraphReference) else value
        for key, value in node.attributes.items()
    }
    try:
        return cls(**attributes)
    except GraphError as error:
        located = error.at(node.name, node.gate_name)
        if "attribute" in error.facts:
            place = f"nodes[{list(structure.nodes).index(node.name)}].attributes.{error.facts['attribute']}"
            located.facts = located.facts | {"path": place}
        raise located from None
    except Exception as error:
        msg = f"its attributes cannot be checked: {described(error)}"
        raise GateError(msg).at(node.name, node.gate_name) from error


def _canonical(structure: Structure, source: str) -> str:
    name, output = reference(source)
    node = structure.nodes.get(name)
    if output and node and node.gate and node.gate.signature.outputs[0] == output:
        return name
    return source


def sources(structure: Structure) -> dict[str, str]:
    """Return the reference to the value of each output. The graph must be bound."""
    return {name: _canonical(structure, source) for name, source in structure.outputs.items()}


def _named_outputs(structure: Structure) -> Iterator[tuple[str, str]]:
    """Yield who refers to an output by its name, and the reference."""
    for node in structure.nodes.values():
        for operand in node.operands:
            if ":" in operand:
                yield f"Node {node.name!r}", operand
    yield from ((f"Output {name!r}", source) for name, source in structure.outputs.items() if ":" in source)


def _check_outputs(structure: Structure, results: set[str]) -> None:
    """Check references with an output name, which only a bound node can answer."""
    for owner, source in _named_outputs(structure):
        if _canonical(structure, source) in results:
            continue
        name = node_of(source)
        gate = structure.nodes[name].gate if name in structure.nodes else None
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
