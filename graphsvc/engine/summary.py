"""What a graph amounts to: nodes, parameters, neurons, bytes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from graphsvc.arrays import ArraySpec
from graphsvc.document import InputEntry
from graphsvc.engine.inference import BoundNode, Spec

__all__ = ["GraphSummary", "summarize"]


@dataclass(frozen=True, slots=True)
class GraphSummary:
    """Numbers about a graph. None stands for what depends on a shape that is not declared.

    Attributes:
        nodes: Gate nodes.
        inputs: Inputs, parameters among them.
        parameters: Numbers in the inputs that are learned.
        neurons: Neurons of the fully connected layers: products of a value with a weight that is learned.
        bytes: Bytes of all values, of inputs and constants too.
    """

    nodes: int
    inputs: int
    parameters: int | None
    neurons: int | None
    bytes: int | None

    def __str__(self) -> str:
        def said(number: int | None) -> str:
            return "unknown (declare shapes)" if number is None else f"{number:,}"

        return "\n".join(f"{name:<11}{said(getattr(self, name))}" for name in self.__slots__)


def summarize(nodes: Iterable[BoundNode], entries: Mapping[str, InputEntry], specs: Mapping[str, Spec]) -> GraphSummary:
    """Count.

    Args:
        nodes: The gate nodes.
        entries: The inputs.
        specs: What is known of each value, by reference.
    """
    nodes = tuple(nodes)
    parameters = {name for name, entry in entries.items() if entry.parameter}
    return GraphSummary(
        nodes=len(nodes),
        inputs=len(entries),
        parameters=_total(_size(specs[name]) for name in parameters),
        neurons=_total(_neurons(node, parameters, specs) for node in nodes),
        bytes=_total(_bytes(spec) for spec in specs.values()),
    )


def _neurons(node: BoundNode, parameters: set[str], specs: Mapping[str, Spec]) -> int | None:
    """Return how many neurons a fully connected layer has: the length of its weight on the side of the output."""
    if node.gate_name not in ("matmul", "affine"):
        return 0
    left, right = node.operands[:2]
    weight, axis = (right, -1) if right in parameters else (left, -2)
    if weight not in parameters:
        return 0
    spec = specs[weight]
    if not isinstance(spec, ArraySpec):
        return None
    return spec.shape[axis] if spec.ndim > 1 else 1


def _size(spec: Spec) -> int | None:
    return spec.size if isinstance(spec, ArraySpec) else None


def _bytes(spec: Spec) -> int | None:
    if isinstance(spec, int | float):
        return np.asarray(spec).nbytes
    return None if spec is None else spec.nbytes


def _total(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total
