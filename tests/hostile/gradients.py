"""Group F: gradients that are asked for."""

from collections.abc import Callable
from typing import Any

import numpy as np

import graphsvc
from graphsvc.v1 import service_pb2
from graphsvc.wire.codec import graph_from_document, named_tensors
from tests.hostile.case import INVALID, LIMIT, OK, Answer, Case, asked, changed, unary

REQUEST = f"{INVALID} REQUEST_INVALID"
ARRIVING = f"{INVALID} OUTPUT_GRADIENT_INVALID"
GRADIENT = f"{INVALID} GRADIENT_UNKNOWN"
ONE = {"x": 1.0}
TWO = {"x": [1.0, 2.0]}


def given(graph: str, inputs: dict[str, Any], gradients: dict[str, Any], **fields: Any) -> Callable[[str], Answer]:
    """Return what asks for gradients, which must be these, NaNs and signs of zeros included."""

    def ask(target: str) -> Answer:
        answer = asked(graph, inputs, **fields)(target)
        response = service_pb2.EvaluateResponse.FromString(answer.responses[0])
        got = {
            g.name: np.frombuffer(g.tensor.data, f"f{np.asarray(inputs[g.name]).itemsize}")
            for g in response.input_gradients
        }
        assert got.keys() == gradients.keys()
        for name, gradient in gradients.items():
            np.testing.assert_array_equal(got[name], np.ravel(gradient))
        return answer

    return ask


def derivatives(graph: str, inputs: dict[str, Any], kind: int, **fields: Any) -> Callable[[str], Answer]:
    """Return what asks for derivatives beyond one gradient."""

    def make() -> service_pb2.DifferentiateRequest:
        return service_pb2.DifferentiateRequest(
            graph=graph_from_document(graphsvc.parse(graph).document()),
            inputs=named_tensors({name: np.asarray(value) for name, value in inputs.items()}),
            kind=kind,
            **fields,
        )

    return unary(make, "Differentiate")


CASES = [
    Case("F1", "of an unknown name", GRADIENT, asked("f = x * 2", ONE, wrt=["y"]), "'y'"),
    Case("F1", "of a node", GRADIENT, asked("q = x * 2; f = q + 1", ONE, wrt=["q"])),
    Case("F1", "of a name of 5000 letters", GRADIENT, asked("f = x * 2", ONE, wrt=["q" * 5000]), "is none"),
    Case("F1", "of an input twice", OK, given("f = x * 2", ONE, {"x": 2.0}, wrt=["x", "x"])),
    Case("F2", "of an integer", f"{INVALID} NOT_DIFFERENTIABLE", asked("f = x * y", {"x": 1.0, "y": 2}, wrt=["y"])),
    Case("F2", "of a boolean output", f"{INVALID} NOT_DIFFERENTIABLE", asked("f = x < 2", ONE), "Output 'f' is bool"),
    Case(
        "F3",
        "through a gate that has none",
        f"{INVALID} GATE_NOT_DIFFERENTIABLE",
        asked("f = interp1d(x, xp, fp)", {"x": 0.5, "xp": [0.0, 1.0], "fp": [1.0, 2.0]}, wrt=["xp"]),
    ),
    Case(
        "F4",
        "of what is not connected",
        OK,
        given("f = x * 2; g = y", {"x": 1.0, "y": 3.0}, {"x": 2.0, "y": 0.0}, outputs=["f"]),
    ),
    Case("F5", "of several elements, with nothing arriving", ARRIVING, asked("f = x * 2", TWO), r"\(2,\)"),
    Case("F5", "of several outputs, with nothing arriving", ARRIVING, asked("f = x * 2; g = x", ONE), "'f', 'g'"),
    Case(
        "F6",
        "with another shape arriving",
        f"{INVALID} SHAPE_MISMATCH",
        asked("f = x * 2", TWO, output_gradients={"f": 1.0}),
    ),
    Case(
        "F6",
        "with another dtype arriving",
        f"{INVALID} DTYPE_MISMATCH",
        asked("f = x * 2", ONE, output_gradients={"f": np.float32(1)}),
    ),
    Case(
        "F6", "arriving at no output", f"{INVALID} OUTPUT_UNKNOWN", asked("f = x * 2", ONE, output_gradients={"x": 1.0})
    ),
    Case(
        "F6",
        "arriving twice",
        f"{INVALID} INPUT_DUPLICATE",
        unary(changed(lambda r: r.output_gradients.tensors.extend(named_tensors({"f": np.ones(())}) * 2))),
        "twice",
    ),
    Case("F6", "with NaN arriving", OK, given("f = x * 2", ONE, {"x": np.nan}, output_gradients={"f": np.nan})),
    Case("F6", "of no output", f"{INVALID} OUTPUT_UNKNOWN", asked("f = x * 2", ONE, outputs=["g"]), "'g'"),
    Case(
        "F6",
        "an input that gives way",
        f"{INVALID} TENSOR_INVALID",
        unary(changed(lambda r: setattr(r.inputs[0], "weak", True))),
        "weak",
    ),
    Case("F7", "infinite", OK, given("f = sum(sqrt(x) + log(x))", {"x": [0.0]}, {"x": np.inf})),
    Case(
        "F7", "of 0 times infinity", OK, given("f = sum(x * y)", {"x": [0.0], "y": [np.inf]}, {"x": np.inf, "y": 0.0})
    ),
    Case("F8", "at kinks", OK, given("f = sum(relu(x) + abs(x))", {"x": [0.0]}, {"x": 0.0})),
    Case("F8", "at ties", OK, given("f = max(x)", {"x": [1.0, 1.0]}, {"x": [0.5, 0.5]})),
    Case("F9", "over many branches", OK, given("f = x * x + x * x + x", {"x": 3.0}, {"x": 13.0})),
    Case(
        "F10",
        "of what is broadcast",
        OK,
        given("f = sum(x * y)", {"x": [[1.0], [2.0]], "y": [1.0, 2.0, 4.0]}, {"x": [7.0, 7.0], "y": [3.0] * 3}),
    ),
    Case("F12", "derivatives of no kind", REQUEST, derivatives("f = x * x", ONE, 0)),
    Case("F12", "derivatives of an unknown kind", REQUEST, derivatives("f = x * x", ONE, 99)),
    Case(
        "F12",
        "directions for a Hessian",
        REQUEST,
        derivatives(
            "f = x * x", ONE, service_pb2.DERIVATIVE_KIND_HESSIAN, directions=named_tensors({"x": np.ones(())})
        ),
    ),
    Case(
        "F13",
        "too large for float32, backward alone",
        OK,
        given("f = x * 1e20", {"x": np.float32(1e-30)}, {"x": np.inf}, output_gradients={"f": np.float32(1e30)}),
    ),
    Case("F13", "no vectors", REQUEST, asked("f = x * 2", ONE, vectors=0)),
    Case(
        "F13",
        "2^32 - 1 vectors",
        LIMIT,
        asked("f = x * 2", ONE, vectors=2**32 - 1, output_gradients={"f": [1.0]}),
    ),
]
