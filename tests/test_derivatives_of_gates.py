"""Derivatives along directions and second ones, of every example of every gate: exact, or refused with a reason."""

from collections.abc import Mapping

import numpy as np
import pytest

from graphsvc.arrays import Array, is_differentiable
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.node import Node
from graphsvc.errors import GraphsvcError
from tests.every_gate import GateCase, every_example


def runner(case: GateCase) -> tuple[ComputationalGraph, dict[str, Array]]:
    """Return a graph of one gate, and its inputs."""
    graph = ComputationalGraph()
    names = [f"x{i}" for i in range(len(case.example.operands))]
    node = graph.add(case.example.gate, *(graph.input(name) for name in names))
    for output in case.example.gate.signature.outputs:
        graph.output(output, node.output(output))
    return graph, dict(zip(names, case.example.operands, strict=True))


def random_like(random: np.random.Generator, x: Array) -> Array:
    """Return random numbers of the shape of `x`, complex where `x` is."""
    real = random.normal(size=x.shape)
    return np.asarray(real + 1j * random.normal(size=x.shape) if x.dtype.kind == "c" else real, x.dtype)


def inner(a: Mapping[str, Array], b: Mapping[str, Array]) -> float:
    """Return the real inner product over all names."""
    return sum(float(np.vdot(a[name], b[name]).real) for name in a)


class Question:
    """One example of a gate as a question for second derivatives; `wrt` is empty where there is none."""

    def __init__(self, case: GateCase) -> None:
        self.graph, self.inputs = runner(case)
        signature = case.example.gate.signature
        random = np.random.default_rng(3)
        self.wrt = [
            name
            for position, (name, x) in enumerate(self.inputs.items())
            if is_differentiable(x.dtype) and signature.rule_for(signature.index(position))
        ]
        values, _ = self.graph.value_and_grad(self.inputs, wrt=[])
        self.seeds = {
            name: random_like(random, z)
            for i, (name, z) in enumerate(values.items())
            if is_differentiable(z.dtype) and i in signature.differentiable_outputs
        }
        self.outputs = list(self.seeds)
        self.u, self.v = ({n: random_like(random, self.inputs[n]) for n in self.wrt} for _ in range(2))

    def __bool__(self) -> bool:
        return bool(self.wrt and self.seeds)

    def gradients(self, step: float = 0.0) -> dict[str, Array]:
        """Return the gradients at a step along the direction."""
        moved = {n: x + step * self.v[n] if n in self.v else x for n, x in self.inputs.items()}
        return self.graph.value_and_grad(moved, self.wrt, self.seeds, self.outputs)[1]


