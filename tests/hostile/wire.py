"""Group A: the wire, and how messages are parsed."""

import gzip
from collections.abc import Callable

import grpc

from graphsvc.v1 import service_pb2
from tests.hostile.case import (
    INVALID,
    LIMIT,
    MIB,
    OK,
    SERVICE,
    Answer,
    Case,
    changed,
    question,
    session,
    unary,
    with_graph,
)
from tests.hostile.http2 import Connection, framed, said

GOOD = question().SerializeToString()
MALFORMED = f"{INVALID} MESSAGE_MALFORMED"


def field(number: int, data: bytes) -> bytes:
    """Return a field with a length, as protobuf writes it."""
    return tag(number, 2) + varint(len(data)) + data


def tag(number: int, kind: int) -> bytes:
    return varint(number << 3 | kind)


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 128:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def graph_of(*fields: bytes) -> Callable[[], bytes]:
    """Return what makes a good question with further fields in its graph."""
    return lambda: GOOD + field(1, b"".join(fields))


def call(*headers: tuple[str, bytes | str], data: bytes = framed(GOOD), path: bytes | str = SERVICE + "Evaluate"):
    """Return what makes a call with headers and data of any kind."""

    def ask(target: str) -> Answer:
        with Connection(target) as connection:
            connection.call(path, *headers)
            connection.data(data)
            return connection.answer()

    return ask


def announced(length: int):
    """Return what announces a message and sends nothing of it."""

    def ask(target: str) -> Answer:
        with Connection(target) as connection:
            connection.call()
            connection.data(framed(b"", length=length), end=False)
            return connection.answer()

    return ask


def several(target: str) -> Answer:
    """Send two messages to a method that takes one."""
    with Connection(target) as connection:
        connection.call()
        connection.data(framed(GOOD) + framed(GOOD))
        return connection.answer()


def rapid_reset(target: str) -> Answer:
    """Open streams and take them back at once, ten thousand times."""
    with Connection(target) as connection:
        for number in range(10_000):
            connection.call(stream=2 * number + 1)
            connection.reset(2 * number + 1)
        connection.call(stream=20_001)
        connection.data(framed(GOOD), stream=20_001)
        return connection.answer(20_001)


def bomb(data: bytes = bytes(128 * MIB)) -> Callable[[str], Answer]:
    return lambda target: unary(data, compression=grpc.Compression.Gzip)(target)


