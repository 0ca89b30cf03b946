"""Servers and clients as processes of their own, and the turns that they take."""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

__all__ = ["Contestant", "Entry", "Pace", "echo", "ours", "peers", "ratio", "rounds"]

_T = TypeVar("_T")

_HERE: Final = Path(__file__).parent

_PATIENCE: Final = 60.0
"""Seconds until a server must listen."""


class Contestant:
    """A server with a client of it."""

    def __init__(self, name: str, folder: Path, python: str, serve: Iterable[str] = ()) -> None:
        """Start both.

        Args:
            name: Whose they are.
            folder: Has `client.py`, and `server.py` where `serve` is not given.
            python: The interpreter.
            serve: Its arguments to serve on a port, which is put after them.

        Raises:
            RuntimeError: The server does not listen.
        """
        self.name = name
        self.port = _free_port()
        command = [python, *(serve or [str(folder / "server.py")]), str(self.port)]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        self._await_port()
        self._client = _Client([python, str(folder / "client.py"), str(self.port)])

    def _await_port(self) -> None:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if self.server.poll() is not None or time.monotonic() > end:
                    self.server.kill()
                    msg = f"The server of {self.name} did not start."
                    raise RuntimeError(msg) from None
                time.sleep(0.05)
            else:
                return

    def turn(self, kind: str, n: int, seconds: float, at_once: int = 1) -> list[float]:
        """Let the client call for some seconds, and return how long each call took.

        Args:
            kind: The kind of call; a peer has one, whose name is empty.
            n: The length of the vector.
            seconds: For how long; one call at least is made.
            at_once: How many calls are on their way at a time.
        """
        return self._client.turn(kind, n, seconds, at_once)

    def busy_turn(self, kind: str, n: int, seconds: float, meanwhile: Callable[[], _T]) -> tuple[list[float], _T]:
        """Let the client take a turn and do something meanwhile, and return the times and what that gave."""
        self._client.begin(kind, n, seconds)
        try:
            done = meanwhile()
        finally:
            times = self._client.end()
        return times, done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self.server.kill()
        self.server.wait()


class _Client:
    """A process that takes turns; see `turns.py`."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(_HERE), os.environ.get("PYTHONPATH"))))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn(self, kind: str, n: int, seconds: float, at_once: int = 1) -> list[float]:
        """See `Contestant.turn`."""
        self.begin(kind, n, seconds, at_once)
        return self.end()

    def begin(self, kind: str, n: int, seconds: float, at_once: int = 1) -> None:
        """Begin a turn, whose times `end` returns."""
        print(json.dumps([kind, n, seconds, at_once]), file=self._process.stdin, flush=True)

    def end(self) -> list[float]:
        """Return how long each call of the turn took.

        Raises:
            RuntimeError: The client failed; its standard error says how.
        """
        line = self._process.stdout.readline()
        if not line:
            msg = f"A client failed: {' '.join(self._process.args)}"
            raise RuntimeError(msg)
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@dataclass
class Entry:
    """What takes turns with others: a kind of call of a contestant."""

    contestant: Contestant
    kind: str
    n: int
    at_once: int = 1

    def turn(self, seconds: float) -> list[float]:
        """Take a turn."""
        return self.contestant.turn(self.kind, self.n, seconds, self.at_once)


@dataclass(frozen=True)
class Pace:
    """How much is measured.

    Attributes:
        rounds: How many rounds there are.
        seconds: How long a turn is; one call at least is made.
        budget: After so many seconds and three rounds, no other round begins.
    """

    rounds: int = 9
    seconds: float = 0.3
    budget: float = 25.0


def rounds(entries: dict[str, Entry], pace: Pace) -> dict[str, list[list[float]]]:
    """Let entries take turns, each round in another order, so that noise hits all alike.

    Returns:
        The times of each turn, by entry.
    """
    names = list(entries)
    for name in names:
        # The first has everything to prepare.
        entries[name].turn(pace.seconds / 4)
    times: dict[str, list[list[float]]] = {name: [] for name in names}
    began = time.monotonic()
    for number in range(pace.rounds):
        if number >= 3 and time.monotonic() - began > pace.budget:
            break
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(entries[name].turn(pace.seconds))
    return times


def ratio(one: list[list[float]], other: list[list[float]]) -> float:
    """Return how many times as long as the other one takes: the median of the rounds, by their medians."""
    pairs = zip(one, other, strict=True)
    return statistics.median(statistics.median(mine) / statistics.median(theirs) for mine, theirs in pairs)


def peers(environments: Path) -> tuple[list[Contestant], dict[str, str]]:
    """Start every peer that is installed.

    Args:
        environments: Holds a virtual environment for each.

    Returns:
        The peers, and why there are no others.
    """
    started: list[Contestant] = []
    missing: dict[str, str] = {}
    for folder in sorted(path.parent for path in (_HERE / "peers").glob("*/client.py")):
        python = environments / folder.name / "bin" / "python"
        if not (environments / folder.name / "installed").exists():
            missing[folder.name] = "is not installed"
            continue
        try:
            started.append(Contestant(folder.name, folder, str(python)))
        except RuntimeError as error:
            missing[folder.name] = str(error)
    return started, missing


def ours(cores: Iterable[int] = ()) -> Contestant:
    """Start graphsvc, on these cores alone if any are given."""
    bound = f"import os; os.sched_setaffinity(0, {set(cores)}); " if cores else ""
    serve = ("-c", f"{bound}from graphsvc.__main__ import main; main()", "serve", "--port")
    return Contestant("graphsvc", _HERE / "ours", sys.executable, serve)


def echo() -> Contestant:
    """Start the echo."""
    return Contestant("echo", _HERE / "echo", sys.executable)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
