"""Linear algebra that runs on arrays and on whatever stands for one, so that its derivatives have derivatives.

NumPy's and SciPy's LAPACK functions know arrays alone. Each function here hands a call with an operand that has
`__array_function__` over to it, as NumPy's own functions do, with the function itself as `func`; so backward rules
written with them run on dual arrays too. `graphsvc.tangents` says what their tangents are. All take stacks of matrices,
shape `(..., n, n)`, real and complex; float16 is computed in float32. What LAPACK refuses is a `GateDataError`.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, ParamSpec, TypeVar, cast

import numpy as np

from graphsvc.errors import GateDataError
from graphsvc.precision import Array, conjugated, narrowed, widened

__all__ = [
    "adjoint",
    "cho_solve",
    "cholesky",
    "cofactors",
    "det",
    "dispatched",
    "eigh",
    "expm",
    "inv",
    "lu",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "triangle",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Above it a loop over the stack beats a general solve of triangular matrices.
_SMALL: Final = 32


def dispatched(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let operands that stand for arrays answer calls of `function`, as NEP 18 says.

    Args:
        function: Its operands are positional, its attributes keywords.

    Returns:
        A function of the same signature. It calls `operand.__array_function__(func, types, operands, attributes)` of
        the first operand that is no array, with `func` being the function returned here.
    """

    @functools.wraps(function)
    def public(*operands: _P.args, **attributes: _P.kwargs) -> _T:
        others = [x for x in operands if hasattr(x, "__array_function__") and not isinstance(x, np.ndarray)]
        for other in others:
            answer = other.__array_function__(public, tuple({type(x) for x in others}), operands, attributes)
            if answer is not NotImplemented:
                return cast(_T, answer)
        if others:
            msg = f"{function.__name__} does not run on {type(others[0]).__name__}"
            raise TypeError(msg)
        return function(*operands, **attributes)

    return public


@contextmanager
def _refusal(problem: str) -> Iterator[None]:
    """Turn LAPACK's complaint into an error for who gave the data."""
    try:
        yield
    except np.linalg.LinAlgError as error:
        raise GateDataError(problem) from error


_SINGULAR: Final = "The matrix is singular, so nothing can be solved with it. Add to its diagonal, or use 'pinv'."
_NO_CONVERGENCE: Final = "The decomposition does not converge. Scale the matrix, or move it a little."


def _finite(a: Array) -> Array:
    """Return `a` widened, or refuse it: LAPACK's iterations may run for ever on infinities.

    Raises:
        GateDataError: An element is NaN or infinite.
    """
    wide = widened(a)
    if not np.all(np.isfinite(wide)):
        msg = "The matrix holds NaN or infinities, so it has no decomposition. Look for where they come from."
        raise GateDataError(msg)
    return wide


# Words that need no dispatch, because they are made of NumPy's ------------------------------------------------------


def adjoint(a: Array) -> Array:
    """Return the conjugate transpose of the last two axes. Shape `(..., m, n)` to `(..., n, m)`."""
    return conjugated(np.swapaxes(a, -1, -2))


def triangle(a: Array, *, lower: bool, unit_diagonal: bool = False) -> Array:
    """Return the triangle of `a`, zeros elsewhere; without the diagonal where that is taken as ones."""
    offset = int(unit_diagonal)
    return np.tril(a, -offset) if lower else np.triu(a, offset)


def cho_solve(factor: Array, b: Array) -> Array:
    """Solve `factor @ factor^H @ x = b` by two triangular solves.

    Args:
        factor: A lower Cholesky factor. Shape `(..., n, n)`.
        b: Shape `(..., n, k)`, or `(n,)`.

    Returns:
        The solution. Shape of `b`, with the stacks broadcast.
    """
    middle = solve_triangular(factor, b)
    if b.ndim == 1:
        # Only an operand of one axis is a vector, and a stack of solutions is none.
        return solve_triangular(conjugated(factor), middle[..., np.newaxis], transposed=True)[..., 0]
    return solve_triangular(conjugated(factor), middle, transposed=True)


# Solving ------------------------------------------------------------------------------------------------------------


@dispatched
def solve(a: Array, b: Array, /) -> Array:
    """Solve `a @ x = b` by LU with partial pivoting.

    Args:
        a: Shape `(..., n, n)`.
        b: Shape `(..., n, k)`; a vector only if it has one axis.

    Returns:
        The solution. Shape `(..., n, k)`, or `(..., n)` for a vector.

    Raises:
        GateDataError: A matrix is singular.
    """
    with _refusal(_SINGULAR):
        return narrowed(np.linalg.solve(widened(a), widened(b)), np.result_type(a.dtype, b.dtype))


