"""Bugs that were found once, each by its smallest example, so that they stay caught."""

import threading
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum, StrEnum
from typing import Any, ClassVar

import numpy as np
import pytest

import graphsvc
from graphsvc import ComputationalGraph, Elementwise, Gate, errors
from graphsvc.arrays import Array
from graphsvc.testing import check_gate, check_gradients


class Opaque(Gate):
    """A gate without `infer`."""

    name: ClassVar[str] = "opaque"

    def forward(self, x: Array) -> Array:
        return x.copy()

    def backward(self, dz: Array) -> Array:
        return dz


@pytest.mark.parametrize(
    ("gate", "operands", "attributes", "error"),
    [
        ("softmax_cross_entropy", ([[1.0, 2.0, 3.0]], [1.5]), {}, errors.DtypeError),
        ("softmax_cross_entropy", (np.zeros((2, 3)), np.array(1)), {}, errors.ShapeError),
        ("mean_squared_error", (np.zeros(4), np.zeros((4, 1))), {}, errors.ShapeError),
        ("affine", (np.ones((2, 3)), np.ones((3, 2)), np.ones(())), {}, errors.ShapeError),
        ("softmax", (np.array([-100, 100], np.int8),), {}, errors.DtypeError),
        ("sum", (np.ones(3),), {"axis": 5}, errors.AttributeValueError),
        ("max", (np.ones(0),), {}, errors.ShapeError),
        ("where", (np.ones(2), np.ones(2), np.ones(2)), {}, errors.DtypeError),
    ],
)
@pytest.mark.parametrize("opaque", [False, True])
def test_a_gate_without_infer_switches_no_check_off(gate, operands, attributes, error, opaque):
    """What is refused where shapes are known before the run is refused where they are not."""
    graph = ComputationalGraph()
    nodes = [graph.input(f"x{i}") for i in range(len(operands))]
    nodes[-1] = graph.add(Opaque(), nodes[-1]) if opaque else nodes[-1]
    graph.output("f", graph.add(gate, *nodes, **attributes))
    with pytest.raises(error):
        graph.value_and_grad({f"x{i}": operand for i, operand in enumerate(operands)}, wrt=[])


NARROW: list[tuple[str, dict[str, Any], Any, Any]] = [
    ("f = sigmoid(x)", {"x": np.array([2, 0], np.uint8)}, [0.8807970779778823, 0.5], None),
    ("f = sigmoid(x)", {"x": np.array([-128], np.int8)}, [2.572209372642415e-56], None),
    ("f = sigmoid(x)", {"x": np.float16(-12)}, np.float16(6.14e-6), np.float16(6.14e-6)),
    ("f = mean(x)", {"x": np.full(2, 2**62)}, 2.0**62, None),
    ("f = sum_square(x)", {"x": np.array([100], np.int8)}, 10_000, None),
    ("f = sum_square(x)", {"x": np.full(1_000_000, 1e-4, np.float16)}, np.float16(0.01), None),
    ("f = sum(max(x, axis=0))", {"x": np.zeros((4096, 2), np.float16)}, 0, np.float16(1 / 4096)),
    ("f = max(x)", {"x": np.zeros(100_000, np.float16)}, 0, np.float16(1e-5)),
    ("f = sum(softmax(x))", {"x": np.zeros(70_000, np.float16)}, 1, None),
    ("f = max(log_softmax(x))", {"x": np.zeros(70_000, np.float16)}, np.float16(-11.16), None),
    ("f = mean_squared_error(x, 0 * x)", {"x": np.array([300, 0, 0, 0], np.float16)}, 22_500, None),
    ("f = " + " + ".join(["x"] * 4096), {"x": np.float16(1e-3)}, None, 4096),
    ("f = sum(x ** y)", {"x": np.array([1.5]), "y": np.array([-128], np.int8)}, None, [-128 * 1.5**-129]),
    ("f = sqrt(x)", {"x": -0.0}, -0.0, np.inf),
    ("f = log(x)", {"x": -0.0}, -np.inf, np.inf),
    ("f = sum(affine(x, w, b))", {"x": np.ones((4, 0)), "w": np.ones((0, 2)), "b": np.ones(2)}, 8, np.ones((4, 0))),
]


