"""What a client says to a server, without the saying: requests made, answers read, for both kinds of client."""

import re
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from graphsvc.arrays import Array, as_array
from graphsvc.codec import graph_from_document, named_arrays, named_tensors
from graphsvc.errors import UnknownGraphError, UnreachableError, quoted
from graphsvc.evaluation import InputGradients
from graphsvc.graph import ComputationalGraph
from graphsvc.question import listed_names, seed_names
from graphsvc.v1 import service_pb2

__all__ = ["Answer", "Conversation", "Question", "check_target", "converse"]

_TARGET: Final = re.compile(r"(unix|unix-abstract|dns|ipv4|ipv6|xds):\S+|(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}")

Answer: TypeAlias = tuple[dict[str, Array], InputGradients]

Conversation: TypeAlias = Generator[service_pb2.EvaluateRequest, service_pb2.EvaluateResponse, Answer]
"""Yields requests and is sent responses; errors of a call are thrown into it."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a graph; the fields are the arguments of `ComputationalGraph.value_and_grad`."""

    inputs: Mapping[str, object]
    wrt: Iterable[str] | None = None
    output_gradients: Mapping[str, object] | None = None
    outputs: Iterable[str] | None = None


def check_target(target: str) -> str:
    """Return `target` if it can be a server's: host and port, or an address with a scheme that gRPC knows.

    Raises:
        UnreachableError: It cannot.
    """
    if not isinstance(target, str) or not _TARGET.fullmatch(target):
        msg = f"{quoted(target)} is no target. Write HOST:PORT, as in localhost:50051."
        raise UnreachableError(msg, target=str(target)[:128])
    return target


def converse(graph: ComputationalGraph, question: Question, known: dict[bytes, bytes]) -> Conversation:
    """Ask a server.

    The graph is sent once, and afterwards by the digest that the server gave for it. A server that does not know the
    digest, because it has started anew or forgotten, is sent the graph again.

    Args:
        graph: The graph.
        question: What is asked of it.
        known: The server's digest of each graph that it was sent, by our own; it is kept up to date.
    """
    request = _request(graph, question)
    mine = graph.digest()
    if mine in known:
        request.graph_digest = known[mine]
        try:
            return _answer((yield request))
        except UnknownGraphError:
            known.pop(mine, None)
    request.graph.CopyFrom(graph_from_document(graph.document()))
    response = yield request
    known[mine] = response.graph_digest
    return _answer(response)


def _request(graph: ComputationalGraph, question: Question) -> service_pb2.EvaluateRequest:
    request = service_pb2.EvaluateRequest(inputs=named_tensors(graph.judge_inputs(question.inputs)))
    if question.wrt is not None:
        request.wrt.names.extend(listed_names("wrt", question.wrt))
        request.wrt.SetInParent()
    if question.outputs is not None:
        request.outputs.names.extend(listed_names("outputs", question.outputs))
        request.outputs.SetInParent()
    if question.output_gradients is not None:
        seed_names(tuple(request.outputs.names) or graph.outputs, question.output_gradients)
        arrays = {name: as_array(value) for name, value in question.output_gradients.items()}
        # A Python number takes the dtype of its output, which the server knows.
        weak = [name for name, value in question.output_gradients.items() if not hasattr(value, "dtype")]
        request.output_gradients.tensors.extend(named_tensors(arrays, weak))
        request.output_gradients.SetInParent()
    return request


def _answer(response: service_pb2.EvaluateResponse) -> Answer:
    outputs = named_arrays(response.outputs, "Output", writable=True)
    gradients = named_arrays(response.input_gradients, "Gradient", writable=True)
    return outputs, InputGradients(gradients, response.disconnected)
