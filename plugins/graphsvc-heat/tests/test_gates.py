"""Tests of the gates of heat."""

import numpy as np
import pytest
from graphsvc_heat.gates import Radiation, Rod

from graphsvc import ComputationalGraph, GateDataError
from graphsvc.testing import check_gate

EXAMPLES = [example for gate in (Rod, Radiation) for example in gate.examples()]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_gradients_agree_with_central_differences(example):
    """Every gradient agrees with central differences."""
    check_gate(example.gate, *example.operands)


def test_a_graph_finds_the_gates_by_name():
    """Once the package is installed, a graph may name its gates."""
    graph = ComputationalGraph()
    u = graph.input("u")
    graph.output("f", graph.add("sum", graph.add("heat.rod", u, 0.25, steps=2)))
    outputs, gradients = graph.value_and_grad({"u": [0.0, 0.0, 8.0, 0.0, 0.0]})
    assert outputs["f"] == 7.0
    np.testing.assert_allclose(gradients["u"], [1.4375, 0.625, 0.875, 0.625, 1.4375])


def test_an_unstable_step_is_refused():
    """Above r = 0.5 the scheme is unstable, and says so."""
    graph = ComputationalGraph()
    graph.output("f", graph.add(Rod(), graph.input("u"), graph.input("r")))
    with pytest.raises(GateDataError, match="smaller time steps"):
        graph.value_and_grad({"u": [0.0, 1.0, 0.0], "r": 0.6}, output_gradients={"f": [1.0, 1.0, 1.0]})
