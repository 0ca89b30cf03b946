"""Documents: exact round trips in JSON and protobuf, digests, and errors that say where."""

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphsvc
from graphsvc import ComputationalGraph, errors
from graphsvc.arrays import DTYPES
from graphsvc.document import GraphDocument, digest_of, document_from_json, document_to_json
from graphsvc.v1 import graph_pb2
from graphsvc.wire.codec import document_from_graph, graph_from_document

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "NaN(0x7ff8000000000001)"]),
)
attributes = st.one_of(
    scalars, st.lists(st.one_of(scalars, st.lists(scalars, max_size=3).map(tuple)), max_size=3).map(tuple)
)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Arrays of every dtype, with every bit pattern."""
    dtype = DTYPES[draw(st.sampled_from(list(DTYPES)))]
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    size = math.prod(shape)
    if dtype.kind == "b":
        return np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), bool).reshape(shape)
    data = draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize))
    return np.frombuffer(data, dtype).reshape(shape) if size else np.empty(shape, dtype)


@st.composite
def documents(draw: st.DrawFn) -> GraphDocument:
    """Documents of every kind of entry; they need not make sense as graphs."""
    size = st.integers(0, 3)
    inputs = [
        {
            "name": draw(names),
            "dtype": draw(st.one_of(st.none(), st.sampled_from(list(DTYPES)))),
            "shape": draw(
                st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=3).map(tuple))
            ),
            "parameter": draw(st.booleans()),
        }
        for _ in range(draw(size))
    ]
    constants = [
        {"name": draw(names), "value": draw(st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(), arrays()))}
        for _ in range(draw(size))
    ]
    nodes = [
        {
            "name": draw(names),
            "gate": draw(names),
            "operands": tuple(draw(st.lists(names, max_size=3))),
            "attributes": draw(st.dictionaries(names, attributes, max_size=3)),
        }
        for _ in range(draw(size))
    ]
    return GraphDocument.model_validate(
        {
            "gates": draw(st.dictionaries(names, st.integers(1, 9), max_size=2)),
            "inputs": tuple(inputs),
            "constants": tuple(constants),
            "nodes": tuple(nodes),
            "outputs": tuple({"name": draw(names), "source": draw(names)} for _ in range(draw(size))),
        }
    )


def bits(value: object) -> object:
    """Return a value so that equal means the same bits."""
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.shape, value.tobytes()
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, tuple):
        return tuple(bits(v) for v in value)
    return type(value), value


def whole(document: GraphDocument) -> object:
    """Return a document so that equal means the same bits."""
    return (
        document.gates,
        document.inputs,
        [(c.name, bits(c.value)) for c in document.constants],
        [(n.name, n.gate, n.operands, {k: bits(v) for k, v in n.attributes.items()}) for n in document.nodes],
        document.outputs,
    )


@settings(max_examples=200, deadline=None, derandomize=True)
@given(documents())
def test_round_trips_are_exact(document: GraphDocument):
    """JSON and protobuf give back every bit, and the digest stays."""
    text = document_to_json(document)
    from_json = document_from_json(text)
    assert whole(from_json) == whole(document)
    assert document_to_json(from_json) == text
    message = graph_from_document(document)
    from_message = document_from_graph(graph_pb2.Graph.FromString(message.SerializeToString()))
    assert whole(from_message) == whole(document)
    assert digest_of(from_json) == digest_of(from_message) == digest_of(document)


def test_a_document_is_readable_and_diffable():
    """One line an entry; defaults are left out; the version is at the top."""
    graph = graphsvc.parse("f = leaky_relu(x, slope=0.01) + sum(y, axis=1)")
    text = document_to_json(ComputationalGraph.from_document(graph.document()).document())
    assert text.splitlines()[1] == '  "graphsvc": 1,'
    assert '    {"name": "sum.1", "gate": "sum", "operands": ["y"], "attributes": {"axis": 1}},' in text.splitlines()
    assert json.loads(text)["outputs"] == [{"name": "f", "source": "f"}]


def test_saving_stores_the_versions_of_the_gates(tmp_path):
    """A document of another version of a gate is refused where it runs."""
    graph = ComputationalGraph()
    graph.output("f", graph.add("exp", graph.input("x")))
    graph.save(tmp_path / "g.json")
    assert json.loads((tmp_path / "g.json").read_text())["gates"] == {"exp": 1}
    again = graphsvc.load(tmp_path / "g.json")
    assert again.value_and_grad({"x": 0.0})[1]["x"] == 1
    text = (tmp_path / "g.json").read_text().replace('"exp": 1', '"exp": 7')
    with pytest.raises(errors.GateVersionError, match="version 7 of the gate 'exp'"):
        ComputationalGraph.from_document(document_from_json(text)).check()


def test_a_run_changes_no_document():
    """Document and digest are the same before and after a run, for graphs of every origin."""
    built = ComputationalGraph()
    built.output("f", built.add("leaky_relu", built.input("x"), slope=0.01))
    node = {"name": "n", "gate": "leaky_relu", "operands": ["x"], "attributes": {"slope": 0.01}}
    output = {"name": "f", "source": "n"}
    text = json.dumps({"graphsvc": 1, "inputs": [{"name": "x"}], "nodes": [node], "outputs": [output]})
    for graph in (
        built,
        graphsvc.parse("f = leaky_relu(x, slope=0.01)"),
        ComputationalGraph.from_document(document_from_json(text)),
    ):
        before = document_to_json(graph.document())
        digest = digest_of(graph.document())
        graph.value_and_grad({"x": 1.0})
        assert document_to_json(graph.document()) == before
        assert graph.digest() == digest == digest_of(document_from_json(before))
    assert digest == digest_of(document_from_json(text))
    assert graphsvc.parse("f = exp(x)").document().gates == {"exp": 1}


def test_the_digest_is_of_content():
    """Every entry counts; the order of attributes does not."""
    base = '{"graphsvc":1,"inputs":[{"name":"x"}],"nodes":[{"name":"f","gate":"g","operands":["x"],"attributes":%s}]}'
    digest = digest_of(document_from_json(base % '{"a":1,"b":2}'))
    assert digest == digest_of(document_from_json(base % '{"b":2,"a":1}'))
    for other in ('{"a":1}', '{"a":1,"b":2.0}', '{"a":1,"b":true}', '{"a":1,"b":"2"}'):
        assert digest != digest_of(document_from_json(base % other))
    assert len(digest) == 32


NODE = {"name": "n", "gate": "exp", "operands": ["x"]}
BAD = [
    ({"nodes": [NODE] * 17 + [NODE | {"operands": ["x", 3]}]}, "nodes[17].operands[1]", errors.DocumentError),
    ({"nodes": [NODE | {"operands": ["x", "1y"]}]}, "nodes[0].operands[1]", errors.DocumentError),
    ({"nodes": [NODE | {"name": "a b"}]}, "nodes[0].name", errors.InvalidNameError),
    ({"nodes": [NODE | {"name": "<script>"}]}, "nodes[0].name", errors.InvalidNameError),
    ({"nodes": [NODE | {"name": "x" * 200}]}, "nodes[0].name", errors.InvalidNameError),
    ({"nodes": [NODE | {"gate": ""}]}, "nodes[0].gate", errors.InvalidNameError),
    ({"nodes": [{"name": "n", "gate": "exp"}]}, "nodes[0].operands", errors.DocumentError),
    ({"nodes": [NODE | {"more": 1}]}, "nodes[0].more", errors.DocumentError),
    ({"nodes": [NODE | {"attributes": {"a": {"b": 1}}}]}, "nodes[0].attributes.a", errors.DocumentError),
    ({"nodes": [NODE | {"attributes": {"a": [[[1]]]}}]}, "nodes[0].attributes.a", errors.DocumentError),
    ({"nodes": [NODE | {"attributes": {"a": 2**64}}]}, "nodes[0].attributes.a", errors.DocumentError),
    ({"nodes": "none"}, "nodes", errors.DocumentError),
    ({"inputs": [{"name": "x", "dtype": "object"}]}, "inputs[0].dtype", errors.DocumentError),
    ({"inputs": [{"name": "x", "shape": [-1]}]}, "inputs[0].shape[0]", errors.DocumentError),
    ({"inputs": [{"name": "x", "shape": [1] * 33}]}, "inputs[0].shape", errors.DocumentError),
    ({"inputs": [{"name": "x", "parameter": 1}]}, "inputs[0].parameter", errors.DocumentError),
    ({"constants": [{"name": "c", "value": "x"}]}, "constants[0].value", errors.DocumentError),
    ({"constants": [{"name": "c", "value": True}]}, "constants[0].value", errors.DocumentError),
    ({"constants": [{"name": "c", "value": 2**64}]}, "constants[0].value", errors.DocumentError),
    (
        {"constants": [{"name": "c", "value": {"dtype": "int8", "shape": [1], "data": [300]}}]},
        "constants[0].value",
        errors.DocumentError,
    ),
    (
        {"constants": [{"name": "c", "value": {"dtype": "int8", "shape": [2], "data": [3]}}]},
        "constants[0].value",
        errors.DocumentError,
    ),
    (
        {"constants": [{"name": "c", "value": {"dtype": "float16", "shape": [1], "data": [0.1]}}]},
        "constants[0].value",
        errors.DocumentError,
    ),
    (
        {"constants": [{"name": "c", "value": {"dtype": "bool", "shape": [1], "data": [1]}}]},
        "constants[0].value",
        errors.DocumentError,
    ),
    (
        {"constants": [{"name": "c", "value": {"dtype": "O", "shape": [1], "data": [1]}}]},
        "constants[0].value",
        errors.DocumentError,
    ),
    ({"gates": {"exp": 0}}, "gates.exp", errors.DocumentError),
    ({"graphsvc": 2}, "graphsvc", errors.DocumentError),
    ({"more": 1}, "more", errors.DocumentError),
    ({"inputs": [{"name": "x"}, {"name": "x"}]}, "inputs[1].name", errors.DuplicateNameError),
    ({"inputs": [{"name": "x"}], "nodes": [NODE | {"name": "x"}]}, "nodes[0].name", errors.DuplicateNameError),
    (
        {"inputs": [{"name": "x"}], "nodes": [NODE | {"operands": ["y"]}]},
        "nodes[0].operands[0]",
        errors.UnknownReferenceError,
    ),
    (
        {"inputs": [{"name": "x"}], "outputs": [{"name": "f", "source": "y"}]},
        "outputs[0].source",
        errors.UnknownReferenceError,
    ),
    (
        {"inputs": [{"name": "x"}], "outputs": [{"name": "f", "source": "x"}] * 2},
        "outputs[1].source",
        errors.DuplicateNameError,
    ),
]


@pytest.mark.parametrize(("change", "path", "error"), BAD, ids=lambda v: str(v)[:30])
def test_an_error_in_a_document_says_where(change, path, error):
    """The message starts with the path of the entry, and `facts` hold it."""
    text = json.dumps({"graphsvc": 1} | change)
    with pytest.raises(error) as caught:
        ComputationalGraph.from_document(document_from_json(text))
    assert type(caught.value) is error
    assert caught.value.facts["path"] == path
    assert caught.value.message.startswith(f"{path}: ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        '{"a": 1}',
        "[" * 100_000,
        '{"graphsvc": 1, "graphsvc": 1}',
        '{"graphsvc": NaN}',
        "\0",
    ],
    ids=lambda text: text[:10],
)
def test_what_is_no_graph_is_told_apart(text):
    """Text that is no JSON, or JSON that is no document, is NOT_A_GRAPH."""
    with pytest.raises(errors.NotAGraphError):
        document_from_json(text)


def test_a_binary_file_is_no_graph(tmp_path):
    """So is a file that is no text."""
    (tmp_path / "g.json").write_bytes(bytes(range(256)))
    with pytest.raises(errors.NotAGraphError, match=r"'g\.json' is not text"):
        graphsvc.load(tmp_path / "g.json")


def test_cycles_are_refused_with_their_names():
    """A cycle of many nodes names at most five of them; a self-loop names itself; unused parts count too."""

    def cyclic(n: int) -> str:
        nodes = [{"name": f"n{i}", "gate": "exp", "operands": [f"n{(i + 1) % n}"]} for i in range(n)]
        return json.dumps(
            {"graphsvc": 1, "inputs": [{"name": "x"}], "nodes": nodes, "outputs": [{"name": "f", "source": "x"}]}
        )

    for n in (1, 2, 1000):
        with pytest.raises(errors.CycleError, match="depend on each other") as caught:
            ComputationalGraph.from_document(document_from_json(cyclic(n)))
        assert caught.value.message.count("'n") <= 6


def test_a_cycle_behind_a_long_chain_is_found_in_linear_time():
    """A chain that is declared backwards is walked once, not once from each of its nodes."""
    nodes = [{"name": f"n{i}", "gate": "exp", "operands": [f"n{i + 1}"]} for i in range(20_000)]
    nodes += [{"name": "n20000", "gate": "exp", "operands": []}, {"name": "a", "gate": "exp", "operands": ["a"]}]
    document = document_from_json(json.dumps({"graphsvc": 1, "nodes": nodes}))
    with pytest.raises(errors.CycleError, match="'a' -> 'a'"):
        ComputationalGraph.from_document(document)


def test_nodes_may_stand_in_any_order():
    """A document need not be sorted."""
    nodes = [{"name": "b", "gate": "exp", "operands": ["a"]}, {"name": "a", "gate": "negative", "operands": ["x"]}]
    text = json.dumps(
        {"graphsvc": 1, "inputs": [{"name": "x"}], "nodes": nodes, "outputs": [{"name": "f", "source": "b"}]}
    )
    graph = ComputationalGraph.from_document(document_from_json(text))
    assert graph.value_and_grad({"x": 1.0})[0]["f"] == np.exp(-1.0)


def test_a_gate_object_of_no_plugin_cannot_be_saved():
    """A class that no plugin provides would be another gate elsewhere, or none: refused, even if its name is taken."""
    from graphsvc.gates.exponentials import Exp

    class Impostor(Exp):
        """Another exp."""

    graph = ComputationalGraph()
    graph.output("f", graph.add(Impostor(), graph.input("x")))
    assert graph.value_and_grad({"x": 0.0})[0]["f"] == 1
    with pytest.raises(errors.UnregisteredGateError, match="Impostor"):
        graph.document()
