"""Holding tangents to what they must be: the adjoint law, and differences along the direction."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np

from graphsvc.arrays import Array, is_differentiable
from graphsvc.engine.calls import Record, argument_of, checked, handed, listed, listed_results
from graphsvc.engine.plan import Step
from graphsvc.errors import TangentLostError
from graphsvc.gate import Elementwise

__all__ = ["agrees", "check_adjoint", "check_gradients_move"]

_STEP: Final = 1e-6
"""Step of the differences, relative to the operands."""

_CLEAR: Final = 1e-2
"""A tangent that is off by less than this part of the largest is not told from rounding."""


class Movement(Protocol):
    """What is known of a gate's forward pass; see `tangents.Moved`."""

    record: Record
    operands: list[Array]
    operand_dots: list[Array | None]
    output_dots: tuple[Array | None, ...]
    by_duals: bool


def _precision(*arrays: Array | None) -> float:
    """Return how far products of arrays of these dtypes may be off."""
    eps = max((float(np.finfo(a.dtype).eps) for a in arrays if a is not None), default=0.0)
    return float(np.sqrt(eps)) * 4


def _inner(a: Array, b: Array) -> tuple[float, float]:
    """Return the real inner product, and a bound of its size."""
    if a.dtype.itemsize <= 2:
        a = a.astype(np.float32)
    if b.dtype.itemsize <= 2:
        b = b.astype(np.float32)
    size = float(np.sqrt(np.vdot(a, a).real)) * float(np.sqrt(np.vdot(b, b).real))
    return float(np.vdot(a, b).real), size


def check_adjoint(
    step: Step,
    arriving: Sequence[Array | None],
    output_dots: Sequence[Array | None],
    gradients: Mapping[int, Array],
    operand_dots: Sequence[Array | None],
) -> None:
    """Check that `<dz, z_dot>` is `sum <dx, x_dot>`, which holds if both are right.

    Raises:
        TangentLostError: They differ.
    """
    outer = [_inner(dz, z) for dz, z in zip(arriving, output_dots, strict=True) if dz is not None and z is not None]
    inner = [_inner(g, operand_dots[i]) for i, g in gradients.items() if operand_dots[i] is not None]  # type: ignore[arg-type]
    one, other = sum(v for v, _ in outer), sum(v for v, _ in inner)
    size = sum(s for _, s in (*outer, *inner))
    tolerance = _precision(*arriving, *output_dots, *gradients.values()) * size
    if np.isfinite(size) and abs(one - other) > tolerance:
        _refuse(step, f"forward moves by {one:.6g} where backward says {other:.6g}")


def _refuse(step: Step, what: str) -> None:
    msg = f"It loses tangents: {what}. So its derivatives along a direction would be wrong, and are refused."
    raise TangentLostError(msg).at(step.node.name, step.node.gate_name)


def agrees(mine: Array, theirs: Array) -> bool:
    """Tell whether two tangents are one but for rounding."""
    finite = np.isfinite(mine) & np.isfinite(theirs)
    size = np.where(finite, np.maximum(np.abs(mine), np.abs(theirs)), 0)
    apart = np.where(finite, np.abs(mine - theirs), 0)
    return bool(np.all(apart <= 10 * _precision(theirs) * np.max(size, initial=0.0)))


