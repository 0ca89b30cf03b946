"""The conformance kit: it finds each planted fault by the law that is meant for it, and nothing in a right gate."""

import re
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest

from graphsvc.arrays import Array
from graphsvc.errors import GateDefinitionError, UnknownGateError
from graphsvc.gate import Elementwise, Gate
from graphsvc.gates import products
from graphsvc.testing import LAWS, check_gate, examine_gate, gates_in, parametrize_gates
from tests import wrong_gates
from tests.wrong_gates import WRONG, Right, Wrong, X


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_planted_fault_is_found_by_the_law_meant_for_it(wrong: Wrong):
    """The law breaks, and says what is wrong; `check_gate` raises with all that is."""
    report = examine_gate(wrong.gate)
    problems = [failure.problem for failure in report.failures if failure.law == wrong.law]
    assert any(re.search(wrong.says, problem) for problem in problems), str(report)
    with pytest.raises(AssertionError, match=f"Gate '{wrong.gate.name}'"):
        check_gate(wrong.gate)


def test_every_law_finds_a_planted_fault():
    """Or it might find nothing at all."""
    assert {wrong.law for wrong in WRONG} == set(LAWS)


def test_no_planted_fault_escapes_the_table():
    """Every gate class of the module is in it, or is right."""
    planted = {
        v for v in vars(wrong_gates).values() if isinstance(v, type) and issubclass(v, Gate) and hasattr(v, "name")
    }
    assert planted == {wrong.gate for wrong in WRONG} | {Right}


def test_a_right_gate_passes():
    """With the number of examples, laws and checks; on its own examples, and on operands that are given."""
    report = check_gate(Right)
    assert report.passed
    assert report.examples == 2
    assert sum(report.checks.values()) > 60
    assert re.fullmatch(r"Gate 'right': 2 examples, \d+ laws, \d+ checks; all hold\.", str(report))
    assert check_gate(Right(), X, X).examples == 1


def test_gates_without_gradients_are_examined_too():
    """A comparison has none, and obeys every other law."""
    assert check_gate(next(gate for gate in gates_in("") if gate.name == "less")).checks["adjoint"] == 0


def test_a_gradient_that_cannot_be_compared_is_told():
    """Central differences in float32 tell nothing, so operands of float32 alone are no test."""
    with pytest.raises(AssertionError, match="no gradient to compare"):
        check_gate(Right(), X.astype(np.float32), X.astype(np.float32))


def test_a_failure_that_is_declared_passes():
    """With its reason in the report; other laws go on being checked."""

    class Declared(Elementwise):
        """Product that says it computes in float64."""

        name: ClassVar[str] = "declared"
        expected_failures: ClassVar[Mapping[str, str]] = {"precision": "Its table is in float64."}

        def forward(self, x: Array) -> Array:
            return x * np.float64(3)

        def backward(self, dz: Array) -> Array:
            return dz * 3

    assert check_gate(Declared).expected == {"precision": "Its table is in float64."}
    assert check_gate(Declared(), X).passed

    class Misspelt(Declared):
        """Names a law that there is not."""

        name: ClassVar[str] = "misspelt"
        expected_failures: ClassVar[Mapping[str, str]] = {"precison": "Its table is in float64."}

    with pytest.raises(AssertionError, match="Did you mean 'precision'"):
        check_gate(Misspelt)
    with pytest.raises(GateDefinitionError, match="`expected_failures` must map"):

        class Unreasoned(Declared):
            """Gives no reason."""

            name: ClassVar[str] = "unreasoned"
            expected_failures: ClassVar[Mapping[str, str]] = {"precision": ""}


def test_examples_that_fail_are_told():
    """An exception in `examples` is the gate's failure, and not the kit's."""

    class Failing(Right):
        """Cannot make its examples."""

        name: ClassVar[str] = "failing"

        @classmethod
        def examples(cls):
            msg = "no data"
            raise OSError(msg)

    with pytest.raises(AssertionError, match="`examples` failed: OSError: no data"):
        check_gate(Failing)


def test_gates_are_found_by_namespace_module_or_as_they_are():
    """For pytest: one test for each gate, named as the gate is."""
    names = [gate.name for gate in gates_in(products)]
    assert "matmul" in names
    assert gates_in([Right]) == [Right]
    with pytest.raises(UnknownGateError):
        gates_in("nowhere")
    mark = parametrize_gates(products).mark
    assert mark.args[0] == "gate"
    assert [mark.kwargs["ids"](gate) for gate in mark.args[1]] == names
