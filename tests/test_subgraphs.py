"""Graphs that gates hold: in Python, in documents, over the wire, and what is said of them when they are wrong."""

import json
import pickle
import threading
from typing import Annotated, ClassVar

import numpy as np
import pytest
from pydantic import Field

import graphsvc
from graphsvc import ComputationalGraph, SubGraph, errors
from graphsvc.document import document_from_dict, document_from_json, document_to_dict, document_to_json
from graphsvc.gate import attributes_of
from graphsvc.gates.control import Checkpoint
from graphsvc.plaindata import GraphReference
from graphsvc.testing import serving
from graphsvc.wire.codec import document_from_graph, graph_from_document


def holding(body: ComputationalGraph, gate: str = "checkpoint", operands: int = 1, **attributes: object):
    """Return a graph of one gate that holds another graph; its inputs are x0, x1, ..."""
    graph = ComputationalGraph()
    node = graph.add(gate, *(graph.input(f"x{i}") for i in range(operands)), body=body, **attributes, name="outer")
    graph.output("f", node)
    return graph


def nested(depth: int) -> ComputationalGraph:
    """Return a graph that holds graphs `depth` deep."""
    graph = graphsvc.parse("z = x0 * x0")
    for _ in range(depth):
        graph = holding(graph)
    return graph


def test_a_held_graph_gives_what_it_gives_by_itself():
    """Values and gradients pass through the gate, and on to what stands around it."""
    graph = ComputationalGraph()
    x, y = graph.input("x"), graph.input("y")
    graph.output("f", graph.add("checkpoint", x * 2, y, body=graphsvc.parse("z = a * sin(b)")) + x)
    outputs, gradients = graph.value_and_grad({"x": 3.0, "y": 0.5})
    assert outputs["f"] == pytest.approx(6 * np.sin(0.5) + 3)
    assert gradients == {"x": pytest.approx(2 * np.sin(0.5) + 1), "y": pytest.approx(6 * np.cos(0.5))}


def test_forward_and_backward_the_lecture_s_way_agree_with_the_plan():
    """The two loops, and a second backward from one evaluation."""
    graph = holding(graphsvc.parse("z = sum(a * sin(b))"), operands=2)
    inputs = {"x0": np.array([1.0, 2.0]), "x1": np.array([0.5, 0.7])}
    _, expected = graph.value_and_grad(inputs)
    evaluation = graph.forward(inputs)
    for _ in range(2):
        for name, gradient in graph.backward(evaluation).items():
            np.testing.assert_array_equal(gradient, expected[name])


def test_a_graph_is_copied_when_it_is_given():
    """What is built onto it afterwards changes nothing; given twice, it stands in the document once."""
    body = graphsvc.parse("z = x * x")
    graph = holding(body)
    before = graph.digest()
    graph.add("checkpoint", 1.0, body=body)
    assert [entry.name for entry in graph.document().graphs] == ["body"]
    body.output("other", body.input("more"))
    assert graph.value_and_grad({"x0": 3.0})[0] == {"f": 9.0}
    graph.add("checkpoint", 1.0, 2.0, body=body)
    assert [entry.name for entry in graph.document().graphs] == ["body", "body.2"]
    assert graph.digest() != before


def test_documents_hold_graphs_in_one_flat_list():
    """JSON, protobuf and pickle give them back, with values, digest and names; a graph without any reads as ever."""
    graph = nested(3)
    document = graph.document()
    assert [entry.name for entry in document.graphs] == ["body", "body.2", "body.3"]
    assert document_from_json(document_to_json(document)) == document
    assert document_from_graph(graph_from_document(document)) == document
    for again in (
        ComputationalGraph.from_document(document),
        ComputationalGraph.from_document(document_from_json(document_to_json(document))),
        pickle.loads(pickle.dumps(graph)),  # noqa: S301 - our own bytes
    ):
        assert again.digest() == graph.digest()
        outputs, gradients = again.value_and_grad({"x0": 3.0})
        assert (outputs, gradients) == ({"f": 9.0}, {"x0": 6.0})
    assert '"graphs"' not in document_to_json(graphsvc.parse("f = x").document())


def test_a_change_in_a_held_graph_changes_the_digest():
    """Constants too, whose elements stand in the digest by their own."""

    def with_constant(value: float) -> bytes:
        body = ComputationalGraph()
        body.output("z", body.input("x") * body.constant(np.array([value])))
        return holding(body).digest()

    assert with_constant(1.0) == with_constant(1.0) != with_constant(2.0)


