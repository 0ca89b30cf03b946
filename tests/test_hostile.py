"""Hostile calls: every row of the table gets its answer, and the server is afterwards what it was before."""

import inspect
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from graphsvc.testing import serving
from graphsvc.v1 import service_pb2
from tests.hostile import attributes, bombs, caches, gradients, graphs, streams, tensors, wire
from tests.hostile.case import LIMIT, MIB, OK, SERVICE, Case, made, question, refusal, session, unary, with_node
from tests.hostile.http2 import Connection, framed
from tests.planted import FAULTY_GATES, install

GROUPS = (wire, graphs, tensors, attributes, bombs, gradients, streams, caches)
CASES: list[Case] = [case for group in GROUPS for case in group.CASES]

ROWS = {"A": 20, "B": 23, "C": 26, "D": 14, "E": 27, "F": 13, "G": 18, "J": 14}
"""How many rows each group of the table has."""

ELSEWHERE = {
    "E23": "test_who_is_refused_fills_no_log",
    "F11": "test_service.py: gates that break their contract",
    "G7": "test_cancelling.py: at every stage of a call",
    "G16": "test_a_server_at_twice_its_capacity_answers_what_it_takes",
    "J5": "test_cancelling.py: a server that stops",
    "J7": "test_service.py: the restart of a server",
}
"""Rows that are tested by a test of their own."""

NOT_OFFERED = {
    "C8": "data are little-endian by definition; no message can say otherwise",
    "C22": "there are no checksums: TCP and HTTP/2 have theirs",
    "C24": "tensors hold their data, and refer to no ranges",
    "C25": "there are no tensors of text",
    "E21": "there are no principals yet among whom to share the queue",
    "E24": "there are no metrics yet",
    "J4": "a graph cannot be taken back by a client; it goes by itself",
    "J9": "the table has no such row",
    "J11": "there is no shared memory",
    "J12": "there is no shared memory",
    "J13": "there is no shared memory",
}
"""Rows of what graphsvc does not have."""

LEFT_OUT = {
    "B20": "no colliding names can be made: Python's hashes of texts are random in each process",
    "B21": "no two graphs of one SHA-256 are known",
    "E11": "B13 is the same graph",
    "E22": "ten thousand connections are more than a test may open; the limit is one option of gRPC",
    "E27": "it is settled when a server starts, and not by what it is sent",
    "G18": "the clock of the machine that runs the tests stays as it is; the server asks the monotonic one alone",
}
"""Rows that nothing tests, and why."""

