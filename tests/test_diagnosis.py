"""The diagnosis: where a run first made a NaN or an infinity, and why."""

import functools
import itertools
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

import graphsvc
from graphsvc import ComputationalGraph, Elementwise, GateDataError, errors
from graphsvc.engine.diagnosis import Cause, Diagnosis, Finding, Kind, Undefined
from graphsvc.testing import check_gradients
from graphsvc.v1 import service_pb2
from graphsvc.wire.diagnoses import diagnosis_from_message, message_from_diagnosis
from tests.every_gate import GateCase, every_example

INF, NAN = np.inf, np.nan


def diagnosed(graph: ComputationalGraph | str, /, output_gradients: Any = None, **inputs: Any) -> Diagnosis | None:
    """Return the diagnosis of a run."""
    graph = graphsvc.parse(graph) if isinstance(graph, str) else graph
    return graph.value_and_grad(inputs, output_gradients=output_gradients, debug=True)[1].diagnosis


def places(diagnosis: Diagnosis) -> list[tuple[str, Kind, str | None, str, Cause | None]]:
    """Return direction, kind, node, name and cause of each finding."""
    return [(f.direction, f.kind, f.node, f.name, f.cause) for f in diagnosis.findings]


def case_graph(case: GateCase) -> tuple[ComputationalGraph, dict[str, Any], dict[str, Any]]:
    """Return a graph of one gate with inputs, and a seeded gradient for each output that takes one."""
    graph = ComputationalGraph()
    inputs = {f"x{i}": operand for i, operand in enumerate(case.example.operands)}
    node = graph.add(case.example.gate, *(graph.input(name) for name in inputs))
    for i, name in enumerate(case.example.gate.signature.outputs):
        graph.output(name, node.output(name) if i else node)
    outputs, _ = graph.value_and_grad(inputs, wrt=[])
    random = np.random.default_rng(3)
    signature = case.example.gate.signature
    arriving = {
        name: random.normal(size=outputs[name].shape).astype(outputs[name].dtype)
        for i, name in enumerate(signature.outputs)
        if i in signature.differentiable_outputs and outputs[name].dtype.kind == "f"
    }
    return graph, inputs, arriving


class OneCallEach:
    """A graph on a server, asked without a shared stream."""

    def __init__(self, client: graphsvc.Client, graph: ComputationalGraph) -> None:
        self._ask = functools.partial(client.value_and_grad, graph)

    def value_and_grad(self, *question, **keywords):
        return self._ask(*question, **keywords)


# Laws ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", every_example(), ids=str)
def test_looking_on_changes_nothing(case: GateCase):
    """With debug and profile, outputs and gradients are the same bit for bit; of finite numbers there is no finding."""
    graph, inputs, arriving = case_graph(case)
    signature = case.example.gate.signature
    wrt = [
        name for i, name in enumerate(inputs) if signature.rule_for(signature.index(i)) and inputs[name].dtype == float
    ]
    wrt = wrt if arriving else []
    plain = graph.value_and_grad(inputs, wrt, arriving)
    watched = graph.value_and_grad(inputs, wrt, arriving, debug=True, profile=True)
    for one, two in zip(plain, watched, strict=True):
        assert list(one) == list(two)
        assert all(one[name].tobytes() == two[name].tobytes() and one[name].dtype == two[name].dtype for name in one)
    assert watched[1].diagnosis is None
    assert (plain[1].diagnosis, plain[1].profile) == (None, None)


@pytest.mark.parametrize("case", every_example(), ids=str)
def test_an_input_that_is_not_finite_is_said_first(case: GateCase):
    """For every gate: a NaN that the caller gave is found at the input, by name, with its place."""
    graph, inputs, _ = case_graph(case)
    name = next((n for n, value in inputs.items() if value.dtype.kind == "f" and value.size), None)
    if name is None:
        return
    value = np.array(inputs[name])
    value.flat[-1] = NAN
    try:
        _, gradients = graph.value_and_grad(inputs | {name: value}, wrt=[], debug=True)
    except GateDataError:
        return
    found = gradients.diagnosis.forward
    assert (found.kind, found.name, found.node, found.cause) == (Kind.INPUT, name, None, Cause.GIVEN)
    assert found.index == tuple(size - 1 for size in value.shape)
    assert (found.nans, found.infinities, found.size) == (1, 0, value.size)
    assert gradients.diagnosis.backward is None


