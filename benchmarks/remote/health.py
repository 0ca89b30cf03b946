"""Asks a server for its health until standard input ends, and prints how long each answer took, as JSON.

A process of its own: beside a client that sends a large graph, answers would wait for the interpreter of the client.
"""

import json
import select
import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def main() -> None:
    """Ask fifty times a second."""
    times: list[float] = []
    with grpc.insecure_channel(sys.argv[1]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        stub.Check(health_pb2.HealthCheckRequest())
        print(json.dumps("ready"), flush=True)
        while not select.select([sys.stdin], [], [], 0.02)[0]:
            began = time.perf_counter()
            stub.Check(health_pb2.HealthCheckRequest())
            times.append(time.perf_counter() - began)
    print(json.dumps(times))


if __name__ == "__main__":
    main()
