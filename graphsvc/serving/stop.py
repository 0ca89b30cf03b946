"""Stopping: what an evaluation in another thread asks between two gates."""

import time

from graphsvc.errors import DeadlineError, StoppedError

__all__ = ["Stop"]


class Stop:
    """Tells an evaluation in another thread to stop; it asks between two gates."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._stopped = False

    def set(self) -> None:
        """Stop the evaluation before its next gate."""
        self._stopped = True

    @property
    def remaining(self) -> float:
        """Seconds until the deadline."""
        return self._deadline - time.monotonic()

    def __call__(self) -> None:
        """Raise StoppedError or DeadlineError if the evaluation is to stop."""
        if self._stopped:
            msg = "Nobody waits for the evaluation any more."
            raise StoppedError(msg)
        if time.monotonic() > self._deadline:
            msg = "The deadline passed before the evaluation was done. Give the call more time, or ask for less."
            raise DeadlineError(msg)
