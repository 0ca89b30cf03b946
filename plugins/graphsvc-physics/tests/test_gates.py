"""Tests of the simulators."""

import numpy as np
import pytest
from graphsvc_physics.truss import Truss

from graphsvc import ComputationalGraph, GateDataError, parse
from graphsvc.testing import check_gate, parametrize_gates

(TRUSS,) = Truss.examples()


@parametrize_gates("physics")
def test_a_gate_obeys_every_law(gate):
    """All laws of the conformance kit, on all examples."""
    check_gate(gate)


def test_a_plate_loses_no_heat():
    """Its walls are insulated, so the sum of the temperatures stays, and its gradient is 1 everywhere."""
    random = np.random.default_rng(2)
    inputs = {"u": random.uniform(size=(5, 4)), "k": random.uniform(0.0, 0.25, (5, 4))}
    outputs, gradients = parse("f = sum(physics.heat(u, k, steps=30))").value_and_grad(inputs)
    assert outputs["f"] == pytest.approx(inputs["u"].sum(), rel=1e-13)
    np.testing.assert_allclose(gradients["u"], 1.0, rtol=1e-13)
    np.testing.assert_allclose(gradients["k"], 0.0, atol=1e-13)


def test_an_unstable_step_is_refused():
    """Above a diffusivity of a quarter the scheme is unstable, and says so."""
    graph = parse("f = sum(physics.heat(u, k))")
    with pytest.raises(GateDataError, match="smaller time steps"):
        graph.value_and_grad({"u": np.ones((2, 2)), "k": np.full((2, 2), 0.3)})


def test_a_bar_is_stretched_as_hooke_says():
    """One bar of modulus E, area A and length L under a force F is F L / (E A) longer."""
    operands = (
        np.array([[0.0], [2.0]]),
        np.array([0.5]),
        np.array([[0.0], [3.0]]),
        np.array([[0, 1]]),
        np.array([[1], [0]]),
    )
    outputs, gradients = truss(operands, modulus=4.0)
    assert outputs["u"][1, 0] == pytest.approx(3.0 * 2.0 / (4.0 * 0.5))
    assert gradients["areas"][0] == pytest.approx(-3.0 * 2.0 / (4.0 * 0.25))
    assert gradients["loads"][1, 0] == pytest.approx(2.0 / (4.0 * 0.5))
    assert gradients["positions"][1, 0] == pytest.approx(3.0 / (4.0 * 0.5))


def test_the_displacements_balance_the_loads():
    """The forces of the bars at each free joint add up to its load."""
    positions, areas, loads, bars, supports = TRUSS.operands
    outputs, _ = truss(TRUSS.operands, modulus=2.0)
    forces = np.zeros(loads.shape)
    for (i, j), area in zip(bars, areas, strict=True):
        span = positions[j] - positions[i]
        length = np.linalg.norm(span)
        pull = 2.0 * area / length * (span / length) @ (outputs["u"][j] - outputs["u"][i]) * span / length
        forces[i] -= pull
        forces[j] += pull
    free = supports == 0
    np.testing.assert_allclose(forces[free], loads[free], atol=1e-13)
    assert np.all(outputs["u"][~free] == 0)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (1, np.array([1.0, 0.5, 0.8, 0.7, 0.0]), "area and a length above 0"),
        (3, np.array([[0, 2], [1, 2], [1, 3], [0, 3], [2, 4]]), "from 0 to 3"),
        (3, np.array([[0, 2], [0, 2], [0, 2], [0, 3], [0, 3]]), "mechanism"),
        (4, np.array([[1, 1], [1, 1], [0, 0], [0, 2]]), "1 where a joint is held"),
        (4, np.zeros((4, 2), np.int64), "mechanism"),
    ],
)
def test_what_is_no_truss_is_refused(position, value, message):
    """Bars of no area, bars to nowhere, strange supports and mechanisms are the caller's fault, and he is told."""
    operands = list(TRUSS.operands)
    operands[position] = value
    with pytest.raises(GateDataError, match=message):
        truss(operands)


def truss(operands, **attributes):
    """Run the gate by its name, and return displacements and gradients for ones that arrive."""
    graph = ComputationalGraph()
    names = ("positions", "areas", "loads", "bars", "supports")
    graph.output("u", graph.add("physics.truss", *map(graph.input, names), **attributes))
    inputs = dict(zip(names, operands, strict=True))
    return graph.value_and_grad(inputs, output_gradients={"u": np.ones(operands[2].shape)})
