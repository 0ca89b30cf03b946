"""What a client says to a server, without the saying: requests made, answers read, for both kinds of client."""

import math
import re
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from graphsvc.arrays import Array, as_array, plain_array
from graphsvc.codec import array_from_tensor, graph_from_document, named_arrays, named_tensors
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.question import judge_differentiated, judge_outputs, judge_vectors, judge_wrt
from graphsvc.errors import RequestError, ServerError, UnknownGraphError, UnreachableError, quoted
from graphsvc.v1 import service_pb2

__all__ = ["Answer", "Conversation", "Question", "check_target", "check_timeout", "converse"]

_KNOWN_GRAPHS: Final = 4096

_LONGEST_TIMEOUT: Final = 1e8
"""Three years; gRPC takes a longer one for none that is left."""

_TARGET: Final = re.compile(r"(unix|unix-abstract|dns|ipv4|ipv6|xds):\S+|(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}")

Answer: TypeAlias = Any
"""What the method of `ComputationalGraph` of the same name returns."""

Request: TypeAlias = service_pb2.EvaluateRequest | service_pb2.DifferentiateRequest

Conversation: TypeAlias = Generator[Request, Any, Answer]
"""Yields requests and is sent responses; errors of a call are thrown into it."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a graph; the fields are the arguments of the methods of `ComputationalGraph`.

    Attributes:
        kind: `jvp`, `hvp`, `jacobian` or `hessian`; empty for outputs and gradients.
        directions: For `jvp` and `hvp`.
    """

    inputs: Mapping[str, object]
    wrt: Iterable[str] | None = None
    output_gradients: Mapping[str, object] | None = None
    outputs: Iterable[str] | None = None
    vectors: int | None = None
    kind: str = ""
    directions: Mapping[str, object] | None = None


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
            return _answer((yield request), arrays, question)
        except UnknownGraphError:
            known.pop(mine, None)
    request.graph.CopyFrom(graph_from_document(graph.document()))
    response = yield request
    while len(known) >= _KNOWN_GRAPHS:
        known.pop(next(iter(known.copy())), None)
    known[mine] = response.graph_digest
    return _answer(response, arrays, question)


def _request(graph: ComputationalGraph, arrays: Mapping[str, Array], question: Question) -> Request:
    """Make the request; what can be judged here, where the graph is, is not sent to be refused there."""
    request: Request
    if question.kind:
        request = service_pb2.DifferentiateRequest(inputs=named_tensors(arrays))
        request.kind = service_pb2.DerivativeKind.Value(f"DERIVATIVE_KIND_{question.kind.upper()}")  # type: ignore[assignment]
        if question.directions is not None:
            request.directions.extend(named_tensors(_directions(arrays, question.directions)))
    else:
        request = service_pb2.EvaluateRequest(inputs=named_tensors(arrays))
    if question.vectors is not None:
        request.vectors = judge_vectors(question.vectors)
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


def _directions(inputs: Mapping[str, Array], given: Mapping[str, object]) -> dict[str, Array]:
    """Return directions in the dtypes of the inputs, which are known here."""
    if not isinstance(given, Mapping):
        msg = f"Directions are given by name of the input, not as {type(given).__name__}."
        raise RequestError(msg)
    judge_wrt(inputs, given)
    return {name: as_array(value, inputs[name].dtype) for name, value in given.items()}


def _answer(response: Any, inputs: Mapping[str, Array], question: Question) -> Answer:
    """Read an answer, and check that it fits the question."""
    axis = () if question.vectors is None else (question.vectors,)
    match question.kind:
        case "jvp":
            outputs = named_arrays(response.outputs, "Output", writable=True)
            return outputs, named_arrays(response.output_tangents, "Tangent", writable=True)
        case "hvp":
            gradients = _gradients(response.input_gradients, inputs, ())
            products = _gradients(response.products, inputs, axis)
            disconnected = response.disconnected
            return InputGradients(gradients, disconnected), InputGradients(products, disconnected)
        case "":
            outputs = named_arrays(response.outputs, "Output", writable=True)
            return outputs, InputGradients(_gradients(response.input_gradients, inputs, axis), response.disconnected)
        case _:
            blocks: dict[str, dict[str, Array]] = {}
            for block in response.blocks:
                array = array_from_tensor(block.tensor, f"Derivative of {quoted(block.of)}", writable=True)
                by = inputs.get(block.by)
                if by is None or array.shape[array.ndim - by.ndim :] != by.shape:
                    msg = f"The server gave derivatives by {quoted(block.by)} that are none by that input."
                    raise ServerError(msg + " Is it another version?")
                blocks.setdefault(block.of, {})[block.by] = array
            return blocks


def _gradients(tensors: Any, inputs: Mapping[str, Array], axis: tuple[int, ...]) -> dict[str, Array]:
    """Read gradients, and check that they are gradients of these inputs, with a first axis for several."""
    gradients = named_arrays(tensors, "Gradient", writable=True)
    for name, gradient in gradients.items():
        of = inputs.get(name)
        if of is None or gradient.shape != (*axis, *of.shape) or gradient.dtype != of.dtype:
            msg = f"The server gave a gradient of {quoted(name)} that is none of that input. Is it another version?"
            raise ServerError(msg)
    return gradients