@dispatched
def solve_triangular(
    a: Array, b: Array, /, *, lower: bool = True, transposed: bool = False, unit_diagonal: bool = False
) -> Array:
    """Solve `a @ x = b` for triangular matrices.

    Args:
        a: Only the triangle is read. Shape `(..., n, n)`.
        b: Shape `(..., n, k)`; a vector only if it has one axis.
        lower: Which triangle of `a`.
        transposed: Whether to solve `a^T @ x = b` (not conjugated).
        unit_diagonal: Whether the diagonal is taken as ones, and not read.

    Returns:
        The solution. Shape `(..., n, k)`, or `(..., n)` for a vector.

    Raises:
        GateDataError: A diagonal has a zero.
    """
    dtype = np.result_type(a.dtype, b.dtype)
    a, b = widened(a), widened(b)
    if not unit_diagonal and np.any(np.diagonal(a, axis1=-2, axis2=-1) == 0):
        raise GateDataError(_SINGULAR)
    columns = b[:, np.newaxis] if b.ndim == 1 else b
    stack = np.broadcast_shapes(a.shape[:-2], columns.shape[:-2])
    n = a.shape[-1]
    if stack and n <= _SMALL:
        matrix = triangle(a, lower=lower, unit_diagonal=unit_diagonal) + (np.eye(n, dtype=a.dtype) * unit_diagonal)
        # A diagonal so small that its inverse is infinite counts as zero.
        with _refusal(_SINGULAR):
            x = np.linalg.solve(np.swapaxes(matrix, -1, -2) if transposed else matrix, columns)
    else:
        from scipy.linalg import solve_triangular as lapack  # takes a quarter of a second to import

        x = np.empty((*stack, *columns.shape[-2:]), np.result_type(a.dtype, b.dtype))
        a, columns = (np.broadcast_to(m, (*stack, *m.shape[-2:])) for m in (a, columns))
        for place in np.ndindex(*stack) if x.size else ():
            x[place] = lapack(
                a[place],
                columns[place],
                trans=int(transposed),
                lower=lower,
                unit_diagonal=unit_diagonal,
                check_finite=False,
            )
    return narrowed(x[..., 0] if b.ndim == 1 else x, dtype)


@dispatched
def inv(a: Array, /) -> Array:
    """Invert matrices. Shape `(..., n, n)`.

    Raises:
        GateDataError: A matrix is singular.
    """
    with _refusal("The matrix is singular and has no inverse. Add to its diagonal, or use 'pinv'."):
        return narrowed(np.linalg.inv(widened(a)), a.dtype)


