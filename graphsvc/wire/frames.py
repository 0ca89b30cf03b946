"""Frames: the messages of a session, written and read around requests and responses that stay bytes."""

from typing import Final, NamedTuple

from google.protobuf.message import Message

from graphsvc.v1 import service_pb2
from graphsvc.wire.varints import read_varint, varint

__all__ = ["Frame", "framed", "unframed"]

_VARINT, _BYTES = 0, 2

_SMALL: Final = 1 << 32


class Frame(NamedTuple):
    """A message of a session.

    Attributes:
        number: Its id.
        kind: The field that is set of those of which one is.
        body: The bytes of that field.
        timeout_ms: Of a request, how long its answer may take; None means any time.
    """

    number: int
    kind: str
    body: bytes
    timeout_ms: int | None = None


def _tag(cls: type[Message], field: str) -> int:
    found = cls.DESCRIPTOR.fields_by_name[field]
    return found.number << 3 | (_BYTES if found.type in (found.TYPE_MESSAGE, found.TYPE_BYTES) else _VARINT)


def _kinds(cls: type[Message], alternative: str) -> dict[int, str]:
    return {_tag(cls, field.name): field.name for field in cls.DESCRIPTOR.oneofs_by_name[alternative].fields}


_KINDS: Final[dict[type[Message], dict[int, str]]] = {
    service_pb2.SessionRequest: _kinds(service_pb2.SessionRequest, "request"),
    service_pb2.SessionResponse: _kinds(service_pb2.SessionResponse, "response"),
}
_HEADS: Final = {cls: {kind: varint(tag) for tag, kind in kinds.items()} for cls, kinds in _KINDS.items()}
_ID: Final = varint(_tag(service_pb2.SessionRequest, "id"))
_TIMEOUT: Final = varint(_tag(service_pb2.SessionRequest, "timeout_ms"))


def framed(cls: type[Message], frame: Frame) -> bytes:
    """Return the bytes of a frame as a message of this class, which is `SessionRequest` or `SessionResponse`."""
    number, kind, body, timeout_ms = frame
    timeout = b"" if timeout_ms is None else _TIMEOUT + varint(timeout_ms)
    return b"".join((_ID, varint(number), timeout, _HEADS[cls][kind], varint(len(body)), body))


def unframed(cls: type[Message], message: bytes) -> Frame | None:
    """Return a message of a session as a frame; None if it is written in another way, which only a parser knows."""
    number, timeout_ms, at = 0, None, 0
    try:
        if message.startswith(_ID):
            number, at = read_varint(message, 1)
        if message.startswith(_TIMEOUT, at):
            timeout_ms, at = read_varint(message, at + 1)
        kind = _KINDS[cls].get(message[at])
        length, at = read_varint(message, at + 1)
    except IndexError:
        return None
    # Larger ones may be none to a parser.
    if kind is None or at + length != len(message) or number >= _SMALL or (timeout_ms or 0) >= _SMALL:
        return None
    return Frame(number, kind, message[at:], timeout_ms)
