"""Derivatives along directions, second derivatives, Jacobians and Hessians: right, or refused."""

import contextlib
import itertools
from typing import ClassVar

import numpy as np
import pytest

import graphsvc
from graphsvc.arrays import Array
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.errors import (
    DtypeError,
    GateContractError,
    GateDefinitionError,
    NotDifferentiableError,
    OutputGradientError,
    RequestError,
    ShapeError,
    TangentLostError,
    UnknownGradientError,
)
from graphsvc.gate import Elementwise, Gate
from tests.lossy_gates import EXACT, REFUSED, TableElementwise

X = np.array([0.31, 0.72, 1.21])


def graph_of(gate: Gate) -> ComputationalGraph:
    """Return the sum of squares of what a gate gives, weighted so that no symmetry hides anything."""
    graph = ComputationalGraph()
    x = graph.input("x")
    graph.output("f", graph.add("sum", graph.add(gate, x) * graph.input("w")))
    return graph


@pytest.mark.parametrize("cls", EXACT, ids=lambda cls: cls.name)
def test_a_gate_that_is_right_by_construction_has_the_derivative_of_its_backward(cls: type[Gate]):
    """Elementwise gates move as their own backward says, whatever their forward does."""
    v, w = np.array([1.0, -2.0, 0.5]), np.array([1.0, 3.0, -2.0])
    _, products = graph_of(cls()).hvp({"x": X, "w": w}, {"x": v}, wrt=["x"])
    np.testing.assert_allclose(products["x"], w * EXACT[cls](X) * v, rtol=1e-12)


def test_a_table_that_is_elementwise_moves_as_its_backward_says():
    """The table's entry stands for the exponential."""
    v = np.array([1.0, -2.0, 0.5])
    _, products = graph_of(TableElementwise()).hvp({"x": X, "w": np.ones(3)}, {"x": v}, wrt=["x"])
    np.testing.assert_allclose(products["x"], np.exp(X) * v, rtol=1e-12)


@pytest.mark.parametrize("cls", REFUSED, ids=lambda cls: cls.name)
def test_a_gate_that_loses_a_tangent_is_refused(cls: type[Gate]):
    """With node, gate and reason; the first derivative is still had."""
    graph = graph_of(cls())
    inputs = {"x": X, "w": np.array([1.0, 3.0, -2.0])}
    graph.value_and_grad(inputs)
    with pytest.raises(TangentLostError, match=REFUSED[cls]) as caught:
        graph.hvp(inputs, {"x": np.array([1.0, -2.0, 0.5])})
    assert caught.value.gate == cls.name
    assert caught.value.node == f"{cls.name}.1"
    assert caught.value.reason == "TANGENT_LOST"
    with pytest.raises(TangentLostError):
        graph.hessian(inputs)


@pytest.mark.parametrize("cls", REFUSED, ids=lambda cls: cls.name)
def test_a_gate_that_loses_a_tangent_is_refused_in_a_held_graph_too(cls: type[Gate]):
    """With the node that holds the graph; where the gate within was found, with that as well."""
    body = ComputationalGraph()
    body.output("z", body.add(cls(), body.input("x"), name="within"))
    inputs = {"x": X, "w": np.array([1.0, 3.0, -2.0])}
    for depth in (1, 2):
        held = ComputationalGraph()
        held.output("z", held.add("checkpoint", held.input("x"), body=body, name="outer"))
        graph = ComputationalGraph()
        z = graph.add("checkpoint", graph.input("x"), body=held if depth == 2 else body, name="outer")
        graph.output("f", graph.add("sum", z * graph.input("w")))
        _, gradients = graph.value_and_grad(inputs)
        v = np.array([1.0, -2.0, 0.5])
        with contextlib.suppress(TangentLostError):
            # What loses tangents in backward alone has this one.
            assert graph.jvp(inputs, {"x": v})[1]["f"] == pytest.approx(gradients["x"] @ v, rel=1e-9)
        with pytest.raises(TangentLostError, match="'outer'") as caught:
            graph.hvp(inputs, {"x": v})
        assert caught.value.node == "outer"
        assert caught.value.facts.get("inner_node", "within") in ("within", "outer")


