"""Activations: far out, by hand, and what the engine makes of them."""

import math

import numpy as np
import pytest

import graphsvc
from graphsvc import errors

FAR = [
    ("sigmoid(x)", lambda x: float(x > 0), lambda _: 0.0),
    ("log_sigmoid(x)", lambda x: min(x, 0.0), lambda x: float(x < 0)),
    ("softplus(x)", lambda x: max(x, 0.0), lambda x: float(x > 0)),
    ("softplus(x, beta=3.0, threshold=20.0)", lambda x: max(x, 0.0), lambda x: float(x > 0)),
    ("silu(x)", lambda x: max(x, 0.0), lambda x: float(x > 0)),
    ("mish(x)", lambda x: max(x, 0.0), lambda x: float(x > 0)),
    ("gelu(x)", lambda x: max(x, 0.0), lambda x: float(x > 0)),
    ("gelu(x, approximate='tanh')", lambda x: max(x, 0.0), lambda x: float(x > 0)),
    ("softsign(x)", lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    ("tanhshrink(x)", lambda x: x - math.copysign(1, x), lambda _: 1.0),
    ("celu(x, alpha=0.5)", lambda x: max(x, -0.5), lambda x: float(x > 0)),
    ("selu(x)", lambda x: 1.0507009873554805 * max(x, -1.6732632423543772), lambda x: 1.0507009873554805 * (x > 0)),
    ("hardswish(x)", lambda x: max(x, 0.0), lambda x: float(x > 0)),
    ("sum(softmin(x * v) * u)", lambda x: 3.0 if x > 0 else 2.0, lambda _: 0.0),
    ("sum(glu(x * u))", lambda x: 2.0 * x if x > 0 else 0.0, lambda x: 2.0 if x > 0 else 0.0),
]


@pytest.mark.parametrize("x", [1000.0, -1000.0, 1e5, -1e5])
@pytest.mark.parametrize(("expression", "value", "slope"), FAR, ids=[row[0] for row in FAR])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_are_stable_far_out(expression, value, slope, x, dtype):
    """At +-1000 and +-1e5 values and gradients are finite and right, in both dtypes."""
    graph = graphsvc.parse(f"f = {expression}")
    more = {"x": np.array(x, dtype), "v": np.array([1.0, 0.0], dtype), "u": np.array([2.0, 3.0], dtype)}
    outputs, gradients = graph.value_and_grad({name: more[name] for name in graph.inputs}, wrt=["x"])
    assert outputs["f"] == pytest.approx(value(x), rel=1e-6, abs=1e-30)
    assert gradients["x"] == pytest.approx(slope(x), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("expression", "x", "value"),
    [
        ("log_sigmoid(x)", 50.0, -math.exp(-50)),
        ("softplus(x)", -50.0, math.exp(-50)),
        ("softplus(x, threshold=20.0)", 20.5, 20.5),
        ("gelu(x)", -20.0, -10 * math.erfc(20 / math.sqrt(2))),
        ("mish(x)", -50.0, -50 * math.exp(-50)),
        ("silu(x)", -50.0, -50 * math.exp(-50)),
        ("logit(x)", 0.25, -math.log(3)),
        ("hardsigmoid(x)", 1.5, 0.75),
        ("hardswish(x)", -1.0, -1 / 3),
        ("softshrink(x)", -0.75, -0.25),
        ("hardtanh(x, lower=-2.0)", -1.5, -1.5),
        ("thresholded_relu(x, threshold=0.0)", 0.5, 0.5),
    ],
)
def test_small_values_keep_their_digits(expression, x, value):
    """Where one of two terms vanishes beside the other, the formula does not lose it."""
    assert graphsvc.parse(f"f = {expression}").value_and_grad({"x": x}, wrt=[])[0]["f"] == pytest.approx(value, 1e-12)


REFUSED = [
    ("hardtanh(x, lower=1.0, upper=1.0)", 0.5, errors.AttributeValueError, "not more than lower"),
    ("softplus(x, beta=0.0)", 0.5, errors.AttributeValueError, "beta"),
    ("hardshrink(x, threshold=-1.0)", 0.5, errors.AttributeValueError, "threshold"),
    ("glu(x)", np.ones(3), errors.ShapeError, "cannot be cut in halves"),
    ("glu(x)", 1.0, errors.AttributeValueError, "axis"),
    ("maxout(x)", np.ones(2) * 1j, errors.DtypeError, "must be real"),
    ("relu(x)", 1j, errors.DtypeError, "no complex numbers"),
    ("softmin(x)", np.array([1, 2]), errors.DtypeError, "floating point"),
]


@pytest.mark.parametrize(("expression", "x", "error", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_an_activation_cannot_take_is_refused(expression, x, error, message):
    """The message says what is wrong with the operand or the attribute."""
    with pytest.raises(error, match=message):
        graphsvc.parse(f"f = {expression}").value_and_grad({"x": x}, wrt=[])


def test_rectifiers_of_integers_are_those_of_numbers():
    """Small integers do not wrap on the way; those that only choose stay integers."""
    x = np.array([-128, -1, 0, 127], np.int8)
    for gate in ("softsign", "elu", "hardswish", "silu", "hardshrink", "softshrink", "leaky_relu", "relu6"):
        graph = graphsvc.parse(f"f = {gate}(x)")
        narrow, wide = (graph.value_and_grad({"x": x.astype(t)}, wrt=[])[0]["f"] for t in (np.int8, np.float64))
        np.testing.assert_allclose(narrow.astype(np.float64), wide)
