"""Trials: a recording tried on a few numbers, and compared with the method that it was taken from.

A method may find out that it is given symbols, by their type if by nothing else, and go another way than on arrays. The
proof of a program compares the values of a run, where they are at hand; a trial needs none.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final

import numpy as np

from graphsvc.arrays import Array
from graphsvc.engine.calls import handed
from graphsvc.engine.fusion.instructions import Instruction, Shape
from graphsvc.engine.fusion.recording import Recording, record

__all__ = ["holds"]

_SMALL: Final = 1 << 12
"""Elements up to which a trial takes the shapes as they are, those of all operands multiplied, as broadcasting may."""

_LARGE: Final = 1 << 16
"""Elements of a value that no trial makes: nobody has admitted it yet."""

_SLACK: Final = 64
"""Last bits by which numbers may differ: powers of single numbers and sums do."""


def holds(
    recording: Recording, call: Callable[[list[Any]], object], operands: Sequence[tuple[np.dtype[Any], Shape]]
) -> bool:
    """Tell whether a recording gives on trial what the method gives; True where neither can be tried.

    Args:
        recording: What `record` made of `call` and `operands`.
        call: The method.
        operands: Dtype and shape of each operand.
    """
    dtypes = [dtype for dtype, _ in operands]
    free = any(shape is None for _, shape in operands)
    tried: list[list[tuple[int, ...]]] = [[shape or () for _, shape in operands]]
    if free:
        tried = [[()] * len(operands), [(3,)] * len(operands)]
    for shapes in tried:
        if prod(map(prod, shapes)) > _SMALL:
            # The same method on a likeness in small.
            shapes = _likeness(shapes)
            small = record(call, list(zip(dtypes, shapes, strict=True)))
            if isinstance(small, str):
                return True
            recording = small
        given = [
            handed(_numbers(dtype, shape, i))
            for i, ((dtype, _), shape) in enumerate(zip(operands, shapes, strict=True))
        ]
        if not _agree(recording, call, given):
            return False
    return True


def _likeness(shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return shapes with small lengths for large ones, equal ones for equal ones."""
    large = sorted({size for shape in shapes for size in shape if size > 4})
    small = dict(zip(large, range(5, 5 + len(large)), strict=True))
    return [tuple(small.get(size, size) for size in shape) for shape in shapes]


def _numbers(dtype: np.dtype[Any], shape: tuple[int, ...], seed: int) -> Array:
    count = np.arange(prod(shape)).reshape(shape) + seed
    numbers = 0.5 + count % 7 / 8 if dtype.kind in "fc" else count % 2
    made = np.asarray(numbers).astype(dtype)
    made.flags.writeable = False
    return made


def _agree(recording: Recording, call: Callable[[list[Any]], object], given: list[Array]) -> bool:
    try:
        with np.errstate(all="ignore"):
            found = _replayed(recording, given)
            returned = call(list(given))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - these numbers may be none for the gate; the proof has others
        return True
    expected = returned if isinstance(returned, tuple | list) else (returned,)
    return found is None or (len(found) == len(expected) and all(map(_alike, found, expected)))


def _replayed(recording: Recording, given: Sequence[Array]) -> list[Any] | None:
    """Return the results of a recording; None if a guard does not hold, or a value would be large."""
    values: list[Any] = list(given)
    for entry in recording.entries:
        if not isinstance(entry, Instruction):
            values.append(entry)
            continue
        values.append(entry.call([values[i] for i in entry.operands]))
        # A gradient that repeats one number is large where its operand is; it is a view, and would be copied next.
        if values[-1].size > _LARGE:
            return None
    if any(bool(values[index]) is not expected for index, expected in recording.guards):
        return None
    return [None if index is None else values[index] for index in recording.results]


def _alike(mine: Any, theirs: Any) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    if not isinstance(theirs, np.ndarray | np.generic) or mine.dtype != theirs.dtype or mine.shape != theirs.shape:
        return False
    if mine.tobytes() == theirs.tobytes():
        return True
    slack = _SLACK * float(np.finfo(mine.dtype).eps) if mine.dtype.kind in "fc" else 0
    return np.allclose(mine, theirs, slack, slack, equal_nan=mine.dtype.kind in "fc")
