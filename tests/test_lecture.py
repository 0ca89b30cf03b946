"""The cases of the lecture, in process and through a real server, with the same numbers."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import graphsvc
from graphsvc import ComputationalGraph
from graphsvc.testing import check_gradients


@dataclass(frozen=True)
class Case:
    """An expression with inputs, and what must come out."""

    expression: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    gradients: dict[str, Any]

    def __str__(self) -> str:
        return self.expression[:40]


NEURON = {"w0": 2.0, "w1": -3.0, "w2": -3.0, "x0": -1.0, "x1": -2.0}
NEURON_GRADIENTS = {
    "w0": -0.19661193324148185,
    "w1": -0.3932238664829637,
    "w2": 0.19661193324148185,
    "x0": 0.3932238664829637,
    "x1": -0.5898357997244456,
}
W = [[0.1, 0.5], [-0.3, 0.8]]
W_GRADIENT = [[0.088, 0.176], [0.104, 0.208]]

CASES = [
    Case(
        "f = (x + y) * z",
        {"x": -2.0, "y": 5.0, "z": -4.0},
        {"f": -12.0},
        {"x": -4.0, "y": -4.0, "z": 3.0},
    ),
    Case(
        "f = 2 * (x * y + max(z, w))",
        {"x": 3.0, "y": -4.0, "z": 2.0, "w": -1.0},
        {"f": -20.0},
        {"x": -8.0, "y": 6.0, "z": 2.0, "w": 0.0},
    ),
    Case("f = sigmoid(w0 * x0 + w1 * x1 + w2)", NEURON, {"f": 0.7310585786300049}, NEURON_GRADIENTS),
    Case("f = 1 / (exp(-1 * (w0 * x0 + w1 * x1 + w2)) + 1)", NEURON, {"f": 0.7310585786300049}, NEURON_GRADIENTS),
    Case(
        "f = reciprocal(exp(-1 * (w0 * x0 + w1 * x1 + w2)) + 1)",
        NEURON,
        {"f": 0.7310585786300049},
        NEURON_GRADIENTS,
    ),
    Case(
        "f = (x + sigmoid(y)) / (sigmoid(x) + (x + y)**2)",
        {"x": 3.0, "y": -4.0},
        {"f": 1.5456448841066441},
        {"x": 2.0595697955721652, "y": 1.5922327514838093},
    ),
    Case(
        "f = sum((W @ x)**2)",
        {"W": W, "x": [0.2, 0.4]},
        {"f": 0.116},
        {"W": W_GRADIENT, "x": [-0.112, 0.636]},
    ),
    Case(
        "f = sum((W @ x)**2, axis=0)",
        {"W": W, "x": [[0.2], [0.4]]},
        {"f": [0.116]},
        {"W": W_GRADIENT, "x": [[-0.112], [0.636]]},
    ),
    Case("f = x * x", {"x": 3.0}, {"f": 9.0}, {"x": 6.0}),
    Case("b = a + a; c = b + b", {"a": 3.0}, {"c": 12.0}, {"a": 4.0}),
    Case("f = (x - 3)**2 + x * y + (y + 4)**2 - 3", {"x": 2.0, "y": 3.0}, {"f": 53.0}, {"x": 1.0, "y": 16.0}),
    Case("f = (1 - x)**2 + 100 * (y - x**2)**2", {"x": 1.0, "y": 2.0}, {"f": 100.0}, {"x": -400.0, "y": 200.0}),
]


@pytest.fixture(params=["in process", "served", "served by digest"])
def ask(request: pytest.FixtureRequest, client: graphsvc.Client) -> Callable[..., Any]:
    """Each way to ask a graph."""
    if request.param == "in process":
        return ComputationalGraph.value_and_grad
    if request.param == "served":
        return client.value_and_grad

    def twice(graph: ComputationalGraph, *arguments: Any, **keywords: Any) -> Any:
        client.value_and_grad(graph, *arguments, **keywords)
        assert graph.digest() in client._known
        return client.value_and_grad(graph, *arguments, **keywords)

    return twice


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_case_of_the_lecture(case: Case, ask: Callable[..., Any]):
    """Outputs and input gradients are those of the lecture."""
    outputs, gradients = ask(graphsvc.parse(case.expression), case.inputs)
    assert set(outputs) == set(case.outputs)
    assert set(gradients) == set(case.gradients)
    for got, expected in ((outputs, case.outputs), (gradients, case.gradients)):
        for name, value in expected.items():
            assert got[name].shape == np.shape(value)
            np.testing.assert_allclose(got[name], value, rtol=4e-15, atol=1e-16)


def test_a_two_layer_network_trains_as_in_plain_numpy(client: graphsvc.Client):
    """64x1000 → 100 → 10 with sigmoid and L2 loss: the same losses as plain NumPy over 200 steps, here and served."""
    graph = graphsvc.parse("loss = sum_square(sigmoid(x @ w1) @ w2 - y)")
    random = np.random.default_rng(0)
    x, y = random.normal(size=(64, 1000)), random.normal(size=(64, 10))
    w1, w2 = random.normal(size=(1000, 100)), random.normal(size=(100, 10))
    here, served = {"w1": w1.copy(), "w2": w2.copy()}, {"w1": w1.copy(), "w2": w2.copy()}
    remote = client.graph(graph)
    for step in range(200):
        h = 1 / (1 + np.exp(-(x @ w1)))
        difference = h @ w2 - y
        expected = np.square(difference).sum()
        dh = 2 * difference @ w2.T
        w1, w2 = w1 - 1e-4 * (x.T @ (dh * h * (1 - h))), w2 - 1e-4 * (h.T @ (2 * difference))
        asked = [(here, graph)] if step % 10 else [(here, graph), (served, remote)]
        if step % 10 == 0:
            served.update({name: w.copy() for name, w in here.items()})
        for weights, where in asked:
            outputs, gradients = where.value_and_grad({"x": x, "y": y, **weights}, wrt=["w1", "w2"])
            assert outputs["loss"] == pytest.approx(expected, rel=1e-9)
            for name, gradient in gradients.items():
                weights[name] -= 1e-4 * gradient
    np.testing.assert_allclose(here["w1"], w1, rtol=1e-6, atol=1e-9)
    assert expected < 1000


def layers(*sizes: int) -> tuple[ComputationalGraph, dict[str, np.ndarray]]:
    """Return a network over columns with its seeded weights."""
    random = np.random.default_rng(5)
    graph = ComputationalGraph()
    weights = {}
    h = graph.input("x", shape=(sizes[0], None))
    for i, (before, after) in enumerate(itertools.pairwise(sizes), 1):
        for name, shape in ((f"w{i}", (after, before)), (f"b{i}", (after, 1))):
            weights[name] = random.normal(size=shape)
            graph.input(name, shape=shape, parameter=True)
        w, b = (graphsvc.Node(graph, f"{kind}{i}") for kind in "wb")
        h = w @ h + b
        if i < len(sizes) - 1:
            h = graph.add("sigmoid", h)
    graph.output("f", graph.add("sum", h))
    return graph, weights


@pytest.mark.parametrize("columns", [1, 7])
def test_a_three_layer_network_on_one_column_and_on_a_batch(columns: int, ask: Callable[..., Any]):
    """3→4→4→1 agrees with plain NumPy, and its gradients with central differences."""
    graph, weights = layers(3, 4, 4, 1)
    x = np.random.default_rng(6).normal(size=(3, columns))
    outputs, gradients = ask(graph, {"x": x, **weights})

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    h = sigmoid(weights["w2"] @ sigmoid(weights["w1"] @ x + weights["b1"]) + weights["b2"])
    assert outputs["f"] == pytest.approx(np.sum(weights["w3"] @ h + weights["b3"]), rel=1e-12)
    assert gradients["b1"].shape == (4, 1)
    assert all(check.passed for check in check_gradients(graph, {"x": x, **weights}, seed=1))
    assert graph.summary().parameters == 41


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "svm_hinge"])
def test_a_classifier_of_3072_pixels(loss: str, ask: Callable[..., Any]):
    """3072→100→10, W2 max(0, W1 x): gradients of both losses agree with central differences along directions."""
    graph = graphsvc.parse(f"loss = {loss}(max(0, x @ w1) @ w2, labels)")
    random = np.random.default_rng(7)
    inputs = {
        "x": random.normal(size=(8, 3072)),
        "w1": random.normal(size=(3072, 100)) / 55,
        "w2": random.normal(size=(100, 10)) / 10,
        "labels": random.integers(0, 10, 8),
    }
    outputs, gradients = ask(graph, inputs, wrt=["w1", "w2"])
    assert outputs["loss"] > 0
    for name in ("w1", "w2"):
        direction = random.normal(size=inputs[name].shape)
        step = 1e-6
        above, below = (
            graph.value_and_grad({**inputs, name: inputs[name] + s * direction}, wrt=[])[0]["loss"]
            for s in (step, -step)
        )
        assert np.vdot(gradients[name], direction) == pytest.approx((above - below) / (2 * step), rel=1e-5)
