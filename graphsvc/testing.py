"""For the tests of those who write gates: central differences, and a real server.

A gate's test in one line::

    graphsvc.testing.check_gate(Smooth(width=3), np.linspace(0.0, 1.0, 8))
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphsvc.arrays import Array, is_differentiable
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.gate import Gate

__all__ = ["GradientCheck", "central_difference", "check_gate", "check_gradients", "serving"]


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


def check_gate(gate: Gate, *operands: Array, seed: int = 0, tolerance: float = 1e-6) -> None:
    """Compare every gradient of a gate with central differences, for random output gradients.

    Args:
        gate: The gate; its class need not be installed.
        operands: Where. Floating-point operands must be float64 or complex128, off kinks and ties.
        seed: Seed of the random output gradients.
        tolerance: Allowed difference, relative to the largest number in the gradient.

    Raises:
        AssertionError: A gradient differs, with operand and place; or the gate has no gradient to compare.
        GateError: The gate breaks the contract.
    """
    operands = tuple(np.asarray(operand) for operand in operands)
    graph = ComputationalGraph()
    names = [f"operand_{i}" for i in range(len(operands))]
    node = graph.add(gate, *(graph.input(name) for name in names))
    for output in gate.signature.outputs:
        graph.output(output, node.output(output))
    given = dict(zip(names, operands, strict=True))
    values, _ = graph.value_and_grad(given, wrt=[])
    random = np.random.default_rng(seed)
    output_gradients = {
        name: _random_like(random, value)
        for i, (name, value) in enumerate(values.items())
        if is_differentiable(value.dtype) and i in gate.signature.differentiable_outputs
    }
    signature = gate.signature
    wanted = [
        name
        for position, name in enumerate(names)
        if is_differentiable(operands[position].dtype) and signature.rule_for(signature.index(position))
    ]
    if not output_gradients or not wanted:
        msg = f"Gate {type(gate).name!r} has no gradient to compare: it has no backward, or no operand is float64."
        raise AssertionError(msg)
    _, gradients = graph.value_and_grad(given, wrt=wanted, output_gradients=output_gradients)
    for name in wanted:

        def loss(x: Array, name: str = name) -> float:
            outputs, _ = graph.value_and_grad({**given, name: x}, wrt=[])
            return sum(_inner(output_gradients[output], outputs[output]) for output in output_gradients)

        expected = central_difference(loss, given[name])
        # What rounding in the outputs leaves uncertain in their differences.
        size = sum(
            float(np.vdot(np.abs(output_gradients[output]), np.abs(values[output]))) for output in output_gradients
        )
        uncertain = 16 * np.finfo(np.float64).eps ** (2 / 3) * size
        operand = signature.operands[signature.index(names.index(name))]
        _compare(type(gate).name, operand, gradients[name], expected, tolerance, uncertain)


def _random_like(random: np.random.Generator, x: Array) -> Array:
    """Return random numbers of the shape of `x`, complex where `x` is."""
    real = random.normal(size=x.shape)
    return real + 1j * random.normal(size=x.shape) if x.dtype.kind == "c" else real


def _inner(a: Array, b: Array) -> float:
    """Return the real inner product, in which complex numbers count as pairs of real ones."""
    return float(np.vdot(a, b).real)


def _compare(gate: str, operand: str, computed: Array, expected: Array, tolerance: float, uncertain: float) -> None:
    allowed = tolerance * float(np.max(np.abs(expected), initial=0.0)) + uncertain
    difference = np.abs(computed - expected)
    if not np.all(difference <= allowed):
        place = np.unravel_index(int(np.argmax(np.nan_to_num(difference, nan=np.inf))), difference.shape)
        index = tuple(int(i) for i in place)
        msg = (
            f"The gradient of gate {gate!r} for operand {operand!r} at {index} is {computed[place].item()!r}, "
            f"but central differences give {expected[place].item()!r}."
        )
        raise AssertionError(msg)


def check_gradients(
    graph: ComputationalGraph,
    inputs: Mapping[str, object],
    wrt: Sequence[str] | None = None,
    *,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> list[GradientCheck]:
    """Compare the gradients of a graph with central differences along random directions.

    Args:
        graph: The graph.
        inputs: Where; the compared inputs are taken in float64, off kinks and ties.
        wrt: The inputs to compare; None means every floating-point one.
        seed: Seed of the random output gradients and directions.
        tolerance: Allowed relative error.

    Returns:
        A comparison for each input.
    """
    random = np.random.default_rng(seed)
    arrays = graph.judge_inputs(inputs)
    values, _ = graph.value_and_grad(arrays, wrt=[])
    output_gradients = {
        name: np.asarray(_random_like(random, value), value.dtype)
        for name, value in values.items()
        if is_differentiable(value.dtype)
    }
    _, gradients = graph.value_and_grad(arrays, wrt, output_gradients)

    def loss(name: str, x: Array) -> float:
        outputs, _ = graph.value_and_grad({**arrays, name: x.astype(arrays[name].dtype)}, wrt=[])
        return sum(_inner(output_gradients[output], outputs[output]) for output in output_gradients)

    # A value of a narrow dtype on the way rounds as much as an input of it.
    precision = max(
        float(np.finfo(spec.dtype).eps)
        for spec in graph.infer(arrays).values()
        if spec is not None and is_differentiable(spec.dtype)
    )
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
    direction = _random_like(random, x)
    step = np.cbrt(precision) * max(1.0, float(np.max(np.abs(x), initial=0.0)))
    above, below = loss(name, x + step * direction), loss(name, x - step * direction)
    with np.errstate(all="ignore"):
        expected = float(np.subtract(above, below)) / (2 * step)
    computed = _inner(direction, gradient)
    # What rounding in the loss leaves uncertain in its difference.
    uncertain = precision * max(abs(above), abs(below)) / step
    scale = max(abs(computed), abs(expected), uncertain / tolerance, np.finfo(np.float64).tiny)
    error = abs(computed - expected) / scale
    return GradientCheck(name, computed, expected, error, bool(error <= max(tolerance, 10 * precision ** (2 / 3))))


@contextmanager
def serving(
    *flags: str, path: Iterable[str | Path] = (), environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run `graphsvc serve` on a free port of this machine, in a process of its own.

    Args:
        flags: Further flags of `graphsvc serve`.
        path: Folders from which the server alone can import, such as those of plugins.
        environment: Further variables of the server's environment, such as `GRAPHSVC_MAX_SECONDS`.

    Yields:
        The target for `graphsvc.connect`.

    Raises:
        RuntimeError: The server does not start.
    """
    variables = {**os.environ, **(environment or {})}
    variables["PYTHONPATH"] = os.pathsep.join([*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "graphsvc", "serve", "--port", "0", *flags]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command
    try:
        lines = process.stdout or ()
        line = next((line for line in lines if " listening on " in line), None)
        if line is None:
            msg = f"The server did not start: it ended with code {process.wait()}. Its log says why."
            raise RuntimeError(msg)
        yield line.rsplit(maxsplit=1)[-1]
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
