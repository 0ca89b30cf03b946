"""What the tangents of `graphsvc.solves` are: for each function, its derivative along a direction.

`TANGENTS[func](result, operands, tangents, **attributes)` returns the tangent of the result, or a tuple of tangents
where the result is one. A tangent of an operand that does not move is None; at least one moves. A direction in which
there is no derivative is a `GateDataError`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from graphsvc import solves
from graphsvc.errors import GateDataError
from graphsvc.precision import Array, narrowed, widened
from graphsvc.solves import adjoint, triangle

__all__ = ["TANGENTS", "Rule", "inverse_gaps", "inverse_or_zero"]

Rule: TypeAlias = Callable[..., Any]
Tangents: TypeAlias = Sequence[Any]


def inverse_gaps(w: Array) -> Array:
    """Return `1 / (w_j - w_i)` at `(i, j)`, and 0 where the two coincide, so that vectors have no derivative.

    They coincide when they differ by at most 1e-8 of the largest, or by what rounding may make of equal ones. The
    zeros are right for whatever does not depend on the choice of a basis.
    """
    least = max(1e-8, 16 * float(np.finfo(w.dtype).eps)) * np.max(np.abs(widened(w)), axis=-1, initial=0)
    w = widened(w)
    gaps = w[..., np.newaxis, :] - w[..., :, np.newaxis]
    none = np.abs(gaps) <= least[..., np.newaxis, np.newaxis]
    return np.where(none, 0, 1 / np.where(none, 1, gaps))


def inverse_or_zero(s: Array, shape: tuple[int, int]) -> Array:
    """Return the inverse of singular values of a matrix of `shape`, and 0 for those that are zero up to rounding."""
    least = max(shape) * float(np.finfo(s.dtype).eps) * np.max(widened(s), axis=-1, keepdims=True, initial=0)
    s = widened(s)
    return np.where(s <= least, 0, 1 / np.where(s <= least, 1, s))


def _sum(*terms: Array | None) -> Array:
    """Add what moves."""
    moving = [term for term in terms if term is not None]
    return sum(moving[1:], start=moving[0])


def _diagonal(a: Array) -> Array:
    return np.diagonal(a, axis1=-2, axis2=-1)


def _halved(a: Array) -> Array:
    """Return the lower triangle with half of the diagonal, which alone is real where `a` is Hermitian."""
    return np.tril(a, -1) + np.tril(np.triu(a)) / 2


def _solve(x: Array, operands: Sequence[Array], tangents: Tangents) -> Array:
    (a, b), (a_dot, b_dot) = operands, tangents
    if b.ndim > 1:
        return solves.solve(a, _sum(b_dot, None if a_dot is None else -(a_dot @ x)))
    moved = None if a_dot is None else -(a_dot @ x[..., np.newaxis])[..., 0]
    right = _sum(b_dot, moved)
    return solves.solve(a, right) if right.ndim == 1 else solves.solve(a, right[..., np.newaxis])[..., 0]


def _solve_triangular(
    x: Array,
    operands: Sequence[Array],
    tangents: Tangents,
    *,
    lower: bool = True,
    transposed: bool = False,
    unit_diagonal: bool = False,
) -> Array:
    (a, b), (a_dot, b_dot) = operands, tangents
    vector = b.ndim == 1
    moved = None
    if a_dot is not None:
        matrix = triangle(a_dot, lower=lower, unit_diagonal=unit_diagonal)
        matrix = np.swapaxes(matrix, -1, -2) if transposed else matrix
        moved = -(matrix @ (x[..., np.newaxis] if vector else x))
    if b_dot is not None and vector:
        b_dot = b_dot[..., np.newaxis]
    found = solves.solve_triangular(
        a, _sum(b_dot, moved), lower=lower, transposed=transposed, unit_diagonal=unit_diagonal
    )
    return found[..., 0] if vector else found


def _inv(z: Array, operands: Sequence[Array], tangents: Tangents) -> Array:
    return -(z @ tangents[0] @ z)


def _pinv(z: Array, operands: Sequence[Array], tangents: Tangents, *, rtol: float | None = None) -> Array:
    (a,), (a_dot,) = operands, tangents
    across = adjoint(a_dot)
    back = z @ adjoint(z) @ across
    forth = across @ adjoint(z) @ z
    return -(z @ a_dot @ z) + (back - back @ a @ z) + (forth - z @ (a @ forth))


def _det(z: Array, operands: Sequence[Array], tangents: Tangents) -> Array:
    return np.sum(solves.cofactors(operands[0]) * tangents[0], axis=(-2, -1))


def _slogdet(result: tuple[Array, Array], operands: Sequence[Array], tangents: Tangents) -> tuple[Array, Array]:
    sign, logarithm = result
    speed = np.trace(solves.solve(operands[0], tangents[0]), axis1=-2, axis2=-1)
    if speed.dtype.kind != "c":
        return np.zeros_like(sign), speed.astype(logarithm.dtype)
    return 1j * sign * speed.imag, speed.real


def _cofactors(z: Array, operands: Sequence[Array], tangents: Tangents) -> Array:
    """Return the tangent of the cofactors, which are polynomials, so singular matrices have it too.

    The cofactors of `u s vh` are those of its factors, and only the diagonal `s` moves: to `s + u^H a_dot v`. There the
    tangents are products of all singular values but two.
    """
    dtype = operands[0].dtype
    u, s, vh = solves.svd(widened(operands[0]))
    inner = adjoint(u) @ widened(tangents[0]) @ adjoint(vh)
    n = s.shape[-1]
    one = np.eye(n, dtype=bool)
    # The products of all but two, one row of the matrix at a time.
    but_two = [np.prod(np.where(one | one[i], 1, s[..., np.newaxis, :]), axis=-1) for i in range(n)]
    products = np.stack(but_two, axis=-2) if n else np.zeros_like(inner.real)
    products = np.where(one, 0, products)
    moved = -products * np.swapaxes(inner, -1, -2)
    along = np.sum(products * _diagonal(inner)[..., np.newaxis, :], axis=-1)
    moved = moved + along[..., np.newaxis] * one
    turn = (np.linalg.det(u) * np.linalg.det(vh))[..., np.newaxis, np.newaxis]
    return narrowed(turn * (np.conjugate(u) @ moved @ np.conjugate(vh)), dtype)


def _cholesky(z: Array, operands: Sequence[Array], tangents: Tangents) -> Array:
    half = solves.solve_triangular(z, _from_lower(tangents[0]))
    return z @ _halved(solves.solve_triangular(z, adjoint(half)))


def _from_lower(a: Array) -> Array:
    """Return the Hermitian matrix that is read from a lower triangle."""
    below = np.tril(a, -1)
    return below + adjoint(below) + np.tril(np.triu(np.real(a)))


def _eigh(result: tuple[Array, Array], operands: Sequence[Array], tangents: Tangents) -> tuple[Array, Array]:
    gaps = inverse_gaps(result[0])
    v = widened(result[1])
    inner = adjoint(v) @ _from_lower(widened(tangents[0])) @ v
    _require_derivative(inner, gaps, "eigenvalues")
    dtype = operands[0].dtype
    return narrowed(np.real(_diagonal(inner)), dtype), narrowed(v @ (gaps * inner), dtype)


def _require_derivative(inner: Array, gaps: Array, what: str) -> None:
    """Refuse a direction that splits values which coincide: their vectors jump."""
    apart = np.abs(inner) * ((gaps == 0) & ~np.eye(gaps.shape[-1], dtype=bool))
    if np.any(apart > 1e-8 * np.max(np.abs(inner), initial=0)):
        msg = f"Two {what} coincide, and this direction splits them, so their vectors have no derivative in it."
        msg += " Move the matrix off that point."
        raise GateDataError(msg)


def _svd(
    result: tuple[Array, Array, Array], operands: Sequence[Array], tangents: Tangents
) -> tuple[Array, Array, Array]:
    dtype = operands[0].dtype
    u, s, vh = (widened(part) for part in result)
    a_dot = widened(tangents[0])
    inner = adjoint(u) @ a_dot @ adjoint(vh)
    gaps, total = inverse_gaps(result[1]), s[..., np.newaxis, :] + s[..., :, np.newaxis]
    together, apart = inner + adjoint(inner), inner - adjoint(inner)
    _require_derivative(together, gaps, "singular values")
    _require_rank(total, apart)
    together, apart = together * gaps / 2, apart * np.where(total == 0, 0, 0.5 / np.where(total == 0, 1, total))
    turn_u, turn_v = together + apart, together - apart
    inverse = inverse_or_zero(result[1], a_dot.shape[-2:])
    u_dot, v_dot = u @ turn_u, adjoint(vh) @ turn_v
    if a_dot.shape[-2] > s.shape[-1]:
        across = a_dot @ adjoint(vh) - u @ inner
        _require_rank(inverse[..., np.newaxis, :], across)
        u_dot = u_dot + across * inverse[..., np.newaxis, :]
    if a_dot.shape[-1] > s.shape[-1]:
        across = adjoint(a_dot) @ u - adjoint(vh) @ adjoint(inner)
        _require_rank(inverse[..., np.newaxis, :], across)
        v_dot = v_dot + across * inverse[..., np.newaxis, :]
    return narrowed(u_dot, dtype), narrowed(np.real(_diagonal(inner)), dtype), narrowed(adjoint(v_dot), dtype)


def _require_rank(size: Array, across: Array) -> None:
    """Refuse a direction that needs the inverse of a singular value that is zero."""
    if np.any((size == 0) & (np.abs(across) > 1e-8 * np.max(np.abs(across), initial=0))):
        msg = "A singular value is zero, and this direction turns its vectors, which have no derivative in it."
        msg += " Move the matrix off that point."
        raise GateDataError(msg)


def _qr(result: tuple[Array, Array], operands: Sequence[Array], tangents: Tangents) -> tuple[Array, Array]:
    q, r = result
    scaled = adjoint(solves.solve_triangular(adjoint(r), adjoint(tangents[0])))
    inner = adjoint(q) @ scaled
    turned = np.triu(inner + adjoint(inner), 1) + np.tril(np.triu(np.real(inner)))
    return scaled - q @ turned, turned @ r


def _lu(
    result: tuple[Array, Array, Array], operands: Sequence[Array], tangents: Tangents
) -> tuple[Array, Array, Array]:
    p, lower, upper = result
    half = solves.solve_triangular(lower, np.swapaxes(p, -1, -2) @ tangents[0], unit_diagonal=True)
    inner = np.swapaxes(solves.solve_triangular(np.swapaxes(upper, -1, -2), np.swapaxes(half, -1, -2)), -1, -2)
    return np.zeros_like(p), lower @ np.tril(inner, -1), np.triu(inner) @ upper


def _expm(z: Array, operands: Sequence[Array], tangents: Tangents) -> Array:
    (a,), (a_dot,) = operands, tangents
    n = a.shape[-1]
    return solves.expm(stacked(a, a_dot))[..., :n, n:]


def stacked(a: Array, direction: Array) -> Array:
    """Return `[[a, direction], [0, a]]`: a function of it has the derivative of that function at its upper right."""
    above = np.concatenate([a, direction], axis=-1)
    below = np.concatenate([np.zeros_like(a), a], axis=-1)
    return np.concatenate([above, below], axis=-2)


TANGENTS: Final[dict[Callable[..., Any], Rule]] = {
    solves.solve: _solve,
    solves.solve_triangular: _solve_triangular,
    solves.inv: _inv,
    solves.pinv: _pinv,
    solves.det: _det,
    solves.slogdet: _slogdet,
    solves.cofactors: _cofactors,
    solves.cholesky: _cholesky,
    solves.eigh: _eigh,
    solves.svd: _svd,
    solves.qr: _qr,
    solves.lu: _lu,
    solves.expm: _expm,
}
"""For each function of `graphsvc.solves` that is handed over, its rule."""
