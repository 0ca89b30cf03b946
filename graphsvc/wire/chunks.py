"""Tensors in chunks: data that travel beside their message, straight into the array that they are for.

A message with a large tensor in it would be copied whole several times on its way; a chunk is small.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from graphsvc.arrays import Array
from graphsvc.errors import LimitError, TensorError
from graphsvc.wire.varints import read_varint, varint

__all__ = [
    "CHUNKED_BYTES",
    "CHUNK_BYTES",
    "MOST_IN_MESSAGE",
    "SMALLEST_CHUNK",
    "Arrivals",
    "Beside",
    "chunk_data",
    "chunk_messages",
]

CHUNKED_BYTES: Final = 1 << 18
"""From how many on arrays go in chunks. In a message, copies of more than that take longer than chunks do."""

_FEW_BYTES: Final = 1 << 14
"""A smaller array goes in its message as long as there is room, for a chunk of its own would take longer."""

MOST_IN_MESSAGE: Final = 1 << 20
"""Arrays of which some go in chunks have less than this in their message together."""

CHUNK_BYTES: Final = 1 << 20
"""What a chunk holds unless it is its tensor's last."""

SMALLEST_CHUNK: Final = 1 << 16
"""The least that a chunk holds unless it is its tensor's last, so that their number is bounded."""

_TAG: Final = b"\x32"
"""Field 6, of bytes: a chunk in `SessionRequest` and `SessionResponse` alike."""


class Beside(list[Array]):
    """The arrays of one message whose data follow it in chunks, in their order."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self._in_message = 0

    def takes(self, array: Array) -> bool:
        """Tell whether an array goes in chunks, and take it if so.

        Large ones do, others once the message has as much as a large one in it, and all once it is full.
        """
        together = self._in_message + array.nbytes
        least = _FEW_BYTES if together < MOST_IN_MESSAGE else 1
        if together < CHUNKED_BYTES or array.nbytes < least:
            self._in_message = together
            return False
        self.append(array)
        return True


class Arrivals:
    """The chunked tensors of one message, in their order, while their data come."""

    def __init__(self, limit: int, name: str, setters: str = "", *, kept: bool = True) -> None:
        """Expect nothing yet.

        Args:
            limit: The most bytes that all may have.
            name: Name of that limit, for programs.
            setters: What sets it, for the message of an error.
            kept: Whether the data are put into the arrays, and not only counted.
        """
        self._kept = kept
        self._setters = setters or name
        self._limit = limit
        self._name = name
        self._waiting: list[tuple[Array, str]] = []
        self._current = 0
        self._at = 0
        self.nbytes = 0

    def expect(self, shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> Array:
        """Return an array that the data are going to be in; until they come its memory is not touched.

        Raises:
            LimitError: That is more than may come.
        """
        self.nbytes += math.prod(shape) * dtype.itemsize
        if self.nbytes > self._limit:
            msg = f"{what} would bring the data to {self.nbytes:,} bytes; {self._limit:,} may come ({self._setters})."
            raise LimitError(msg, limit=self._name, asked=str(self.nbytes))
        array = np.empty(shape, dtype)
        if array.nbytes:
            self._waiting.append((array, what))
        return array

    @property
    def complete(self) -> bool:
        """Whether all data have come."""
        return self._current == len(self._waiting)

    def accept(self, data: memoryview) -> None:
        """Put the next chunk where it belongs.

        Raises:
            TensorError: It is longer than what is missing of its tensor, or makes booleans of other bytes than 0 and 1.
            LimitError: It is too small to be one of many.
        """
        array, what = self._waiting[self._current]
        flat = array.reshape(-1).view(np.uint8)
        missing = flat.size - self._at
        if len(data) > missing:
            msg = (
                f"{what}: a chunk of {len(data)} bytes came where {missing} are missing. End it where its tensor ends."
            )
            raise TensorError(msg)
        if len(data) < min(SMALLEST_CHUNK, missing):
            msg = f"{what}: a chunk of {len(data)} bytes came where {missing} are missing."
            msg += f" Only the last chunk of a tensor may have less than {SMALLEST_CHUNK}."
            raise LimitError(msg, limit="smallest_chunk", asked=str(len(data)))
        if self._kept:
            piece = flat[self._at : self._at + len(data)]
            piece[:] = np.frombuffer(data, np.uint8)
            if array.dtype.kind == "b" and piece.max() > 1:
                msg = f"{what}: booleans are the bytes 0 and 1, got others. Send one byte for each."
                raise TensorError(msg)
        self._at += len(data)
        if len(data) == missing:
            self._current += 1
            self._at = 0


def chunk_messages(arrays: Iterable[Array]) -> Iterator[bytes]:
    """Yield the data of arrays as messages: `SessionRequest`s or `SessionResponse`s, which are alike in this."""
    for array in arrays:
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        for start in range(0, len(flat), CHUNK_BYTES):
            piece = flat[start : start + CHUNK_BYTES]
            yield b"".join((_TAG, varint(len(piece)), piece))


def chunk_data(message: bytes) -> memoryview | None:
    """Return the data of a message that is a chunk and nothing else, without parsing it; None for any other."""
    if message[:1] != _TAG:
        return None
    try:
        length, at = read_varint(message, 1)
    except IndexError:
        return None
    return memoryview(message)[at:] if at + length == len(message) else None
