"""Gates that solve systems of linear equations, exactly or by least squares, and inverses."""

from collections.abc import Iterable
from typing import Annotated, ClassVar
from typing import Literal as OneOf

import numpy as np
from pydantic import Field

from graphsvc import solves
from graphsvc.arrays import Array, ArraySpec, conjugated
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._costs import of_matrices, of_systems
from graphsvc.gates._matrices import (
    columns_of,
    require_matrices,
    require_square,
    solution_spec,
    summed_like,
    well_conditioned,
)
from graphsvc.hookspecs import PluginContext, hookimpl
from graphsvc.solves import adjoint, triangle

graphsvc_api_version = 1


class Solve(Gate):
    """Solution of linear equations ``a @ z = b``, by LU with partial pivoting.

    Shapes ``(..., n, n)`` and ``(..., n, k)``, whose stacks broadcast; ``b`` is a vector only if it has one axis, as
    in NumPy 2. A singular matrix is refused.

    Source: M. B. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation"
    (2008), section 2.3.1.
    """

    name: ClassVar[str] = "solve"

    def infer(self, a: ArraySpec, b: ArraySpec) -> ArraySpec:
        require_square("a", a)
        return solution_spec(a, b, rows=a.shape[-1], unknowns=a.shape[-1])

    def cost(self, a: ArraySpec, b: ArraySpec) -> Cost:
        return of_systems(1, a, b, self.infer(a, b))

    def forward(self, a: Array, b: Array) -> Array:
        return solves.solve(a, b)

    def backward(
        self, dz: Array, a: Array, z: Array, a_shape: tuple[int, ...], b_shape: tuple[int, ...]
    ) -> tuple[Array, Array]:
        vector = len(b_shape) == 1
        db = solves.solve(adjoint(a), columns_of(dz, vector))
        da = -(db @ adjoint(columns_of(z, vector)))
        return summed_like(da, a_shape), summed_like(db, b_shape, vector=vector)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        yield Example(cls(), well_conditioned(3), random.normal(size=3))
        yield Example(cls(), well_conditioned(3, stack=(2,)), random.normal(size=(3, 2)))
        yield Example(cls(), well_conditioned(2, stack=(2,)), random.normal(size=2))
        yield Example(cls(), well_conditioned(2, "c"), random.normal(size=(2, 2, 1)) + 1j)


class TriangularSolve(Gate):
    """Solution of ``op(a) @ z = b`` for triangular matrices ``a``, of which only the triangle is read.

    Shapes ``(..., n, n)`` and ``(..., n, k)``, whose stacks broadcast; ``b`` is a vector only if it has one axis. A
    zero on the diagonal is refused.
    """

    name: ClassVar[str] = "triangular_solve"

    lower: Annotated[bool, Field(description="Whether the lower triangle is read, else the upper.")] = False
    trans: Annotated[
        OneOf["N", "T", "C"],
        Field(description="What is solved with: 'N' the matrix, 'T' its transpose, 'C' its conjugate transpose."),
    ] = "N"
    unit_diagonal: Annotated[bool, Field(description="Whether the diagonal is taken as ones, and not read.")] = False

    def infer(self, a: ArraySpec, b: ArraySpec) -> ArraySpec:
        require_square("a", a)
        return solution_spec(a, b, rows=a.shape[-1], unknowns=a.shape[-1])

    def cost(self, a: ArraySpec, b: ArraySpec) -> Cost:
        return of_systems(0, a, b, self.infer(a, b))

    def _solve(self, a: Array, b: Array, *, transposed: bool) -> Array:
        return solves.solve_triangular(a, b, lower=self.lower, transposed=transposed, unit_diagonal=self.unit_diagonal)

    def forward(self, a: Array, b: Array) -> Array:
        return self._solve(conjugated(a) if self.trans == "C" else a, b, transposed=self.trans != "N")

    def backward(
        self, dz: Array, a: Array, z: Array, a_shape: tuple[int, ...], b_shape: tuple[int, ...]
    ) -> tuple[Array, Array]:
        vector = len(b_shape) == 1
        matrix = a if self.trans == "C" else conjugated(a)
        db = self._solve(matrix, columns_of(dz, vector), transposed=self.trans == "N")
        solution = columns_of(z, vector)
        if self.trans == "N":
            da = db @ adjoint(solution)
        elif self.trans == "T":
            da = conjugated(solution) @ np.swapaxes(db, -1, -2)
        else:
            da = solution @ adjoint(db)
        da = triangle(-da, lower=self.lower, unit_diagonal=self.unit_diagonal)
        return summed_like(da, a_shape), summed_like(db, b_shape, vector=vector)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        matrix, complex_matrix = well_conditioned(3), well_conditioned(2, "c")
        yield Example(cls(), matrix, random.normal(size=3))
        yield Example(cls(lower=True, trans="T"), well_conditioned(3, stack=(2,)), random.normal(size=(3, 2)))
        yield Example(cls(lower=True, unit_diagonal=True), matrix, random.normal(size=(2, 3, 1)))
        yield Example(cls(trans="C"), complex_matrix, random.normal(size=(2, 1)) + 1j)
        yield Example(cls(trans="T"), complex_matrix, random.normal(size=(2, 1)) + 1j)
        yield Example(cls(), complex_matrix, random.normal(size=2) + 1j)


