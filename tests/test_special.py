"""Special functions: SciPy's values, derivatives that SciPy knows by other names, and operands far out."""

import contextlib
import math

import numpy as np
import pytest
from scipy import special

import graphsvc
from graphsvc import errors

X = np.array([-7.5, -2.25, -0.5, 1e-8, 0.3, 1.0, 1.75, 4.0, 30.0])
POSITIVE = X[3:]


def ask(expression, **inputs):
    """Return the value of an expression and the gradient of its sum in x."""
    graph = graphsvc.parse(f"f = {expression}")
    values, _ = graph.value_and_grad(inputs, wrt=[])
    seeds = {"f": np.ones_like(values["f"])}
    outputs, gradients = graph.value_and_grad(inputs, wrt=["x"], output_gradients=seeds)
    return outputs["f"], gradients["x"]


DERIVATIVES = [
    ("erf(x)", special.erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-(x**2)), X),
    ("erfc(x)", special.erfc, lambda x: -2 / math.sqrt(math.pi) * np.exp(-(x**2)), X),
    ("ndtr(x)", special.ndtr, lambda x: np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi), X),
    ("gammaln(x)", special.gammaln, special.digamma, X),
    ("digamma(x)", special.digamma, lambda x: special.polygamma(1, x), POSITIVE),
    ("trigamma(x)", lambda x: special.polygamma(1, x), lambda x: special.polygamma(2, x), POSITIVE),
    ("polygamma(x, order=5)", lambda x: special.polygamma(5, x), lambda x: special.polygamma(6, x), POSITIVE),
    ("polygamma(x, order=0)", special.digamma, lambda x: special.polygamma(1, x), POSITIVE),
    ("trigamma(x)", lambda x: special.zeta(2.0, x), lambda x: -2 * special.zeta(3.0, x), X[1:3]),
    ("polygamma(x, order=4)", lambda x: -24 * special.zeta(5.0, x), lambda x: 120 * special.zeta(6.0, x), X[1:2]),
    (
        "multigammaln(x, d=4)",
        lambda x: special.multigammaln(x, 4),
        lambda x: sum(special.digamma(x - j / 2) for j in range(4)),
        np.array([1.75, 2.0, 30.0]),
    ),
    ("i0(x)", special.i0, special.i1, X),
    ("i1(x)", special.i1, lambda x: special.ivp(1, x), X),
    ("j0(x)", special.j0, lambda x: special.jvp(0, x), X),
    ("j1(x)", special.j1, lambda x: special.jvp(1, x), X),
    ("jv(2.5, x)", lambda x: special.jv(2.5, x), lambda x: special.jvp(2.5, x), POSITIVE),
    ("iv(2.5, x)", lambda x: special.iv(2.5, x), lambda x: special.ivp(2.5, x), POSITIVE),
    ("kv(0.5, x)", lambda x: special.kv(0.5, x), lambda x: special.kvp(0.5, x), POSITIVE),
    ("entr(x)", special.entr, lambda x: -np.log(x) - 1, POSITIVE),
    ("spence(x)", special.spence, lambda x: np.where(x == 1, -1, np.log(x) / (1 - x + (x == 1))), POSITIVE),
    ("lambertw(x)", lambda x: special.lambertw(x).real, lambda x: np.exp(-special.lambertw(x).real), np.array([0.0])),
]


@pytest.mark.parametrize(("expression", "function", "slope", "x"), DERIVATIVES, ids=[row[0] for row in DERIVATIVES])
def test_values_and_derivatives_are_those_of_scipy(expression, function, slope, x):
    """Forward agrees with SciPy, and backward with the derivative that SciPy has under another name."""
    z, dx = ask(expression, x=x)
    for found, expected in ((z, function(x)), (dx, slope(x))):
        np.testing.assert_allclose(found, expected, rtol=5e-14, atol=1e-16 * np.max(np.abs(expected)))


