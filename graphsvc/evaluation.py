"""What a run of a graph gives: outputs, input gradients, and what the backward pass will need."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphsvc.arrays import Array, ArraySpec, owned
from graphsvc.calls import Record

__all__ = ["Evaluation", "InputGradients", "independent"]


class InputGradients(dict[str, Array]):
    """Gradients by the names of the inputs.

    Attributes:
        disconnected: Names of the inputs that no path leads from to an output with a gradient; theirs are zeros.
    """

    def __init__(self, gradients: Mapping[str, Array], disconnected: Iterable[str] = ()) -> None:
        super().__init__(gradients)
        self.disconnected = tuple(disconnected)

    def __reduce__(self) -> tuple[Any, ...]:
        return InputGradients, (dict(self), self.disconnected)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A forward pass, and what `backward` needs of it. It may be used for any number of backward passes.

    Attributes:
        outputs: Outputs by name; read-only, because the backward pass may read them.
    """

    outputs: dict[str, Array]
    revision: object = field(repr=False)
    inputs: dict[str, ArraySpec] = field(repr=False)
    records: dict[str, Record] = field(repr=False)


def independent(results: Mapping[str, Array], others: Iterable[Array]) -> dict[str, Array]:
    """Return results that may be written to without changing anything else, copied only where they must be.

    Args:
        results: Arrays by name.
        others: Arrays that belong to somebody else.
    """
    taken = {id(_root(other)) for other in others}
    mine = {}
    for name, result in results.items():
        root = _root(result)
        alone = (
            isinstance(root, np.ndarray)
            and root.base is None
            and root.nbytes <= 2 * result.nbytes
            and 0 not in result.strides
            and id(root) not in taken
        )
        taken.add(id(root))
        if alone:
            root.flags.writeable = True
            result.flags.writeable = True
            mine[name] = result
        else:
            mine[name] = owned(result)
    return mine


def _root(array: Array) -> Any:
    """Return the array that holds the memory of `array`."""
    while isinstance(array, np.ndarray) and isinstance(array.base, np.ndarray):
        array = array.base
    return array
