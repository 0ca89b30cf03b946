"""Every gate of graphsvc obeys every law of the conformance kit, on every example."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import graphsvc.gates
from graphsvc.arrays import Array
from graphsvc.engine.plugins import built_in_modules
from graphsvc.gate import Elementwise, Gate
from graphsvc.testing import check_gate, examine_gate, parametrize_gates
from graphsvc.testing.case import GateCase
from tests.every_gate import every_gate


def test_no_gate_escapes_the_laws():
    """Every module of graphsvc.gates is a plugin, and every gate class in one is provided."""
    files = {path.stem for path in Path(graphsvc.gates.__path__[0]).glob("[!_]*.py")}
    modules = built_in_modules()
    assert {module.rpartition(".")[-1] for module in modules} == files
    defined = {
        value
        for module in map(importlib.import_module, modules)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Gate) and hasattr(value, "signature")
    }
    assert defined == set(every_gate())


@parametrize_gates("")
def test_a_gate_obeys_every_law(gate: type[Gate], record_property: Callable[[str, object], None]):
    """All laws of `graphsvc.testing.LAWS` on all its examples; what fails is listed, what is checked counted."""
    report = check_gate(gate)
    record_property("laws", [report.examples, sum(report.checks.values())])


@parametrize_gates("")
def test_a_gate_without_any_gradient_says_so(gate: type[Gate]):
    """Where a gate gives floating point and has no backward, it names every operand as disconnected or an integer."""
    signature = gate.signature
    if signature.rule or signature.rules:
        return
    given = set(range(len(signature.operands))) - signature.integers - signature.disconnected
    for example in gate.examples():
        outputs = GateCase(example.gate, example.operands).outputs
        assert not given or {z.dtype.kind for z in outputs.values()} <= set("biu"), example


def test_a_derivative_off_by_a_thousandth_does_not_pass():
    """Whatever the size of the numbers."""

    class Slightly(Elementwise):
        """Square with a wrong derivative."""

        name: ClassVar[str] = "slightly"

        def forward(self, x: Array) -> Array:
            return x * x

        def backward(self, dz: Array, x: Array) -> Array:
            return dz * 2.002 * x

    for size in (1e-9, 1.0, 1e4):
        assert examine_gate(Slightly(), size * np.array([1.0, 2.0])).broken == ("adjoint",)


@pytest.mark.parametrize("gate", every_gate(), ids=lambda gate: gate.name)
def test_a_gate_bears_a_class_name_of_its_own(gate: type[Gate]):
    """The class is named as the gate, in the other spelling."""
    assert gate.__name__.lower() == gate.name.replace("_", "")
