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
from graphsvc.engine.registry import default_registry
from graphsvc.errors import GraphsvcError
from graphsvc.gate import Example
from graphsvc.gates.control import Map, Scan
from graphsvc.gates.dynamics import OdeInt
from graphsvc.serving.work import debug_estimate
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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_looking_on_takes_no_more_than_the_estimate(case: GateCase):
    """With `debug`, where an infinity arrives, so that causes are looked for: within what the run alone may take."""
    graph, inputs = _graph(case, enlarged(case) or list(case.example.operands))
    asked = question(graph, inputs)
    for arriving in (asked["output_gradients"] or {}).values():
        arriving.flat[:1] = np.inf
    estimate = graph.estimate(inputs, asked["wrt"])
    assert taken(lambda: graph.value_and_grad(**asked, debug=True)) <= estimate.peak_bytes
    assert debug_estimate(estimate).peak_bytes > estimate.peak_bytes


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


SHAPES = [
    ("affine", {}, (3000, 3), (3, 300), (300,)),
    ("cho_solve", {}, (4, 4), (1000, 4, 2)),
    ("cholesky", {}, (300, 300)),
    ("det", {}, (300, 300)),
    ("dot", {}, (300, 3), (3, 300)),
    ("eigh", {}, (300, 300)),
    ("eigh", {}, (3000, 3, 3)),
    ("einsum", {"subscripts": "ab,bc,cd->"}, (300, 3), (3, 300), (300, 3)),
    ("einsum", {"subscripts": "ai,bi,ci->"}, (100, 50), (120, 50), (140, 50)),
    ("einsum", {"subscripts": "ii->i"}, (500, 500)),
    ("expm", {}, (300, 300)),
    ("expm", {}, (3000, 2, 2)),
    ("fft", {"n": 100_000}, (3,)),
    ("fft", {}, (10_007,)),
    ("inv", {}, (300, 300)),
    ("irfft", {}, (50_000,)),
    ("lstsq", {}, (3000, 3), (3000,)),
    ("lstsq", {}, (20, 3), (400, 20, 3)),
    ("lu", {}, (300, 300)),
    ("matrix_norm", {"ord": 2}, (3, 3000)),
    ("matrix_power", {"n": -5}, (300, 300)),
    ("matrix_power", {"n": 7}, (3000, 2, 2)),
    ("max_pool2d", {"kernel_size": 7, "stride": 1, "padding": 3}, (2, 100, 100)),
    ("median", {}, (300, 300)),
    ("pinv", {}, (3000, 3)),
    ("pinv", {}, (3, 3000)),
    ("qr", {}, (3000, 3, 3)),
    ("rfft", {}, (100_003,)),
    ("searchsorted", {}, (1,), (100_000,)),
    ("solve", {}, (4, 4), (1000, 4, 2)),
    ("solve", {}, (5, 5), (5, 3000)),
    ("sort", {"axis": 0, "descending": True}, (3000, 30)),
    ("svd", {}, (3000, 3)),
    ("svd", {}, (300, 300)),
    ("tensordot", {"axes": 1}, (300, 3), (3, 300)),
    ("topk", {"k": 1}, (100_000,)),
    ("triangular_solve", {}, (5, 5), (5, 3000)),
]
"""Gates, attributes, and shapes of operands: square, tall, wide, many, and of awkward lengths."""


@pytest.mark.parametrize(("gate", "attributes", "shapes"), [(g, a, s) for g, a, *s in SHAPES], ids=str)
def test_a_gate_of_matrices_orders_or_spectra_takes_no_more_than_the_estimate(gate, attributes, shapes):
    """Whatever the shapes of its operands, in single precision as well."""
    random = np.random.default_rng(1)
    operands = [random.normal(size=shape) / 10 for shape in shapes]
    if len(shapes[0]) > 1 and shapes[0][-1] == shapes[0][-2]:
        # Positive definite, and close to one.
        operands[0] = operands[0] @ operands[0].swapaxes(-1, -2) / shapes[0][-1] + np.eye(shapes[0][-1])
    made = default_registry().gate_class(gate)(**attributes)
    for dtype in (np.float64, np.float32):
        given = [x.astype(dtype) for x in operands]
        graph, inputs = _graph(GateCase(gate, 0, Example(made, *given)), given)
        prepared = graph.prepare(**question(graph, inputs))
        assert taken(prepared.run) <= prepared.peak_bytes


N = -1
"""Stands for a length that is doubled."""