def test_what_is_asked_is_judged_alike():
    """The same errors as without debug, before any gate has run; `between` stops either."""
    graph = graphsvc.parse("f = x * y; n = x > 0")
    for question in ({"wrt": ["z"]}, {"output_gradients": {"f": [1.0]}}, {"outputs": ["g"]}, {"outputs": ["n"]}):
        messages = []
        for debug in (False, True):
            with pytest.raises(graphsvc.GraphsvcError) as caught:
                graph.value_and_grad({"x": 1.0, "y": 2.0}, **question, between=lambda: 1 / 0, debug=debug)
            messages.append((type(caught.value), caught.value.message))
        assert messages[0] == messages[1]
    for debug in (False, True):
        with pytest.raises(ZeroDivisionError):
            graph.value_and_grad({"x": 1.0, "y": 2.0}, outputs=["f"], between=lambda: 1 / 0, debug=debug)


# A zero gradient met an infinite derivative -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "inputs", "node", "operand", "read"),
    [
        ("a = log(x); f = sum(where(x > 0, a, 0))", {"x": [0.0, 1.0]}, "a", "x", {"dz": 0.0, "x": 0.0}),
        ("a = sqrt(x); f = sum(where(x > 0, a, 0))", {"x": [0.0, 1.0]}, "a", "x", {"dz": 0.0, "z": 0.0}),
        ("a = 1 / x; f = sum(where(x != 0, a, 0))", {"x": [0.0, 1.0]}, "a", "y", {"dz": 0.0, "y": 0.0, "z": INF}),
        ("a = reciprocal(x); f = sum(where(x != 0, a, 0))", {"x": [0.0, 1.0]}, "a", "x", {"dz": 0.0, "z": INF}),
        ("a = x**0.5; f = sum(where(x > 0, a, 0))", {"x": [0.0, 1.0]}, "a", "x", {"dz": 0.0, "x": 0.0, "y": 0.5}),
        ("a = exp(x); f = sum(where(x < 9, a, x))", {"x": [1e3, 1.0]}, "a", "x", {"dz": 0.0, "z": INF}),
        ("a = log(x); f = a * 0", {"x": 0.0}, "a", "x", {"dz": 0.0, "x": 0.0}),
        # The operand is broadcast, and the zero that harms is one of several terms.
        ("a = y / x; f = sum(where(m > 0, a, 0))", {"x": 0.0, "y": [1.0, 2.0], "m": [1.0, 0.0]}, "a", "y", {}),
        ("a = y / x; f = sum(where(m > 0, a, 0))", {"x": 0.0, "y": [-1.0, 2.0], "m": [1.0, 0.0]}, "a", "y", {}),
    ],
)
def test_a_zero_gradient_met_an_infinite_derivative(expression, inputs, node, operand, read):
    """The node of the function is named, not that of the mask; it is said what its rule read; the remedy is named."""
    graph = graphsvc.parse(expression)
    _, gradients = graph.value_and_grad(inputs, wrt=["x"], debug=True)
    assert np.isnan(gradients["x"]).any()
    found = gradients.diagnosis.backward
    assert (found.kind, found.node, found.name) == (Kind.OPERAND_GRADIENT, node, operand)
    assert found.cause is Cause.ZERO_MET_INFINITE
    assert dict(found.values) == read
    assert "A zero gradient met an infinite derivative" in str(gradients.diagnosis)
    assert "graphsvc.safe_where(condition, function, x, fill, otherwise)" in str(gradients.diagnosis)


class OwnLog(graphsvc.Elementwise):
    """A logarithm of somebody else."""

    name: ClassVar[str] = "strange"

    def forward(self, x):
        return np.log(x)

    def backward(self, dz, x):
        return dz / x


class Rows(graphsvc.Gate):
    """Sum of the logarithms of each row; not elementwise."""

    name: ClassVar[str] = "rows"

    def forward(self, x):
        return np.log(x).sum(axis=-1)

    def backward(self, dz, x):
        return dz[:, None] / x