def test_a_rectifier_at_zero_has_no_second_derivative_to_disagree_about():
    """At the kink exactly, the smallest subgradient stands, whatever the differences do; so does a tie of maximum."""
    graph = graphsvc.parse("f = sum(relu(x) * x * y)")
    x = np.array([0.0, 1.0, -1.0])
    _, products = graph.hvp({"x": x, "y": np.ones(3)}, {"x": np.ones(3)}, wrt=["x"])
    np.testing.assert_array_equal(products["x"], [0.0, 2.0, 0.0])
    _, tangents = graphsvc.parse("z = maximum(x, 0)").jvp({"x": x}, {"x": np.ones(3)})
    np.testing.assert_array_equal(tangents["z"], [0.5, 1.0, 0.0])


@pytest.mark.parametrize(
    "expression",
    ["abs(x)", "maximum(x, 0)", "max(x) * x", "norm1(x) * x", "relu(x) * x", "elu(x)", "clip(x, min=0.0, max=1.0)"],
)
def test_a_kink_is_not_taken_for_a_lost_tangent(expression: str):
    """Where a gradient jumps, to both sides alike or not, nothing can be compared, and nothing is refused."""
    graph = graphsvc.parse(f"f = sum({expression})")
    for x in (np.zeros(3), np.ones(3), np.array([0.0, 1.0, 0.0])):
        _, products = graph.hvp({"x": x}, {"x": np.array([1.0, -1.0, 2.0])})
        assert np.all(np.isfinite(products["x"]))


def test_a_point_that_is_masked_hides_no_derivative():
    """`where(x == 0, 0, ...)` cuts a tangent off where the gradient is smooth: refused, and xlogy does without."""

    class Masked(Elementwise):
        """Product, masked at 0 as if it were not smooth there."""

        name = "masked"

        def forward(self, x, y):
            return x * y

        def backward(self, dz, x, y):
            return dz * y, np.where(x == 0, 0, dz * x)

    graph = ComputationalGraph()
    graph.output("f", graph.add("sum", graph.add(Masked(), graph.input("x"), graph.input("y"))))
    inputs, along = {"x": np.array([0.0, 1.0]), "y": np.array([2.0, 3.0])}, {"x": np.ones(2)}
    with pytest.raises(TangentLostError, match="masked"):
        graph.hvp(inputs, along)
    for expression, expected in (("xlogy(x, y)", 1 / inputs["y"]), ("xlog1py(x, y)", 1 / (1 + inputs["y"]))):
        _, products = graphsvc.parse(f"f = sum({expression})").hvp(inputs, along)
        np.testing.assert_allclose(products["y"], expected)


def test_a_gradient_of_zero_hides_no_lost_tangent():
    """Where the gradient that arrives is 0, the law <dz, z_dot> says nothing; a random one does."""
    (lossy,) = (cls for cls in REFUSED if cls.name == "table")
    graph = ComputationalGraph()
    x, w = graph.input("x"), graph.input("w")
    z = graph.add(lossy(), x) - w
    graph.output("f", graph.add("sum", z * z))
    inputs = {"x": X, "w": lossy().forward(X)}
    with pytest.raises(TangentLostError, match="table"):
        graph.hvp(inputs, {"x": np.ones(3)})


