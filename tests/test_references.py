"""References judged for all nodes of a message at once: what is refused, and that it is refused as node by node."""

import pytest

from graphsvc import ComputationalGraph, errors
from graphsvc.v1 import graph_pb2
from graphsvc.wire.codec import document_from_graph
from graphsvc.wire.references import check_references

FAULTS = {
    "an operand that is nowhere": lambda body: body.nodes[1].operands.append("nowhere"),
    "an output of a node that is nowhere": lambda body: body.nodes[1].operands.append("nowhere:v"),
    "an operand that is nowhere, after a node that has none": lambda body: (
        body.nodes.insert(0, graph_pb2.Node(name="d", gate="ones")),
        body.nodes[2].operands.insert(0, "nowhere"),
    ),
    "three operands that are nowhere": lambda body: (
        body.nodes[0].operands.append("nowhere_b"),
        body.nodes[1].operands.extend(["nowhere_c", "nowhere_a"]),
    ),
    "an operand that is nowhere, of the last of many nodes": lambda body: body.nodes.extend(
        graph_pb2.Node(name=f"n{i}", gate="sin", operands=["x" if i < 3000 else "nowhere"]) for i in range(3001)
    ),
    "a node with the name of another": lambda body: body.nodes.add(name="b", gate="sin", operands=["x"]),
    "a node with the name of an input": lambda body: body.nodes.add(name="x", gate="sin", operands=["a"]),
    "a node with the name of a constant": lambda body: body.nodes.add(name="c", gate="sin", operands=["a"]),
}


def graph() -> graph_pb2.Graph:
    """Return a graph that holds another of the same kind."""
    made = graph_pb2.Graph(format_version=1)
    for body in (made, made.graphs.add(name="held")):
        body.inputs.add(name="x")
        body.constants.add(name="c", number=2.0)
        body.nodes.add(name="b", gate="add", operands=["a", "a:z"])
        body.nodes.add(name="a", gate="multiply", operands=["x", "c"])
        body.outputs.add(name="f", source="b")
    return made


def test_a_graph_that_hangs_together_passes():
    """Whatever the order of its nodes, and with outputs of nodes by their names."""
    check_references(graph())


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_refused_is_refused_as_node_by_node(fault: str, held: bool):
    """The class, the message and the facts are those of a graph that is made of the document."""
    made = graph()
    FAULTS[fault](made.graphs[0] if held else made)
    with pytest.raises(errors.GraphError) as expected:
        ComputationalGraph.from_document(document_from_graph(made))
    with pytest.raises(errors.GraphError) as found:
        check_references(made)
    assert type(found.value) is type(expected.value)
    assert (found.value.message, found.value.facts) == (expected.value.message, expected.value.facts)


@pytest.mark.parametrize("name", ["1a", ""])
@pytest.mark.parametrize("cause", ["input", "constant", "node", "gate", "operand", "output of an operand"])
def test_what_may_come_of_another_fault_is_left_to_who_reads_the_graph(cause: str, name: str):
    """A malformed name, be it empty, or two inputs of one, is the fault that is told."""
    made = graph()
    made.nodes[1].operands.append("nowhere")
    match cause:
        case "input":
            made.inputs.add(name="x")
            made.nodes[0].name = "x"
        case "constant":
            made.constants[0].name = name
        case "node":
            made.nodes[1].name = name
        case "gate":
            made.nodes[0].gate = name
        case "operand":
            made.nodes[0].operands[0] = name
        case _:
            made.nodes[0].operands[0] = f"a:{name}"
    check_references(made)
    with pytest.raises(errors.GraphError) as told:
        ComputationalGraph.from_document(document_from_graph(made))
    assert "nowhere" not in told.value.message
