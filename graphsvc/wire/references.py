"""References of a graph, judged for all of its nodes at once, before any of them is read.

Reading many thousands of nodes takes a while, and whether they hang together is known only afterwards. Here it is known
in a tenth of that time: protobuf takes messages that follow each other for one, with all of their texts in a few lists.
"""

import functools
import itertools
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from graphsvc.errors import GraphError
from graphsvc.names import is_name, is_reference, name_taken, reference, unknown_reference
from graphsvc.v1 import graph_pb2

__all__ = ["check_references"]

_BEGIN: Final = graph_pb2.Node(operands=[""]).SerializeToString()
"""An operand that refers to nothing, and shows where those of the next node begin."""

_AT_ONCE: Final = 1024
"""Nodes that go through protobuf together; meanwhile no other thread runs Python."""


def check_references(graph: graph_pb2.Graph) -> None:
    """Refuse a graph in which two nodes have one name, or an operand refers to nothing.

    Where a name is malformed, or an input's is taken, nothing is refused: who reads the graph says so, and what else is
    wrong may come of that.

    Raises:
        DuplicateNameError: A node has a name that is taken.
        UnknownReferenceError: An operand refers to nothing.
    """
    for number, held in enumerate(graph.graphs):
        _check_body(held, f"graphs[{number}].")
    _check_body(graph, "")


class _Texts(NamedTuple):
    """The texts of all nodes but empty names, which are not sent; an empty operand stands before those of each node."""

    names: list[str]
    gates: list[str]
    operands: list[str]


def _check_body(body: graph_pb2.Graph | graph_pb2.HeldGraph, path: str) -> None:
    others = [entry.name for entry in body.inputs] + [entry.name for entry in body.constants]
    texts = _texts(body.nodes)
    known = {"", *others, *texts.names}
    foreign = {source for source in texts.operands if source not in known}
    unknown = {source for source in foreign if reference(source)[0] not in known}
    error = None
    if len(known) <= len(others) + len(texts.names):
        error = _duplicate(others, texts, path)
    elif unknown:
        error = _unknown(others, texts, unknown, path)
    if error is None or len(set(others)) < len(others):
        return
    # A text is empty where there are fewer names or gates than nodes, or more empty operands.
    if not len(texts.names) == len(texts.gates) == texts.operands.count("") == len(body.nodes):
        return
    names = itertools.chain(others, texts.names, set(texts.gates))
    if all(is_name(name) for name in names) and all(is_reference(source) for source in foreign):
        raise error


def _texts(nodes: Iterable[graph_pb2.Node]) -> _Texts:
    texts = _Texts([], [], [])
    serialized = graph_pb2.Node.SerializeToString
    left = iter(nodes)
    while some := [serialized(node) for node in itertools.islice(left, _AT_ONCE)]:
        merged = _merged_node().FromString(_BEGIN.join([b"", *some]))
        texts.names.extend(merged.name[:])
        texts.gates.extend(merged.gate[:])
        texts.operands.extend(merged.operands[:])
    return texts


@functools.cache
def _merged_node() -> Any:
    """Return a message like a node, of many names and gates as it is of many operands."""
    file = descriptor_pb2.FileDescriptorProto(name="merged_node.proto", syntax="proto3")
    node = file.message_type.add()
    graph_pb2.Node.DESCRIPTOR.CopyToProto(node)
    del node.field[3:]
    for field in node.field:
        field.label = field.LABEL_REPEATED
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(node.name))


def _duplicate(others: list[str], texts: _Texts, path: str) -> GraphError | None:
    taken = set(others)
    for number, name in enumerate(texts.names):
        if name in taken:
            return name_taken(name, f"{path}nodes[{number}].name")
        taken.add(name)
    return None


def _unknown(others: list[str], texts: _Texts, unknown: set[str], path: str) -> GraphError:
    source = next(source for source in texts.operands if source in unknown)
    before = texts.operands[: texts.operands.index(source)]
    number, position = before.count("") - 1, before[::-1].index("")
    names = itertools.chain(others, texts.names)
    return unknown_reference(reference(source)[0], names, f"{path}nodes[{number}].operands[{position}]")