class Norm(graphsvc.Gate):
    """A norm whose rule is wrong at the origin: 0 / 0, whatever gradient arrives."""

    name: ClassVar[str] = "norm"

    def forward(self, x):
        return np.sqrt((x * x).sum())

    def backward(self, dz, x, z):
        return dz * (x / z)


class Pair(graphsvc.Elementwise):
    """Two outputs, of which one has an infinite derivative at 0."""

    name: ClassVar[str] = "pair"
    outputs: ClassVar[tuple[str, ...]] = ("root", "twice")

    def forward(self, x):
        return np.sqrt(x), 2 * x

    def backward(self, droot, dtwice, root):
        return droot / (2 * root) + 2 * dtwice


class Touchy(graphsvc.Gate):
    """Refuses every gradient but zeros, of which it makes NaN."""

    name: ClassVar[str] = "touchy"

    def forward(self, x):
        return x + 0

    def backward(self, dz):
        if dz.any():
            msg = "Not this one."
            raise GateDataError(msg)
        return dz / 0


class Cancel(graphsvc.Elementwise):
    """Its terms cancel, and overflow before they do."""

    name: ClassVar[str] = "cancel"

    def forward(self, x):
        return x * 0

    def backward(self, dz):
        return dz * 1e200 - dz * 1e200


class Coupled(graphsvc.Gate):
    """Every gradient goes to every element, times a derivative that is NaN at 0."""

    name: ClassVar[str] = "coupled"

    def forward(self, x):
        return np.abs(x).sum() + 0 * x

    def backward(self, dz, x):
        return dz.sum() * (x / np.abs(x))


def of(gate: graphsvc.Gate, after: Callable[..., Any] | None = None) -> ComputationalGraph:
    """Return `f`, the sum of a gate of `x`, with something between."""
    graph = ComputationalGraph()
    node = graph.add(gate, graph.input("x"), name="n")
    graph.output("f", graph.add("sum", after(graph, node) if after else node))
    return graph


def masked(graph: ComputationalGraph, node: graphsvc.Node) -> graphsvc.Node:
    """Keep the elements of `node` where the input `m` is 1."""
    return graph.add("where", graph.input("m") > 0, node, 0.0)


def test_no_gate_is_known_by_its_name():
    """A stranger's gate is diagnosed as graphsvc's own, elementwise or not."""
    found = diagnosed(of(OwnLog(), masked), x=[1.0, 0.0], m=[1.0, 0.0]).backward
    assert (found.node, found.gate, found.cause, found.index) == ("n", "strange", Cause.ZERO_MET_INFINITE, (1,))
    found = diagnosed(of(Rows(), masked), x=[[1.0, 2.0], [3.0, 0.0]], m=[1.0, 0.0]).backward
    assert (found.node, found.cause, found.index, found.values) == ("n", Cause.ZERO_MET_INFINITE, (1, 1), {})


def test_a_zero_of_the_engine_counts_as_a_zero():
    """Where no gradient arrives at an output the gate is handed zeros, which meet an infinite derivative as any."""
    graph = ComputationalGraph()
    graph.output("f", graph.add(Pair(), graph.input("x"), name="n").output("twice"))
    found = diagnosed(graph, x=0.0).backward
    assert (found.node, found.cause, found.values) == (
        "n",
        Cause.ZERO_MET_INFINITE,
        {"droot": 0, "dtwice": 1, "root": 0},
    )


def test_a_cause_is_claimed_only_where_it_is_established():
    """A NaN that comes whatever arrives is no zero times infinity; a rule that refuses the experiment tells nothing."""
    found = diagnosed(of(Norm()), x=[0.0, 0.0]).backward
    assert (found.node, found.nans, found.cause) == ("n", 2, Cause.DERIVATIVE_NAN)
    found = diagnosed(of(Norm(), lambda graph, node: node * 0), x=[0.0, 0.0]).backward
    assert (found.node, found.cause) == ("n", Cause.ZERO_MET_NAN)
    found = diagnosed(of(Coupled(), masked), x=[0.0, 0.0], m=[0.0, 1.0]).backward
    assert (found.node, found.index, found.cause) == ("n", (0,), Cause.DERIVATIVE_NAN)
    found = diagnosed(of(Cancel(), lambda graph, node: node * 1e200), x=1.0).backward
    assert (found.node, found.nans, found.cause) == ("n", 1, None)
    diagnosis = diagnosed(of(Touchy(), lambda graph, node: node * 0), x=[1.0])
    assert places(diagnosis) == [("backward", Kind.OPERAND_GRADIENT, "n", "x", None)]
    assert str(diagnosis).endswith("first at [0].")


