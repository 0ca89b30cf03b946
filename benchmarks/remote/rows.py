"""What is measured, and what is aimed at."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np

import graphsvc
from graphsvc.v1 import graph_pb2, service_pb2
from graphsvc.wire.codec import named_tensors
from remote.contest import Contestant, Entry, Pace, ratio, rounds
from tables import NONE, as_time, as_yes

__all__ = ["Row", "beside_long_graphs", "large_tensor", "p99", "refusals", "small_calls", "vectors"]

SIZES: Final = (3, 1_000, 100_000, 1_000_000)
LARGE: Final = 1 << 24
"""Elements of a tensor of 128 MiB."""

_LONG: Final = 3.0
"""Seconds that a long graph runs, about."""

_MIB: Final = 2**20


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        what: What was measured.
        figure: graphsvc's.
        against: What it is compared with.
        value: The number that counts.
        aim: What it is to be at most; at least where it is negative.
        scale: Makes the number into what is shown.
    """

    what: str
    figure: str
    against: str
    value: float
    aim: float
    scale: Callable[[float], str] = lambda value: f"{value:.2f}"

    def cells(self) -> tuple[str, ...]:
        """Return it as text."""
        aim = f"{'≤' if self.aim > 0 else '≥'} {self.scale(abs(self.aim))}"
        reached = self.value <= self.aim if self.aim > 0 else self.value >= -self.aim
        return self.what, self.figure, self.against, self.scale(self.value), aim, as_yes(reached)


def request_bytes(n: int) -> int:
    """Return the bytes of the request for a vector of `n`, which the echo sends back."""
    request = service_pb2.EvaluateRequest(graph_digest=bytes(32), inputs=named_tensors({"x": np.zeros(n)}))
    return request.ByteSize()


def small_calls(ours: Contestant, echo: Contestant, pace: Pace) -> Iterator[Row]:
    """Compare calls about three numbers with an echo of as many bytes, by the same kind of client."""
    nbytes = request_bytes(3)
    for kind in ("unary", "session", "unary, asyncio", "session, asyncio"):
        times = rounds({"ours": Entry(ours, kind, 3), "echo": Entry(echo, kind, nbytes)}, pace)
        mine, theirs = (as_time(_middle(times[who])) for who in ("ours", "echo"))
        yield Row(f"n = 3, {kind}: p50 / echo", mine, theirs, ratio(times["ours"], times["echo"]), 1.35)
    for kind in ("unary", "session", "unary, asyncio", "session, asyncio"):
        # Streams of the echo do not tell the answers of one apart.
        echoed = Entry(echo, kind.replace("session", "unary"), nbytes, 32)
        times = rounds({"ours": Entry(ours, kind, 3, 32), "echo": echoed}, pace)
        rates = {who: [[len(turn) / pace.seconds] for turn in times[who]] for who in times}
        mine, theirs = (f"{_middle(rates[who]):.0f}" for who in ("ours", "echo"))
        value = ratio(rates["ours"], rates["echo"])
        yield Row(f"n = 3, {kind}, 32 in flight: calls per second / unary echo", mine, theirs, value, -0.7)


def vectors(
    ours: Contestant, echo: Contestant, peers: list[Contestant], pace: Pace
) -> tuple[list[Row], list[tuple[str, ...]]]:
    """Compare value and gradient of vectors with the peers; the rows aim at the best, the others show all."""
    rows = []
    table: dict[str, list[str]] = {}
    for n in SIZES:
        entries = {"graphsvc, session": Entry(ours, "session", n), "graphsvc": Entry(ours, "unary", n)}
        entries |= {peer.name: Entry(peer, "", n) for peer in peers}
        nbytes = request_bytes(n)
        entries |= {"unary echo": Entry(echo, "unary", nbytes), "stream echo": Entry(echo, "session", nbytes)}
        times = rounds(entries, pace)
        for name in entries:
            table.setdefault(name, []).append(as_time(_middle(times[name])))
        if peers and n != 1000:
            best = min((peer.name for peer in peers), key=lambda name: _middle(times[name]))
            mine = times["graphsvc, session"]
            against = f"{best}: {as_time(_middle(times[best]))}"
            aim = -2.0 if n == 3 else -2.5
            rows.append(
                Row(
                    f"n = {n:,}, session: best peer / it",
                    as_time(_middle(mine)),
                    against,
                    ratio(times[best], mine),
                    aim,
                )
            )
    return rows, [(name, *cells) for name, cells in table.items()]


