"""Runs of recordings: the same bits whatever threads do, and nothing of the caller's that is changed or kept."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import pytest

from graphsvc import ComputationalGraph, Elementwise, Gate
from graphsvc.arrays import Array, ArraySpec
from graphsvc.engine.fusion.proof import same_bits
from graphsvc.engine.fusion.workers import Workers
from tests.recorded import (
    Guarded,
    GuardedAll,
    Swish,
    Typed,
    assert_same,
    by_loops,
    by_plan,
    numbers,
    seeds_of,
)

# The same bits --------------------------------------------------------------------------------------------------------

DETERMINISM = """
import hashlib
import numpy as np
from graphsvc import ComputationalGraph
random = np.random.default_rng(0)
digest = hashlib.sha256()
for dtype in ("float64", "float32", "float16"):
    graph = ComputationalGraph()
    x, w, b = graph.input("x"), graph.input("w"), graph.input("b")
    h = graph.add("tanh", x * w + b)
    graph.output("f", graph.add("sum", graph.add("softmax", h * h - x, axis=1) * h))
    inputs = {"x": random.normal(size=(1500, 400)), "w": random.normal(size=400), "b": random.normal(size=(1500, 1))}
    inputs = {name: array.astype(dtype) for name, array in inputs.items()}
    inputs["x"][7, 7], inputs["x"][-1, -1], inputs["w"][3] = np.inf, np.nan, np.finfo(dtype).max
    for _ in range(3):
        outputs, gradients = graph.value_and_grad(inputs)
        for array in (*outputs.values(), *gradients.values()):
            digest.update(array.tobytes())