def test_an_own_jvp_is_used_and_held_to_backward():
    """A gate that leaves NumPy may say its tangent itself; a wrong one is found."""

    class Outside(Gate):
        """Exponential of a library."""

        name = "outside"

        def forward(self, x, y):
            return np.vectorize(np.exp)(np.asarray(x)) * y

        def backward(self, dz, x, y, z):
            return dz * z, dz * np.exp(x)

        def jvp(self, x_dot, x, z, y_dot=None):
            return x_dot * z + (0 if y_dot is None else y_dot * np.exp(x))

    class Wrong(Outside):
        """Off by a hundredth."""

        name = "wrong"

        def jvp(self, x_dot, y_dot, x, z):
            return 1.01 * x_dot * z + y_dot * np.exp(x)

    for cls in (Outside, Wrong):
        graph = ComputationalGraph()
        graph.output("f", graph.add("sum", graph.add(cls(), graph.input("x"), graph.input("y"))))
        inputs, tangents = {"x": X, "y": X}, {"x": np.ones(3), "y": np.ones(3)}
        if cls is Wrong:
            with pytest.raises(TangentLostError, match="backward says"):
                graph.jvp(inputs, tangents)
        else:
            _, moved = graph.jvp(inputs, tangents)
            assert moved["f"] == pytest.approx(np.sum(np.exp(X) * (X + 1)))
            _, products = graph.hvp(inputs, tangents)
            np.testing.assert_allclose(products["x"], np.exp(X) * (X + 1))
            np.testing.assert_allclose(products["y"], np.exp(X))


def test_a_jvp_is_read_as_a_backward_is():
    """Its parameters have meanings; others are refused when the class is made."""
    with pytest.raises(GateDefinitionError, match="means nothing"):
        type("Bad", (Gate,), {"name": "bad", "forward": lambda self, x: x, "jvp": lambda self, dz: dz})
    with pytest.raises(GateDefinitionError, match="x_dot"):
        type("Bad", (Gate,), {"name": "bad", "forward": lambda self, x: x, "jvp": lambda self, x: x})


def test_a_hessian_is_what_is_computed_by_hand():
    """F = x**2 y + y**3: blocks by name, of the shape of the one followed by that of the other."""
    graph = graphsvc.parse("f = sum(x**2 * y + y**3)")
    x, y = np.array([1.0, 2.0]), np.array([3.0, -1.0])
    hessian = graph.hessian({"x": x, "y": y})
    np.testing.assert_allclose(hessian["x"]["x"], np.diag(2 * y))
    np.testing.assert_allclose(hessian["x"]["y"], np.diag(2 * x))
    np.testing.assert_allclose(hessian["y"]["x"], np.diag(2 * x))
    np.testing.assert_allclose(hessian["y"]["y"], np.diag(6 * y))
    assert list(graph.hessian({"x": x, "y": y}, wrt=["y"])) == ["y"]
    assert graphsvc.parse("f = x * x * x").hessian({"x": 2.0})["x"]["x"] == 12.0


@pytest.mark.parametrize("rows", [2, 7])
def test_a_jacobian_is_one_by_rows_and_by_columns(rows: int):
    """With fewer rows than columns and with more; and a matrix product's is the matrix."""
    w = np.random.default_rng(1).normal(size=(rows, 4))
    graph = graphsvc.parse("z = tanh(W @ x); s = sum(x)")
    x = np.array([0.1, -0.2, 0.3, 0.4])
    jacobian = graph.jacobian({"W": w, "x": x}, wrt=["x"])
    np.testing.assert_allclose(jacobian["z"]["x"], w * (1 - np.tanh(w @ x)[:, None] ** 2))
    np.testing.assert_array_equal(jacobian["s"]["x"], np.ones(4))
    both = graph.jacobian({"W": w, "x": x}, outputs=["z"])
    assert both["z"]["W"].shape == (rows, rows, 4)
    assert list(both) == ["z"]


class Counted(Elementwise):
    """Tells how often its backward ran."""

    name: ClassVar[str] = "counted"
    calls: ClassVar[list[tuple[int, ...]]] = []

    def forward(self, x: Array) -> Array:
        return x * x

    def backward(self, dz: Array, x: Array) -> Array:
        self.calls.append(dz.shape)
        return 2 * dz * x


