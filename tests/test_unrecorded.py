"""Gates that take every way out of a recording: they run as they are, or mean to be recorded as something else."""

import math
import random
from typing import Any, ClassVar

import numpy as np
import pytest

from graphsvc import ComputationalGraph, Gate
from graphsvc.arrays import Array, ArraySpec
from tests.recorded import (
    ONE,
    TWO,
    Loud,
    One,
    Told,
    Two,
    Typed,
    assert_agree,
    assert_same,
    by_loops,
    by_plan,
    graph_of,
    numbers,
    reasons_of,
)

# Gates that are not ------------------------------------------------------------------------------------------------


class Branch(One):
    """Branches on a value."""

    name: ClassVar[str] = "branch"

    def forward(self, x: Array) -> Array:
        return x * 2 if np.sum(x) > 3 else x * 3


class Largest(One):
    """Calls Python's max."""

    name: ClassVar[str] = "largest"

    def forward(self, x: Array) -> Array:
        return max(x, 1.0) * x if x.size == 1 else x * 2


class Drawn(One):
    """Draws, and gives the same whatever it drew."""

    name: ClassVar[str] = "drawn"

    def forward(self, x: Array) -> Array:
        shift = random.random()  # noqa: S311 - no secret
        return np.where(x > -1 - shift, x * 2, shift)


class Undetermined(One):
    """Says itself that it must be asked each time."""

    name: ClassVar[str] = "undetermined"
    deterministic: ClassVar[bool] = False


class Mean(One):
    """Takes a mean, as no elementwise gate should: over everything, which differs for a block."""

    name: ClassVar[str] = "mean_inside"

    def forward(self, x: Array) -> Array:
        return x - np.mean(x)


class Total(One):
    """Takes a sum over everything."""

    name: ClassVar[str] = "total_inside"

    def forward(self, x: Array) -> Array:
        return x - x.sum()


class Thousands(One):
    """Calls NumPy thousands of times."""

    name: ClassVar[str] = "thousands"

    def forward(self, x: Array) -> Array:
        for _ in range(2000):
            x = x * 1.0001
        return x


class Scalar(One):
    """Asks for a Python number where there is one."""

    name: ClassVar[str] = "scalar"

    def forward(self, x: Array) -> Array:
        return np.asarray(math.exp(float(x))) if np.ndim(x) == 0 else np.exp(x)


class Swallowed(One):
    """Tries to get a number, and goes another way where that fails, whatever it is."""

    name: ClassVar[str] = "swallowed"

    def forward(self, x: Array) -> Array:
        try:
            return np.asarray(math.exp(x))
        except:  # noqa: E722 - a gate that catches everything is what is on trial
            return x * 5


class Measured(One):
    """Asks how long its operand is."""

    name: ClassVar[str] = "measured"

    def forward(self, x: Array) -> Array:
        try:
            return x * len(x)
        except TypeError:
            return x * 1


class Indexed(One):
    """Takes elements."""

    name: ClassVar[str] = "indexed"

    def forward(self, x: Array) -> Array:
        return x * x[0] if x.ndim else x * 2


class Shaped(One):
    """Goes by the shape."""

    name: ClassVar[str] = "shaped"

    def forward(self, x: Array) -> Array:
        return x * 2 if x.shape == (5,) else x * 4


class Converted(One):
    """Leaves NumPy's functions for a list of Python's."""

    name: ClassVar[str] = "converted"

    def forward(self, x: Array) -> Array:
        return np.reshape(np.array([math.exp(v) for v in np.ravel(x).tolist()], x.dtype), x.shape)


class Whole(One):
    """Converts what it is given, as careful people do."""

    name: ClassVar[str] = "whole"

    def forward(self, x: Array) -> Array:
        return np.asarray(x) * 2


class Counting(One):
    """Counts its calls, and lets the count have no say."""

    name: ClassVar[str] = "counting"
    calls: ClassVar[list[int]] = []

    def forward(self, x: Array) -> Array:
        self.calls.append(1)
        return np.where(x > -len(self.calls), x * 2, 0)


class Listed(One):
    """Saves a list and a dictionary."""

    name: ClassVar[str] = "listed"
    saves: ClassVar[tuple[str, ...]] = ("these", "those")

    def forward(self, x: Array) -> Any:
        return x * 2, [x, 2.0], {"two": x * 2}

    def backward(self, dz: Array, these: Any, those: Any) -> Array:  # type: ignore[override]
        return dz * these[0] + those["two"]


class Loose(One):
    """Gives a Python number, which is none of NumPy's."""

    name: ClassVar[str] = "loose"

    def backward(self, dz: Array) -> Any:
        return 2.0


class Refusing(One):
    """Has no gradient for some."""

    name: ClassVar[str] = "refusing"

    def backward(self, dz: Array) -> Any:
        return None


class HalfRefusing(Two):
    """Has a gradient for its first operand alone."""

    name: ClassVar[str] = "half_refusing"

    def backward(self, dz: Array, x: Array, y: Array) -> Any:
        return dz * y, None


