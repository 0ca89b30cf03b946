"""Gates of whole matrices: exponential, powers, norms, and matrices made of their first column."""

from collections.abc import Iterable
from typing import Annotated, ClassVar
from typing import Literal as OneOf

import numpy as np
from pydantic import Field

from graphsvc import solves
from graphsvc.arrays import Array, ArraySpec, narrowed, reduce_sum, require_floating, widened
from graphsvc.errors import ShapeError
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._costs import of_matrices
from graphsvc.gates._matrices import real_dtype, require_matrices, require_square, well_conditioned
from graphsvc.hookspecs import PluginContext, hookimpl
from graphsvc.solves import adjoint
from graphsvc.tangents import inverse_or_zero, stacked

graphsvc_api_version = 1


class ExpM(Gate):
    """Exponential of matrices: ``z = 1 + a + a^2 / 2 + ...``, shape ``(..., n, n)``. NaN where one is not finite.

    Source: the gradient is the upper right block of the exponential of ``[[a^H, dz], [0, a^H]]``; R. Mathias, "A chain
    rule for matrix functions and applications", SIAM J. Matrix Anal. Appl. 17 (1996), theorem 2.1.
    """

    name: ClassVar[str] = "expm"

    def infer(self, a: ArraySpec) -> ArraySpec:
        require_square("a", a)
        return a

    def cost(self, a: ArraySpec) -> Cost:
        # A dozen products; backward has matrices of twice the size.
        return of_matrices(100, a, arrays=30)

    def forward(self, a: Array) -> Array:
        return solves.expm(a)

    def backward(self, dz: Array, a: Array) -> Array:
        n = a.shape[-1]
        # The function is linear in dz, whose size must not decide how often it is squared.
        size = np.max(np.abs(dz), axis=(-2, -1), keepdims=True, initial=0)
        size = np.where((size > 0) & np.isfinite(size), size, 1)
        return solves.expm(stacked(adjoint(a), dz / size))[..., :n, n:] * size

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        yield Example(cls(), random.normal(size=(2, 3, 3)))
        yield Example(cls(), random.normal(size=(2, 2)) + 1j * random.normal(size=(2, 2)))


