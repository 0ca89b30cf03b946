"""Derivatives of the digamma function everywhere, of functions that have derivatives themselves."""

import math
from typing import Any

import numpy as np

from graphsvc.arrays import Array
from graphsvc.gates._scipy import special

__all__ = ["doubled", "polygamma", "rounded"]


def doubled(x: Array) -> Array:
    """Return `x` in float64, for formulas that lose digits on the way."""
    return x if x.dtype == np.float64 else x.astype(np.float64)


def rounded(z: Array, dtype: np.dtype[Any]) -> Array:
    """Return what was computed of `doubled` operands in their dtype, or in float64 if they are integers."""
    return z.astype(dtype) if dtype in (np.float16, np.float32) else z


def polygamma(order: int, x: Array) -> Array:
    """Return the derivative of the given order, from 1, of the digamma function.

    SciPy's zeta function adds a term for every unit that an operand lies below 0, and so may never end. Here it is
    asked about positive operands alone.

    Source:
        NIST Digital Library of Mathematical Functions, 25.11.12 and 5.15.6.
    """
    positive = x > 0
    series = math.factorial(order) * special().zeta(order + 1.0, np.where(positive, x, 1 - x))
    apart = np.pi * np.where(positive, 0.5, x - np.rint(x))
    cotangent = np.cos(apart) / np.sin(apart)
    polynomial = _cotangent_derivative(order)
    value = np.full_like(cotangent, polynomial[-1])
    for coefficient in reversed(polynomial[:-1]):
        value = value * cotangent + coefficient
    return np.where(positive, (-1) ** (order + 1) * series, -(math.pi ** (order + 1)) * value - series)


def _cotangent_derivative(order: int) -> list[float]:
    """Return the coefficients, from the constant one, by which a derivative of the cotangent is a polynomial in it."""
    coefficients = [0, 1]
    for _ in range(order):
        slope = [k * c for k, c in enumerate(coefficients)][1:]
        coefficients = [-a - b for a, b in zip([*slope, 0, 0], [0, 0, *slope], strict=True)]
    return [float(c) for c in coefficients]
