"""What a client says to a server, without the saying: requests made, answers read, for both kinds of client."""

import math
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message

from graphsvc.arrays import Array, as_array, is_differentiable, plain_array
from graphsvc.client.asked import Asked, parse_response
from graphsvc.client.known import Again, KnownGraph
from graphsvc.client.question import Question
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.question import judge_differentiated, judge_outputs, judge_vectors, judge_wrt
from graphsvc.errors import (
    DuplicateInputError,
    RequestError,
    ServerError,
    UnknownGraphError,
    UnknownResidentError,
    UnreachableError,
    quoted,
)
from graphsvc.v1 import service_pb2
from graphsvc.wire.chunks import Arrivals, Beside
from graphsvc.wire.codec import (
    array_from_tensor,
    graph_from_document,
    named_arrays,
    named_tensors,
    tensor_from_array,
)
from graphsvc.wire.diagnoses import diagnosis_from_message

__all__ = ["Answer", "Conversation", "check_target", "check_timeout", "converse"]

_KNOWN_GRAPHS: Final = 4096

_LONGEST_TIMEOUT: Final = 1e8
"""Three years; gRPC takes a longer one for none that is left."""

_TARGET: Final = re.compile(r"(unix|unix-abstract|dns|ipv4|ipv6|xds):\S+|(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}")

Answer: TypeAlias = Any
"""What the method of `ComputationalGraph` of the same name returns."""

Request: TypeAlias = service_pb2.EvaluateRequest | service_pb2.DifferentiateRequest


Conversation: TypeAlias = Generator[Asked, Any, Answer]
"""Yields what is to be asked and is sent what was read; errors of a call are thrown into it."""


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


def converse(graph: ComputationalGraph, question: Question, known: dict[bytes, KnownGraph]) -> Conversation:
    """Ask a server.

    The graph is sent once, and afterwards by the digest that the server gave for it. A server that does not know the
    digest, because it has started anew or forgotten, is sent the graph again.

    Args:
        graph: The graph.
        question: What is asked of it.
        known: The graphs that the server was sent, by our own digest; it is kept up to date.
    """
    mine = graph.digest()
    there = known.get(mine)
    again = there.again(question) if there else None
    if again and (body := again.body()) is not None:
        try:
            return (yield Asked("Evaluate", body, (), partial(_read_again, again, graph, question)))
        except UnknownGraphError:
            known.pop(mine, None)
    return (yield from _conversed(graph, question, known, again))


def _read_again(
    again: Again, graph: ComputationalGraph, question: Question, response: bytes, arrivals: Arrivals | None
) -> Answer:
    """Read an answer to a question that was asked before, as it was answered then or anew."""
    answer = again.read(response)
    return answer or _answer(graph.judge_inputs(question.inputs), question, response, arrivals)[0]


def _conversed(
    graph: ComputationalGraph, question: Question, known: dict[bytes, KnownGraph], again: Again | None
) -> Conversation:
    """Ask what is judged here first."""
    residents = question.residents.arrays if question.residents else {}
    arrays = graph.judge_inputs(_together(question.inputs, residents))
    beside = Beside()
    request = _request(graph, arrays, question, beside)
    mine = graph.digest()
    # Each may turn out to be unknown there once: the graph, and each resident.
    for _ in range(2 + len(residents)):
        there = known.get(mine)
        if there is not None:
            request.graph_digest = there.digest
        elif request.WhichOneof("source") != "graph":
            request.graph.CopyFrom(graph_from_document(graph.document()))
        try:
            answer, response = yield _asked(request, beside, partial(_answer, arrays, question))
        except UnknownGraphError:
            if known.pop(mine, None) is None:
                raise
        except UnknownResidentError as error:
            name = error.facts.get("input", "")
            if name not in residents:
                raise
            yield _put(residents[name])
        else:
            if there is None:
                while len(known) >= _KNOWN_GRAPHS:
                    known.pop(next(iter(known.copy())), None)
                known[mine] = KnownGraph(graph, response.graph_digest)
            elif again and isinstance(request, service_pb2.EvaluateRequest):
                again.learn(request, response)
            return answer
    msg = "The server forgets what it was sent at once. Is its memory for residents or graphs too small?"
    raise ServerError(msg)


def _together(inputs: Mapping[str, object], residents: Mapping[str, Array]) -> Mapping[str, object]:
    if not residents or not isinstance(inputs, Mapping):
        return inputs
    for name in inputs:
        if name in residents:
            msg = f"Input {name!r} is kept by the server. Leave it out, or take a graph without that resident."
            raise DuplicateInputError(msg, input=str(name)[:128])
    return {**inputs, **residents}


def _put(array: Array) -> Asked:
    beside = Beside()
    request = service_pb2.PutTensorRequest(tensor=tensor_from_array(array, beside))
    return _asked(request, beside, lambda response, _: response)


def _asked(request: Message, beside: Sequence[Array], read: Callable[[bytes, Arrivals | None], Any]) -> Asked:
    return Asked(type(request).__name__.removesuffix("Request"), request.SerializeToString(), beside, read)


