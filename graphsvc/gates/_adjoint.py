"""Linear systems whose matrix is known by what a graph does with it: dense where small, by GMRES where large."""

from collections.abc import Callable
from typing import Final

import numpy as np

from graphsvc.arrays import Array
from graphsvc.errors import GateDataError

__all__ = ["DENSE", "dense_rows", "solved", "solved_dense", "system_bytes"]

DENSE: Final = 64
"""Unknowns up to which the matrix is made and factorised; beyond, GMRES asks for products alone."""


_RESTART: Final = 50
"""Vectors that GMRES keeps."""


def system_bytes(size: int) -> int:
    """Return the bytes that a system of so many unknowns takes at most."""
    return 8 * size * (6 * size + 16 if size <= DENSE else _RESTART + 16)


def dense_rows(transposed: Callable[[Array], Array], size: int) -> Array:
    """Return a matrix of which products of the transposed with a vector are known.

    Args:
        transposed: Gives ``matrix.T @ v`` for ``v`` of shape ``(size,)``.
        size: Rows of the matrix.

    Returns:
        The matrix, of shape ``(size, size)``: its rows are the products with unit vectors.
    """
    rows = [transposed(unit) for unit in np.eye(size)]
    return np.stack(rows) if rows else np.zeros((0, 0))


def solved_dense(matrix: Array, right: Array, what: str) -> Array:
    """Solve a system, of float64.

    Raises:
        GateDataError: The matrix is singular, or not finite.
    """
    if not np.all(np.isfinite(matrix)):
        msg = f"{what} is not finite there. Start elsewhere, or keep the graph's values within its domain."
        raise GateDataError(msg)
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        msg = f"{what} is singular there, so the solution is not an isolated one. Change the operands or the graph."
        raise GateDataError(msg) from None


def solved(
    product: Callable[[Array], Array], right: Array, tolerance: float, what: str, *, required: bool = True
) -> Array:
    """Solve a large system by GMRES.

    Args:
        product: Gives the product of the matrix with a vector of shape ``(size,)``.
        right: Right-hand side, of float64. Shape ``(size,)``.
        tolerance: Largest norm of the residual, relative to that of `right`.
        what: What the matrix is, for the message of an error.
        required: Whether the tolerance must be met; a step of Newton's method may be inexact.

    Raises:
        GateDataError: It does not come to the tolerance.

    Source:
        Saad and Schultz, "GMRES" (1986), as in SciPy.
    """
    # Only large systems need it, and it takes a tenth of a second to import.
    from scipy.sparse.linalg import LinearOperator, gmres

    norm = float(np.linalg.norm(right))
    if norm == 0.0 or not np.isfinite(norm):
        return right * norm
    # SciPy would take a product that is no array of float64 for what it is.
    operator = LinearOperator((right.size, right.size), matvec=product, dtype=np.float64)
    solution, _ = gmres(operator, right / norm, rtol=tolerance, atol=0.0, restart=min(right.size, _RESTART), maxiter=20)
    left = float(np.linalg.norm(product(solution) - right / norm))
    if required and not left <= 10 * tolerance:
        msg = f"GMRES left {left:.1e} of the right-hand side after 1000 products with {what}, for a tolerance of "
        msg += f"{tolerance:.1e}. The matrix is close to singular; change the operands or the graph."
        raise GateDataError(msg)
    return solution * norm
