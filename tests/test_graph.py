"""ComputationalGraph: building, running, and what comes out."""

import gc
import itertools
import math
import operator
import pickle
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import networkx as nx
import numpy as np
import pytest

import graphsvc
from graphsvc import ComputationalGraph, errors
from graphsvc.arrays import DTYPES, ArraySpec
from graphsvc.document import GraphDocument, InputEntry, NodeEntry, document_from_dict
from graphsvc.engine.binding import bind
from graphsvc.engine.documents import structure_of
from graphsvc.engine.elsewhere import ELSEWHERE
from graphsvc.engine.inference import infer_node, infer_specs
from graphsvc.engine.registry import default_registry
from graphsvc.gates.activations import Sigmoid
from graphsvc.gates.rectifiers import LeakyRelu


def test_operators_build_what_an_expression_says():
    """Nodes with Python's operators make the graph that the expression makes."""
    graph = ComputationalGraph()
    x, y = graph.input("x"), graph.input("y")
    z = (2 * x - y / 3 + -x) ** 2 @ (1 - y) + abs(x)[0] * (3 / y)[-1]
    graph.output("f", z)
    parsed = graphsvc.parse("f = (2 * x - y / 3 + -x) ** 2 @ (1 - y) + abs(x)[0] * (3 / y)[-1]")
    inputs = {"x": [1.0, 2.0], "y": [3.0, 5.0]}
    one, two = graph.value_and_grad(inputs), parsed.value_and_grad(inputs)
    np.testing.assert_array_equal(one[0]["f"], two[0]["f"])
    for name in ("x", "y"):
        np.testing.assert_array_equal(one[1][name], two[1][name])


def test_arrays_on_the_left_of_an_operator_are_operands():
    """`np.ones(2) * node` is a node, not an array of objects."""
    graph = ComputationalGraph()
    graph.output("f", graph.add("sum", np.array([1.0, 2.0]) * graph.input("x")))
    outputs, gradients = graph.value_and_grad({"x": 3.0})
    assert (outputs["f"], gradients["x"]) == (9, 3)


def test_comparisons_and_slices_build_nodes():
    """The comparisons and every kind of index are gates."""
    graph = ComputationalGraph()
    x = graph.input("x")
    graph.output("f", graph.add("where", x[1:, None, ..., ::-1] > 2, 1.0, 0.0))
    for name, compared in (
        ("lt", x < 5),
        ("le", x <= 5),
        ("gt", x > 5),
        ("ge", x >= 5),
        ("eq", x == 5),
        ("ne", x != 5),
    ):
        graph.output(name, compared)
    value = np.arange(12.0).reshape(3, 4)
    outputs, _ = graph.value_and_grad({"x": value}, wrt=[])
    np.testing.assert_array_equal(outputs["f"], np.where(value[1:, None, ..., ::-1] > 2, 1.0, 0.0))
    for name in ("lt", "le", "gt", "ge", "eq", "ne"):
        np.testing.assert_array_equal(outputs[name], getattr(operator, name)(value, 5))
    assert len({x, x}) == 1


def test_a_node_has_no_truth_and_no_length():
    """`if node:` and `for x in node:` are errors and not endless loops."""
    node = ComputationalGraph().input("x")
    with pytest.raises(TypeError, match="no value before"):
        bool(node)
    with pytest.raises(TypeError, match="no length"):
        list(node)


def test_operands_may_be_given_by_name_and_attributes_apart():
    """A gate's operands by position or name, its attributes by NumPy's names."""
    graph = ComputationalGraph()
    x = graph.input("x")
    graph.output("f", graph.add("matmul", y=graph.add("sum", x, axis=0, name="total"), x=x))
    assert "total" in graph.topology
    outputs, _ = graph.value_and_grad({"x": np.eye(2)}, wrt=[])
    np.testing.assert_array_equal(outputs["f"], [1, 1])


