"""Watching that waits in the event loop do not take too long."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["Watch"]

_T = TypeVar("_T")


class Watch:
    """Ends waits that take too long, one at a time.

    `asyncio.timeout` sets a timer for each, which takes a good part of the time of a small question. This one sets a
    timer seldom: where it fires too early for the wait of the moment, it is set again.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._is_late = False

    async def wait(self, awaited: Awaitable[_T], seconds: float) -> _T:
        """Wait.

        Args:
            awaited: What is waited for.
            seconds: How long that may take.

        Raises:
            TimeoutError: It took longer.
        """
        task = asyncio.current_task()
        if task is None:
            msg = "Only a task can be watched."
            raise RuntimeError(msg)
        loop = task.get_loop()
        self._until = loop.time() + seconds
        if self._timer is None or self._timer.when() > self._until:
            self._set(loop)
        self._task, self._is_late, cancelling = task, False, task.cancelling()
        try:
            return await awaited
        except asyncio.CancelledError:
            # Somebody else may have cancelled it as well.
            if self._is_late and task.uncancel() <= cancelling:
                raise TimeoutError from None
            raise
        finally:
            self._task = None

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        self.close()
        self._timer = loop.call_at(self._until, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._task is None:
            return
        if loop.time() < self._until:
            self._set(loop)
            return
        self._is_late = True
        self._task.cancel()
