"""Recording on trial: gates that take every way out of it, and what the engine makes of them.

Whatever a gate does, `value_and_grad`, which runs recordings, gives what the gates give, which `forward` and `backward`
call one by one.
"""

import math
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import pytest

from graphsvc import ComputationalGraph, Elementwise, Gate, GateDataError, errors
from graphsvc.arrays import Array, ArraySpec
from graphsvc.engine.fusion.kernels import Kernel
from graphsvc.engine.fusion.merging import GateCall
from graphsvc.engine.fusion.program import Program
from graphsvc.engine.fusion.proof import same_bits
from graphsvc.engine.fusion.workers import Workers
from graphsvc.gates.arithmetic import Multiply

ONE: list[tuple[tuple[int, ...], ...]] = [((),), ((5,),), ((4, 5),), ((3000,),), ((40, 50),)]
TWO: list[tuple[tuple[int, ...], ...]] = [
    ((), ()),
    ((5,), ()),
    ((5,), (4, 5)),
    ((4, 1), (4, 5)),
    ((3000,), ()),
    ((3000,), (3000,)),
    ((50,), (40, 50)),
    ((40, 50), (40, 1)),
    ((40, 1), (50,)),
]


# The law ------------------------------------------------------------------------------------------------------------


def graph_of(gate: Gate, count: int) -> ComputationalGraph:
    """Make a graph of one gate, whose outputs are those of the graph."""
    graph = ComputationalGraph()
    node = graph.add(gate, *(graph.input(f"x{i}") for i in range(count)), name="here")
    for name in gate.signature.outputs:
        graph.output(name, node.output(name))
    return graph


def numbers(shapes: tuple[tuple[int, ...], ...], dtype: Any = np.float64, seed: int = 0) -> list[Array]:
    """Draw operands from 0.5 to 1.5, so that no guard minds; integers from 1 to 4."""
    made = np.random.default_rng(seed)
    kind = np.dtype(dtype).kind
    return [
        np.asarray(made.uniform(0.5, 1.5, shape) if kind == "f" else made.integers(1, 5, shape)).astype(dtype)
        for shape in shapes
    ]


def answer(ask: Callable[[], Any]) -> Any:
    """Return the outputs and gradients, or all that a user learns of the error."""
    try:
        outputs, gradients = ask()
    except errors.GraphsvcError as error:
        return type(error), error.reason, str(error)
    return dict(outputs), dict(gradients)


def by_loops(
    graph: ComputationalGraph, inputs: dict[str, Array], given: dict[str, Array] | None, wrt: list[str] | None = None
) -> Any:
    """Answer with the two loops of the lecture."""

    def ask() -> Any:
        evaluation = graph.forward(inputs)
        return evaluation.outputs, graph.backward(evaluation, given, wrt)

    return answer(ask)


def by_plan(
    graph: ComputationalGraph, inputs: dict[str, Array], given: dict[str, Array] | None, wrt: list[str] | None = None
) -> Any:
    """Answer with the program."""
    return answer(lambda: graph.value_and_grad(inputs, wrt, given))


def assert_same(found: Any, expected: Any) -> None:
    """Compare answers bit for bit; sums that undo broadcasting within the error bound of their length."""
    if not isinstance(expected[0], dict):
        assert found == expected
        return
    assert isinstance(found[0], dict), found
    widest = max(array.size for part in expected for array in part.values())
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.keys() == theirs.keys()
        for name, array in theirs.items():
            assert mine[name].shape == array.shape, name
            assert mine[name].dtype == array.dtype, name
            if array.size == widest or not same_bits(mine[name], array):
                slack = 0 if array.size == widest else 4 * widest * np.finfo(array.dtype).eps
                scale = float(np.max(np.abs(array), initial=0, where=np.isfinite(array)))
                np.testing.assert_allclose(mine[name], array, slack, slack * scale)
            if array.size == widest:
                assert same_bits(mine[name], array), name


def seeds_of(graph: ComputationalGraph, inputs: dict[str, Array], seed: int = 1) -> dict[str, Array]:
    """Draw a gradient for each output that can have one."""
    made = np.random.default_rng(seed)
    outputs = graph.forward(inputs).outputs
    return {
        name: np.asarray(made.normal(size=z.shape)).astype(z.dtype)
        for name, z in outputs.items()
        if z.dtype.kind == "f"
    }


def assert_agree(gate: Gate, operands: list[Array], wrt: list[str] | None = None) -> ComputationalGraph:
    """Ask the loops and then, four times, the program: the proof, what is made after it, and twice more."""
    graph = graph_of(gate, len(operands))
    inputs = {f"x{i}": operand for i, operand in enumerate(operands)}
    given = seeds_of(graph, inputs)
    expected = by_loops(graph, inputs, given, wrt)
    for _ in range(4):
        assert_same(by_plan(graph, inputs, given, wrt), expected)
    return graph


