"""What a run of a graph gives: outputs, input gradients, and what the backward pass will need."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from graphsvc.arrays import Array, ArraySpec
from graphsvc.engine.calls import Record

if TYPE_CHECKING:
    from graphsvc.engine.diagnosis import Diagnosis
    from graphsvc.engine.profile import Profile

__all__ = ["Evaluation", "InputGradients", "Results"]


class InputGradients(dict[str, Array]):
    """Gradients by the names of the inputs.

    Attributes:
        disconnected: Names of the inputs that no path leads from to an output with a gradient; theirs are zeros.
        diagnosis: Where the run first made a NaN or an infinity, and what has no derivative; None if it found none, or
            was not asked to look.
        profile: What each gate took; None if it was not measured.
    """

    # Most answers have none of these, and small graphs are answered in microseconds.
    disconnected: tuple[str, ...] = ()
    diagnosis: "Diagnosis | None" = None
    profile: "Profile | None" = None

    def __init__(
        self,
        gradients: Mapping[str, Array] | Iterable[tuple[str, Array]],
        disconnected: Iterable[str] = (),
        diagnosis: "Diagnosis | None" = None,
        profile: "Profile | None" = None,
    ) -> None:
        super().__init__(gradients)
        if disconnected:
            self.disconnected = tuple(disconnected)
        if diagnosis:
            self.diagnosis = diagnosis
        if profile:
            self.profile = profile

    def __reduce__(self) -> tuple[Any, ...]:
        return InputGradients, (dict(self), self.disconnected, self.diagnosis, self.profile)


Results: TypeAlias = tuple[dict[str, Array], InputGradients]
"""Outputs and gradients, by name."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A forward pass, and what `backward` needs of it. It may be used for any number of backward passes.

    Attributes:
        outputs: Outputs by name; read-only, because the backward pass may read them.
        given: The inputs by name, copied, to run the graph once more for a drawing.
    """

    outputs: dict[str, Array]
    runnable: object = field(repr=False)
    inputs: dict[str, ArraySpec] = field(repr=False)
    records: dict[str, Record] = field(repr=False)
    given: dict[str, Array] = field(repr=False)