@pytest.mark.parametrize(("expression", "inputs", "output", "gradient"), NARROW, ids=lambda v: str(v)[:30])
def test_narrow_dtypes_and_edges_give_the_right_number(expression, inputs, output, gradient):
    """Nothing wraps, saturates or overflows on the way to a result that the dtype can hold."""
    graph = graphsvc.parse(expression)
    outputs, gradients = graph.value_and_grad(inputs, wrt=[] if gradient is None else ["x"])
    if output is not None:
        np.testing.assert_allclose(outputs["f"].astype(float), np.asarray(output, float), rtol=2e-3)
    if gradient is not None:
        np.testing.assert_allclose(
            gradients["x"].astype(float), np.broadcast_to(np.asarray(gradient, float), gradients["x"].shape), rtol=5e-3
        )


def test_a_hinge_over_many_classes_is_finite_in_float16():
    """The gradient of the right class, minus the number of violations, may overflow; the others may not."""
    graph = graphsvc.parse("f = svm_hinge(s, l)")
    scores = np.zeros((1, 5000), np.float16)
    outputs, gradients = graph.value_and_grad({"s": scores, "l": np.array([0])})
    assert outputs["f"] == 5000
    assert gradients["s"][0, 0] == np.float16(-4999)


@pytest.mark.parametrize(
    ("value", "declared"), [(70000.0, "float16"), ([2**53 + 1, 0.5], None), ([2**63 + 1, -1], None), (1e300, "float32")]
)
def test_numbers_that_a_dtype_cannot_hold_are_refused(value, declared):
    """Finite numbers do not become infinite, and integers beside floats keep their digits."""
    graph = ComputationalGraph()
    graph.output("f", graph.input("x", dtype=declared))
    with pytest.raises(errors.DtypeError):
        graph.value_and_grad({"x": value}, wrt=[])


def test_a_literal_does_not_become_infinite():
    """70000 beside float16 is refused, with no warning of NumPy."""
    for literal in ("70000", "70000.0"):
        with pytest.raises(errors.DtypeError, match="does not fit float16"):
            graphsvc.parse(f"f = x / {literal}").value_and_grad({"x": np.float16(1)})


@pytest.mark.parametrize("value", ["-inf", "inf", "nan"])
def test_a_cast_of_what_is_not_finite_is_refused_in_every_dtype(value):
    """Also in float16, whose infinity equals the rounded limit of an integer dtype."""
    for dtype in ("float16", "float32", "float64"):
        for target in ("int8", "int32", "int64", "uint64"):
            with pytest.raises(errors.GateDataError):
                graphsvc.parse(f"f = cast(x, dtype='{target}')").value_and_grad({"x": np.array(value, dtype)}, wrt=[])


def test_an_index_that_is_a_list_is_refused():
    """`x[[0, 1, 2]]` is not the slice 0:1:2."""
    x = ComputationalGraph().input("x")
    for index in ([0, 1, 2], (0, (0, 1, 2)), True, 1.5, x):
        with pytest.raises(errors.AttributeValueError, match="take"):
            _ = x[index]
    assert (+x).reference == "x"


def test_what_a_gate_keeps_is_not_given_away():
    """A cached output and a saved gradient stay as they are when the caller writes to what he got."""
    table = np.arange(3.0)

    class Kept(Gate):
        """Gives an array that it keeps."""

        name: ClassVar[str] = "kept"
        saves: ClassVar[tuple[str, ...]] = ("j", "more")

        def forward(self, x: Array) -> tuple[Any, ...]:
            return table, 2 * x, [3 * x]

        def backward(self, dz: Array, j: Array, more: list[Array]) -> Array:
            with pytest.raises(ValueError, match="read-only"):
                more[0] *= 2
            return j

    graph = ComputationalGraph()
    graph.output("f", graph.add(Kept(), graph.input("x")))
    seeds = {"f": np.ones(3)}
    for _ in range(2):
        outputs, gradients = graph.value_and_grad({"x": np.ones(3)}, output_gradients=seeds)
        np.testing.assert_array_equal(outputs["f"], [0, 1, 2])
        outputs["f"] += 100
        gradients["x"] += 100
    evaluation = graph.forward({"x": np.ones(3)})
    for _ in range(2):
        gradients = graph.backward(evaluation, seeds)
        np.testing.assert_array_equal(gradients["x"], [2, 2, 2])
        gradients["x"] += 100


