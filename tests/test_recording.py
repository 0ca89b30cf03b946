"""Gates that are recorded: what a recording minds, and what it keeps of dtypes and guards."""

from typing import Any, ClassVar

import numpy as np
import pytest

from graphsvc import ComputationalGraph, Elementwise, GateDataError
from graphsvc.arrays import Array
from graphsvc.engine.fusion.kernels import Kernel
from graphsvc.engine.fusion.merging import GateCall
from graphsvc.gates.arithmetic import Multiply
from tests.recorded import (
    ONE,
    TWO,
    Guarded,
    GuardedAll,
    GuardedBackward,
    Loud,
    One,
    Swish,
    Told,
    Two,
    answer,
    assert_agree,
    assert_same,
    by_loops,
    by_plan,
    graph_of,
    numbers,
    program_of,
    reasons_of,
)

# Gates that are recorded --------------------------------------------------------------------------------------------


class InPlace(One):
    """Writes to an array of its own, and hands that on."""

    name: ClassVar[str] = "in_place"

    def forward(self, x: Array) -> Array:
        t = x * 2
        t += 1
        t *= x
        return t

    def backward(self, dz: Array, x: Array) -> Array:  # type: ignore[override]
        t = 4 * x
        t += 1
        return dz * t


class Chosen(Two):
    """Chooses with np.where between constants, and between operands."""

    name: ClassVar[str] = "chosen"

    def forward(self, x: Array, y: Array) -> Array:
        return np.where(x > y, 2.0, -1.0) * np.where(x > 1, x, y)

    def backward(self, dz: Array, x: Array, y: Array) -> Any:
        slope = np.where(x > y, 2.0, -1.0)
        return np.where(x > 1, dz * slope, 0.0), np.where(x > 1, 0.0, dz * slope)


class Clipped(One):
    """Clips, and looks where it did."""

    name: ClassVar[str] = "clipped"

    def forward(self, x: Array) -> Array:
        return np.clip(x, 0.75, 1.25)

    def backward(self, dz: Array, x: Array) -> Array:  # type: ignore[override]
        return dz * ((x >= 0.75) & (x <= 1.25))


class Several(Two):
    """Two outputs, of which one may get no gradient."""

    name: ClassVar[str] = "several"
    outputs: ClassVar[tuple[str, ...]] = ("a", "b")

    def forward(self, x: Array, y: Array) -> Any:  # type: ignore[override]
        return x + y, x * y

    def backward(self, da: Array, x: Array, y: Array, db: Array | None = None) -> Any:  # type: ignore[override]
        return (da, da) if db is None else (da + db * y, da + db * x)


class Variadic(Elementwise):
    """Any number of operands."""

    name: ClassVar[str] = "variadic"

    def forward(self, *xs: Array) -> Array:
        total = xs[0] * 1.5
        for x in xs[1:]:
            total = total + x
        return total

    def backward(self, dz: Array, xs: tuple[Array, ...]) -> Any:
        return [dz * 1.5, *(dz for _ in xs[1:])]


class Apart(Elementwise):
    """One backward for each operand."""

    name: ClassVar[str] = "apart"

    def forward(self, x: Array, y: Array) -> Array:
        return x * np.exp(y)

    def backward_x(self, dz: Array, y: Array) -> Array:
        return dz * np.exp(y)

    def backward_y(self, dz: Array, z: Array) -> Array:
        return dz * z


class Given(One):
    """Gives its operand back, and the gradient that arrives."""

    name: ClassVar[str] = "given"

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, dz: Array) -> Array:
        return dz


class Known(One):
    """Gives what does not depend on values."""

    name: ClassVar[str] = "known"

    def forward(self, x: Array) -> Array:
        return np.full_like(x, 3) + np.zeros_like(x)

    def backward(self, dz: Array) -> Array:
        return np.zeros_like(dz)


class Wide(One):
    """Meets a NumPy number, which is not weak as Python's are."""

    name: ClassVar[str] = "wide"

    def forward(self, x: Array) -> Array:
        return x * np.float64(1.1) + 1

    def backward(self, dz: Array) -> Array:
        return dz * np.float64(1.1)


class Weak(One):
    """Meets Python's numbers."""

    name: ClassVar[str] = "weak"

    def forward(self, x: Array) -> Array:
        return (x * 2 + 0.1) * True / (2**60) * (2**60)

    def backward(self, dz: Array) -> Array:
        return dz * 2


