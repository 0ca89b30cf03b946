"""What the fuzzer calls: everything that a stranger's bytes pass before anything is run for them."""

import math
from typing import TypeVar

from google.protobuf.message import Message

from graphsvc.document import GraphDocument, digest_of, document_from_json, document_to_json
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.reading import parse
from graphsvc.engine.registry import default_registry
from graphsvc.errors import GraphsvcError
from graphsvc.serving.admission import Machine, judge
from graphsvc.serving.service import Request, Service
from graphsvc.serving.settings import Settings
from graphsvc.serving.stop import Stop
from graphsvc.v1 import service_pb2
from graphsvc.wire.chunks import Arrivals, chunk_data
from graphsvc.wire.codec import document_from_graph, graph_from_document
from graphsvc.wire.fields import Most, count_fields
from graphsvc.wire.status import error_from_packed, packed_status, status_of
from tests.fuzzing.seeds import split

__all__ = ["TARGETS", "refusal", "try_input"]

_SETTINGS = Settings(max_message_bytes=4 << 20, max_request_bytes=4 << 20, cached_bytes=1 << 20, resident_bytes=1 << 20)
_SERVICE = Service(default_registry(), {}, _SETTINGS)
_MACHINE = Machine(5e9, 2e9)
_SECONDS = 60.0
_LONGEST_STATUS = 4096
_MANY = Most(_SETTINGS.max_operands, "max_operands")

_M = TypeVar("_M", bound=Message)


def question(data: bytes) -> None:
    """An EvaluateRequest: read, checked, estimated."""
    _estimated(_parsed(service_pb2.EvaluateRequest, data), len(data))


def derivative(data: bytes) -> None:
    """A DifferentiateRequest, as well."""
    _estimated(_parsed(service_pb2.DifferentiateRequest, data), len(data))


def session(data: bytes) -> None:
    """The messages of a session: requests, and the chunks of their tensors."""
    messages = iter(split(data))
    for message in messages:
        said = _parsed(service_pb2.SessionRequest, message)
        kind = said.WhichOneof("request")
        if kind in (None, "chunk"):
            return
        arrivals = Arrivals(_SETTINGS.max_request_bytes, "max_request_bytes")
        _estimated(getattr(said, kind), len(message), arrivals)
        while not arrivals.complete:
            piece = chunk_data(next(messages, b""))
            if piece is None:
                return
            arrivals.accept(piece)


def document(data: bytes) -> None:
    """A graph in JSON; what is read is written and read again without loss."""
    made = document_from_json(data)
    _graph_of(made)


def expression(data: bytes) -> None:
    """An expression, and the document that it is."""
    _graph_of(parse(data.decode("utf-8", "replace")).document())


TARGETS = (question, derivative, session, document, expression)


def refusal(data: bytes) -> GraphsvcError | None:
    """Put an input to its target, and return the error of ours that it ends with; anything else escapes."""
    try:
        TARGETS[data[0] % len(TARGETS)](data[1:])
    except GraphsvcError as error:
        return error
    return None


def try_input(data: bytes) -> None:
    """Try an input: if it is refused, a server must be able to say why."""
    error = refusal(data) if data else None
    if error is not None:
        packed = packed_status(status_of(error))
        assert len(packed) <= _LONGEST_STATUS, packed
        assert error_from_packed(packed).reason == error.reason


def _parsed(cls: type[_M], data: bytes) -> _M:
    """Parse a message as a server does, with its fields counted before, which a server leaves out for a small one."""
    count_fields(cls, data, {}, _MANY)
    return _SERVICE.parse(cls, data)


def _estimated(request: Request, nbytes: int, arrivals: Arrivals | None = None) -> None:
    stop = Stop(_SECONDS)
    work = _SERVICE.read(request, nbytes, stop, arrivals)
    seconds = _MACHINE.seconds(work.estimate)
    assert math.isfinite(seconds)
    assert seconds >= 0
    judge(work.estimate, seconds, stop.remaining, _SETTINGS)
    assert work.needed_bytes(_SETTINGS.max_run_bytes) >= work.held_bytes


def _graph_of(made: GraphDocument) -> None:
    digest = digest_of(made)
    assert digest_of(document_from_json(document_to_json(made))) == digest
    assert digest_of(document_from_graph(graph_from_document(made))) == digest
    ComputationalGraph.from_document(made).check()