def test_a_gate_object_holds_a_graph():
    """Its class takes a ComputationalGraph; equal graphs make equal gates; its attributes say which graph it is."""
    gate = Checkpoint(body=graphsvc.parse("z = x * x"))
    assert gate == Checkpoint(body=graphsvc.parse("z = x * x"))
    assert gate != Checkpoint(body=graphsvc.parse("z = x + x"))
    assert isinstance(attributes_of(gate)["body"], SubGraph)
    graph = ComputationalGraph()
    graph.output("f", graph.add(gate, graph.input("x0")))
    assert graph.value_and_grad({"x0": 3.0}) == ({"f": 9.0}, {"x0": 6.0})
    assert ComputationalGraph.from_document(graph.document()).digest() == graph.digest()


def test_a_gate_that_is_not_installed_here_may_hold_a_graph():
    """The document is made all the same, with the graph by its name."""
    graph = ComputationalGraph()
    graph.output("f", graph.add("elsewhere.solver", graph.input("x"), body=nested(1)))
    document = graph.document()
    assert [entry.name for entry in document.graphs] == ["body", "body.2"]
    assert document_to_dict(document)["nodes"][0]["attributes"] == {"body": {"graph": "body.2"}}
    with pytest.raises(errors.UnknownGateError):
        graph.check()


def test_what_is_no_graph_is_refused():
    """Numbers, names and classes; and a graph for an attribute that is a number."""
    for value in (1.0, "body", ComputationalGraph, None):
        with pytest.raises(errors.AttributeValueError, match="body.*give a ComputationalGraph"):
            holding(value)
    with pytest.raises(errors.AttributeValueError, match="axis"):
        ComputationalGraph().add("sum", 1.0, axis=graphsvc.parse("x"))


@pytest.mark.parametrize(
    ("gate", "body", "operands", "said"),
    [
        ("checkpoint", "z = x + y", 1, "'outer'.*graph 'body'.*inputs x, y.*hands it 1"),
        ("checkpoint", "a = x; b = x + 1", 1, "'outer'.*graph 'body'.*one output, got 'a', 'b'"),
        ("checkpoint", "z = x @ x", 1, "'outer'.*graph 'body': Gate 'matmul' at node 'z'"),
        ("fixed_point", "z = sum(x) * sum(t)", 2, r"'outer'.*graph 'body'.*float64\[\].*operand 'x0' is float64\[3\]"),
        ("odeint", "z = a * b * c * d", 3, "'outer'.*inputs a, b, c, d, but is handed y, t and 1 values"),
        ("scan", "h = x + y; y1 = x; y2 = y", 2, "'outer'.*one output or 2 outputs|'outer'.*1 or 2 outputs"),
    ],
)
def test_a_body_that_does_not_fit_names_both_places(gate: str, body: str, operands: int, said: str):
    """Before anything runs: the node that holds the graph, the graph, and the node in it."""
    graph = ComputationalGraph()
    inputs = {f"x{i}": np.ones((3, 2) if gate == "checkpoint" else 3) for i in range(operands)}
    graph.output("f", graph.add(gate, *map(graph.input, inputs), body=graphsvc.parse(body), name="outer"))
    with pytest.raises(errors.GraphsvcError, match=said) as caught:
        graph.value_and_grad(inputs, wrt=[])
    assert caught.value.node == "outer"


def test_an_error_within_says_both_nodes():
    """Message and facts, at check and at run, however deep."""
    body = ComputationalGraph()
    body.output("z", body.add("nonsense", body.input("x"), name="inner"))
    with pytest.raises(errors.UnknownGateError, match="'outer': In its graph 'body': .*nonsense"):
        holding(body).check()
    body = graphsvc.parse("z = cholesky(x)")
    graph = holding(holding(body))
    with pytest.raises(
        errors.GateDataError, match="'outer': In its graph.*'outer': In its graph 'body'.*'z'"
    ) as caught:
        graph.value_and_grad({"x0": -np.eye(2)}, wrt=[])
    assert caught.value.facts["inner_node"] == "z"
    assert caught.value.facts["inner_gate"] == "cholesky"
    assert caught.value.facts["inner_graph"] == "body"


def test_a_body_without_gradients_is_refused_with_both_nodes():
    """A gate within has no backward."""

    class Opaque(graphsvc.Gate):
        """No backward."""

        name: ClassVar[str] = "opaque"

        def infer(self, x):
            return x

        def forward(self, x):
            return x * 2

    body = ComputationalGraph()
    body.output("z", body.add(Opaque(), body.input("x"), name="inner"))
    with pytest.raises(errors.GateNotDifferentiableError, match="'outer': In its graph 'body': .*'opaque'.*'inner'"):
        holding(body).value_and_grad({"x0": 1.0})