@pytest.mark.parametrize(
    ("expression", "x", "value", "slope"),
    [
        ("log_ndtr(x)", -1e5, -5e9 - math.log(1e5 * math.sqrt(2 * math.pi)), 1e5 + 1e-5),
        ("log_ndtr(x)", 1e5, 0.0, 0.0),
        ("erfc(x)", 1000.0, 0.0, 0.0),
        ("gammaln(x)", 1e5, math.lgamma(1e5), math.log(1e5) - 0.5e-5),
        ("gamma(x)", -1000.5, 0.0, 0.0),
        ("gamma(x)", 1000.0, math.inf, math.inf),
        ("digamma(x)", 1e5, math.log(1e5) - 0.5e-5, 1e-5 + 0.5e-10),
        ("trigamma(x)", -1e15 - 0.5, math.pi**2, 0.0),
        ("i1(x)", 1000.0, math.inf, math.inf),
        ("i0e(x)", 1e5, 1 / math.sqrt(2e5 * math.pi), -0.5e-5 / math.sqrt(2e5 * math.pi)),
        ("i1e(x)", -1e5, -1 / math.sqrt(2e5 * math.pi), -0.5e-5 / math.sqrt(2e5 * math.pi)),
        ("gammaincc(2.0, x)", 1000.0, 0.0, 0.0),
        ("gammainc(2.0, x)", 1e5, 1.0, 0.0),
        ("logit(x)", 1e-300, -300 * math.log(10), 1e300),
        ("logit(x)", 0.5 + 2.0**-40, 2.0**-38, 4.0),
    ],
)
def test_functions_are_right_far_out(expression, x, value, slope):
    """Where a textbook formula overflows or cancels, value and derivative are those of the asymptotic expansion."""
    z, dx = ask(expression, x=x)
    assert z == pytest.approx(value, rel=2e-5 if "i" in expression else 1e-9, abs=1e-300)
    assert dx == pytest.approx(slope, rel=2e-5, abs=1e-12)


def test_lambert_w_is_the_inverse_everywhere():
    """Z * exp(z) is x from the branch point to the largest number, and near the branch point the root is right."""
    x = np.concatenate((np.geomspace(1e-300, 1e300, 601), -np.geomspace(1e-300, 0.3678, 601)))
    z, dx = ask("lambertw(x)", x=x)
    inner = np.abs(x) < 1e3
    np.testing.assert_allclose((z * np.exp(z))[inner], x[inner], rtol=2e-15, atol=0)
    np.testing.assert_allclose((z + np.log(np.abs(z)))[~inner], np.log(np.abs(x))[~inner], rtol=1e-15)
    np.testing.assert_allclose(dx, 1 / (x + np.exp(z)), rtol=1e-13)
    np.testing.assert_allclose(z[~inner | (x > -0.3)], special.lambertw(x[~inner | (x > -0.3)]).real, rtol=1e-14)
    steps = np.array([1e-15, 1e-12, 1e-9, 1e-6, 1e-4])
    near = -0.36787944117144233 + steps
    exact = (near + 0.36787944117144233) + -1.2428753672788363e-17
    p = np.sqrt(2 * math.e * exact)
    found = ask("lambertw(x)", x=near)[0]
    np.testing.assert_allclose(1 + found, p - p**2 / 3 + 11 / 72 * p**3 - 43 / 540 * p**4, rtol=1e-6)
    assert ask("lambertw(x)", x=-0.36787944117144233)[0] == pytest.approx(-1)
    assert ask("lambertw(x)", x=np.inf)[0] == np.inf
    assert np.isnan(ask("lambertw(x)", x=-0.4)[0])


