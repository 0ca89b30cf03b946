"""Forms of messages: what is the same in all of those that differ in the elements of their tensors alone.

Most calls ask the same of other numbers. Their messages are written and read as bytes: those between the elements stand
there already, and where they stand again, so does all that they mean. Making and parsing messages takes several times
as long, most of all where caches are cold.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
from google.protobuf.message import Message

from graphsvc.arrays import Array
from graphsvc.errors import TensorError
from graphsvc.v1 import tensor_pb2
from graphsvc.wire.chunks import CHUNKED_BYTES
from graphsvc.wire.codec import array_from_tensor

__all__ = ["MOST_BYTES", "Form"]

_MOST_TEXT: Final = 1 << 12
"""What is kept of a message has at most so many bytes."""

MOST_BYTES: Final = CHUNKED_BYTES + _MOST_TEXT
"""Larger messages have no form: they take their time for their elements."""


class _Place(NamedTuple):
    """Where the elements of a tensor stand."""

    at: int
    size: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Form:
    """The form of a message."""

    __slots__ = ("_length", "_places", "_texts")

    def __init__(self, message: bytes, places: Iterable[_Place]) -> None:
        self._length = len(message)
        self._places = tuple(places)
        ends = [0, *[place.at + place.size * place.dtype.itemsize for place in self._places]]
        starts = [*[place.at for place in self._places], len(message)]
        # Each with its place.
        self._texts = tuple([(message[end:start], end) for end, start in zip(ends, starts, strict=True)])

    @classmethod
    def of(cls, message: Message, tensors: Sequence[tensor_pb2.Tensor]) -> Self | None:
        """Return the form of a message.

        Args:
            message: The message.
            tensors: All that it holds, in the order of its bytes.

        Returns:
            The form; None of a message that is large, or some elements of which are none, booleans or in chunks.
        """
        size = sum(len(tensor.data) for tensor in tensors)
        if size > CHUNKED_BYTES or message.ByteSize() - size > _MOST_TEXT or sys.byteorder != "little":
            return None
        try:
            arrays = [array_from_tensor(tensor, "") for tensor in tensors]
        except TensorError:
            return None
        # Booleans are judged element by element.
        if any(not array.size or array.dtype.kind == "b" for array in arrays):
            return None
        low, high = (_filled(message, tensors, byte) for byte in (b"\x00", b"\xff"))
        elements = np.flatnonzero(np.frombuffer(low, np.uint8) != np.frombuffer(high, np.uint8))
        places, passed = [], 0
        for array in arrays:
            places.append(_Place(int(elements[passed]), array.size, array.dtype, array.shape))
            passed += array.nbytes
        return cls(low, places)

    def write(self, arrays: Iterable[Array]) -> bytes | None:
        """Return the message with these elements; None if one has another shape or dtype."""
        pieces = []
        for array, (text, _), (_, _, dtype, shape) in zip(arrays, self._texts, self._places, strict=False):
            if array.shape != shape or array.dtype != dtype:
                return None
            pieces.append(text)
            pieces.append(array.tobytes())
        pieces.append(self._texts[-1][0])
        return b"".join(pieces)

    def read(self, message: bytes) -> list[Array] | None:
        """Return the arrays of a message, which share its bytes; None if it has another form."""
        if len(message) != self._length:
            return None
        for text, at in self._texts:
            if not message.startswith(text, at):
                return None
        return [np.frombuffer(message, dtype, size, at).reshape(shape) for at, size, dtype, shape in self._places]


def _filled(message: Message, tensors: Sequence[tensor_pb2.Tensor], byte: bytes) -> bytes:
    """Return the bytes of a message whose elements are all of this byte; the message stays as it is."""
    data = [tensor.data for tensor in tensors]
    try:
        for tensor in tensors:
            tensor.data = byte * len(tensor.data)
        return message.SerializeToString()
    finally:
        for tensor, elements in zip(tensors, data, strict=True):
            tensor.data = elements
