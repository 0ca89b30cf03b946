"""A client's end of sessions: one stream for many small questions, and one of its own for each large one."""

import itertools
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from graphsvc.client.asked import Asked, Listener
from graphsvc.errors import DeadlineError, GraphsvcError, LimitError, StoppedError, UnreachableError
from graphsvc.wire.status import error_from_rpc

__all__ = ["Session", "SessionLostError", "Waiting", "ask_alone", "late", "wants_stream"]

Opener = Callable[..., Any]
"""Opens a stream of bytes: takes the messages and a timeout."""


class SessionLostError(Exception):
    """The stream ended before the answer came; `error` says why.

    What was asked may be asked again, unless the client was closed: `is_closed`.
    """

    def __init__(self, error: GraphsvcError) -> None:
        super().__init__(error)
        self.error = error
        self.is_closed = type(error) is StoppedError


class Waiting:
    """Somebody who waits for the answer to the request of this number."""

    __slots__ = ("_come", "answer", "number")

    def __init__(self, number: int) -> None:
        """Wait from now on."""
        self._come = threading.Lock()
        self._come.acquire()
        self.number = number
        self.answer: Any = None

    def give(self, answer: Any) -> None:
        """Give the answer, once."""
        self.answer = answer
        self._come.release()

    def wait(self, seconds: float | None) -> bool:
        """Return whether the answer came in so many seconds."""
        return self._come.acquire(timeout=-1 if seconds is None else seconds)


class Session:
    """A stream that carries many questions at once. Safe for many threads.

    A thread of its own reads the answers. It lasts until the server or the network ends it; `is_lost` tells.
    """

    def __init__(self, opener: Opener, target: str) -> None:
        """Open the stream."""
        self._target = target
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._listener = Listener()
        # Who takes one out gives it its answer, so that none gets two.
        self._waiting: dict[int, Waiting] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._lost: GraphsvcError | None = None
        self._stream = opener(iter(self._outgoing.get, None), timeout=None)
        threading.Thread(target=self._read, name="graphsvc-session", daemon=True).start()

    @property
    def is_lost(self) -> bool:
        """Whether the stream has ended, so that another is needed."""
        return self._lost is not None

    def start(self, asked: Asked, seconds: float | None) -> Waiting:
        """Ask, and return what `finish` takes.

        Raises:
            SessionLostError: The stream has ended.
        """
        waiting = Waiting(next(self._numbers))
        with self._lock:
            if self._lost:
                raise SessionLostError(self._lost)
            self._listener.expect(waiting.number, asked)
            self._waiting[waiting.number] = waiting
            # Nothing may come between a request and its chunks.
            for message in asked.messages(waiting.number, seconds):
                self._outgoing.put(message)
        return waiting

    def finish(self, waiting: Waiting, seconds: float | None) -> Any:
        """Wait for an answer, and return what was read.

        Raises:
            SessionLostError: The stream ended before.
            DeadlineError: It did not come in so many seconds.
            GraphsvcError: The server refused.
        """
        if not waiting.wait(seconds):
            self._waiting.pop(waiting.number, None)
            raise late()
        if isinstance(waiting.answer, Exception):
            raise waiting.answer
        return waiting.answer

    def close(self) -> None:
        """End the stream; who waits for an answer gets an error."""
        self._lose(StoppedError("The client was closed during the call."))
        self._outgoing.put(None)
        self._stream.cancel()

    def _read(self) -> None:
        try:
            for data in self._stream:
                if (heard := self._listener.hear(data)) is not None:
                    number, answer = heard
                    if waiting := self._waiting.pop(number, None):
                        waiting.give(answer)
            self._lose(UnreachableError(f"The server at {self._target!r} ended the session.", target=self._target))
        except grpc.RpcError as error:
            self._lose(error_from_rpc(error, self._target))
        except GraphsvcError as error:
            # It ends here, whatever the server does.
            self._stream.cancel()
            self._lose(error)
        finally:
            # Ends the thread in which gRPC waits for more to send.
            self._outgoing.put(None)

    def _lose(self, error: GraphsvcError) -> None:
        with self._lock:
            if self._lost:
                return
            self._lost = error
        for number in list(self._waiting):
            if waiting := self._waiting.pop(number, None):
                waiting.give(SessionLostError(error))


def ask_alone(opener: Opener, asked: Asked, seconds: float | None, target: str) -> Any:
    """Ask one question on a stream of its own, and return what was read.

    Raises:
        GraphsvcError: The server refused, or cannot be reached.
    """
    listener = Listener()
    listener.expect(1, asked)
    stream = opener(asked.messages(1, seconds), timeout=seconds)
    try:
        return _heard(stream, listener, target)
    except grpc.RpcError as error:
        raise error_from_rpc(error, target) from None
    finally:
        stream.cancel()


def _heard(stream: Iterable[bytes], listener: Listener, target: str) -> Any:
    for data in stream:
        if (heard := listener.hear(data)) is not None:
            if isinstance(heard[1], GraphsvcError):
                raise heard[1]
            return heard[1]
    msg = f"The server at {target!r} ended the session without an answer."
    raise UnreachableError(msg, target=target)


def wants_stream(error: LimitError) -> bool:
    """Tell whether results are too large for a message alone, so that they go in chunks."""
    return error.facts.get("limit") == "max_message_bytes"


def late() -> DeadlineError:
    """Return the error of who waited too long for an answer."""
    return DeadlineError("The deadline passed before the server answered. Give the call a longer timeout.")