print(digest.hexdigest())
"""


def test_the_bits_do_not_depend_on_the_number_of_threads():
    """1, 2 and 5 threads, with overflow and NaN in the data and warnings made errors: the same bits, and no word."""
    found = set()
    for count in (1, 2, 5):
        environment = {**os.environ, "GRAPHSVC_THREADS": str(count), "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "error", "-c", DETERMINISM]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        found.add(done.stdout)
    assert len(found) == 1


def test_as_many_threads_are_at_work_as_there_are_cores(monkeypatch: pytest.MonkeyPatch):
    """Who begins while others are at work has the fewer helpers, and leaves none of them behind, come what may."""
    monkeypatch.setenv("GRAPHSVC_THREADS", "4")
    workers = Workers()

    def assert_help(asked: int, *beside: int, expected: int) -> None:
        """Ask for helpers while others, in turn, have asked for theirs."""
        if beside:
            done = threading.Event()
            with workers.helped(beside[0], lambda: done.wait(60) or None):
                try:
                    assert_help(asked, *beside[1:], expected=expected)
                finally:
                    done.set()
            return
        came = threading.Semaphore(0)
        with workers.helped(asked, came.release):
            assert all(came.acquire(timeout=60) for _ in range(expected))
            assert not came.acquire(timeout=0.05)

    for asked, expected in [(0, 0), (1, 1), (3, 3), (9, 3)]:
        assert_help(asked, expected=expected)
    for beside, expected in [((1,), 1), ((0,), 2), ((3,), 0), ((0, 0), 1), ((0, 0, 0), 0), ((0, 0, 0, 0), 0)]:
        assert_help(3, *beside, expected=expected)

    begun = threading.Event()

    def fail() -> None:
        begun.set()
        raise ZeroDivisionError

    def work(error: type[Exception] | None) -> None:
        with workers.helped(3, fail):
            assert begun.wait(60)
            if error:
                raise error

    with pytest.raises(ZeroDivisionError):
        work(None)
    with pytest.raises(KeyError):
        work(KeyError)
    assert_help(3, expected=3)


def test_nobody_waits_for_help_that_has_not_begun(monkeypatch: pytest.MonkeyPatch):
    """The work is done by then."""
    monkeypatch.setenv("GRAPHSVC_THREADS", "2")
    workers, begun, done = Workers(), threading.Event(), threading.Event()

    def last() -> None:
        begun.set()
        done.wait(60)

    with workers.helped(1, last):
        assert begun.wait(60)
        workers.count = 4
        with workers.helped(1, pytest.fail):
            pass
        done.set()


def test_help_is_waited_for_that_no_thread_could_be_started_for(monkeypatch: pytest.MonkeyPatch):
    """A thread that helped others comes to it, so that a block would be missing from the results."""
    monkeypatch.setenv("GRAPHSVC_THREADS", "4")
    workers, others, begun = Workers(), threading.Event(), threading.Event()
    done = []

    def fail(_: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    def work() -> None:
        begun.set()
        # Until who waits for it would have gone on.
        threading.Event().wait(0.2)
        done.append(True)

    with workers.helped(1, lambda: others.wait(60) or None):
        monkeypatch.setattr(threading.Thread, "start", fail)
        with workers.helped(1, work):
            others.set()
            assert begun.wait(60)
        assert done


def test_who_is_interrupted_while_waiting_for_help_leaves_the_count_right(monkeypatch: pytest.MonkeyPatch):
    """Otherwise nobody would be helped any more."""
    monkeypatch.setenv("GRAPHSVC_THREADS", "2")
    workers, begun, done = Workers(), threading.Event(), threading.Event()

    def interrupt() -> None:
        begun.set()
        # Until the other thread waits.
        done.wait(0.2)
        signal.pthread_kill(asking, signal.SIGINT)
        done.wait(10)

    asking = threading.get_ident()
    with pytest.raises(KeyboardInterrupt), workers.helped(1, interrupt):
        assert begun.wait(60)
    done.set()
    helped = threading.Event()
    with workers.helped(1, helped.set):
        assert helped.wait(60)


@pytest.mark.parametrize("shape", [(), (5,), (3000,), (600, 500)])
def test_one_graph_answers_many_threads(shape):
    """Eight threads with data of their own ask one graph at once."""
    graph = ComputationalGraph()
    x, y = graph.input("x"), graph.input("y")
    h = graph.add(Swish(), x * y)
    graph.output("f", graph.add("sum", graph.add(Guarded(), h * h + 1.0) * graph.add(Typed(), x)))
    cases = []
    for i in range(8):
        inputs = dict(zip("xy", numbers((shape, shape), seed=i), strict=True))
        cases.append((inputs, by_loops(graph, inputs, None)))
    start = threading.Barrier(8)

    def ask(case: Any) -> list[Any]:
        start.wait()
        return [by_plan(graph, case[0], None) for _ in range(10)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, cases))
    for (_, expected), found in zip(cases, answers, strict=True):
        assert all(same_bits(found[0][1][name], each[1][name]) for each in found for name in "xy")
        for name in "xy":
            np.testing.assert_allclose(found[0][1][name], expected[1][name], 1e-13)


def test_no_warning_is_printed():
    """Overflow and NaN in straight-line code, kernels, levels and gates; warnings are errors here."""
    graph = ComputationalGraph()
    x, y = graph.input("x"), graph.input("y")
    h = graph.add("exp", graph.add("log", x - y) * x) / (x - x) + graph.add(Typed(), graph.add("sqrt", y))
    graph.output("f", graph.add("sum", h))
    for shape in [(), (5,), (3000,), (600, 500)]:
        for a, b in [(1.0, 2.0), (1e308, -1e308), (np.inf, np.nan), (0.0, 0.0)]:
            inputs = {"x": np.full(shape, a), "y": np.full(shape, b)}
            found = [by_plan(graph, inputs, None) for _ in range(3)]
            assert all(isinstance(part[0], dict) for part in found)
    wide = ComputationalGraph()
    ends = [graph_node * 1e300 for graph_node in (wide.input(f"x{i}") for i in range(700))]
    for _ in range(3):
        ends = [a * b / (a - a) for a, b in zip(ends[::2], ends[1::2], strict=False)]
    wide.output("f", ends[0] + ends[-1])
    for _ in range(2):
        wide.value_and_grad({f"x{i}": 1e10 for i in range(700)})


# What a run leaves alone ----------------------------------------------------------------------------------------------


class Keeping(Gate):
    """Keeps what it is given, as no gate should."""

    name: ClassVar[str] = "keeping"
    deterministic: ClassVar[bool] = False
    kept: ClassVar[list[Array]] = []

    def infer(self, x: ArraySpec) -> ArraySpec:
        return x

    def forward(self, x: Array) -> Array:
        self.kept.append(x)
        return x

    def backward(self, dz: Array) -> Array:
        self.kept.append(dz)
        return dz


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (200, 300)])
def test_results_share_memory_with_nobody(shape):
    """Neither with each other, nor with inputs, nor with what a gate keeps, be it a view."""
    graph = ComputationalGraph()
    x = graph.input("x")
    values = [x, graph.add("exp", x)]
    values.append(graph.add("transpose", values[1]))
    values += [graph.add(Keeping(), value) for value in values[1:]]
    values.append(graph.add("reshape", values[1], shape=(-1,)))
    values.append(graph.add(Keeping(), values[-1]))
    for i, value in enumerate(values):
        graph.output(f"f{i}", value)
    inputs = {"x": numbers((shape,))[0]}
    given = seeds_of(graph, inputs)
    for _ in range(3):
        outputs, gradients = graph.value_and_grad(inputs, None, given)
        mine = [*outputs.values(), *gradients.values()]
        others = [*Keeping.kept, *inputs.values(), *given.values()]
        for i, array in enumerate(mine):
            assert array.flags.writeable
            assert not any(np.shares_memory(array, other) for other in [*mine[:i], *others])
    Keeping.kept.clear()


def tower() -> ComputationalGraph:
    """Make a graph that takes long enough to be interrupted."""
    graph = ComputationalGraph()
    x = y = graph.input("x")
    for _ in range(6):
        y = graph.add("tanh", y * x + 1.0) * y
    graph.output("f", y)
    return graph


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals by time are of Unix")
def test_a_signal_handler_may_ask_a_graph_while_it_runs():
    """Its run disturbs no number of the run that it comes in the middle of."""
    graph = tower()
    (mine, other), given = numbers(((40, 1000),) * 2), {"f": np.ones((40, 1000))}
    expected = [by_plan(graph, {"x": mine}, given) for _ in range(2)][-1]
    hits: list[int] = []

    def handler(*_: object) -> None:
        graph.value_and_grad({"x": other}, None, given)
        hits.append(1)
        # One that is late finds nothing to go on with; the next alarm would be that of the test's own time limit.
        if len(hits) < 100:
            signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.0003 * (len(hits) % 7))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while len(hits) < 100:
            outputs, gradients = graph.value_and_grad({"x": mine}, None, given)
            assert same_bits(outputs["f"], expected[0]["f"])
            assert same_bits(gradients["x"], expected[1]["x"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_between_may_stop_or_ask_at_any_time():
    """What it raises comes out, what it asks is answered, and the next run is none the worse for it."""
    graph = tower()
    (mine, other), given = numbers(((600, 500),) * 2), {"f": np.ones((600, 500))}
    expected = [by_plan(graph, {"x": mine}, given) for _ in range(2)][-1]
    for last in range(2):
        calls: list[int] = []

        def between(calls: list[int] = calls, last: int = last) -> None:
            calls.append(1)
            graph.value_and_grad({"x": other}, None, given)
            if len(calls) > last:
                raise KeyError(last)

        with pytest.raises(KeyError):
            graph.value_and_grad({"x": mine}, None, given, between=between)
        assert_same(by_plan(graph, {"x": mine}, given), expected)


@pytest.mark.parametrize("seed", [1.0, np.inf, np.nan])
def test_the_sum_over_nothing_is_zero(seed):
    """Also of infinities, which a product with a length of 0 would make NaN."""
    for shapes in [((), (0,)), ((3, 1), (3, 0)), ((0,), ())]:
        graph = ComputationalGraph()
        graph.output("f", graph.add("sum", graph.input("x") + graph.input("y")))
        inputs = dict(zip("xy", numbers(shapes), strict=True))
        for _ in range(3):
            assert_same(
                by_plan(graph, inputs, {"f": np.asarray(seed)}), by_loops(graph, inputs, {"f": np.asarray(seed)})
            )


class PowersOfBoth(Elementwise):
    """PowersOfBoth of an operand and of what is computed of it, by the operator."""

    name: ClassVar[str] = "powers_of_both"
    exponent: float = 2.0
    whole: bool = False

    def forward(self, x: Array) -> Array:
        exponent = int(self.exponent) if self.whole else self.exponent
        return (x * 1.0) ** exponent + x**exponent + 2.0 ** (0.5 * x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * (-x) ** self.exponent


@pytest.mark.parametrize("exponent", [0.5, 2.0, 3.0, -1.0, 0.25])
@pytest.mark.parametrize("shape", [(), (7,), (20_000,)])
def test_powers_take_the_way_of_numbers_or_of_arrays(exponent, shape):
    """NumPy raises its numbers to powers by another function than its arrays: a plan does as the gate would."""
    for gate in (PowersOfBoth(exponent=exponent), PowersOfBoth(exponent=exponent, whole=True)):
        graph = ComputationalGraph()
        graph.output("f", graph.add(gate, graph.input("x")))
        for turn in range(200 if shape == () else 2):
            x = np.asarray(np.random.default_rng(turn).uniform(-3, 3, shape))
            x = np.asarray([np.inf, 0.0, -0.0][turn]) if shape == () and turn < 3 else x
            evaluation = graph.forward({"x": x})
            outputs, gradients = graph.value_and_grad({"x": x}, output_gradients={"f": np.ones(shape)})
            assert outputs["f"].tobytes() == evaluation.outputs["f"].tobytes()
            assert gradients["x"].tobytes() == graph.backward(evaluation, {"f": np.ones(shape)})["x"].tobytes()


def test_a_prepared_question_whose_values_take_another_way_runs_gate_by_gate():
    """Prepared again after it ran, it meets a value that the recording did not expect, and asks for what that takes."""
    graph = ComputationalGraph()
    graph.output("f", graph.add("sum", graph.add(GuardedAll(), graph.input("x"))))
    graph.prepare({"x": np.ones(3)}).run()
    asked: list[int] = []
    again = graph.prepare({"x": np.array([1.0, np.inf, 2.0])})
    assert again.planned
    outputs, gradients = again.run(None, asked.append)
    assert outputs["f"] == 0
    np.testing.assert_array_equal(gradients["x"], [1, 1, 1])
    assert asked == [again.estimate.peak_bytes] or again.peak_bytes == again.estimate.peak_bytes
