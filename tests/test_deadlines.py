"""Deadlines: kept whatever the server does, and nobody else's matter."""

import asyncio
import functools
import queue
import signal
import subprocess
import sys
import time
from concurrent import futures
from contextlib import ExitStack
from pathlib import Path

import pytest

import graphsvc
import graphsvc.aio
from graphsvc import errors
from graphsvc.client.alarm import Alarm
from graphsvc.testing import serving
from tests.planted import FAULTY_GATES, install

SERVE = [sys.executable, "-m", "graphsvc", "serve", "--port", "0"]
SLEEP = graphsvc.parse("f = faulty.sleep(faulty.sleep(x))")


def test_a_server_that_hangs_keeps_nobody_beyond_the_deadline():
    """Stopped as a whole, it answers nothing and ends nothing; when it goes on, so does the client."""
    graph = graphsvc.parse("f = x")
    with ExitStack() as stack:
        process = subprocess.Popen(SERVE, stdout=subprocess.PIPE, text=True)
        stack.enter_context(process)
        stack.callback(process.kill)
        target = process.stdout.readline().rsplit(maxsplit=1)[-1]
        client = stack.enter_context(graphsvc.connect(target))
        runner = stack.enter_context(asyncio.Runner())
        awaiting = graphsvc.aio.connect(target)
        calls = [
            lambda t: client.value_and_grad(graph, {"x": 1.0}, timeout=t),
            lambda t: client.graph(graph).value_and_grad({"x": 1.0}, timeout=t),
            lambda t: runner.run(awaiting.graph(graph).value_and_grad({"x": 1.0}, timeout=t)),
            lambda t: runner.run(awaiting.value_and_grad(graph, {"x": 1.0}, timeout=t)),
        ]
        for call in calls:
            call(60)
        for _ in range(2):
            process.send_signal(signal.SIGSTOP)
            for call in calls:
                with pytest.raises(errors.DeadlineError):
                    call(0.2)
            process.send_signal(signal.SIGCONT)
            for call in calls:
                assert call(60)[0]["f"] == 1
        runner.run(awaiting.close())


def test_who_is_late_takes_nobody_with_him(tmp_path: Path):
    """Calls with short deadlines beside one that takes its time, on the streams of one client."""
    install(tmp_path, "faulty", FAULTY_GATES)
    with serving("--threads", "4", path=[tmp_path]) as target, graphsvc.connect(target) as client:
        remote = client.graph(SLEEP)
        with futures.ThreadPoolExecutor(2) as pool:
            slow = pool.submit(remote.value_and_grad, {"x": 1.0})
            while not slow.done():
                with pytest.raises(errors.DeadlineError):
                    remote.value_and_grad({"x": 1.0}, timeout=0.1)
            assert slow.result()[0]["f"] == 1


def test_what_is_set_while_an_alarm_rings_is_called_at_its_time():
    """Set anew, as where a stream has its next question just when the time of the one before has passed; or first."""
    alarm = Alarm()
    now = time.monotonic()
    rung: queue.SimpleQueue[str] = queue.SimpleQueue()
    anew, new = functools.partial(rung.put, "anew"), functools.partial(rung.put, "new")

    def first() -> None:
        alarm.unset(anew)
        alarm.set(anew, now + 1e6)
        alarm.set(new, now + 0.1)
        rung.put("first")

    # Nobody waits yet, so that both are due when it rings.
    alarm._times.update({first: now, anew: now})
    alarm.set(functools.partial(rung.put, "last"), now)
    assert [rung.get(timeout=60) for _ in range(3)] == ["first", "last", "new"]
    assert alarm.unset(anew)
    alarm.close()


def test_an_alarm_calls_what_is_late_and_nothing_else():
    """Earlier times may be set later, and what was unset in time is never called."""
    alarm = Alarm()
    now = time.monotonic()
    rung: queue.SimpleQueue[str] = queue.SimpleQueue()
    calls = {name: functools.partial(rung.put, name) for name in ("far", "third", "unset", "first", "second")}
    for name, later in {"far": 1e6, "third": 0.3, "unset": 0.15, "first": 0.1, "second": 0.2}.items():
        alarm.set(calls[name], now + later)
    assert alarm.unset(calls["unset"])
    assert [rung.get(timeout=60) for _ in range(3)] == ["first", "second", "third"]
    assert not alarm.unset(calls["first"])
    assert alarm.unset(calls["far"])
    # The thread waits for no time any more, and hears of another one.
    for name in ("past", "again"):
        alarm.set(functools.partial(rung.put, name), time.monotonic() + (0.05 if name == "again" else -1))
        assert rung.get(timeout=60) == name
    alarm.close()
