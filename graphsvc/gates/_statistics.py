"""Means, variances and the gradient through them, for the gates that normalise."""

from math import prod
from typing import Annotated, TypeAlias

from pydantic import Field, FiniteFloat

from graphsvc.arrays import Array, ArraySpec, reduce_sum, require_floating
from graphsvc.errors import ShapeError

__all__ = ["Epsilon", "average", "check_coefficients", "moments", "others", "through_standardised"]

Epsilon: TypeAlias = Annotated[
    FiniteFloat, Field(gt=0, description="What is added to the variance, so that no root is 0.")
]


def others(ndim: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes that are not in `axes`."""
    return tuple(a for a in range(ndim) if a not in axes)


def average(x: Array, axes: tuple[int, ...]) -> Array:
    """Return the mean over axes, which stay with length 1."""
    return reduce_sum(x, axes, keepdims=True) / max(prod(x.shape[a] for a in axes), 1)


def moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Return mean and variance over axes, which stay with length 1."""
    mean = average(x, axes)
    centred = x - mean
    return mean, average(centred * centred, axes)


def through_standardised(dy: Array, y: Array, scale: Array, axes: tuple[int, ...]) -> Array:
    """Return the gradient of `x` from that of `y = (x - mean(x)) * scale`, with `scale = 1 / sqrt(var(x) + epsilon)`.

    Args:
        dy: Gradient of `y`. Shape `(...)`.
        y: What was made of `x`. Shape `(...)`.
        scale: Shape `(...)` with the axes of length 1.
        axes: Over which mean and variance are taken.

    Source:
        S. Ioffe and C. Szegedy, "Batch normalization" (2015), section 3, with its terms collected.
    """
    return scale * (dy - average(dy, axes) - y * average(dy * y, axes))


def check_coefficients(shape: tuple[int, ...], **coefficients: ArraySpec) -> None:
    """Refuse gains, biases and statistics that are of another shape than `shape`.

    Raises:
        DtypeError: One is not floating point.
        ShapeError: One has another shape.
    """
    for name, spec in coefficients.items():
        require_floating(name, spec)
        if spec.shape != shape:
            msg = f"Operand {name!r} must have the shape {shape}, got {spec.shape}. Reshape it, or choose another axis."
            raise ShapeError(msg)
