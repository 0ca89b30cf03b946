"""Plans against the two loops: `value_and_grad` runs the plan, `forward` and `backward` run the loops."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from graphsvc import ComputationalGraph, errors
from graphsvc.arrays import Array
from tests.random_graphs import LARGE_SHAPES, SHAPES, SPECIAL, RandomGraph, random_graphs


def _by_loops(
    case: RandomGraph, inputs: dict[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]] | type[BaseException]:
    try:
        evaluation = case.graph.forward(inputs)
        return evaluation.outputs, case.graph.backward(evaluation, case.output_gradients)
    except errors.GraphsvcError as error:
        return type(error)


def _by_plan(case: RandomGraph) -> tuple[dict[str, Array], dict[str, Array]] | type[BaseException]:
    try:
        return case.graph.value_and_grad(case.inputs, output_gradients=case.output_gradients)
    except errors.GraphsvcError as error:
        return type(error)


def assert_agree(case: RandomGraph) -> None:
    """Compare plan and loops: bit for bit, and where sums are involved up to what a last bit of the inputs changes."""
    expected = _by_loops(case, case.inputs)
    for _ in range(3):  # the proof, the first run of the code, and one more
        found = _by_plan(case)
        if isinstance(expected, type):
            # A plan is judged before anything runs, so it may refuse a gradient where the loops meet bad data first.
            assert found is expected or (found, expected) == (errors.GateNotDifferentiableError, errors.GateDataError)
            return
        assert not isinstance(found, type), found
        for mine, theirs, nudged in zip(found, expected, _nudged(case, expected), strict=True):
            assert mine.keys() == theirs.keys()
            for name, array in theirs.items():
                assert mine[name].dtype == array.dtype
                assert mine[name].shape == array.shape
                if not _equal(mine[name], array):
                    assert case.sums, (name, mine[name], array)
                    _assert_within(mine[name], array, nudged[name])


def _equal(mine: Array, theirs: Array) -> bool:
    same = np.array_equal(mine, theirs, equal_nan=mine.dtype.kind in "fc")
    return same and (mine.dtype.kind != "f" or bool(np.all((np.signbit(mine) == np.signbit(theirs)) | np.isnan(mine))))


def _nudged(case: RandomGraph, expected: Any) -> Any:
    """Return for each result how far it moves when the inputs move by a few last bits."""
    moved = tuple({name: np.zeros(array.shape) for name, array in part.items()} for part in expected)
    random = np.random.default_rng(0)
    for _ in range(3):
        inputs = {
            name: (array * (1 + 8 * np.finfo(array.dtype).eps * random.choice([-1, 1], array.shape))).astype(
                array.dtype
            )
            for name, array in case.inputs.items()
        }
        other = _by_loops(case, inputs)
        if isinstance(other, type):
            return tuple({name: np.full(array.shape, np.inf) for name, array in part.items()} for part in expected)
        for far, one, two in zip(moved, expected, other, strict=True):
            for name in far:
                with np.errstate(all="ignore"):
                    gap = np.abs(_wide(one[name]) - _wide(two[name]))
                far[name] = np.maximum(far[name], np.where(np.isnan(gap), np.inf, gap))
    return moved


def _wide(x: Array) -> Array:
    return x if x.dtype.kind == "c" else x.astype(np.float64)


def _assert_within(mine: Array, theirs: Array, moved: Array) -> None:
    with np.errstate(all="ignore"):
        gap = np.abs(_wide(mine) - _wide(theirs))
        scale = np.max(np.abs(_wide(theirs)), initial=0, where=np.isfinite(theirs))
        bound = 16 * np.max(moved, initial=0) + 64 * np.finfo(theirs.dtype).eps * scale
    both = np.isnan(mine) & np.isnan(theirs) | (mine == theirs)
    assert np.all(both | (gap <= bound)), (mine, theirs, bound)


MANY = settings(
    max_examples=700,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


@given(random_graphs(SHAPES))
@MANY
def test_the_plan_agrees_with_the_loops_on_random_graphs(case):
    """Small arrays, all gates: what is computed without blocks."""
    assert_agree(case)


@given(random_graphs(LARGE_SHAPES))
@MANY
def test_kernels_agree_with_the_loops_on_random_graphs(case):
    """Arrays large enough for kernels, all gates."""
    assert_agree(case)


@pytest.fixture(scope="module")
def small_blocks() -> Iterator[None]:
    """Cut every array into many blocks, and their code into many pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphsvc.engine.fusion.kernels._LEAST", 2)
        patch.setattr("graphsvc.engine.fusion.blocks._BLOCK_ELEMENTS", (4, 8))
        patch.setattr("graphsvc.engine.fusion.blocks._SHARED_WORK", 1)
        patch.setattr("graphsvc.engine.fusion.blockcode._LONGEST_PIECE", 3)
        yield


@pytest.mark.usefixtures("small_blocks")
class TestBlocks:
    """The same with arrays cut into many small blocks, that threads share."""

    @given(random_graphs(SHAPES))
    @MANY
    def test_blocks_agree_with_the_loops_on_random_graphs(self, case):
        """All gates, with every array cut into many blocks."""
        assert_agree(case)


def test_zeros_keep_their_signs():
    """-a + -b is +0 where they cancel, and not the negative of a + b."""
    graph = ComputationalGraph()
    x = graph.input("x")
    graph.output("u", -x)
    graph.output("v", -x)
    for _ in range(2):
        _, gradients = graph.value_and_grad({"x": 1.0}, output_gradients={"u": 1.0, "v": -1.0})
        assert gradients["x"] == 0
        assert not np.signbit(gradients["x"])


NUMBER_GATES = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "tanh",
    "sigmoid",
    "relu",
    "maximum",
    "exp",
    "log",
    "abs",
    "sqrt",
]


@pytest.mark.parametrize("seed", range(6))
def test_levels_agree_with_the_loops_bit_for_bit(seed):
    """Large graphs of single numbers, with fan-out, literals, a dead part, and numbers that are not finite."""
    random = np.random.default_rng(seed)
    graph = ComputationalGraph()
    values = [graph.input(f"x{i}") for i in range(12)]
    for _ in range(900):
        name = NUMBER_GATES[random.integers(len(NUMBER_GATES))]
        a, b = (values[int(i)] for i in random.integers(0, len(values), 2))
        binary = name in ("add", "subtract", "multiply", "divide", "maximum")
        made = graph.add(name, a, b if random.random() < 0.9 else 0.5) if binary else graph.add(name, a)
        # Most are kept small, or nothing would stay finite.
        values.append(made if random.random() < 0.1 else graph.add("tanh", made))
    rest = values[12:]
    while len(rest) > 3:
        rest = [a + b for a, b in zip(rest[::2], rest[1::2], strict=False)] + rest[len(rest) // 2 * 2 :]
    for i, node in enumerate(rest):
        graph.output(f"f{i}", node)
    numbers = random.normal(size=12)
    numbers[: seed % 3] = random.choice(SPECIAL, seed % 3)
    inputs = {f"x{i}": float(number) for i, number in enumerate(numbers)}
    output_gradients = {name: float(random.normal()) for name in graph.outputs}
    assert [part.how for part in graph.explain(inputs).parts] == ["levels"]
    evaluation = graph.forward(inputs)
    expected = evaluation.outputs, graph.backward(evaluation, output_gradients)
    for _ in range(2):
        found = graph.value_and_grad(inputs, output_gradients=output_gradients)
        for mine, theirs in zip(found, expected, strict=True):
            assert all(_equal(mine[name], theirs[name]) for name in theirs)