RUN_AS_THEY_ARE = [
    (Branch(), "reduces over axes"),
    (Largest(), "asks for a shape"),
    (Drawn(), "something else each time"),
    (Undetermined(), "not deterministic"),
    (Mean(), "np.mean"),
    (Total(), "reduces over axes"),
    (Thousands(), "more than 256 calls"),
    (Scalar(), "np.ndim"),
    (Swallowed(), "asks for a value"),
    (Measured(), "asks for a value"),
    (Indexed(), "asks for a shape"),
    (Shaped(), "asks for a shape"),
    (Converted(), "np.ravel"),
    (Whole(), "asks for a value"),
    (Counting(), "something else each time"),
    (Listed(), "returns something that it did not compute"),
    (Loud(), "numeric errors"),
    (Told(), "numeric errors"),
]


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize(("gate", "reason"), RUN_AS_THEY_ARE, ids=lambda part: getattr(part, "name", ""))
def test_a_gate_that_cannot_be_recorded_runs_as_it_is(gate, reason):
    """The program calls it, gives what it gives, and knows why it does."""
    for shapes in ONE:
        graph = assert_agree(gate, numbers(shapes))
        assert reason in " ".join(reasons_of(graph))


class Draws(One):
    """Gives another number each time."""

    name: ClassVar[str] = "draws"

    def forward(self, x: Array) -> Array:
        return x + random.random()  # noqa: S311 - no secret


def test_what_a_gate_draws_is_drawn_each_time():
    """A recording would give one draw again and again."""
    for shape in [(), (5,), (3000,)]:
        graph, x = graph_of(Draws(), 1), np.ones(shape)
        found = {float(np.max(graph.value_and_grad({"x0": x}, [])[0]["z"])) for _ in range(5)}
        assert len(found) == 5


class Counted(One):
    """Depends on how often it was called."""

    name: ClassVar[str] = "counted"
    calls: ClassVar[list[int]] = []

    def forward(self, x: Array) -> Array:
        self.calls.append(1)
        return x * len(self.calls)


def test_a_gate_that_counts_is_called_each_time():
    """A recording would stand still."""
    graph, x = graph_of(Counted(), 1), np.ones(3000)
    found = [graph.value_and_grad({"x0": x}, [])[0]["z"][0] for _ in range(4)]
    assert np.all(np.diff(found) == 1)


class Overwriting(One):
    """Writes to its operand."""

    name: ClassVar[str] = "overwriting"

    def forward(self, x: Array) -> Array:
        x += 1
        return x


class OverwritingOut(One):
    """Writes to its operand by `out=`."""

    name: ClassVar[str] = "overwriting_out"

    def forward(self, x: Array) -> Array:
        return np.multiply(x, 2, out=x)


class OverwritingGradient(One):
    """Writes to the gradient that arrives."""

    name: ClassVar[str] = "overwriting_gradient"

    def backward(self, dz: Array) -> Array:
        dz *= 2
        return dz


class OverwritingView(One):
    """Writes to a view of its operand."""

    name: ClassVar[str] = "overwriting_view"

    def forward(self, x: Array) -> Array:
        view = x.astype(x.dtype, copy=False)
        view += 1
        return view


class OverwritingItem(One):
    """Writes to an element."""

    name: ClassVar[str] = "overwriting_item"

    def forward(self, x: Array) -> Array:
        x[...] = 0
        return x


REFUSED = [
    Overwriting(),
    OverwritingOut(),
    OverwritingGradient(),
    OverwritingView(),
    OverwritingItem(),
    Loose(),
    Refusing(),
    HalfRefusing(),
]


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("gate", REFUSED, ids=lambda gate: gate.name)
def test_what_the_gate_is_refused_for_is_refused(gate):
    """Writing to what is not its own, and gradients that are none: the same error, with the same words."""
    count = len(gate.signature.operands)
    for shape in [(), (5,), (3000,)]:
        graph = graph_of(gate, count)
        inputs = {f"x{i}": np.ones(shape) for i in range(count)}
        given = {"z": np.ones(shape)}
        expected = by_loops(graph, inputs, given)
        for _ in range(3):
            assert_same(by_plan(graph, inputs, given), expected)


# Gates that mean to be recorded as something else ---------------------------------------------------------------------


class Alias(One):
    """Has two names for one array, which single numbers of NumPy are not."""

    name: ClassVar[str] = "alias"

    def forward(self, x: Array) -> Array:
        t = x * 2
        u = t
        t += 1
        return u

    def backward(self, dz: Array) -> Array:
        t = dz * 2
        u = t
        u *= 3
        return t


class Viewed(One):
    """Writes to an array of its own, of which it has a view."""

    name: ClassVar[str] = "viewed"

    def forward(self, x: Array) -> Array:
        t = x * 2
        view = t.astype(t.dtype, copy=False)
        t += 1
        return view


