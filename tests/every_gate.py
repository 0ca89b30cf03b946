"""Every gate that graphsvc brings, with its examples, for the laws."""

from dataclasses import dataclass

from graphsvc.engine.registry import default_registry
from graphsvc.gate import Example, Gate


@dataclass(frozen=True)
class GateCase:
    """One example of one gate."""

    name: str
    number: int
    example: Example

    def __str__(self) -> str:
        return f"{self.name}-{self.number}"


def every_gate() -> list[type[Gate]]:
    """Return every gate class of graphsvc."""
    return list(default_registry().gates().values())


def every_example() -> list[GateCase]:
    """Return every example of every gate."""
    return [GateCase(cls.name, i, example) for cls in every_gate() for i, example in enumerate(cls.examples())]
