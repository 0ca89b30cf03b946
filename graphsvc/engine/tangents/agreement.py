"""The adjoint law, to which tangents are held: `<dz, z_dot>` is `sum <dx, x_dot>`."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphsvc.arrays import Array
from graphsvc.engine.plan import Step
from graphsvc.engine.tangents.movement import Moved
from graphsvc.errors import TangentLostError

__all__ = ["agrees", "check_adjoint", "derivative_size", "refuse", "size_of"]


def check_adjoint(step: Step, kept: Moved, arriving: Sequence[Array | None], gradients: Mapping[int, Array]) -> None:
    """Check that `<dz, z_dot>` is `sum <dx, x_dot>`, which holds if both are right.

    Raises:
        TangentLostError: They differ.
    """
    output_dots, operand_dots = kept.output_dots, kept.operand_dots
    outer = [(dz, z) for dz, z in zip(arriving, output_dots, strict=True) if dz is not None and z is not None]
    inner = [(g, dot) for i, g in gradients.items() if (dot := operand_dots[i]) is not None]
    one, other = sum([_inner(*pair) for pair in outer]), sum([_inner(*pair) for pair in inner])
    precision = _precision(*arriving, *output_dots, *gradients.values())
    # No product is larger than the norms, which take twice as long.
    if abs(one - other) <= precision * max(abs(one), abs(other)):
        return
    size = sum([_norm(a) * _norm(b) for a, b in (*outer, *inner)])
    if not np.isfinite(size) or abs(one - other) <= precision * size:
        return
    # What cancels to nothing is rounding.
    moves = max((_norm(dot) for dot in operand_dots if dot is not None), default=0.0)
    given = max((_norm(dz) for dz in arriving if dz is not None), default=0.0)
    if abs(one - other) > precision**2 * derivative_size(kept) * moves * given:
        refuse(step, f"forward moves by {one:.6g} where backward says {other:.6g}")


def refuse(step: Step, what: str) -> None:
    """Refuse derivatives through a gate. Raises TangentLostError."""
    msg = f"It loses tangents: {what}. So its derivatives along a direction would be wrong, and are refused."
    raise TangentLostError(msg).at(step.node.name, step.node.gate_name)


def agrees(mine: Array, theirs: Array) -> bool:
    """Tell whether two tangents are one but for rounding."""
    finite = np.isfinite(mine) & np.isfinite(theirs)
    size = np.where(finite, np.maximum(np.abs(mine), np.abs(theirs)), 0)
    apart = np.where(finite, np.abs(mine - theirs), 0)
    return bool(np.all(apart <= 10 * _precision(theirs) * np.max(size, initial=0.0)))


def size_of(x: Any) -> float:
    """Return the size of the largest number; 0 of nothing, and of what is no number to differentiate."""
    if x is None or (isinstance(x, np.ndarray) and x.dtype.kind not in "fc"):
        return 0.0
    return float(np.max(np.abs(x), initial=0.0))


def derivative_size(kept: Moved) -> float:
    """Return how large derivatives of a gate are that do not cancel: its outputs over its operands."""
    operands = [size for x in kept.operands if (size := size_of(x))]
    return max(map(size_of, kept.outputs)) / min(operands, default=1.0)


def _precision(*arrays: Array | None) -> float:
    """Return how far products of arrays of these dtypes may be off."""
    eps = max([_eps(a.dtype) for a in arrays if a is not None], default=0.0)
    return 4 * math.sqrt(eps)


@functools.cache
def _eps(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).eps)


def _norm(a: Array) -> float:
    return float(np.linalg.norm(a.astype(np.float32) if a.dtype.itemsize <= 2 else a))


def _inner(a: Array, b: Array) -> float:
    """Return the real inner product."""
    if a.dtype.itemsize <= 2:
        a = a.astype(np.float32)
    if b.dtype.itemsize <= 2:
        b = b.astype(np.float32)
    return float(np.vdot(a, b).real)
