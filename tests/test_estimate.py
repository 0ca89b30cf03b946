"""What a run takes is known before it, from shapes alone: never less than it then takes."""

import tracemalloc

import numpy as np
import pytest

# A gate imports it when it first needs it; a module takes bytes of its own.
import scipy.sparse.linalg  # noqa: F401

from graphsvc import parse
from graphsvc.arrays import is_differentiable
from graphsvc.engine.estimate import Estimate
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.errors import GraphsvcError
from graphsvc.gate import Example
from graphsvc.gates.control import Map, Scan
from graphsvc.gates.dynamics import OdeInt
from tests.every_gate import GateCase, every_example

_TARGET = 2**16
"""Elements of the largest operand, so that arrays outweigh the objects around them."""

_MOST = 2**28
"""Bytes that a test may take."""


def enlarged(case: GateCase) -> list[np.ndarray] | None:
    """Return the operands of an example with axes many times as long, if the gate takes such."""
    operands = [np.asarray(x) for x in case.example.operands]
    if not any(x.size for x in operands):
        return None
    for axes in (None, 0, -1):
        for factor in (4096, 512, 128, 64, 32, 16, 8, 4):
            exponent = [x.ndim if axes is None else 1 for x in operands]
            if max(x.size * factor**n for x, n in zip(operands, exponent, strict=True)) > 4 * _TARGET:
                continue
            larger = [_disturbed(_longer(x, axes, factor)) for x in operands]
            try:
                graph, inputs = _graph(case, larger)
                if graph.prepare(inputs, []).estimate.peak_bytes > _MOST:
                    continue
                graph.value_and_grad(inputs, wrt=[])
            except GraphsvcError:
                continue
            return larger
    return None


def _longer(x: np.ndarray, axes: int | None, factor: int) -> np.ndarray:
    if x.ndim == 0:
        return x
    for axis in range(x.ndim) if axes is None else (axes,):
        x = np.repeat(x, factor if x.shape[axis] > 1 else 1, axis=axis)
    return x


def _disturbed(x: np.ndarray) -> np.ndarray:
    """Return other numbers close by, so that no two columns of a matrix are alike."""
    return x * np.random.default_rng(3).uniform(0.9, 1.1, x.shape) if x.dtype.kind == "f" else x


def _graph(case: GateCase, operands: list[np.ndarray]) -> tuple[ComputationalGraph, dict[str, np.ndarray]]:
    graph = ComputationalGraph()
    names = [f"x{i}" for i in range(len(operands))]
    node = graph.add(case.example.gate, *(graph.input(name) for name in names))
    for output in case.example.gate.signature.outputs:
        graph.output(output, node.output(output))
    return graph, dict(zip(names, operands, strict=True))


def question(graph: ComputationalGraph, inputs: dict[str, np.ndarray]) -> dict[str, object]:
    """Return a question for all gradients that there are, with random output gradients."""
    random = np.random.default_rng(5)
    values, _ = graph.value_and_grad(inputs, wrt=[])
    arriving = {
        name: np.asarray(random.normal(size=z.shape), z.dtype)
        for name, z in values.items()
        if is_differentiable(z.dtype)
    }
    for wrt in (None, []):
        try:
            graph.prepare(inputs, wrt, arriving if wrt is None else None)
        except GraphsvcError:
            continue
        return {"inputs": inputs, "wrt": wrt, "output_gradients": arriving if wrt is None else None}
    raise AssertionError


def taken(run) -> int:
    """Return the bytes that `run` allocates at most at one time."""
    tracemalloc.start()
    try:
        result = run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del result
    return peak


CASES = [case for case in every_example() if case.number == 0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_gate_takes_no_more_than_the_estimate(case: GateCase, dtype: type):
    """Large operands, all gradients: neither the program nor the two loops take more than was said."""
    operands = enlarged(case) or list(case.example.operands)
    graph, inputs = _graph(case, [x.astype(dtype) if x.dtype == np.float64 else x for x in operands])
    asked = question(graph, inputs)
    prepared = graph.prepare(**asked)
    assert taken(prepared.run) <= prepared.peak_bytes
    if asked["wrt"] is None:
        alone = taken(lambda: graph.backward(graph.forward(inputs), asked["output_gradients"]))
        # An evaluation owns copies of its inputs.
        assert alone <= prepared.estimate.peak_bytes + sum(x.nbytes for x in inputs.values())


LINE = np.linspace(0.1, 0.9, 20_000)
LOOPS = [
    Example(Map(body=parse("sin(a) * b")), LINE, LINE),
    Example(Scan(body=parse("carry = tanh(h + x); y = h * x")), np.array(0.5), LINE),
    Example(OdeInt(body=parse("-k * y", ["y", "k"]), steps=500), np.array(0.5), LINE[:20], np.array(0.3)),
]


@pytest.mark.parametrize("loop", LOOPS, ids=str)
def test_a_loop_over_single_numbers_takes_no_more_than_the_estimate(loop: Example):
    """There the objects around arrays are what takes the memory."""
    graph, inputs = _graph(GateCase(loop.gate.name, 0, loop), list(loop.operands))
    prepared = graph.prepare(**question(graph, inputs))
    assert taken(prepared.run) <= prepared.peak_bytes


def test_what_a_held_graph_costs_is_counted_once_for_each_run():
    """Twice as many slices are twice as many operations and calls; the dearest gate is one of the graph's own."""

    def estimate(length: int) -> Estimate:
        graph, inputs = _graph(
            GateCase("map", 0, Example(Map(body=parse("a @ a"), mapped=1))), [np.ones((length, 30, 30))]
        )
        return graph.estimate(inputs)

    one, twice = estimate(500), estimate(1000)
    assert 1.99 * one.flops < twice.flops < 2.01 * one.flops
    assert 1.99 * one.calls < twice.calls
    assert one.flops > 500 * one.dearest
    assert one.dearest == twice.dearest == 2 * 30**3
