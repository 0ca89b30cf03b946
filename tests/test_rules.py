"""Rules that hold for every gate, and that one example of it at a time cannot show: complex numbers, and long sums."""

import numpy as np
import pytest

from graphsvc import errors
from graphsvc.arrays import Array
from graphsvc.engine.evaluation import InputGradients
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.testing.case import GateCase
from tests.every_gate import every_gate

MANY = 4096
"""More ones than float16 can count: a running sum stops at 2048."""


def real_examples(gate: type[Gate]) -> list[Example]:
    return [example for example in gate.examples() if all(x.dtype.kind != "c" for x in example.operands)]


def floats(case: GateCase) -> list[str]:
    return [name for name, x in case.inputs.items() if x.dtype.kind == "f"]


@pytest.mark.parametrize(
    "gate", [gate for gate in every_gate() if not issubclass(gate, Elementwise)], ids=lambda gate: gate.name
)
def test_what_a_gate_takes_of_complex_numbers_it_differentiates(gate: type[Gate]):
    """In all operands at once and in each alone: the gradient is dL/dRe + i dL/dIm, or the dtype is refused."""
    for example in real_examples(gate):
        case = GateCase(example.gate, example.operands)
        names = floats(case)
        for chosen in [names, *([name] for name in names if len(names) > 1)]:
            random = np.random.default_rng(7)
            turned = {n: case.inputs[n] + 0.3j * random.normal(size=case.inputs[n].shape) for n in chosen}
            try:
                difference = gap(case, case.inputs | turned, random)
            except (errors.DtypeError, errors.GateDataError):
                continue
            assert difference < 1e-6, chosen


def gap(case: GateCase, inputs: dict[str, Array], random: np.random.Generator) -> float:
    """Return by how much the adjoint law fails along a random direction, relative to the size of the gradients."""
    evaluation = case.graph.forward(inputs)
    wanted, seeds = case.differentiable(inputs), case.seeds(random, evaluation.outputs)
    if not wanted or not seeds:
        return 0.0
    gradients = case.graph.backward(evaluation, seeds, wanted)
    along = {n: random.normal(size=inputs[n].shape).astype(inputs[n].dtype) for n in wanted}
    along |= {n: d + 1j * random.normal(size=d.shape) for n, d in along.items() if d.dtype.kind == "c"}

    def loss(step: float) -> float:
        moved = {n: inputs[n] + step * d for n, d in along.items()}
        outputs = case.forward(inputs | moved)
        return sum(float(np.vdot(dz, outputs[name]).real) for name, dz in seeds.items())

    expected = (loss(1e-6) - loss(-1e-6)) / 2e-6
    found = sum(float(np.vdot(along[n], dx).real) for n, dx in gradients.items())
    size = sum(float(np.sum(np.abs(along[n]) * np.abs(dx))) for n, dx in gradients.items())
    return abs(found - expected) / (size + 1e-3)


@pytest.mark.parametrize("gate", every_gate(), ids=lambda gate: gate.name)
def test_sums_over_many_numbers_of_float16_are_right(gate: type[Gate]):
    """Each operand, and all at once, many times along a new first axis and along its own first one: rule A."""
    for example in real_examples(gate)[:1]:
        case = GateCase(example.gate, example.operands)
        for inputs in _long(case):
            half = {n: x.astype(np.float16) if x.dtype.kind == "f" else x for n, x in inputs.items()}
            double = {n: x.astype(np.float64) if x.dtype.kind == "f" else x for n, x in half.items()}
            try:
                if any(spec is not None and spec.size > 200_000 for spec in case.graph.infer(half).values()):
                    continue
                found, expected = _run(case, half), _run(case, double)
            except errors.GraphsvcError:
                # It takes no such shape, or no float16.
                continue
            for what, exact in expected.items():
                require_close(found[what], exact, f"{what} of {[x.shape for x in inputs.values()]}")


def _long(case: GateCase) -> list[dict[str, Array]]:
    made = []
    for axis in (None, 0):
        longer = {name: _repeated(x, axis) for name, x in case.inputs.items()}
        made += [case.inputs | {name: longer[name]} for name in longer] + [longer]
    return [inputs for inputs in made if sum(x.size for x in inputs.values()) <= 30_000]


def _repeated(x: Array, axis: int | None) -> Array:
    if axis is None:
        return np.broadcast_to(x, (MANY, *x.shape))
    return np.repeat(x, -(-MANY // max(x.shape[axis], 1)), axis=axis) if axis < x.ndim else x


def _run(case: GateCase, inputs: dict[str, Array]) -> dict[str, Array]:
    evaluation = case.graph.forward(inputs)
    wanted = case.differentiable(inputs)
    outputs = case.seeds(np.random.default_rng(0), evaluation.outputs)
    seeds = {name: np.ones_like(evaluation.outputs[name]) for name in outputs}
    gradients: InputGradients | dict[str, Array] = {}
    if seeds and wanted:
        gradients = case.graph.backward(evaluation, seeds, wanted)
    results = {f"output {name}": z for name, z in evaluation.outputs.items()}
    return results | {f"gradient of {case.operand_name(name)}": dx for name, dx in gradients.items()}


def require_close(found: Array, exact: Array, what: str) -> None:
    """Compare where float16 can hold the result; what cancels to nothing is as exact as the ones that arrived."""
    if exact.dtype.kind != "f" or found.dtype != np.float16 or not exact.size:
        return
    size = float(np.max(np.abs(exact)))
    if np.isfinite(size) and size < 6e4:
        assert np.max(np.abs(found - exact)) <= 2e-2 * max(size, 1e-2), what