def test_backward_may_ask_for_less_than_forward_foresaw():
    """A gate without a backward for one input gives the gradients of the others after `forward`, too."""
    graph = graphsvc.parse("f = sum(where(c > 0, x, y))")
    evaluation = graph.forward({"c": [1.0, -1.0], "x": [1.0, 2.0], "y": [3.0, 4.0]})
    np.testing.assert_array_equal(graph.backward(evaluation, wrt=["x"])["x"], [1, 0])

    class Half(Gate):
        """Differentiable in x alone."""

        name: ClassVar[str] = "half"

        def forward(self, x: Array, y: Array) -> Array:
            return x * y

        def backward_x(self, dz: Array, y: Array) -> Array:
            return dz * y

    graph = ComputationalGraph()
    graph.output("f", graph.add(Half(), graph.input("x"), graph.input("y")))
    evaluation = graph.forward({"x": 2.0, "y": 3.0})
    assert graph.backward(evaluation, wrt=["x"]) == {"x": 3.0}
    with pytest.raises(errors.GateNotDifferentiableError):
        graph.backward(evaluation)


def test_threads_that_are_first_at_once_share_one_graph():
    """None of them is told that the graph has changed."""
    graph = graphsvc.parse("f = " + " + ".join(["x"] * 1000))
    barrier = threading.Barrier(8)

    def work(_: int) -> float:
        barrier.wait()
        return float(graph.backward(graph.forward({"x": 1.0}))["x"])

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(8))) == {1000.0}


def test_equal_attributes_of_other_types_do_not_mix():
    """1 and 1.0 are equal, and give outputs of different dtypes."""

    class Scaled(Elementwise):
        """Scaled."""

        name: ClassVar[str] = "scaled"
        factor: int | float = 1

        def forward(self, x: Array) -> Array:
            return x * self.factor

        def backward(self, dz: Array) -> Array:
            return dz * self.factor

    for factor, dtype in ((1, "int64"), (1.0, "float64"), (1, "int64")):
        graph = ComputationalGraph()
        graph.output("f", graph.add(Scaled(factor=factor), graph.input("x")))
        assert graph.value_and_grad({"x": np.arange(2)}, wrt=[])[0]["f"].dtype == dtype


WRONG_TYPES = {
    "an attribute named self": (
        lambda: graphsvc.parse("f = sum(x, self=1)").value_and_grad({"x": 1.0}),
        errors.AttributeValueError,
    ),
    "self as a keyword": (lambda: ComputationalGraph().add("sum", 1.0, self=1), errors.AttributeValueError),
    "no outputs": (lambda: graphsvc.parse("f = x").value_and_grad({"x": 1.0}, outputs=[]), errors.RequestError),
    "a number for wrt": (lambda: graphsvc.parse("f = x").value_and_grad({"x": 1.0}, wrt=5), errors.RequestError),
    "a number for outputs": (
        lambda: graphsvc.parse("f = x").value_and_grad({"x": 1.0}, outputs=5),
        errors.RequestError,
    ),
    "a list of inputs": (lambda: graphsvc.parse("f = x").value_and_grad([1.0]), errors.RequestError),
    "gradients for the evaluation": (lambda: graphsvc.parse("f = x").backward({"f": 1.0}), errors.RequestError),
    "None for an expression": (lambda: graphsvc.parse(None), errors.NotAGraphError),
    "bytes for an expression": (lambda: graphsvc.parse(b"f = x"), errors.NotAGraphError),
    "a dict for a document": (lambda: ComputationalGraph.from_document({}), errors.NotAGraphError),
    "a shape of fractions": (lambda: ComputationalGraph().input("x", shape=(2.7,)), errors.ShapeError),
    "a shape of text": (lambda: ComputationalGraph().input("x", shape="34"), errors.ShapeError),
    "a shape of booleans": (lambda: ComputationalGraph().input("x", shape=(True,)), errors.ShapeError),
    "an infinite shape": (lambda: ComputationalGraph().input("x", shape=(float("inf"),)), errors.ShapeError),
    "a dtype that does not parse": (lambda: ComputationalGraph().input("x", dtype="(2,"), errors.DtypeError),
    "an output without a name": (lambda: ComputationalGraph().input("x").output(""), errors.InvalidNameError),
    "an output of a bad name": (lambda: ComputationalGraph().input("x").output("a b"), errors.InvalidNameError),
    "an attribute beyond 64 bits": (
        lambda: ComputationalGraph().add("sum", 1.0, axis=2**70),
        errors.AttributeValueError,
    ),
    "a class for a gate": (lambda: ComputationalGraph().add(Opaque, 1.0), errors.ArityError),
    "a masked array in a list": (
        lambda: graphsvc.parse("f = sum(x)").value_and_grad({"x": [np.ma.masked_array([1.0], [True])]}),
        errors.DtypeError,
    ),
    "subtraction of booleans": (
        lambda: graphsvc.parse("f = x - y").value_and_grad({"x": True, "y": True}, wrt=[]),
        errors.DtypeError,
    ),
    "negation of a boolean": (lambda: graphsvc.parse("f = -x").value_and_grad({"x": True}, wrt=[]), errors.DtypeError),
    "a number beyond 64 bits": (
        lambda: graphsvc.document.document_from_json('{"graphsvc":1,"constants":[{"name":"c","value":1e999}]}'),
        errors.NotAGraphError,
    ),
    "data beyond 64 bits": (
        lambda: graphsvc.document.document_from_json(
            '{"graphsvc":1,"constants":[{"name":"c","value":{"dtype":"float64","shape":[1],"data":[1%s]}}]}'
            % ("0" * 400)
        ),
        errors.DocumentError,
    ),
}