class Number(One):
    """Goes by whether it is given a single number of NumPy."""

    name: ClassVar[str] = "number"

    def forward(self, x: Array) -> Array:
        return x * 2 if np.isscalar(x) else x * 3

    def backward(self, dz: Array) -> Array:
        return dz * 5 if isinstance(dz, np.generic) else dz * 7


class Suspicious(One):
    """Looks for what a symbol does not have."""

    name: ClassVar[str] = "suspicious"

    def forward(self, x: Array) -> Array:
        return x * 2 if hasattr(x, "__array_interface__") else x * 3


class Named(One):
    """Looks at its operand's class."""

    name: ClassVar[str] = "named"

    def backward(self, dz: Array) -> Array:
        return dz * len(type(dz).__name__)


class TypedTwo(Two):
    """Goes by the type, and computes with one of its operands alone."""

    name: ClassVar[str] = "typed_two"

    def forward(self, x: Array, y: Array) -> Array:
        return np.exp(y) * x if isinstance(x, np.ndarray | np.generic) else np.exp(y) + x


DECEIVING = [Alias(), Viewed(), Typed(), Number(), Suspicious(), Named()]


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("gate", DECEIVING, ids=lambda gate: gate.name)
def test_a_recording_that_is_not_the_gate_is_found(gate):
    """Whatever the first question was, the gate's own numbers come back."""
    for shapes in [*ONE, ((40, 1, 50),), ((200, 300),)]:
        assert_agree(gate, numbers(shapes))


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("gate", DECEIVING, ids=lambda gate: gate.name)
def test_a_recording_that_is_not_the_gate_is_found_between_other_gates(gate):
    """Operands that gates made are single numbers of NumPy, and those of a graph are arrays of no axes."""
    for shape in [(), (5,), (3000,)]:
        graph = ComputationalGraph()
        x = graph.input("x")
        graph.output("f", graph.add(gate, graph.add(gate, x * 3.0) * 2.0) + 1.0)
        inputs = {"x": np.full(shape, 0.75)}
        expected = by_loops(graph, inputs, {"f": np.full(shape, 0.25)})
        for _ in range(3):
            assert_same(by_plan(graph, inputs, {"f": np.full(shape, 0.25)}), expected)


@pytest.mark.parametrize("gate", DECEIVING, ids=lambda gate: gate.name)
def test_a_recording_that_is_not_the_gate_is_found_among_thousands(gate):
    """Many gates on single numbers run as arrays, and must give what each gives alone."""
    graph = ComputationalGraph()
    ends = [graph.add(gate, graph.input(f"x{i}") * 1.25) for i in range(600)]
    while len(ends) > 1:
        ends = [a + b for a, b in zip(ends[::2], ends[1::2], strict=False)] + ends[len(ends) // 2 * 2 :]
    graph.output("f", ends[0])
    inputs = {f"x{i}": np.asarray(0.5 + i / 600) for i in range(600)}
    expected = by_loops(graph, inputs, None)
    for _ in range(2):
        assert_same(by_plan(graph, inputs, None), expected)


@pytest.mark.usefixtures("cut")
def test_a_recording_is_compared_where_a_part_of_it_runs_elsewhere():
    """What depends on a single number or a row alone is computed once, outside of the blocks."""
    for shapes in [*TWO, ((200, 300), ()), ((200, 300), (300,)), ((200, 300), (200, 1)), ((20000,), (1,))]:
        assert_agree(TypedTwo(), numbers(shapes))


class Aggregate(Gate):
    """No elementwise gate: a sum under two names, of which one is written to."""

    name: ClassVar[str] = "aggregate"

    def infer(self, x: ArraySpec) -> ArraySpec:
        return ArraySpec((), x.dtype)

    def forward(self, x: Array) -> Array:
        s = np.max(x)
        t = s
        t += 1
        return s

    def backward(self, dz: Array, x: Array) -> Array:
        return np.broadcast_to(dz, x.shape)


def test_a_recording_of_a_large_array_is_not_taken_on_trust():
    """A maximum is a single number of NumPy, so that writing to it makes another."""
    for shape in [(5,), (3000,), (5000,), (300, 400)]:
        assert_agree(Aggregate(), numbers((shape,)))


class Rounded(One):
    """Raises integers to what may be negative, which NumPy refuses for some values only."""

    name: ClassVar[str] = "rounded"

    def forward(self, x: Array) -> Array:
        try:
            return np.power(2, x.astype(np.int64)) * x
        except ValueError:
            return x * 7


def test_errors_for_some_values_are_left_to_the_gate():
    """NumPy raises for them within a kernel as in the gate, and the gate says what that means."""
    for shape in [(), (5,), (3000,), (300, 400)]:
        graph = graph_of(Rounded(), 1)
        for value in (1.0, -1.0, 2.0, -2.0, 3.0):
            inputs, given = {"x0": np.full(shape, value)}, {"z": np.ones(shape)}
            assert_same(by_plan(graph, inputs, given), by_loops(graph, inputs, given))
