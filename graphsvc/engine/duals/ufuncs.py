"""The derivatives of NumPy's universal functions.

Each has one partial per operand, `partial(t, z, x, ...)`: the tangent of the result for the tangent `t` of that
operand. At kinks and ties they keep the rules of the gates: the smallest subgradient, and ties share evenly.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

__all__ = ["CONSTANT", "PARTIALS", "unit_moves"]

Partial = Callable[..., Any]

_LN2: Final = float(np.log(2.0))
_LN10: Final = float(np.log(10.0))
_DEGREE: Final = float(np.pi) / 180


def _real_abs(t: Any, z: Any, x: Any) -> Any:
    if x.dtype.kind == "c":
        return np.where(z == 0, 0, np.real(np.conjugate(x) * t) / np.where(z == 0, 1, z))
    return t * np.sign(x)


def unit_moves(t: Any, z: Any, x: Any) -> Any:
    """Return how `x / |x|` moves in the complex plane: across, for it keeps its length."""
    size = np.abs(x)
    return np.where(size == 0, 0, (t - z * np.real(np.conjugate(z) * t)) / np.where(size == 0, 1, size))


def _tied(t: Any, first: Any, other: Any) -> Any:
    """Return the part of a tangent that a choice by comparison lets through; ties share."""
    return np.where(first, np.where(other, 0.5 * t, t), 0)


def _power_x(t: Any, z: Any, x: Any, y: Any) -> Any:
    if type(y) in (int, float):
        if y == 2:
            return t * (2 * x)
        return np.zeros_like(t) if y == 0 else t * (y * x ** (y - 1))
    return t * np.where(np.equal(y, 0), 0, y * np.power(x, np.subtract(y, 1.0)))


def _power_y(t: Any, z: Any, x: Any, y: Any) -> Any:
    return t * (z * np.log(np.where(np.equal(x, 0) & np.greater_equal(np.real(y), 0), 1, x)))


def _hypot(t: Any, z: Any, x: Any) -> Any:
    return t * np.where(z == 0, 0, x / np.where(z == 0, 1, z))


def _arctan2(t: Any, x: Any, y: Any) -> Any:
    square = x * x + y * y
    return np.where(square == 0, 0, t * x / np.where(square == 0, 1, square))


def _logaddexp(t: Any, z: Any, x: Any) -> Any:
    return t * np.exp(x - z)


def _vecmul(t: Any, z: Any, x: Any, y: Any) -> Any:
    return np.matmul(t, y)


PARTIALS: Final[Mapping[np.ufunc, tuple[Partial | None, ...]]] = {
    np.add: (lambda t, z, x, y: t, lambda t, z, x, y: t),
    np.subtract: (lambda t, z, x, y: t, lambda t, z, x, y: -t),
    np.multiply: (lambda t, z, x, y: t * y, lambda t, z, x, y: x * t),
    np.divide: (lambda t, z, x, y: t / y, lambda t, z, x, y: -t * z / y),
    np.negative: (lambda t, z, x: -t,),
    np.positive: (lambda t, z, x: t,),
    np.conjugate: (lambda t, z, x: np.conjugate(t),),
    np.absolute: (_real_abs,),
    np.fabs: (_real_abs,),
    np.power: (_power_x, _power_y),
    np.float_power: (_power_x, _power_y),
    np.square: (lambda t, z, x: t * (2 * x),),
    np.sqrt: (lambda t, z, x: t / (2 * z),),
    np.cbrt: (lambda t, z, x: t / (3 * z * z),),
    np.reciprocal: (lambda t, z, x: -t * z * z,),
    np.exp: (lambda t, z, x: t * z,),
    np.exp2: (lambda t, z, x: t * (_LN2 * z),),
    np.expm1: (lambda t, z, x: t * np.exp(x),),
    np.log: (lambda t, z, x: t / x,),
    np.log2: (lambda t, z, x: t / (_LN2 * x),),
    np.log10: (lambda t, z, x: t / (_LN10 * x),),
    np.log1p: (lambda t, z, x: t / (1 + x),),
    np.sin: (lambda t, z, x: t * np.cos(x),),
    np.cos: (lambda t, z, x: -t * np.sin(x),),
    np.tan: (lambda t, z, x: t * (1 + z * z),),
    np.arcsin: (lambda t, z, x: t / np.sqrt((1 - x) * (1 + x)),),
    np.arccos: (lambda t, z, x: -t / np.sqrt((1 - x) * (1 + x)),),
    np.arctan: (lambda t, z, x: t / (1 + x * x),),
    np.sinh: (lambda t, z, x: t * np.cosh(x),),
    np.cosh: (lambda t, z, x: t * np.sinh(x),),
    np.tanh: (lambda t, z, x: t * (1 - z * z),),
    np.arcsinh: (lambda t, z, x: t / np.sqrt(x * x + 1) if x.dtype.kind == "c" else t / np.hypot(x, 1),),
    np.arccosh: (lambda t, z, x: t / (np.sqrt(x - 1) * np.sqrt(x + 1)),),
    np.arctanh: (lambda t, z, x: t / ((1 - x) * (1 + x)),),
    np.arctan2: (lambda t, z, x, y: _arctan2(t, y, x), lambda t, z, x, y: _arctan2(-t, x, y)),
    np.hypot: (lambda t, z, x, y: _hypot(t, z, x), lambda t, z, x, y: _hypot(t, z, y)),
    np.logaddexp: (lambda t, z, x, y: _logaddexp(t, z, x), lambda t, z, x, y: _logaddexp(t, z, y)),
    np.logaddexp2: (lambda t, z, x, y: t * np.exp2(x - z), lambda t, z, x, y: t * np.exp2(y - z)),
    np.deg2rad: (lambda t, z, x: t * _DEGREE,),
    np.radians: (lambda t, z, x: t * _DEGREE,),
    np.rad2deg: (lambda t, z, x: t / _DEGREE,),
    np.degrees: (lambda t, z, x: t / _DEGREE,),
    np.maximum: (
        lambda t, z, x, y: _tied(t, (x >= y) | np.isnan(x), (y >= x) | np.isnan(y)),
        lambda t, z, x, y: _tied(t, (y >= x) | np.isnan(y), (x >= y) | np.isnan(x)),
    ),
    np.minimum: (
        lambda t, z, x, y: _tied(t, (x <= y) | np.isnan(x), (y <= x) | np.isnan(y)),
        lambda t, z, x, y: _tied(t, (y <= x) | np.isnan(y), (x <= y) | np.isnan(x)),
    ),
    np.fmax: (
        lambda t, z, x, y: _tied(t, (x >= y) | np.isnan(y), y >= x),
        lambda t, z, x, y: _tied(t, (y >= x) | np.isnan(x), x >= y),
    ),
    np.fmin: (
        lambda t, z, x, y: _tied(t, (x <= y) | np.isnan(y), y <= x),
        lambda t, z, x, y: _tied(t, (y <= x) | np.isnan(x), x <= y),
    ),
    np.remainder: (lambda t, z, x, y: t, lambda t, z, x, y: -t * np.floor(x / y)),
    np.fmod: (lambda t, z, x, y: t, lambda t, z, x, y: -t * np.trunc(x / y)),
    np.copysign: (lambda t, z, x, y: t * (np.sign(x) * np.copysign(1.0, y)), lambda t, z, x, y: np.zeros_like(t)),
    np.nextafter: (lambda t, z, x, y: t, lambda t, z, x, y: np.zeros_like(t)),
    np.ldexp: (lambda t, z, x, y: np.ldexp(t, y), None),
    np.matmul: (lambda t, z, x, y: np.matmul(t, y), lambda t, z, x, y: np.matmul(x, t)),
    np.vecdot: (lambda t, z, x, y: np.vecdot(t, y), lambda t, z, x, y: np.vecdot(x, t)),
}
"""The partials of each; None for an operand that has none."""

_NAMES: Final = (
    "bitwise_and bitwise_or bitwise_xor ceil equal floor floor_divide greater greater_equal heaviside invert isfinite "
    "isinf isnan less less_equal logical_and logical_not logical_or logical_xor not_equal rint sign signbit spacing "
    "trunc"
)

CONSTANT: Final = frozenset(getattr(np, name) for name in _NAMES.split())
"""Those that are constant almost everywhere."""