class ChoSolve(Gate):
    """Solution of ``c @ c^H @ z = b`` with a lower Cholesky factor ``c``, of which only the triangle is read.

    Shapes ``(..., n, n)`` and ``(..., n, k)``, whose stacks broadcast; ``b`` is a vector only if it has one axis.
    """

    name: ClassVar[str] = "cho_solve"

    def infer(self, c: ArraySpec, b: ArraySpec) -> ArraySpec:
        require_square("c", c)
        return solution_spec(c, b, rows=c.shape[-1], unknowns=c.shape[-1])

    def cost(self, c: ArraySpec, b: ArraySpec) -> Cost:
        return of_systems(0, c, b, self.infer(c, b))

    def forward(self, c: Array, b: Array) -> Array:
        return solves.cho_solve(c, b)

    def backward(
        self, dz: Array, c: Array, z: Array, c_shape: tuple[int, ...], b_shape: tuple[int, ...]
    ) -> tuple[Array, Array]:
        vector = len(b_shape) == 1
        factor = np.tril(c)
        db = solves.cho_solve(factor, columns_of(dz, vector))
        # The product c @ c^H has the gradient -db @ z^H.
        dproduct = db @ adjoint(columns_of(z, vector))
        dc = -np.tril((dproduct + adjoint(dproduct)) @ factor)
        return summed_like(dc, c_shape), summed_like(db, b_shape, vector=vector)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        yield Example(cls(), well_conditioned(3), random.normal(size=3))
        yield Example(cls(), well_conditioned(3, stack=(2,)), random.normal(size=(3, 2)))
        yield Example(cls(), well_conditioned(2, stack=(2,)), random.normal(size=2))
        yield Example(cls(), well_conditioned(2, "c"), random.normal(size=(2, 1)) + 1j)


class Inv(Gate):
    """Inverse of matrices: ``z = a^-1``, shape ``(..., n, n)``. A singular matrix is refused."""

    name: ClassVar[str] = "inv"

    def infer(self, a: ArraySpec) -> ArraySpec:
        require_square("a", a)
        return a

    def cost(self, a: ArraySpec) -> Cost:
        return of_matrices(2, a)

    def forward(self, a: Array) -> Array:
        return solves.inv(a)

    def backward(self, dz: Array, z: Array) -> Array:
        across = adjoint(z)
        return -(across @ dz @ across)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), well_conditioned(3, stack=(2,)))
        yield Example(cls(), well_conditioned(2, "c"))


_Rtol = Annotated[
    float | None,
    Field(
        ge=0,
        allow_inf_nan=False,
        description="Singular values of at most this part of the largest count as zero; None is max(m, n) times the "
        "precision of the dtype.",
    ),
]


