"""Profile: what each gate of a run took, in time and in bytes."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from graphsvc.arrays import Array, Literal
from graphsvc.engine.calls import BackwardCall, ForwardCall, Record, call_backward, call_forward
from graphsvc.engine.plan import Step

__all__ = ["Cost", "Profile", "Profiler"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a gate node took, or all nodes of one gate together.

    Attributes:
        node: Name of the node; None for a total.
        gate: Name of the gate.
        nodes: How many nodes this is the cost of.
        forward_seconds: What forward took, the checks of what it returned included.
        backward_seconds: What backward took; 0 where it was not called.
        output_bytes: Bytes of the outputs.
        kept_bytes: Bytes of the arrays kept for the backward pass; each is counted at the first gate that keeps it.
    """

    node: str | None
    gate: str
    nodes: int
    forward_seconds: float
    backward_seconds: float
    output_bytes: int
    kept_bytes: int

    @property
    def seconds(self) -> float:
        """Seconds, forward and backward."""
        return self.forward_seconds + self.backward_seconds


@dataclass(frozen=True, slots=True)
class Profile:
    """What each gate of one run took, measured gate by gate on the reference loops.

    Attributes:
        rows: The gate nodes in the order in which they ran.
    """

    rows: tuple[Cost, ...]

    @property
    def seconds(self) -> float:
        """Seconds of all gates."""
        return sum(row.seconds for row in self.rows)

    @property
    def gates(self) -> tuple[Cost, ...]:
        """The sums by gate, the slowest first."""
        kinds: dict[str, list[Cost]] = {}
        for row in self.rows:
            kinds.setdefault(row.gate, []).append(row)
        return tuple(sorted((_total(gate, rows) for gate, rows in kinds.items()), key=lambda cost: -cost.seconds))

    def share(self, cost: Cost) -> float:
        """Return which part of the time of all gates `cost` is, from 0 to 1."""
        return cost.seconds / self.seconds if self.seconds else 0.0

    def gate_table(self) -> list[tuple[str, ...]]:
        """Return the sums by gate as lines of text, the slowest first, below a line of headings."""
        rows = [(c.gate, str(c.nodes), f"{self.share(c):.1%}", *_cells(c)) for c in self.gates]
        return [("gate", "nodes", "share", *_HEADINGS), *rows]

    def node_table(self, most: int = 20) -> list[tuple[str, ...]]:
        """Return the slowest nodes as lines of text, the slowest first, below a line of headings.

        Args:
            most: How many nodes have a line of their own; one more line is the sum of the others.
        """
        slowest = sorted(self.rows, key=lambda cost: -cost.seconds)
        rows = [(str(cost.node), cost.gate, *_cells(cost)) for cost in slowest[:most]]
        if len(slowest) > most:
            rows.append((f"and {len(slowest) - most} more", "", *_cells(_total("", slowest[most:]))))
        return [("node", "gate", *_HEADINGS), *rows]

    def __str__(self) -> str:
        return "\n".join([*_aligned(self.gate_table()), "", *_aligned(self.node_table())])


class Profiler:
    """An observer of one run; its `forward` and `backward` stand in the place of `call_forward` and `call_backward`."""

    def __init__(self, call_forward: ForwardCall = call_forward, call_backward: BackwardCall = call_backward) -> None:
        """Make an observer that calls gates with these."""
        self._call_forward = call_forward
        self._call_backward = call_backward
        self._steps: list[tuple[Step, float, int, int]] = []
        self._backward: dict[str, float] = {}
        self._counted: set[int] = set()

    def forward(self, step: Step, operands: list[Array | Literal]) -> tuple[tuple[Array, ...], Record | None]:
        """Call a gate forward, and measure it."""
        began = time.perf_counter()
        outputs, record = self._call_forward(step, operands)
        seconds = time.perf_counter() - began
        kept = sum(map(self._newly_kept, _arrays((record.operands, record.outputs, record.saved)))) if record else 0
        self._steps.append((step, seconds, sum(output.nbytes for output in outputs), kept))
        return outputs, record

    def backward(self, step: Step, record: Record, arriving: Sequence[Array | None]) -> list[tuple[str, Array]]:
        """Call a gate backward, and measure it."""
        began = time.perf_counter()
        gradients = list(self._call_backward(step, record, arriving))
        self._backward[step.node.name] = time.perf_counter() - began
        return gradients

    def profile(self) -> Profile:
        """Return what was measured."""
        return Profile(
            tuple(
                Cost(
                    node=step.node.name,
                    gate=step.node.gate_name,
                    nodes=1,
                    forward_seconds=seconds,
                    backward_seconds=self._backward.get(step.node.name, 0.0),
                    output_bytes=output_bytes,
                    kept_bytes=kept_bytes,
                )
                for step, seconds, output_bytes, kept_bytes in self._steps
            )
        )

    def _newly_kept(self, array: Array) -> int:
        """Return the bytes that an array keeps alive, unless they are counted; a view keeps what it is a view of."""
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if id(owner) in self._counted:
            return 0
        self._counted.add(id(owner))
        return owner.nbytes


def _arrays(value: object) -> Iterator[Array]:
    """Yield the arrays in nested tuples, lists and dictionaries."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple | list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _arrays(item)


def _total(gate: str, rows: Sequence[Cost]) -> Cost:
    return Cost(
        node=None,
        gate=gate,
        nodes=len(rows),
        forward_seconds=sum(row.forward_seconds for row in rows),
        backward_seconds=sum(row.backward_seconds for row in rows),
        output_bytes=sum(row.output_bytes for row in rows),
        kept_bytes=sum(row.kept_bytes for row in rows),
    )


_HEADINGS: Final = ("forward", "backward", "outputs", "kept")


def _cells(cost: Cost) -> tuple[str, ...]:
    return _time(cost.forward_seconds), _time(cost.backward_seconds), _bytes(cost.output_bytes), _bytes(cost.kept_bytes)


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:,.3f} ms"


def _bytes(count: int) -> str:
    return f"{count:,} B" if count < 10_000 else f"{count / 1e6:,.2f} MB"


def _aligned(table: Iterable[Sequence[str]]) -> list[str]:
    """Return lines of text as columns, names to the left and numbers to the right."""
    table = list(table)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    names = sum(heading in ("node", "gate") for heading in table[0])
    return [
        "  ".join(
            cell.ljust(width) if i < names else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
