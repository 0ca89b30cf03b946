"""Laws that every gate obeys, run on every example of every gate."""

import importlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import graphsvc.gates
from graphsvc.arrays import Array, ArraySpec, is_differentiable, spec_of
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.plugins import built_in_modules
from graphsvc.gate import Elementwise, Gate
from graphsvc.testing import central_difference, check_gate
from tests.every_gate import GateCase, every_example, every_gate

CASES = every_example()

WITHOUT_GRADIENT = {gate.name for gate in every_gate() if not gate.signature.differentiable_outputs}

WITH_GRADIENT = [
    case for case in CASES if case.name not in WITHOUT_GRADIENT and getattr(case.example.gate, "dtype", "f") != "int64"
]


def runner(case: GateCase) -> tuple[ComputationalGraph, dict[str, Array]]:
    """Return a graph of one gate, and its inputs."""
    graph = ComputationalGraph()
    names = [f"x{i}" for i in range(len(case.example.operands))]
    node = graph.add(case.example.gate, *(graph.input(name) for name in names))
    for output in case.example.gate.signature.outputs:
        graph.output(output, node.output(output))
    return graph, dict(zip(names, case.example.operands, strict=True))


def differentiable(case: GateCase, operands: dict[str, Array]) -> list[str]:
    """Return the names of the operands that have a gradient."""
    signature = case.example.gate.signature
    return [
        name
        for position, (name, x) in enumerate(operands.items())
        if is_differentiable(x.dtype) and signature.rule_for(signature.index(position))
    ]


def random_like(random: np.random.Generator, x: Array) -> Array:
    """Return random numbers of the shape of `x`, complex where `x` is."""
    real = random.normal(size=x.shape)
    return real + 1j * random.normal(size=x.shape) if x.dtype.kind == "c" else real


def inner(a: Array, b: Array) -> float:
    """Return the real inner product, in which complex numbers count as pairs."""
    return float(np.vdot(a, b).real)


def test_no_gate_escapes_the_laws():
    """Every module of graphsvc.gates is a plugin, every gate class in one is provided, and every gate has examples."""
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
    covered = {case.name for case in CASES}
    assert covered == {gate.name for gate in every_gate()}


def test_the_gradient_law_checks_every_gate_that_has_a_gradient():
    """Only gates that give integers or booleans have no backward; every operand that may have a gradient is checked."""
    for case in CASES:
        if case.name in WITHOUT_GRADIENT:
            graph, operands = runner(case)
            outputs, _ = graph.value_and_grad(operands, wrt=[])
            assert {value.dtype.kind for value in outputs.values()} <= set("biu"), case
    for gate in every_gate():
        if gate.name in WITHOUT_GRADIENT:
            continue
        checked = {
            gate.signature.operands[gate.signature.index(position)]
            for case in WITH_GRADIENT
            if case.name == gate.name
            for position, operand in enumerate(case.example.operands)
            if operand.dtype in (np.float64, np.complex128)
        }
        wanted = {operand for i, operand in enumerate(gate.signature.operands) if gate.signature.rule_for(i)}
        assert wanted <= checked, gate.name


@pytest.mark.parametrize("case", WITH_GRADIENT, ids=str)
def test_backward_agrees_with_central_differences(case: GateCase):
    """Every gradient agrees with central differences of forward, for random output gradients."""
    check_gate(case.example.gate, *case.example.operands, seed=17)