@pytest.mark.parametrize("what", WRONG_TYPES)
def test_what_is_of_the_wrong_type_gets_an_error_of_ours(what):
    """No exception of Python, NumPy or pydantic reaches a user."""
    import graphsvc.document  # noqa: F401 - used by the cases

    ask, error = WRONG_TYPES[what]
    with pytest.raises(error):
        ask()


def test_a_failed_step_of_building_leaves_nothing_behind():
    """The document is what it was before."""
    graph = graphsvc.parse("f = x")
    digest = graph.digest()
    x = graphsvc.Node(graph, "x")
    for step in (
        lambda: graph.add("add", x, 1.5, name="x"),
        lambda: graph.add("add", x),
        lambda: graph.output("a b", 2.5),
        lambda: graph.output("f", 2.5),
    ):
        with pytest.raises(errors.GraphError):
            step()
    assert ComputationalGraph.from_document(graph.document()).digest() == digest


def test_large_integers_stay_integers_as_constants():
    """A list of integers is an int64 constant, to the last digit."""
    graph = ComputationalGraph()
    graph.output("f", graph.constant([2**60 + 1]))
    assert graph.value_and_grad({}, wrt=[])[0]["f"][0] == 2**60 + 1


def test_a_subclass_of_an_error_keeps_its_own_making():
    """GateDataError of a plugin may be made of anything; it gains the node all the same."""

    class Singular(errors.GateDataError):
        def __init__(self, matrix: Array) -> None:
            super().__init__(f"singular: {matrix.shape}")

    class Solve(Gate):
        """Refuses."""

        name: ClassVar[str] = "solve"

        def forward(self, x: Array) -> Array:
            raise Singular(x)

    graph = ComputationalGraph()
    graph.output("f", graph.add(Solve(), graph.input("x"), name="n"))
    with pytest.raises(Singular, match="at node 'n': singular"):
        graph.value_and_grad({"x": [1.0]}, wrt=[])


def test_an_elementwise_gate_that_exits_on_ones_is_told_from_the_engine():
    """SystemExit in the first look at a gate does not escape either."""

    class Leaving(Elementwise):
        """Leaves."""

        name: ClassVar[str] = "leaving"

        def forward(self, x: Array) -> Array:
            raise SystemExit

        def backward(self, dz: Array) -> Array:
            return dz

    graph = ComputationalGraph()
    graph.output("f", graph.add(Leaving(), graph.input("x")))
    with pytest.raises(errors.GateError, match="forward failed: SystemExit"):
        graph.value_and_grad({"x": 1.0})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"factor": 2.0}, "annotated"),
        ({"__annotations__": {"name": str}}, "ClassVar"),
        ({"__annotations__": {"infer": int}, "infer": 1}, "names a method"),
        ({"__annotations__": {"table": np.ndarray}}, "annotated"),
        ({"backwards": lambda self, dz: dz}, "Rename it to `backward`"),
    ],
)
def test_a_class_that_pydantic_cannot_make_is_refused_as_any_other(body, says):
    """With what is allowed, and no address of pydantic's pages."""
    base = {"__module__": __name__, "name": "planted", "forward": lambda self, x: x}
    annotations = {"name": ClassVar[str]} | body.pop("__annotations__", {})
    with pytest.raises(errors.GateDefinitionError, match=says) as caught:
        type(Gate)("Planted", (Gate,), base | body | {"__annotations__": annotations})
    assert "http" not in caught.value.message


