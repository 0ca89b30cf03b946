"""What gates return at kinks, ties and the edges of their domains; one row a point."""

import math

import numpy as np
import pytest

import graphsvc
from tests.points import every_point


@pytest.mark.parametrize(("expression", "inputs", "expected"), every_point(), ids=lambda p: str(p)[:40])
def test_a_point_has_the_gradient_of_the_rule(expression, inputs, expected):
    """Minimum-norm subgradients at kinks, even shares at ties, infinities where the derivative is infinite."""
    outputs, gradients = graphsvc.parse(f"f = {expression}").value_and_grad(inputs)
    assert set(gradients) == set(expected)
    for name, gradient in expected.items():
        np.testing.assert_allclose(gradients[name], gradient)
        real = gradients[name].real
        assert not np.any(np.signbit(real) & (real == 0) & (np.real(gradient) > 0))
    assert outputs["f"].size == 1


@pytest.mark.parametrize("x", [1000.0, -1000.0, 1e5, -1e5])
@pytest.mark.parametrize(
    ("expression", "value", "slope"),
    [
        ("sigmoid(x)", lambda x: float(x > 0), lambda _: 0.0),
        ("tanh(x)", lambda x: math.copysign(1, x), lambda _: 0.0),
        ("elu(x)", lambda x: x if x > 0 else -1.0, lambda x: float(x > 0)),
        ("sum(softmax(x * v) * u)", lambda x: 2.0 if x > 0 else 3.0, lambda _: 0.0),
        ("sum(log_softmax(x * v) * u)", lambda x: -3 * x if x > 0 else 2 * x, lambda x: -3.0 if x > 0 else 2.0),
        ("softmax_cross_entropy(x * v, l)", lambda x: x if x > 0 else 0.0, lambda x: float(x > 0)),
    ],
)
def test_gates_are_stable_far_out(expression, x, value, slope):
    """At +-1000 and +-1e5 values and gradients are finite and right; nothing is printed."""
    graph = graphsvc.parse(f"f = {expression}")
    more = {"v": np.array([1.0, 0.0]), "u": np.array([2.0, 3.0]), "l": np.array(1)}
    outputs, gradients = graph.value_and_grad(
        {"x": x} | {name: more[name] for name in graph.inputs if name in more}, wrt=["x"]
    )
    assert outputs["f"] == pytest.approx(value(x))
    assert gradients["x"] == pytest.approx(slope(x), abs=1e-12)


def test_sums_in_float16_do_not_stop_at_2048():
    """Reductions and un-broadcasting of float16 are carried in float32."""
    ones = np.ones((4096, 3), np.float16)
    graph = graphsvc.parse("f = sum(x * y, axis=0)")
    outputs, gradients = graph.value_and_grad({"x": ones, "y": ones[0]}, output_gradients={"f": np.ones(3, np.float16)})
    np.testing.assert_array_equal(outputs["f"], [4096] * 3)
    np.testing.assert_array_equal(gradients["y"], [4096] * 3)
    taken = graphsvc.parse("f = sum(take(x, i))").value_and_grad(
        {"x": np.ones(1, np.float16), "i": np.zeros(4096, np.int64)}
    )
    assert taken[1]["x"] == 4096


def test_means_in_float16_may_have_sums_that_float16_cannot_hold():
    """A mean of large float16 numbers is right, and so is its gradient over more elements than float16 can count."""
    x = np.full(100_000, 100.0, np.float16)
    outputs, gradients = graphsvc.parse("f = mean(x)").value_and_grad({"x": x})
    assert outputs["f"] == 100
    assert gradients["x"][0] == np.float16(1e-5)


def test_sums_in_float32_along_the_first_axis_keep_their_digits():
    """float32 sums along axes that are not contiguous are carried in float64."""
    x = np.full((100_000, 3), 0.1, np.float32)
    outputs, _ = graphsvc.parse("f = sum(x, axis=0)").value_and_grad({"x": x}, wrt=[])
    assert outputs["f"][0] == pytest.approx(10_000, abs=2e-3)


def test_relu_on_a_large_batch_forms_no_jacobian():
    """max(0, x) of 4096 elements in a batch of 100 routes the gradient, and memory stays linear."""
    import tracemalloc

    random = np.random.default_rng(0)
    x, dz = random.normal(size=(100, 4096)), random.normal(size=(100, 4096))
    graph = graphsvc.parse("f = max(0, x)")
    graph.value_and_grad({"x": x}, output_gradients={"f": dz})
    tracemalloc.start()
    outputs, gradients = graph.value_and_grad({"x": x}, output_gradients={"f": dz})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(outputs["f"], np.maximum(x, 0))
    np.testing.assert_array_equal(gradients["x"], np.where(x > 0, dz, 0))
    assert peak < 8 * x.nbytes
