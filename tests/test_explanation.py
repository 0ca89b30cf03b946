"""What a plan says of itself, against what it does: fusion, reasons, memory."""

import functools
import operator
import tracemalloc
from typing import ClassVar

import numpy as np
import pytest
from click.testing import CliRunner

import graphsvc
from graphsvc import ComputationalGraph, Elementwise, Gate
from graphsvc.arrays import Array
from graphsvc.cli.main import main

RANDOM = np.random.default_rng(5)


class Gaussian(Elementwise):
    """A stranger's gate, in plain NumPy."""

    name: ClassVar[str] = "gaussian"

    def forward(self, x: Array) -> Array:
        return np.exp(-x * x)

    def backward(self, dz: Array, x: Array, z: Array) -> Array:
        return -2 * dz * x * z


class Branching(Elementwise):
    """A gate that looks at its operand."""

    name: ClassVar[str] = "branching"

    def forward(self, x: Array) -> Array:
        return np.exp(x) if x.sum() > 0 else np.exp(-x)

    def backward(self, dz: Array, x: Array, z: Array) -> Array:
        return dz * z if x.sum() > 0 else -dz * z


class Opaque(Gate):
    """A gate without `infer`."""

    name: ClassVar[str] = "opaque"

    def forward(self, x: Array) -> Array:
        return np.sort(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz[np.argsort(np.argsort(x))]


def _alone(gate: str | Gate) -> ComputationalGraph:
    graph = ComputationalGraph()
    graph.output("f", graph.add("sum", graph.add(gate, graph.input("x"))))
    return graph


def test_a_strangers_gate_fuses_as_a_built_in_one():
    """Both become one kernel, with the sum after them."""
    x = RANDOM.normal(size=50_000)
    for gate in (Gaussian(), "tanh"):
        (part,) = (p for p in _alone(gate).explain({"x": x}).parts if p.how == "kernel")
        name = gate if isinstance(gate, str) else gate.name
        assert part.gates == {name: 1, "sum": 1}
        assert part.shape == x.shape
        assert part.blocks > 1


def test_a_gate_that_is_not_fused_says_why():
    """Forward and backward each give their reason, at their node; the rest is fused."""
    parts = _alone(Branching()).explain({"x": RANDOM.normal(size=50_000)}).parts
    reasons = [(part.node, part.reason) for part in parts if part.how == "gate"]
    assert reasons == [
        ("branching.1", "forward: it reduces over axes"),
        ("branching.1", "backward: it reduces over axes"),
    ]
    assert {name for part in parts if part.how != "gate" for name in part.gates} == {"sum"}


def test_a_gate_without_infer_makes_the_gates_run_one_by_one():
    """The explanation names it."""
    plan = _alone(Opaque()).explain({"x": np.ones(3)})
    assert plan.parts == ()
    assert "'opaque'" in str(plan)
    assert "'opaque.1'" in str(plan)


def test_the_command_shows_the_plan():
    """Kernels, single calls, and what is not fused."""
    shown = CliRunner().invoke(main, ["check", "f = sum(x * sigmoid(y))", "x=2", "y=[0.5,-1]", "--plan"])
    assert shown.exit_code == 0, shown.output
    assert "sigmoid, multiply, sum" in shown.output
    assert "Peak " in shown.output


def test_levels_explain_themselves():
    """A large graph of single numbers runs many gates at a time; every gate is counted."""
    graph = ComputationalGraph()
    values = [graph.input(f"x{i}") for i in range(8)]
    for _ in range(600):
        a, b = (values[int(i)] for i in RANDOM.integers(0, len(values), 2))
        values.append(graph.add("tanh", a * b))
    graph.output("f", functools.reduce(operator.sub, values[:20]))
    graph.output("g", graph.add("tanh", sum_of(values)))
    inputs = {f"x{i}": float(x) for i, x in enumerate(RANDOM.normal(size=8))}
    (part,) = graph.explain(inputs).parts
    assert part.how == "levels"
    assert part.gates == {"tanh": 601, "multiply": 600, "add": 607, "subtract": 19}


def sum_of(values):
    """Add values up in pairs."""
    while len(values) > 1:
        values = [a + b for a, b in zip(values[::2], values[1::2], strict=False)] + values[len(values) // 2 * 2 :]
    return values[0]


MEMORY = {
    "elementwise": ("f = sum(sigmoid(x * y + x) * tanh(y) - exp(-(x - y)**2) * y)", {"x": (500_000,), "y": (500_000,)}),
    "network": ("f = sum((sigmoid(x @ w) @ v)**2)", {"x": (300, 400), "w": (400, 500), "v": (500, 200)}),
    "rows": ("f = sum(y * softmax(x))", {"x": (400, 1000), "y": (400, 1000)}),
    "not fused": (
        "f = sum(transpose(x)**2) + sum(max(x, axis=0)) + sum(concatenate(x, x) * y)",
        {"x": (300, 400), "y": (600, 400)},
    ),
    "two sums": ("f = sum(exp(x / sum(x * x)))", {"x": (300_000,)}),
    "results": ("f = exp(x); g = -exp(x); h = x + x", {"x": (200_000,)}),
}


@pytest.mark.parametrize("name", MEMORY)
def test_peak_memory_is_known_before_the_run(name):
    """Within a tenth of what NumPy then takes, and in the first run with the registers and a megabyte for the proof."""
    expression, shapes = MEMORY[name]
    inputs = {input_name: RANDOM.normal(size=shape) for input_name, shape in shapes.items()}
    graph = graphsvc.parse(expression)
    question = {"wrt": [next(iter(shapes))]}
    if len(graph.outputs) > 1:
        question["output_gradients"] = dict.fromkeys(graph.outputs, inputs["x"])
    plan = graph.explain(inputs, wrt=question["wrt"])
    taken = []
    for _ in range(3):
        tracemalloc.start()
        graph.value_and_grad(inputs, **question)
        taken.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert taken[2] == pytest.approx(plan.peak_bytes, rel=0.1)
    assert taken[0] <= 1.1 * plan.peak_bytes + plan.scratch_bytes + (3 << 20)


def test_a_run_takes_inputs_results_and_eight_megabytes():
    """A chain of elementwise gates makes no array but its results, from its first run on."""
    expression, _ = MEMORY["elementwise"]
    inputs = {name: RANDOM.normal(size=1_000_000) for name in ("x", "y")}
    tracemalloc.start()
    outputs, gradients = graphsvc.parse(expression).value_and_grad(inputs)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    results = sum(array.nbytes for array in (*outputs.values(), *gradients.values()))
    assert taken <= results + (8 << 20)


def test_memory_does_not_grow_from_run_to_run():
    """What threads keep, they keep once."""
    graph = graphsvc.parse(MEMORY["elementwise"][0])
    inputs = {name: RANDOM.normal(size=100_000) for name in ("x", "y")}
    for _ in range(3):
        graph.value_and_grad(inputs)
    kept = [0]
    tracemalloc.start()
    for _ in range(5):
        for _ in range(10):
            graph.value_and_grad(inputs)
        kept.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    # A thread has its memory from when it helps for the first time, which may be late.
    assert np.diff(kept).min() < 10_000


def test_the_spec_of_a_value_is_not_needed_for_a_dead_node():
    """A gate without `infer` that nothing depends on does not keep the others from being fused."""
    graph = _alone("tanh")
    graph.add(Opaque(), graph.input("unused"))
    assert graph.explain({"x": np.ones(20_000), "unused": np.ones(2)}).reason == ""
