"""Graphs drawn at random over every gate: with broadcasting, fan-out, several outputs, and data that are hostile."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from graphsvc import ComputationalGraph, errors
from graphsvc.arrays import Array, ArraySpec, spec_of
from graphsvc.gate import Elementwise, Gate
from tests.every_gate import every_example

SHAPES = [(), (1,), (5,), (4, 1), (4, 5), (3, 4, 5), (3, 1, 1), (6, 7)]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, np.inf, -np.inf, np.nan]
EXAMPLES = every_example()


def _is_sumless(gate: Gate) -> bool:
    """Tell whether a gate adds up no elements, forward or backward, as long as no operand is broadcast."""
    family = type(gate).__module__.removeprefix("graphsvc.gates.")
    moves = family in ("shapes", "axes", "joining", "rearranging", "indexing", "gathering", "ordering")
    return isinstance(gate, Elementwise) or (moves and gate.name not in ("broadcast_to", "tile", "repeat"))


SUMLESS = [case for case in EXAMPLES if _is_sumless(case.example.gate)]
LARGE_SHAPES = [(), (9000,), (180, 1), (180, 50), (50,), (5, 40, 50), (5, 1, 1)]


@dataclass
class RandomGraph:
    """A graph, inputs for it, and gradients that arrive at its outputs; whether elements are summed on the way."""

    graph: ComputationalGraph
    inputs: dict[str, Array]
    output_gradients: dict[str, Array]
    sums: bool


@st.composite
def random_graphs(draw: st.DrawFn, shapes: list[tuple[int, ...]], most: int = 12) -> RandomGraph:
    """Draw a DAG over all gates, with broadcasting, fan-out and several outputs."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtypes = draw(st.sampled_from([["float64"], ["float32"], ["float64", "float32", "float16"]]))
    special = draw(st.booleans())
    graph, inputs = ComputationalGraph(), {}
    values: list[tuple[Any, ArraySpec]] = []
    for i in range(draw(st.integers(1, 3))):
        array = np.asarray(random.normal(size=draw(st.sampled_from(shapes)))).astype(draw(st.sampled_from(dtypes)))
        if special:
            chosen = random.choice(SPECIAL, array.shape).astype(array.dtype)
            array = np.where(random.random(array.shape) < 0.3, chosen, array)
        inputs[f"x{i}"] = array
        values.append((graph.input(f"x{i}"), spec_of(array)))
    sums = False
    pool = draw(st.sampled_from([EXAMPLES, SUMLESS]))
    for _ in range(draw(st.integers(1, most))):
        gate = draw(st.sampled_from(pool)).example.gate
        signature = gate.signature
        count = len(signature.operands) + (draw(st.integers(0, 2)) if signature.variadic else 0)
        chosen = [values[draw(st.integers(0, len(values) - 1))] for _ in range(count)]
        found = _inferred(gate, [spec for _, spec in chosen])
        if found is None or max(spec.size for spec in found) > 1 << 16:
            continue
        node = graph.add(gate, *(node for node, _ in chosen))
        names = [node, *(node.output(name) for name in signature.outputs[1:])]
        values += zip(names, found, strict=True)
        broadcast = any(spec.shape != found[0].shape for _, spec in chosen)
        sums = sums or not _is_sumless(gate) or (isinstance(gate, Elementwise) and broadcast)
    output_gradients = {}
    for i in range(draw(st.integers(1, 3))):
        node, spec = values[-1 - i] if i < len(values) else values[0]
        graph.output(f"out{i}", node)
        if spec.dtype.kind in "fc":
            output_gradients[f"out{i}"] = np.asarray(random.normal(size=spec.shape)).astype(spec.dtype)
    return RandomGraph(graph, inputs, output_gradients, sums)


def _inferred(gate: Gate, specs: list[ArraySpec]) -> tuple[ArraySpec, ...] | None:
    try:
        found = gate.infer(*specs)  # type: ignore[attr-defined]
    except (errors.GraphsvcError, TypeError):
        return None
    if found is None:
        # It was given floats for integers, which the engine refuses before it asks a gate.
        return None
    return found if isinstance(found, tuple) else (found,)