def test_the_check_of_a_gate_sees_small_gradients():
    """A gradient of 1e-8 that is fifty times too large is found."""

    class Small(Elementwise):
        """Small."""

        name: ClassVar[str] = "small"

        def forward(self, x: Array) -> Array:
            return x * 1e-8

        def backward(self, dz: Array) -> Array:
            return dz * 5e-7

    with pytest.raises(AssertionError, match="central differences"):
        check_gate(Small(), np.array([1.0, 2.0]))


def test_gradients_through_a_narrow_dtype_are_compared_in_its_precision():
    """A right gradient through float32 passes for float64 inputs; a wrong one would not."""
    graph = graphsvc.parse("f = sum(cast(x, dtype='float32') * y)")
    checks = check_gradients(graph, {"x": [1.0, 2.0], "y": [3.0, 4.0]})
    assert [check.passed for check in checks] == [True, True]
    assert str(graph.infer({"x": [1.0, 2.0], "y": [3.0, 4.0]})["cast.1"]) == "float32[2]"


def test_an_error_that_is_kept_collects_no_frames():
    """A question that is refused a thousand times keeps none of its arrays alive."""
    graph = ComputationalGraph()

    class Flat(Gate):
        """Has no backward."""

        name: ClassVar[str] = "flat"

        def forward(self, x: Array) -> Array:
            return x

    graph.output("f", graph.add(Flat(), graph.input("x")))
    depths = []
    for _ in range(5):
        with pytest.raises(errors.GateNotDifferentiableError) as caught:
            graph.value_and_grad({"x": 1.0})
        depths.append(len(caught.traceback))
    assert len(set(depths)) == 1


def test_attributes_keep_sign_and_value_on_the_way():
    """-0.0 is not the default 0.0, and an enumeration is what it is a kind of."""
    from graphsvc.wire.codec import document_from_graph, graph_from_document

    class Signed(Gate):
        """Signed."""

        name: ClassVar[str] = "signed"
        beta: float = 0.0

        def forward(self, x: Array) -> Array:
            return np.copysign(x, self.beta)

    assert repr(graphsvc.Example(Signed(beta=-0.0))) == "signed(beta=-0.0)"

    class Mode(StrEnum):
        A = "a"

    class Number(IntEnum):
        ONE = 1

    graph = ComputationalGraph()
    graph.output("f", graph.add("far.gate", graph.input("x"), mode=Mode.A, n=Number.ONE, many=[Number.ONE]))
    document = document_from_graph(graph_from_document(graph.document()))
    assert document.nodes[0].attributes == {"mode": "a", "n": 1, "many": (1,)}
    assert type(graph.document().nodes[0].attributes["mode"]) is str
    with pytest.raises(errors.AttributeValueError, match="Unicode"):
        graph.add("far.gate", 1.0, mode="\ud800")


def test_suggestions_cost_little():
    """A stranger's long or many names are compared with nothing."""
    from graphsvc.errors import did_you_mean, quoted

    assert did_you_mean("a" * 10**7, ["b"]) == ""
    assert did_you_mean("name1", (f"name{i}" for i in range(10**5))) == ""
    assert len(quoted("a" * 10**8)) == 60


def test_an_unreadable_status_is_none_of_ours():
    """Details that are no protobuf do not hide the status itself."""
    from graphsvc.wire.status import _from_status

    assert _from_status(b"\xff\xff") is None


def test_plans_of_large_graphs_are_few():
    """So that a graph by digest cannot be asked for ever more shapes until memory is full."""
    graph = graphsvc.parse("f = sum(" + " + ".join(["x"] * 9000) + ")")
    for n in range(1, 31):
        graph.value_and_grad({"x": np.ones(n)}, wrt=[])
    assert len(graph._bind()._plans) <= 22


@pytest.mark.parametrize("debug", [False, True])
def test_gradients_that_overflow_where_they_are_added_up_warn_of_nothing(debug: bool):
    """At an input of a narrow dtype, and at a value with two outputs; they are infinite, as any that overflows."""
    graph = graphsvc.parse("f = x + x")
    _, gradients = graph.value_and_grad({"x": np.float16(1)}, output_gradients={"f": np.float16(6e4)}, debug=debug)
    assert gradients["x"] == np.inf
    graph = ComputationalGraph()
    node = graph.input("x") * 1
    graph.output("f", node)
    graph.output("g", node)
    _, gradients = graph.value_and_grad({"x": 1.0}, output_gradients={"f": 1e308, "g": 1e308}, debug=debug)
    assert gradients["x"] == np.inf
