"""Clients of the echo, of the same kinds as graphsvc's; here `n` is the number of bytes."""

import queue
from collections.abc import Iterator

import grpc
import grpc.aio
from turns import Call, take_turns

CHUNK_BYTES = 1 << 20
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def unary(port: int, n: int) -> Call:
    """Return a call of the blocking client."""
    call = grpc.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED).unary_unary("/Echo/Unary")
    message = bytes(n)
    return lambda: call(message)


def stream(port: int, n: int) -> Call:
    """Return a call over a stream of the blocking client that stays open."""
    call = grpc.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED).stream_stream("/Echo/Stream")
    message = bytes(n)
    outgoing: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    answers = call(iter(outgoing.get, None))

    def echoed() -> bytes:
        outgoing.put(message)
        return next(answers)

    return echoed


def unary_awaited(port: int, n: int) -> Call:
    """Return a call of the client for asyncio."""
    call = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED).unary_unary("/Echo/Unary")
    message = bytes(n)

    async def echoed() -> bytes:
        return await call(message)

    return echoed


def stream_awaited(port: int, n: int) -> Call:
    """Return a call over a stream of the client for asyncio that stays open."""
    stream = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED).stream_stream("/Echo/Stream")()
    message = bytes(n)

    async def echoed() -> bytes:
        await stream.write(message)
        return await stream.read()

    return echoed


def chunked(port: int, n: int) -> Call:
    """Return a call that sends and receives an array in chunks."""
    call = grpc.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED).stream_stream("/Echo/Chunked")
    whole = memoryview(bytearray(n))

    def messages() -> Iterator[bytes]:
        yield str(n).encode()
        for start in range(0, n, CHUNK_BYTES):
            yield bytes(whole[start : start + CHUNK_BYTES])

    def echoed() -> memoryview:
        got = memoryview(bytearray(n))
        came = 0
        for data in call(messages()):
            got[came : came + len(data)] = data
            came += len(data)
        return got

    return echoed


def check(n: int, answer: bytes | memoryview) -> None:
    """Check that all came back."""
    assert answer == bytes(n), answer[:100]


take_turns(
    {
        "unary": unary,
        "session": stream,
        "unary, asyncio": unary_awaited,
        "session, asyncio": stream_awaited,
        "chunked": chunked,
    },
    check,
)
