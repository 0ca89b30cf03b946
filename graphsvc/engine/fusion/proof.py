"""The proof of recordings: each is compared, bit for bit, with the gate that it was taken from."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from graphsvc.arrays import read_only
from graphsvc.engine.fusion.merging import Trace
from graphsvc.engine.inference import BoundNode
from graphsvc.gate import Elementwise

__all__ = ["COMPARED", "UntrueRecordingError", "holds", "same_bits", "to_prove"]

COMPARED: Final = 1 << 12
"""Elements up to which a value is compared."""

_PROVEN: Final = 512
"""Recordings up to which all are compared with their gates."""

_PROVEN_EACH: Final = 16
"""How many of each gate are compared in larger programs."""


class UntrueRecordingError(Exception):
    """A gate gave something else than its recording."""

    def __init__(self, node: BoundNode, method: str) -> None:
        super().__init__(f"{method} gives something else than its recording")
        self.node = node


def to_prove(traces: Sequence[Trace]) -> Iterator[Trace]:
    """Yield the recordings to compare: all, or in a large program some of each gate."""
    if len(traces) <= _PROVEN:
        yield from traces
        return
    seen: Counter[tuple[int, str]] = Counter()
    for trace in traces:
        seen[id(trace.node.gate), trace.method] += 1
        if seen[id(trace.node.gate), trace.method] <= _PROVEN_EACH:
            yield trace


def holds(trace: Trace, values: Mapping[int, Any]) -> bool:
    """Compare a recording with its gate where their values are at hand; tell whether they were.

    Raises:
        UntrueRecordingError: They differ.
    """
    operands = [values.get(operand) for operand in trace.operands]
    found = [None if value is None else values.get(value) for value in trace.results]
    known = [value for value in found if value is not None]
    small = all(operand is not None and np.size(operand) <= COMPARED for operand in operands)
    # The gate would make its results once more, beside what the run takes.
    if not small or not known or any(np.size(value) > 16 * COMPARED for value in known):
        return False
    try:
        # Copies, for a gate may keep what it is given.
        returned = trace.call([read_only(np.array(operand)) for operand in operands])
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise UntrueRecordingError(trace.node, trace.method) from error
    expected = returned if isinstance(returned, tuple | list) else (returned,)
    alike = same_bits if isinstance(trace.node.gate, Elementwise) else _same_numbers
    for mine, theirs in zip(found, expected, strict=True):
        if mine is not None and not alike(mine, theirs):
            raise UntrueRecordingError(trace.node, trace.method)
    return True


def same_bits(mine: Any, theirs: Any) -> bool:
    """Tell whether two values are equal, NaN to NaN and zeros with their signs."""
    if mine.dtype != theirs.dtype:
        return False
    try:
        first, second = np.broadcast_arrays(mine, theirs)
    except ValueError:
        return False
    if not np.array_equal(first, second, equal_nan=first.dtype.kind in "fc"):
        return False
    return first.dtype.kind != "f" or bool(np.all((np.signbit(first) == np.signbit(second)) | np.isnan(first)))


def _same_numbers(mine: Any, theirs: Any) -> bool:
    """Tell whether two values are equal but for the last bits of sums, which depend on the layout of the memory."""
    if mine.dtype != theirs.dtype or mine.shape != theirs.shape or mine.dtype.kind not in "fc":
        return same_bits(mine, theirs)
    finite = np.abs(theirs, where=np.isfinite(theirs), out=np.zeros(theirs.shape, np.abs(theirs).dtype))
    slack = 256 * float(np.finfo(mine.dtype).eps)
    return np.allclose(mine, theirs, slack, slack * float(np.max(finite, initial=0)), equal_nan=True)