def document_of(graphs: list[dict[str, object]]) -> dict[str, object]:
    """Return a document whose one node holds the graph 'a'."""
    return {
        "graphsvc": 1,
        "inputs": [{"name": "x"}],
        "nodes": [{"name": "n", "gate": "checkpoint", "operands": ["x"], "attributes": {"body": {"graph": "a"}}}],
        "outputs": [{"name": "f", "source": "n"}],
        "graphs": graphs,
    }


def entry_of(name: str, holds: str | None) -> dict[str, object]:
    """Return a graph that holds another one, or nothing."""
    node = {"name": "n", "gate": "checkpoint", "operands": ["x"], "attributes": {"body": {"graph": holds}}}
    return {
        "name": name,
        "inputs": [{"name": "x"}],
        "nodes": [node] if holds else [],
        "outputs": [{"name": "z", "source": "n" if holds else "x"}],
    }


ASTRAY = {**entry_of("a", None), "outputs": [{"name": "z", "source": "y"}]}


@pytest.mark.parametrize(
    ("graphs", "error", "said"),
    [
        ([], errors.UnknownReferenceError, "Node 'n' holds for 'body' the graph 'a'"),
        (
            [entry_of("a", "aa"), entry_of("ab", None)],
            errors.UnknownReferenceError,
            "Node 'n' of graph 'a'.*'aa'",
        ),
        ([entry_of("a", "a")], errors.CycleError, "'a' -> 'a'.*node 'n' of graph 'a'"),
        ([entry_of("a", "b"), entry_of("b", "a")], errors.CycleError, "'a' -> 'b' -> 'a'"),
        ([entry_of("a", None), entry_of("a", None)], errors.DuplicateNameError, r"graphs\[1\].name.*two graphs"),
        ([{**entry_of("a", None), "graphs": []}], errors.DocumentError, r"graphs\[0\].graphs"),
        ([{**entry_of("a", None), "name": "1"}], errors.InvalidNameError, "is no name"),
        (
            [{**entry_of("a", None), "outputs": [{"name": "z", "source": "y"}]}],
            errors.UnknownReferenceError,
            r"graphs\[0\].outputs\[0\]",
        ),
    ],
)
def test_a_document_whose_graphs_do_not_fit_is_refused(graphs, error, said):
    """Unknown names, cycles, one name twice, a list within the list: each with its place."""
    with pytest.raises(error, match=said):
        ComputationalGraph.from_document(document_from_json(json.dumps(document_of(graphs))))


def test_graphs_hold_each_other_sixteen_deep_at_most():
    """In Python and in a document; a long chain is refused without recursion."""
    assert nested(16).value_and_grad({"x0": 3.0}) == ({"f": 9.0}, {"x0": 6.0})
    with pytest.raises(errors.DocumentError, match="17 deep"):
        nested(17)
    names = [f"g{i}" for i in range(5000)]
    chain = [entry_of(name, holds) for name, holds in zip(names, [*names[1:], None], strict=True)]
    chain[0]["name"] = "a"
    with pytest.raises(errors.DocumentError, match="5000 deep"):
        ComputationalGraph.from_document(document_from_json(json.dumps(document_of(chain))))


def test_a_plugin_s_gate_holds_a_graph():
    """A field of type SubGraph, and its calls; a field of which it is only a part is refused with the class."""

    class Twice(graphsvc.Gate):
        """A graph after itself."""

        name: ClassVar[str] = "twice"
        body: Annotated[SubGraph, Field(description="The graph.")]

        def forward(self, x):
            return self.body(*self.body(x))[0]

        def backward(self, dz, x):
            return self.body.vjp([x], self.body.vjp(self.body(x), [dz]))[0]

    graph = ComputationalGraph()
    graph.output("f", graph.add(Twice(body=graphsvc.parse("z = x * x")), graph.input("x")))
    assert graph.value_and_grad({"x": 3.0}) == ({"f": 81.0}, {"x": 108.0})
    assert "graph" in str(Twice.model_json_schema()["properties"]["body"])
    with pytest.raises(errors.GateDefinitionError, match="'bodies' must be annotated with SubGraph alone"):

        class Several(graphsvc.Gate):
            """Holds too much."""

            name: ClassVar[str] = "several"
            bodies: tuple[SubGraph, ...]

            def forward(self, x):
                return x


def test_a_call_stops_between_two_runs_of_a_held_graph():
    """`between` is asked in loops that a gate makes, and what it raises comes out."""
    calls: list[None] = []

    def between() -> None:
        calls.append(None)
        if len(calls) > 50:
            msg = "Too late."
            raise errors.DeadlineError(msg)

    graph = holding(graphsvc.parse("z = x * 1 + t * 0", ["x", "t"]), "scan", 2)
    with pytest.raises(errors.DeadlineError):
        graph.value_and_grad({"x0": 1.0, "x1": np.ones(10_000)}, between=between)
    assert len(calls) == 51
    assert graph.value_and_grad({"x0": 1.0, "x1": np.ones(10)}, wrt=[])[0] == {"f": 1.0}