def large_tensor(ours: Contestant, echo: Contestant, pace: Pace) -> list[Row]:
    """Send a tensor of 128 MiB, and get its gradient."""
    nbytes = 8 * LARGE
    ours.turn("unary", LARGE, 0)
    before = _memory(ours.server.pid, "VmRSS")
    Path(f"/proc/{ours.server.pid}/clear_refs").write_text("5", encoding="ascii")
    ours.turn("unary", LARGE, 0)
    grown = _memory(ours.server.pid, "VmHWM") - before
    entries = {"ours": Entry(ours, "unary", LARGE), "echo": Entry(echo, "chunked", nbytes)}
    times = rounds(entries, replace(pace, seconds=0))
    mine, theirs = (as_time(_middle(times[who])) for who in ("ours", "echo"))
    what = "128 MiB in and its gradient out"
    return [
        Row(f"{what}: memory of the server / its size", f"{grown / _MIB:.0f} MiB", "128 MiB", grown / nbytes, 2.4),
        Row(f"{what}: time / chunked echo", mine, theirs, ratio(times["ours"], times["echo"]), 1.5),
    ]


def beside_long_graphs(ours: Contestant) -> Iterator[Row]:
    """Make small calls, and ask for health, while a graph runs for three seconds or so."""
    target = f"127.0.0.1:{ours.port}"
    for name, make, inputs in _long_graphs(target):
        found = [_beside(ours, target, make(number), inputs) for number in range(3)]
        ratios, slow, health, seconds = map(list, zip(*found, strict=True))
        what = f"beside {name} of {statistics.median(seconds):.1f} s"
        yield Row(
            f"n = 3, {what}: p99 / idle p99", as_time(statistics.median(slow)), NONE, statistics.median(ratios), 3
        )
        yield Row(f"health {what}: longest answer", as_time(max(health)), NONE, max(health), 0.1, as_time)


def _beside(
    ours: Contestant, target: str, graph: graphsvc.ComputationalGraph, inputs: dict[str, Any]
) -> tuple[float, float, float, float]:
    """Return p99 of small calls beside a graph by idle p99, that p99, the longest answer to health, and the graph's."""
    idle = p99(ours.turn("unary", 3, _LONG / 2))
    seconds: list[float] = []
    with _asking_for_health(target) as health, graphsvc.connect(target) as client:
        busy, _ = ours.busy_turn("unary", 3, _LONG * 0.7, partial(_timed, client, graph, inputs, seconds))
    return p99(busy) / idle, p99(busy), max(health), seconds[0]


def _long_graphs(
    target: str,
) -> Iterator[tuple[str, Callable[[int], graphsvc.ComputationalGraph], dict[str, np.ndarray]]]:
    """Yield what makes graphs that take about three seconds on the server, with their inputs."""
    generator = np.random.default_rng(0)
    kinds = {
        "an elementwise chain": (_chain, {"x": generator.standard_normal(1_000_000)}, 100),
        "a chain of matrix products": (_products, {"x": generator.standard_normal((700, 700)) / 40}, 20),
    }
    for name, (make, inputs, count) in kinds.items():
        seconds: list[float] = []
        with graphsvc.connect(target) as client:
            for _ in range(2):
                _timed(client, make(count), inputs, seconds)
        graph = make(max(1, round(count * _LONG / seconds[-1])))
        yield name, lambda _, graph=graph: graph, inputs
    # Each time another, because one that the server has seen takes it no time.
    yield "a new graph of 20,000 gates", lambda number: _chain(20_000 + number), {"x": generator.standard_normal(3)}