@pytest.mark.parametrize(("shape", "least", "most"), [((6,), 1, 1), ((20, 2**13), 2, 19)])
def test_rows_run_several_at_a_time(shape: tuple[int, ...], least: int, most: int):
    """A backward sees the shape of one and runs once for all; where arrays are large, for fewer at a time."""
    graph = ComputationalGraph()
    z = graph.add(Counted(), graph.input("x"))
    graph.output("z", graph.add("sum", z, axis=1) if len(shape) > 1 else z)
    x = np.random.default_rng(3).normal(size=shape)
    Counted.calls.clear()
    jacobian = graph.jacobian({"x": x})["z"]["x"]
    assert least <= len(Counted.calls) <= most
    assert set(Counted.calls) == {shape}
    for k, row in enumerate(jacobian):
        expected = np.zeros(shape)
        expected[k] = 2 * x[k]
        np.testing.assert_array_equal(row, expected)


def test_columns_run_several_at_a_time():
    """An elementwise gate's tangents come of one backward for all columns, after that of the random direction."""
    graph = ComputationalGraph()
    graph.output("z", graph.add("broadcast_to", graph.add(Counted(), graph.input("x")), shape=(5, 3)))
    Counted.calls.clear()
    jacobian = graph.jacobian({"x": X})["z"]["x"]
    assert len(Counted.calls) == 2
    np.testing.assert_allclose(jacobian, np.broadcast_to(np.diag(2 * X), (5, 3, 3)))


def by_mask(dz: Array, x: Array) -> Array:
    """Write to parts that a mask picks: of a stack it would pick rows, where there are as many as elements."""
    dx = np.zeros_like(x)
    dx[x > -9] = 2 * dz[x > -9]
    return dx


BACKWARDS = {
    "mask": by_mask,
    "mask of its own": lambda dz, x: 2 * dz[x > -9],
    "loop": lambda dz, x: np.array([2 * element for element in dz]),
    "numbers": lambda dz, x: 2 * np.asarray(dz),
    "branch": lambda dz, x: 2 * dz if np.any(dz != 0) else dz,
    "sorted and back": lambda dz, x: 2 * dz[np.argsort(x)][np.argsort(np.argsort(x))],
    "in place": lambda dz, x: np.multiply(dz, 2, out=np.empty(3)),
    "by a length": lambda dz, x: 2 * dz.reshape(len(dz), -1).reshape(-1),
    "by flat": lambda dz, x: 2 * np.fromiter(dz.flat, float),
}


@pytest.mark.parametrize("backward", BACKWARDS)
@pytest.mark.parametrize("by", ["rows", "columns"])
def test_a_backward_that_takes_one_gradient_at_a_time_is_given_one(backward: str, by: str):
    """Whatever it does with its gradient, which here has as many elements as there are of them, the matrix is right."""

    class Odd(Elementwise):
        """Twice `x`."""

        name: ClassVar[str] = "odd"

        def forward(self, x: Array) -> Array:
            return 2 * x

        def backward(self, dz: Array, x: Array) -> Array:
            return BACKWARDS[backward](dz, x)

    graph = ComputationalGraph()
    z = graph.add(Odd(), graph.input("x"))
    graph.output("z", z if by == "rows" else graph.add("broadcast_to", z, shape=(5, 3)))
    expected = np.diag([2.0, 2.0, 2.0])
    np.testing.assert_array_equal(
        graph.jacobian({"x": X})["z"]["x"], expected if by == "rows" else np.broadcast_to(expected, (5, 3, 3))
    )


class Between(Gate):
    """`x` as it is; backward picks with arrays around a slice, which NumPy answers with other axes first."""

    name: ClassVar[str] = "between"

    def forward(self, x: Array) -> Array:
        return x.copy()

    def backward(self, dz: Array) -> Array:
        places = np.arange(2)
        return np.moveaxis(dz[places[:, None], :, places], -1, 1)


def test_a_pick_that_moves_axes_is_no_matter_of_a_stack():
    """Two gradients of two rows, so that the axis that counts them has the length of another."""
    graph = ComputationalGraph()
    graph.output("z", graph.add(Between(), graph.input("x")))
    many = np.random.default_rng(4).normal(size=(2, 2, 3, 2))
    _, gradients = graph.value_and_grad({"x": many[0]}, output_gradients={"z": many}, vectors=2)
    np.testing.assert_array_equal(gradients["x"], many)


