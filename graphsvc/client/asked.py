"""What is asked, ready to be sent, and the answers to it as they come in a session."""

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from google.protobuf.message import Message

from graphsvc.arrays import Array
from graphsvc.errors import MessageError, ServerError
from graphsvc.v1 import service_pb2
from graphsvc.wire.chunks import Arrivals, chunk_data, chunk_messages
from graphsvc.wire.codec import parse_message
from graphsvc.wire.frames import Frame, framed, unframed
from graphsvc.wire.status import error_from_packed

__all__ = ["METHODS", "Asked", "Listener", "parse_response"]

_SERVICE: Final = service_pb2.DESCRIPTOR.services_by_name["GraphService"]

METHODS: Final = {method.name: f"/{_SERVICE.full_name}/{method.name}" for method in _SERVICE.methods}
"""The methods of a server as gRPC calls them."""

_M = TypeVar("_M", bound=Message)


class Asked(NamedTuple):
    """A request, ready to be sent.

    Attributes:
        method: The method for it.
        body: The bytes of its message.
        beside: Its large arrays, which follow it in chunks; a request that has any goes through a session.
        read: Makes the bytes of the response into what was asked for; the arrays of chunked tensors are filled
            afterwards.
    """

    method: str
    body: bytes
    beside: Sequence[Array]
    read: Callable[[bytes, Arrivals | None], Any]

    def messages(self, number: int, seconds: float | None) -> Iterable[bytes]:
        """Return what is sent for it in a session: the request, then its chunks.

        Args:
            number: Its id.
            seconds: How long the answer may take; None means any time.
        """
        milliseconds = None if seconds is None else max(1, min(int(1000 * seconds), _MOST_MILLISECONDS))
        frame = Frame(number, _KINDS[self.method], self.body, milliseconds)
        message = framed(service_pb2.SessionRequest, frame)
        return itertools.chain((message,), chunk_messages(self.beside)) if self.beside else (message,)


_KINDS: Final = {"Evaluate": "evaluate", "Differentiate": "differentiate", "PutTensor": "put_tensor"}

_MOST_MILLISECONDS: Final = 2**32 - 1


class Listener:
    """The client's side of what comes in a session for one question.

    Attributes:
        answer: What was asked for, or the error that the server gave for it, once it is complete.
    """

    __slots__ = ("_arrivals", "_number", "_read", "answer")

    def __init__(self, number: int, asked: Asked) -> None:
        """Wait for the answer to a request of this id."""
        self._number = number
        self._read = asked.read
        self._arrivals: Arrivals | None = None
        self.answer: Any = None

    def hear(self, data: bytes) -> bool:
        """Take the next message, and return whether the answer is complete with it.

        Raises:
            ServerError: It is none that a server would send.
        """
        if self._arrivals is not None:
            piece = chunk_data(data)
            if piece is None:
                msg = "The server sent no chunk where one belongs. Is it another version?"
                raise ServerError(msg)
            self._arrivals.accept(piece)
            return self._arrivals.complete
        number, kind, body, _ = _unframed(data)
        if number != self._number or kind not in _ANSWERS:
            msg = "The server sent an answer to nothing. Is it another version?"
            raise ServerError(msg)
        self._arrivals = Arrivals(sys.maxsize, "memory")
        self.answer = error_from_packed(body) if kind == "status" else self._read(body, self._arrivals)
        return self._arrivals.complete


_ANSWERS: Final = {*_KINDS.values(), "status"}


def _unframed(data: bytes) -> Frame:
    frame = unframed(service_pb2.SessionResponse, data)
    if frame is not None:
        return frame
    message = parse_response(service_pb2.SessionResponse, data)
    kind = message.WhichOneof("response") or ""
    part = getattr(message, kind, b"")
    return Frame(message.id, kind, part if isinstance(part, bytes) else part.SerializeToString())


def parse_response(cls: type[_M], data: bytes) -> _M:
    """Parse what a server sent.

    Raises:
        ServerError: The bytes are no message of this type.
    """
    try:
        return parse_message(cls, data)
    except MessageError:
        msg = f"The server sent {len(data)} bytes that are no {cls.DESCRIPTOR.full_name}. Is it another version?"
        raise ServerError(msg) from None
