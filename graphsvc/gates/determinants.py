"""Gates that give determinants and their logarithms."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc import solves
from graphsvc.arrays import Array, ArraySpec, conjugated
from graphsvc.errors import DtypeError
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._costs import of_matrices
from graphsvc.gates._matrices import real_dtype, require_square, well_conditioned
from graphsvc.hookspecs import PluginContext, hookimpl
from graphsvc.solves import adjoint

graphsvc_api_version = 1


class Det(Gate):
    """Determinant of matrices, shape ``(..., n, n)`` to ``(...)``.

    The gradient is the matrix of cofactors, which singular matrices have too; it comes from products of all singular
    values but one.

    Source: G. W. Stewart, "On the adjugate matrix", Linear Algebra and its Applications 283 (1998).
    """

    name: ClassVar[str] = "det"

    def infer(self, a: ArraySpec) -> ArraySpec:
        require_square("a", a)
        return ArraySpec(a.shape[:-2], a.dtype)

    def cost(self, a: ArraySpec) -> Cost:
        # Backward finds singular values.
        return of_matrices(8, a, arrays=8)

    def forward(self, a: Array) -> Array:
        return solves.det(a)

    def backward(self, dz: Array, a: Array) -> Array:
        return dz[..., np.newaxis, np.newaxis] * conjugated(solves.cofactors(a))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), well_conditioned(3, stack=(2,)))
        yield Example(cls(), np.array([[1.0, 2.0], [2.0, 4.0]]))
        yield Example(cls(), well_conditioned(2, "c"))


class SLogDet(Gate):
    """Sign and logarithm of the modulus of determinants, shape ``(..., n, n)`` to twice ``(...)``.

    The sign of a complex determinant is its phase, of modulus 1. A singular matrix has sign 0 and logarithm -inf, and
    its gradient is refused.
    """

    name: ClassVar[str] = "slogdet"
    outputs: ClassVar[tuple[str, ...]] = ("sign", "logabsdet")

    def infer(self, a: ArraySpec) -> tuple[ArraySpec, ArraySpec]:
        require_square("a", a)
        return ArraySpec(a.shape[:-2], a.dtype), ArraySpec(a.shape[:-2], real_dtype(a))

    def cost(self, a: ArraySpec) -> Cost:
        return of_matrices(1, a)

    def forward(self, a: Array) -> tuple[Array, Array]:
        return solves.slogdet(a)

    def backward(self, dsign: Array, dlogabsdet: Array, a: Array, sign: Array) -> Array:
        # The sign of a real determinant is constant. A phase turns with the imaginary part of d log det.
        turned = dlogabsdet + 1j * (conjugated(sign) * dsign).imag if a.dtype.kind == "c" else dlogabsdet
        return turned[..., np.newaxis, np.newaxis] * adjoint(solves.inv(a))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), well_conditioned(3, stack=(2,)))
        yield Example(cls(), -well_conditioned(3))
        yield Example(cls(), well_conditioned(2, "c"))


class LogDet(Gate):
    """Logarithm of the determinant of real matrices: NaN where that is negative, -inf where it is 0.

    Shape ``(..., n, n)`` to ``(...)``. The gradient of a singular matrix is refused.
    """

    name: ClassVar[str] = "logdet"

    def infer(self, a: ArraySpec) -> ArraySpec:
        require_square("a", a)
        if a.dtype.kind == "c":
            msg = f"Operand 'a' must be real, got {a.dtype}. Take 'slogdet' for complex matrices."
            raise DtypeError(msg)
        return ArraySpec(a.shape[:-2], a.dtype)

    def cost(self, a: ArraySpec) -> Cost:
        return of_matrices(1, a)

    def forward(self, a: Array) -> Array:
        sign, logarithm = solves.slogdet(a)
        return np.where(sign < 0, np.nan, logarithm).astype(a.dtype)

    def backward(self, dz: Array, a: Array, z: Array) -> Array:
        slope = np.where(np.isnan(z), z, dz)
        return slope[..., np.newaxis, np.newaxis] * adjoint(solves.inv(a))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), well_conditioned(3, stack=(2,)))
        yield Example(cls(), well_conditioned(1))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Det, SLogDet, LogDet]
