"""Group E: small questions that would take much. They are refused by estimate, before anything of it is allocated."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import graphsvc
from graphsvc.wire.codec import named_tensors
from tests.hostile.case import LIMIT, MIB, OK, Answer, Case, asked, question, unary


def bomb(
    row: str,
    what: str,
    limit: str,
    graph: str | graphsvc.ComputationalGraph,
    inputs: dict[str, Any] | None = None,
    **fields: Any,
) -> Case:
    """Return a case of a graph of x, which is 1, that is over a limit."""
    inputs = {"x": 1.0} if inputs is None else inputs
    sent = sum(np.asarray(value).nbytes for value in inputs.values())
    # What it was sent, as bytes and as a message, and not one value more.
    return Case(row, what, LIMIT, asked(graph, inputs, **fields), f"'{limit}'", peak=MIB + 4 * sent)


def doubling(times: int) -> str:
    """Return a graph whose value is twice as long at each step."""
    lines = ["a0 = reshape(x, shape=[1])"]
    return "\n".join([*lines, *(f"a{i + 1} = concatenate(a{i}, a{i})" for i in range(times)), f"f = sum(a{times})"])


def squaring(times: int) -> str:
    """Return a graph whose value is as long as the square of what it was at each step."""
    lines = [f"a{i + 1} = reshape(outer(a{i}, a{i}), shape=[-1])" for i in range(times)]
    return "\n".join(["a0 = broadcast_to(x, shape=[4])", *lines, f"f = sum(a{times})"])


def looping(gate: str, body: str, *shapes: tuple[int, ...], **attributes: object) -> graphsvc.ComputationalGraph:
    """Return a graph with one gate that runs a graph `body` of a, b, c over views of these shapes."""
    graph = graphsvc.ComputationalGraph()
    x = graph.input("x")
    views = [graph.add("broadcast_to", x, shape=shape) for shape in shapes]
    held = graphsvc.parse(body, ["a", "b", "c"][: len(shapes)])
    graph.output("f", graph.add("sum", graph.add(gate, *views, body=held, **attributes)))
    return graph


def matrices(count: int) -> str:
    """Return a graph that multiplies large matrices that many times."""
    lines = [f"a{i} = {'a' if i == 0 else f'a{i - 1}'} @ (x @ y)" for i in range(count)]
    return "\n".join(["a = x @ y", *lines, f"f = sum(a{count - 1})"])


def activations(count: int) -> str:
    """Return a graph that keeps that many values for its gradient."""
    lines = ["a0 = broadcast_to(x, shape=[4000000])"]
    lines += [f"a{i + 1} = sort(sin(a{i}))" for i in range(count)]
    return "\n".join([*lines, f"f = sum(a{count})"])


def at_once(graph: str, inputs: dict[str, Any], count: int) -> Callable[[str], Answer]:
    """Return what asks so many times at once. All that are answered are alike; busy is what the others are told."""

    def ask(target: str) -> Answer:
        message = question(graph, inputs, wrt=[]).SerializeToString()
        with ThreadPoolExecutor(count) as threads:
            answers = list(threads.map(lambda _: unary(message)(target), range(count)))
        assert {answer.code for answer in answers} == {OK, "RESOURCE_EXHAUSTED SERVER_BUSY"}
        assert len({answer.responses for answer in answers if answer.code == OK}) == 1
        return next(answer for answer in answers if answer.code != OK)

    return ask


def variants(count: int) -> Callable[[str], Answer]:
    """Return what asks one graph for so many shapes."""

    def ask(target: str) -> Answer:
        request = question("f = sum(x * x)", {"x": [1.0]})
        for size in range(1, count):
            request.inputs[0].tensor.CopyFrom(named_tensors({"x": np.ones(size)})[0].tensor)
            answer = unary(request)(target)
        return answer

    return ask


def graphs(count: int) -> Callable[[str], Answer]:
    """Return what asks so many graphs, and the first one again."""

    def ask(target: str) -> Answer:
        return [asked(f"f = x + {i % count}.5", {"x": 1.0})(target) for i in range(count + 1)][-1]

    return ask


LONG = "x = broadcast_to(a, shape=[1000000, 1]); y = broadcast_to(a, shape=[1, 1000000]); "
MILLIONS = 10_000_000
STEPS = {"steps": 1_000_000, "trajectory": False}
COLUMN, ROW = np.ones((8192, 1), np.float32), np.ones((1, 8192), np.float32)
WIDE = {"x": np.ones((100_000, 1)), "y": np.ones((1, 1000))}
VALUES = "\n".join([f"a{i} = x * y * {i + 2}.5" for i in range(8)] + [f"b{i} = sort(a{i})" for i in range(8)])

CASES = [
    bomb("E1", "an outer product of 7 TiB", "max_tensor_bytes", f"{LONG} f = sum(x @ y)", {"a": 1.0}),
    bomb("E2", "a sum of 7 TiB", "max_tensor_bytes", f"{LONG} f = sum(x + y)", {"a": 1.0}),
    bomb("E3", "tiles", "max_tensor_bytes", "f = sum(tile(x, reps=[100000, 100000]))"),
    bomb(
        "E3",
        "padding of a thousand million",
        "max_tensor_bytes",
        "f = sum(pad(x, pad_width=[[0, 1000000000]]))",
        {"x": [1.0]},
    ),
    bomb("E3", "repeats", "max_tensor_bytes", "f = sum(repeat(x, repeats=1000000000))"),
    bomb(
        "E3",
        "one hot of a thousand million",
        "max_tensor_bytes",
        "f = sum(one_hot(i, depth=1000000000))",
        {"i": np.zeros(100, np.int64)},
    ),
    bomb("E4", "doubled 30 times", "max_tensor_bytes", doubling(30)),
    bomb("E5", "squared 4 times", "max_tensor_bytes", squaring(4)),
    bomb(
        "E6",
        "many values at once",
        "max_run_bytes",
        VALUES + "\nf = sum(stop_gradient(" + " + ".join(f"take(b{i}, 0)" for i in range(8)) + "))",
        WIDE,
    ),
    bomb(
        "E7",
        "many values as outputs",
        "max_message_bytes",
        "\n".join(f"f{i} = broadcast_to(x, shape=[1000000]) + {i}" for i in range(100)),
        wrt=[],
    ),
    bomb("E8", "a view of 4 TiB", "max_tensor_bytes", "f = sum(broadcast_to(x, shape=[1000000, 1000000]))"),
    bomb(
        "E9",
        "a view that becomes one value",
        "max_tensor_bytes",
        "f = sum(broadcast_to(x, shape=[1000000, 1000000]) + 1)",
    ),
    bomb("E10", "products of large matrices", "max_gate_flops", matrices(12), {"x": COLUMN, "y": ROW}),
    bomb(
        "E10", "a loop of a thousand million steps", "max_seconds", looping("odeint", "b * a", (), (1001,), (), **STEPS)
    ),
    bomb(
        "E10",
        "a loop of as many dear steps",
        "max_flops",
        looping("odeint", "a @ c", (100,), (1001,), (100, 100), **STEPS),
    ),
    bomb(
        "E10",
        "a scan of dear steps",
        "max_flops",
        looping("scan", "h = c @ a; y = sum(a) * b", (500,), (MILLIONS,), (500, 500)),
    ),
    bomb("E10", "ten million cheap rows", "max_seconds", looping("map", "a + 1", (MILLIONS,))),
    bomb(
        "E10", "ten million dear rows", "max_flops", looping("map", "sum(a * b @ b)", (MILLIONS,), (100, 100), mapped=1)
    ),
    bomb(
        "E12",
        "one product that nothing stops",
        "max_gate_flops",
        looping("checkpoint", "a @ b", (10_000, 10_000), (10_000, 10_000)),
    ),
    bomb(
        "E13",
        "a sum over all pairs",
        "max_gate_flops",
        "x = broadcast_to(a, shape=[1000000]); f = einsum(x, x, subscripts='i,j->')",
        {"a": 1.0},
    ),
    bomb(
        "E13",
        "a convolution of everything with everything",
        "max_gate_flops",
        "a = broadcast_to(x, shape=[1, 1, 4000000]); w = broadcast_to(x, shape=[1, 1, 2000000]); f = sum(conv1d(a, w))",
    ),
    bomb(
        "E14",
        "a thousand million of one",
        "max_tensor_bytes",
        "f = sum(take(x, broadcast_to(i, shape=[1000000000])))",
        {"x": [1.0], "i": np.int64(0)},
    ),
    bomb(
        "E15",
        "bytes that become floats",
        "max_tensor_bytes",
        "f = sum(broadcast_to(i, shape=[1000, 1000000]) / x)",
        {"i": np.int8(1), "x": 1.0},
    ),
    Case(
        "E16", "what takes more on its way", OK, asked("f = sum(softmax(x) @ transpose(x))", {"x": np.ones((300, 300))})
    ),
    bomb("E17", "values that are kept for the gradient", "max_run_bytes", activations(200)),
    bomb(
        "E18",
        "the gradient of a view",
        "max_tensor_bytes",
        "f = sum(tile(broadcast_to(x, shape=[200000, 1000]), reps=[1, 1]))",
    ),
    Case("E19", "denormals", OK, asked("f = sum(x * x)", {"x": np.full(100_000, 5e-324)})),
    Case(
        "E20",
        "twelve at once where one runs and two may wait",
        "RESOURCE_EXHAUSTED SERVER_BUSY",
        at_once("a = x @ y\nb = a @ a\nf = sum(b @ b)", {"x": np.ones((700, 1)), "y": np.ones((1, 700))}, 12),
        server="tight",
    ),
    Case("E25", "more graphs than are kept", OK, graphs(300)),
    Case("E26", "many shapes of one graph", OK, variants(300)),
]