def _chain(count: int) -> graphsvc.ComputationalGraph:
    graph = graphsvc.ComputationalGraph()
    node = graph.input("x")
    for _ in range(count):
        node = graph.add("tanh", node)
    graph.output("f", graph.add("sum", node))
    return graph


def _products(count: int) -> graphsvc.ComputationalGraph:
    graph = graphsvc.ComputationalGraph()
    x = node = graph.input("x")
    for _ in range(count):
        node = node @ x
    graph.output("f", graph.add("sum", node))
    return graph


def _timed(
    client: graphsvc.Client, graph: graphsvc.ComputationalGraph, inputs: dict[str, Any], seconds: list[float]
) -> None:
    began = time.perf_counter()
    client.value_and_grad(graph, inputs)
    seconds.append(time.perf_counter() - began)


@contextmanager
def _asking_for_health(target: str) -> Iterator[list[float]]:
    """Have a process ask for health, and yield where it is put afterwards how long each answer took."""
    command = [sys.executable, str(Path(__file__).with_name("health.py")), target]
    times: list[float] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asker:  # noqa: S603
        asker.stdout.readline()
        yield times
        times += json.loads(asker.communicate()[0])


def refusals(ours: Contestant) -> Iterator[Row]:
    """Send bad graphs of 4 MiB, with small calls meanwhile."""
    with grpc.insecure_channel(f"127.0.0.1:{ours.port}", options=[("grpc.max_send_message_length", -1)]) as channel:
        evaluate = channel.unary_unary("/graphsvc.v1.GraphService/Evaluate")
        for name, message in _bad_graphs():
            took: list[float] = []
            busy, _ = ours.busy_turn("unary", 3, 3.0, partial(_refused, evaluate, message, took))
            longest = max(busy) - statistics.median(busy)
            size = f"{name} in {len(message) / _MIB:.1f} MiB"
            yield Row(
                f"refusing {size}", as_time(statistics.median(took)), NONE, statistics.median(took), 0.15, as_time
            )
            yield Row(
                f"the longest wait of a small call meanwhile, {name}", as_time(longest), NONE, longest, 0.05, as_time
            )


def _bad_graphs() -> Iterator[tuple[str, bytes]]:
    empty = graph_pb2.Graph(nodes=[graph_pb2.Node()]).SerializeToString()
    yield "2 Mi empty nodes", _request(empty * (2 * _MIB))
    node = graph_pb2.Node(gate="sin", operands=["x"])
    nodes = []
    for number in range(80_000):
        node.name = f"a_node_with_a_name_of_some_length_{number}"
        nodes.append(graph_pb2.Graph(nodes=[node]).SerializeToString())
    node.operands[:] = ["nowhere"]
    node.name = "last"
    rest = graph_pb2.Graph(
        format_version=1,
        inputs=[graph_pb2.Input(name="x")],
        gates=[graph_pb2.GateVersion(gate="sin", version=1)],
        nodes=[node],
        outputs=[graph_pb2.Output(name="f", source="last")],
    )
    yield "80,000 nodes of which the last has no operand", _request(b"".join(nodes) + rest.SerializeToString())


def _request(graph: bytes) -> bytes:
    return service_pb2.EvaluateRequest(graph=graph_pb2.Graph.FromString(graph)).SerializeToString()


def _refused(evaluate: Callable[[bytes], bytes], message: bytes, took: list[float]) -> None:
    """Have a graph refused five times.

    Raises:
        RuntimeError: It was not.
    """
    for _ in range(5):
        time.sleep(0.1)
        began = time.perf_counter()
        try:
            evaluate(message)
        except grpc.RpcError as error:
            took.append(time.perf_counter() - began)
            if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED):
                continue
            raise
        msg = "A bad graph was answered."
        raise RuntimeError(msg)


def _middle(turns: list[list[float]]) -> float:
    return statistics.median(statistics.median(turn) for turn in turns)


def p99(times: list[float]) -> float:
    """Return the time below which 99 of 100 lie."""
    return float(np.quantile(times, 0.99))


def _memory(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
