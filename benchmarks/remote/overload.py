"""Twice as many calls as the server has time for: how many are answered, and how fast the others are refused."""

import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import grpc
import numpy as np

import graphsvc
from graphsvc.v1 import service_pb2
from graphsvc.wire.codec import graph_from_document, named_tensors
from remote.contest import Contestant, ours
from remote.rows import Row, p99
from tables import NONE, as_time

__all__ = ["overload"]

_ROUNDS: Final = 3
_SECONDS: Final = 4.0
_SURPLUS: Final = 100
"""More calls than the queue takes; it is full when as many have come as were answered, and so many more."""


@dataclass
class _Load:
    """What became of calls: when answers came, and how long refusals took from when the call was due."""

    answers: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)


def overload(shared: Contestant) -> Iterator[Row]:
    """Send twice what the server can do, at a steady rate, whatever it answers; by turns with what it can do.

    First to a server that has a core for itself, beside the one of who asks; then to one that has all of them, as has
    who asks: then what asking takes is missing to the server.
    """
    cores = os.sched_getaffinity(0)
    first, *others = sorted(cores)
    if others:
        try:
            os.sched_setaffinity(0, others[-1:])
            with ours(cores={first}) as alone:
                yield from _rows(alone, "on a core for itself", 1)
        finally:
            os.sched_setaffinity(0, cores)
    yield from _rows(shared, "on the cores of who asks", len(cores))


def _rows(server: Contestant, where: str, threads: int) -> Iterator[Row]:
    for size in (600, 1300):
        found = asyncio.run(_measured(f"127.0.0.1:{server.port}", size))
        ratio = statistics.median(rate / peak for peak, rate, _ in found)
        peak, rate = (statistics.median(column) for column in list(zip(*found, strict=True))[:2])
        what = f"twice the capacity, {where}, {1000 * threads / peak:.0f} ms of a thread each"
        yield Row(f"{what}: answers / the most that it gives", f"{rate:.0f} of {peak:.0f} a second", NONE, ratio, -0.9)
        refusals = [seconds for *_, seen in found for seconds in seen]
        yield Row(
            f"{what}: p99 of {len(refusals)} refusals", as_time(p99(refusals)), NONE, p99(refusals), 0.02, as_time
        )


async def _measured(target: str, size: int) -> list[tuple[float, float, list[float]]]:
    """Return for each round the answers a second one after the other, those at twice that rate, and the refusals."""
    # A stock client, which does not try again what is refused.
    async with grpc.aio.insecure_channel(target) as channel:
        ask = channel.unary_unary("/graphsvc.v1.GraphService/Evaluate")
        request = await _request(ask, size)
        return [await _round(ask, request) for _ in range(_ROUNDS)]


async def _round(ask: grpc.aio.UnaryUnaryMultiCallable, request: bytes) -> tuple[float, float, list[float]]:
    peak, load = _Load(), _Load()
    end = time.perf_counter() + _SECONDS
    await asyncio.gather(*(_one_after_the_other(ask, request, end, peak) for _ in range(8)))
    most = len(peak.answers) / _SECONDS
    start = time.perf_counter()
    full = start + _SURPLUS / most
    stop = full + _SECONDS
    due = [start + i / (2 * most) for i in range(round(2 * most * (stop - start)))]
    await asyncio.gather(*(_due(ask, request, at, load) for at in due))
    kept = [at for at in load.answers if full <= at < stop]
    return most, len(kept) / _SECONDS, load.refusals


async def _request(ask: grpc.aio.UnaryUnaryMultiCallable, size: int) -> bytes:
    """Return a question of few bytes about arrays of so many elements squared."""
    lines = ["a0 = outer(x, y)", *(f"a{i + 1} = tanh(a{i})" for i in range(12)), "f = sum(a12)"]
    graph = graphsvc.parse("\n".join(lines))
    inputs = named_tensors(dict.fromkeys(graph.inputs, np.linspace(-1.0, 1.0, size)))
    asked = service_pb2.EvaluateRequest(graph=graph_from_document(graph.document()), inputs=inputs)
    answer = service_pb2.EvaluateResponse.FromString(await ask(asked.SerializeToString()))
    asked.graph_digest = answer.graph_digest
    return asked.SerializeToString()


async def _one_after_the_other(ask: grpc.aio.UnaryUnaryMultiCallable, request: bytes, end: float, load: _Load) -> None:
    while time.perf_counter() < end:
        await ask(request)
        load.answers.append(time.perf_counter())
    # What was still on its way then is no answer of this time.
    load.answers = [at for at in load.answers if at < end]


async def _due(ask: grpc.aio.UnaryUnaryMultiCallable, request: bytes, due: float, load: _Load) -> None:
    await asyncio.sleep(due - time.perf_counter())
    try:
        await ask(request, timeout=20)
        load.answers.append(time.perf_counter())
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        load.refusals.append(time.perf_counter() - due)