# Other causes -------------------------------------------------------------------------------------------------------

CAUSES = [
    # Forward
    ("f = sum(x * y)", {"x": [1.0, INF], "y": 2.0}, None, [("forward", Kind.INPUT, None, "x", Cause.GIVEN)]),
    ("f = x", {"x": NAN}, None, [("forward", Kind.INPUT, None, "x", Cause.GIVEN)]),
    ("a = log(x); f = a * 1", {"x": -1.0}, None, [("forward", Kind.OUTPUT, "a", "z", Cause.OUTSIDE_DOMAIN)]),
    ("a = exp(x); f = a * 1", {"x": 1e3}, None, [("forward", Kind.OUTPUT, "a", "z", Cause.POLE)]),
    ("a = log(x); f = a - a", {"x": 0.0}, None, [
        ("forward", Kind.OUTPUT, "a", "z", Cause.POLE),
        ("forward", Kind.OUTPUT, "f", "z", Cause.INFINITE_OPERAND),
    ]),
    # All of a row is masked: the mask is meant, and the NaN is not.
    ("a = softmax(x + m); f = sum(a)", {"x": [1.0, 2.0], "m": [-INF, -INF]}, None, [
        ("forward", Kind.INPUT, None, "m", Cause.GIVEN),
        ("forward", Kind.OUTPUT, "a", "z", Cause.INFINITE_OPERAND),
    ]),
    # Backward
    ("f = x * y", {"x": 1.0, "y": 2.0}, {"f": NAN}, [("backward", Kind.OUTPUT_GRADIENT, None, "f", Cause.GIVEN)]),
    ("f = x * y", {"x": 1.0, "y": 0.0}, {"f": INF}, [
        ("backward", Kind.OUTPUT_GRADIENT, None, "f", Cause.GIVEN),
        ("backward", Kind.OPERAND_GRADIENT, "f", "x", Cause.INFINITE_GRADIENT),
    ]),
    ("a = sqrt(x); f = a * 1", {"x": 0.0}, None,
     [("backward", Kind.OPERAND_GRADIENT, "a", "x", Cause.DERIVATIVE_INFINITE)]),
    ("f = x * y", {"x": 1e200, "y": 1.0}, {"f": 1e200},
     [("backward", Kind.OPERAND_GRADIENT, "f", "y", Cause.GRADIENT_OVERFLOW)]),
    ("f = x + x", {"x": 1.0}, {"f": 1e308}, [("backward", Kind.INPUT_GRADIENT, None, "x", Cause.SUM_OVERFLOW)]),
    ("a = x * 1; f = a + a", {"x": 1.0}, {"f": 1e308},
     [("backward", Kind.ARRIVING_GRADIENT, "a", "z", Cause.SUM_OVERFLOW)]),
    ("f = x + x", {"x": np.float16(1)}, {"f": np.float16(60000)},
     [("backward", Kind.INPUT_GRADIENT, None, "x", Cause.SUM_OVERFLOW)]),
    ("a = sqrt(x); f = a - 2 * a; g = sqrt(x)", {"x": 0.0}, {"f": 1.0, "g": 1.0}, [
        ("backward", Kind.OPERAND_GRADIENT, "g", "x", Cause.DERIVATIVE_INFINITE),
        ("backward", Kind.INPUT_GRADIENT, None, "x", Cause.SUM_OF_INFINITIES),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "inputs", "arriving", "expected"), CAUSES, ids=lambda v: str(v)[:40])
def test_a_cause_is_told(expression, inputs, arriving, expected):
    """First what is first in order of execution; an infinity that may be meant hides no later NaN."""
    diagnosis = diagnosed(expression, arriving, **inputs)
    directions = {direction for direction, *_ in expected}
    assert [place for place in places(diagnosis) if place[0] in directions] == expected


@pytest.mark.parametrize(("expression", "inputs", "arriving", "expected"), CAUSES, ids=lambda v: str(v)[:40])
def test_a_server_tells_the_same(expression, inputs, arriving, expected, client: graphsvc.Client):
    """All of the diagnosis, over a call of its own and over a shared stream, with the same results."""
    graph = graphsvc.parse(expression) if isinstance(expression, str) else expression
    asked = (inputs, None, arriving)
    outputs, gradients = graph.value_and_grad(*asked, debug=True)
    for runner in (client.graph(graph), OneCallEach(client, graph)):
        # Asked again, questions are known by their bytes.
        assert [runner.value_and_grad(*asked)[1].diagnosis for _ in range(3)] == [None] * 3
        found, arrived = runner.value_and_grad(*asked, debug=True)
        assert arrived.diagnosis == gradients.diagnosis
        assert str(arrived.diagnosis) == str(gradients.diagnosis)
        for mine, theirs in ((outputs, found), (gradients, arrived)):
            assert {n: a.tobytes() for n, a in mine.items()} == {n: a.tobytes() for n, a in theirs.items()}


def test_every_diagnosis_travels():
    """Each kind and each cause, with and without a node; a cause of a later version is none."""
    for kind, cause, node in itertools.product(Kind, [None, *Cause], [None, "n"]):
        finding = Finding("backward", kind, "x", node, node, "float32", 6, 2, 1, (1, 2), {"x": 0.5, "y": -0.0}, cause)
        diagnosis = Diagnosis((finding,), (Undefined("svd", "svd", "Two singular values are equal."),))
        message = message_from_diagnosis(diagnosis)
        read = service_pb2.Diagnosis.FromString(message.SerializeToString())
        assert diagnosis_from_message(read) == diagnosis
    read.findings[0].cause = "cosmic_ray"
    assert diagnosis_from_message(read).findings[0].cause is None
    read.findings[0].kind = "soul"
    with pytest.raises(errors.ServerError, match="'soul'"):
        diagnosis_from_message(read)


def test_a_server_is_not_asked_for_a_diagnosis_of_many_vectors(client: graphsvc.Client):
    """As in process, it is refused."""
    with pytest.raises(errors.RequestError, match="one vector at a time"):
        client.value_and_grad(graphsvc.parse("f = x"), {"x": 1.0}, None, {"f": [1.0, 2.0]}, vectors=2, debug=True)


def test_every_cause_is_told_in_some_test():
    """None is listed that cannot come about."""
    told = {place[-1] for *_, expected in CAUSES for place in expected}
    assert told | {Cause.ZERO_MET_INFINITE, Cause.ZERO_MET_NAN, Cause.DERIVATIVE_NAN, Cause.VALUE_NOT_FINITE} == set(
        Cause
    )


def test_a_masked_value_that_does_not_exist_is_found_in_both_passes():
    """The root of -1 is NaN, and so is its derivative, which the mask meets with a zero."""
    diagnosis = diagnosed("a = sqrt(x); f = sum(where(x > 0, a, 0))", x=[4.0, -1.0])
    assert places(diagnosis) == [
        ("forward", Kind.OUTPUT, "a", "z", Cause.OUTSIDE_DOMAIN),
        ("backward", Kind.OPERAND_GRADIENT, "a", "x", Cause.ZERO_MET_NAN),
    ]
    assert diagnosis.forward.values == {"x": -1.0}
    assert "safe_where" in diagnosis.backward.explanation


def test_a_value_of_the_forward_pass_is_blamed_where_it_is_to_blame():
    """A NaN that was read makes the gradient NaN, though a finite one arrived."""
    found = diagnosed("f = sum(x * y)", x=[NAN, 1.0], y=[1.0, 1.0]).backward
    assert (found.node, found.name, found.cause) == ("multiply.1", "y", Cause.VALUE_NOT_FINITE)
    assert (found.values["dz"], found.index) == (1.0, (0,))


def test_it_is_the_place_that_counts():
    """Beside an infinity a NaN is explained; what an elementwise gate read elsewhere is not blamed."""
    found = diagnosed(of(OwnLog(), masked), x=[0.0, 0.0], m=[1.0, 0.0]).backward
    assert (found.infinities, found.nans, found.index, found.cause) == (1, 1, (1,), Cause.ZERO_MET_INFINITE)
    found = diagnosed("a = sqrt(x); f = sum(a)", x=[0.0, INF]).backward
    assert (found.node, found.index, found.cause) == ("a", (0,), Cause.DERIVATIVE_INFINITE)


def test_the_first_in_order_of_execution_is_found():
    """Of two nodes that make NaN the first is named, also where the second makes more of them."""
    diagnosis = diagnosed("a = log(x); b = sqrt(y) + a; f = sum(b)", x=[-1.0, 1.0, 1.0], y=[-1.0, -1.0, 4.0])
    graph = graphsvc.parse("a = log(x); b = sqrt(y) + a; f = sum(b)")
    first = next(name for name in graph._bind().nodes if name.gate_name in ("log", "sqrt"))
    assert diagnosis.forward.node == first.name
    assert diagnosis.forward.nans == {"log": 1, "sqrt": 2}[first.gate_name]


def test_what_the_question_does_not_read_is_not_found():
    """An input or a gate that no wanted output depends on did no harm."""
    graph = graphsvc.parse("f = x * 2; g = log(y)")
    _, gradients = graph.value_and_grad({"x": 1.0, "y": NAN}, outputs=["f"], debug=True)
    assert gradients.diagnosis is None


def test_a_constant_that_is_not_finite_is_found():
    """Be it an array or a number of Python; after the inputs."""
    for value in (np.array([1.0, INF]), INF):
        graph = ComputationalGraph()
        graph.output("f", graph.add("sum", graph.input("x") + graph.constant(value, name="c")))
        assert diagnosed(graph, x=[1.0, 2.0]).forward.name == "c"
        assert diagnosed(graph, x=[1.0, 2.0]).forward.kind is Kind.CONSTANT
        assert diagnosed(graph, x=[INF, 2.0]).forward.kind is Kind.INPUT


def test_one_value_as_two_operands_is_told_apart():
    """The gate's names of the operands tell which: the base of `a**a` has a derivative at -1, the exponent has none."""
    assert diagnosed("f = x**x", x=-1.0).backward.name == "y"
    assert diagnosed("f = x / x", x=1e-320).backward.name == "x"


def test_a_diagnosis_travels_with_the_gradients():
    """Through pickle, with the profile and the names that are not connected."""
    graph = graphsvc.parse("f = log(x); g = y")
    question = {"inputs": {"x": 0.0, "y": 1.0}, "output_gradients": {"f": 1.0}}
    _, gradients = graph.value_and_grad(**question, debug=True, profile=True)
    again = pickle.loads(pickle.dumps(gradients))  # noqa: S301 - our own bytes
    assert again == gradients
    assert (again.disconnected, again.diagnosis, again.profile) == (("y",), gradients.diagnosis, gradients.profile)
    assert str(again.diagnosis) == str(gradients.diagnosis)


def test_a_diagnosis_reads_well():
    """Pass, node, gate, operand, counts, place, numbers, cause."""
    lines = str(diagnosed("f = sum(where(x > 0, log(x), 0))", x=[1.0, 0.0, 0.0])).splitlines()
    assert lines[0] == (
        "forward: node 'log.1' (gate 'log'), output 'z': 2 infinite of 3 elements, first at [1], where x = 0.0."
    )
    assert lines[2] == (
        "backward: node 'log.1' (gate 'log'), gradient of operand 'x': "
        "2 NaN of 3 elements, first at [1], where dz = 0.0, x = 0.0."
    )
    assert lines[3] == "  A zero gradient met an infinite derivative, and 0 * inf = NaN."
    assert str(diagnosed("f = x * 2", x=NAN)) == "forward: input 'x': 1 NaN of 1 element.\n  It was given so."


def test_a_gate_says_what_of_its_gradients_does_not_exist():
    """Where something arrives; it is asked in a debugging run alone, beside what is not finite, and told of as data."""

    class Heading(Elementwise):
        """Angle of a vector, with the gradient zero where it has none."""

        name: ClassVar[str] = "heading"

        def forward(self, y, x):
            return np.arctan2(y, x)

        def backward(self, dz, y, x):
            size = np.where((x == 0) & (y == 0), 1, x * x + y * y)
            return dz * x / size, -dz * y / size

        def undefined(self, dz, y, x):
            none = np.count_nonzero((dz != 0) & (x == 0) & (y == 0))
            return f"{none} of the vectors are zero, and have no angle." if none else None

    graph = graphsvc.ComputationalGraph()
    y, x = graph.input("y"), graph.input("x")
    graph.output("f", graph.add("sum", graph.add(Heading(), y, x, name="angle") + graph.add("sqrt", y)))
    inputs = {"y": [0.0, 0.0, 1.0], "x": [0.0, 0.0, 1.0]}
    _, gradients = graph.value_and_grad(inputs, debug=True)
    assert str(gradients.diagnosis).splitlines()[-1] == (
        "backward: node 'angle' (gate 'heading'): 2 of the vectors are zero, and have no angle."
    )
    assert gradients.diagnosis.backward.gate == "sqrt"
    assert graph.value_and_grad({"y": 1.0, "x": 0.0}, debug=True)[1].diagnosis is None

    class Speechless(Heading):
        """Says no sentence."""

        name: ClassVar[str] = "speechless"

        def undefined(self, dz, y, x):
            return dz == 0

    graph = graphsvc.ComputationalGraph()
    graph.output("f", graph.add(Speechless(), graph.input("y"), graph.input("x")))
    graph.value_and_grad({"y": 1.0, "x": 0.0})
    with pytest.raises(errors.GateContractError, match="undefined must return a sentence or None"):
        graph.value_and_grad({"y": 1.0, "x": 0.0}, debug=True)


# The remedy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "derivative"), [("log", lambda x: 1 / x), ("sqrt", lambda x: 0.5 / np.sqrt(x))], ids=["log", "sqrt"]
)
def test_safe_where_gives_the_gradients_that_are_meant(gate, derivative):
    """Values and gradients are the function's where the condition holds, and `otherwise` and 0 elsewhere."""
    x = np.array([[0.0, 1.0, -2.0], [0.25, -0.0, 9.0]])
    graph = ComputationalGraph()
    node = graph.input("x")
    graph.output("f", graphsvc.safe_where(node > 0, lambda v: graph.add(gate, v), node, 1.0, -7.0))
    arriving = np.random.default_rng(4).normal(size=x.shape)
    outputs, gradients = graph.value_and_grad({"x": x}, output_gradients={"f": arriving}, debug=True)
    inside = x > 0
    np.testing.assert_array_equal(outputs["f"][inside], getattr(np, gate)(x[inside]))
    assert (outputs["f"][~inside] == -7).all()
    np.testing.assert_allclose(gradients["x"][inside], arriving[inside] * derivative(x[inside]), rtol=1e-15)
    assert (gradients["x"][~inside] == 0).all()
    assert gradients.diagnosis is None
    away = np.array([-1.5, 0.5, 2.0])
    assert all(check.passed for check in check_gradients(graph, {"x": away}, seed=0))


def test_safe_where_takes_arrays_nodes_and_float32():
    """The condition may be an array, `otherwise` a node; numbers of Python take the dtype of the operand."""
    graph = ComputationalGraph()
    x, y = graph.input("x"), graph.input("y")
    node = graphsvc.safe_where(np.array([True, False]), lambda v: graph.add("log", v), x, 1.0, y)
    graph.output("f", graph.add("sum", node))
    inputs = {"x": np.array([2, 0], np.float32), "y": np.float32(3)}
    outputs, gradients = graph.value_and_grad(inputs)
    assert outputs["f"].dtype == np.float32
    assert (gradients["x"].tolist(), gradients["y"]) == ([0.5, 0.0], 1.0)


def test_safe_where_says_what_it_needs():
    """A node, and a function of a node."""
    graph = ComputationalGraph()
    x = graph.input("x")
    with pytest.raises(graphsvc.GraphsvcError, match="Give x as a node"):
        graphsvc.safe_where(x > 0, lambda v: v, 2.0, 1.0, 0.0)
    with pytest.raises(graphsvc.GraphsvcError, match="'log' is no function of a node"):
        graphsvc.safe_where(x > 0, "log", x, 1.0, 0.0)
