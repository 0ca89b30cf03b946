"""Bad input of every kind: its own error class, a stable reason, the right gRPC status, and the server goes on."""

import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest

import graphsvc
from graphsvc import ComputationalGraph, errors

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
INTERNAL = grpc.StatusCode.INTERNAL


@dataclass(frozen=True)
class Case:
    """A question that has no answer, asked as a user would."""

    name: str
    error: type[errors.GraphsvcError]
    expression: str
    inputs: dict[str, Any] = field(default_factory=dict)
    question: dict[str, Any] = field(default_factory=dict)
    says: str = ""
    code: grpc.StatusCode = INVALID

    def __str__(self) -> str:
        return self.name


ONE = {"x": 1.0}
CASES = [
    Case("unknown gate", errors.UnknownGateError, "f = sigmoyd(x)", ONE, says="Did you mean 'sigmoid'", code=NOT_FOUND),
    Case("unknown namespace", errors.UnknownGateError, "f = no.where(x)", ONE, says="No plugin 'no'", code=NOT_FOUND),
    Case("too few operands", errors.ArityError, "f = matmul(x)", ONE, says="at node 'f'.*takes 2 operands"),
    Case("too many operands", errors.ArityError, "f = exp(x, x)", ONE, says="takes 1 operand "),
    Case("unknown attribute", errors.AttributeValueError, "f = sum(x, axs=1)", ONE, says="Did you mean 'axis'"),
    Case("attribute of a wrong type", errors.AttributeValueError, "f = sum(x, axis=1.0)", ONE, says="'axis'"),
    Case("bool for an int", errors.AttributeValueError, "f = softmax(x, axis=True)", {"x": [1.0]}, says="'axis'"),
    Case("missing attribute", errors.AttributeValueError, "f = reshape(x)", ONE, says="needs the attribute 'shape'"),
    Case("axis out of range", errors.AttributeValueError, "f = sum(x, axis=3)", ONE, says="at node 'f'.*0 axes"),
    Case("axis twice", errors.AttributeValueError, "f = sum(x, axis=(0, -1))", {"x": [1.0]}, says="twice"),
    Case("slice of step 0", errors.AttributeValueError, "f = x[::0]", {"x": [1.0]}, says="step 0"),
    Case("index out of range", errors.AttributeValueError, "f = x[5]", {"x": [1.0]}, says="out of range"),
    Case("axes that are no permutation", errors.AttributeValueError, "f = transpose(x, axes=(0, 0))", {"x": [[1.0]]}),
    Case(
        "an attribute that is not finite", errors.NonFiniteError, "f = leaky_relu(x, slope=1e999)", ONE, says="finite"
    ),
    Case("shapes of a product", errors.ShapeError, "f = x @ x", {"x": np.ones((2, 3))}, says="at node 'f'.*Transpose"),
    Case("shapes that do not broadcast", errors.ShapeError, "f = x + y", {"x": [1.0, 2.0], "y": [1.0, 2.0, 3.0]}),
    Case("reshape to another size", errors.ShapeError, "f = reshape(x, shape=(2,))", {"x": [1.0]}),
    Case("reshape with two -1", errors.ShapeError, "f = reshape(x, shape=(-1, -1))", {"x": [1.0]}),
    Case(
        "reshape to 40 axes", errors.ShapeError, f"f = reshape(x, shape={(1,) * 40})", ONE, {"wrt": []}, says="32 axes"
    ),
    Case(
        "broadcast beyond memory", errors.ShapeError, f"f = broadcast_to(x, shape={(2**31 - 1,) * 3})", ONE, {"wrt": []}
    ),
    Case("powers of booleans", errors.GateDataError, "f = x ** y", {"x": True, "y": np.int8(-1)}, {"wrt": []}),
    Case("reshape to -5", errors.AttributeValueError, "f = reshape(x, shape=(-5,))", {"x": [1.0]}),
    Case("max of nothing", errors.ShapeError, "f = max(x)", {"x": []}, says="no element"),
    Case("softmax of nothing", errors.ShapeError, "f = softmax(x)", {"x": []}, says="empty"),
    Case("target of another shape", errors.ShapeError, "f = mean_squared_error(x, y)", {"x": [1.0, 2.0], "y": 1.0}),
    Case("labels that are no integers", errors.DtypeError, "f = svm_hinge(x, y)", {"x": [[1.0]], "y": [0.0]}),
    Case("softmax of integers", errors.DtypeError, "f = softmax(x)", {"x": np.arange(3)}, says="floating point"),
    Case("label out of range", errors.GateDataError, "f = svm_hinge(x, y)", {"x": [[1.0]], "y": np.array([1])}),
    Case("negative label", errors.GateDataError, "f = svm_hinge(x, y)", {"x": [[1.0]], "y": np.array([-1])}),
    Case("place out of range", errors.GateDataError, "f = take(x, y)", {"x": [1.0], "y": np.array(3)}, says="Index 3"),
    Case(
        "NaN as an integer", errors.GateDataError, "f = cast(x, dtype='int64')", {"x": np.nan}, {"wrt": []}, says="nan"
    ),
    Case("too large for an integer", errors.GateDataError, "f = cast(x, dtype='int8')", {"x": 128.0}, {"wrt": []}),
    Case("a literal that does not fit", errors.DtypeError, "f = x + 300", {"x": np.int8(1)}, {"wrt": []}),
    Case("missing input", errors.MissingInputError, "f = x * y * z", ONE, says="'y', 'z'"),
    Case("extra input", errors.UnknownInputError, "f = x * 2", {"x": 1.0, "xx": 1.0}, says="Did you mean 'x'"),
    Case("input that is text", errors.DtypeError, "f = x * 2", {"x": "text"}, says="Input 'x'"),
    Case(
        "gradient of an integer",
        errors.NotDifferentiableError,
        "f = x * y",
        {"x": 1.0, "y": np.int64(2)},
        {"wrt": ["y"]},
    ),
    Case("gradient of an unknown name", errors.UnknownGradientError, "f = x * 2", ONE, {"wrt": ["y"]}, says="'y'"),
    Case("gradient of a node", errors.UnknownGradientError, "q = x * 2; f = q + 1", ONE, {"wrt": ["q"]}),
    Case("a string for wrt", errors.RequestError, "f = x * 2", ONE, {"wrt": "x"}),
    Case("unknown output", errors.UnknownOutputError, "f = x * 2", ONE, {"outputs": ["g"]}, says="'g'"),
    Case(
        "no output gradient, several elements",
        errors.OutputGradientError,
        "f = x * 2",
        {"x": [1.0, 2.0]},
        says=r"\(2,\)",
    ),
    Case("no output gradient, several outputs", errors.OutputGradientError, "f = x * 2; g = x", ONE, says="'f', 'g'"),
    Case(
        "output gradient of another shape",
        errors.ShapeError,
        "f = x * 2",
        {"x": [1.0, 2.0]},
        {"output_gradients": {"f": 1.0}},
    ),
    Case(
        "output gradient of another dtype",
        errors.DtypeError,
        "f = x * 2",
        ONE,
        {"output_gradients": {"f": np.float32(1)}},
    ),
    Case("output gradient of no output", errors.UnknownOutputError, "f = x * 2", ONE, {"output_gradients": {"x": 1.0}}),
    Case("gradient of a boolean output", errors.NotDifferentiableError, "f = x < 2", ONE, says="Output 'f' is bool"),
    Case("no float to integer power", errors.GateDataError, "f = x ** -1", {"x": np.int64(2)}, {"wrt": []}),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("served", [False, True], ids=["in process", "served"])
def test_a_question_without_an_answer_is_refused(case: Case, served: bool, client: graphsvc.Client, target: str):
    """The same error class, reason and message in process and from a server, which then answers a good request."""
    graph = graphsvc.parse(case.expression)
    inputs = case.inputs
    ask = (lambda *a, **k: client.value_and_grad(graph, *a, **k)) if served else graph.value_and_grad
    with pytest.raises(errors.GraphsvcError, match=f"(?s){case.says}") as caught:
        ask(inputs, **case.question)
    assert type(caught.value) is case.error
    assert "/" not in caught.value.message
    if served:
        assert client.value_and_grad(graphsvc.parse("f = x * 2"), {"x": 3.0})[1]["x"] == 2


@pytest.mark.parametrize(
    ("expression", "path"),
    [
        ("g = exp(x); f = sum(g, axs=1)", "nodes[1].attributes.axs"),
        ("g = exp(x); f = leaky_relu(g, slope='a')", "nodes[1].attributes.slope"),
        ("f = gelu(x, approximate='fast')", "nodes[0].attributes.approximate"),
        ("f = roll(x, shift=1.5)", "nodes[0].attributes.shift"),
    ],
)
def test_an_attribute_is_refused_with_its_path(expression: str, path: str, client: graphsvc.Client):
    """Unknown, of a wrong type, out of range: where it stands in the document, in process and from a server."""
    graph = graphsvc.parse(expression)
    for ask in (graph.value_and_grad, client.graph(graph).value_and_grad):
        with pytest.raises(errors.AttributeValueError) as caught:
            ask({"x": [1.0, 2.0]})
        assert caught.value.facts["path"] == path
        assert caught.value.facts["attribute"] == path.rpartition(".")[2]


ARRAYS = {
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(12.0)[::3],
    "negative strides": np.arange(6.0)[::-1],
    "big-endian": np.arange(3, dtype=">f8"),
    "big-endian integers": np.arange(3, dtype=">i2"),
    "read-only": np.broadcast_to(np.float32(3), (2, 2)),
    "0-d": np.array(2.5),
    "scalar": np.float16(2.5),
    "empty": np.empty((3, 0, 2)),
    "NaN": np.array([np.nan, -np.nan]),
    "NaN with a payload": np.array([0x7FF0000000000001, 0xFFF8000000000123], np.uint64).view(np.float64),
    "infinite": np.array([np.inf, -np.inf], np.float32),
    "negative zero": np.array([-0.0, 0.0]),
    "denormal": np.array([5e-324]),
    "booleans": np.array([True, False]),
    "complex": np.array([1 + 2j, -0.0 - 1j], np.complex64),
    **{
        f"extremes of {d}": np.array([np.iinfo(d).min, np.iinfo(d).max], d)
        for d in ("int8", "int64", "uint16", "uint64")
    },
}


@pytest.mark.parametrize("what", ARRAYS)
@pytest.mark.parametrize("how", ["in process", "served", "as a constant"])
def test_arrays_of_every_layout_come_back_bit_for_bit(what: str, how: str, client: graphsvc.Client):
    """As an input and as a constant, in process and through the server; what comes back may be written to."""
    array = ARRAYS[what]
    graph = ComputationalGraph()
    graph.output("f", array if how == "as a constant" else graph.input("x"))
    inputs = {} if how == "as a constant" else {"x": array}
    ask = graph.value_and_grad if how == "in process" else client.graph(graph).value_and_grad
    outputs, _ = ask(inputs, wrt=[])
    native = np.asarray(array).astype(array.dtype.newbyteorder("="))
    assert outputs["f"].dtype == native.dtype
    assert outputs["f"].shape == native.shape
    assert outputs["f"].tobytes() == native.tobytes()
    assert outputs["f"].flags.writeable
    assert not np.shares_memory(outputs["f"], array)


LONG = 5 * 10**6
"""Its square in float64 is more than any process can address."""


@pytest.mark.parametrize("method", ["value_and_grad", "debug", "forward", "jvp", "hvp", "jacobian"])
@pytest.mark.parametrize(
    ("expression", "node"),
    [
        ("f = sum(outer(x, x))", "outer.1"),
        ("f = sum(expand_dims(x, axis=0) * expand_dims(x, axis=1))", "multiply.1"),
    ],
)
def test_for_want_of_memory_node_and_bytes_are_told(expression: str, node: str, method: str):
    """In process, whatever runs the gate: it is over a limit, and no fault of the gate's."""
    graph = graphsvc.parse(expression)
    x = {"x": np.ones(LONG)}
    asked = {
        "value_and_grad": lambda: graph.value_and_grad(x),
        "debug": lambda: graph.value_and_grad(x, debug=True),
        "forward": lambda: graph.forward(x),
        "jvp": lambda: graph.jvp(x, x),
        "hvp": lambda: graph.hvp(x, x),
        "jacobian": lambda: graph.jacobian(x),
    }[method]
    with pytest.raises(errors.LimitError, match="200,000,000,000,000 bytes") as caught:
        asked()
    error = caught.value
    assert (error.node, error.gate, error.facts["asked"]) == (node, node.removesuffix(".1"), str(8 * LONG**2))


def test_memory_may_be_short_for_a_question_that_was_answered_before():
    """In a process that may take no more than it has: the same error, and the next question is answered."""
    code = """
import resource
import numpy as np
import graphsvc
graph = graphsvc.parse("f = sum(outer(x, y))")
large = {"x": np.ones(4000), "y": np.ones(4000)}
for _ in range(3):
    graph.value_and_grad(large)
bound = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + 2**24
resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
try:
    graph.value_and_grad(large)
except graphsvc.errors.LimitError as error:
    print(error.node, error.facts["asked"])
print(graph.value_and_grad({"x": [2.0], "y": [3.0]})[0]["f"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.split() == ["outer.1", "128000000", "6.0"], done.stderr


def test_for_want_of_memory_a_matrix_of_derivatives_is_refused():
    """It belongs to no node; the message says which one it is, and what to do."""
    x = {"x": np.ones(LONG)}
    for asked in (lambda: graphsvc.parse("f = sum(x * 2)").hessian(x), lambda: graphsvc.parse("f = x * 2").jacobian(x)):
        with pytest.raises(errors.LimitError, match=r"by 'x' have 200,000,000,000,000 bytes. Ask for some directions"):
            asked()
