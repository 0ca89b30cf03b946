"""Gates of decompositions: a matrix as a product of triangular and orthonormal ones, by cholesky, qr, lu."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc import solves
from graphsvc.arrays import Array, ArraySpec, conjugated
from graphsvc.errors import GateDataError, ShapeError
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._costs import of_matrices
from graphsvc.gates._matrices import hermitian_part, require_matrices, require_square, well_conditioned
from graphsvc.hookspecs import PluginContext, hookimpl
from graphsvc.solves import adjoint

graphsvc_api_version = 1


def _divided_on_the_right(x: Array, factor: Array) -> Array:
    """Return `x @ (factor^H)^-1` for an upper triangle `factor`."""
    return adjoint(solves.solve_triangular(factor, adjoint(x), lower=False))


class Cholesky(Gate):
    """Lower triangle ``z`` with ``a = z @ z^H`` of Hermitian positive definite matrices, shape ``(..., n, n)``.

    The operand is taken as the mean of itself and its conjugate transpose, so its gradient is Hermitian. A matrix that
    is not positive definite is refused.

    Source: I. Murray, "Differentiation of the Cholesky decomposition" (2016), section 3.2.
    """

    name: ClassVar[str] = "cholesky"

    upper: Annotated[bool, Field(description="Whether to return the upper triangle z^H instead.")] = False

    def infer(self, a: ArraySpec) -> ArraySpec:
        require_square("a", a)
        return a

    def cost(self, a: ArraySpec) -> Cost:
        return of_matrices(1, a, arrays=6)

    def forward(self, a: Array) -> Array:
        factor = solves.cholesky(hermitian_part(a))
        return adjoint(factor) if self.upper else factor

    def backward(self, dz: Array, z: Array) -> Array:
        factor, arriving = (adjoint(z), adjoint(dz)) if self.upper else (z, dz)
        inner = adjoint(factor) @ np.tril(arriving)
        half = np.tril(inner, -1) + np.tril(np.triu(inner)) / 2
        turned = conjugated(factor)
        left = solves.solve_triangular(turned, half, transposed=True)
        return hermitian_part(adjoint(solves.solve_triangular(turned, adjoint(left), transposed=True)))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), well_conditioned(3, stack=(2,)))
        yield Example(cls(upper=True), well_conditioned(3))
        yield Example(cls(), well_conditioned(2, "c") + 2 * np.eye(2))
        yield Example(cls(upper=True), well_conditioned(2, "c") + 2 * np.eye(2))


class QR(Gate):
    """Orthonormal columns ``q`` and upper triangle ``r`` with ``a = q @ r``.

    Shape ``(..., m, n)`` with ``m >= n`` to ``(..., m, n)`` and ``(..., n, n)``. The diagonal of ``r`` is real. The
    gradient of a matrix of lower rank is refused.

    Source: S. F. Walter, L. Lehmann, R. Lamour, "On evaluating higher-order derivatives of the QR decomposition of
    tall matrices with full column rank in forward and reverse mode algorithmic differentiation" (2012), section 3.
    """

    name: ClassVar[str] = "qr"
    outputs: ClassVar[tuple[str, ...]] = ("q", "r")

    def infer(self, a: ArraySpec) -> tuple[ArraySpec, ArraySpec]:
        require_matrices("a", a)
        if a.shape[-2] < a.shape[-1]:
            msg = f"Operand 'a' must have at least as many rows as columns, got {a.shape}. Transpose it."
            raise ShapeError(msg)
        return a, ArraySpec((*a.shape[:-2], a.shape[-1], a.shape[-1]), a.dtype)

    def cost(self, a: ArraySpec) -> Cost:
        return of_matrices(4, a, arrays=6)

    def forward(self, a: Array) -> tuple[Array, Array]:
        return solves.qr(a)

    def backward(self, dq: Array, dr: Array, q: Array, r: Array) -> Array:
        size = np.abs(np.diagonal(r, axis1=-2, axis2=-1))
        least = max(q.shape[-2:]) * float(np.finfo(r.dtype).eps) * np.max(size, axis=-1, keepdims=True, initial=0)
        if np.any(size <= least):
            msg = "The columns of the matrix depend on each other, so its factors have no derivative. Drop some."
            raise GateDataError(msg)
        inner = np.triu(dr @ adjoint(r) - adjoint(q) @ dq)
        above = np.triu(inner, 1)
        turned = above + adjoint(above) + np.tril(np.real(inner))
        return _divided_on_the_right(dq + q @ turned, r)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        yield Example(cls(), random.normal(size=(2, 4, 3)))
        yield Example(cls(), random.normal(size=(3, 3)))
        yield Example(cls(), random.normal(size=(3, 2)) + 1j * random.normal(size=(3, 2)))


class LU(Gate):
    """Permutation, unit lower triangle and upper triangle with ``a = p @ lower @ upper``, shape ``(..., n, n)`` each.

    The permutation is constant between jumps, so its gradient is zero. The gradient of a singular matrix is refused.

    Source: F. de Hoog, R. Anderssen, M. Lukas, "Differentiation of matrix functionals using triangular factorization",
    Mathematics of Computation 80 (2011).
    """

    name: ClassVar[str] = "lu"
    outputs: ClassVar[tuple[str, ...]] = ("p", "lower", "upper")

    def infer(self, a: ArraySpec) -> tuple[ArraySpec, ArraySpec, ArraySpec]:
        require_square("a", a)
        return a, a, a

    def cost(self, a: ArraySpec) -> Cost:
        return of_matrices(1, a)

    def forward(self, a: Array) -> tuple[Array, Array, Array]:
        return solves.lu(a)

    def backward(self, dp: Array, dlower: Array, dupper: Array, p: Array, lower: Array, upper: Array) -> Array:
        # The permutation is constant between jumps, so what arrives at it goes nowhere.
        inner = np.tril(adjoint(lower) @ dlower, -1) + np.triu(dupper @ adjoint(upper))
        left = solves.solve_triangular(conjugated(lower), inner, transposed=True, unit_diagonal=True)
        return p @ _divided_on_the_right(left, upper)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        yield Example(cls(), random.normal(size=(2, 3, 3)))
        yield Example(cls(), random.normal(size=(2, 2)) + 1j * random.normal(size=(2, 2)))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Cholesky, QR, LU]