def program_of(graph: ComputationalGraph) -> Program:
    """Return the program that answers the question asked last."""
    program = list(graph._bind()._programs._answers._made.values())[-1].program
    assert isinstance(program, Program)
    return program


def reasons_of(graph: ComputationalGraph) -> list[str]:
    """Return why the gates that run as they are do so."""
    return [part.reason for part in program_of(graph).parts if isinstance(part, GateCall)]


@pytest.fixture(params=["whole", "blocks"])
def cut(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run arrays as they are, then cut into many small blocks that threads share."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "blocks":
            patch.setattr("graphsvc.engine.fusion.kernels._LEAST", 2)
            patch.setattr("graphsvc.engine.fusion.blocks._BLOCK_ELEMENTS", (4, 8))
            patch.setattr("graphsvc.engine.fusion.blocks._SHARED_WORK", 1)
        yield


# Gates that are recorded --------------------------------------------------------------------------------------------


class One(Elementwise):
    """A base for gates of one operand, whose derivative is taken to be two."""

    def forward(self, x: Array) -> Array:
        return x * 2

    def backward(self, dz: Array) -> Array:
        return dz * 2


class Two(Elementwise):
    """A base for gates of two operands, whose derivatives are those of the product."""

    def forward(self, x: Array, y: Array) -> Array:
        return x * y

    def backward(self, dz: Array, x: Array, y: Array) -> Any:
        return dz * y, dz * x


class Swish(One):
    """A formula with a saved value."""

    name: ClassVar[str] = "swish"
    saves: ClassVar[tuple[str, ...]] = ("s",)

    def forward(self, x: Array) -> Any:
        s = 1 / (1 + np.exp(-x))
        return x * s, s

    def backward(self, dz: Array, x: Array, s: Array) -> Array:  # type: ignore[override]
        return dz * s * (1 + x * (1 - s))


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


class Guarded(One):
    """Refuses negative numbers in its own words."""

    name: ClassVar[str] = "guarded"

    def forward(self, x: Array) -> Array:
        if np.any(x < 0):
            msg = "x is negative"
            raise GateDataError(msg)
        return np.sqrt(x)

    def backward(self, dz: Array, z: Array) -> Array:  # type: ignore[override]
        return dz / (2 * z)


class GuardedAll(One):
    """Goes another way where not all is finite."""

    name: ClassVar[str] = "guarded_all"

    def forward(self, x: Array) -> Array:
        if not np.all(np.isfinite(x)):
            return np.zeros_like(x)
        return x * x

    def backward(self, dz: Array, x: Array) -> Array:  # type: ignore[override]
        if not np.isfinite(x).all():
            return np.ones_like(dz)
        return 2 * dz * x


class GuardedBackward(One):
    """Refuses gradients of zero, as nobody should."""

    name: ClassVar[str] = "guarded_backward"

    def backward(self, dz: Array) -> Array:
        if (dz == 0).any():
            msg = "dz is zero"
            raise GateDataError(msg)
        return dz * 2


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


class Loud(One):
    """Asks NumPy to raise what it would warn of, and refuses in its own words."""

    name: ClassVar[str] = "loud"

    def forward(self, x: Array) -> Array:
        try:
            with np.errstate(divide="raise", invalid="raise"):
                return np.log(x)
        except FloatingPointError:
            msg = "x is not positive"
            raise GateDataError(msg) from None


class Told(One):
    """Has NumPy call it where a number is bad."""

    name: ClassVar[str] = "told"

    def forward(self, x: Array) -> Array:
        bad: list[str] = []
        with np.errstate(all="call", call=lambda kind, flag: bad.append(kind)):
            z = np.log(x)
        return np.zeros_like(x) if bad else z


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


class Typed(One):
    """Goes by the type of what it is given."""

    name: ClassVar[str] = "typed"

    def forward(self, x: Array) -> Array:
        return x * 2 if isinstance(x, np.ndarray) else x * 3

    def backward(self, dz: Array) -> Array:
        return dz * 2 if isinstance(dz, np.ndarray) else dz * 3


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


# The same bits --------------------------------------------------------------------------------------------------------

DETERMINISM = """
import hashlib
import numpy as np
from graphsvc import ComputationalGraph
random = np.random.default_rng(0)
digest = hashlib.sha256()
for dtype in ("float64", "float32", "float16"):
    graph = ComputationalGraph()
    x, w, b = graph.input("x"), graph.input("w"), graph.input("b")
    h = graph.add("tanh", x * w + b)
    graph.output("f", graph.add("sum", graph.add("softmax", h * h - x, axis=1) * h))
    inputs = {"x": random.normal(size=(1500, 400)), "w": random.normal(size=400), "b": random.normal(size=(1500, 1))}
    inputs = {name: array.astype(dtype) for name, array in inputs.items()}
    inputs["x"][7, 7], inputs["x"][-1, -1], inputs["w"][3] = np.inf, np.nan, np.finfo(dtype).max
    for _ in range(3):
        outputs, gradients = graph.value_and_grad(inputs)
        for array in (*outputs.values(), *gradients.values()):
            digest.update(array.tobytes())
print(digest.hexdigest())
"""


def test_the_bits_do_not_depend_on_the_number_of_threads():
    """1, 2 and 5 threads, with overflow and NaN in the data and warnings made errors: the same bits, and no word."""
    found = set()
    for count in (1, 2, 5):
        environment = {**os.environ, "GRAPHSVC_THREADS": str(count), "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "error", "-c", DETERMINISM]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        found.add(done.stdout)
    assert len(found) == 1


def test_as_many_threads_are_at_work_as_there_are_cores(monkeypatch: pytest.MonkeyPatch):
    """Who begins while others are at work has the fewer helpers, and leaves none of them behind, come what may."""
    monkeypatch.setenv("GRAPHSVC_THREADS", "4")
    workers = Workers()

    def assert_help(asked: int, *beside: int, expected: int) -> None:
        """Ask for helpers while others, in turn, have asked for theirs."""
        if beside:
            done = threading.Event()
            with workers.helped(beside[0], lambda: done.wait(60) or None):
                try:
                    assert_help(asked, *beside[1:], expected=expected)
                finally:
                    done.set()
            return
        came = threading.Semaphore(0)
        with workers.helped(asked, came.release):
            assert all(came.acquire(timeout=60) for _ in range(expected))
            assert not came.acquire(timeout=0.05)

    for asked, expected in [(0, 0), (1, 1), (3, 3), (9, 3)]:
        assert_help(asked, expected=expected)
    for beside, expected in [((1,), 1), ((0,), 2), ((3,), 0), ((0, 0), 1), ((0, 0, 0), 0), ((0, 0, 0, 0), 0)]:
        assert_help(3, *beside, expected=expected)

    begun = threading.Event()

    def fail() -> None:
        begun.set()
        raise ZeroDivisionError

    def work(error: type[Exception] | None) -> None:
        with workers.helped(3, fail):
            assert begun.wait(60)
            if error:
                raise error

    with pytest.raises(ZeroDivisionError):
        work(None)
    with pytest.raises(KeyError):
        work(KeyError)
    assert_help(3, expected=3)


def test_nobody_waits_for_help_that_has_not_begun(monkeypatch: pytest.MonkeyPatch):
    """The work is done by then."""
    monkeypatch.setenv("GRAPHSVC_THREADS", "2")
    workers, begun, done = Workers(), threading.Event(), threading.Event()

    def last() -> None:
        begun.set()
        done.wait(60)

    with workers.helped(1, last):
        assert begun.wait(60)
        workers.count = 4
        with workers.helped(1, pytest.fail):
            pass
        done.set()


def test_help_is_waited_for_that_no_thread_could_be_started_for(monkeypatch: pytest.MonkeyPatch):
    """A thread that helped others comes to it, so that a block would be missing from the results."""
    monkeypatch.setenv("GRAPHSVC_THREADS", "4")
    workers, others, begun = Workers(), threading.Event(), threading.Event()
    done = []

    def fail(_: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    def work() -> None:
        begun.set()
        # Until who waits for it would have gone on.
        threading.Event().wait(0.2)
        done.append(True)

    with workers.helped(1, lambda: others.wait(60) or None):
        monkeypatch.setattr(threading.Thread, "start", fail)
        with workers.helped(1, work):
            others.set()
            assert begun.wait(60)
        assert done


def test_who_is_interrupted_while_waiting_for_help_leaves_the_count_right(monkeypatch: pytest.MonkeyPatch):
    """Otherwise nobody would be helped any more."""
    monkeypatch.setenv("GRAPHSVC_THREADS", "2")
    workers, begun, done = Workers(), threading.Event(), threading.Event()

    def interrupt() -> None:
        begun.set()
        # Until the other thread waits.
        done.wait(0.2)
        signal.pthread_kill(asking, signal.SIGINT)
        done.wait(10)

    asking = threading.get_ident()
    with pytest.raises(KeyboardInterrupt), workers.helped(1, interrupt):
        assert begun.wait(60)
    done.set()
    helped = threading.Event()
    with workers.helped(1, helped.set):
        assert helped.wait(60)


@pytest.mark.parametrize("shape", [(), (5,), (3000,), (600, 500)])
def test_one_graph_answers_many_threads(shape):
    """Eight threads with data of their own ask one graph at once."""
    graph = ComputationalGraph()
    x, y = graph.input("x"), graph.input("y")
    h = graph.add(Swish(), x * y)
    graph.output("f", graph.add("sum", graph.add(Guarded(), h * h + 1.0) * graph.add(Typed(), x)))
    cases = []
    for i in range(8):
        inputs = dict(zip("xy", numbers((shape, shape), seed=i), strict=True))
        cases.append((inputs, by_loops(graph, inputs, None)))
    start = threading.Barrier(8)

    def ask(case: Any) -> list[Any]:
        start.wait()
        return [by_plan(graph, case[0], None) for _ in range(10)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, cases))
    for (_, expected), found in zip(cases, answers, strict=True):
        assert all(same_bits(found[0][1][name], each[1][name]) for each in found for name in "xy")
        for name in "xy":
            np.testing.assert_allclose(found[0][1][name], expected[1][name], 1e-13)


def test_no_warning_is_printed():
    """Overflow and NaN in straight-line code, kernels, levels and gates; warnings are errors here."""
    graph = ComputationalGraph()
    x, y = graph.input("x"), graph.input("y")
    h = graph.add("exp", graph.add("log", x - y) * x) / (x - x) + graph.add(Typed(), graph.add("sqrt", y))
    graph.output("f", graph.add("sum", h))
    for shape in [(), (5,), (3000,), (600, 500)]:
        for a, b in [(1.0, 2.0), (1e308, -1e308), (np.inf, np.nan), (0.0, 0.0)]:
            inputs = {"x": np.full(shape, a), "y": np.full(shape, b)}
            found = [by_plan(graph, inputs, None) for _ in range(3)]
            assert all(isinstance(part[0], dict) for part in found)
    wide = ComputationalGraph()
    ends = [graph_node * 1e300 for graph_node in (wide.input(f"x{i}") for i in range(700))]
    for _ in range(3):
        ends = [a * b / (a - a) for a, b in zip(ends[::2], ends[1::2], strict=False)]
    wide.output("f", ends[0] + ends[-1])
    for _ in range(2):
        wide.value_and_grad({f"x{i}": 1e10 for i in range(700)})


# What a run leaves alone ----------------------------------------------------------------------------------------------


class Keeping(Gate):
    """Keeps what it is given, as no gate should."""

    name: ClassVar[str] = "keeping"
    deterministic: ClassVar[bool] = False
    kept: ClassVar[list[Array]] = []

    def infer(self, x: ArraySpec) -> ArraySpec:
        return x

    def forward(self, x: Array) -> Array:
        self.kept.append(x)
        return x

    def backward(self, dz: Array) -> Array:
        self.kept.append(dz)
        return dz


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (200, 300)])
def test_results_share_memory_with_nobody(shape):
    """Neither with each other, nor with inputs, nor with what a gate keeps, be it a view."""
    graph = ComputationalGraph()
    x = graph.input("x")
    values = [x, graph.add("exp", x)]
    values.append(graph.add("transpose", values[1]))
    values += [graph.add(Keeping(), value) for value in values[1:]]
    values.append(graph.add("reshape", values[1], shape=(-1,)))
    values.append(graph.add(Keeping(), values[-1]))
    for i, value in enumerate(values):
        graph.output(f"f{i}", value)
    inputs = {"x": numbers((shape,))[0]}
    given = seeds_of(graph, inputs)
    for _ in range(3):
        outputs, gradients = graph.value_and_grad(inputs, None, given)
        mine = [*outputs.values(), *gradients.values()]
        others = [*Keeping.kept, *inputs.values(), *given.values()]
        for i, array in enumerate(mine):
            assert array.flags.writeable
            assert not any(np.shares_memory(array, other) for other in [*mine[:i], *others])
    Keeping.kept.clear()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals by time are of Unix")
