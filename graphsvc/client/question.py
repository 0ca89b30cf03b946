"""What a client asks of a graph."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from graphsvc.arrays import read_only
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.wire.codec import tensor_digest

__all__ = ["Question", "Residents"]


class Question(NamedTuple):
    """What is asked of a graph; the fields are the arguments of the methods of `ComputationalGraph`.

    Attributes:
        kind: `jvp`, `hvp`, `jacobian` or `hessian`; empty for outputs and gradients.
        directions: For `jvp` and `hvp`.
        residents: Inputs that the server is to keep.
        debug: Whether a diagnosis is wanted, with outputs and gradients.
    """

    inputs: Mapping[str, object]
    wrt: Iterable[str] | None = None
    output_gradients: Mapping[str, object] | None = None
    outputs: Iterable[str] | None = None
    vectors: int | None = None
    kind: str = ""
    directions: Mapping[str, object] | None = None
    residents: "Residents | None" = None
    debug: bool = False


class Residents:
    """Inputs of a graph that a server keeps, by name, with their digests.

    The arrays stay here as well, unchangeable, to be sent again to a server that no longer has them.
    """

    def __init__(self, graph: ComputationalGraph, arrays: Mapping[str, object]) -> None:
        """Judge inputs.

        Raises:
            InputError: The graph has no such input, or one does not fit.
        """
        self.arrays = {
            name: read_only(array.copy()) for name, array in graph.judge_inputs(arrays, partial=True).items()
        }
        self.digests = {name: tensor_digest(array) for name, array in self.arrays.items()}
