"""What every client here does: it takes a turn when it is asked to, and times its calls, one after another or at once.

It needs NumPy alone, because it is imported in the environment of each peer. Requests and answers are lines of JSON.
"""

import asyncio
import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

__all__ = ["check_gradients", "take_turns", "vector"]

Call = Callable[[], Any]
"""One value and gradient, from the call to the arrays; or a coroutine function of that."""


def vector(n: int) -> np.ndarray:
    """Return what the function is asked at."""
    return np.random.default_rng(0).standard_normal(n)


def check_gradients(n: int, answer: tuple[Any, Any]) -> None:
    """Check value and gradient of `sum((x - 1)**2)`."""
    value, gradient = answer
    shifted = vector(n) - 1
    assert np.allclose(value, np.sum(shifted**2), rtol=1e-12), value
    assert np.array_equal(np.ravel(gradient), 2 * shifted), gradient


def take_turns(
    kinds: dict[str, Callable[[int, int], Call]], check: Callable[[int, Any], None] = check_gradients
) -> None:
    """Answer requests on standard input until it ends.

    Args:
        kinds: For each kind of call, what makes it from the port of the server and the length of the vector.
        check: Checks what a call returns, before it is timed.
    """
    port = int(sys.argv[1])
    # Whatever packages print is not an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    calls: dict[tuple[str, int], Call] = {}
    with asyncio.Runner() as runner:

        async def prepared(kind: str, n: int) -> Call:
            # In the loop, where clients for asyncio are made.
            return kinds[kind](port, n)

        for line in sys.stdin:
            kind, n, seconds, at_once = json.loads(line)
            if (kind, n) not in calls:
                call = calls[kind, n] = runner.run(prepared(kind, n))
                check(n, runner.run(call()) if inspect.iscoroutinefunction(call) else call())
            call = calls[kind, n]
            if inspect.iscoroutinefunction(call):
                times = runner.run(_awaited_at_once(call, seconds, at_once))
            else:
                times = _at_once(call, seconds, at_once)
            print(json.dumps(times), file=answers, flush=True)


def _at_once(call: Call, seconds: float, at_once: int) -> list[float]:
    if at_once == 1:
        return _timed(call, seconds)
    with ThreadPoolExecutor(at_once) as threads:
        return [time for times in threads.map(lambda _: _timed(call, seconds), range(at_once)) for time in times]


def _timed(call: Call, seconds: float) -> list[float]:
    times = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


async def _awaited_at_once(call: Call, seconds: float, at_once: int) -> list[float]:
    if at_once == 1:
        return await _awaited(call, seconds)
    return [
        time for times in await asyncio.gather(*(_awaited(call, seconds) for _ in range(at_once))) for time in times
    ]


async def _awaited(call: Call, seconds: float) -> list[float]:
    times = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    return times