class Cast(One):
    """Computes in another dtype."""

    name: ClassVar[str] = "cast_there_and_back"

    def forward(self, x: Array) -> Array:
        return np.exp(x.astype(np.float64) / 3).astype(x.dtype)

    def backward(self, dz: Array, z: Array) -> Array:  # type: ignore[override]
        return (dz * z / 3).astype(np.float32)


class Powers(One):
    """The exponents for which NumPy's arrays call other functions."""

    name: ClassVar[str] = "powers"

    def forward(self, x: Array) -> Array:
        return x**2 + x**0.5 + x**-1 + x**1 + x**3 + 2**x

    def backward(self, dz: Array, x: Array) -> Array:  # type: ignore[override]
        return dz * (2 * x + 0.5 * x**-0.5 - x**-2 + 1 + 3 * x**2 + 2**x * 0.7)


RECORDED = [
    (Swish(), ONE),
    (InPlace(), ONE),
    (Chosen(), TWO),
    (Clipped(), ONE),
    (Guarded(), ONE),
    (GuardedAll(), ONE),
    (GuardedBackward(), ONE),
    (Several(), TWO),
    (Apart(), TWO),
    (Variadic(), [*ONE, *TWO, ((5,), (4, 5), (4, 1)), ((3000,), (), (3000,))]),
    (Given(), ONE),
    (Known(), ONE),
    (Wide(), ONE),
    (Weak(), ONE),
    (Cast(), ONE),
]


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize(("gate", "shapes"), RECORDED, ids=lambda part: getattr(part, "name", ""))
def test_a_gate_that_can_be_recorded_is(gate, shapes, dtype):
    """It is called no more, and the program gives its bits."""
    for each in shapes:
        graph = assert_agree(gate, numbers(each, dtype))
        assert reasons_of(graph) == []


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_powers_give_what_the_gate_gives(dtype):
    """`x ** 2` calls one function on an array and another on a single number."""
    for shapes in ONE:
        assert_agree(Powers(), numbers(shapes, dtype))


@pytest.mark.usefixtures("cut")
def test_only_wanted_gradients_are_recorded():
    """A gate with a backward for each operand, and one operand that nobody asks about."""
    for shapes in TWO:
        for wrt in (None, ["x0"], ["x1"], []):
            assert reasons_of(assert_agree(Apart(), numbers(shapes), wrt)) == []


# Guards ---------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("gate", [Guarded(), GuardedAll(), GuardedBackward(), Loud(), Told()], ids=lambda g: g.name)
@pytest.mark.parametrize("first", ["good", "bad"])
@pytest.mark.parametrize("place", [0, -1])
def test_a_guard_may_turn_from_call_to_call(gate, first, place):
    """Good data, bad data and good data again, with the bad number in the first block or in the last."""
    for shapes in ONE:
        graph = graph_of(gate, 1)
        (good,) = numbers(shapes)
        bad, seed = good.copy(), np.ones_like(good)
        bad.flat[place] = -1.0 if gate.name in ("guarded", "loud", "told") else np.inf
        dull = seed.copy()
        dull.flat[place] = 0.0
        questions = [(good, seed), (bad, seed), (good, dull), (bad, dull)]
        for x, dz in (questions if first == "good" else questions[::-1]) * 2:
            assert_same(by_plan(graph, {"x0": x}, {"z": dz}), by_loops(graph, {"x0": x}, {"z": dz}))


def test_a_guard_holds_for_questions_asked_before():
    """Also where the question is known by its shapes and dtypes, and nothing is judged."""
    graph = ComputationalGraph()
    graph.output("f", graph.add("sum", graph.add(Guarded(), graph.input("x"))))
    for shape in [(), (3000,)]:
        for value in (1.0, 4.0, -1.0, 9.0, -1.0, 16.0):
            inputs = {"x": np.full(shape, value)}
            found = answer(lambda inputs=inputs: graph.value_and_grad(inputs))
            if value < 0:
                assert found[0] is GateDataError
                assert "x is negative" in found[2]
            else:
                assert found[0]["f"] == np.sum(np.full(shape, value**0.5))


class Endless(One):
    """Would never end for what a guard before it refuses."""

    name: ClassVar[str] = "endless"

    def forward(self, x: Array) -> Array:
        steps = 0
        while not np.sum(np.abs(x)) < 2.0**steps:
            steps += 1
            if steps > 5000:
                msg = "a gate behind a guard was run on what the guard refuses"
                raise AssertionError(msg)
        return x * 2