def test_a_signal_handler_may_ask_a_graph_while_it_runs():
    """Its run disturbs no number of the run that it comes in the middle of."""
    graph = ComputationalGraph()
    x = y = graph.input("x")
    for _ in range(6):
        y = graph.add("tanh", y * x + 1.0) * y
    graph.output("f", y)
    (mine, other), given = numbers(((40, 1000),) * 2), {"f": np.ones((40, 1000))}
    expected = [by_plan(graph, {"x": mine}, given) for _ in range(2)][-1]
    hits: list[int] = []

    def handler(*_: object) -> None:
        graph.value_and_grad({"x": other}, None, given)
        hits.append(1)
        # One that is late finds nothing to go on with; the next alarm would be that of the test's own time limit.
        if len(hits) < 100:
            signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.0003 * (len(hits) % 7))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while len(hits) < 100:
            outputs, gradients = graph.value_and_grad({"x": mine}, None, given)
            assert same_bits(outputs["f"], expected[0]["f"])
            assert same_bits(gradients["x"], expected[1]["x"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_between_may_stop_or_ask_at_any_time():
    """What it raises comes out, what it asks is answered, and the next run is none the worse for it."""
    graph = ComputationalGraph()
    x = y = graph.input("x")
    for _ in range(6):
        y = graph.add("tanh", y * x + 1.0) * y
    graph.output("f", y)
    (mine, other), given = numbers(((600, 500),) * 2), {"f": np.ones((600, 500))}
    expected = [by_plan(graph, {"x": mine}, given) for _ in range(2)][-1]
    for last in range(2):
        calls: list[int] = []

        def between(calls: list[int] = calls, last: int = last) -> None:
            calls.append(1)
            graph.value_and_grad({"x": other}, None, given)
            if len(calls) > last:
                raise KeyError(last)

        with pytest.raises(KeyError):
            graph.value_and_grad({"x": mine}, None, given, between=between)
        assert_same(by_plan(graph, {"x": mine}, given), expected)


@pytest.mark.parametrize("seed", [1.0, np.inf, np.nan])
def test_the_sum_over_nothing_is_zero(seed):
    """Also of infinities, which a product with a length of 0 would make NaN."""
    for shapes in [((), (0,)), ((3, 1), (3, 0)), ((0,), ())]:
        graph = ComputationalGraph()
        graph.output("f", graph.add("sum", graph.input("x") + graph.input("y")))
        inputs = dict(zip("xy", numbers(shapes), strict=True))
        for _ in range(3):
            assert_same(
                by_plan(graph, inputs, {"f": np.asarray(seed)}), by_loops(graph, inputs, {"f": np.asarray(seed)})
            )


class PowersOfBoth(Elementwise):
    """PowersOfBoth of an operand and of what is computed of it, by the operator."""

    name: ClassVar[str] = "powers_of_both"
    exponent: float = 2.0
    whole: bool = False

    def forward(self, x: Array) -> Array:
        exponent = int(self.exponent) if self.whole else self.exponent
        return (x * 1.0) ** exponent + x**exponent + 2.0 ** (0.5 * x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * (-x) ** self.exponent


@pytest.mark.parametrize("exponent", [0.5, 2.0, 3.0, -1.0, 0.25])
@pytest.mark.parametrize("shape", [(), (7,), (20_000,)])
def test_powers_take_the_way_of_numbers_or_of_arrays(exponent, shape):
    """NumPy raises its numbers to powers by another function than its arrays: a plan does as the gate would."""
    for gate in (PowersOfBoth(exponent=exponent), PowersOfBoth(exponent=exponent, whole=True)):
        graph = ComputationalGraph()
        graph.output("f", graph.add(gate, graph.input("x")))
        for turn in range(200 if shape == () else 2):
            x = np.asarray(np.random.default_rng(turn).uniform(-3, 3, shape))
            x = np.asarray([np.inf, 0.0, -0.0][turn]) if shape == () and turn < 3 else x
            evaluation = graph.forward({"x": x})
            outputs, gradients = graph.value_and_grad({"x": x}, output_gradients={"f": np.ones(shape)})
            assert outputs["f"].tobytes() == evaluation.outputs["f"].tobytes()
            assert gradients["x"].tobytes() == graph.backward(evaluation, {"f": np.ones(shape)})["x"].tobytes()


def test_a_prepared_question_whose_values_take_another_way_runs_gate_by_gate():
    """Prepared again after it ran, it meets a value that the recording did not expect, and asks for what that takes."""
    graph = ComputationalGraph()
    graph.output("f", graph.add("sum", graph.add(GuardedAll(), graph.input("x"))))
    graph.prepare({"x": np.ones(3)}).run()
    asked: list[int] = []
    again = graph.prepare({"x": np.array([1.0, np.inf, 2.0])})
    assert again.planned
    outputs, gradients = again.run(None, asked.append)
    assert outputs["f"] == 0
    np.testing.assert_array_equal(gradients["x"], [1, 1, 1])
    assert asked == [again.estimate.peak_bytes] or again.peak_bytes == again.estimate.peak_bytes