SERVERS: dict[str, dict[str, str]] = {
    "usual": {},
    "tight": {
        "GRAPHSVC_THREADS": "1",
        "GRAPHSVC_QUEUE_LENGTH": "2",
        "GRAPHSVC_CACHED_GRAPHS": "2",
        "GRAPHSVC_MAX_SECONDS": "2",
        "GRAPHSVC_STALL_SECONDS": "0.5",
        "GRAPHSVC_SESSION_SECONDS": "1",
    },
    "forgetful": {
        "GRAPHSVC_CACHED_GRAPHS": "0",
        "GRAPHSVC_RESIDENT_BYTES": "100",
        "GRAPHSVC_MIN_BYTES_PER_SECOND": "1000000",
        "GRAPHSVC_STALL_SECONDS": "1.5",
    },
}
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


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is so, and fail if it does not come to be."""
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(inspect.getsource(condition))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Process]]:
    """The servers that all are sent to, by name."""
    folder = tmp_path_factory.mktemp("faulty")
    install(folder, "faulty", FAULTY_GATES)
    with ExitStack() as stack:
        yield {
            name: Process.behind(stack.enter_context(serving(environment=environment, path=[folder])))
            for name, environment in SERVERS.items()
        }


def test_no_row_of_the_table_is_forgotten():
    """Each has a case, or a test of its own, or a reason; at most ten that could be tested are not."""
    rows = {f"{group}{number + 1}" for group, count in ROWS.items() for number in range(count)}
    settled = [{case.row for case in CASES}, set(ELSEWHERE), set(NOT_OFFERED), set(LEFT_OUT)]
    assert set.union(*settled) == rows
    assert sum(map(len, settled)) == len(rows)
    assert len(LEFT_OUT) <= 10


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_hostile_call_gets_its_answer(case: Case, servers: dict[str, Process]):
    """The right status and reason; then the server answers a good call, has its memory back, and is the same."""
    server = servers[case.server]
    if case.peak is not None:
        # The first time, it may learn what a name means.
        case.ask(server.target)
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
    wait_until(lambda: server.memory() - before < case.kept)


def test_what_a_refused_call_brought_does_not_stay(servers: dict[str, Process]):
    """A dozen refused messages of 8 MiB, in calls and in sessions, leave no more than a few of them would."""
    server = servers["usual"]
    message = question().SerializeToString() + wire.field(1, wire.field(5, b"\x1a\x01x" * (8 * MIB // 3)))
    for ask in (unary(message), session(lambda: [wire.field(3, message)])):
        ask(server.target)
        before = server.memory()
        for _ in range(12):
            assert ask(server.target).code == LIMIT
        assert server.memory() - before < 48 * MIB


def test_who_reads_nothing_keeps_nothing(servers: dict[str, Process]):
    """An answer of 96 MB that nobody reads is given up after a while, though the stream stays open."""
    server = servers["forgetful"]
    unary(question())(server.target)
    before = server.memory()
    server.forget()
    with Connection(server.target) as connection:
        connection.call(SERVICE + "Session")
        connection.data(framed(made(streams.large())), end=False)
        wait_until(lambda: server.memory(most=True) - before > 90_000_000)
        wait_until(lambda: server.memory() - before < 24 * MIB)
        assert unary(streams.slow(1))(server.target).code == OK


def test_who_is_refused_fills_no_log(capfd: pytest.CaptureFixture[str]):
    """A thousand wrong questions are no more than a line each, and what they say is in none of them."""
    message = with_node(0, gate="secret\n\x1b")().SerializeToString()
    with serving() as target, grpc.insecure_channel(target) as channel:
        evaluate = channel.unary_unary(SERVICE + "Evaluate")
        for _ in range(1000):
            with pytest.raises(grpc.RpcError):
                evaluate(message, timeout=20)
    written = capfd.readouterr().err
    assert len(written.splitlines()) <= 1000
    assert "secret" not in written


def test_a_server_at_twice_its_capacity_answers_what_it_takes(servers: dict[str, Process]):
    """Who is refused is told when to try again, at another time each; who is let in gets the right answer."""
    request = question("a = x @ y\nb = a @ a\nf = sum(b @ b)", {"x": np.ones((500, 1)), "y": np.ones((1, 500))}, wrt=[])
    message = request.SerializeToString()
    with grpc.insecure_channel(servers["tight"].target) as channel:
        evaluate = channel.unary_unary(SERVICE + "Evaluate")
        expected = evaluate(message, timeout=60)
        calls = [evaluate.future(message, timeout=60) for _ in range(100)]
        refused = [call for call in calls if call.exception()]
        assert all(call.result() == expected for call in calls if not call.exception())
    assert 0 < len(refused) < 100
    pushbacks = set()
    for call in refused:
        metadata = dict(call.trailing_metadata())
        assert refusal(metadata["grpc-status-details-bin"]).code == "RESOURCE_EXHAUSTED SERVER_BUSY"
        details = status_pb2.Status.FromString(metadata["grpc-status-details-bin"]).details
        (retry,) = (detail for detail in details if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR))
        delay = error_details_pb2.RetryInfo.FromString(retry.value).retry_delay
        assert delay.ToMilliseconds() == int(metadata["grpc-retry-pushback-ms"]) > 0
        pushbacks.add(metadata["grpc-retry-pushback-ms"])
    assert len(pushbacks) > 1 or len(refused) == 1