def _product(x: Array, y: Array, z: Array) -> Array:
    """Return `x @ y @ z`, of shapes `(m, n)`, `(n, m)` and `(m, n)`, by way of the smaller of the square products."""
    m, n = x.shape[-2:]
    return x @ (y @ z) if n < m else (x @ y) @ z


def _pinv_backward(dz: Array, a: Array, z: Array) -> Array:
    """Pull the gradient of a pseudo-inverse back to its matrix, whose rank stays as it is.

    Source:
        G. H. Golub and V. Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose
        variables separate", SIAM J. Numer. Anal. 10 (1973), formula 4.12, transposed.
    """
    across, inverse = adjoint(dz), adjoint(z)
    back = _product(across - _product(a, z, across), z, inverse)
    forth = _product(inverse, z, across - _product(across, z, a))
    return back + forth - _product(inverse, dz, inverse)


class Pinv(Gate):
    """Moore-Penrose inverse of matrices, shape ``(..., m, n)`` to ``(..., n, m)``.

    The gradient is that among matrices of the same rank.

    Source: G. H. Golub and V. Pereyra, SIAM J. Numer. Anal. 10 (1973), formula 4.12.
    """

    name: ClassVar[str] = "pinv"

    rtol: _Rtol = None

    def infer(self, a: ArraySpec) -> ArraySpec:
        require_matrices("a", a)
        return ArraySpec((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)

    def cost(self, a: ArraySpec) -> Cost:
        return of_matrices(20, a, arrays=10)

    def forward(self, a: Array) -> Array:
        return solves.pinv(a, rtol=self.rtol)

    def backward(self, dz: Array, a: Array, z: Array) -> Array:
        return _pinv_backward(dz, a, z)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        yield Example(cls(), random.normal(size=(2, 4, 2)))
        yield Example(cls(rtol=1e-6), random.normal(size=(2, 3)))
        yield Example(cls(), random.normal(size=(3, 2)) + 1j * random.normal(size=(3, 2)))


class Lstsq(Gate):
    """Least-squares solution of ``a @ z = b``, of least norm where there are many.

    Shapes ``(..., m, n)`` and ``(..., m, k)``, whose stacks broadcast; ``b`` is a vector only if it has one axis. The
    gradient is that among matrices of the same rank.

    Source: G. H. Golub and V. Pereyra, SIAM J. Numer. Anal. 10 (1973), formula 4.12.
    """

    name: ClassVar[str] = "lstsq"
    saves: ClassVar[tuple[str, ...]] = ("inverse",)

    rtol: _Rtol = None

    def infer(self, a: ArraySpec, b: ArraySpec) -> ArraySpec:
        require_matrices("a", a)
        return solution_spec(a, b, rows=a.shape[-2], unknowns=a.shape[-1])

    def cost(self, a: ArraySpec, b: ArraySpec) -> Cost:
        return of_systems(20, a, b, self.infer(a, b), arrays=10)

    def forward(self, a: Array, b: Array) -> tuple[Array, Array]:
        inverse = solves.pinv(a, rtol=self.rtol)
        return inverse @ b, inverse

    def backward(
        self, dz: Array, a: Array, b: Array, inverse: Array, a_shape: tuple[int, ...], b_shape: tuple[int, ...]
    ) -> tuple[Array, Array]:
        vector = len(b_shape) == 1
        columns = columns_of(dz, vector)
        db = adjoint(inverse) @ columns
        da = _pinv_backward(columns @ adjoint(columns_of(b, vector)), a, inverse)
        return summed_like(da, a_shape), summed_like(db, b_shape, vector=vector)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        yield Example(cls(), random.normal(size=(4, 2)), random.normal(size=4))
        yield Example(cls(), random.normal(size=(2, 2, 3)), random.normal(size=(2, 1)))
        yield Example(cls(), random.normal(size=(2, 3, 2)), random.normal(size=3))
        yield Example(cls(), random.normal(size=(3, 2)) + 1j * random.normal(size=(3, 2)), random.normal(size=3) + 1j)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Solve, TriangularSolve, ChoSolve, Inv, Pinv, Lstsq]