def check_gradients_move(
    step: Step,
    kept: Movement,
    arriving: Sequence[Array | None],
    arriving_dots: Sequence[Array | None],
    gradients: Mapping[int, Array],
    dots: Mapping[int, Array | None],
) -> None:
    """Compare the tangents of a gate's gradients with differences to both sides along the direction.

    Where the two sides differ there is a kink, and a tangent between them is as good as any. Whatever cannot be
    computed or is lost in rounding is let pass; what is compared is wide, whatever the dtypes of the run.

    Raises:
        TangentLostError: Both sides say something else than a tangent.
    """
    wide = _widened(kept, arriving, arriving_dots)
    steps = [
        (float(np.max(np.abs(dot))), float(np.max(np.abs(x))))
        for x, dot in zip((*wide[0], *wide[2]), (*wide[1], *wide[3]), strict=True)
        if dot is not None and x is not None and dot.size
    ]
    steps = [(move, max(size, 1e-3 * move)) for move, size in steps if 0 < move < np.inf and size < np.inf]
    if not steps:
        return
    h = _STEP * min((size or move) / move for move, size in steps)
    try:
        middle = _gradients_at(step, kept, *wide, 0.0)
        above, below = (_gradients_at(step, kept, *wide, sign * h) for sign in (1, -1))
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a stranger's gate may refuse a neighbour of its operands
        return
    # What cancels in a gradient has left its rounding behind.
    size = max([float(np.max(np.abs(g), initial=0.0)) for g in middle.values()])
    size = max([size, *(_size(dz) * _size(x) for dz in wide[2] for x in (1.0, *wide[0], *kept.record.outputs))])
    for position, gradient in middle.items():
        dot = dots[position]
        mine = np.zeros_like(gradient) if dot is None else dot.astype(gradient.dtype)
        right, left = (above[position] - gradient) / h, (gradient - below[position]) / h
        noise = 64 * np.finfo(gradient.dtype).eps * max(size, float(np.max(np.abs(gradient), initial=0.0))) / h
        # In the run itself rounding was that of its dtypes.
        smooth = [d for d in kept.record.output_dtypes if is_differentiable(d)]
        narrow = max(float(np.finfo(d).eps) for d in (gradients[position].dtype, *smooth))
        noise += 64 * narrow * size * _STEP / h
        if _is_off(mine, left, right, float(noise), max(_CLEAR, 8 * narrow**0.5)):
            _refuse(step, "backward does not move as differences of it do")


def _size(x: Any) -> float:
    """Return the size of the largest number; 0 of nothing, and of what is no number to differentiate."""
    if x is None or (isinstance(x, np.ndarray) and x.dtype.kind not in "fc"):
        return 0.0
    return float(np.max(np.abs(x), initial=0.0))


def _is_off(mine: Array, left: Array, right: Array, noise: float, tolerance: float) -> bool:
    """Tell whether a tangent is clearly something else than two differences that agree."""
    if mine.dtype.kind == "c":
        mine, left, right = (np.stack([a.real, a.imag]) for a in (mine, left, right))
    with np.errstate(all="ignore"):
        low, high = np.minimum(left, right), np.maximum(left, right)
        off = np.maximum(low - mine, mine - high)
        size = np.maximum(np.abs(mine), np.maximum(np.abs(low), np.abs(high)))
        finite = np.isfinite(size)
        largest = np.max(np.where(finite, size, 0), initial=0.0)
        clear = (off > tolerance * size) & (off > 1e-6 * largest) & (off > noise) & (high - low < 0.1 * off)
        return bool(np.any(clear & finite))


def _wide(x: Any) -> Any:
    if x is None or not is_differentiable(x.dtype):
        return x
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64, copy=False)


def _widened(
    kept: Movement, arriving: Sequence[Any], arriving_dots: Sequence[Any]
) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Return operands and arriving gradients, each with their tangents, in double precision."""
    return (
        [_wide(x) for x in kept.operands],
        [_wide(dot) for dot in kept.operand_dots],
        [_wide(dz) for dz in arriving],
        [_wide(dot) for dot in arriving_dots],
    )


def _at(x: Any, dot: Any, h: float) -> Any:
    if x is None or dot is None or not h:
        return x
    moved = np.asarray(x + h * dot)
    moved.flags.writeable = False
    return moved


def _gradients_at(
    step: Step,
    kept: Movement,
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
        results = tuple(_at(z, _wide(dot), h) for z, dot in zip(results, kept.output_dots, strict=True))
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
    for rule, index in step.rules:
        method = "backward" if index is None else f"backward_{signature.operands[index]}"
        mine = [i for i in range(len(step.wanted)) if index is None or signature.index(i) == index]
        arguments = [argument_of(parameter, step, record, given) for parameter in rule.parameters]
        for i, gradient in zip(
            mine, listed(step, method, index, rule.call(node.gate, *arguments), len(mine)), strict=True
        ):
            if step.wanted[i]:
                found[i] = checked(step, record, method, i, gradient)
    return found
