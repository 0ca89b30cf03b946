"""What gates that hold graphs have in common: checks of the graph's outputs, and sums over its calls."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from graphsvc.arrays import Array, ArraySpec, is_differentiable
from graphsvc.errors import AttributeValueError, DtypeError, GateDataError, ShapeError
from graphsvc.subgraph import SubGraph

__all__ = [
    "KEPT",
    "Sums",
    "graph_of",
    "outputs_of",
    "require_same",
    "slice_of",
    "sliced",
    "stacked",
    "sums_bytes",
]

KEPT: Final = 256
"""Bytes of an array in a list, beside its elements."""


def outputs_of(graph: SubGraph, attribute: str, *counts: int) -> None:
    """Refuse a graph that has not as many outputs as its gate reads.

    Args:
        graph: The graph.
        attribute: Which attribute it is.
        counts: The numbers of outputs that the gate takes.

    Raises:
        AttributeValueError: It has another number of outputs.
    """
    if len(graph.outputs) not in counts:
        needed = " or ".join(map(str, counts))
        listed = ", ".join(map(repr, graph.outputs))
        msg = f"The graph {graph.name!r} given for {attribute!r} must have {needed} outputs, got {listed}."
        msg += " Declare as many."
        raise AttributeValueError(msg.replace("1 outputs", "one output"), attribute=attribute)


def require_same(graph: SubGraph, attribute: str, output: ArraySpec, wanted: ArraySpec, what: str) -> None:
    """Refuse a graph whose first output has not the shape and dtype of an operand.

    Raises:
        ShapeError: The shapes differ.
        DtypeError: The dtypes differ.
    """
    if output == wanted:
        return
    kind = ShapeError if output.shape != wanted.shape else DtypeError
    msg = f"The graph {graph.name!r} given for {attribute!r} makes {output} in output {graph.outputs[0]!r}, but {what} "
    msg += f"is {wanted}. Make both the same."
    raise kind(msg)


def graph_of(text: str, inputs: Sequence[str] | None = None) -> Any:
    """Return the graph of an expression, for examples; see `graphsvc.parse`."""
    # Gates know nothing of the engine, but may use it as anybody does.
    from graphsvc import parse

    return parse(text, inputs)


def stacked(arrays: Sequence[Array], spec: ArraySpec | None) -> Array:
    """Return arrays of one shape and dtype along a new first axis.

    Args:
        arrays: The arrays, of which there may be none.
        spec: Shape and dtype of each, where that is known; without arrays it must be.

    Raises:
        GateDataError: There are no arrays, and it is not known what they would be.
    """
    if arrays:
        return np.stack(arrays)
    if spec is None:
        msg = "There is nothing to run the graph on, and what it would make is not known. Give at least one slice."
        raise GateDataError(msg)
    return np.empty((0, *spec.shape), spec.dtype)


def sliced(attribute: str, count: int, xs: Sequence[ArraySpec]) -> int:
    """Return the common length of the first axes of the first `count` operands.

    Raises:
        AttributeValueError: There are not as many operands.
        ShapeError: An operand has no axis, or another length.
    """
    if count > len(xs):
        msg = f"Attribute {attribute!r} is {count}, but there are only {len(xs)} operands to slice."
        raise AttributeValueError(msg, attribute=attribute)
    shapes = [x.shape for x in xs[:count]]
    if not all(shapes) or len({shape[0] for shape in shapes}) != 1:
        listed = " and ".join(map(str, shapes))
        msg = f"The {count} operands that are sliced must have first axes of one length, got shapes {listed}."
        msg += f" Set {attribute!r} to how many are sliced; the others are handed over whole."
        raise ShapeError(msg)
    return shapes[0][0]


def slice_of(x: ArraySpec) -> ArraySpec:
    """Return what a slice along the first axis is."""
    return ArraySpec(x.shape[1:], x.dtype)


def sums_bytes(operands: Sequence[ArraySpec]) -> int:
    """Return the bytes that `Sums` of gradients take at most, with what is being added."""
    return sum(4 * operand.nbytes for operand in operands)


class Sums:
    """Sums of gradients over many calls of a graph; float16 is added up in float32."""

    def __init__(self, operands: Sequence[Array]) -> None:
        """Start with nothing for each operand."""
        self._operands = operands
        self._sums: list[Array | None] = [None] * len(operands)

    def add(self, position: int, gradient: Array | None) -> None:
        """Add a gradient to that of the operand at `position`; None adds nothing."""
        if gradient is None:
            return
        before = self._sums[position]
        wide = gradient.astype(np.float32) if gradient.dtype == np.float16 else gradient
        self._sums[position] = wide if before is None else before + wide

    def gradients(self) -> tuple[Array | None, ...]:
        """Return the sums: zeros where nothing was added, None for operands that have no gradient."""
        return tuple(
            None
            if not is_differentiable(operand.dtype)
            else np.zeros(operand.shape, operand.dtype)
            if total is None
            else total.astype(operand.dtype, copy=False)
            for operand, total in zip(self._operands, self._sums, strict=True)
        )
