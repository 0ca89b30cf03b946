"""What the gates of linear algebra share: which operands they take, and a few words about matrices."""

from typing import Any

import numpy as np

from graphsvc.arrays import Array, ArraySpec, broadcast_shapes, require_floating, sum_to_shape
from graphsvc.errors import ShapeError
from graphsvc.solves import adjoint

__all__ = [
    "columns_of",
    "hermitian_part",
    "real_dtype",
    "require_matrices",
    "require_square",
    "solution_spec",
    "summed_like",
    "well_conditioned",
]


def require_matrices(name: str, x: ArraySpec) -> None:
    """Refuse what is no stack of floating-point or complex matrices."""
    require_floating(name, x, complex_too=True)
    if x.ndim < 2:
        msg = f"Operand {name!r} must be matrices of shape (..., m, n), got {x.shape}. Reshape it."
        raise ShapeError(msg)


def require_square(name: str, x: ArraySpec) -> None:
    """Refuse what is no stack of square matrices."""
    require_matrices(name, x)
    if x.shape[-1] != x.shape[-2]:
        msg = f"Operand {name!r} must be square matrices of shape (..., n, n), got {x.shape}. Choose others."
        raise ShapeError(msg)


def real_dtype(x: ArraySpec) -> np.dtype[Any]:
    """Return the dtype of the modulus of an operand."""
    return np.empty(0, x.dtype).real.dtype


def solution_spec(x: ArraySpec, b: ArraySpec, *, rows: int, unknowns: int) -> ArraySpec:
    """Infer the solution of a system.

    Args:
        x: The matrices, already judged.
        b: The right-hand sides: a vector if of one axis, else matrices.
        rows: How many equations there are.
        unknowns: How many unknowns there are.

    Raises:
        ShapeError: The right-hand sides do not fit.
        DtypeError: They are not floating point.
    """
    require_floating("b", b, complex_too=True)
    if b.ndim == 0 or b.shape[0 if b.ndim == 1 else -2] != rows:
        msg = f"Operand 'b' must have the shape ({rows},) or (..., {rows}, k) beside matrices of shape {x.shape}, "
        msg += f"got {b.shape}. Reshape it; many vectors stand in columns."
        raise ShapeError(msg)
    dtype = np.result_type(x.dtype, b.dtype)
    if b.ndim == 1:
        return ArraySpec((*x.shape[:-2], unknowns), dtype)
    return ArraySpec((*broadcast_shapes(x.shape[:-2], b.shape[:-2]), unknowns, b.shape[-1]), dtype)


def columns_of(x: Array, vector: bool) -> Array:
    """Return right-hand sides or solutions as matrices, where they are vectors."""
    return np.expand_dims(x, -1) if vector else x


def summed_like(gradient: Array, shape: tuple[int, ...], *, vector: bool = False) -> Array:
    """Sum the broadcast stack of a gradient back to matrices of `shape`, or to a vector of it."""
    return sum_to_shape(gradient[..., 0] if vector else gradient, shape)


def hermitian_part(a: Array) -> Array:
    """Return the mean of matrices and their conjugate transposes, in the dtype of `a`. Shape `(..., n, n)`."""
    return ((a + adjoint(a)) / 2).astype(a.dtype)


def well_conditioned(n: int, kind: str = "f", stack: tuple[int, ...] = (), seed: int = 1) -> Array:
    """Return random matrices for examples, far from singular. Shape `(*stack, n, n)`."""
    random = np.random.default_rng(seed)
    real = random.normal(size=(*stack, n, n)) + 2 * n**0.5 * np.eye(n)
    return real + 1j * random.normal(size=real.shape) if kind == "c" else real
