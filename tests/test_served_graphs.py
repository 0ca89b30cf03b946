"""Random graphs, and what one change makes wrong, on a server: the bits of this process, or the right refusal."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import graphsvc
from graphsvc import ComputationalGraph, errors
from graphsvc.arrays import Array
from graphsvc.engine.evaluation import InputGradients
from graphsvc.serving.differentiation import output_gradients_of
from graphsvc.testing import serving
from graphsvc.v1 import service_pb2
from graphsvc.wire.chunks import SMALLEST_CHUNK
from graphsvc.wire.codec import document_from_graph, graph_from_document, named_arrays, named_tensors
from tests.mutations import flip_bit, mutate
from tests.random_graphs import SHAPES, RandomGraph, random_graphs

SERVICE = "/graphsvc.v1.GraphService"
REFUSALS = {code_pb2.INVALID_ARGUMENT, code_pb2.NOT_FOUND, code_pb2.RESOURCE_EXHAUSTED}
REASONS = {cls.reason for cls in errors.error_classes()}
# So that what a changed number asks for is refused, or done in no time.
LIMITS = {"GRAPHSVC_MAX_TENSOR_BYTES": "4000000", "GRAPHSVC_MAX_FLOPS": "100000000"}

SOME = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


@pytest.fixture(scope="module")
def bounded() -> Iterator[str]:
    with serving(environment=LIMITS) as target:
        yield target


@pytest.fixture(scope="module")
def remote(bounded: str) -> Iterator[graphsvc.Client]:
    with graphsvc.connect(bounded) as client:
        yield client


@pytest.fixture(scope="module")
def channel(bounded: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(bounded) as channel:
        yield channel


def outcome(ask: Any, *arguments: Any) -> Any:
    """Return what is answered, or the reason of the refusal."""
    try:
        return ask(*arguments)
    except errors.GraphsvcError as error:
        return error.reason


def assert_same(mine: Any, theirs: Any) -> None:
    """Compare answers bit for bit, but that one NaN is as good as another."""
    if isinstance(theirs, str):
        assert mine == theirs
        return
    assert not isinstance(mine, str), mine
    for one, other in zip(mine, theirs, strict=True):
        assert list(one) == list(other)
        for name, array in one.items():
            assert (array.dtype, array.shape) == (other[name].dtype, other[name].shape)
            assert with_one_nan(array) == with_one_nan(other[name]), name
    assert mine[1].disconnected == theirs[1].disconnected


def with_one_nan(array: Array) -> bytes:
    flat = np.ascontiguousarray(array).reshape(-1)
    numbers = flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat
    return (
        np.where(np.isnan(numbers), numbers.dtype.type(np.nan), numbers) if numbers.dtype.kind == "f" else numbers
    ).tobytes()


@given(random_graphs(SHAPES))
@SOME
def test_a_served_graph_gives_the_bits_of_this_process(remote: graphsvc.Client, case: RandomGraph):
    """Unary and in a session, for every gate: outputs, gradients, what is disconnected, and why it is refused."""
    question = case.inputs, None, case.output_gradients
    expected = outcome(case.graph.value_and_grad, *question)
    assert_same(outcome(remote.value_and_grad, case.graph, *question), expected)
    assert_same(outcome(remote.graph(case.graph).value_and_grad, *question), expected)


# What is wrong by one change ----------------------------------------------------------------------------------------


def fields_of(case: RandomGraph) -> dict[str, Any]:
    """Return the question to a graph as fields of a request."""
    return {
        "graph": graph_from_document(case.graph.document()),
        "inputs": named_tensors(case.inputs),
        "output_gradients": service_pb2.NamedTensorList(tensors=named_tensors(case.output_gradients)),
    }


def in_process(request: service_pb2.EvaluateRequest) -> Any:
    """Answer a request without a server."""
    if not request.HasField("graph"):
        msg = "There is no graph."
        raise (errors.UnknownGraphError if request.HasField("graph_digest") else errors.RequestError)(msg)
    graph = ComputationalGraph.from_document(document_from_graph(request.graph))
    return graph.value_and_grad(
        named_arrays(request.inputs, "Input"),
        list(request.wrt.names) if request.HasField("wrt") else None,
        output_gradients_of(request, None),
        list(request.outputs.names) if request.HasField("outputs") else None,
        vectors=request.vectors if request.HasField("vectors") else None,
    )


def read(response: service_pb2.EvaluateResponse) -> Any:
    """Return an answer as `value_and_grad` gives it."""
    gradients = InputGradients(named_arrays(response.input_gradients, "Gradient"), response.disconnected)
    return named_arrays(response.outputs, "Output"), gradients


def reason_of(status: status_pb2.Status) -> str:
    """Return why something is refused, which is one of our reasons, with a code that is the client's fault."""
    info = error_details_pb2.ErrorInfo()
    assert status.code in REFUSALS, status
    assert status.details[0].Unpack(info), status
    assert info.domain == "graphsvc"
    assert info.reason in REASONS
    return info.reason