CASES = every_example()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_tangent_is_the_adjoint_of_the_gradient(case: GateCase):
    """<dz, J v> equals <J^T dz, v>, in one run and in two at once."""
    question = Question(case)
    if not question:
        return
    graph, inputs = question.graph, question.inputs
    outputs, tangents = graph.jvp(inputs, question.v, question.outputs)
    gradients = question.gradients()
    expected = inner(gradients, question.v)
    size = sum(float(np.linalg.norm(question.seeds[n]) * np.linalg.norm(t)) for n, t in tangents.items())
    assert inner(question.seeds, tangents) == pytest.approx(expected, rel=1e-9, abs=1e-9 * (1 + size))
    both = {n: np.stack([question.v[n], question.u[n]]) for n in question.wrt}
    again, stacked = graph.jvp(inputs, both, question.outputs, vectors=2)
    for name, tangent in tangents.items():
        np.testing.assert_allclose(stacked[name][0], tangent, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(again[name], outputs[name], rtol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_second_derivative_is_symmetric_and_agrees_with_differences(case: GateCase):
    """U . H v equals v . H u, and H v agrees with central differences of the gradient."""
    question = Question(case)
    if not question:
        return
    graph, inputs = question.graph, question.inputs
    both = {n: np.stack([question.v[n], question.u[n]]) for n in question.wrt}
    asked = {"wrt": question.wrt, "output_gradients": question.seeds, "outputs": question.outputs}
    gradients, products = graph.hvp(inputs, question.v, **asked)
    _, stacked = graph.hvp(inputs, both, vectors=2, **asked)
    along_v, along_u = ({n: stacked[n][k] for n in question.wrt} for k in range(2))
    expected = question.gradients()
    step = 1e-5
    above, below = question.gradients(step), question.gradients(-step)
    for name in question.wrt:
        np.testing.assert_allclose(gradients[name], expected[name], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(along_v[name], products[name], rtol=1e-10, atol=1e-12)
        difference = (above[name] - below[name]) / (2 * step)
        scale = max(1.0, float(np.max(np.abs(products[name]), initial=0.0)))
        np.testing.assert_allclose(products[name], difference, rtol=1e-5, atol=1e-6 * scale)
    one, other = inner(question.u, along_v), inner(question.v, along_u)
    size = sum(float(np.linalg.norm(along_v[n]) * np.linalg.norm(question.u[n])) for n in question.wrt)
    assert one == pytest.approx(other, rel=1e-9, abs=1e-10 * (1 + size))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_many_gradients_at_once_are_those_of_each(case: GateCase):
    """Also where as many arrive as an axis is long, so that a gate that confused the two would show."""
    question = Question(case)
    random = np.random.default_rng(6)
    for count in (2, 3) if question else ():
        seeds = {n: np.stack([random_like(random, s) for _ in range(count)]) for n, s in question.seeds.items()}
        asked = question.inputs, question.wrt
        _, many = question.graph.value_and_grad(*asked, seeds, question.outputs, vectors=count)
        for k in range(count):
            _, one = question.graph.value_and_grad(*asked, {n: s[k] for n, s in seeds.items()}, question.outputs)
            for name in question.wrt:
                np.testing.assert_allclose(many[name][k], one[name], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_jacobian_times_a_vector_is_the_gradient(case: GateCase):
    """By rows and by columns: outputs are declared again until the columns are fewer."""
    question = Question(case)
    if not question or any(x.dtype.kind == "c" for x in (*question.inputs.values(), *question.seeds.values())):
        return
    graph, inputs, wrt = question.graph, question.inputs, question.wrt
    rows, columns = sum(s.size for s in question.seeds.values()), sum(inputs[n].size for n in wrt)
    again = [f"{name}_{i}" for name in question.outputs for i in range(columns // max(1, rows) + 1)]
    node = graph.add(case.example.gate, *(Node(graph, name) for name in inputs))
    for name in again:
        graph.output(name, node.output(name.rpartition("_")[0]))
    gradients = question.gradients()
    for outputs in (question.outputs, [*question.outputs, *again]):
        jacobian = graph.jacobian(inputs, wrt, outputs)
        for x in wrt:
            products = [np.tensordot(dz, jacobian[z][x], dz.ndim) for z, dz in question.seeds.items()]
            np.testing.assert_allclose(sum(products), gradients[x], rtol=1e-9, atol=1e-10)
        for name in again if again[0] in jacobian else ():
            np.testing.assert_array_equal(jacobian[name][wrt[0]], jacobian[name.rpartition("_")[0]][wrt[0]])


@pytest.mark.parametrize("name", sorted({case.name for case in CASES}))
def test_narrow_dtypes_are_not_taken_for_lost_tangents(name: str):
    """In float32 and float16 nothing is refused that is had in float64, and tangents keep the dtypes."""
    for case in CASES:
        question = Question(case) if case.name == name else None
        for dtype in ("float32", "float16") if question else ():
            assert question is not None

            def cast(x: Array, dtype: str = dtype) -> Array:
                return x.astype(dtype) if x.dtype.kind == "f" else x.astype("complex64") if x.dtype.kind == "c" else x

            inputs, v = ({n: cast(x) for n, x in given.items()} for given in (question.inputs, question.v))
            try:
                outputs, _ = question.graph.value_and_grad(inputs, wrt=[], outputs=question.outputs)
            except GraphsvcError:
                continue
            seeds = {n: np.asarray(question.seeds[n], z.dtype) for n, z in outputs.items()}
            _, products = question.graph.hvp(inputs, v, question.wrt, seeds, question.outputs)
            assert {n: p.dtype for n, p in products.items()} == {n: inputs[n].dtype for n in question.wrt}


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_have_adjoint_tangents_and_symmetric_second_derivatives(seed: int):
    """Of elementwise gates, products, reductions and rearrangements, with values used many times over."""
    random = np.random.default_rng(seed)
    graph = ComputationalGraph()
    inputs = {name: random.uniform(0.5, 1.5, (3, 3)) for name in "abc"}
    nodes = [graph.input(name) for name in inputs]
    for _ in range(25):
        x, y = (nodes[int(random.integers(len(nodes)))] for _ in range(2))
        kind = int(random.integers(9))
        if kind == 0:
            made = x * y
        elif kind == 1:
            made = graph.add("tanh", x @ y)
        elif kind == 2:
            made = graph.add("softmax", x, axis=int(random.integers(2)))
        elif kind == 3:
            made = x / (2.5 + graph.add("sin", y))
        elif kind == 4:
            made = graph.add("transpose", x) - y
        elif kind == 5:
            made = graph.add("relu", x - 0.7) + graph.add("sigmoid", y)
        elif kind == 6:
            made = graph.add("mean", x, axis=0, keepdims=True) + y
        elif kind == 7:
            made = graph.add("maximum", x, y)
        else:
            made = graph.add("concatenate", x[1:], y[:1])
        nodes.append(graph.add("tanh", made))
    graph.output("z", nodes[-1] + nodes[-2] * nodes[-3])
    u, v = ({n: random.normal(size=x.shape) for n, x in inputs.items()} for _ in range(2))
    dz = {"z": random.normal(size=(3, 3))}
    _, gradients = graph.value_and_grad(inputs, output_gradients=dz)
    _, tangents = graph.jvp(inputs, v)
    assert inner(dz, tangents) == pytest.approx(inner(gradients, v), rel=1e-9, abs=1e-12)
    again, along_v = graph.hvp(inputs, v, output_gradients=dz)
    _, along_u = graph.hvp(inputs, u, output_gradients=dz)
    assert inner(u, along_v) == pytest.approx(inner(v, along_u), rel=1e-9, abs=1e-11)
    step = 1e-6
    above, below = (
        graph.value_and_grad({n: x + s * v[n] for n, x in inputs.items()}, output_gradients=dz)[1]
        for s in (step, -step)
    )
    for name in inputs:
        np.testing.assert_allclose(again[name], gradients[name], rtol=1e-12, atol=1e-14)
        difference = (above[name] - below[name]) / (2 * step)
        np.testing.assert_allclose(along_v[name], difference, rtol=1e-5, atol=1e-7)