def test_a_wrong_gate_does_not_pass_the_gradient_law():
    """The law can fail: a derivative that is off by one part in a thousand is found."""

    class Wrong(Elementwise):
        """Square with a wrong derivative."""

        name: ClassVar[str] = "wrong"

        def forward(self, x: Array) -> Array:
            return x * x

        def backward(self, dz: Array, x: Array) -> Array:
            return dz * 2.002 * x

    for size in (1.0, 1e-9):
        with pytest.raises(AssertionError, match="central differences give"):
            check_gate(Wrong(), size * np.array([1.0, 2.0]))
    with pytest.raises(AssertionError, match="no gradient to compare"):
        check_gate(Wrong(), np.array([1, 2]))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward_is_the_adjoint_of_the_tangent(case: GateCase):
    """<dz, J x_dot> equals <J^T dz, x_dot> along random directions of all operands together."""
    graph, operands = runner(case)
    wanted = differentiable(case, operands)
    if not wanted:
        assert case.name in WITHOUT_GRADIENT or case.name == "cast"
        return
    random = np.random.default_rng(23)
    values, _ = graph.value_and_grad(operands, wrt=[])
    seeds = {name: random_like(random, v) for name, v in values.items() if is_differentiable(v.dtype)}
    if not seeds:
        assert case.name == "cast"
        return
    directions = {name: random_like(random, operands[name]) for name in wanted}
    _, gradients = graph.value_and_grad(operands, wrt=wanted, output_gradients=seeds)

    def along(t: Array) -> float:
        moved = {**operands, **{n: operands[n] + t * directions[n] for n in wanted}}
        outputs, _ = graph.value_and_grad(moved, wrt=[])
        return sum(inner(seeds[name], outputs[name]) for name in seeds)

    tangent = float(central_difference(along, np.zeros(())))
    adjoint = sum(inner(gradients[name], directions[name]) for name in wanted)
    assert adjoint == pytest.approx(tangent, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward_is_linear_in_the_output_gradient(case: GateCase):
    """backward(a u + b v) = a backward(u) + b backward(v)."""
    graph, operands = runner(case)
    wanted = differentiable(case, operands)
    values, _ = graph.value_and_grad(operands, wrt=[])
    smooth = {name: z for name, z in values.items() if is_differentiable(z.dtype)}
    if not wanted or not smooth:
        assert case.name in WITHOUT_GRADIENT or case.name == "cast"
        return
    random = np.random.default_rng(29)
    u, v = ({n: random_like(random, z) for n, z in smooth.items()} for _ in range(2))
    mixed = {name: 2.0 * u[name] - 3.0 * v[name] for name in smooth}
    of = {
        key: graph.value_and_grad(operands, wanted, seeds)[1] for key, seeds in (("u", u), ("v", v), ("mixed", mixed))
    }
    for name in wanted:
        np.testing.assert_allclose(of["mixed"][name], 2.0 * of["u"][name] - 3.0 * of["v"][name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_infer_says_what_forward_does(case: GateCase):
    """`infer` gives the shapes and dtypes that forward then returns, in Python integers, for every example."""
    gate = case.example.gate
    inferred = gate.infer(*(spec_of(operand) for operand in case.example.operands))
    specs = (inferred,) if isinstance(inferred, ArraySpec) else inferred
    with np.errstate(all="ignore"):
        returned = gate.forward(*case.example.operands)
    values = returned if isinstance(returned, tuple) else (returned,)
    assert [spec_of(np.asarray(v)) for v in values[: len(specs)]] == list(specs)
    assert all(type(size) is int for spec in specs for size in spec.shape)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_gradient_keeps_shape_and_dtype_of_its_input(case: GateCase, dtype: str):
    """In narrow dtypes the outputs are what `infer` says, and gradients have the dtype and shape of their inputs."""
    graph, operands = runner(case)
    narrower = {"f": dtype, "c": "complex64"}
    narrow = {name: x.astype(narrower.get(x.dtype.kind, x.dtype)) for name, x in operands.items()}
    values, _ = graph.value_and_grad(narrow, wrt=[])
    # There is no complex number of two float16.
    wide = "float32" if any(x.dtype.kind == "c" for x in narrow.values()) else dtype
    if case.name not in WITHOUT_GRADIENT | {"cast"}:
        assert {v.dtype for v in values.values()} <= {np.dtype(wide), np.dtype("complex64")}
    seeds = {name: np.ones(v.shape, v.dtype) for name, v in values.items() if v.dtype.kind in "fc"}
    wanted = differentiable(case, narrow) if seeds else []
    _, gradients = graph.value_and_grad(narrow, wrt=wanted, output_gradients=seeds)
    for name in wanted:
        assert gradients[name].dtype == narrow[name].dtype
        assert gradients[name].shape == narrow[name].shape
        assert isinstance(gradients[name], np.ndarray)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_gate_gives_the_same_for_any_memory_layout(case: GateCase):
    """Fortran order, negative strides and read-only operands give what contiguous ones give, and nothing is mutated."""
    graph, operands = runner(case)
    values, _ = graph.value_and_grad(operands, wrt=[])
    before = {name: x.tobytes() for name, x in operands.items()}
    for change in (np.asfortranarray, lambda x: x[::-1].copy()[::-1] if x.ndim else x):
        changed = {name: np.asarray(change(x)).reshape(x.shape) for name, x in operands.items()}
        for x in changed.values():
            x.flags.writeable = False
        again, _ = graph.value_and_grad(changed, wrt=[])
        for name, value in values.items():
            np.testing.assert_allclose(again[name], value, rtol=1e-14)
    assert {name: x.tobytes() for name, x in operands.items()} == before


@pytest.mark.parametrize("case", CASES, ids=str)
def test_attributes_survive_a_document(case: GateCase):
    """A gate's attributes come back equal from a JSON document, and the gate with them."""
    graph, operands = runner(case)
    again = ComputationalGraph.from_document(graph.document())
    first, _ = graph.value_and_grad(operands, wrt=[])
    second, _ = again.value_and_grad(operands, wrt=[])
    assert graph.digest() == again.digest()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize("gate", every_gate(), ids=lambda gate: gate.name)
def test_a_gate_is_documented(gate: type[Gate]):
    """A gate's documentation starts with a sentence, and every attribute has a description."""
    first = (gate.__doc__ or "").split("\n")[0]
    assert first.endswith((".", "``")), first
    for name, field in gate.model_fields.items():
        assert field.description, f"{gate.name}.{name}"


@pytest.mark.parametrize("gate", every_gate(), ids=lambda gate: gate.name)
def test_a_gate_bears_a_class_name_of_its_own(gate: type[Gate]):
    """The class is named as the gate, in the other spelling."""
    assert gate.__name__.lower() == gate.name.replace("_", "")
