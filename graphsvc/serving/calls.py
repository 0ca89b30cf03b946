"""What becomes of a call: read, admitted, waiting for its place, run in a thread, answered; each may end it."""

import asyncio
import logging
import os
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from graphsvc.arrays import Array
from graphsvc.errors import DeadlineError, GateError, GraphsvcError, LimitError, ServerError
from graphsvc.serving.admission import Lease, Machine, Queue, judge
from graphsvc.serving.repeats import NO_TIME
from graphsvc.serving.service import Request, Service
from graphsvc.serving.settings import Settings
from graphsvc.serving.stop import Stop
from graphsvc.serving.work import Work
from graphsvc.wire.chunks import Arrivals
from graphsvc.wire.forms import MOST_BYTES
from graphsvc.wire.status import status_of

__all__ = ["Call", "Calls", "Reply", "outcome_of"]

_LOG: Final = logging.getLogger("graphsvc.server")
_T = TypeVar("_T")

_NICE: Final = 10
"""How nice the threads are that read and run graphs. At 19 they would come to a stand beside others' busy processes."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way.

    Attributes:
        request: What is asked.
        nbytes: Bytes of its message.
        pack: Makes a response into the bytes that are sent.
        stop: Stops what is done for it.
        arrivals: In a session, its chunked tensors; None where there are no chunks.
        number: In a session, its id.
    """

    request: Request
    nbytes: int
    pack: Callable[[Message], bytes]
    stop: Stop
    arrivals: Arrivals | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent, first the message and then the arrays in chunks; `close` belongs after that."""

    message: bytes
    beside: list[Array]
    lease: Lease | None = None

    def close(self) -> None:
        """Give back what the call had."""
        if self.lease:
            self.lease.release()


class Calls:
    """Takes calls to their ends. It belongs to an event loop."""

    def __init__(self, service: Service, settings: Settings) -> None:
        """Make the threads and the queue before them."""
        self._service = service
        self._settings = settings
        self._machine = Machine.measured()
        self._threads = ThreadPoolExecutor(settings.threads, "graphsvc", _give_way)
        # Of their own, so that a call is refused in no time while graphs run.
        self._readers = ThreadPoolExecutor(2, "graphsvc-read", _give_way)
        self._queue = Queue(settings.threads, settings)

    def close(self) -> None:
        """Let threads end when they are done."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def in_reader(self, work: Callable[[], _T]) -> _T | grpc.Status:
        """Do what takes a moment in a thread; see `outcome_of`."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, outcome_of, work)

    async def answer(self, call: Call, work: Work | None = None) -> Reply | grpc.Status:
        """Take a call without chunks from its beginning to its end; from where it was read, if it was."""
        found = work or self.at_once(call) or await self.read(call)
        return await self.run(found, call.pack, call.stop) if isinstance(found, Work) else found

    def repeated(self, request: bytes) -> bytes | grpc.Status | None:
        """Answer an `EvaluateRequest` like one that was answered at once before; None where none was."""
        return outcome_of(lambda: self._service.repeated(request))

    def at_once(self, call: Call) -> Reply | grpc.Status | Work | None:
        """Answer a call in less time than handing it to a thread takes.

        Returns:
            The work where that may take more, and None where reading the call may.
        """
        if call.nbytes > MOST_BYTES or not self._service.is_small(call.request, call.nbytes):
            return None
        return outcome_of(lambda: self._in_no_time(call))

    def _in_no_time(self, call: Call) -> Reply | Work:
        work = self._service.read(call.request, call.nbytes, call.stop, call.arrivals)
        seconds = self._machine.seconds(work.estimate)
        judge(work.estimate, seconds, call.stop.remaining, self._settings)
        if not work.is_planned or seconds > NO_TIME:
            self._queue.check_open()
            return work
        response = work.run_at_once()
        self._service.learn(call.request, work, response)
        return Reply(call.pack(response), work.beside or [])

    async def read(self, call: Call) -> Work | grpc.Status:
        """Read a call and judge what it takes, before anything is allocated for it."""
        return await self.judged(
            lambda: self._service.read(call.request, call.nbytes, call.stop, call.arrivals), call.stop
        )

    async def judged(self, read: Callable[[], Work], stop: Stop) -> Work | grpc.Status:
        """Judge the work that `read` returns in a thread."""
        try:
            self._queue.check_open()
        except GraphsvcError as error:
            return status_of(error)

        def judged() -> Work:
            work = read()
            judge(work.estimate, self._machine.seconds(work.estimate), stop.remaining, self._settings)
            return work

        return await self.in_reader(judged)

    async def admitted(self, call: Call) -> tuple[Work, Lease] | grpc.Status:
        """Read a call whose data are still to come, and take the bytes for all of it; see `Queue.hold`."""
        work = await self.read(call)
        if not isinstance(work, Work):
            return work
        return outcome_of(lambda: (work, self._queue.hold(self._needed_bytes(work))))

    async def run(
        self, work: Work, pack: Callable[[Any], bytes], stop: Stop, held: Lease | None = None
    ) -> Reply | grpc.Status:
        """Wait for a place, do the work in a thread, and pack what it gives; `held` is given back in any case."""
        nbytes = held.nbytes if held else self._needed_bytes(work)
        seconds = self._machine.seconds(work.estimate)

        def begin(lease: Lease) -> None:
            self._threads.submit(_do, lease, lambda: pack(work.run(stop, lease)))

        try:
            lease = self._queue.enter(nbytes, seconds, begin, held)
        except GraphsvcError as error:
            return status_of(error)
        late = asyncio.get_running_loop().call_later(max(stop.remaining, 0), _end_waiting, lease)
        try:
            message: bytes | grpc.Status = await asyncio.wrap_future(lease.work)
        except BaseException:
            lease.release()
            raise
        finally:
            late.cancel()
        if isinstance(message, bytes):
            return Reply(message, work.beside or [], lease)
        lease.release()
        return message

    def _needed_bytes(self, work: Work) -> int:
        return work.needed_bytes(min(self._settings.max_run_bytes, self._settings.memory_bytes))


def _do(lease: Lease, work: Callable[[], bytes]) -> None:
    """Do it in its place, which goes to the next before anybody hears of what came of it."""
    if not lease.work.set_running_or_notify_cancel():
        return
    message = outcome_of(work)
    try:
        lease.vacate()
    finally:
        lease.work.set_result(message)


def _end_waiting(lease: Lease) -> None:
    """Tell who still waits for its place that its deadline passed."""
    if lease.give_up() and lease.work.set_running_or_notify_cancel():
        msg = "The deadline passed while the call waited for others. Try again later, or give it more time."
        lease.work.set_result(status_of(DeadlineError(msg)))


def _give_way() -> None:
    """Let the event loop go before this thread where processors are short; only on Linux is a thread nice by itself."""
    if sys.platform == "linux":
        # A container may forbid it.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def outcome_of(work: Callable[[], _T]) -> _T | grpc.Status:
    """Return what `work` returns, or the status of what it raises. Nothing escapes.

    SystemExit in the event loop would end the server, and anything else would tell its text to the client.
    """
    try:
        return _attempt(work)
    except BaseException as error:  # noqa: BLE001 - see above
        correlation_id = uuid.uuid4().hex[:12]
        _LOG.error("internal error %s", correlation_id, exc_info=error)
        msg = f"The server failed. Its operator finds the cause in the log under {correlation_id}."
        return status_of(ServerError(msg, correlation_id=correlation_id))


def _attempt(work: Callable[[], _T]) -> _T | grpc.Status:
    try:
        return work()
    except MemoryError:
        return status_of(LimitError("The graph needs more memory than the server has. Ask for less at a time."))
    except GateError as error:
        correlation_id = uuid.uuid4().hex[:12]
        _LOG.error("%s [%s]", error.message, correlation_id, exc_info=error)
        return status_of(type(error)(error.message, **error.facts | {"correlation_id": correlation_id}))
    except GraphsvcError as error:
        return status_of(error)
