"""Fields of a message, counted before it is parsed: in memory, one of two bytes may take eighty.

The walk goes over the bytes as the parser will, and ends where there are more of something than there may be. What is
no message it leaves to the parser, which comes to the same place and says so. So it does with all that cannot hold too
many of anything, since too few bytes of the whole message look like the beginning of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

import numpy as np
from google.protobuf.message import Message

from graphsvc.arrays import MAX_RANK
from graphsvc.errors import LimitError, MessageError, TensorError
from graphsvc.wire.varints import read_varint

__all__ = ["Most", "count_fields"]

_Descriptor: TypeAlias = Any
"""There are two classes of them, in C and in Python."""

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_SHAPE: Final = 10 * MAX_RANK
_FIELDS_OF_EACH: Final = 4
"""How many times as many fields of all kinds there may be as of one."""

_SOON_PARSED: Final = 1 << 22
"""Bytes that are parsed in so little time that fields which take no memory need not be counted: 25 ms at the worst."""


class Most(NamedTuple):
    """How many there may be, the name of the limit that says so, and who sets it, for messages."""

    number: int
    limit: str
    setters: str = ""


def count_fields(message: type[Message], data: bytes, most: Mapping[str, Most], others: Most) -> None:
    """Refuse a message that has too many fields, with those of the messages in it.

    Args:
        message: What the bytes are, or may be.
        data: The bytes.
        most: How many there may be of fields of some names.
        others: How many there may be of each other one.

    Raises:
        LimitError: There are more; fields that are unknown count where the walk comes to them.
        TensorError: A shape has more lengths than any has.
        MessageError: The walk comes to a group, which no message of ours has.
    """
    walk = _Walk(data, most, others)
    try:
        walk.over(walk.lefts(message.DESCRIPTOR), 0, len(data))
    except IndexError:
        # It goes on beyond its end, as the parser will find too.
        return


@dataclass(slots=True)
class _Left:
    """How many more there may be of a field that holds a message, or many texts or numbers.

    Of what it holds, `message` becomes `inner` with the first one; None means that it is left out.
    """

    count: int
    most: Most
    name: str
    message: _Descriptor | None
    is_shape: bool
    inner: "_Lefts | None" = None


_Lefts: TypeAlias = dict[int, _Left]


class _Walk:
    """A walk over a message."""

    def __init__(self, data: bytes, most: Mapping[str, Most], others: Most) -> None:
        self._data = data
        self._most = most
        self._others = others
        self._lefts: dict[str, _Lefts] = {}
        # One for each field, wherever the walk is.
        self._fields = iter(range(_FIELDS_OF_EACH * others.number))

    def over(self, lefts: _Lefts, at: int, end: int) -> None:
        """Walk over the fields of a message between two places, of which there is one at least."""
        data = self._data
        for _ in self._fields:
            tag, at = data[at], at + 1
            if tag > 127:
                tag, at = read_varint(data, at - 1)
            kind = tag & 7
            if kind == _BYTES:
                length, at = data[at], at + 1
                if length > 127:
                    length, at = read_varint(data, at - 1)
                start, at = at, at + length
                if at > end:
                    raise IndexError
                left = lefts.get(tag)
                if left is not None:
                    if not left.count:
                        _refuse(left.name, left.most)
                    left.count -= 1
                    if left.message is not None:
                        self._open(left)
                    if left.inner is not None and length:
                        self.over(left.inner, start, at)
                    elif left.is_shape and length > _LONGEST_SHAPE:
                        msg = f"A shape has at most {MAX_RANK} lengths, got {length} bytes of them."
                        raise TensorError(msg)
            elif kind == _VARINT:
                _, at = read_varint(data, at)
            elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
                at += 8 if kind == _EIGHT_BYTES else 4
            else:
                msg = (
                    f"These {len(data)} bytes hold a group, as no message of graphsvc does. Send the protobuf message."
                )
                raise MessageError(msg)
            if at >= end:
                return
        _refuse("fields", self._others._replace(number=_FIELDS_OF_EACH * self._others.number))

    def lefts(self, message: _Descriptor) -> _Lefts:
        """Return what is counted of a message, by tag. Nothing else takes more in memory than on the wire."""
        lefts = self._lefts.get(message.full_name)
        if lefts is None:
            lefts = self._lefts[message.full_name] = {}
            for field in message.fields:
                if field.message_type or field.is_repeated:
                    most = self._most.get(field.name, self._others)
                    is_shape = field.type in (field.TYPE_INT64, field.TYPE_SINT64)
                    tag = field.number << 3 | _BYTES
                    lefts[tag] = _Left(most.number, most, field.name, field.message_type, is_shape)
        return lefts

    def _open(self, left: _Left) -> None:
        """Find out whether the messages of a field are to be walked over."""
        lefts = self.lefts(left.message)
        # Walked over until it is known to be few, so that a message that held others of its kind would be.
        left.message, left.inner = None, lefts
        if len(self._data) <= _SOON_PARSED and self._are_few(lefts):
            left.inner = None

    def _are_few(self, lefts: _Lefts) -> bool:
        """Tell whether there cannot be too many of anything, wherever in the whole message it may be."""
        for tag, left in lefts.items():
            if left.message is not None:
                self._open(left)
            if left.is_shape or left.inner is not None:
                return False
            # The highest bit is set where a tag is written in more bytes than it needs.
            if np.count_nonzero(np.frombuffer(self._data, np.uint8) & 127 == tag & 127) > left.count:
                return False
        return True


def _refuse(what: str, most: Most) -> NoReturn:
    msg = f"There are more than {most.number} {what}; this server takes no more ({most.setters or most.limit})."
    msg += " Send less at a time."
    raise LimitError(msg, limit=most.limit)
