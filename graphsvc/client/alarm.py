"""An alarm: ends what is late where gRPC takes no time limit, as for each question of a stream that stays open."""

import math
import threading
import time
from collections.abc import Callable

__all__ = ["Alarm"]


class Alarm:
    """Calls functions that are still set when their time comes. Safe for many threads.

    To set and to unset one takes next to nothing: the thread that waits is woken only for a time that is earlier than
    the one that it waits for, which it does to its end even where nothing is set any more.
    """

    def __init__(self) -> None:
        """Set none yet."""
        self._times: dict[Callable[[], object], float] = {}
        self._changed = threading.Condition()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def set(self, call: Callable[[], object], at: float) -> None:
        """Have a function called at a time of `time.monotonic`."""
        self._times[call] = at
        if at < self._wakes_at:
            with self._changed:
                self._wakes_at = min(at, self._wakes_at)
                self._changed.notify()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._watch, name="graphsvc-alarm", daemon=True)
                    self._thread.start()

    def unset(self, call: Callable[[], object]) -> bool:
        """Take a function back, and return whether it is not called any more, nor was."""
        return self._times.pop(call, None) is not None

    def close(self) -> None:
        """End the thread; nothing is called any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._is_closed:
                now = time.monotonic()
                if now < self._wakes_at:
                    self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)
                else:
                    self._ring(now)

    def _ring(self, now: float) -> None:
        # Before the times are read, so that who sets one that is not seen wakes the thread.
        self._wakes_at = math.inf
        times = self._times.copy()
        for call, at in times.items():
            # It may have been set anew meanwhile, for a later time.
            if at <= now and self._times.get(call) == at and self.unset(call):
                call()
        self._wakes_at = min(self._wakes_at, *(at for at in times.values() if at > now), math.inf)
