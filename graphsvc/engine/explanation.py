"""Explaining a plan: what runs together, what runs as it is and why, and how much memory it takes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from graphsvc.engine.fusion.blocks import BlockedKernel
from graphsvc.engine.fusion.instructions import Kind
from graphsvc.engine.fusion.kernels import Kernel
from graphsvc.engine.fusion.levels import LevelProgram
from graphsvc.engine.fusion.merging import GateCall, Operation
from graphsvc.engine.fusion.program import Program
from graphsvc.errors import RequestError

__all__ = ["Explanation", "PlanPart", "explain"]


@dataclass(frozen=True, slots=True)
class PlanPart:
    """Something that a plan runs at one time.

    Attributes:
        how: "kernel" (fused, block by block), "calls" (fused, single calls of NumPy), "levels" (many gates of single
            numbers at a time) or "gate" (a gate as it is).
        gates: How many gates of each name have work in it.
        calls: How many calls of NumPy it makes; for a gate as it is, of the gate.
        nodes: Names of the gate nodes that have work in it; empty for "levels", which are all of the graph.
        shape: The elements that a kernel goes over.
        blocks: Into how many blocks it is cut.
        nbytes: Bytes of the arrays that it makes.
        node: The node of a gate as it is.
        reason: Why the gate is not fused.
    """

    how: str
    gates: dict[str, int]
    calls: int
    nbytes: int
    nodes: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None
    blocks: int = 0
    node: str = ""
    reason: str = ""

    @property
    def gate_list(self) -> str:
        """The gates, as in "multiply x3, exp"."""
        return ", ".join(name if count == 1 else f"{name} x{count}" for name, count in self.gates.items())


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a question is answered.

    Attributes:
        parts: What runs, in its order.
        peak_bytes: Bytes of arrays that a run takes at most at one time, with its results and without its inputs.
        result_bytes: Bytes of outputs and gradients.
        scratch_bytes: Bytes of the registers of blocks, which threads keep from run to run.
        reason: Why nothing is planned and the gates run one by one; empty otherwise.
    """

    parts: tuple[PlanPart, ...]
    peak_bytes: int
    result_bytes: int
    scratch_bytes: int
    reason: str = ""

    def groups(self) -> list[tuple[str, ...]]:
        """Return the gate nodes that have work in each part, in the order of the parts.

        Raises:
            RequestError: Nothing is known of it: gates run one by one, or all of them level by level.
        """
        if self.reason or any(part.how == "levels" for part in self.parts):
            why = f"gates run one by one: {self.reason}" if self.reason else "single numbers run many gates at a time"
            msg = f"Nothing is fused into blocks here: {why}. Fold by name."
            raise RequestError(msg)
        return [part.nodes for part in self.parts]

    def __str__(self) -> str:
        if self.reason:
            return f"Gates run one by one: {self.reason}."
        lines = []
        for part in self.parts:
            what = f"{part.how}: {part.gate_list}; {part.calls} calls, {part.nbytes:,} bytes"
            if part.shape is not None:
                what += f", {part.blocks} blocks of {part.shape}"
            lines.append(what + (f"; node {part.node!r} is not fused: {part.reason}" if part.reason else ""))
        lines.append(f"peak {self.peak_bytes:,} bytes, of which results {self.result_bytes:,}")
        return "\n".join([*lines, f"registers {self.scratch_bytes:,} bytes"])


def explain(program: Program | LevelProgram) -> Explanation:
    """Explain a program."""
    if isinstance(program, LevelProgram):
        gates, calls = program.describe()
        part = PlanPart("levels", gates, calls, program.peak_bytes)
        return Explanation((part,), program.peak_bytes, program.result_bytes, 0)
    parts = tuple(_parts(program))
    return Explanation(parts, program.peak_bytes, program.result_bytes, program.scratch_bytes)


def _parts(program: Program) -> Iterator[PlanPart]:
    single: list[Operation] = []
    for part in program.parts:
        if isinstance(part, Operation):
            # A view is no work.
            single += [part] if part.kind is not Kind.VIEW else []
            continue
        if single:
            yield _calls(program, single)
            single = []
        yield _kernel(program, program.kernels[id(part)]) if isinstance(part, Kernel) else _gate(program, part)
    if single:
        yield _calls(program, single)


def _calls(program: Program, operations: list[Operation]) -> PlanPart:
    made = {operation.result for operation in operations}
    nbytes = sum(program.nbytes(value) for value in made)
    makers = _makers(program, made)
    return PlanPart("calls", _counted(makers), len(operations), nbytes, tuple(makers))


def _kernel(program: Program, kernel: BlockedKernel) -> PlanPart:
    makers = _makers(program, {member.operation.result for member in kernel.kernel.members})
    return PlanPart(
        "kernel",
        _counted(makers),
        len(kernel.kernel.members),
        sum(program.nbytes(value) for value in kernel.results),
        tuple(makers),
        shape=kernel.kernel.shape,
        blocks=kernel.blocks,
    )


def _gate(program: Program, call: GateCall) -> PlanPart:
    node = call.step.node
    return PlanPart(
        "gate",
        {node.gate_name: 1},
        1,
        sum(program.nbytes(value) for value in call.results),
        (node.name,),
        node=node.name,
        reason=("backward: " if call.backward else "forward: ") + call.reason,
    )


def _makers(program: Program, values: set[int]) -> dict[str, str]:
    """Return the nodes that these values are computed for, with the names of their gates."""
    return {made.name: made.gate_name for value in sorted(values) if (made := program.lowered.makers.get(value))}


def _counted(makers: dict[str, str]) -> dict[str, int]:
    """Return how many of these nodes there are of each gate."""
    return dict(Counter(makers.values()).most_common())
