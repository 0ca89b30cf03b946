"""Gates of decompositions into eigenvalues, singular values and their vectors.

Vectors of values that coincide have no derivative. Their undefined entries are taken as zero, which is right for every
result that does not depend on the choice of a basis; where one does, `undefined` says so.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar
from typing import Literal as OneOf

import numpy as np
from pydantic import Field

from graphsvc import solves
from graphsvc.arrays import Array, ArraySpec, widened
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._costs import of_matrices
from graphsvc.gates._matrices import hermitian_part, real_dtype, require_matrices, require_square, well_conditioned
from graphsvc.hookspecs import PluginContext, hookimpl
from graphsvc.solves import adjoint
from graphsvc.tangents import inverse_gaps, inverse_or_zero

graphsvc_api_version = 1


def _largest(v: Array) -> Array:
    """Tell of each column which element is the largest. Shape `(..., m, n)`, one True a column."""
    places = np.arange(v.shape[-2])[:, np.newaxis]
    return places == np.argmax(np.abs(v), axis=-2)[..., np.newaxis, :]


def _phase(v: Array) -> Array:
    """Return the factors that make the largest element of each column real and positive. Shape `(..., 1, n)`.

    LAPACK leaves the phase of complex vectors open, so without it they would have no derivative.
    """
    largest = np.sum(np.where(_largest(v), v, 0), axis=-2, keepdims=True)
    return np.conjugate(largest) / np.abs(largest)


def _phase_backward(v: Array, turn: Array) -> Array:
    """Return what the phase adds to the gradient of vectors.

    Args:
        v: The vectors, whose largest elements are real and positive.
        turn: The gradient of the angle of each, counted backwards. Shape `(..., n)`.
    """
    largest = _largest(v)
    return np.where(largest, 1j * turn[..., np.newaxis, :] / np.where(largest, v, 1), 0)


def _turning(dv: Array, v: Array, axis: int) -> Array:
    return np.sum(np.imag(np.conjugate(dv) * v), axis=axis)


def _rounding(*arriving: Array) -> float:
    """Return up to what size products of these with vectors of length 1 may be rounding."""
    eps = max(float(np.finfo(x.dtype).eps) for x in arriving)
    return max(1e-8, 64 * eps) * max(float(np.max(np.abs(x), initial=0)) for x in arriving)


def _depends(what: str, equal: Array, zero: Array) -> str:
    """Say that a result depends on vectors which might be others; nothing if it does not.

    Args:
        what: Of what values the vectors are.
        equal: The pairs of equal values on which it depends. Shape `(..., n, n)`, both ways round.
        zero: The values that are zero on which it depends. Shape `(..., n)`.
    """
    found = [f"{what} coincide ({np.count_nonzero(np.triu(equal, 1))} pairs)"] * bool(np.any(equal))
    found += [f"{what} are zero ({np.count_nonzero(zero)})"] * bool(np.any(zero))
    if not found:
        return ""
    says = f"Some {' and some '.join(found)}, and the result depends on the choice of their vectors, which have no "
    return says + "derivative: it was taken as 0. Ask for what no choice changes, or move the matrix off that point."


class _Hermitian(Gate):
    """Base of the gates of Hermitian matrices: which part of the operand is read."""

    UPLO: Annotated[
        OneOf["L", "U"] | None,
        Field(
            description="Which triangle is read and has the gradient, 'L' the lower or 'U' the upper; None takes the "
            "mean of the matrix and its conjugate transpose."
        ),
    ] = None

    def _decomposed(self, a: Array) -> tuple[Array, Array]:
        if self.UPLO is None:
            return solves.eigh(hermitian_part(a))
        return solves.eigh(adjoint(a) if self.UPLO == "U" else a)

    def _pulled(self, dh: Array) -> Array:
        """Pull the gradient of the Hermitian matrix back to the operand."""
        dh = hermitian_part(dh)
        if self.UPLO is None:
            return dh
        diagonal = np.tril(np.triu(dh))
        return 2 * (np.triu(dh) if self.UPLO == "U" else np.tril(dh)) - diagonal


class EigH(_Hermitian):
    """Eigenvalues ``w``, ascending, and eigenvectors ``v``, in columns, of Hermitian matrices: ``a = v diag(w) v^H``.

    Shape ``(..., n, n)`` to ``(..., n)`` and ``(..., n, n)``. Real vectors are defined up to their sign; the largest
    element of a complex one is real and positive.

    Source: M. B. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation"
    (2008), section 3.1, for symmetric matrices.
    """

    name: ClassVar[str] = "eigh"
    outputs: ClassVar[tuple[str, ...]] = ("w", "v")

    def infer(self, a: ArraySpec) -> tuple[ArraySpec, ArraySpec]:
        require_square("a", a)
        return ArraySpec(a.shape[:-1], real_dtype(a)), a

    def cost(self, a: ArraySpec) -> Cost:
        return of_matrices(10, a, arrays=6)

    def forward(self, a: Array) -> tuple[Array, Array]:
        w, v = self._decomposed(a)
        return (w, v * _phase(v)) if v.dtype.kind == "c" and v.size else (w, v)

    def backward(self, dw: Array, dv: Array, w: Array, v: Array) -> Array:
        dw, v = widened(dw), widened(v)
        inner = inverse_gaps(w) * self._turn(dv, v) + dw[..., np.newaxis, :] * np.eye(w.shape[-1], dtype=dw.dtype)
        return self._pulled(v @ inner @ adjoint(v))

    def _turn(self, dv: Array, v: Array) -> Array:
        """Return the gradient of the turns of the vectors into each other."""
        dv, v = widened(dv), widened(v)
        if v.dtype.kind == "c" and v.size:
            dv = dv + _phase_backward(v, _turning(dv, v, -2))
        return adjoint(v) @ dv

    def undefined(self, dv: Array, w: Array, v: Array) -> str:
        turn = self._turn(dv, v)
        free = (inverse_gaps(w) == 0) & (np.abs(turn - adjoint(turn)) > _rounding(dv))
        return _depends("eigenvalues", free, free & False)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), well_conditioned(3, stack=(2,)))
        yield Example(cls(UPLO="L"), well_conditioned(3))
        yield Example(cls(UPLO="U"), well_conditioned(3))
        yield Example(cls(), well_conditioned(3, "c"))
        yield Example(cls(UPLO="U"), well_conditioned(2, "c"))


class EigValsH(_Hermitian):
    """Eigenvalues, ascending, of Hermitian matrices, shape ``(..., n, n)`` to ``(..., n)``."""

    name: ClassVar[str] = "eigvalsh"
    saves: ClassVar[tuple[str, ...]] = ("v",)

    def infer(self, a: ArraySpec) -> ArraySpec:
        require_square("a", a)
        return ArraySpec(a.shape[:-1], real_dtype(a))

    def cost(self, a: ArraySpec) -> Cost:
        return of_matrices(10, a)

    def forward(self, a: Array) -> tuple[Array, Array]:
        return self._decomposed(a)

    def backward(self, dz: Array, v: Array) -> Array:
        return self._pulled((v * dz[..., np.newaxis, :]) @ adjoint(v))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), well_conditioned(3, stack=(2,)))
        yield Example(cls(UPLO="L"), well_conditioned(3))
        yield Example(cls(UPLO="U"), well_conditioned(2, "c"))


class SVD(Gate):
    """Thin singular value decomposition ``a = u diag(s) vh``, with ``s`` descending.

    Shape ``(..., m, n)`` to ``(..., m, k)``, ``(..., k)`` and ``(..., k, n)``, where ``k = min(m, n)``. Real vectors
    are defined up to their common sign; the largest element of a complex column of ``u`` is real and positive.

    Source: J. Townsend, "Differentiating the singular value decomposition" (2016), and Z.-Q. Wan, S.-X. Zhang,
    "Automatic differentiation for complex valued SVD" (2019), for complex matrices.
    """

    name: ClassVar[str] = "svd"
    outputs: ClassVar[tuple[str, ...]] = ("u", "s", "vh")

    def infer(self, a: ArraySpec) -> tuple[ArraySpec, ArraySpec, ArraySpec]:
        require_matrices("a", a)
        *stack, m, n = a.shape
        k = min(m, n)
        return (
            ArraySpec((*stack, m, k), a.dtype),
            ArraySpec((*stack, k), real_dtype(a)),
            ArraySpec((*stack, k, n), a.dtype),
        )

    def cost(self, a: ArraySpec) -> Cost:
        return of_matrices(20, a, arrays=10)

    def forward(self, a: Array) -> tuple[Array, Array, Array]:
        u, s, vh = solves.svd(a)
        if u.dtype.kind != "c" or not s.size:
            return u, s, vh
        phase = _phase(u)
        return u * phase, s, adjoint(phase) * vh

    def backward(self, du: Array, ds: Array, dvh: Array, u: Array, s: Array, vh: Array) -> Array:
        gaps, inverse = inverse_gaps(s), inverse_or_zero(s, (u.shape[-2], vh.shape[-1]))
        ds, dvh, u, s, vh = (widened(x) for x in (ds, dvh, u, s, vh))
        du, turn_u, turn_v = self._turns(du, dvh, u, vh)
        total = s[..., np.newaxis, :] + s[..., :, np.newaxis]
        # What divides by s_j^2 - s_i^2, written so that where singular values coincide only what does not exist is cut.
        apart = np.where(total == 0, 0, 0.5 / np.where(total == 0, 1, total)).astype(s.dtype)
        inner = (turn_u + turn_v) * (gaps / 2) + (turn_u - turn_v) * apart
        inner = inner + ds[..., np.newaxis, :] * np.eye(s.shape[-1], dtype=s.dtype)
        da = u @ inner @ vh
        if u.shape[-2] > s.shape[-1]:
            across = du * inverse[..., np.newaxis, :]
            da = da + (across - u @ (adjoint(u) @ across)) @ vh
        if vh.shape[-1] > s.shape[-1]:
            across = inverse[..., :, np.newaxis] * dvh
            da = da + u @ (across - (across @ adjoint(vh)) @ vh)
        return da

    def _turns(self, du: Array, dvh: Array, u: Array, vh: Array) -> tuple[Array, Array, Array]:
        """Return the gradient of `u` with that of its phase, and the gradients of the turns of both sets of vectors."""
        du, dvh, u, vh = (widened(x) for x in (du, dvh, u, vh))
        if u.dtype.kind == "c" and u.size:
            du = du + _phase_backward(u, _turning(du, u, -2) - _turning(dvh, vh, -1))
        turn_u, turn_v = adjoint(u) @ du, vh @ adjoint(dvh)
        return du, turn_u - adjoint(turn_u), turn_v - adjoint(turn_v)

    def undefined(self, du: Array, dvh: Array, u: Array, s: Array, vh: Array) -> str:
        least = _rounding(du, dvh)
        du, turn_u, turn_v = self._turns(du, dvh, u, vh)
        # Vectors of equal values turn together; of values that are zero each set by itself, and out of what it spans.
        zero = inverse_or_zero(s, (u.shape[-2], vh.shape[-1])) == 0
        alone = (zero[..., np.newaxis, :] & zero[..., :, np.newaxis]) & (np.abs(turn_u - turn_v) > least)
        free = (inverse_gaps(s) == 0) & ((np.abs(turn_u + turn_v) > least) | alone)
        across = du - u @ (adjoint(u) @ du), adjoint(dvh) - adjoint(vh) @ (vh @ adjoint(dvh))
        out = sum((zero & np.any(np.abs(part) > least, axis=-2) for part in across), start=zero & False)
        return _depends("singular values", free, out)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        yield Example(cls(), random.normal(size=(2, 4, 3)))
        yield Example(cls(), random.normal(size=(2, 4)))
        yield Example(cls(), random.normal(size=(3, 2)) + 1j * random.normal(size=(3, 2)))
        yield Example(cls(), random.normal(size=(2, 3)) + 1j * random.normal(size=(2, 3)))


class SvdVals(Gate):
    """Singular values, descending, shape ``(..., m, n)`` to ``(..., min(m, n))``.

    One that is zero lies at a kink, and gives the gradient zero.
    """

    name: ClassVar[str] = "svdvals"
    saves: ClassVar[tuple[str, ...]] = ("u", "vh")

    def infer(self, a: ArraySpec) -> ArraySpec:
        require_matrices("a", a)
        return ArraySpec((*a.shape[:-2], min(a.shape[-2:])), real_dtype(a))

    def cost(self, a: ArraySpec) -> Cost:
        return of_matrices(20, a)

    def forward(self, a: Array) -> tuple[Array, Array, Array]:
        u, s, vh = solves.svd(a)
        return s, u, vh

    def backward(self, dz: Array, z: Array, u: Array, vh: Array) -> Array:
        slope = np.where(inverse_or_zero(z, (u.shape[-2], vh.shape[-1])) == 0, 0, dz)
        return (u * slope[..., np.newaxis, :]) @ vh

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        yield Example(cls(), random.normal(size=(2, 4, 3)))
        yield Example(cls(), random.normal(size=(2, 3)) + 1j * random.normal(size=(2, 3)))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [EigH, EigValsH, SVD, SvdVals]