def ask_raw(channel: grpc.Channel, method: str, data: bytes) -> bytes | str:
    """Send bytes to a method, and return those of the answer or the reason of the refusal."""
    try:
        return channel.unary_unary(f"{SERVICE}/{method}")(data, timeout=30)
    except grpc.RpcError as error:
        return reason_of(status_of(error))


def status_of(error: grpc.RpcError) -> status_pb2.Status:
    trailers = dict(error.trailing_metadata())
    assert "grpc-status-details-bin" in trailers, error
    return status_pb2.Status.FromString(trailers["grpc-status-details-bin"])


def ask_in_session(channel: grpc.Channel, *messages: bytes) -> list[service_pb2.SessionResponse] | str:
    """Say that in a session, and return what is answered, or the reason for which the stream ended."""
    try:
        answers = list(channel.stream_stream(f"{SERVICE}/Session")(iter(messages), timeout=30))
    except grpc.RpcError as error:
        return reason_of(status_of(error))
    return [service_pb2.SessionResponse.FromString(answer) for answer in answers]


def chooser(data: Any) -> Any:
    """Return what takes one of some things as hypothesis draws it."""
    return lambda some: some[data.draw(st.integers(0, len(some) - 1))]


SERVERS_OWN = {errors.LimitError.reason, errors.UnknownResidentError.reason}


def judge(request: service_pb2.EvaluateRequest, found: Any) -> None:
    """Compare what a server said to a request with what this process says to it."""
    if not isinstance(found, str) or found not in SERVERS_OWN:
        assert_same(found, outcome(in_process, request))


@given(random_graphs(SHAPES, most=6), st.data())
@SOME
def test_a_request_with_one_change_is_answered_rightly_or_refused(channel, case: RandomGraph, data):
    """An edge dropped, a name twice, another dtype, a length more or less, a huge attribute, payloads swapped, ..."""
    request = service_pb2.EvaluateRequest(**fields_of(case))
    mutate(request, chooser(data))
    answer = ask_raw(channel, "Evaluate", request.SerializeToString())
    judge(request, answer if isinstance(answer, str) else read(service_pb2.EvaluateResponse.FromString(answer)))


@given(random_graphs(SHAPES, most=6), st.data())
@SOME
def test_a_session_with_one_change_is_answered_rightly_or_refused(channel, case: RandomGraph, data):
    """The request is refused with its own status or with that of the stream, and never left without one."""
    message = service_pb2.SessionRequest(id=7, evaluate=service_pb2.EvaluateRequest(**fields_of(case)))
    mutate(message, chooser(data))
    # Who gives it no time gets no answer, and rightly.
    message.ClearField("timeout_ms")
    answers = ask_in_session(channel, message.SerializeToString())
    if isinstance(answers, str):
        return
    (answer,) = answers
    assert answer.id == message.id
    if answer.status:
        reason_of(status_pb2.Status.FromString(answer.status))
    else:
        judge(message.evaluate, read(answer.evaluate))


