"""Precision: in which dtype a formula is computed, and how its result comes back to the dtype of the operands."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "conjugated", "narrowed", "widened"]

Array: TypeAlias = npt.NDArray[Any]


def conjugated(x: Array) -> Array:
    """Return the complex conjugate of `x`, which is `x` itself where that is real.

    The gradient of a complex value is `dL/dRe + i dL/dIm`, so backward multiplies by the conjugate of the derivative.
    """
    return np.conjugate(x) if x.dtype.kind == "c" else x


def widened(x: Array) -> Array:
    """Return `x` so that a formula may be computed in it: float16 as float32, integers as float64, others as they are.

    `narrowed` rounds the result once, at the end.
    """
    if x.dtype == np.float16:
        return x.astype(np.float32)
    return x if x.dtype.kind in "fc" else x.astype(np.float64)


def narrowed(z: Array, dtype: np.dtype[Any]) -> Array:
    """Return what was computed of `widened` operands in the dtype of the operands, if that is float16."""
    return z.astype(np.float16) if dtype == np.float16 else z
