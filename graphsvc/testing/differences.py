"""Central differences: what gradients are compared with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from graphsvc.arrays import Array, is_differentiable
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.graph import ComputationalGraph

__all__ = ["Differentiable", "GradientCheck", "central_difference", "check_gradients", "inner", "random_like"]


class Differentiable(Protocol):
    """What gives outputs and gradients: a graph that runs here, or one that runs on a server."""

    def value_and_grad(
        self,
        inputs: Mapping[str, object],
        wrt: Sequence[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
    ) -> tuple[dict[str, Array], InputGradients]:
        """See `ComputationalGraph.value_and_grad`."""


@dataclass(frozen=True, slots=True)
class GradientCheck:
    """The gradient of an input along a random direction, computed and expected.

    Attributes:
        input: Name of the input.
        computed: What the backward pass gives.
        expected: What central differences of the forward pass give.
        error: Their difference, relative to the larger of them and of what rounding leaves uncertain.
        passed: Whether the error is within the tolerance.
    """

    input: str
    computed: float
    expected: float
    error: float
    passed: bool


def central_difference(function: Callable[[Array], float], x: Array) -> Array:
    """Return the gradient of `function` at `x` by central differences, element by element.

    Args:
        function: A smooth function of an array.
        x: Where; float64 or complex128. Shape `(...)`.

    Returns:
        The gradient, accurate to about 1e-9 of the size of the function; `dL/dRe + i dL/dIm` where `x` is complex.
        Shape and dtype of `x`.
    """
    gradient = np.zeros(x.shape, x.dtype)
    for place in np.ndindex(x.shape):
        for unit in (1.0, 1j) if x.dtype.kind == "c" else (1.0,):
            step = np.cbrt(np.finfo(np.float64).eps) * max(1.0, abs(x[place])) * unit
            above, below = x.copy(), x.copy()
            above[place] += step
            below[place] -= step
            width = abs(above[place] - below[place])
            gradient[place] += unit * ((function(above) - function(below)) / width)
    return gradient


def random_like(random: np.random.Generator, x: Array) -> Array:
    """Return random numbers of the shape of `x`, complex where `x` is."""
    real = random.normal(size=x.shape)
    return real + 1j * random.normal(size=x.shape) if x.dtype.kind == "c" else real


def inner(a: Array, b: Array) -> float:
    """Return the real inner product, in which complex numbers count as pairs of real ones."""
    return float(np.vdot(a, b).real)


def check_gradients(
    graph: ComputationalGraph,
    inputs: Mapping[str, object],
    wrt: Sequence[str] | None = None,
    *,
    seed: int = 0,
    tolerance: float = 1e-6,
    runner: Differentiable | None = None,
) -> list[GradientCheck]:
    """Compare the gradients of a graph with central differences along random directions.

    Args:
        graph: The graph.
        inputs: Where; the compared inputs are taken in float64, off kinks and ties.
        wrt: The inputs to compare; None means every floating-point one.
        seed: Seed of the random output gradients and directions.
        tolerance: Allowed relative error.
        runner: What runs the graph, such as `client.graph(graph)`; None means here.

    Returns:
        A comparison for each input.
    """
    runner = runner or graph
    random = np.random.default_rng(seed)
    arrays = graph.judge_inputs(inputs)
    values, _ = runner.value_and_grad(arrays, wrt=[])
    output_gradients = {
        name: np.asarray(random_like(random, value), value.dtype)
        for name, value in values.items()
        if is_differentiable(value.dtype)
    }
    _, gradients = runner.value_and_grad(arrays, wrt, output_gradients)

    def loss(name: str, x: Array) -> float:
        outputs, _ = runner.value_and_grad({**arrays, name: x.astype(arrays[name].dtype)}, wrt=[])
        return sum(inner(output_gradients[output], outputs[output]) for output in output_gradients)

    # A value of a narrow dtype on the way rounds as much as an input of it. What is on the way elsewhere is not known.
    on_the_way = graph.infer(arrays).values() if runner is graph else ()
    dtypes = {value.dtype for value in (*arrays.values(), *values.values(), *on_the_way) if value is not None}
    precision = max(float(np.finfo(dtype).eps) for dtype in dtypes if is_differentiable(dtype))
    return [_along(name, arrays[name], gradients[name], loss, random, tolerance, precision) for name in gradients]


def _along(
    name: str,
    x: Array,
    gradient: Array,
    loss: Callable[[str, Array], float],
    random: np.random.Generator,
    tolerance: float,
    precision: float,
) -> GradientCheck:
    direction = random_like(random, x)
    step = np.cbrt(precision) * max(1.0, float(np.max(np.abs(x), initial=0.0)))
    above, below = loss(name, x + step * direction), loss(name, x - step * direction)
    with np.errstate(all="ignore"):
        expected = float(np.subtract(above, below)) / (2 * step)
    computed = inner(direction, gradient)
    # What rounding in the loss leaves uncertain in its difference.
    uncertain = precision * max(abs(above), abs(below)) / step
    scale = max(abs(computed), abs(expected), uncertain / tolerance, np.finfo(np.float64).tiny)
    error = abs(computed - expected) / scale
    return GradientCheck(name, computed, expected, error, bool(error <= max(tolerance, 10 * precision ** (2 / 3))))
