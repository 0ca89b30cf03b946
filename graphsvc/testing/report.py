"""What became of a gate that was examined."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Failure", "GateReport"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A law that a gate breaks.

    Attributes:
        law: Name of the law, a key of `graphsvc.testing.LAWS`.
        example: The example on which it breaks it; empty for a law of the class.
        problem: What is wrong.
    """

    law: str
    example: str
    problem: str

    def __str__(self) -> str:
        return f"{self.law}: {self.problem}" + (f" Example: {self.example}" if self.example else "")


@dataclass(frozen=True)
class GateReport:
    """What became of a gate that was examined.

    Attributes:
        gate: Its name.
        examples: How many examples it was examined on.
        checks: For each law, how many comparisons were made; 0 where it had nothing to say.
        failures: The laws that it breaks, and those that it obeys against its own declaration.
        expected: The laws that it breaks as it declared, each with its reason.
    """

    gate: str
    examples: int
    checks: Mapping[str, int]
    failures: tuple[Failure, ...] = ()
    expected: Mapping[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether it breaks no law but those that it declared."""
        return not self.failures

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of the laws that it breaks."""
        return tuple(dict.fromkeys(failure.law for failure in self.failures))

    def __str__(self) -> str:
        made = sum(self.checks.values())
        laws = sum(1 for count in self.checks.values() if count)
        head = f"Gate {self.gate!r}: {self.examples} examples, {laws} laws, {made} checks"
        if self.passed:
            return f"{head}; all hold."
        return "\n  ".join([f"{head}; {len(self.failures)} fail:", *map(str, self.failures)])
