"""Sessions for asyncio: streams that stay open, each with one question at a time; see `graphsvc.client.sessions`."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import grpc

from graphsvc.client.asked import Asked, Listener
from graphsvc.client.sessions import MOST_STREAMS, closed, late, raised, told
from graphsvc.errors import GraphsvcError, UnreachableError
from graphsvc.watch import Watch

__all__ = ["AsyncSessions"]

Opener = Callable[[], Any]
"""Opens a stream of bytes."""


class _Stream:
    """A stream that stays open until server, network or client end it, as does a question that is cancelled."""

    def __init__(self, opener: Opener) -> None:
        self._stream = opener()
        self._watch = Watch()
        self._numbers = itertools.count(1)

    @property
    def is_open(self) -> bool:
        """Whether a question may go over it."""
        return not self._stream.done()

    def close(self) -> None:
        """End it."""
        self._watch.close()
        self._stream.cancel()

    async def ask(self, asked: Asked, seconds: float | None, target: str) -> Any:
        """Return the answer to a question, which may be an error that the server gave for it.

        Raises:
            TimeoutError: It did not come in so many seconds.
        """
        answer = self._answer(asked, seconds, target)
        return await (answer if seconds is None else self._watch.wait(answer, seconds))

    async def _answer(self, asked: Asked, seconds: float | None, target: str) -> Any:
        number = next(self._numbers)
        sending = self._send(asked.messages(number, seconds))
        if not asked.beside:
            await sending
            return await self._heard(Listener(number, asked), target)
        # A refusal may come before all chunks are on their way.
        task = asyncio.create_task(sending)
        try:
            answer = await self._heard(Listener(number, asked), target)
            if not isinstance(answer, GraphsvcError):
                await task
            return answer
        finally:
            task.cancel()

    async def _send(self, messages: Iterable[bytes]) -> None:
        # To read tells why it ends.
        with suppress(grpc.RpcError, asyncio.InvalidStateError):
            for message in messages:
                await self._stream.write(message)

    async def _heard(self, listener: Listener, target: str) -> Any:
        while (data := await self._stream.read()) is not grpc.aio.EOF:
            if listener.hear(data):
                return listener.answer
        msg = f"The server at {target!r} ended the session without an answer."
        raise UnreachableError(msg, target=target)


class AsyncSessions:
    """The streams of a client that stay open. They belong to an event loop."""

    def __init__(self, opener: Opener, target: str) -> None:
        """Open none yet."""
        self._opener = opener
        self._target = target
        self._streams: set[_Stream] = set()
        self._free: list[_Stream] = []
        self._is_closed = False

    @property
    def are_busy(self) -> bool:
        """Whether as many questions are on their way as streams stay open; each more takes one that does not."""
        return not self._free and len(self._streams) >= MOST_STREAMS

    async def ask(self, asked: Asked, seconds: float | None) -> Any:
        """Ask a question, and return what was read; see `graphsvc.client.sessions.Sessions.ask`."""
        end = None if seconds is None else time.monotonic() + seconds
        for last in (False, True):
            try:
                answer = await self._asked(asked, None if end is None else end - time.monotonic())
            except TimeoutError:
                raise late() from None
            except (grpc.RpcError, UnreachableError) as error:
                if self._is_closed:
                    raise closed() from None
                # Such as one that was silent for long. What is asked changes nothing there, so it may be asked again.
                if last:
                    raise told(error, self._target) from None
            else:
                return raised(answer)
        raise AssertionError

    def close(self) -> None:
        """End all streams; who waits for an answer gets an error."""
        self._is_closed = True
        for stream in self._streams:
            stream.close()

    async def _asked(self, asked: Asked, seconds: float | None) -> Any:
        stream = self._taken()
        try:
            answer = await stream.ask(asked, seconds, self._target)
        except BaseException:
            self._streams.discard(stream)
            stream.close()
            raise
        # Of what is refused, chunks may still be on their way.
        is_usable = not (asked.beside and isinstance(answer, GraphsvcError))
        if is_usable and len(self._streams) <= MOST_STREAMS:
            self._free.append(stream)
        else:
            self._streams.discard(stream)
            stream.close()
        return answer

    def _taken(self) -> _Stream:
        if self._is_closed:
            raise closed()
        while self._free:
            if (stream := self._free.pop()).is_open:
                return stream
            self._streams.discard(stream)
        stream = _Stream(self._opener)
        self._streams.add(stream)
        return stream