@given(random_graphs(SHAPES, most=6), st.data())
@SOME
def test_a_request_with_a_bit_changed_is_answered_rightly_or_refused(channel, case: RandomGraph, data):
    """What still is a message counts as what it says; all else is no message."""
    changed = flip_bit(service_pb2.EvaluateRequest(**fields_of(case)).SerializeToString(), chooser(data))
    answer = ask_raw(channel, "Evaluate", changed)
    try:
        request = service_pb2.EvaluateRequest.FromString(changed)
    except DecodeError:
        assert answer == errors.MessageError.reason
        return
    judge(request, answer if isinstance(answer, str) else read(service_pb2.EvaluateResponse.FromString(answer)))


KINDS = ["JVP", "HVP", "JACOBIAN", "HESSIAN"]


@given(random_graphs(SHAPES[:5], most=4), st.sampled_from(KINDS), st.data())
@SOME
def test_a_question_for_derivatives_with_one_change_is_answered_or_refused(channel, case: RandomGraph, kind: str, data):
    """With the refusals that are the client's fault, and no other."""
    request = service_pb2.DifferentiateRequest(kind=f"DERIVATIVE_KIND_{kind}", **fields_of(case))
    if kind in ("JVP", "HVP"):
        request.directions.extend(request.inputs)
    if kind in ("JVP", "JACOBIAN"):
        request.ClearField("output_gradients")
    mutate(request, chooser(data))
    answer = ask_raw(channel, "Differentiate", request.SerializeToString())
    assert isinstance(answer, str) or service_pb2.DifferentiateResponse.FromString(answer).graph_digest


DATA = np.random.default_rng(0).bytes(5 * SMALLEST_CHUNK)


def chunked() -> list[bytes]:
    """Return a question whose two inputs come in three chunks and in two."""
    graph = graph_from_document(graphsvc.parse("f = x; g = y").document())
    asked = service_pb2.EvaluateRequest(graph=graph, wrt=service_pb2.NameList())
    for name, chunks in (("x", 3), ("y", 2)):
        asked.inputs.add(name=name, tensor={"dtype": "DTYPE_INT8", "shape": [chunks * SMALLEST_CHUNK], "chunked": True})
    pieces = [DATA[start : start + SMALLEST_CHUNK] for start in range(0, len(DATA), SMALLEST_CHUNK)]
    messages = [service_pb2.SessionRequest(id=7, evaluate=asked)]
    messages += [service_pb2.SessionRequest(chunk=piece) for piece in pieces]
    return [message.SerializeToString() for message in messages]


@given(st.sampled_from(["drop", "repeat", "swap", "cut", "flip"]), st.data())
@SOME
def test_a_chunked_request_with_one_change_is_answered_rightly_or_refused(channel, how: str, data):
    """A message dropped, sent twice, in another's place, cut, or with a bit changed: nothing is padded or guessed."""
    choose, messages = chooser(data), chunked()
    at, other = choose(range(6)), choose(range(6))
    match how:
        case "drop":
            del messages[at]
        case "repeat":
            messages.insert(other, messages[at])
        case "swap":
            messages[at], messages[other] = messages[other], messages[at]
        case "cut":
            messages[at] = messages[at][: choose(range(len(messages[at])))]
        case "flip":
            messages[at] = flip_bit(messages[at], choose)
    answers = ask_in_session(channel, *messages)
    if isinstance(answers, list):
        answer, *chunks = answers
        if answer.status:
            reason_of(status_pb2.Status.FromString(answer.status))
            return
        sent = b"".join(service_pb2.SessionRequest.FromString(message).chunk for message in messages)
        pieces = {sent[: 3 * SMALLEST_CHUNK], sent[3 * SMALLEST_CHUNK :]}
        assert len(sent) == len(DATA)
        # Together the outputs are large, so that the second comes in a chunk.
        found = [output.tensor.data or chunks.pop(0).chunk for output in answer.evaluate.outputs]
        assert set(found) <= pieces
        assert not chunks
