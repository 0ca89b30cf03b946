"""A blocking client's end of sessions: streams that stay open for many questions.

A stream has one question at a time, whose answer is read by who asked it: to hand answers from a thread that reads to
those that wait would take longer than to compute them.
"""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import grpc

from graphsvc.client.alarm import Alarm
from graphsvc.client.asked import Asked, Listener
from graphsvc.errors import DeadlineError, GraphsvcError, LimitError, StoppedError, UnreachableError
from graphsvc.wire.status import error_from_rpc

__all__ = ["MOST_STREAMS", "Sessions", "closed", "late", "raised", "told", "wants_stream"]

MOST_STREAMS: Final = 64
"""How many stay open; a connection has room for about a hundred calls."""

Opener = Callable[..., Any]
"""Opens a stream of bytes: takes the messages and a timeout."""


class _Stream:
    """A stream that stays open until server, network or client end it."""

    def __init__(self, opener: Opener) -> None:
        self._outgoing: queue.SimpleQueue[Iterable[bytes] | None] = queue.SimpleQueue()
        self._numbers = itertools.count(1)
        self._stream = opener(itertools.chain.from_iterable(iter(self._outgoing.get, None)), timeout=None)
        self.cancel: Callable[[], object] = self._stream.cancel
        # Ends the thread in which gRPC waits for more to send.
        self._stream.add_callback(lambda: self._outgoing.put(None))

    @property
    def is_open(self) -> bool:
        """Whether a question may go over it."""
        return bool(self._stream.is_active())

    def ask(self, asked: Asked, seconds: float | None, target: str) -> Any:
        """Return the answer to a question, which may be an error that the server gave for it."""
        number = next(self._numbers)
        # Taken one by one, as the connection has room: all chunks at once would be a second copy of their arrays.
        self._outgoing.put(asked.messages(number, seconds))
        listener = Listener(number, asked)
        for data in self._stream:
            if listener.hear(data):
                return listener.answer
        msg = f"The server at {target!r} ended the session without an answer."
        raise UnreachableError(msg, target=target)


class Sessions:
    """The streams of a client that stay open. Safe for many threads."""

    def __init__(self, opener: Opener, target: str) -> None:
        """Open none yet."""
        self._opener = opener
        self._target = target
        self._lock = threading.Lock()
        self._streams: set[_Stream] = set()
        # The one used last is asked next: its way is warm, and those that are too many end by themselves.
        self._free: list[_Stream] = []
        self._alarm = Alarm()
        self._is_closed = False

    @property
    def are_busy(self) -> bool:
        """Whether as many questions are on their way as streams stay open; each more takes one that does not."""
        return not self._free and len(self._streams) >= MOST_STREAMS

    def ask(self, asked: Asked, seconds: float | None) -> Any:
        """Ask a question, and return what was read.

        Raises:
            DeadlineError: The answer did not come in so many seconds.
            GraphsvcError: The server refused, or cannot be reached.
        """
        end = None if seconds is None else time.monotonic() + seconds
        for last in (False, True):
            try:
                answer = self._asked(asked, seconds, end)
            except (grpc.RpcError, UnreachableError) as error:
                if self._is_closed:
                    raise closed() from None
                if end is not None and (seconds := end - time.monotonic()) <= 0:
                    raise late() from None
                # Such as one that was silent for long. What is asked changes nothing there, so it may be asked again.
                if last:
                    raise told(error, self._target) from None
            else:
                return raised(answer)
        raise AssertionError

    def close(self) -> None:
        """End all streams; who waits for an answer gets an error."""
        with self._lock:
            self._is_closed = True
            streams, self._streams = self._streams, set()
        self._alarm.close()
        for stream in streams:
            stream.cancel()

    def _asked(self, asked: Asked, seconds: float | None, end: float | None) -> Any:
        stream = self._taken()
        is_usable = False
        try:
            if end is not None:
                self._alarm.set(stream.cancel, end)
            answer = stream.ask(asked, seconds, self._target)
            # Of what is refused, chunks may still be on their way.
            is_usable = not (asked.beside and isinstance(answer, GraphsvcError))
        finally:
            in_time = end is None or self._alarm.unset(stream.cancel)
            if is_usable and in_time and len(self._streams) <= MOST_STREAMS:
                self._free.append(stream)
            else:
                self._streams.discard(stream)
                stream.cancel()
        return answer

    def _taken(self) -> _Stream:
        """Return a stream that nobody else uses, opened if there is none."""
        with self._lock:
            if self._is_closed:
                raise closed()
            while self._free:
                if (stream := self._free.pop()).is_open:
                    return stream
                self._streams.discard(stream)
            stream = _Stream(self._opener)
            self._streams.add(stream)
            return stream


def raised(answer: Any) -> Any:
    """Return an answer, or raise it if it is an error."""
    if isinstance(answer, GraphsvcError):
        raise answer
    return answer


def told(error: grpc.RpcError | UnreachableError, target: str) -> GraphsvcError:
    """Return the error of who lost a stream, as callers are told."""
    return error if isinstance(error, UnreachableError) else error_from_rpc(error, target)


def wants_stream(error: LimitError) -> bool:
    """Tell whether results are too large for a message alone, so that they go in chunks."""
    return error.facts.get("limit") == "max_message_bytes"


def late() -> DeadlineError:
    """Return the error of who waited too long for an answer."""
    return DeadlineError("The deadline passed before the server answered. Give the call a longer timeout.")


def closed() -> StoppedError:
    """Return the error of who waited for an answer while the client was closed."""
    return StoppedError("The client was closed during the call.")
