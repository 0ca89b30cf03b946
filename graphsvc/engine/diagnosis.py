"""Diagnosis: what is reported of the first NaN and the first infinity of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeAlias

import numpy as np

__all__ = ["Cause", "Diagnosis", "Direction", "Finding", "Kind", "Undefined"]

Direction: TypeAlias = Literal["forward", "backward"]


class Kind(Enum):
    """What held a number that is not finite."""

    INPUT = "input {name!r}"
    CONSTANT = "constant {name!r}"
    OUTPUT = "output {name!r}"
    OUTPUT_GRADIENT = "the gradient given for output {name!r}"
    OPERAND_GRADIENT = "gradient of operand {name!r}"
    ARRIVING_GRADIENT = "gradients added up at output {name!r}"
    INPUT_GRADIENT = "gradients added up at input {name!r}"


class Cause(Enum):
    """Why a number is not finite. Each is claimed only where it has been established, with the very arrays of the run.

    None is known of a gate but its rules: a backward is called once more with other gradients arriving, such as ones.
    """

    GIVEN = "It was given so."
    OUTSIDE_DOMAIN = (
        "All that the gate read is finite: it lies outside of the gate's domain, or a step on the way overflowed."
    )
    POLE = "All that the gate read is finite: the value is infinite there, or too large for {dtype}."
    INFINITE_OPERAND = "The gate read an infinity and gave NaN, as in inf - inf or 0 * inf."
    ZERO_MET_INFINITE = "A zero gradient met an infinite derivative, and 0 * inf = NaN."
    ZERO_MET_NAN = "A zero gradient met a derivative that is NaN, and 0 * NaN = NaN."
    INFINITE_GRADIENT = "An infinite gradient arrived and became NaN, as in inf * 0; with a finite one it is finite."
    VALUE_NOT_FINITE = "The gate's backward read a value of the forward pass that is not finite."
    DERIVATIVE_NAN = "The derivative itself is NaN there: it is so with ones arriving as well."
    DERIVATIVE_INFINITE = "The derivative is infinite there, or too large for {dtype}: it is so with ones arriving."
    GRADIENT_OVERFLOW = "The derivative is finite, but times the gradient that arrived it overflows {dtype}."
    SUM_OVERFLOW = "Each of these gradients is finite, but their sum is too large for {dtype}."
    SUM_OF_INFINITIES = "Infinite gradients of both signs were added up, and inf - inf = NaN."


_REMEDY: Final = (
    "Where a mask made the zero, keep the function from the masked elements as well: "
    "graphsvc.safe_where(condition, function, x, fill, otherwise), "
    "or where(condition, f(where(condition, x, fill)), otherwise) in an expression."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Where a NaN or an infinity first stood.

    Attributes:
        direction: The pass, forward or backward.
        kind: What held it.
        name: Name of that input, constant, output or operand.
        node: Name of the gate node; None for what no gate made.
        gate: Name of its gate; None for what no gate made.
        dtype: Name of the dtype.
        size: Number of elements, of which
        nans: are NaN, and
        infinities: are infinite.
        index: Place of the first NaN, or of the first infinity where there is no NaN.
        values: What an elementwise gate read at that place, by name; empty for other gates and for broadcast operands.
        cause: Why; None where that could not be established.
    """

    direction: Direction
    kind: Kind
    name: str
    node: str | None
    gate: str | None
    dtype: str
    size: int
    nans: int
    infinities: int
    index: tuple[int, ...]
    values: Mapping[str, float]
    cause: Cause | None

    @property
    def explanation(self) -> str:
        """The cause in one line, and in a second what to do where that is known; empty where no cause is."""
        if self.cause is None:
            return ""
        sentence = self.cause.value.format(dtype=self.dtype)
        masked = self.cause in (Cause.ZERO_MET_INFINITE, Cause.ZERO_MET_NAN)
        return f"{sentence}\n{_REMEDY}" if masked else sentence

    def __str__(self) -> str:
        place = f"node {self.node!r} (gate {self.gate!r}), " if self.node else ""
        counts = [f"{self.nans} NaN"] * (self.nans > 0) + [f"{self.infinities} infinite"] * (self.infinities > 0)
        elements = "1 element" if self.size == 1 else f"{self.size} elements"
        first = f", first at {list(self.index)}" if self.index else ""
        read = ", ".join(f"{name} = {_number(value)}" for name, value in self.values.items())
        where = f"{first}, where {read}" if read else first
        text = f"{self.direction}: {place}{self.kind.value.format(name=self.name)}: "
        text += f"{' and '.join(counts)} of {elements}{where}."
        return "\n  ".join([text, *self.explanation.splitlines()])


@dataclass(frozen=True, slots=True)
class Undefined:
    """A gate whose derivative does not exist where the run was, and of which zeros came back.

    Attributes:
        node: Name of the gate node.
        gate: Name of its gate.
        explanation: What the gate says of it.
    """

    node: str
    gate: str
    explanation: str

    def __str__(self) -> str:
        return f"backward: node {self.node!r} (gate {self.gate!r}): {self.explanation}"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Where a run first made a NaN or an infinity, and what it took as zero because it does not exist.

    Attributes:
        findings: In order of execution, for each pass: the first number that was not finite, and the first NaN where
            that is another; for an infinity may be meant, as that of a mask, and a NaN hardly ever is.
        undefined: Every gate whose gradient has parts that do not exist, in the order of the backward pass.
    """

    findings: tuple[Finding, ...]
    undefined: tuple[Undefined, ...] = ()

    @property
    def forward(self) -> Finding | None:
        """The first finding of the forward pass; None if all of its numbers are finite."""
        return next((finding for finding in self.findings if finding.direction == "forward"), None)

    @property
    def backward(self) -> Finding | None:
        """The first finding of the backward pass; None if all of its numbers are finite."""
        return next((finding for finding in self.findings if finding.direction == "backward"), None)

    def __str__(self) -> str:
        return "\n".join(map(str, (*self.findings, *self.undefined)))


def _number(value: float) -> str:
    return np.format_float_positional(value, trim="0") if 1e-4 <= abs(value) < 1e6 else str(value)