def _power(a: Array, n: int) -> Array:
    """Return the power of matrices for `n >= 1`, by squaring."""
    if n == 1:
        return a
    half = _power(a @ a, n // 2)
    return half @ a if n % 2 else half


class MatrixPower(Gate):
    """Product of ``n`` times the same matrix, of its inverse where ``n`` is negative; the unit matrix for ``n = 0``.

    Shape ``(..., n, n)``. A singular matrix has no negative powers, which is refused.

    Source: as for `expm`.
    """

    name: ClassVar[str] = "matrix_power"

    n: Annotated[int, Field(ge=-(2**31), le=2**31, description="The power.")]

    def infer(self, a: ArraySpec) -> ArraySpec:
        require_square("a", a)
        return a

    def cost(self, a: ArraySpec) -> Cost:
        # Backward squares matrices of twice the size.
        return of_matrices(12 * abs(self.n).bit_length(), a, arrays=18)

    def forward(self, a: Array) -> Array:
        if self.n == 0:
            return np.zeros_like(a) + np.eye(a.shape[-1], dtype=a.dtype)
        if self.n == 1:
            return a.copy()
        wide = widened(a)
        return narrowed(_power(wide if self.n > 0 else solves.inv(wide), abs(self.n)), a.dtype)

    def backward(self, dz: Array, a: Array) -> Array:
        if self.n == 0:
            return np.zeros_like(a)
        n = a.shape[-1]
        across, arriving = adjoint(widened(a)), widened(dz)
        if self.n < 0:
            across = solves.inv(across)
        found = _power(stacked(across, arriving), abs(self.n))[..., :n, n:]
        return found if self.n > 0 else -(across @ found @ across)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        for n in (0, 1, 2, 5):
            yield Example(cls(n=n), random.normal(size=(2, 3, 3)))
        yield Example(cls(n=-3), well_conditioned(3))
        yield Example(cls(n=3), random.normal(size=(2, 2)) + 1j * random.normal(size=(2, 2)))


class MatrixNorm(Gate):
    """Norm of matrices, shape ``(..., m, n)`` to ``(...)``.

    ``"fro"`` is the root of the sum of squares, ``"nuc"`` the sum of the singular values, ``2`` the largest of them.
    At kinks the gradient is the subgradient of least norm: zero for a zero matrix, even shares among equal largest
    values.
    """

    name: ClassVar[str] = "matrix_norm"

    ord: Annotated[OneOf["fro", "nuc", 2], Field(description="Which norm.")] = "fro"
    keepdims: Annotated[bool, Field(description="Whether the axes of the matrices stay, with length 1.")] = False

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_matrices("x", x)
        if self.ord == 2 and 0 in x.shape[-2:]:
            msg = f"Matrices of shape {x.shape} have no largest singular value. Choose another norm."
            raise ShapeError(msg)
        return ArraySpec((*x.shape[:-2], *((1, 1) if self.keepdims else ())), real_dtype(x))

    def cost(self, x: ArraySpec) -> Cost:
        return of_matrices(0 if self.ord == "fro" else 20, x)

    def forward(self, x: Array) -> Array:
        if self.ord == "fro":
            size = np.abs(widened(x))
            z = np.sqrt(reduce_sum(size * size, (-2, -1)))
        else:
            s = widened(solves.svd(widened(x))[1])
            z = reduce_sum(s, -1) if self.ord == "nuc" else np.max(s, axis=-1)
        z = narrowed(z, x.dtype)
        return z[..., np.newaxis, np.newaxis] if self.keepdims else z

    def backward(self, dz: Array, x: Array, z: Array) -> Array:
        if not self.keepdims:
            dz, z = np.expand_dims(dz, (-2, -1)), np.expand_dims(z, (-2, -1))
        if self.ord == "fro":
            return np.where(z == 0, 0, dz / np.where(z == 0, 1, z)) * x
        u, s, vh = solves.svd(widened(x))
        rank = inverse_or_zero(s, (x.shape[-2], x.shape[-1])) != 0
        if self.ord == "nuc":
            share = np.where(rank, 1, 0)
        else:
            largest = np.max(s, axis=-1, keepdims=True)
            near = rank & (s >= largest * (1 - 16 * float(np.finfo(s.dtype).eps)))
            share = np.where(near, 1 / np.maximum(np.sum(near, axis=-1, keepdims=True), 1), 0)
        return dz * ((u * share.astype(s.dtype)[..., np.newaxis, :]) @ vh)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        x = random.normal(size=(2, 3, 4))
        yield Example(cls(), x)
        yield Example(cls(ord="nuc", keepdims=True), x)
        yield Example(cls(ord="nuc"), x[0].T)
        yield Example(cls(ord=2), x)
        yield Example(cls(keepdims=True), x + 1j)
        yield Example(cls(ord=2), x[0] + 1j * x[1])


class Circulant(Gate):
    """Matrix whose columns are one vector, each turned one further: ``z_ij = c[(i - j) mod n]``."""

    name: ClassVar[str] = "circulant"
    linear: ClassVar[bool] = True

    def infer(self, c: ArraySpec) -> ArraySpec:
        require_floating("c", c, complex_too=True)
        if c.ndim != 1:
            msg = f"Operand 'c' must be a vector, got shape {c.shape}. Reshape it."
            raise ShapeError(msg)
        return ArraySpec((*c.shape, *c.shape), c.dtype)

    def forward(self, c: Array) -> Array:
        places = np.arange(c.shape[0])
        return np.take(c, (places[:, np.newaxis] - places) % max(len(places), 1))

    def backward(self, dz: Array) -> Array:
        places = np.arange(dz.shape[0])
        # In row i, the element k of the vector stands in column i - k.
        columns = (places[:, np.newaxis] - places) % max(len(places), 1)
        return reduce_sum(np.take_along_axis(dz, columns, 1), 0)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        c = np.random.default_rng(2).normal(size=4)
        yield Example(cls(), c)
        yield Example(cls(), c[:3] + 1j)


class Toeplitz(Gate):
    """Matrix that is constant along its diagonals, of its first column and row: ``z_ij = c[i - j]``, or ``r[j - i]``.

    The first element of ``r`` is not read, as in `scipy.linalg.toeplitz`: the corner is that of ``c``.
    """

    name: ClassVar[str] = "toeplitz"
    linear: ClassVar[bool] = True

    def infer(self, c: ArraySpec, r: ArraySpec) -> ArraySpec:
        for name, operand in (("c", c), ("r", r)):
            require_floating(name, operand, complex_too=True)
            if operand.ndim != 1 or not operand.size:
                msg = f"Operand {name!r} must be a vector with elements, got shape {operand.shape}. Reshape it."
                raise ShapeError(msg)
        return ArraySpec((*c.shape, *r.shape), np.result_type(c.dtype, r.dtype))

    def forward(self, c: Array, r: Array) -> Array:
        diagonals = np.concatenate([c[::-1], r[1:]])
        return np.take(diagonals, np.arange(c.shape[0])[::-1, np.newaxis] + np.arange(r.shape[0]))

    def backward(self, dz: Array, c_shape: tuple[int, ...], r_shape: tuple[int, ...]) -> tuple[Array, Array]:
        (m,), (n,) = c_shape, r_shape
        # In row i, the diagonal k from the lower left stands in column k - (m - 1 - i).
        columns = np.arange(m + n - 1) - np.arange(m)[::-1, np.newaxis]
        inside = (columns >= 0) & (columns < n)
        moved = np.where(inside, np.take_along_axis(dz, np.clip(columns, 0, n - 1), 1), 0)
        sums = reduce_sum(moved, 0)
        return sums[:m][::-1], np.where(np.arange(n) > 0, sums[m - 1 :], 0)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        c, r = random.normal(size=3), random.normal(size=4)
        yield Example(cls(), c, r)
        yield Example(cls(), r, c[:1])
        yield Example(cls(), c + 1j, r + 0.5j)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [ExpM, MatrixPower, MatrixNorm, Circulant, Toeplitz]
