"""Derivatives over gRPC, on the command line and in the guide: the same as in process."""

import asyncio
import json
import re
from pathlib import Path

import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import graphsvc
from graphsvc.cli.main import main
from graphsvc.errors import LimitError, RequestError, ShapeError
from graphsvc.testing import serving
from graphsvc.v1 import service_pb2, service_pb2_grpc
from graphsvc.wire.codec import graph_from_document, named_tensors

GRAPH = graphsvc.parse("f = sum(tanh(W @ x) * y); z = W @ x * y")
random = np.random.default_rng(4)
INPUTS = {"W": random.normal(size=(2, 3)), "x": random.normal(size=3), "y": np.array([1.0, 2.0])}
ALONG = {"W": random.normal(size=(2, 3)), "x": [1.0, 0.0, -1.0]}
MANY = {"x": np.eye(3)}

CALLS = {
    "jvp": lambda of: of.jvp(INPUTS, ALONG),
    "jvp of an output": lambda of: of.jvp(INPUTS, ALONG, outputs=["z"]),
    "many jvp": lambda of: of.jvp(INPUTS, MANY, vectors=3),
    "hvp": lambda of: of.hvp(INPUTS, ALONG, outputs=["f"]),
    "hvp by name": lambda of: of.hvp(INPUTS, vectors=ALONG, outputs=["f"], wrt=["y", "x"]),
    "weighted hvp": lambda of: of.hvp(INPUTS, ALONG, output_gradients={"z": [1.0, -1.0], "f": 2}),
    "many hvp": lambda of: of.hvp(INPUTS, MANY, outputs=["f"], vectors=3),
    "jacobian": lambda of: of.jacobian(INPUTS),
    "jacobian by one": lambda of: of.jacobian(INPUTS, wrt=["x"], outputs=["z"]),
    "hessian": lambda of: of.hessian(INPUTS, outputs=["f"]),
    "weighted hessian": lambda of: of.hessian(INPUTS, wrt=["x"], output_gradients={"z": np.ones(2)}),
    "many gradients": lambda of: of.value_and_grad(INPUTS, output_gradients={"z": np.eye(2)}, vectors=2),
    "many weak gradients": lambda of: of.value_and_grad(INPUTS, output_gradients={"z": [[1, 0], [0, 1]]}, vectors=2),
}


def alike(mine: object, theirs: object) -> None:
    """Check that two answers are one: names, shapes, dtypes and bits."""
    if isinstance(mine, tuple):
        for a, b in zip(mine, theirs, strict=True):
            alike(a, b)
    elif isinstance(mine, dict):
        assert list(mine) == list(theirs)
        for name in mine:
            alike(mine[name], theirs[name])
        assert getattr(mine, "disconnected", ()) == getattr(theirs, "disconnected", ())
    else:
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
        theirs[...] = 0


@pytest.mark.parametrize("name", CALLS)
def test_derivatives_served_are_those_in_process(client: graphsvc.Client, name: str):
    """Of a remote graph, to the bit; the answers may be written to."""
    alike(CALLS[name](GRAPH), CALLS[name](client.graph(GRAPH)))


def test_an_event_loop_has_them_too(target: str):
    """The asyncio client and its remote graph."""

    async def ask() -> list[object]:
        async with graphsvc.aio.connect(target) as client:
            remote = client.graph(GRAPH)
            return [await CALLS[name](remote) for name in CALLS]

    for name, theirs in zip(CALLS, asyncio.run(ask()), strict=True):
        alike(CALLS[name](GRAPH), theirs)