class Quartered(Elementwise):
    """A quarter of `x * x`; backward reads what forward saved."""

    name: ClassVar[str] = "quartered"
    saves: ClassVar[tuple[str, ...]] = ("double",)

    def forward(self, x: Array) -> tuple[Array, Array]:
        return 0.25 * x * x, 2 * x

    def backward(self, dz: Array, double: Array) -> Array:
        return 0.25 * dz * double


@pytest.mark.parametrize("count", [1, 5])
def test_columns_come_one_by_one_where_saved_values_move(count: int):
    """They are compared with what backward says, which is not known of many at once."""
    graph = ComputationalGraph()
    graph.output("z", graph.add("broadcast_to", graph.add(Quartered(), graph.input("x")), shape=(count, 3)))
    jacobian = graph.jacobian({"x": X})["z"]["x"]
    np.testing.assert_allclose(jacobian, np.broadcast_to(np.diag(X / 2), (count, 3, 3)))


class Unsummed(Gate):
    """`x` twice; backward forgets to add the two up."""

    name: ClassVar[str] = "unsummed"

    def forward(self, x: Array) -> Array:
        return np.stack([x, x])

    def backward(self, dz: Array) -> Array:
        return dz


def test_a_gradient_of_another_shape_is_refused_for_many_as_for_one():
    """The contract holds for each gradient of a stack."""
    graph = ComputationalGraph()
    graph.output("z", graph.add(Unsummed(), graph.input("x")))
    with pytest.raises(GateContractError, match="gradient of shape"):
        graph.value_and_grad({"x": X}, output_gradients={"z": np.ones((4, 2, 3))}, vectors=4)


def test_a_jacobian_comes_by_rows_where_a_gate_loses_tangents():
    """Rows need nothing but backward."""
    (lossy,) = (cls for cls in REFUSED if cls.name == "by_asarray")
    graph = ComputationalGraph()
    graph.output("z", graph.add("broadcast_to", graph.add(lossy(), graph.input("x")), shape=(5, 3)))
    jacobian = graph.jacobian({"x": X})
    np.testing.assert_allclose(jacobian["z"]["x"], np.broadcast_to(np.diag(np.exp(X)), (5, 3, 3)))


