"""What a small graph costs beyond its arithmetic: in process, and through a server, beside a raw gRPC echo.

Usage: python benchmarks/overhead.py [repetitions]
"""

import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Callable

import grpc
import numpy as np

import graphsvc
from graphsvc.testing import serving

CASES = {
    "(x + y) * z, scalars": ("f = (x + y) * z", {"x": -2.0, "y": 5.0, "z": -4.0}),
    "sum((x - 1)**2), n = 1e5": ("f = sum((x - 1)**2)", {"x": np.linspace(0.0, 1.0, 100_000)}),
}


def echo_target() -> str:
    """Start a server in a thread that answers with the bytes it is sent, and return its target."""
    started = threading.Event()
    port = 0

    async def serve() -> None:
        nonlocal port

        async def echo(data: bytes, _: object) -> bytes:
            return data

        server = grpc.aio.server()
        methods = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmark", methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        started.set()
        await server.wait_for_termination()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    started.wait()
    return f"127.0.0.1:{port}"


def medians(repetitions: int, **functions: Callable[[], object]) -> dict[str, float]:
    """Return the median time of each function in microseconds, measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repetitions + 3):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            if turn >= 3:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) * 1e6 for name, values in times.items()}


def main(repetitions: int = 500) -> None:
    """Print a table of medians."""
    print(f"{'':28}{'in process':>12}{'served':>12}{'200-byte echo':>16}  microseconds, median")
    with (
        serving() as target,
        graphsvc.connect(target) as client,
        grpc.insecure_channel(echo_target()) as channel,
    ):
        echo = channel.unary_unary("/benchmark/Echo")
        for name, (expression, inputs) in CASES.items():
            graph = graphsvc.parse(expression)
            remote = client.graph(graph)
            here, there = graph.value_and_grad(inputs), remote.value_and_grad(inputs)
            assert all(np.array_equal(here[1][n], there[1][n]) for n in inputs)
            found = medians(
                repetitions,
                here=lambda g=graph, i=inputs: g.value_and_grad(i),
                there=lambda r=remote, i=inputs: r.value_and_grad(i),
                echo=lambda: echo(bytes(200)),
            )
            print(f"{name:28}{found['here']:12.1f}{found['there']:12.1f}{found['echo']:16.1f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