@dispatched
def pinv(a: Array, /, *, rtol: float | None = None) -> Array:
    """Return Moore-Penrose inverses. Shape `(..., m, n)` to `(..., n, m)`.

    Args:
        a: The matrices.
        rtol: Singular values of at most `rtol` times the largest count as zero; None is `max(m, n)` times the
            precision of the dtype.

    Raises:
        GateDataError: The singular values cannot be found.
    """
    wide = _finite(a)
    if not wide.size:
        return np.zeros((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)
    if rtol is None:
        rtol = max(a.shape[-2:]) * float(np.finfo(wide.dtype).eps)
    with _refusal(_NO_CONVERGENCE):
        return narrowed(np.linalg.pinv(wide, rcond=rtol), a.dtype)


# Determinants -------------------------------------------------------------------------------------------------------


@dispatched
def det(a: Array, /) -> Array:
    """Return determinants. Shape `(..., n, n)` to `(...)`."""
    return narrowed(np.linalg.det(widened(a)), a.dtype)


@dispatched
def slogdet(a: Array, /) -> tuple[Array, Array]:
    """Return sign (or phase) and logarithm of the modulus of determinants. Shape `(..., n, n)` to twice `(...)`."""
    sign, logarithm = np.linalg.slogdet(widened(a))
    return narrowed(sign, a.dtype), narrowed(logarithm, a.dtype)


@dispatched
def cofactors(a: Array, /) -> Array:
    """Return the matrices of cofactors: the derivative of the determinant, of singular matrices too.

    Shape `(..., n, n)`; NaN where a matrix is not finite. Where the inverse is trusted, it is
    `det(a) inv(a)^T`. Otherwise, with `a = u s vh`, it is
    `det(u) det(vh) conj(u) p conj(vh)`, where `p` holds for each singular value the product of all others.

    Source:
        G. W. Stewart, "On the adjugate matrix", Linear Algebra and its Applications 283 (1998), section 2.
    """
    wide = widened(a)
    finite = np.all(np.isfinite(wide), axis=(-2, -1), keepdims=True)
    found = _finite_cofactors(wide if np.all(finite) else np.where(finite, wide, 0))
    return narrowed(found if np.all(finite) else np.where(finite, found, np.nan), a.dtype)


def _finite_cofactors(a: Array) -> Any:
    try:
        inverse = np.linalg.inv(a)
    except np.linalg.LinAlgError:
        inverse = None
    if inverse is not None:
        condition = np.linalg.norm(a, axis=(-2, -1)) * np.linalg.norm(inverse, axis=(-2, -1))
        if np.all(condition < 1e4):
            return np.linalg.det(a)[..., np.newaxis, np.newaxis] * np.swapaxes(inverse, -1, -2)
    with _refusal(_NO_CONVERGENCE):
        u, s, vh = np.linalg.svd(a)
    ones = np.ones_like(s[..., :1])
    below = np.cumprod(np.concatenate([ones, s[..., :-1]], axis=-1), axis=-1)
    above = np.cumprod(np.concatenate([ones, s[..., :0:-1]], axis=-1), axis=-1)[..., ::-1]
    turn = (np.linalg.det(u) * np.linalg.det(vh))[..., np.newaxis, np.newaxis]
    return turn * np.matmul(np.conjugate(u) * (below * above)[..., np.newaxis, :], np.conjugate(vh))


# Decompositions -----------------------------------------------------------------------------------------------------


@dispatched
def cholesky(a: Array, /) -> Array:
    """Return the lower factor of Hermitian positive definite matrices: `a = z @ z^H`. Shape `(..., n, n)`.

    Only the lower triangle is read.

    Raises:
        GateDataError: A matrix is not positive definite.
    """
    with _refusal("The matrix is not positive definite. Add to its diagonal, or look at its eigenvalues."):
        return narrowed(np.linalg.cholesky(widened(a)), a.dtype)


@dispatched
def eigh(a: Array, /) -> tuple[Array, Array]:
    """Return ascending eigenvalues and eigenvectors, in columns, of Hermitian matrices: `a = v @ diag(w) @ v^H`.

    Only the lower triangle is read. Shape `(..., n, n)` to `(..., n)` and `(..., n, n)`.

    Raises:
        GateDataError: They cannot be found.
    """
    with _refusal(_NO_CONVERGENCE):
        w, v = np.linalg.eigh(_finite(a))
    return narrowed(w, a.dtype), narrowed(v, a.dtype)


@dispatched
def svd(a: Array, /) -> tuple[Array, Array, Array]:
    """Return the thin singular value decomposition `a = u @ diag(s) @ vh`, with `s` descending.

    Shape `(..., m, n)` to `(..., m, k)`, `(..., k)` and `(..., k, n)`, where `k = min(m, n)`.

    Raises:
        GateDataError: It cannot be found.
    """
    with _refusal(_NO_CONVERGENCE):
        u, s, vh = np.linalg.svd(_finite(a), full_matrices=False)
    return narrowed(u, a.dtype), narrowed(s, a.dtype), narrowed(vh, a.dtype)


@dispatched
def qr(a: Array, /) -> tuple[Array, Array]:
    """Return orthonormal columns and an upper triangle: `a = q @ r`.

    Shape `(..., m, n)` with `m >= n` to `(..., m, n)` and `(..., n, n)`.
    """
    q, r = np.linalg.qr(widened(a))
    return narrowed(q, a.dtype), narrowed(r, a.dtype)


@dispatched
def lu(a: Array, /) -> tuple[Array, Array, Array]:
    """Return permutation, unit lower and upper triangle: `a = p @ l @ u`. Shape `(..., n, n)` each."""
    from scipy.linalg import lu as lapack  # takes a quarter of a second to import

    wide = widened(a)
    if not wide.size:
        empty = narrowed(wide, a.dtype)
        return empty.copy(), empty.copy(), empty.copy()
    p, lower, upper = lapack(wide, check_finite=False)
    return narrowed(p.astype(wide.dtype), a.dtype), narrowed(lower, a.dtype), narrowed(upper, a.dtype)


@dispatched
def expm(a: Array, /) -> Array:
    """Return matrix exponentials. Shape `(..., n, n)`; NaN where a matrix is not finite."""
    from scipy.linalg import expm as exponential  # takes a quarter of a second to import

    wide = widened(a)
    finite = np.all(np.isfinite(wide), axis=(-2, -1), keepdims=True)
    if np.all(finite):
        return narrowed(exponential(wide), a.dtype)
    return narrowed(np.where(finite, exponential(np.where(finite, wide, 0)), np.nan), a.dtype).astype(a.dtype)