def _request(graph: ComputationalGraph, arrays: Mapping[str, Array], question: Question, beside: Beside) -> Request:
    """Make the request; what can be judged here, where the graph is, is not sent to be refused there."""
    request: Request
    residents = question.residents.digests if question.residents else {}
    sent = {name: array for name, array in arrays.items() if name not in residents} if residents else arrays
    if question.kind:
        request = service_pb2.DifferentiateRequest(inputs=named_tensors(sent, beside))
        request.kind = service_pb2.DerivativeKind.Value(f"DERIVATIVE_KIND_{question.kind.upper()}")  # type: ignore[assignment]
    else:
        request = service_pb2.EvaluateRequest(inputs=named_tensors(sent, beside), debug=question.debug)
    for name, digest in residents.items():
        request.residents.add(name=name, digest=digest)
    if question.vectors is not None:
        request.vectors = judge_vectors(question.vectors)
    sources = dict.fromkeys(graph.outputs, "")
    wanted = judge_outputs(sources, question.outputs)
    if question.outputs is not None:
        request.outputs.names.extend(wanted)
        request.outputs.SetInParent()
    wrt = question.wrt
    if residents and wrt is None and question.kind != "jvp":
        # What does not change is not what gradients are wanted of, unless it is named.
        wrt = [name for name, array in sent.items() if is_differentiable(array.dtype)]
    if wrt is not None:
        request.wrt.names.extend(judge_wrt(arrays, wrt))
        request.wrt.SetInParent()
    if question.output_gradients is not None:
        judge_differentiated(wanted, question.output_gradients)
        weak = [name for name, value in question.output_gradients.items() if not hasattr(value, "__array__")]
        given = {
            # A Python number takes the dtype of its output, which the server knows.
            name: plain_array(value) if name in weak else as_array(value)
            for name, value in question.output_gradients.items()
        }
        request.output_gradients.tensors.extend(named_tensors(given, beside, weak))
        request.output_gradients.SetInParent()
    # Last, as in the message, for in that order chunks follow it.
    if isinstance(request, service_pb2.DifferentiateRequest) and question.directions is not None:
        request.directions.extend(named_tensors(_directions(arrays, question.directions), beside))
    return request


def _directions(inputs: Mapping[str, Array], given: Mapping[str, object]) -> dict[str, Array]:
    """Return directions in the dtypes of the inputs, which are known here."""
    if not isinstance(given, Mapping):
        msg = f"Directions are given by name of the input, not as {type(given).__name__}."
        raise RequestError(msg)
    judge_wrt(inputs, given)
    return {name: as_array(value, inputs[name].dtype) for name, value in given.items()}


def _answer(
    inputs: Mapping[str, Array], question: Question, body: bytes, arrivals: Arrivals | None
) -> tuple[Answer, Any]:
    """Read an answer, check that it fits the question, and return it with the response."""
    cls = service_pb2.DifferentiateResponse if question.kind else service_pb2.EvaluateResponse
    response = parse_response(cls, body)
    return _read(inputs, question, response, arrivals), response


def _read(inputs: Mapping[str, Array], question: Question, response: Any, arrivals: Arrivals | None) -> Answer:
    axis = () if question.vectors is None else (question.vectors,)
    match question.kind:
        case "jvp":
            outputs = named_arrays(response.outputs, "Output", arrivals, writable=True)
            return outputs, named_arrays(response.output_tangents, "Tangent", arrivals, writable=True)
        case "hvp":
            gradients = _gradients(response.input_gradients, inputs, (), arrivals)
            products = _gradients(response.products, inputs, axis, arrivals)
            disconnected = response.disconnected
            return InputGradients(gradients, disconnected), InputGradients(products, disconnected)
        case "":
            outputs = named_arrays(response.outputs, "Output", arrivals, writable=True)
            gradients = _gradients(response.input_gradients, inputs, axis, arrivals)
            diagnosis = diagnosis_from_message(response.diagnosis) if response.HasField("diagnosis") else None
            return outputs, InputGradients(gradients, response.disconnected, diagnosis)
        case _:
            blocks: dict[str, dict[str, Array]] = {}
            for block in response.blocks:
                array = array_from_tensor(block.tensor, f"Derivative of {quoted(block.of)}", arrivals, writable=True)
                by = inputs.get(block.by)
                if by is None or array.shape[array.ndim - by.ndim :] != by.shape:
                    msg = f"The server gave derivatives by {quoted(block.by)} that are none by that input."
                    raise ServerError(msg + " Is it another version?")
                blocks.setdefault(block.of, {})[block.by] = array
            return blocks


def _gradients(
    tensors: Any, inputs: Mapping[str, Array], axis: tuple[int, ...], arrivals: Arrivals | None
) -> dict[str, Array]:
    """Read gradients, and check that they are gradients of these inputs, with a first axis for several."""
    gradients = named_arrays(tensors, "Gradient", arrivals, writable=True)
    for name, gradient in gradients.items():
        of = inputs.get(name)
        if of is None or gradient.shape != (*axis, *of.shape) or gradient.dtype != of.dtype:
            msg = f"The server gave a gradient of {quoted(name)} that is none of that input. Is it another version?"
            raise ServerError(msg)
    return gradients