def test_what_is_refused_in_process_is_refused_by_a_server(client: graphsvc.Client):
    """With the same class."""
    for error, call in (
        (ShapeError, lambda of: of.jvp(INPUTS, {"x": np.ones(2)})),
        (RequestError, lambda of: of.jvp(INPUTS, {"x": np.ones(3)}, vectors=0)),
        (ShapeError, lambda of: of.jvp(INPUTS, {"x": np.ones(3)}, vectors=2)),
        (RequestError, lambda of: of.hvp(INPUTS, ALONG)),
        (RequestError, lambda of: of.hvp(INPUTS)),
        (RequestError, lambda of: of.jvp(INPUTS, [1.0])),
    ):
        for of in (GRAPH, client.graph(GRAPH)):
            with pytest.raises(error):
                call(of)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (0, {}),
        (9, {}),
        (1, {"wrt": service_pb2.NameList(names=["x"])}),
        (1, {"output_gradients": service_pb2.NamedTensorList()}),
        (3, {"vectors": 2}),
        (4, {"directions": named_tensors({"x": np.ones(3)})}),
        (1, {"directions": named_tensors({"x": np.ones((2, 3))}), "vectors": 0}),
        (1, {"directions": named_tensors({"q": np.ones(3)})}),
        (2, {"directions": named_tensors({"x": np.ones(3, np.float32)})}),
    ],
)
def test_a_request_that_makes_no_sense_is_an_invalid_argument(target: str, kind: int, more: dict):
    """A kind that there is not, and fields that would be ignored, with a reason."""
    request = service_pb2.DifferentiateRequest(
        graph=graph_from_document(GRAPH.document()), inputs=named_tensors(INPUTS), kind=kind, **more
    )
    with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError) as caught:
        service_pb2_grpc.GraphServiceStub(channel).Differentiate(request, timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    info = error_details_pb2.ErrorInfo()
    rpc_status.from_call(caught.value).details[0].Unpack(info)
    assert info.reason.isupper()


def test_results_over_the_limit_are_refused_before_they_are_there():
    """A Jacobian, a Hessian or many vectors of more bytes than a message may have."""
    graph = graphsvc.parse("z = x * x")
    x = np.ones(2000)
    with (
        serving(
            environment={"GRAPHSVC_MAX_RESPONSE_BYTES": "3000000", "GRAPHSVC_MAX_MESSAGE_BYTES": "3000000"}
        ) as small,
        graphsvc.connect(small) as client,
    ):
        for call in (
            lambda: client.jacobian(graph, {"x": x}),
            lambda: client.hessian(graph, {"x": x}, output_gradients={"z": x}),
            lambda: client.jvp(graphsvc.parse("z = outer(x, x)"), {"x": x}, {"x": x}),
        ):
            with pytest.raises(LimitError, match="MAX_RESPONSE_BYTES"):
                call()


def test_the_command_line_prints_them():
    """As JSON and as tables, here; the numbers are those of the guide."""

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, arguments, prog_name="graphsvc")
        assert result.exit_code == 0, result.output
        return result.output

    circuit = ("f = (x + y) * z", "x=-2", "y=5", "z=-4")
    assert json.loads(run("jvp", *circuit, "--along", "x=1", "--json")) == {
        "outputs": {"f": -12.0},
        "output_tangents": {"f": -4.0},
    }
    assert "tangent" in run("jvp", *circuit, "--along", "x=1")
    found = json.loads(run("hvp", *circuit, "--along", "z=1", "--json"))
    assert found["products"] == {"x": 1.0, "y": 1.0, "z": 0.0}
    found = json.loads(run("hvp", *circuit, "--along", "z=[1,2]", "--vectors", "2", "--wrt", "x", "--json"))
    assert found["products"] == {"x": [1.0, 2.0]}
    assert json.loads(run("jacobian", *circuit, "--json"))["jacobian"]["f"] == {"x": -4.0, "y": -4.0, "z": 3.0}
    assert json.loads(run("hessian", *circuit, "--json"))["hessian"]["x"] == {"x": 0.0, "y": 0.0, "z": 1.0}
    result = CliRunner().invoke(main, ["jvp", *circuit], prog_name="graphsvc")
    assert result.exit_code == 2


def test_the_command_line_asks_a_server(target: str):
    """With --target."""
    arguments = ["hessian", "f = x**2 * y", "x=3", "y=2", "--json", "--target", target]
    result = CliRunner().invoke(main, arguments, prog_name="graphsvc")
    assert json.loads(result.output)["hessian"] == {"x": {"x": 4.0, "y": 6.0}, "y": {"x": 6.0, "y": 0.0}}


SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "derivatives.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["methods", "vectors", "gate"])
def test_a_snippet_of_the_guide_runs(snippet: str, tmp_path: Path):
    """As it stands."""
    exec(compile(snippet, str(tmp_path / "snippet.py"), "exec"), {"__name__": "snippet"})  # noqa: S102 - our own guide