def test_a_gate_object_may_stand_for_a_name():
    """A gate object and a name with attributes make the same document."""
    one, two = ComputationalGraph(), ComputationalGraph()
    one.output("f", one.add(LeakyRelu(slope=0.5), one.input("x"), name="n"))
    two.output("f", two.add("leaky_relu", two.input("x"), slope=0.5, name="n"))
    assert one.digest() == two.digest()


def test_a_gate_that_others_call_otherwise_is_named():
    """Who asks for it by the name that another library has is told ours; none of those is a name of ours."""
    known = default_registry().gates()
    assert set(ELSEWHERE.values()) <= set(known)
    assert not set(ELSEWHERE) & set(known)
    with pytest.raises(errors.UnknownGateError, match="It is called 'expand_dims'"):
        graphsvc.parse("f = unsqueeze(x, axis=0)").check()


def test_a_graph_may_name_gates_that_are_not_installed_here():
    """It is built, saved and sent; it is refused where it runs, with every unknown gate."""
    graph = ComputationalGraph()
    x = graph.add("far.away", graph.input("x"), width=3, name="n")
    graph.output("f", graph.add("sigmoyd", x))
    again = ComputationalGraph.from_document(graph.document())
    assert again.digest() == graph.digest()
    with pytest.raises(errors.UnknownGateError, match=r"No plugin 'far'.*Did you mean 'sigmoid'"):
        again.value_and_grad({"x": 1.0})


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda g: g.input("1x"), errors.InvalidNameError),
        (lambda g: g.input("x" * 129), errors.InvalidNameError),
        (lambda g: g.input("x\n"), errors.InvalidNameError),
        (lambda g: (g.input("x"), g.input("x")), errors.DuplicateNameError),
        (lambda g: g.add("exp", g.input("x"), name="x"), errors.DuplicateNameError),
        (lambda g: (g.output("f", g.input("x")), g.output("f", 1.0)), errors.DuplicateNameError),
        (lambda g: g.input("x", dtype="object"), errors.DtypeError),
        (lambda g: g.input("x", shape=(-1,)), errors.ShapeError),
        (lambda g: g.input("x", shape=3), errors.ShapeError),
        (lambda g: g.add("add", g.input("x")), errors.ArityError),
        (lambda g: g.add("add", g.input("x"), x=1.0, y=2.0), errors.ArityError),
        (lambda g: g.add("sum", g.input("x"), axs=1), errors.AttributeValueError),
        (lambda g: g.add("sum", g.input("x"), axis=np.ones(2)), errors.ArityError),
        (lambda g: g.add(Sigmoid(), g.input("x"), axis=1), errors.AttributeValueError),
        (lambda g: g.add("exp", ComputationalGraph().input("x")), errors.UnknownReferenceError),
        (lambda g: g.add("exp", "text"), errors.DtypeError),
        (lambda g: g.add("exp", 2**70), errors.DtypeError),
        (lambda g: g.add("exp", object()), errors.DtypeError),
    ],
)
def test_a_mistake_in_building_is_told_at_once(build, error):
    """Each mistake has its own error, raised at the line that makes it."""
    with pytest.raises(error):
        build(ComputationalGraph())


def test_a_value_used_twice_gets_both_gradients():
    """Branches add up: x * x, and b = a + a; c = b + b."""
    _, gradients = graphsvc.parse("f = x * x").value_and_grad({"x": 3.0})
    assert gradients["x"] == 6
    outputs, gradients = graphsvc.parse("b = a + a; c = b + b").value_and_grad({"a": 3.0})
    assert (outputs["c"], gradients["a"]) == (12, 4)


def test_a_value_used_often_gets_every_gradient():
    """Many branches, added in place, give the sum."""
    graph = ComputationalGraph()
    x = graph.input("x")
    total = x * 1.0
    for i in range(2, 101):
        total = total + x * float(i)
    graph.output("f", graph.add("sum", total))
    _, gradients = graph.value_and_grad({"x": np.ones(3)})
    np.testing.assert_array_equal(gradients["x"], [5050.0] * 3)