def test_many_vectors_are_as_many_calls():
    """Gradients, tangents and products of K vectors are those of each, in one call that evaluates the graph once."""
    graph, scalar = graphsvc.parse("z = W @ sigmoid(x)"), graphsvc.parse("f = sum((W @ sigmoid(x))**2)")
    random = np.random.default_rng(2)
    inputs = {"W": random.normal(size=(2, 3)), "x": random.normal(size=3)}
    many = {name: random.normal(size=(3, *a.shape)) for name, a in inputs.items()}
    arriving = random.normal(size=(3, 2))
    outputs, gradients = graph.value_and_grad(inputs, output_gradients={"z": arriving}, vectors=3)
    assert outputs["z"].shape == (2,)
    moved, tangents = graph.jvp(inputs, many, vectors=3)
    _, products = scalar.hvp(inputs, many, vectors=3)
    for k in range(3):
        one = {name: a[k] for name, a in many.items()}
        for name in inputs:
            _, single = graph.value_and_grad(inputs, output_gradients={"z": arriving[k]})
            np.testing.assert_allclose(gradients[name][k], single[name], rtol=1e-13)
            np.testing.assert_allclose(products[name][k], scalar.hvp(inputs, one)[1][name], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(tangents["z"][k], graph.jvp(inputs, one)[1]["z"], rtol=1e-13)
    np.testing.assert_array_equal(moved["z"], outputs["z"])


def test_what_is_not_connected_is_flagged_and_zero():
    """In gradients and products alike; an input without a direction does not move."""
    graph = graphsvc.parse("f = sum(x * x) ; g = sum(y)")
    gradients, products = graph.hvp({"x": X, "y": X}, {"x": np.ones(3)}, outputs=["f"])
    assert gradients.disconnected == products.disconnected == ("y",)
    np.testing.assert_array_equal(products["y"], np.zeros(3))
    _, tangents = graph.jvp({"x": X, "y": X}, {"x": np.ones(3)})
    assert tangents["g"] == 0
    _, linear = graphsvc.parse("f = sum(x)").hvp({"x": X}, {"x": np.ones(3)})
    assert linear.disconnected == ()
    np.testing.assert_array_equal(linear["x"], np.zeros(3))


def test_dtypes_stay():
    """float32 has tangents and products of float32, and no false refusal; so has float16."""
    for dtype, w in itertools.product((np.float32, np.float16), (1.0, 100.0)):
        graph = graphsvc.parse("f = mean(relu(W @ x)**2) + sum(softmax(x) * x)")
        random = np.random.default_rng(3)
        inputs = {"W": (w * random.normal(size=(5, 4))).astype(dtype), "x": random.normal(size=4).astype(dtype)}
        directions = {name: np.ones_like(a) for name, a in inputs.items()}
        _, tangents = graph.jvp(inputs, directions)
        gradients, products = graph.hvp(inputs, directions)
        assert {a.dtype for a in (*tangents.values(), *gradients.values(), *products.values())} == {np.dtype(dtype)}


def test_complex_numbers_move_as_their_real_parts_do():
    """The product is the tangent of the gradient dL/dRe + i dL/dIm: of |z|^4 at 1+2j along 1, 8 + 4 * 5 + 16i."""
    graph = graphsvc.parse("f = abs(z)**4")
    gradients, products = graph.hvp({"z": np.array(1 + 2j)}, {"z": np.array(1 + 0j)})
    assert gradients["z"] == pytest.approx(4 * 5 * (1 + 2j))
    assert products["z"] == pytest.approx(4 * 5 + 8 * (1 + 2j))
    with pytest.raises(NotDifferentiableError, match="complex"):
        graph.hessian({"z": np.array(1 + 2j)})


def test_bad_questions_are_refused():
    """Each with the class of error that the same mistake has for gradients."""
    graph = graphsvc.parse("z = x * y")
    inputs = {"x": X, "y": X}
    for error, call in (
        (UnknownGradientError, lambda: graph.jvp(inputs, {"q": X})),
        (ShapeError, lambda: graph.jvp(inputs, {"x": np.ones(2)})),
        (DtypeError, lambda: graph.jvp(inputs, {"x": np.ones(3, np.float32)})),
        (RequestError, lambda: graph.jvp(inputs, [1.0])),
        (NotDifferentiableError, lambda: graph.jvp({"x": np.arange(3), "y": X}, {"x": np.arange(3)})),
        (OutputGradientError, lambda: graph.hvp(inputs, {"x": X})),
        (OutputGradientError, lambda: graph.hessian(inputs)),
        (RequestError, lambda: graph.hvp(inputs)),
        (RequestError, lambda: graph.jvp(inputs, {"x": X}, vectors=0)),
        (RequestError, lambda: graph.jvp(inputs, {"x": X}, vectors=True)),
        (ShapeError, lambda: graph.jvp(inputs, {"x": X}, vectors=2)),
        (ShapeError, lambda: graph.jvp(inputs, {"x": X}, vectors=3)),
        (OutputGradientError, lambda: graph.value_and_grad(inputs, vectors=3)),
        (RequestError, lambda: graph.value_and_grad(inputs, output_gradients={"z": X}, vectors=3, debug=True)),
    ):
        with pytest.raises(error):
            call()


def test_a_run_may_be_stopped_between_gates():
    """`between` is called, and what it raises comes out."""
    graph = graphsvc.parse("f = sum(exp(x))")

    def stop():
        raise TimeoutError

    for call in (
        lambda: graph.jvp({"x": X}, {"x": X}, between=stop),
        lambda: graph.hvp({"x": X}, {"x": X}, between=stop),
        lambda: graph.jacobian({"x": X}, between=stop),
        lambda: graph.hessian({"x": X}, between=stop),
    ):
        with pytest.raises(TimeoutError):
            call()