def test_many_threads_run_one_graph_that_holds_one():
    """Calls are pure: each thread gets its own answer."""
    graph = holding(graphsvc.parse("z = x * x + 0 * t", ["x", "t"]), "scan", 2)
    wrong = []

    def ask(x: float) -> None:
        for _ in range(30):
            if graph.value_and_grad({"x0": x, "x1": np.ones(3)}, wrt=["x0"])[1]["x0"] != 8 * x**7:
                wrong.append(x)

    threads = [threading.Thread(target=ask, args=(float(x),)) for x in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_explain_and_summary_know_gates_that_hold_graphs():
    """The plan says why they are not fused."""
    graph = nested(1)
    assert "it holds a graph" in str(graph.explain({"x0": 1.0}))
    assert graph.summary({"x0": 1.0}).nodes == 1
    _, gradients = graph.value_and_grad({"x0": np.inf}, debug=True, profile=True)
    assert gradients.profile


def test_declared_shapes_of_a_held_graph_are_judged():
    """As those of any graph, before anything runs."""
    body = ComputationalGraph()
    body.output("z", body.input("x", shape=(2,), dtype="float32") * 2)
    with pytest.raises(errors.ShapeError, match=r"'outer': In its graph 'body'.*declared shape \(2,\)"):
        holding(body).infer({"x0": np.ones(3, np.float32)})
    with pytest.raises(errors.DtypeError, match="'outer'.*float32"):
        holding(body).infer({"x0": np.ones(2)})


def test_inputs_of_an_expression_are_ordered():
    """`inputs` says their order and adds unused ones; a name that is not among them is refused."""
    assert graphsvc.parse("t * cos(x)", ["x", "t", "unused"]).inputs == ("x", "t", "unused")
    with pytest.raises(errors.UnknownReferenceError, match="'theta', which is none of its inputs: x, thta.*mean"):
        graphsvc.parse("theta * x", ["x", "thta"])


def test_a_server_runs_graphs_that_hold_graphs(client: graphsvc.Client):
    """By value and by digest, with the gradients and the errors of a run in process."""
    graph = holding(graphsvc.parse("0.5 * cos(x) + theta", ["x", "theta"]), "fixed_point", 2)
    inputs = {"x0": np.zeros(3), "x1": np.array([0.1, 0.2, 0.3])}
    here, there = (asked.value_and_grad for asked in (graph, client))
    seeds = {"f": np.ones(3)}
    for _ in range(2):
        outputs, gradients = there(graph, inputs, output_gradients=seeds)
        np.testing.assert_array_equal(outputs["f"], here(inputs, output_gradients=seeds)[0]["f"])
        np.testing.assert_array_equal(gradients["x1"], here(inputs, output_gradients=seeds)[1]["x1"])
        assert gradients.disconnected == ("x0",)
    diverging = holding(graphsvc.parse("2 * x + theta", ["x", "theta"]), "fixed_point", 2)
    with pytest.raises(errors.GateDataError, match="'outer'.*fixed point"):
        client.value_and_grad(diverging, inputs, output_gradients=seeds)


def test_a_server_counts_what_is_in_held_graphs_and_stops_their_loops():
    """Limits on nodes hold for the whole document, and a deadline within a gate's own loop."""
    with serving(environment={"GRAPHSVC_MAX_NODES": "4"}) as target, graphsvc.connect(target) as client:
        assert client.value_and_grad(nested(1), {"x0": 3.0})[0] == {"f": 9.0}
        with pytest.raises(errors.LimitError, match="MAX_NODES"):
            client.value_and_grad(nested(3), {"x0": 3.0})
    endless = holding(graphsvc.parse("x + t", ["x", "t"]), "fixed_point", 2, max_iterations=10**7)
    with (
        serving(environment={"GRAPHSVC_MAX_SECONDS": "1"}) as target,
        graphsvc.connect(target) as client,
        pytest.raises(errors.DeadlineError),
    ):
        client.value_and_grad(endless, {"x0": 0.0, "x1": 1.0})


def test_dicts_of_documents_hold_graphs_too():
    """`document_from_dict` takes them as it takes the rest."""
    document = nested(2).document()
    data = document_to_dict(document)
    assert data["graphs"][0]["name"] == "body"
    node = {"name": "n", "gate": "checkpoint", "operands": ("x",), "attributes": {"body": {"graph": "a"}}}
    made = document_from_dict({"nodes": (node,)})
    assert made.nodes[0].attributes == {"body": GraphReference("a")}
