"""What functions of linear algebra do to tangents.

Source:
    M. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation" (2008),
    sections 2 and 3; I. Murray, "Differentiation of the Cholesky decomposition" (2016), equation 8.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from graphsvc.engine.duals.dual import Dual, dual, lose, tangent_of, value_of

__all__ = ["DECOMPOSITIONS"]


def _transposed(a: Any) -> Any:
    return np.conjugate(np.swapaxes(a, -1, -2))


def _times(a: Any, z: Any, *, vector: bool) -> Any:
    return np.matmul(a, z[..., np.newaxis])[..., 0] if vector else np.matmul(a, z)


def _solve(a: Any, b: Any) -> Any:
    va, vb, ta, tb = value_of(a), value_of(b), tangent_of(a), tangent_of(b)
    z = np.linalg.solve(va, vb)
    along = tb
    if ta is not None:
        part = _times(ta, z, vector=np.ndim(vb) == 1)
        along = -part if along is None else along - part
    return dual(z, None if along is None else np.linalg.solve(va, np.broadcast_to(along, z.shape)))


def _inv(a: Dual) -> Any:
    z = np.linalg.inv(a.value)
    return dual(z, -(z @ a.tangent @ z))


def _trace_of_solution(a: Dual) -> Any:
    try:
        solution = np.linalg.solve(a.value, a.tangent)
    except np.linalg.LinAlgError:
        lose("it calls a determinant of a singular matrix")
    return np.trace(solution, axis1=-2, axis2=-1)


def _det(a: Dual) -> Any:
    z = np.linalg.det(a.value)
    return dual(z, z * _trace_of_solution(a))


def _slogdet(a: Dual) -> Any:
    if a.dtype.kind == "c":
        lose("it calls np.linalg.slogdet on complex numbers")
    sign, logarithm = np.linalg.slogdet(a.value)
    return sign, dual(logarithm, _trace_of_solution(a))


def _lower_half(x: Any) -> Any:
    """Return the lower triangle with half of the diagonal."""
    return np.tril(x) - 0.5 * (x * np.eye(x.shape[-1], dtype=x.dtype))


def _cholesky_tangent(z: Any, t: Any) -> Any:
    t = (np.tril(t) + _transposed(np.tril(t, -1))) if t.shape[-1] else t
    inner = np.linalg.solve(z, _transposed(np.linalg.solve(z, t)))
    return z @ _lower_half(_transposed(inner))


def _cholesky(a: Dual, *, upper: bool = False) -> Any:
    if upper:
        lose("it calls np.linalg.cholesky with upper")
    z = np.linalg.cholesky(a.value)
    return dual(z, _cholesky_tangent(z, a.tangent))


def _matrix_power(a: Dual, n: int) -> Any:
    if n < 0:
        return _matrix_power(_inv(a), -n)
    made: Any = np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape)
    for _ in range(n):
        made = np.matmul(made, a)
    return made


DECOMPOSITIONS: Final[Mapping[Callable[..., Any], Callable[..., Any]]] = {
    np.linalg.solve: _solve,
    np.linalg.inv: _inv,
    np.linalg.det: _det,
    np.linalg.slogdet: _slogdet,
    np.linalg.cholesky: _cholesky,
    np.linalg.matrix_power: _matrix_power,
}
"""The rule of each function."""
