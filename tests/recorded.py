"""The law that recordings are held to, and gates that several of its tests share.

Whatever a gate does, `value_and_grad`, which runs recordings, gives what the gates give, which `forward` and `backward`
call one by one.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from graphsvc import ComputationalGraph, Elementwise, Gate, GateDataError, errors
from graphsvc.arrays import Array
from graphsvc.engine.fusion.merging import GateCall
from graphsvc.engine.fusion.program import Program
from graphsvc.engine.fusion.proof import same_bits

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


# Gates ----------------------------------------------------------------------------------------------------------------


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


class Typed(One):
    """Goes by the type of what it is given."""

    name: ClassVar[str] = "typed"

    def forward(self, x: Array) -> Array:
        return x * 2 if isinstance(x, np.ndarray) else x * 3

    def backward(self, dz: Array) -> Array:
        return dz * 2 if isinstance(dz, np.ndarray) else dz * 3
