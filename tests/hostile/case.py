"""What a hostile call is: a row of the table of cases, and the one answer that it must get."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

import graphsvc
from graphsvc.v1 import graph_pb2, service_pb2
from graphsvc.wire.codec import graph_from_document, named_tensors
from graphsvc.wire.status import error_from_packed

SERVICE = "/graphsvc.v1.GraphService/"
MIB = 2**20

OK = "OK"
INVALID = "INVALID_ARGUMENT"
UNKNOWN = "NOT_FOUND"
LIMIT = "RESOURCE_EXHAUSTED LIMIT_EXCEEDED"
"""For good, by our own code."""


@dataclass(frozen=True)
class Answer:
    """How a call ended.

    Attributes:
        code: The status: its name, and the reason of the error if it is one of ours; or what became of the connection.
        details: The message, and the facts.
        responses: What was answered, where the call went well.
    """

    code: str
    details: str = ""
    responses: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Case:
    """A row of the table, or one of several for it.

    Attributes:
        row: The row.
        what: What is sent.
        code: The right answer's code; alternatives stand with ` | ` between.
        ask: Sends it to a target.
        says: What the message must match.
        peak: How much memory the server may take meanwhile, in bytes; None where nobody looks.
        kept: How much it may keep afterwards: caches, and pages that the allocator has not given back yet.
        server: Which of the servers it is sent to.
    """

    row: str
    what: str
    code: str
    ask: Callable[[str], Answer]
    says: str = ""
    peak: int | None = None
    kept: int = 24 * MIB
    server: str = "usual"

    def __str__(self) -> str:
        return f"{self.row} {self.what}"


# What is sent -------------------------------------------------------------------------------------------------------

Built = bytes | Message | Callable[[], bytes | Message]
"""A message, or what makes it: a large one is made when it is sent."""


def made(message: Built) -> bytes:
    """Return the bytes of a message."""
    if callable(message):
        message = message()
    return message if isinstance(message, bytes) else message.SerializeToString()


def question(
    graph: str | graphsvc.ComputationalGraph = "f = (x + y) * z",
    inputs: dict[str, Any] | None = None,
    *,
    wrt: Iterable[str] | None = None,
    outputs: Iterable[str] | None = None,
    output_gradients: dict[str, Any] | None = None,
    vectors: int | None = None,
) -> service_pb2.EvaluateRequest:
    """Return a question as a client would send it, without judging it; by default one that has an answer."""
    made_graph = graphsvc.parse(graph) if isinstance(graph, str) else graph
    given = {"x": -2.0, "y": 5.0, "z": -4.0} if inputs is None else inputs
    request = service_pb2.EvaluateRequest(
        graph=graph_from_document(made_graph.document()),
        inputs=named_tensors({name: np.asarray(value) for name, value in given.items()}),
        vectors=vectors,
    )
    if wrt is not None:
        request.wrt.CopyFrom(service_pb2.NameList(names=wrt))
    if outputs is not None:
        request.outputs.CopyFrom(service_pb2.NameList(names=outputs))
    if output_gradients is not None:
        arrays = {name: np.asarray(value) for name, value in output_gradients.items()}
        request.output_gradients.CopyFrom(service_pb2.NamedTensorList(tensors=named_tensors(arrays)))
    return request


def changed(
    change: Callable[[service_pb2.EvaluateRequest], Any], **fields: Any
) -> Callable[[], service_pb2.EvaluateRequest]:
    """Return what makes a good question with one change."""

    def make() -> service_pb2.EvaluateRequest:
        request = question(**fields)
        change(request)
        return request

    return make


def with_graph(**parts: Any) -> Callable[[], service_pb2.EvaluateRequest]:
    """Return what makes a good question with other fields of its graph."""

    def change(request: service_pb2.EvaluateRequest) -> None:
        for name in parts:
            request.graph.ClearField(name)
        request.graph.MergeFrom(graph_pb2.Graph(**parts))

    return changed(change)


def with_node(index: int, **parts: Any) -> Callable[[], service_pb2.EvaluateRequest]:
    """Return what makes a good question with another node, `add.1` (0) or `f` (1)."""

    def change(request: service_pb2.EvaluateRequest) -> None:
        for name in parts:
            request.graph.nodes[index].ClearField(name)
        request.graph.nodes[index].MergeFrom(graph_pb2.Node(**parts))

    return changed(change)


# How it is sent -----------------------------------------------------------------------------------------------------


def ended(error: grpc.RpcError) -> Answer:
    """Return how a call ended that raised."""
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    return refusal(packed) if packed else Answer(error.code().name, error.details() or "")


def refusal(packed: bytes) -> Answer:
    """Return the answer that a `google.rpc.Status` of ours is."""
    error = error_from_packed(packed)
    assert len(packed) <= 4096
    return Answer(
        f"{code_pb2.Code.Name(status_pb2.Status.FromString(packed).code)} {error.reason}",
        f"{error.message} {error.facts}",
    )


def unary(message: Built, method: str = "Evaluate", timeout: float = 60, **options: Any) -> Callable[[str], Answer]:
    """Return what sends a message to a method."""

    def ask(target: str) -> Answer:
        path = method if method.startswith("/") else SERVICE + method
        with grpc.insecure_channel(target) as channel:
            try:
                return Answer(OK, responses=(channel.unary_unary(path)(made(message), timeout=timeout, **options),))
            except grpc.RpcError as error:
                return ended(error)

    return ask


def asked(graph: str | graphsvc.ComputationalGraph, inputs: dict[str, Any], **fields: Any) -> Callable[[str], Answer]:
    """Return what sends a question; see `question`."""
    return unary(lambda: question(graph, inputs, **fields))


def session(messages: Callable[[], Iterable[Built]], timeout: float = 60) -> Callable[[str], Answer]:
    """Return what sends messages in a session. Its answer is the first refusal, of a message or of the stream."""

    def ask(target: str) -> Answer:
        responses = []
        with grpc.insecure_channel(target) as channel:
            stream = channel.stream_stream(SERVICE + "Session")((made(m) for m in messages()), timeout=timeout)
            try:
                for data in stream:
                    response = service_pb2.SessionResponse.FromString(data)
                    if response.HasField("status"):
                        return refusal(response.status)
                    responses.append(data)
            except grpc.RpcError as error:
                return ended(error)
        return Answer(OK, responses=tuple(responses))

    return ask