def test_a_chain_of_100000_gates_runs_under_the_default_recursion_limit():
    """Forward, backward, documents and pickles are iterative."""
    assert sys.getrecursionlimit() <= 1000
    graph = ComputationalGraph()
    node = graph.input("x")
    for _ in range(100_000):
        node = graph.add("negative", node)
    graph.output("f", node)
    outputs, gradients = graph.value_and_grad({"x": 2.0})
    assert (outputs["f"], gradients["x"]) == (2, 1)
    assert len(pickle.loads(pickle.dumps(graph))) == 100_000  # noqa: S301 - our own bytes
    assert repr(graph).startswith("<ComputationalGraph: 100000 gates")


def test_forward_then_backward_is_value_and_grad():
    """The two calls and the one give the same numbers; an evaluation serves several backward passes."""
    graph = graphsvc.parse("f = (x + y) * z; g = exp(x)")
    inputs = {"x": -2.0, "y": 5.0, "z": -4.0}
    evaluation = graph.forward(inputs)
    assert evaluation.outputs["f"] == -12
    first = graph.backward(evaluation, output_gradients={"f": 1.0})
    second = graph.backward(evaluation, output_gradients={"f": 1.0}, wrt=["z"])
    third = graph.backward(output_gradients={"g": 1.0})
    assert first == {"x": -4.0, "y": -4.0, "z": 3.0}
    assert second == {"z": 3.0}
    assert third == {"x": np.exp(-2.0), "y": 0.0, "z": 0.0}
    assert third.disconnected == ("y", "z")


def test_changing_an_input_after_forward_changes_no_gradient():
    """An evaluation owns its inputs."""
    graph = graphsvc.parse("f = sum(x * x)")
    x = np.array([1.0, 2.0])
    evaluation = graph.forward({"x": x})
    x[:] = 100
    np.testing.assert_array_equal(graph.backward(evaluation)["x"], [2.0, 4.0])
    with pytest.raises(ValueError, match="read-only"):
        evaluation.outputs["f"][...] = 0


def test_backward_without_argument_uses_the_last_forward_of_its_own_thread():
    """Many threads on one graph do not see each other's evaluations."""
    graph = graphsvc.parse("f = sum(x * x)")
    barrier = threading.Barrier(8)

    def work(i: int) -> bool:
        for k in range(50):
            graph.forward({"x": np.full(4, float(i + k))})
            barrier.wait()
            if not np.array_equal(graph.backward()["x"], np.full(4, 2.0 * (i + k))):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    with ThreadPoolExecutor(1) as pool, pytest.raises(errors.MissingEvaluationError):
        pool.submit(graph.backward).result()


def test_backward_needs_a_forward_of_the_same_graph():
    """Before any forward, and after a change of the graph, there is nothing to go back over."""
    graph = graphsvc.parse("f = x * x")
    with pytest.raises(errors.MissingEvaluationError, match="not run forward"):
        graph.backward()
    evaluation = graph.forward({"x": 1.0})
    graph.output("g", 2.0)
    with pytest.raises(errors.MissingEvaluationError, match="changed"):
        graph.backward(evaluation)


def test_only_what_is_asked_for_is_given():
    """`wrt` and `outputs` choose; an output that is not named among the output gradients contributes nothing."""
    graph = graphsvc.parse("f = x * y; g = x + y")
    inputs = {"x": 2.0, "y": 3.0}
    outputs, gradients = graph.value_and_grad(inputs, wrt=["y"], outputs=["f"])
    assert (outputs, gradients) == ({"f": 6.0}, {"y": 2.0})
    _, gradients = graph.value_and_grad(inputs, output_gradients={"g": 3.0})
    assert gradients == {"x": 3.0, "y": 3.0}
    _, gradients = graph.value_and_grad(inputs, output_gradients={})
    assert gradients == {"x": 0.0, "y": 0.0}
    assert gradients.disconnected == ("x", "y")
    outputs, gradients = graph.value_and_grad(inputs, wrt=[])
    assert (set(outputs), gradients) == ({"f", "g"}, {})


