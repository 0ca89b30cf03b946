"""A call that is taken back at any stage: the server gives back what it had for it, exactly once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest

from graphsvc.engine.registry import default_registry
from graphsvc.serving.server import Server
from graphsvc.serving.settings import Settings
from graphsvc.v1 import service_pb2
from graphsvc.wire.status import error_from_packed
from tests.hostile.case import SERVICE, made, question
from tests.hostile.http2 import Connection
from tests.hostile.streams import large
from tests.hostile.tensors import CHUNKS, chunked

GOOD = made(question())
POWERS = "\n".join(f"a{i + 1} = a{i} @ a{i} * 1e-4" for i in range(8))
LONG = made(question(f"a0 = x @ y\n{POWERS}\nf = sum(a8)", {"x": np.ones((1200, 1)), "y": np.ones((1, 1200))}, wrt=[]))


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


class Stage:
    """A server in this very loop, and a client."""

    def __init__(self, server: Server, channel: grpc.aio.Channel) -> None:
        self.queue = server.calls._queue
        self.target = f"127.0.0.1:{server.port}"
        self.evaluate = channel.unary_unary(SERVICE + "Evaluate")
        self.session = channel.stream_stream(SERVICE + "Session")

    async def before_its_message(self) -> None:
        """Send headers, and take the call back."""
        with Connection(self.target) as connection:
            connection.call()
            await asyncio.sleep(0.1)
            connection.reset(1)

    async def while_it_waits(self) -> None:
        """Take back a call behind another, and then that."""
        first, second = self.evaluate(LONG), self.evaluate(LONG)
        await eventually(lambda: len(self.queue._waiting) == 1)
        second.cancel()
        await eventually(lambda: not self.queue._waiting)
        assert self.queue.used_bytes
        first.cancel()

    async def while_it_runs(self) -> None:
        """Take back a call in the middle of a gate."""
        call = self.evaluate(LONG)
        await eventually(lambda: self.queue.used_bytes > 0)
        await asyncio.sleep(0.05)
        call.cancel()

    async def while_its_tensor_comes(self) -> None:
        """Take back a session in the middle of a tensor."""
        call = self.session()
        for message in (chunked(), CHUNKS[0]):
            await call.write(made(message))
        await eventually(lambda: self.queue.used_bytes > 0)
        call.cancel()

    async def while_its_answer_goes(self) -> None:
        """Take back a session after the first chunks of its answer."""
        call = self.session()
        await call.write(made(large()))
        for _ in range(3):
            await call.read()
        assert self.queue.used_bytes
        call.cancel()

    async def after_its_answer(self) -> None:
        """Take back what has come to its end."""
        call = self.evaluate(GOOD)
        await call
        call.cancel()


@asynccontextmanager
async def staged(**changes: Any) -> AsyncIterator[Stage]:
    """Run a server of one thread, and have a client of it."""
    server = Server(Settings(port=0, threads=1, **changes), default_registry(), {})
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Stage(server, channel)
    finally:
        await server.stop()


@pytest.mark.parametrize("stage", [name for name in vars(Stage) if name.startswith(("before", "while", "after"))])
def test_a_call_that_is_taken_back_gives_back_what_it_had(stage: str):
    """Twice: places and bytes are all there again, and the next call is answered."""

    async def scenario() -> None:
        async with staged() as at:
            take_back: Callable[[], Awaitable[None]] = getattr(at, stage)
            for _ in range(2):
                await take_back()
                await eventually(lambda: at.queue.is_empty and at.queue.used_bytes == 0)
                assert await at.evaluate(GOOD, timeout=30)
            assert at.queue.used_bytes == 0

    asyncio.run(scenario())


def test_a_deadline_that_passes_in_the_queue_is_told_at_once():
    """A question of a session that waits for a long run is told when its time is up, and not when that is done."""

    async def scenario() -> None:
        async with staged() as at:
            running = at.evaluate(LONG)
            await eventually(lambda: at.queue.used_bytes > 0)
            call = at.session()
            await call.write(made(service_pb2.SessionRequest(id=3, timeout_ms=50, evaluate=question())))
            answer = service_pb2.SessionResponse.FromString(await call.read())
            assert not running.done()
            assert (answer.id, error_from_packed(answer.status).reason) == (3, "DEADLINE_EXCEEDED")
            assert not at.queue._waiting
            running.cancel()
            call.cancel()
            await eventually(lambda: at.queue.is_empty)

    asyncio.run(scenario())


def test_who_reads_an_answer_slowly_keeps_no_thread_from_others():
    """While an answer goes out, its bytes are taken and its place is not: the one thread answers somebody else."""

    async def scenario() -> None:
        async with staged(stall_seconds=60) as at:
            call = at.session()
            await call.write(made(large()))
            await call.read()
            assert await at.evaluate(GOOD, timeout=20)
            assert at.queue.used_bytes
            call.cancel()
            await eventually(lambda: at.queue.is_empty)

    asyncio.run(scenario())


def test_a_server_that_stops_takes_no_graph():
    """A call that runs is answered; a new one is told to go elsewhere."""

    async def scenario() -> None:
        server = Server(Settings(port=0, threads=1, drain_seconds=60), default_registry(), {})
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            at = Stage(server, channel)
            running = at.evaluate(LONG)
            await eventually(lambda: not at.queue.is_empty)
            stopping = asyncio.create_task(server.stop())
            await asyncio.sleep(0.05)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await at.evaluate(GOOD, timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert await running
            await stopping

    asyncio.run(scenario())
