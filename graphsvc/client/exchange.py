"""What a client says to a server, without the saying: requests made, answers read, for both kinds of client."""

import functools
import math
import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, cast

from graphsvc.arrays import Array, as_array, is_differentiable, plain_array, read_only
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
from graphsvc.wire.chunks import Arrivals, chunk_data, chunk_messages
from graphsvc.wire.codec import (
    array_from_tensor,
    graph_from_document,
    named_arrays,
    named_tensors,
    parse_message,
    tensor_digest,
    tensor_from_array,
)
from graphsvc.wire.diagnoses import diagnosis_from_message
from graphsvc.wire.status import error_from_packed

__all__ = [
    "Answer",
    "Asked",
    "Conversation",
    "Listener",
    "Question",
    "Residents",
    "check_target",
    "check_timeout",
    "converse",
]

_KNOWN_GRAPHS: Final = 4096

_LONGEST_TIMEOUT: Final = 1e8
"""Three years; gRPC takes a longer one for none that is left."""

_TARGET: Final = re.compile(r"(unix|unix-abstract|dns|ipv4|ipv6|xds):\S+|(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}")

Answer: TypeAlias = Any
"""What the method of `ComputationalGraph` of the same name returns."""

Request: TypeAlias = service_pb2.EvaluateRequest | service_pb2.DifferentiateRequest | service_pb2.PutTensorRequest


class Asked(NamedTuple):
    """A request, ready to be sent.

    Attributes:
        request: The request.
        beside: Its large arrays, which follow it in chunks; a request that has any goes through a session.
        read: Makes the response into what was asked for; the arrays of chunked tensors are filled afterwards.
    """

    request: Request
    beside: list[Array]
    read: Callable[[Any, Arrivals | None], Any]

    @property
    def kind(self) -> str:
        """The field for it in a `SessionRequest`."""
        return _KINDS[type(self.request)]

    @property
    def method(self) -> str:
        """The method for it."""
        return type(self.request).__name__.removesuffix("Request")

    def messages(self, number: int, seconds: float | None) -> Iterator[bytes]:
        """Yield what is sent for it in a session: the request, then its chunks.

        Args:
            number: Its id.
            seconds: How long the answer may take; None means any time.
        """
        milliseconds = None if seconds is None else max(1, min(int(1000 * seconds), _MOST_MILLISECONDS))
        message = service_pb2.SessionRequest(id=number, timeout_ms=milliseconds, **{self.kind: self.request})  # type: ignore[arg-type]
        yield message.SerializeToString()
        yield from chunk_messages(self.beside)


_KINDS: Final[dict[type, str]] = {
    service_pb2.EvaluateRequest: "evaluate",
    service_pb2.DifferentiateRequest: "differentiate",
    service_pb2.PutTensorRequest: "put_tensor",
}

_MOST_MILLISECONDS: Final = 2**32 - 1

Conversation: TypeAlias = Generator[Asked, Any, Answer]
"""Yields what is to be asked and is sent what was read; errors of a call are thrown into it."""