def test_disconnected_zero_and_not_differentiable_are_kept_apart():
    """No path: zeros, and flagged. A zero gradient: not flagged. An integer: an error that names it."""
    graph = graphsvc.parse("f = x * 0.0 + where(y > 1, 1.0, 2.0) + take(x, i)")
    inputs = {"x": 3.0, "y": 2.0, "i": np.int64(0)}
    _, gradients = graph.value_and_grad(inputs)
    assert gradients == {"x": 1.0, "y": 0.0}
    assert gradients.disconnected == ("y",)
    _, gradients = graphsvc.parse("f = x * 0.0").value_and_grad({"x": 3.0})
    assert gradients == {"x": 0.0}
    assert gradients.disconnected == ()
    with pytest.raises(errors.NotDifferentiableError, match="'i' is int64"):
        graph.value_and_grad(inputs, wrt=["i"])


def test_a_gradient_of_a_complex_value_points_where_the_loss_grows():
    """It is dL/dRe + i dL/dIm: |z|^2 at 1+2j has 2+4j. A real input beside complex ones has a real gradient."""
    graph = graphsvc.parse("f = sum(abs(x * c) ** 2)")
    inputs = {"x": np.array([3.0, 0.5]), "c": np.array([1 + 2j, -1j])}
    outputs, gradients = graph.value_and_grad(inputs)
    assert outputs["f"] == pytest.approx(45.25)
    np.testing.assert_allclose(gradients["c"], 2 * inputs["x"] ** 2 * inputs["c"])
    np.testing.assert_allclose(gradients["x"], 2 * inputs["x"] * abs(inputs["c"]) ** 2)
    assert gradients["x"].dtype == np.float64
    evaluation = graph.forward(inputs)
    assert graph.backward(evaluation)["c"].tobytes() == gradients["c"].tobytes()
    with pytest.raises(errors.OutputGradientError, match="complex128"):
        graphsvc.parse("f = x * c").value_and_grad({"x": 1.0, "c": np.complex128(1j)})


@pytest.mark.parametrize(
    ("value", "declared", "dtype"),
    [
        (3, None, "float64"),
        ([1, 2], None, "float64"),
        (2.5, "float32", "float32"),
        (3, "int64", "int64"),
        ([True, False], None, "bool"),
        (np.float32(1), None, "float32"),
        (np.arange(3), None, "int64"),
        (np.arange(3, dtype=">i4"), None, "int32"),
        ([], None, "float64"),
    ],
)
def test_inputs_are_taken_as_they_are_meant(value, declared, dtype):
    """Python numbers and lists are float64 where nothing is declared; NumPy values keep theirs."""
    graph = ComputationalGraph()
    graph.output("f", graph.input("x", dtype=declared))
    outputs, _ = graph.value_and_grad({"x": value}, wrt=[])
    assert outputs["f"].dtype == dtype
    np.testing.assert_array_equal(outputs["f"], value)


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (np.float32(1), "float64"),
        (1.5, "int64"),
        (300, "int8"),
        (2**53 + 1, None),
        (2**70, None),
        (True, "float64"),
        (1, "bool"),
        ("text", None),
        (None, None),
        ({"a": 1}, None),
        (1j, "float64"),
        (np.array(["a"]), None),
        (np.array([None]), None),
        (np.zeros(2, "datetime64[s]"), None),
        (np.zeros(2, [("a", "f8")]), None),
        (np.zeros(2, np.longdouble), None),
        (np.ma.masked_array([1.0], [True]), None),
    ],
)
def test_inputs_that_would_be_changed_are_refused(value, declared):
    """Nothing is cast, truncated, unmasked or guessed."""
    graph = ComputationalGraph()
    graph.output("f", graph.input("x", dtype=declared))
    with pytest.raises(errors.DtypeError, match="Input 'x'"):
        graph.value_and_grad({"x": value}, wrt=[])