GROWTH = [
    (2, "matmul", {}, (N, 50), (50, 60)),
    (2, "matmul", {}, (40, N), (N, 60)),
    (8, "matmul", {}, (N, N), (N, N)),
    (2, "matmul", {}, (N, 30, 30), (30, 30)),
    (2, "affine", {}, (30, N), (N, 20), (20,)),
    (2, "dot", {}, (30, N), (N, 20)),
    (2, "inner", {}, (30, 50), (N, 50)),
    (4, "tensordot", {}, (30, N, N), (N, N, 20)),
    (2, "conv2d", {}, (N, 8, 32, 32), (4, 8, 3, 3)),
    (2, "conv2d", {}, (2, N, 32, 32), (4, N, 3, 3)),
    (8, "einsum", {"subscripts": "ij,jk->ik"}, (N, N), (N, N)),
    (4, "einsum", {"subscripts": "i,j->"}, (N,), (N,)),
    (2, "einsum", {"subscripts": "bi,ij,bj->b"}, (N, 40), (40, 50), (N, 50)),
    (8, "solve", {}, (N, N), (N,)),
    (2, "solve", {}, (N, 30, 30), (30, 2)),
    (4, "triangular_solve", {}, (N, N), (N,)),
    (8, "inv", {}, (N, N)),
    (8, "det", {}, (N, N)),
    (8, "slogdet", {}, (N, N)),
    (8, "cholesky", {}, (N, N)),
    (8, "qr", {}, (N, N)),
    (2, "qr", {}, (N, 20)),
    (8, "lu", {}, (N, N)),
    (8, "eigh", {}, (N, N)),
    (8, "svd", {}, (N, N)),
    (2, "svd", {}, (20, N)),
    (8, "lstsq", {}, (N, N), (N,)),
    (8, "expm", {}, (N, N)),
    (8, "matrix_power", {"n": 9}, (N, N)),
    (8, "matrix_norm", {"ord": "nuc"}, (N, N)),
    (2, "max_pool2d", {"kernel_size": 3}, (N, 30, 30)),
    (2, "fft", {}, (N, 64)),
    (2, "sort", {}, (N, 64)),
    (2, "median", {"axis": -1}, (N, 64)),
]


@pytest.mark.parametrize(("times", "gate", "attributes", "shapes"), [(t, g, a, s) for t, g, a, *s in GROWTH], ids=str)
def test_operations_grow_as_the_formula_says(times, gate, attributes, shapes):
    """An axis twice as long: so many times the operations, with nothing allocated for the operands."""

    def flops(n: int) -> int:
        operands = [np.broadcast_to(0.0, [n if size == N else size for size in shape]) for shape in shapes]
        made = default_registry().gate_class(gate)(**attributes)
        return (
            _graph(GateCase(gate, 0, Example(made, *operands)), operands)[0]
            .estimate({f"x{i}": x for i, x in enumerate(operands)}, wrt=[])
            .flops
        )

    assert 0.98 * times <= flops(2048) / flops(1024) <= 1.02 * times


@pytest.mark.parametrize("gate", ["fft", "sort", "median"])
def test_what_goes_through_all_lengths_grows_a_little_more(gate):
    """A transform and an order: twice the elements are twice the operations and a few more."""
    graph = parse(f"{gate}(x)")
    once, twice = (graph.estimate({"x": np.broadcast_to(0.0, n)}, wrt=[]).flops for n in (2**16, 2**17))
    assert 2 * once < twice < 2.2 * once


def test_a_question_that_ran_before_is_prepared_the_same():
    """Another question of its form needs as much, is planned, and has its own answer."""
    graph = parse("f = sum(tanh(x) * w)")
    before = graph.prepare({"x": np.linspace(0, 1, 50), "w": np.linspace(1, 2, 50)})
    assert not before.planned
    before.run()
    second = {"x": np.linspace(0, 3, 50), "w": np.linspace(5, 2, 50)}
    again = graph.prepare(second)
    assert again.planned
    assert (again.estimate, again.peak_bytes) == (before.estimate, before.peak_bytes)
    outputs, gradients = again.run()
    evaluation = graph.forward(second)
    assert outputs["f"] == pytest.approx(evaluation.outputs["f"], rel=1e-14)
    for name, gradient in graph.backward(evaluation).items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-14)
    for other in ({"wrt": ["x"]}, {"output_gradients": {"f": 2.0}}, {"wrt": []}):
        assert not graph.prepare(second, **other).planned