CASES = [
    Case("A1", "garbage", MALFORMED, unary(bytes(range(256)))),
    Case("A2", "a truncated message", MALFORMED, unary(GOOD[:-3])),
    Case("A2", "a varint of 11 bytes", MALFORMED, unary(b"\x08" + b"\xff" * 11)),
    Case("A2", "a length beyond the end", MALFORMED, unary(b"\x0a\xff\xff\xff\xff\x07")),
    Case("A2", "a wrong wire type", f"{INVALID} REQUEST_INVALID", unary(tag(1, 0) + b"\x05")),
    Case("A3", "an empty message", f"{INVALID} REQUEST_INVALID", unary(b""), says="no graph"),
    Case("A3", "an empty graph", f"{INVALID} DOCUMENT_INVALID", unary(with_graph(format_version=0, outputs=[]))),
    Case("A4", "text that is no UTF-8", MALFORMED, unary(b"\x1a\x04\x0a\x02\xff\xfe")),
    Case("A4", "a node's name that is no UTF-8", MALFORMED, unary(graph_of(field(5, field(1, b"\xff"))))),
    Case("A5", "groups in groups", MALFORMED, unary(tag(15, 3) * 1000 + tag(15, 4) * 1000)),
    Case("A6", "a MiB of one unknown field", OK, unary(lambda: GOOD + field(99, bytes(MIB)))),
    Case("A6", "a MiB of unknown fields", OK, unary(lambda: GOOD + b"\xf8\x01\x00" * (MIB // 3))),
    Case("A7", "a byte too many", "RESOURCE_EXHAUSTED", unary(lambda: bytes(64 * MIB + 1))),
    Case("A8", "2 GiB announced", "RESOURCE_EXHAUSTED", announced(2**31), peak=4 * MIB),
    Case("A8", "4 GiB announced", "RESOURCE_EXHAUSTED", announced(2**32 - 1), peak=4 * MIB),
    Case("A9", "a gzip bomb", "UNIMPLEMENTED", bomb(), peak=8 * MIB),
    Case(
        "A10",
        "gzip that is none",
        "INTERNAL | UNIMPLEMENTED",
        call(("grpc-encoding", "gzip"), data=framed(b"no gzip", compressed=True)),
    ),
    Case(
        "A10",
        "an unknown encoding",
        "UNIMPLEMENTED | INTERNAL",
        call(("grpc-encoding", "secret"), data=framed(gzip.compress(GOOD), compressed=True)),
    ),
    Case("A10", "compressed by nothing", "INTERNAL", call(data=framed(GOOD, compressed=True))),
    Case("A11", "2 Mi empty nodes", LIMIT, unary(graph_of(b"\x2a\x00" * 2 * MIB)), says="'max_nodes'", peak=16 * MIB),
    Case("A11", "2 Mi empty inputs", LIMIT, unary(lambda: GOOD + b"\x1a\x00" * 2 * MIB), "'max_tensors'", 16 * MIB),
    Case(
        "A12",
        "4 Mi axes",
        f"{INVALID} TENSOR_INVALID",
        unary(changed(lambda r: r.inputs[0].tensor.shape.extend([1] * 4 * MIB))),
        peak=24 * MIB,
    ),
    Case("A13", "one gate's version a million times", LIMIT, unary(graph_of(field(2, field(1, b"add")) * 10**6))),
    Case(
        "A13",
        "versions of two hundred thousand gates",
        LIMIT,
        unary(lambda: graph_of(*(field(2, field(1, b"g%d" % i)) for i in range(200_000)))()),
    ),
    Case("A14", "20 kB of metadata", "OK | RESOURCE_EXHAUSTED | CLOSED", call(("x-large", "a" * 20_000))),
    Case(
        "A14",
        "ten thousand headers",
        "OK | RESOURCE_EXHAUSTED | CLOSED",
        call(*((f"x-{i}", "1") for i in range(10_000))),
    ),
    Case("A14", "binary metadata that is no base64", "OK | INTERNAL | CLOSED", call(("x-bin", "!!!"))),
    Case(
        "A15",
        "an unknown dtype",
        f"{INVALID} TENSOR_INVALID",
        unary(changed(lambda r: setattr(r.inputs[0].tensor, "dtype", 9999))),
        says="no dtype of number 9999",
    ),
    Case(
        "A16",
        "data and chunks of one tensor",
        f"{INVALID} TENSOR_INVALID",
        session(
            lambda: [
                service_pb2.SessionRequest(evaluate=changed(lambda r: setattr(r.inputs[0].tensor, "chunked", True))())
            ]
        ),
    ),
    *(
        Case("A17", f"the method {name}", "UNIMPLEMENTED | CLOSED | INTERNAL", call(path=path))
        for name, path in {
            "/x/../Compute": "/x/../Compute",
            "of no name": "",
            "of 64 kB": "/" + "a" * 65_000,
            "of other letters": "/é\n\x1b".encode(),
        }.items()
    ),
    Case("A18", "HTTP/1.1", "CLOSED", said(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")),
    Case("A18", "TLS", "CLOSED", said(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(160))),
    Case("A18", "random bytes", "CLOSED", said(bytes(range(1, 256)) * 4)),
    Case("A19", "ten thousand streams taken back", "OK | RESET | CLOSED", rapid_reset),
    Case("A20", "two messages for one", "INTERNAL | UNIMPLEMENTED | OK", several),
]