class Failing(One):
    """Fails for large numbers."""

    name: ClassVar[str] = "failing"

    def forward(self, x: Array) -> Array:
        if float(np.max(x)) > 10:
            msg = "x is large"
            raise GateDataError(msg)
        return np.array(x)


@pytest.mark.parametrize("shape", [(), (5,), (3000,)])
@pytest.mark.parametrize("order", ["guard first", "guard last", "in a row"])
def test_the_first_error_is_the_one_that_is_told(shape, order):
    """Two gates have something to refuse; the one that comes first in the graph does, as in the loop."""
    graph = ComputationalGraph()
    x, y = graph.input("x"), graph.input("y")
    if order == "in a row":
        a = b = graph.add(Endless(), graph.add(Guarded(), y))
    elif order == "guard first":
        a, b = graph.add(Guarded(), y), graph.add(Failing(), x)
    else:
        a, b = graph.add(Failing(), x), graph.add(Guarded(), y)
    graph.output("f", a + b + x * y)
    given = {"f": np.ones(shape)}
    for u, v in [(1.0, 1.0), (99.0, -1.0), (99.0, 1.0), (1.0, -1.0), (1.0, 1.0)] * 2:
        inputs = {"x": np.full(shape, u), "y": np.full(shape, v)}
        assert_same(by_plan(graph, inputs, given), by_loops(graph, inputs, given))


# Dtypes ---------------------------------------------------------------------------------------------------------------


class Mixed(Two):
    """Mixes whatever it is given, and gives back what may be none's dtype."""

    name: ClassVar[str] = "mixed"

    def forward(self, x: Array, y: Array) -> Array:
        return np.where(y > 1, x + y, x * 1.5)

    def backward(self, dz: Array, x: Array, y: Array) -> Any:
        return np.where(y > 1, dz, dz * 1.5), np.where(y > 1, dz, 0)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("first", ["float16", "float32", "float64", "int8", "uint64", "bool"])
@pytest.mark.parametrize("second", ["float16", "float32", "float64", "int32", "bool"])
def test_dtypes_are_those_of_the_gate(first, second):
    """Floats of all lengths beside each other, integers and booleans."""
    for shapes in [((), ()), ((5,), (5,)), ((3000,), ()), ((40, 50), (50,))]:
        x, y = (*numbers(shapes[:1], first), *numbers(shapes[1:], second, 1))
        if "float" not in first + second:
            continue
        assert reasons_of(assert_agree(Mixed(), [x, y])) == []


def test_complex_numbers_are_refused():
    """With the words of the loops."""
    for shape in [(), (3000,)]:
        graph = ComputationalGraph()
        x, y = graph.input("x"), graph.input("y")
        graph.output("f", graph.add(Chosen(), x, graph.add(Multiply(), y, y)))
        inputs = {"x": np.ones(shape), "y": np.ones(shape, complex)}
        assert_same(by_plan(graph, inputs, {"f": np.ones(shape)}), by_loops(graph, inputs, {"f": np.ones(shape)}))


# Everybody's gates alike ----------------------------------------------------------------------------------------------


class Product(Elementwise):
    """The product of graphsvc, under a stranger's name."""

    name: ClassVar[str] = "product"

    def forward(self, x: Array, y: Array) -> Array:
        return x * y

    def backward(self, dz: Array, x: Array, y: Array) -> Any:
        return dz * y, dz * x


def test_a_strangers_gate_fuses_as_a_built_in_one():
    """The same kernels with the same calls, and the same straight-line code."""
    for shape in [(), (5,), (3000,), (200, 300)]:
        parts = []
        for product in (Multiply(), Product()):
            graph = ComputationalGraph()
            x, y = graph.input("x"), graph.input("y")
            graph.output("f", graph.add("sum", graph.add(product, graph.add("exp", x), graph.add(product, x, y))))
            graph.value_and_grad({"x": np.ones(shape), "y": np.ones(shape)})
            found = program_of(graph).parts
            assert not any(isinstance(part, GateCall) for part in found)
            kernels = [
                [m.operation.function for m in part.members] if isinstance(part, Kernel) else part.function  # type: ignore[union-attr]
                for part in found
            ]
            parts.append(kernels)
        assert parts[0] == parts[1]
        if np.prod(shape) > 10_000:
            assert [type(part) for part in parts[1]].count(list) == 1
