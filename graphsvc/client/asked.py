"""What is asked, ready to be sent, and the answers to it as they come in a session."""

import sys
from collections.abc import Callable, Iterator, Sequence
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

    def messages(self, number: int, seconds: float | None) -> Iterator[bytes]:
        """Yield what is sent for it in a session: the request, then its chunks.

        Args:
            number: Its id.
            seconds: How long the answer may take; None means any time.
        """
        milliseconds = None if seconds is None else max(1, min(int(1000 * seconds), _MOST_MILLISECONDS))
        yield framed(service_pb2.SessionRequest, Frame(number, _KINDS[self.method], self.body, milliseconds))
        yield from chunk_messages(self.beside)


_KINDS: Final = {"Evaluate": "evaluate", "Differentiate": "differentiate", "PutTensor": "put_tensor"}

_MOST_MILLISECONDS: Final = 2**32 - 1


class Listener:
    """The client's side of what comes in a session. It belongs to who reads the stream."""

    def __init__(self) -> None:
        """Wait for nothing yet."""
        self._reads: dict[int, Callable[[bytes, Arrivals | None], Any]] = {}
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
            number, answer, arrivals = self._read(_unframed(data))
        self._filling = None if arrivals.complete else (number, answer, arrivals)
        return (number, answer) if arrivals.complete else None

    def _read(self, frame: Frame) -> tuple[int, Any, Arrivals]:
        arrivals = Arrivals(sys.maxsize, "memory")
        if frame.kind == "status":
            return frame.number, error_from_packed(frame.body), arrivals
        read = self._reads.pop(frame.number, None)
        if frame.kind not in _KINDS.values() or read is None:
            msg = "The server sent an answer to nothing. Is it another version?"
            raise ServerError(msg)
        return frame.number, read(frame.body, arrivals), arrivals


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