def test_lists_of_unequal_length_are_no_array():
    """A ragged list is refused as a shape."""
    graph = graphsvc.parse("f = sum(x)")
    with pytest.raises(errors.ShapeError, match="unequal length"):
        graph.value_and_grad({"x": [[1, 2], [3]]})


def test_declared_shapes_are_exact():
    """None stands for any length; nothing is broadcast to a declared shape."""
    graph = ComputationalGraph()
    graph.output("f", graph.add("sum", graph.input("x", shape=(4, None))))
    graph.value_and_grad({"x": np.ones((4, 7))})
    for shape in ((4,), (3, 7), (4, 1, 1)):
        with pytest.raises(errors.ShapeError, match=r"declared shape \(4, any\)"):
            graph.value_and_grad({"x": np.ones(shape)})


def test_topology_is_a_read_only_networkx_graph():
    """Networkx's own algorithms work on it, and cannot change the graph."""
    graph = graphsvc.parse("q = x + y; f = q * z")
    assert list(nx.ancestors(graph.topology, "q")) in (["x", "y"], ["y", "x"])
    with pytest.raises(nx.NetworkXError):
        graph.topology.add_node("new")


def random_document(seed: int, *, cyclic: bool) -> GraphDocument:
    """Nodes in any order; operands are earlier values, later ones, and the same one twice."""
    random = np.random.default_rng(seed)
    values = ["x", "y", "c"]
    nodes = []
    for i in range(int(random.integers(1, 14))):
        nodes.append({"name": f"n{i}", "gate": "add", "operands": tuple(random.choice(values, 3).tolist())})
        values.append(f"n{i}")
    if cyclic:
        # All depend on the first, so whatever it depends on closes a cycle.
        for i, node in enumerate(nodes[1:]):
            node["operands"] = (*node["operands"], f"n{i}", *random.choice(values, i % 3).tolist())
        nodes[0]["operands"] += (values[-1],)
    random.shuffle(nodes)
    return document_from_dict(
        {
            "graphsvc": 1,
            "inputs": ({"name": "x"}, {"name": "y"}),
            "constants": ({"name": "c", "value": 2},),
            "nodes": tuple(nodes),
        }
    )


def dag_of(document: GraphDocument) -> "nx.DiGraph[str]":
    """Return the DAG that networkx makes of a document, entry by entry."""
    dag: nx.DiGraph[str] = nx.DiGraph()
    dag.add_nodes_from(entry.name for entry in (*document.inputs, *document.constants))
    for node in document.nodes:
        dag.add_node(node.name)
        dag.add_edges_from((operand, node.name) for operand in node.operands)
    return dag


@pytest.mark.parametrize("seed", range(100))
def test_order_and_topology_are_those_of_networkx(seed):
    """Gates run in the order of networkx's generations, on which the bits of a sum depend; so stands the topology."""
    document = random_document(seed, cyclic=False)
    dag = dag_of(document)
    structure = structure_of(document, default_registry())
    assert [node.name for node in structure.order()] == [name for name in nx.topological_sort(dag) if name[0] == "n"]
    assert list(structure.topology) == list(dag)
    assert list(structure.topology.edges) == list(dag.edges)


@pytest.mark.parametrize("seed", range(100))
def test_the_cycle_in_an_error_is_that_of_networkx(seed):
    """It is one that is there, and the same each time."""
    document = random_document(seed, cyclic=True)
    names = [edge[0] for edge in nx.find_cycle(dag_of(document))]
    with pytest.raises(errors.CycleError) as caught:
        structure_of(document, default_registry())
    assert " -> ".join(map(repr, names[:5])) in caught.value.message
    assert caught.value.facts["node"] == names[0]


