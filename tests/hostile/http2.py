"""A connection that says what no gRPC client would: frames of HTTP/2, or any bytes."""

import re
import socket
import struct
from contextlib import suppress
from typing import Final, Self

import grpc

from tests.hostile.case import SERVICE, Answer

__all__ = ["Connection", "framed", "said"]

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _CONTINUATION = 0, 1, 3, 4, 9
_END_STREAM, _END_HEADERS = 1, 4
_FRAME: Final = 16384

_CODES: Final = {code.value[0]: code.name for code in grpc.StatusCode}


class Connection:
    """A connection to a server, which is to be closed."""

    def __init__(self, target: str, *, preface: bool = True) -> None:
        """Connect."""
        host, port = target.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), timeout=20)
        if preface:
            self.send(_PREFACE + _frame(_SETTINGS, 0, 0, b""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes, which a server that closes does not take."""
        with suppress(ConnectionError):
            self._socket.sendall(data)

    def tear(self) -> None:
        """End the connection with a TCP reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def call(self, path: str | bytes = SERVICE + "Evaluate", *more: tuple[str, bytes | str], stream: int = 1) -> None:
        """Send the headers of a call."""
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        fields += [("te", "trailers"), ("content-type", "application/grpc"), *more]
        block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)
        pieces = [block[i : i + _FRAME] for i in range(0, len(block), _FRAME)]
        for i, piece in enumerate(pieces):
            last = _END_HEADERS if i == len(pieces) - 1 else 0
            self.send(_frame(_CONTINUATION if i else _HEADERS, last, stream, piece))

    def data(self, data: bytes, *, end: bool = True, stream: int = 1) -> None:
        """Send data of a call."""
        self.send(_frame(_DATA, _END_STREAM if end else 0, stream, data))

    def reset(self, stream: int) -> None:
        """Take a call back."""
        self.send(_frame(_RESET, 0, stream, struct.pack(">I", 8)))

    def answer(self, stream: int = 1, seconds: float = 20) -> Answer:
        """Return the code with which a call ends; `RESET`, `CLOSED` or `SILENT` if the server says none."""
        heard = b""
        self._socket.settimeout(seconds)
        try:
            while data := self._socket.recv(1 << 16):
                heard += data
                while len(heard) >= 9 and len(heard) >= 9 + int.from_bytes(heard[:3]):
                    size, kind, of = int.from_bytes(heard[:3]), heard[3], int.from_bytes(heard[5:9])
                    payload, heard = heard[9 : 9 + size], heard[9 + size :]
                    if of == stream and kind == _RESET:
                        return Answer("RESET")
                    # Servers write it so, where it is the first on its connection.
                    if of == stream and (found := re.search(rb"grpc-status[\x01\x02](\d+)", payload)):
                        return Answer(_CODES[int(found[1])])
        except TimeoutError:
            return Answer("SILENT")
        except ConnectionError:
            pass
        return Answer("CLOSED")


def framed(data: bytes, *, compressed: bool = False, length: int | None = None) -> bytes:
    """Return a message of gRPC with its prefix, true or not."""
    return struct.pack(">BI", compressed, len(data) if length is None else length) + data


def said(data: bytes, seconds: float = 20):
    """Return what sends any bytes on a connection of its own."""

    def ask(target: str) -> Answer:
        with Connection(target, preface=False) as connection:
            connection.send(data)
            return connection.answer(seconds=seconds)

    return ask


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(text: bytes | str) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return _integer(len(data)) + data


def _integer(number: int) -> bytes:
    """Encode a length of seven bits and more, as HPACK does."""
    if number < 127:
        return bytes([number])
    encoded, number = bytearray([127]), number - 127
    while number >= 128:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
