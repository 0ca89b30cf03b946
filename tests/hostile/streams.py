"""Group G: time, streams and cancelling."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np

from graphsvc.v1 import service_pb2
from tests.hostile.case import INVALID, OK, SERVICE, Answer, Built, Case, ended, made, question, session, unary
from tests.hostile.http2 import Connection, framed
from tests.hostile.tensors import CHUNKS, chunk, chunked
from tests.hostile.wire import GOOD, call

LATE = "DEADLINE_EXCEEDED DEADLINE_EXCEEDED"
"""By our own code; without a reason it is gRPC that tells of it."""

STALLED = "DEADLINE_EXCEEDED TRANSFER_STALLED"


def slow(count: int) -> service_pb2.EvaluateRequest:
    """Return a question that takes a fifth of a second so many times."""
    return question(
        "\n".join([f"a{i + 1} = faulty.sleep(a{i})" for i in range(count)] + [f"f = a{count}"]), {"a0": 1.0}
    )


def slowly(messages: Callable[[], Iterable[Built]], seconds: float) -> Callable[[], Iterator[bytes]]:
    """Return what makes messages with so much time between them, and after them."""

    def make() -> Iterator[bytes]:
        for one in messages():
            yield made(one)
            time.sleep(seconds)

    return make


def together(*asks: Callable[[str], Answer]) -> Callable[[str], Answer]:
    """Return what does several things at once, which must end alike."""

    def ask(target: str) -> Answer:
        with ThreadPoolExecutor(len(asks)) as threads:
            answers = list(threads.map(lambda one: one(target), asks))
        assert len({answer.code for answer in answers}) == 1, answers
        return answers[0]

    return ask


def behind(one: Built, ask: Callable[[str], Answer]) -> Callable[[str], Answer]:
    """Return what sends one question, takes it back in the end, and meanwhile asks another."""

    def asks(target: str) -> Answer:
        with grpc.insecure_channel(target) as channel:
            first = channel.unary_unary(SERVICE + "Evaluate").future(made(one), timeout=20)
            time.sleep(0.3)
            answer = ask(target)
            first.cancel()
        return answer

    return asks


def storm(target: str) -> Answer:
    """Ask five hundred times, and take each back at another moment."""
    data = made(slow(1))
    with grpc.insecure_channel(target) as channel:
        evaluate = channel.unary_unary(SERVICE + "Evaluate")
        for i in range(500):
            call = evaluate.future(data, timeout=20)
            if i % 3:
                time.sleep(0.001 * (i % 3))
            call.cancel()
    return Answer("CANCELLED")


def torn(target: str) -> Answer:
    """Send half of a tensor, and end the connection with a reset."""
    with Connection(target) as connection:
        connection.call(SERVICE + "Session")
        connection.data(framed(made(chunked())), end=False)
        connection.data(framed(CHUNKS[0])[:10_000], end=False)
        connection.tear()
    return Answer("CLOSED")


def idle(greeting: bytes) -> Callable[[str], Answer]:
    """Return what opens a connection, greets, and says no more."""

    def ask(target: str) -> Answer:
        with Connection(target, preface=False) as connection:
            connection.send(greeting)
            return connection.answer()

    return ask


def headers(*more: tuple[str, str], method: str = "Evaluate") -> Callable[[str], Answer]:
    """Return what sends the headers of a call alone."""

    def ask(target: str) -> Answer:
        with Connection(target) as connection:
            connection.call(SERVICE + method, *more)
            return connection.answer()

    return ask


def headers_beside(target: str) -> Answer:
    """Send the headers of fifty calls alone, on one connection and another, and ask a good question beside."""
    with Connection(target) as one, Connection(target) as other:
        for connection in (one, other):
            for i in range(50):
                connection.call(stream=2 * i + 1)
        return unary(GOOD, timeout=10)(target)


def pings(target: str) -> Answer:
    """Send a ping a hundred times, as no client should."""
    with Connection(target) as connection:
        connection.call()
        for _ in range(100):
            connection.send(b"\0\0\x08\x06\0\0\0\0\0" + bytes(8))
            time.sleep(0.005)
        return connection.answer()


def same(target: str) -> Answer:
    """Ask the same thing twenty times at once."""
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: unary(GOOD)(target), range(20)))
    assert len(set(answers)) == 1
    return answers[0]


def large() -> service_pb2.SessionRequest:
    """Return a question whose answer has 96 MB."""
    wide = question("f = broadcast_to(x, shape=[12000000])", {"x": 1.0}, wrt=[])
    return service_pb2.SessionRequest(id=1, evaluate=wide)


def deaf(target: str) -> Answer:
    """Ask for a large answer, and read none of it for longer than the server waits."""
    with grpc.insecure_channel(target) as channel:
        stream = channel.stream_stream(SERVICE + "Session")(slowly(lambda: [large()], 5)(), timeout=60)
        time.sleep(4)
        try:
            return Answer(OK, responses=tuple(stream))
        except grpc.RpcError as error:
            return ended(error)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

CASES = [
    Case("G1", "no time at all", f"DEADLINE_EXCEEDED | {LATE}", unary(GOOD, timeout=0)),
    Case("G1", "a nanosecond", f"DEADLINE_EXCEEDED | {LATE} | RESET", call(("grpc-timeout", "1n"))),
    Case(
        "G2",
        "less time than it takes",
        "DEADLINE_EXCEEDED DEADLINE_TOO_SHORT",
        unary(
            lambda: question(
                "a = x @ y\nb = a @ a\nc = b @ b\nd = c @ c\nf = sum(d @ d)",
                {"x": np.ones((1850, 1)), "y": np.ones((1, 1850))},
            ),
            timeout=0.5,
        ),
    ),
    Case(
        "G3",
        "no more time while others run",
        # The clock of the client or that of the server is first.
        f"DEADLINE_EXCEEDED | {LATE}",
        behind(slow(8), unary(slow(1), timeout=0.3)),
        server="tight",
    ),
    Case(
        "G3",
        "no more time in a session while others run",
        LATE,
        behind(slow(8), session(lambda: [service_pb2.SessionRequest(id=1, evaluate=slow(1), timeout_ms=300)])),
        server="tight",
    ),
    Case("G4", "no more time while a gate runs", f"DEADLINE_EXCEEDED | {LATE}", unary(slow(20), timeout=0.5)),
    Case("G5", "any time, and more than there is", LATE, unary(slow(20), timeout=None), server="tight"),
    Case("G6", "eleven thousand years", OK, call(("grpc-timeout", "99999999H"))),
    Case("G8", "five hundred calls that are taken back", "CANCELLED", storm),
    Case("G9", "a connection torn in a tensor", "CLOSED", torn),
    Case(
        "G10",
        "connections that say nothing, or no more than hello",
        "CLOSED",
        together(idle(b""), idle(PREFACE), idle(PREFACE[:10])),
    ),
    Case(
        "G11",
        "headers of a call, and some time",
        f"DEADLINE_EXCEEDED | {LATE} | RESET",
        headers(("grpc-timeout", "300m")),
    ),
    Case("G11", "headers of a session", "DEADLINE_EXCEEDED", headers(method="Session"), server="tight"),
    Case("G11", "headers of a hundred calls", OK, headers_beside),
    Case(
        "G12",
        "64 KiB from time to time",
        STALLED,
        session(slowly(lambda: [chunked(np.empty(10**7)), *[chunk(2**16)] * 40], 0.3)),
        server="forgetful",
    ),
    Case(
        "C20",
        "8 MB declared, and nothing more",
        STALLED,
        session(slowly(lambda: [chunked(np.empty(10**6)), chunk(2**16)], 2)),
        server="tight",
    ),
    Case("G13", "an answer that nobody reads", STALLED, deaf, server="forgetful"),
    Case("G14", "a session of nothing", OK, session(list)),
    Case("G14", "a question that ends before its tensor", f"{INVALID} REQUEST_INVALID", session(lambda: [chunked()])),
    Case("G15", "one question twenty times", OK, same),
    Case("G17", "a hundred pings", "UNAVAILABLE | CLOSED", pings),
]
