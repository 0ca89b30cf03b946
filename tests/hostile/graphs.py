"""Group B: the structure of graphs."""

from collections.abc import Callable
from typing import Final

import graphsvc
from graphsvc.v1 import graph_pb2, service_pb2
from tests.hostile.case import (
    INVALID,
    LIMIT,
    MIB,
    OK,
    UNKNOWN,
    Answer,
    Case,
    asked,
    changed,
    question,
    unary,
    with_graph,
    with_node,
)
from tests.hostile.wire import field

Node: Final = graph_pb2.Node
Output: Final = graph_pb2.Output
Input: Final = graph_pb2.Input

NAME = f"{INVALID} NAME_INVALID"
TWICE = f"{INVALID} NAME_DUPLICATE"
DANGLING = f"{INVALID} REFERENCE_UNKNOWN"
CYCLE = f"{INVALID} GRAPH_CYCLE"
DOCUMENT = f"{INVALID} DOCUMENT_INVALID"

NAMES = {
    "of no letter": "",
    "of 1 MiB": "n" * MIB,
    "of 129 letters": "n" * 129,
    "with a NUL": "n\0",
    "with a newline": "n\n",
    "from right to left": "\u202en",
    "that is a path": "../../etc",
    "that is a format": "%s{}",
    "with markup": "<script>",
    "that starts with a digit": "1n",
}


def of_bodies(*bodies: tuple[str, str]) -> Callable[[], service_pb2.EvaluateRequest]:
    """Return what makes a question to a graph whose gate holds the first of graphs, each of which holds another."""

    def make() -> service_pb2.EvaluateRequest:
        attribute = graph_pb2.Attribute
        request = question()
        request.graph.nodes.add(name="holder", gate="checkpoint", operands=["x"]).attributes.append(
            attribute(name="body", graph=bodies[0][0])
        )
        for name, holds in bodies:
            held = request.graph.graphs.add(name=name, inputs=[Input(name="a")], outputs=[Output(name="b", source="n")])
            node = held.nodes.add(name="n", gate="checkpoint" if holds else "exp", operands=["a"])
            if holds:
                node.attributes.append(attribute(name="body", graph=holds))
        return request

    return make


def chain(count: int) -> Callable[[], service_pb2.EvaluateRequest]:
    """Return what makes a question to a chain."""

    def make() -> service_pb2.EvaluateRequest:
        nodes = [Node(name=f"n{i}", gate="negative", operands=[f"n{i - 1}" if i else "x"]) for i in range(count)]
        return changed(
            lambda r: (r.graph.nodes.extend(nodes), r.graph.outputs[0].MergeFrom(Output(source=f"n{count - 1}")))
        )()

    return make


def used_by_many(target: str) -> Answer:
    """Ask for the gradient of a value that a hundred thousand operands are."""
    request = question(graphsvc.parse("f = sum(concatenate(y, y))"), {"x": [1.0, 2.0]})
    del request.graph.inputs[:]
    request.graph.inputs.add(name="x")
    for node in request.graph.nodes:
        if node.gate == "concatenate":
            node.operands[:] = ["x"] * 100_000
    answer = unary(request)(target)
    gradient = service_pb2.EvaluateResponse.FromString(answer.responses[0]).input_gradients[0].tensor.data
    assert gradient == b"\0\0\0\0\0\x6a\xf8\x40" * 2
    return answer


def many_ways_to_write_it(target: str) -> Answer:
    """Send one graph as different bytes: fields in another order, gates' versions in another order, unknown fields."""
    request = question()
    graph = request.graph.SerializeToString()
    rest = service_pb2.EvaluateRequest(inputs=request.inputs).SerializeToString()
    ways = [
        field(1, graph) + rest,
        rest + field(1, graph),
        rest + field(1, graph + field(99, b"unknown")),
        # Parts of a message that come apart are merged; the first field, of two bytes, is the version.
        rest + field(1, graph[:2]) + field(1, graph[2:]),
    ]
    answers = [unary(way)(target) for way in ways]
    digests = {service_pb2.EvaluateResponse.FromString(answer.responses[0]).graph_digest for answer in answers}
    assert len(digests) == 1
    return answers[0]


