"""Hostile calls: every row of the table gets its answer, and the server is afterwards what it was before."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from graphsvc.testing import serving
from graphsvc.v1 import service_pb2
from tests.hostile import attributes, gradients, graphs, tensors, wire
from tests.hostile.case import OK, Case, question, unary

CASES: list[Case] = [*wire.CASES, *graphs.CASES, *tensors.CASES, *attributes.CASES, *gradients.CASES]

SERVERS: dict[str, dict[str, str]] = {"usual": {}}
"""The settings of each."""


@dataclass(frozen=True)
class Process:
    """A server's process, as the system sees it."""

    target: str
    number: int

    @classmethod
    def behind(cls, target: str) -> "Process":
        """Return the one that listens at an address of this machine."""
        port = f"{int(target.rsplit(':', 1)[1]):04X}"
        tables = [Path(f"/proc/net/{table}").read_text() for table in ("tcp", "tcp6")]
        rows = [line.split() for table in tables for line in table.splitlines()[1:]]
        inode = next(row[9] for row in rows if row[1].endswith(f":{port}") and row[3] == "0A")
        for number in filter(str.isdigit, os.listdir("/proc")):
            try:
                files = [os.readlink(file) for file in Path(f"/proc/{number}/fd").iterdir()]
            except OSError:
                continue
            if f"socket:[{inode}]" in files:
                return cls(target, int(number))
        raise AssertionError(target)

    def memory(self, *, most: bool = False) -> int:
        """Return what it has in memory, or the most that it had since `forget`, in bytes."""
        text = Path(f"/proc/{self.number}/status").read_text()
        return 1024 * int(re.search(rf"{'VmHWM' if most else 'VmRSS'}:\s+(\d+)", text)[1])

    def forget(self) -> None:
        """Count anew the most that it has."""
        Path(f"/proc/{self.number}/clear_refs").write_text("5")


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Process]]:
    """The servers that all are sent to, by name."""
    with ExitStack() as stack:
        yield {
            name: Process.behind(stack.enter_context(serving(environment=environment)))
            for name, environment in SERVERS.items()
        }


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_hostile_call_gets_its_answer(case: Case, servers: dict[str, Process]):
    """The right status and reason; then the server answers a good call, has its memory back, and is the same."""
    server = servers[case.server]
    before = server.memory()
    server.forget()
    answer = case.ask(server.target)
    most = server.memory(most=True)
    assert answer.code in case.code.split(" | "), answer
    assert re.search(f"(?s){case.says}", answer.details), answer
    good = unary(question())(server.target)
    assert good.code == OK, good
    response = service_pb2.EvaluateResponse.FromString(good.responses[0])
    assert np.frombuffer(response.outputs[0].tensor.data)[0] == -12
    assert Process.behind(server.target) == server
    assert case.peak is None or most - before < case.peak
    # The allocator and Python's collector take their time.
    for _ in range(50):
        if server.memory() - before < case.kept:
            break
        time.sleep(0.1)
    assert server.memory() - before < case.kept
