"""HTTP that waits for its clients only so long: for a request, and for an answer to be taken.

uvicorn waits without end for the head of a request, for a body that nobody reads, and for a client that does not read;
a few hundred such connections would keep everybody else out. What an endpoint reads of a body it limits itself.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["PunctualProtocol"]


class PunctualProtocol(H11Protocol):
    """A connection that ends where its client owes something for too long."""

    def __init__(self, *args: Any, seconds: float, **keywords: Any) -> None:
        """Make it; `seconds` is how long is waited, and the others are what uvicorn gives."""
        super().__init__(*args, **keywords)
        self._seconds = seconds
        self._waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came; a request that goes on coming is waited for no longer than one that does not."""
        super().data_received(data)
        self._wait()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of one that was answered early."""
        super().on_response_complete()
        self._wait()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._wait()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        self._stop()

    def _wait(self) -> None:
        if not self._client_owes():
            self._stop()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(self._seconds, self._give_up)

    def _client_owes(self) -> bool:
        answering = self.cycle is not None and not self.cycle.response_complete
        coming = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        return self.flow.write_paused or (coming and not answering)

    def _give_up(self) -> None:
        # Closing in good order would wait until all is read.
        self.transport.abort() if self.flow.write_paused else self.transport.close()

    def _stop(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None