def test_a_topology_that_is_held_follows_the_graph():
    """A view shows what is added later."""
    graph = graphsvc.parse("f = x * y")
    topology = graph.topology
    graph.add("exp", graph.input("z"), name="e")
    assert list(topology.edges) == [("x", "f"), ("y", "f"), ("z", "e")]
    graph.add("exp", graph.constant(2.0, "two"), name="g")
    assert list(topology.predecessors("g")) == ["two"]


def test_nodes_that_share_an_inference_learn_what_each_would_alone():
    """Literals of every size beside every dtype: none speaks for another, and an error names the node at fault."""
    literals = (0, 1, 2.0, -0.5, -1, 127, 128, 255, 300, 6e4, 65520.0, 1e300, math.inf, math.nan, -(2**40))
    graph = ComputationalGraph()
    for dtype, value in itertools.product(DTYPES, literals):
        x = graph.input(f"x{len(graph.inputs)}", dtype=dtype)
        for gate in ("add", "less"):
            graph.add(gate, x, value)
        graph.add("add", x, x)
    structure = graph._structure
    specs = {name: ArraySpec((2,), DTYPES[entry.dtype]) for name, entry in structure.inputs.items()}
    known = {**specs, **structure.constants}
    sound, refused = [], []
    for node in bind(structure):
        try:
            results = infer_node(node, [known[operand] for operand in node.operands])
        except errors.GraphsvcError as error:
            refused.append((node, error.message))
        else:
            sound.append(node)
            known.update(zip(node.results, results, strict=True))
    assert infer_specs(sound, {**specs, **structure.constants}) == known
    assert len(refused) > 20
    for node, message in refused:
        with pytest.raises(errors.GraphsvcError) as caught:
            infer_specs([*sound, node], {**specs, **structure.constants})
        assert (caught.value.message, caught.value.node) == (message, node.name)


def test_gates_of_equal_attributes_are_told_apart_by_type():
    """True and 1 are equal, but a gate that takes the one does not take the other for it."""
    nodes = tuple(
        NodeEntry(name=f"n{i}", gate="sum", operands=("x",), attributes={"axis": 0, "keepdims": keepdims})
        for i, keepdims in enumerate((True, False, 1, True))
    )
    document = GraphDocument(inputs=(InputEntry(name="x"),), nodes=nodes)
    with pytest.raises(errors.AttributeValueError, match="'n2'"):
        ComputationalGraph.from_document(document).check()


def network(*sizes: int) -> ComputationalGraph:
    """Return a network of sigmoid layers over columns, as the lecture writes it."""
    graph = ComputationalGraph()
    h = graph.input("x", shape=(sizes[0], None))
    for i, (before, after) in enumerate(itertools.pairwise(sizes), 1):
        w = graph.input(f"w{i}", shape=(after, before), parameter=True)
        b = graph.input(f"b{i}", shape=(after, 1), parameter=True)
        h = graph.add("sigmoid", w @ h + b) if i < len(sizes) - 1 else w @ h + b
    graph.output("f", h)
    return graph


def test_the_summary_counts_parameters_and_neurons():
    """3→4→4→1 has 41 parameters and 9 neurons, 3→4→2 has 26 and 6, as the lecture counts them."""
    assert (network(3, 4, 4, 1).summary().parameters, network(3, 4, 4, 1).summary().neurons) == (41, 9)
    assert (network(3, 4, 2).summary().parameters, network(3, 4, 2).summary().neurons) == (26, 6)
    graph = ComputationalGraph()
    x = graph.input("x", shape=(64, 1000))
    w, b = graph.input("w", shape=(1000, 10), parameter=True), graph.input("b", shape=(10,), parameter=True)
    graph.output("f", graph.add("affine", x, w, b))
    summary = graph.summary()
    assert (summary.nodes, summary.inputs, summary.parameters, summary.neurons) == (1, 3, 10_010, 10)
    assert summary.bytes == 8 * (64_000 + 10_000 + 10 + 640)
    assert "10,010" in str(summary)


