"""One change of a valid message, of every kind: what bugs in a client, and strangers, send."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

__all__ = ["flip_bit", "mutate"]

Choose = Callable[[Sequence[Any]], Any]
"""Takes one of some things."""

_INT: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (0, 2**31 - 1),
}
_INTERESTING: Final = (-(2**63), -(2**31), -1, 0, 1, 2, 7, 33, 1 << 20, 2**31 - 1, 2**31, 2**62, 2**63 - 1)
_NUMBERS: Final = (math.nan, math.inf, -math.inf, -0.0, -1.0, 0.5, 1e308, 5e-324)
_TEXTS: Final = ("", "x" * 5000, "<script>", "__class__", "../../etc", "%s{}", "a:b", "good.twice", "\u0130", "\x00")
_UNKNOWN: Final = b"\xc2\x3e\x80\x08" + bytes(1024)
"""A field of number 1000 with 1 KiB of data, which no message has."""


def mutate(message: Message, choose: Choose) -> None:
    """Change one thing in a message, in place: a value, an entry of a list, or a message for another of its type."""
    messages = list(_messages(message))
    owner = choose(messages)
    if choose(range(40)) == 0:
        owner.MergeFromString(_UNKNOWN)
        return
    field = choose(owner.DESCRIPTOR.fields)
    if field.is_repeated:
        _mutate_list(getattr(owner, field.name), field, messages, choose)
    elif field.message_type:
        _mutate_message(owner, field, messages, choose)
    else:
        setattr(owner, field.name, choose(_values(field, getattr(owner, field.name), messages)))


def flip_bit(data: bytes, choose: Choose) -> bytes:
    """Return bytes of which one bit is another."""
    at = choose(range(len(data)))
    return data[:at] + bytes([data[at] ^ 1 << choose(range(8))]) + data[at + 1 :]


def _messages(message: Message) -> Iterator[Message]:
    """Yield a message and all that it holds."""
    yield message
    for field, value in message.ListFields():
        if field.message_type:
            for part in value if field.is_repeated else (value,):
                yield from _messages(part)


def _mutate_message(owner: Message, field: FieldDescriptor, messages: list[Message], choose: Choose) -> None:
    others = [other for other in messages if other.DESCRIPTOR is field.message_type]
    other = choose([None, *others])
    if other is None:
        present = owner.HasField(field.name)
        owner.ClearField(field.name)
        if not present:
            getattr(owner, field.name).SetInParent()
    elif other is not getattr(owner, field.name):
        mine, theirs = type(other)(), type(other)()
        mine.CopyFrom(getattr(owner, field.name))
        theirs.CopyFrom(other)
        # One of them may lie in the other, which is then gone.
        other.CopyFrom(mine)
        getattr(owner, field.name).CopyFrom(theirs)


def _mutate_list(items: Any, field: FieldDescriptor, messages: list[Message], choose: Choose) -> None:
    how = choose(["drop", "repeat", "swap", "clear", "change"])
    if field.message_type:
        if not items or how == "change":
            items.add()
            return
    elif not items or how == "change":
        blank = "" if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else 0
        value = choose(_values(field, items[0] if items else blank, messages))
        if items:
            items[choose(range(len(items)))] = value
        else:
            items.append(value)
        return
    at = choose(range(len(items)))
    if how == "drop":
        del items[at]
    elif how == "repeat":
        items.append(items[at])
    elif how == "clear":
        del items[:]
    else:
        parts = list(items)
        parts[0], parts[at] = parts[at], parts[0]
        copies = [_copy(part) for part in parts]
        del items[:]
        items.extend(copies)


def _copy(part: Any) -> Any:
    if not isinstance(part, Message):
        return part
    copy = type(part)()
    copy.CopyFrom(part)
    return copy


def _values(field: FieldDescriptor, value: Any, messages: list[Message]) -> Sequence[Any]:
    """Return what a field of one value may be changed to."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return [not value]
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return _NUMBERS
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            flipped = bytes([value[0] ^ 255]) + value[1:] if value else b"\x00"
            return [b"", value[:-1], value + b"\x00", value[::-1], flipped, b"\xff" * len(value)]
        case FieldDescriptor.CPPTYPE_STRING:
            return [*_names(messages), *_TEXTS, f"{value}x", value[:-1]]
        case kind:
            least, most = _INT[kind]
            return [number for number in (value + 1, value - 1, *_INTERESTING) if least <= number <= most]


def _names(messages: list[Message]) -> list[str]:
    """Return every text in the messages, each once."""
    found: dict[str, None] = {}
    for message in messages:
        for field, value in message.ListFields():
            if field.type == FieldDescriptor.TYPE_STRING:
                found.update(dict.fromkeys(value if field.is_repeated else [value]))
    return list(found)
