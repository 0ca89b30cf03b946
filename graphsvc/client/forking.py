"""Forks: gRPC survives one if it was told to before it was imported, so this is imported first."""

import os
import sys
from typing import Final

from graphsvc.errors import ServiceError

__all__ = ["check_process"]

_VARIABLE: Final = "GRPC_ENABLE_FORK_SUPPORT"


def _support() -> bool:
    """Ask gRPC to survive forks, where it has not been imported yet, and tell whether it does."""
    if "grpc" not in sys.modules:
        os.environ.setdefault(_VARIABLE, "1")
    return os.environ.get(_VARIABLE, "").lower() in ("1", "true", "yes", "y", "t")


_SUPPORTED: Final = _support()

# gRPC is one thing for all of a process, and so is whether it was used there; a child process inherits what it says.
_used_in: Final[set[int]] = set()


def check_process() -> None:
    """Note that gRPC is used in this process.

    Raises:
        ServiceError: It was used in the process that this one was forked from, and does not survive that; a call would
            wait for ever.
    """
    if not _SUPPORTED and _used_in - {os.getpid()}:
        msg = "A client was used before this process was forked, and gRPC was not told to survive that. Set "
        msg += f"{_VARIABLE}=1 before the first import of grpc, or start processes by 'spawn' or 'forkserver'."
        raise ServiceError(msg)
    _used_in.add(os.getpid())
