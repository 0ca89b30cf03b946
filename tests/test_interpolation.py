"""Tables read between their entries: knots, edges, refusals, agreement with NumPy and SciPy."""

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

import graphsvc
from graphsvc import errors

RANDOM = np.random.default_rng(13)
XP, FP = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 4.0])


@pytest.mark.parametrize(
    ("x", "slope", "weights"),
    [
        (0.0, 1.0, [1, 0, 0]),
        (1.0, 3.0, [0, 1, 0]),
        (2.0, 0.0, [0, 0, 1]),
        (-1.0, 0.0, [1, 0, 0]),
        (3.0, 0.0, [0, 0, 1]),
        (1.25, 3.0, [0, 0.75, 0.25]),
    ],
)
def test_the_slope_at_a_knot_is_that_to_the_right(x, slope, weights):
    """And zero outside; the values of the table are shared by hats. The knots have no gradient, which is said."""
    graph = graphsvc.parse("f = interp1d(x, xp, fp)")
    outputs, gradients = graph.value_and_grad({"x": x, "xp": XP, "fp": FP}, wrt=["x", "fp"])
    assert outputs["f"] == np.interp(x, XP, FP)
    assert gradients["x"] == slope
    np.testing.assert_array_equal(gradients["fp"], weights)
    with pytest.raises(errors.GateNotDifferentiableError, match="'xp'"):
        graph.value_and_grad({"x": x, "xp": XP, "fp": FP}, wrt=["xp"])


@pytest.mark.parametrize("attributes", ["", ", left=-5.0", ", right=7.0", ", left=0.5, right=-0.5"])
@pytest.mark.parametrize("m", [1, 2, 5])
def test_values_are_those_of_numpy(m, attributes):
    """Within, at knots and outside, of tables of one point too, and NaN stays NaN."""
    xp, fp = np.cumsum(RANDOM.random(size=m)), RANDOM.normal(size=m)
    x = np.concatenate([RANDOM.normal(size=20), xp, [np.nan, np.inf, -np.inf]])
    graph = graphsvc.parse(f"f = interp1d(x, xp, fp{attributes})")
    outputs, _ = graph.value_and_grad({"x": x, "xp": xp, "fp": fp}, wrt=[])
    keywords = {k: float(v) for k, v in (part.split("=") for part in attributes.replace(" ", "").split(",") if part)}
    # NumPy gives the value of a table of one point for NaN, too.
    expected = np.where(np.isnan(x), x, np.interp(x, xp, fp, **keywords))
    np.testing.assert_allclose(outputs["f"], expected, rtol=1e-13)


def test_a_table_on_a_grid_is_read_as_scipy_reads_it():
    """Bilinear values within the grid, at its entries and at its far edges."""
    table = RANDOM.normal(size=(3, 4))
    x, y = np.append(2 * RANDOM.random(20), [0, 1, 2, 2]), np.append(3 * RANDOM.random(20), [0, 2, 3, 0.5])
    outputs, _ = graphsvc.parse("f = bilinear(t, x, y)").value_and_grad({"t": table, "x": x, "y": y}, wrt=[])
    expected = RegularGridInterpolator((np.arange(3), np.arange(4)), table)(np.stack([x, y], -1))
    np.testing.assert_allclose(outputs["f"], expected, rtol=1e-13)


def test_places_that_are_not_a_number_give_none():
    """NaN in, NaN out, at its place alone."""
    inputs = {"t": np.ones((2, 2)), "x": np.array([np.nan, 0.5]), "y": np.array(0.5)}
    outputs, _ = graphsvc.parse("f = bilinear(t, x, y)").value_and_grad(inputs, wrt=[])
    assert np.isnan(outputs["f"]).tolist() == [True, False]


def test_what_a_table_of_float16_gets_from_many_places_is_summed_in_float32():
    """Sums in float16 would stop at 2048."""
    x, half = np.zeros(4096, np.float16), np.float16
    _, gradients = graphsvc.parse("f = sum(interp1d(x, xp, fp))").value_and_grad(
        {"x": x, "xp": XP.astype(half), "fp": FP.astype(half)}, wrt=["fp"]
    )
    np.testing.assert_array_equal(gradients["fp"], [4096, 0, 0])


@pytest.mark.parametrize(
    ("expression", "inputs", "problem"),
    [
        ("interp1d(x, a, b)", {"x": 0.0, "a": [1.0, 1.0], "b": [1.0, 2.0]}, "does not ascend"),
        ("interp1d(x, a, b)", {"x": 0.0, "a": [1.0, np.nan], "b": [1.0, 2.0]}, "does not ascend"),
        ("interp1d(x, a, b)", {"x": 0.0, "a": [1.0, 2.0], "b": [1.0]}, "as many elements"),
        ("interp1d(x, a, b)", {"x": 0.0, "a": np.ones(0), "b": np.ones(0)}, "as many elements"),
        ("interp1d(x, a, b)", {"x": 0.0, "a": np.array([1, 2]), "b": [1.0, 2.0]}, "'xp' must be floating point"),
        ("bilinear(a, x, x)", {"x": 0.0, "a": [1.0, 2.0]}, "must be a matrix"),
        ("bilinear(a, x, x)", {"x": 0.0, "a": np.ones((0, 2))}, "with entries"),
        ("bilinear(a, b, x)", {"x": [0.0, 1.0], "a": np.ones((2, 2)), "b": [0.0, 1.0, 2.0]}, "do not broadcast"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(expression, inputs, problem):
    """With what is wrong and what to do."""
    with pytest.raises(errors.InputError, match=problem):
        graphsvc.parse(f"f = {expression}").value_and_grad(inputs, wrt=[])