@pytest.mark.parametrize("expression", ["digamma(x)", "trigamma(x)", "polygamma(x, order=3)", "zeta(2.0, x)"])
@pytest.mark.timeout(5)
def test_very_negative_operands_do_not_keep_a_server_busy(expression):
    """SciPy's zeta function needs a step for every unit below 0; the gates do not ask it there."""
    z, dx = ask(expression, x=np.full(1000, -1e14 - 0.5))
    assert z.shape == dx.shape == (1000,)


@pytest.mark.timeout(5)
def test_second_derivatives_do_not_keep_a_server_busy_either():
    """What a dual knows of digamma is asked of positive operands, too; its value is that of the reflection."""
    graph = graphsvc.parse("f = sum(gammaln(x))")
    with contextlib.suppress(errors.TangentLostError):
        graph.hvp({"x": np.full(100, -1e14 - 0.5)}, {"x": np.ones(100)})
    x = np.array([-2.25, 3.0])
    _, products = graph.hvp({"x": x}, {"x": np.ones(2)})
    np.testing.assert_allclose(products["x"], special.zeta(2.0, x), 1e-13)


@pytest.mark.parametrize("x", [-1e3, -30.0, 0.0, 30.0, 1e3, 1e5])
def test_second_derivatives_are_right_far_out(x):
    """The logarithm of the normal distribution function bends by -h (x + h), with h its slope."""
    graph = graphsvc.parse("f = log_ndtr(x)")
    slope = graph.value_and_grad({"x": x})[1]["x"]
    bend = -slope * (x + slope)
    assert graph.hvp({"x": x}, {"x": 1.0})[1]["x"] == pytest.approx(bend, rel=1e-8, abs=1e-300)


@pytest.mark.parametrize(
    ("expression", "inputs", "message"),
    [
        ("gammainc(a, x)", {"a": 1.0, "x": 1.0}, "no backward for its operand 'a'"),
        ("betainc(a, 1.0, x)", {"a": 1.0, "x": 0.5}, "no backward for its operand 'a'"),
        ("zeta(a, x)", {"a": 2.0, "x": 0.5}, "no backward for its operand 'x'"),
    ],
)
def test_parameters_without_a_derivative_refuse_one(expression, inputs, message):
    """Nobody is given zeros for the gradient of a parameter whose derivative has no closed form."""
    with pytest.raises(errors.GateNotDifferentiableError, match=message):
        graphsvc.parse(f"f = {expression}").value_and_grad(inputs, wrt=["a"])


@pytest.mark.parametrize("expression", ["erf(x)", "gammaln(x)", "lambertw(x)", "i0(x)", "zeta(2.0, x)", "gelu(x)"])
def test_complex_numbers_are_refused(expression):
    """Although SciPy has some of these functions for complex numbers, their gates have not."""
    with pytest.raises(errors.DtypeError, match="takes no complex numbers"):
        graphsvc.parse(f"f = {expression}").value_and_grad({"x": 1j}, wrt=[])


def test_narrow_numbers_keep_what_their_dtype_can_show():
    """float32 in gives float32 out, value and gradient right to its rounding, also where exponents are large."""
    for expression in (
        "gammainc(900.0, x)",
        "betainc(300.0, 500.0, x / 2500.0)",
        "polygamma(x, order=9)",
        "lambertw(x)",
    ):
        wide, narrow = (ask(expression, x=np.array([930.0, 940.0], dtype)) for dtype in (np.float64, np.float32))
        assert [a.dtype for a in narrow] == [np.float32] * 2
        for a, b in zip(narrow, wide, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5)


def test_inverse_error_functions_are_those_of_scipy_to_the_bit_in_their_domain_and_outside():
    """The gate asks SciPy only for what is in it, since the rest takes long."""
    x = np.concatenate([np.linspace(-1.5, 2.5, 4001), [0.0, -0.0, 1.0, -1.0, 2.0, np.nan, np.inf, -np.inf]])
    for name in ("erfinv", "erfcinv"):
        value, _ = ask(f"{name}(x)", x=x)
        np.testing.assert_array_equal(value, getattr(special, name)(x))