ONE: Final = b"\0\0\0\0\0\0\xf0\x3f"


def good_chain(target: str) -> Answer:
    """Ask for the gradient of as long a chain as may be."""
    answer = unary(chain(99_998), timeout=100)(target)
    assert service_pb2.EvaluateResponse.FromString(answer.responses[0]).input_gradients[0].tensor.data == ONE
    return answer


CASES = [
    Case("B1", "a cycle", CYCLE, unary(with_node(0, operands=["f", "y"])), says="depend on each other"),
    Case("B1", "a self-loop", CYCLE, unary(with_node(1, operands=["f", "z"])), says="'f' -> 'f'"),
    Case(
        "B2",
        "a cycle beside what is wanted",
        CYCLE,
        unary(
            changed(
                lambda r: r.graph.nodes.extend(
                    [Node(name="p", gate="exp", operands=["q"]), Node(name="q", gate="exp", operands=["p"])]
                )
            )
        ),
    ),
    Case(
        "B3", "an unknown gate", f"{UNKNOWN} GATE_NOT_FOUND", unary(with_node(0, gate="ad")), says="'ad'.*Did you mean"
    ),
    Case("B3", "a gate of an unknown plugin", f"{UNKNOWN} GATE_NOT_FOUND", unary(with_node(0, gate="no.where"))),
    Case(
        "B4",
        "a version that is not installed",
        f"{UNKNOWN} GATE_VERSION_UNKNOWN",
        unary(with_graph(gates=[graph_pb2.GateVersion(gate="add", version=9)])),
        says="version 9",
    ),
    Case("B4", "version 0", DOCUMENT, unary(with_graph(gates=[graph_pb2.GateVersion(gate="add")])), says="gates.add"),
    Case(
        "B4",
        "a version twice",
        DOCUMENT,
        unary(with_graph(gates=[graph_pb2.GateVersion(gate="add", version=1)] * 2)),
        says="twice",
    ),
    Case("B4", "a version of the format that there is not", DOCUMENT, unary(with_graph(format_version=2))),
    Case("B5", "two nodes of one name", TWICE, unary(with_node(0, name="f")), says="nodes.1..name"),
    Case("B6", "a node named as an input", TWICE, unary(with_node(0, name="x")), says="nodes.0..name"),
    Case(
        "B6",
        "a node named as a constant",
        TWICE,
        unary(with_graph(constants=[graph_pb2.Constant(name="f", integer=1)])),
    ),
    Case("B7", "an input declared twice", TWICE, unary(changed(lambda r: r.graph.inputs.add(name="x")))),
    Case("B7", "an output declared twice", TWICE, unary(changed(lambda r: r.graph.outputs.add(name="f", source="x")))),
    Case("B7", "a wanted output twice", OK, asked("f = x * 2", {"x": 1.0}, outputs=["f", "f"])),
    Case("B8", "a dangling operand", DANGLING, unary(with_node(1, operands=["q", "z"])), says="nodes.1..operands.0."),
    Case("B8", "a dangling output", DANGLING, unary(with_graph(outputs=[Output(name="f", source="q")]))),
    Case("B8", "an output of an input", DANGLING, unary(with_node(1, operands=["x:z", "z"])), says="no such output"),
    Case(
        "B8",
        "an output that a node lacks",
        DANGLING,
        unary(with_node(1, operands=["add.1:w", "z"])),
        says="Its outputs: z",
    ),
    Case("B8", "an output of number -1", DOCUMENT, unary(with_node(1, operands=["add.1:-1", "z"]))),
    Case("B8", "an output of number 2^31", DOCUMENT, unary(with_node(1, operands=["add.1:2147483648", "z"]))),
    Case("B9", "no operands", f"{INVALID} ARITY_MISMATCH", unary(with_node(0, operands=[]))),
    Case(
        "B9", "an operand too few", f"{INVALID} ARITY_MISMATCH", unary(with_node(0, operands=["x"])), says="2 operands"
    ),
    Case("B9", "an operand too many", f"{INVALID} ARITY_MISMATCH", unary(with_node(0, operands=["x", "y", "z"]))),
    Case(
        "B9",
        "no operands for a gate of any number",
        f"{INVALID} ARITY_MISMATCH",
        unary(with_node(0, gate="concatenate", operands=[])),
    ),
    Case("B10", "nodes in any order", OK, unary(changed(lambda r: r.graph.nodes.reverse()))),
    Case(
        "B11",
        "nothing in the graph",
        f"{INVALID} OUTPUT_UNKNOWN",
        unary(lambda: service_pb2.EvaluateRequest(graph=graph_pb2.Graph(format_version=1))),
        says="no outputs",
    ),
    Case("B11", "no outputs", f"{INVALID} OUTPUT_UNKNOWN", unary(with_graph(outputs=[])), says="no outputs"),
    Case(
        "B11",
        "no wanted outputs",
        f"{INVALID} REQUEST_INVALID",
        asked("f = x", {"x": 1.0}, outputs=[]),
        says="outputs is empty",
    ),
    Case("B11", "an input as output", OK, asked("f = x", {"x": 1.0})),
    Case("B12", "a chain of two hundred thousand", LIMIT, unary(chain(200_000)), says="'max_nodes'"),
    Case("B13", "a chain of as many as may be", OK, good_chain, kept=256 * MIB),
    Case(
        "B14",
        "a million operands of one node",
        LIMIT,
        unary(with_node(0, gate="concatenate", operands=["x"] * 10**6)),
        says="'max_operands'",
        peak=24 * MIB,
    ),
    Case("B15", "a value used a hundred thousand times", OK, used_by_many, kept=256 * MIB),
    *(
        Case("B16", f"a node's name {what}", NAME, unary(with_node(0, name=name)), says="nodes.0..name")
        for what, name in NAMES.items()
    ),
    *(
        Case(
            "B16",
            f"an input's name {what}",
            f"{INVALID} INPUT_UNKNOWN",
            unary(changed(lambda r, name=name: setattr(r.inputs[0], "name", name))),
        )
        for what, name in NAMES.items()
    ),
    Case(
        "B16",
        "fifty thousand nodes of no name",
        NAME,
        unary(changed(lambda r: r.graph.nodes.extend([Node(operands=[""])] * 50_000))),
        says="nodes.2..name",
    ),
    Case("B16", "a gate of no name", NAME, unary(with_node(0, gate="")), says="nodes.0..gate"),
    Case(
        "B16",
        "a node with two underscores",
        OK,
        unary(changed(lambda r: r.graph.nodes.add(name="__class__", gate="exp", operands=["x"]))),
    ),
    Case("B17", "a name of other letters", NAME, unary(with_node(0, name="é"))),
    Case("B17", "a name of letters that look alike", NAME, unary(with_node(0, name="\u0430"))),
    Case(
        "B18",
        "nodes that nobody needs",
        OK,
        unary(changed(lambda r: r.graph.nodes.add(name="dead", gate="exp", operands=["x"]))),
    ),
    Case(
        "B18",
        "a node that nobody needs and cannot be",
        f"{INVALID} ARITY_MISMATCH",
        unary(changed(lambda r: r.graph.nodes.add(name="dead", gate="exp"))),
    ),
    Case("B19", "a graph that holds itself", CYCLE, unary(of_bodies(("g", "g")))),
    Case("B19", "graphs that hold each other", CYCLE, unary(of_bodies(("g", "h"), ("h", "g")))),
    Case(
        "B19",
        "graphs 17 deep",
        DOCUMENT,
        unary(of_bodies(*((f"g{i}", f"g{i + 1}" if i < 17 else "") for i in range(18)))),
    ),
    Case("B19", "a graph that is not there", DANGLING, unary(of_bodies(("g", "h")))),
    Case("B22", "one graph in several ways", OK, many_ways_to_write_it),
    Case(
        "B23",
        "ten million operands",
        LIMIT,
        unary(lambda: question().SerializeToString() + field(1, field(5, b"\x1a\x01x" * 10**7))),
        says="'max_operands'",
        peak=128 * MIB,
        kept=96 * MIB,
    ),
]