def test_a_summary_without_shapes_says_so():
    """What depends on a shape that is not declared is unknown; inputs give it."""
    graph = ComputationalGraph()
    graph.output("f", graph.input("w", parameter=True) @ graph.input("x"))
    assert graph.summary().parameters is None
    assert "unknown" in str(graph.summary())
    summary = graph.summary({"w": np.ones((4, 3)), "x": np.ones(3)})
    assert (summary.parameters, summary.neurons) == (12, 4)


def test_numeric_warnings_are_not_printed():
    """Dividing by zero gives infinity and NaN as IEEE says, and no warning (which would be an error here)."""
    outputs, _ = graphsvc.parse("f = x / y; g = mean(z); h = log(y)").value_and_grad(
        {"x": 1.0, "y": 0.0, "z": np.zeros(0)}, output_gradients={"f": 1.0, "h": 1.0}
    )
    assert np.isinf(outputs["f"])
    assert np.isnan(outputs["g"])


def test_a_graph_and_its_results_can_be_pickled():
    """Graphs keep their digest, gradients their flags."""
    graph = graphsvc.parse("f = x * 2 + 0 * y")
    again = pickle.loads(pickle.dumps(graph))  # noqa: S301 - our own bytes
    assert again.digest() == graph.digest()
    _, gradients = again.value_and_grad({"x": 1.0, "y": 1.0}, output_gradients={})
    assert pickle.loads(pickle.dumps(gradients)).disconnected == ("x", "y")  # noqa: S301 - our own bytes


def test_many_shapes_do_not_grow_the_plans_without_bound():
    """Plans are kept for the latest shapes alone."""
    graph = graphsvc.parse("f = sum(x * x)")
    for n in range(1, 200):
        graph.value_and_grad({"x": np.ones(n)})
    runnable = graph._bind()
    assert len(runnable._plans) <= 64
    assert len(runnable._specs) <= 16


def test_the_collector_of_garbage_is_as_it_was():
    """While a graph is planned only new objects are searched; afterwards all is as before, also after an error."""
    seen = []

    class Watching(graphsvc.Elementwise):
        """The operand; its `infer` looks whether the collector is on."""

        name: ClassVar[str] = "watching"

        def infer(self, *operands):
            seen.append(gc.get_threshold())
            return super().infer(*operands)

        def forward(self, x):
            if x.size == 3:
                raise ValueError
            return x * 1.0

        def backward(self, dz):
            return dz

    graph = graphsvc.ComputationalGraph()
    graph.output("f", graph.add("sum", graph.add(Watching(), graph.input("x"))))
    before = gc.get_threshold()
    given = 600, 9, 8
    try:
        gc.set_threshold(*given)
        graph.value_and_grad({"x": [1.0, 2.0]})
        assert gc.get_threshold() == given
        with pytest.raises(errors.GateError):
            graph.value_and_grad({"x": [1.0, 2.0, 3.0]})
        assert gc.get_threshold() == given
    finally:
        gc.set_threshold(*before)
    assert seen
    assert all(found[:2] == given[:2] and found[2] > 10**9 for found in seen)


@pytest.mark.parametrize("text", ["f = sum(tanh(x) * x)", "f = sum(x @ x)", "f = sum(sort(x))"])
def test_a_graph_that_nobody_holds_goes_at_once(text):
    """With all that was made for it: nothing waits until Python looks for cycles, which stops a server meanwhile."""
    inputs = {"x": np.linspace(0, 1, 16).reshape(4, 4)}
    gc.collect()
    gc.disable()
    try:
        graph = graphsvc.parse(text)
        graph.value_and_grad(inputs)
        graph.prepare(inputs).run()
        graph.prepare(inputs).run()
        graph.hvp(inputs, inputs)
        graph.backward(graph.forward(inputs))
        bound = weakref.ref(graph._bind())
        del graph
        assert bound() is None
    finally:
        gc.enable()
