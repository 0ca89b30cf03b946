"""Sessions: many questions on one stream, answered as they are done, with large tensors in chunks."""

import asyncio
import itertools
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, NoReturn

import grpc

from graphsvc.errors import GraphsvcError, RequestError, StalledError
from graphsvc.serving.calls import Call, Calls, Reply, outcome_of
from graphsvc.serving.service import FEW_BYTES, Service
from graphsvc.serving.settings import Settings, setters_of
from graphsvc.serving.stop import Stop
from graphsvc.v1 import service_pb2, tensor_pb2
from graphsvc.watch import Watch
from graphsvc.wire.chunks import Arrivals, chunk_data, chunk_messages
from graphsvc.wire.codec import array_from_tensor
from graphsvc.wire.forms import MOST_BYTES
from graphsvc.wire.frames import Frame, framed, unframed
from graphsvc.wire.status import packed_status, status_of

__all__ = ["Session"]

_MOST_AT_ONCE: Final = 64
_PATIENCE: Final = 10.0
"""Seconds over which it is seen how fast chunks come."""


class Session:
    """One stream."""

    def __init__(self, calls: Calls, service: Service, settings: Settings, context: Any) -> None:
        """Take over a stream.

        Args:
            calls: Takes calls to their ends.
            service: Makes responses into bytes.
            settings: Limits.
            context: The call that is the stream.
        """
        self._calls = calls
        self._service = service
        self._settings = settings
        self._context = context
        self._writing = asyncio.Lock()
        self._reads, self._writes = Watch(), Watch()
        self._room = asyncio.Semaphore(_MOST_AT_ONCE)

    async def serve(self) -> grpc.Status | None:
        """Answer until the client says no more.

        Returns:
            The status with which the stream ends where it cannot go on.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._listen(tasks)
        except ExceptionGroup as group:
            first = group.exceptions[0]
            # The group of tasks keeps its traceback, and that what came, until Python collects garbage.
            traceback.clear_frames(first.__traceback__)
            return first.status if isinstance(first, _RefusedError) else outcome_of(lambda: _raise(first))
        finally:
            self._reads.close()
            self._writes.close()
        return None

    async def _listen(self, tasks: asyncio.TaskGroup) -> None:
        try:
            while (data := await self._next(self._settings.session_seconds)) is not None:
                await self._answer(data, tasks)
        except Exception:
            await self._end_answer()
            raise

    async def _end_answer(self) -> None:
        """Let the answer that is on its way go to its end: gRPC sends no status into the middle of a message."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.stall_seconds):
                # For ever, so that no other answer begins.
                await self._writing.acquire()

    async def _next(self, seconds: float) -> bytes | None:
        """Return the next message; None where the client says no more."""
        try:
            data = await self._reads.wait(self._context.read(), seconds)
        except TimeoutError:
            msg = f"Nothing came for {seconds:g} seconds. Send on, or end the stream; open another when it is needed."
            raise StalledError(msg) from None
        return None if data is grpc.aio.EOF else data

    async def _answer(self, data: bytes, tasks: asyncio.TaskGroup) -> None:
        frame = unframed(service_pb2.SessionRequest, data) if len(data) <= MOST_BYTES else None
        if frame and frame.kind == "evaluate" and (known := self._calls.repeated(frame.body)) is not None:
            await self._send_known(known, frame.number)
            return
        call = self._call(await self._parsed(data), len(data))
        if call.arrivals is None or not any(_chunked(call.request)):
            found = self._calls.at_once(call)
            if isinstance(found, Reply | grpc.Status):
                await self._send(found, call.number)
                return
            await self._room.acquire()
            tasks.create_task(self._answered(call, lambda call: self._calls.answer(call, found)))
            return
        admitted = await self._calls.admitted(call)
        if isinstance(admitted, grpc.Status):
            await self._refuse(admitted, call)
            return
        work, held = admitted
        try:
            await self._receive(call.arrivals, call.stop)
            await self._room.acquire()
        except BaseException as error:
            held.release()
            if isinstance(error, GraphsvcError):
                # Here too: the stream ends, and who is sending may only hear that it did.
                await self._send(status_of(error), call.number)
            raise
        task = tasks.create_task(self._answered(call, lambda call: self._calls.run(work, call.pack, call.stop, held)))
        # Of a task that is cancelled before it begins, nothing else knows.
        task.add_done_callback(lambda _: held.release())

    async def _refuse(self, status: grpc.Status, call: Call) -> None:
        """Tell that a request is refused, and let its chunks go by.

        The stream could end instead, and spare the client to send them. But other questions are on their way on it; and
        to a client of `grpc.aio` that writes when a stream ends, gRPC tells INTERNAL, and nothing of the status.
        """
        passing = self._arrivals(kept=False)
        try:
            for tensor in _chunked(call.request):
                array_from_tensor(tensor, "A tensor", passing)
        except GraphsvcError:
            # Nobody knows how many would come, so the stream ends; who is sending may only hear that it did.
            await self._send(status, call.number)
            raise _RefusedError(status) from None
        await self._send(status, call.number)
        await self._receive(passing, Stop(self._settings.max_seconds))

    def _arrivals(self, *, kept: bool = True) -> Arrivals:
        limit = "max_request_bytes"
        return Arrivals(self._settings.max_request_bytes, limit, setters_of(limit), kept=kept)

    async def _parsed(self, data: bytes) -> service_pb2.SessionRequest:
        if len(data) <= FEW_BYTES:
            return self._service.parse(service_pb2.SessionRequest, data)
        message = await self._calls.in_reader(lambda: self._service.parse(service_pb2.SessionRequest, data))
        if isinstance(message, grpc.Status):
            raise _RefusedError(message)
        return message

    def _call(self, message: service_pb2.SessionRequest, nbytes: int) -> Call:
        kind = message.WhichOneof("request")
        if kind is None or kind == "chunk":
            msg = "A chunk came that no tensor waits for." if kind else "The message has no request."
            msg += " Send a request, and after it the chunks of its tensors, as many as their shapes say."
            raise RequestError(msg)
        most = self._settings.max_seconds
        seconds = message.timeout_ms / 1000 if message.HasField("timeout_ms") else most
        left = self._context.time_remaining()
        stop = Stop(min(seconds, most, most if left is None else left))
        number = message.id

        def pack(response: Any) -> bytes:
            return self._service.serialized(service_pb2.SessionResponse(id=number, **{kind: response}))

        return Call(getattr(message, kind), nbytes, pack, stop, self._arrivals(), number)

    async def _receive(self, arrivals: Arrivals, stop: Stop) -> None:
        """Fill the arrays of chunked tensors."""
        clock = asyncio.get_running_loop().time
        start, came = clock(), 0
        while not arrivals.complete:
            stop()
            try:
                data = await self._next(min(self._settings.stall_seconds, stop.remaining))
            except StalledError:
                # It may be the deadline that passed.
                stop()
                raise
            if data is None:
                msg = "The stream ended before all data of a tensor had come. Send as many as its shape says."
                raise RequestError(msg)
            piece = chunk_data(data)
            if piece is None:
                # Other ways to write the same message are as good.
                piece = _chunk(await self._parsed(data))
            arrivals.accept(piece)
            came += len(piece)
            seconds = clock() - start
            if seconds > _PATIENCE and came < seconds * self._settings.min_bytes_per_second:
                msg = f"{came:,} bytes came in {seconds:.0f} seconds; this server waits for no less than "
                msg += f"{self._settings.min_bytes_per_second:,.0f} a second (min_bytes_per_second)."
                raise StalledError(msg)

    async def _answered(self, call: Call, answer: Callable[[Call], Any]) -> None:
        try:
            reply = await answer(call)
            try:
                await self._send(reply, call.number)
            finally:
                if isinstance(reply, Reply):
                    reply.close()
        except asyncio.CancelledError:
            call.stop.set()
            raise
        finally:
            self._room.release()

    async def _send_known(self, known: bytes | grpc.Status, number: int) -> None:
        if isinstance(known, bytes):
            async with self._writing:
                await self._write(framed(service_pb2.SessionResponse, Frame(number, "evaluate", known)))
        else:
            await self._send(known, number)

    async def _send(self, reply: Reply | grpc.Status, number: int) -> None:
        if not isinstance(reply, Reply):
            refusal = Frame(number, "status", packed_status(reply))
            reply = Reply(framed(service_pb2.SessionResponse, refusal), [])
        async with self._writing:
            for message in itertools.chain((reply.message,), chunk_messages(reply.beside)):
                await self._write(message)

    async def _write(self, message: bytes) -> None:
        try:
            await self._writes.wait(self._context.write(message), self._settings.stall_seconds)
        except TimeoutError:
            msg = "Nobody takes what is sent. Read the answers while you send."
            raise StalledError(msg) from None


class _RefusedError(Exception):
    """A request is refused of which nobody knows what else comes, so the stream ends with its status."""

    def __init__(self, status: grpc.Status) -> None:
        super().__init__()
        self.status = status


def _raise(error: Exception) -> NoReturn:
    raise error


def _chunked(request: Any) -> Iterator[tensor_pb2.Tensor]:
    """Yield the tensors of a request whose chunks follow it, in their order."""
    if isinstance(request, service_pb2.PutTensorRequest):
        tensors: Iterable[tensor_pb2.Tensor] = (request.tensor,)
    else:
        named = (request.inputs, request.output_gradients.tensors, getattr(request, "directions", ()))
        tensors = (one.tensor for one in itertools.chain.from_iterable(named))
    return (tensor for tensor in tensors if tensor.chunked)


def _chunk(message: service_pb2.SessionRequest) -> memoryview:
    """Return the data of a message that must be a chunk."""
    if message.WhichOneof("request") != "chunk":
        msg = "Another request came before all data of a tensor had come. Send as many as its shape says."
        raise RequestError(msg)
    return memoryview(message.chunk)
