"""How the fuzzer changes an input as what it means: a message by one field, a document or an expression by a word.

An input is a byte that says which target it is for, and what the target gets.
"""

import random
import re
from collections.abc import Callable

from google.protobuf.message import DecodeError, Message

from graphsvc.v1 import service_pb2
from tests.fuzzing.seeds import joined, split
from tests.mutations import mutate

__all__ = ["change"]

_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_.]*|-?\d[\d.eE+-]*|\s+|.", re.DOTALL)
_WORDS = (
    *(b"0", b"-1", b"1e308", b"9223372036854775808", b"1" * 5000, b'"\\ud800"', b"NaN", b'"NaN"', b"null", b"None"),
    *(b"[", b"]", b"{", b"}", b"(", b")", b":", b",", b"=", b".", b"...", b"**", b"@", b"-", b";", b"\n", b"#", b"'"),
    *(b'"', b'"x"', b"x", b"axis=", b"(" * 3000, b"[" * 3000, b"-" * 3000),
)


def _message(cls: type[Message]) -> Callable[[bytes, random.Random], bytes]:
    def changed(data: bytes, chance: random.Random) -> bytes:
        try:
            message = cls.FromString(data)
        except DecodeError:
            return data[: chance.randrange(len(data) + 1)]
        for _ in range(chance.choice((1, 1, 2, 5))):
            mutate(message, chance.choice)
        return message.SerializeToString()

    return changed


def _messages(data: bytes, chance: random.Random) -> bytes:
    messages = split(data)
    if not messages:
        return data
    at = chance.randrange(len(messages))
    match chance.choice(("change", "drop", "repeat", "swap", "fill")):
        case "change":
            messages[at] = _message(service_pb2.SessionRequest)(messages[at], chance)
        case "drop":
            del messages[at]
        case "repeat":
            messages.insert(at, messages[at])
        case "swap":
            messages[0], messages[at] = messages[at], messages[0]
        case "fill":
            messages[at] = service_pb2.SessionRequest(chunk=bytes(1 << chance.randrange(17))).SerializeToString()
    return joined(messages)


def _text(data: bytes, chance: random.Random) -> bytes:
    words = _WORD.findall(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(words) + 1)
        end = at + chance.choice((0, 1, 1, 2, 10))
        words[at:end] = chance.choice(
            ([], [chance.choice(_WORDS)], [chance.choice(words or _WORDS)], words[at:end] * 2)
        )
    return b"".join(words)


_CHANGES = (
    _message(service_pb2.EvaluateRequest),
    _message(service_pb2.DifferentiateRequest),
    _messages,
    _text,
    _text,
)


def change(data: bytes, chance: random.Random) -> bytes:
    """Return an input with one change of what it means, or a few."""
    return data[:1] + _CHANGES[data[0] % len(_CHANGES)](data[1:], chance)
