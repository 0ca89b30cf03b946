"""What a client says to a server, without the saying: requests made, answers read, for both kinds of client."""

import math
import re
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from graphsvc.arrays import Array, as_array, plain_array, spec_of
from graphsvc.codec import graph_from_document, named_arrays, named_tensors
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.question import judge_differentiated, judge_outputs, judge_wrt
from graphsvc.errors import RequestError, ServerError, UnknownGraphError, UnreachableError, quoted
from graphsvc.v1 import service_pb2

__all__ = ["Answer", "Conversation", "Question", "check_target", "check_timeout", "converse"]

_KNOWN_GRAPHS: Final = 4096

_LONGEST_TIMEOUT: Final = 1e8
"""Three years; gRPC takes a longer one for none that is left."""

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


def check_timeout(timeout: float | None) -> float | None:
    """Return the seconds that a call may take, None for any time.

    Raises:
        RequestError: It is no number of seconds.
    """
    if timeout is None or timeout == math.inf:
        return None
    if not isinstance(timeout, int | float) or not timeout >= 0:
        msg = f"{quoted(timeout)} is no timeout. Give seconds from 0, or None for any time."
        raise RequestError(msg)
    return min(timeout, _LONGEST_TIMEOUT)


def converse(graph: ComputationalGraph, question: Question, known: dict[bytes, bytes]) -> Conversation:
    """Ask a server.

    The graph is sent once, and afterwards by the digest that the server gave for it. A server that does not know the
    digest, because it has started anew or forgotten, is sent the graph again.

    Args:
        graph: The graph.
        question: What is asked of it.
        known: The server's digest of each graph that it was sent, by our own; it is kept up to date.
    """
    arrays = graph.judge_inputs(question.inputs)
    request = _request(graph, arrays, question)
    mine = graph.digest()
    theirs = known.get(mine)
    if theirs is not None:
        request.graph_digest = theirs
        try:
            return _answer((yield request), arrays)
        except UnknownGraphError:
            known.pop(mine, None)
    request.graph.CopyFrom(graph_from_document(graph.document()))
    response = yield request
    while len(known) >= _KNOWN_GRAPHS:
        known.pop(next(iter(known.copy())), None)
    known[mine] = response.graph_digest
    return _answer(response, arrays)


def _request(graph: ComputationalGraph, arrays: Mapping[str, Array], question: Question) -> service_pb2.EvaluateRequest:
    """Make the request; what can be judged here, where the graph is, is not sent to be refused there."""
    request = service_pb2.EvaluateRequest(inputs=named_tensors(arrays))
    sources = dict.fromkeys(graph.outputs, "")
    wanted = judge_outputs(sources, question.outputs)
    if question.outputs is not None:
        request.outputs.names.extend(wanted)
        request.outputs.SetInParent()
    if question.wrt is not None:
        request.wrt.names.extend(judge_wrt(arrays, question.wrt))
        request.wrt.SetInParent()
    if question.output_gradients is not None:
        judge_differentiated(wanted, question.output_gradients)
        weak = [name for name, value in question.output_gradients.items() if not hasattr(value, "__array__")]
        given = {
            # A Python number takes the dtype of its output, which the server knows.
            name: plain_array(value) if name in weak else as_array(value)
            for name, value in question.output_gradients.items()
        }
        request.output_gradients.tensors.extend(named_tensors(given, weak))
        request.output_gradients.SetInParent()
    return request


def _answer(response: service_pb2.EvaluateResponse, inputs: Mapping[str, Array]) -> Answer:
    """Read an answer, and check that its gradients are gradients of these inputs."""
    outputs = named_arrays(response.outputs, "Output", writable=True)
    gradients = named_arrays(response.input_gradients, "Gradient", writable=True)
    for name, gradient in gradients.items():
        if name not in inputs or spec_of(gradient) != spec_of(inputs[name]):
            msg = f"The server gave a gradient of {quoted(name)} that is none of that input. Is it another version?"
            raise ServerError(msg)
    return outputs, InputGradients(gradients, response.disconnected)