class Listener:
    """The client's side of what comes in a session. It belongs to who reads the stream."""

    def __init__(self) -> None:
        """Wait for nothing yet."""
        self._reads: dict[int, Callable[[Any, Arrivals | None], Any]] = {}
        self._filling: tuple[int, Any, Arrivals] | None = None

    def expect(self, number: int, asked: Asked) -> None:
        """Wait for the answer to a request of this id. Any thread may call it."""
        self._reads[number] = asked.read

    def hear(self, data: bytes) -> tuple[int, Any] | None:
        """Take the next message.

        Returns:
            The id of the answer that is complete with it, and the answer or the error; None while more is to come.

        Raises:
            ServerError: It is none that a server would send.
        """
        if self._filling:
            number, answer, arrivals = self._filling
            piece = chunk_data(data)
            if piece is None:
                msg = "The server sent no chunk where one belongs. Is it another version?"
                raise ServerError(msg)
            arrivals.accept(piece)
        else:
            number, answer, arrivals = self._read(parse_message(service_pb2.SessionResponse, data))
        self._filling = None if arrivals.complete else (number, answer, arrivals)
        return (number, answer) if arrivals.complete else None

    def _read(self, message: service_pb2.SessionResponse) -> tuple[int, Any, Arrivals]:
        arrivals = Arrivals(sys.maxsize, "memory")
        kind = message.WhichOneof("response")
        if kind == "status":
            return message.id, error_from_packed(message.status), arrivals
        read = self._reads.pop(message.id, None)
        if kind is None or kind == "chunk" or read is None:
            msg = "The server sent an answer to nothing. Is it another version?"
            raise ServerError(msg)
        return message.id, read(getattr(message, kind), arrivals), arrivals


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a graph; the fields are the arguments of the methods of `ComputationalGraph`.

    Attributes:
        kind: `jvp`, `hvp`, `jacobian` or `hessian`; empty for outputs and gradients.
        directions: For `jvp` and `hvp`.
        residents: Inputs that the server is to keep.
        debug: Whether a diagnosis is wanted, with outputs and gradients.
    """

    inputs: Mapping[str, object]
    wrt: Iterable[str] | None = None
    output_gradients: Mapping[str, object] | None = None
    outputs: Iterable[str] | None = None
    vectors: int | None = None
    kind: str = ""
    directions: Mapping[str, object] | None = None
    residents: "Residents | None" = None
    debug: bool = False


class Residents:
    """Inputs of a graph that a server keeps, by name, with their digests.

    The arrays stay here as well, unchangeable, to be sent again to a server that no longer has them.
    """

    def __init__(self, graph: ComputationalGraph, arrays: Mapping[str, object]) -> None:
        """Judge inputs.

        Raises:
            InputError: The graph has no such input, or one does not fit.
        """
        self.arrays = {
            name: read_only(array.copy()) for name, array in graph.judge_inputs(arrays, partial=True).items()
        }
        self.digests = {name: tensor_digest(array) for name, array in self.arrays.items()}


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
    residents = question.residents.arrays if question.residents else {}
    arrays = graph.judge_inputs(_together(question.inputs, residents))
    asked = _asked(graph, arrays, question)
    request = cast("service_pb2.EvaluateRequest | service_pb2.DifferentiateRequest", asked.request)
    mine = graph.digest()
    # Each may turn out to be unknown there once: the graph, and each resident.
    for _ in range(2 + len(residents)):
        theirs = known.get(mine)
        if theirs is not None:
            request.graph_digest = theirs
        elif request.WhichOneof("source") != "graph":
            request.graph.CopyFrom(graph_from_document(graph.document()))
        try:
            answer, digest = yield asked
        except UnknownGraphError:
            if known.pop(mine, None) is None:
                raise
        except UnknownResidentError as error:
            name = error.facts.get("input", "")
            if name not in residents:
                raise
            yield _put(residents[name])
        else:
            while len(known) >= _KNOWN_GRAPHS:
                known.pop(next(iter(known.copy())), None)
            known[mine] = digest
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
    beside: list[Array] = []
    request = service_pb2.PutTensorRequest(tensor=tensor_from_array(array, beside))
    return Asked(request, beside, lambda response, _: response)


def _asked(graph: ComputationalGraph, arrays: Mapping[str, Array], question: Question) -> Asked:
    """Make the request; what can be judged here, where the graph is, is not sent to be refused there."""
    request: service_pb2.EvaluateRequest | service_pb2.DifferentiateRequest
    beside: list[Array] = []
    residents = question.residents.digests if question.residents else {}
    sent = {name: array for name, array in arrays.items() if name not in residents} if residents else arrays
    if question.kind:
        request = service_pb2.DifferentiateRequest(inputs=named_tensors(sent, beside))
        request.kind = service_pb2.DerivativeKind.Value(f"DERIVATIVE_KIND_{question.kind.upper()}")  # type: ignore[assignment]
        if question.directions is not None:
            request.directions.extend(named_tensors(_directions(arrays, question.directions), beside))
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
    return Asked(request, beside, functools.partial(_answer, arrays, question))


def _directions(inputs: Mapping[str, Array], given: Mapping[str, object]) -> dict[str, Array]:
    """Return directions in the dtypes of the inputs, which are known here."""
    if not isinstance(given, Mapping):
        msg = f"Directions are given by name of the input, not as {type(given).__name__}."
        raise RequestError(msg)
    judge_wrt(inputs, given)
    return {name: as_array(value, inputs[name].dtype) for name, value in given.items()}


def _answer(
    inputs: Mapping[str, Array], question: Question, response: Any, arrivals: Arrivals | None
) -> tuple[Answer, bytes]:
    """Read an answer, check that it fits the question, and return it with the digest of the graph."""
    return _read(inputs, question, response, arrivals), response.graph_digest


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
