"""Comparing the tangents of a gate's gradients with differences of these along the direction."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, Final

import numpy as np

from graphsvc.arrays import Array, is_differentiable
from graphsvc.engine.calls import Record, call_rule, checked, handed, listed_results
from graphsvc.engine.plan import Step
from graphsvc.engine.tangents.agreement import derivative_size, size_of
from graphsvc.engine.tangents.movement import Moved
from graphsvc.engine.tangents.pulling import Pulled
from graphsvc.gate import Elementwise

__all__ = ["Motion", "compare"]

_STEP: Final = 1e-6
"""Step of the differences, relative to the operands."""

_CLEAR: Final = 1e-2
"""A tangent that is off by less than this part of the largest is not told from rounding."""


class Motion(Enum):
    """What differences say of the tangents of a gate's gradients."""

    RIGHT = auto()
    LOST = auto()
    AT_A_TIE = auto()
    """They do not agree, but neither do the differences to the left and right of other elements."""


def compare(
    step: Step,
    kept: Moved,
    arriving: Sequence[Array | None],
    arriving_dots: Sequence[Array | None],
    found: Pulled,
) -> Motion:
    """Compare the tangents of the gradients that a gate was found to give with differences to both sides.

    Where the two sides differ there is a kink, and a tangent between them is as good as any. Whatever cannot be
    computed or is lost in rounding is let pass. All should be in double precision.
    """
    given = (list(kept.operands), list(kept.operand_dots), list(arriving), list(arriving_dots))
    steps = [
        (float(np.max(np.abs(dot))), float(np.max(np.abs(x))))
        for x, dot in zip((*given[0], *given[2]), (*given[1], *given[3]), strict=True)
        if dot is not None and x is not None and dot.size
    ]
    steps = [(move, max(size, 1e-3 * move)) for move, size in steps if 0 < move < np.inf and size < np.inf]
    if not steps:
        return Motion.RIGHT
    h = _STEP * min((size or move) / move for move, size in steps)

    def differences(h: float) -> dict[int, tuple[Array, Array]]:
        """Return differences to the left and to the right, by position."""
        above, below = (_gradients_at(step, kept, *given, sign * h) for sign in (1, -1))
        return {i: ((gradient - below[i]) / h, (above[i] - gradient) / h) for i, gradient in middle.items()}

    try:
        middle = _gradients_at(step, kept, *given, 0.0)
        far = differences(h)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a stranger's gate may refuse a neighbour of its operands
        return Motion.RIGHT
    # What cancels in a gradient has left its rounding behind.
    size = max(size_of(g) for g in middle.values())
    size = max(size, derivative_size(kept) * max(map(size_of, given[2])))
    motion = Motion.RIGHT
    for position, given_gradient, dot in found:
        gradient = middle[position]
        mine = np.zeros_like(gradient) if dot is None else dot.astype(gradient.dtype)
        # In the run itself rounding was that of its dtypes.
        smooth = [d for d in kept.record.output_dtypes if is_differentiable(d)]
        narrow = max(float(np.finfo(d).eps) for d in (given_gradient.dtype, *smooth))
        noise = 64 * size * (np.finfo(gradient.dtype).eps + narrow * _STEP) / h
        tolerance = max(_CLEAR, 8 * narrow**0.5)
        off = _off(mine, *far[position], float(noise), tolerance)
        # A jump that is the same to both sides grows as the step shrinks; a derivative stays.
        if np.any(off) and np.any(off & _stays(far[position], differences(h / 8)[position])):
            tie = not isinstance(step.node.gate, Elementwise) and any(_kinked(*both) for both in far.values())
            motion = Motion.AT_A_TIE if tie else Motion.LOST
            if not tie:
                break
    return motion


def _parts(*arrays: Array) -> list[Array]:
    """Return real arrays; complex ones as pairs."""
    return [np.stack([a.real, a.imag]) if a.dtype.kind == "c" else a for a in arrays]


def _off(mine: Array, left: Array, right: Array, noise: float, tolerance: float) -> Array:
    """Tell where a tangent is clearly something else than two differences that agree."""
    mine, left, right = _parts(mine, left, right)
    with np.errstate(all="ignore"):
        low, high = np.minimum(left, right), np.maximum(left, right)
        off = np.maximum(low - mine, mine - high)
        size = np.maximum(np.abs(mine), np.maximum(np.abs(low), np.abs(high)))
        finite = np.isfinite(size)
        largest = np.max(np.where(finite, size, 0), initial=0.0)
        clear = (off > tolerance * size) & (off > 1e-6 * largest) & (off > noise) & (high - low < 0.1 * off)
        found: Array = clear & finite
        return found


def _kinked(left: Array, right: Array) -> bool:
    """Tell whether some differences to the left and to the right are far from each other."""
    with np.errstate(all="ignore"):
        left, right = _parts(left, right)
        return bool(np.any(np.abs(right - left) > 0.5 * np.maximum(np.abs(left), np.abs(right))))


def _stays(far: tuple[Array, Array], near: tuple[Array, Array]) -> Array:
    """Tell where differences are the same for a shorter step."""
    with np.errstate(all="ignore"):
        alike = [
            np.abs(a - b) <= 0.5 * np.maximum(np.abs(a), np.abs(b))
            for a, b in zip(_parts(*far), _parts(*near), strict=True)
        ]
        found: Array = alike[0] & alike[1]
        return found


def _at(x: Any, dot: Any, h: float) -> Any:
    if x is None or dot is None or not h:
        return x
    moved = np.asarray(x + h * dot)
    moved.flags.writeable = False
    return moved


def _gradients_at(
    step: Step,
    kept: Moved,
    operands: list[Any],
    operand_dots: list[Any],
    arriving: list[Any],
    arriving_dots: list[Any],
    h: float,
) -> dict[int, Array]:
    """Return what backward gives where operands and arriving gradients have moved by `h` times their tangents."""
    node = step.node
    signature = node.gate.signature
    moved = [_at(x, dot, h) for x, dot in zip(operands, operand_dots, strict=True)]
    elementwise = isinstance(node.gate, Elementwise)
    held = signature.forward(node.gate, *map(handed, operands)) if elementwise and h else None
    # The gate is called last at the place where its backward is asked.
    results, saved = listed_results(node, signature.forward(node.gate, *map(handed, moved)))
    if held is not None:
        # Elementwise gates move as backward says.
        results, _ = listed_results(node, held)
        results = tuple(_at(z, dot, h) for z, dot in zip(results, kept.output_dots, strict=True))
    outputs = tuple(map(np.asarray, results))
    record = Record(
        operands=tuple(moved),
        operand_shapes=tuple(x.shape for x in moved),
        operand_dtypes=tuple(x.dtype for x in moved),
        outputs=outputs,
        output_shapes=tuple(z.shape for z in outputs),
        output_dtypes=tuple(z.dtype for z in outputs),
        saved=saved,
    )
    given = [_at(dz, dot, h) for dz, dot in zip(arriving, arriving_dots, strict=True)]
    given = [None if dz is None else dz.astype(z.dtype, copy=False) for dz, z in zip(given, outputs, strict=True)]
    found = {}
    for asked in step.rules:
        for i, gradient in zip(asked.positions, call_rule(step, asked, record, given), strict=True):
            if step.wanted[i]:
                found[i] = checked(step, record, asked.method, i, gradient)
    return found
