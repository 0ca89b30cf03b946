"""Gates that multiply matrices: matmul, and the fully connected layer."""

from collections.abc import Iterable
from math import prod
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array, ArraySpec, broadcast_shapes, reduce_sum, sum_to_shape
from graphsvc.errors import ShapeError
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._costs import of_products
from graphsvc.hookspecs import PluginContext, hookimpl
from graphsvc.solves import adjoint

graphsvc_api_version = 1


class MatMul(Gate):
    """Matrix product: ``z = x @ y``, of vectors, matrices and, with broadcasting, stacks of matrices, as in NumPy."""

    name: ClassVar[str] = "matmul"

    def infer(self, x: ArraySpec, y: ArraySpec) -> ArraySpec:
        if x.ndim == 0 or y.ndim == 0 or x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
            msg = (
                f"Operands must have shapes (..., m, k) and (..., k, n), got {x.shape} and {y.shape}. "
                f"Transpose or reshape one of them."
            )
            raise ShapeError(msg)
        stack = broadcast_shapes(x.shape[:-2], y.shape[:-2])
        rows, columns = x.shape[-2:-1], y.shape[-1:] if y.ndim > 1 else ()
        return ArraySpec((*stack, *rows, *columns), np.result_type(x.dtype, y.dtype))

    def cost(self, x: ArraySpec, y: ArraySpec) -> Cost:
        z = self.infer(x, y)
        stack = prod(broadcast_shapes(x.shape[:-2], y.shape[:-2]))
        products = z.size * x.shape[-1]
        # Gradients have the whole stack before it is summed, and BLAS is handed copies of what lies crosswise.
        wide = max(z.dtype.itemsize, 4)
        summed = stack * (prod(x.shape[-2:]) + prod(y.shape[-2:]))
        return Cost(2 * products, 2 * wide * (summed + x.size + y.size + z.size))

    def forward(self, x: Array, y: Array) -> Array:
        return np.matmul(x, y)

    def backward_x(self, dz: Array, y: Array, x_shape: tuple[int, ...]) -> Array:
        dz = _with_vector_axes(dz, len(x_shape), y.ndim)
        columns = y[:, np.newaxis] if y.ndim == 1 else y
        matrix_shape = (1, *x_shape) if len(x_shape) == 1 else x_shape
        return sum_to_shape(dz @ adjoint(columns), matrix_shape).reshape(x_shape)

    def backward_y(self, dz: Array, x: Array, y_shape: tuple[int, ...]) -> Array:
        dz = _with_vector_axes(dz, x.ndim, len(y_shape))
        rows = x[np.newaxis, :] if x.ndim == 1 else x
        matrix_shape = (*y_shape, 1) if len(y_shape) == 1 else y_shape
        return sum_to_shape(adjoint(rows) @ dz, matrix_shape).reshape(y_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        for x, y in (
            ((2, 3), (3, 4)),
            ((3,), (3,)),
            ((3,), (3, 4)),
            ((2, 3), (3,)),
            ((5, 2, 3), (3, 4)),
            ((3,), (5, 3, 2)),
            ((5, 2, 3), (3,)),
            ((5, 1, 2, 3), (4, 3, 2)),
        ):
            yield Example(cls(), random.normal(size=x), random.normal(size=y))
        yield Example(cls(), random.normal(size=(2, 3)) + 1j, random.normal(size=3) + 1j * random.normal(size=3))


def _with_vector_axes(dz: Array, x_ndim: int, y_ndim: int) -> Array:
    """Give the gradient of a product back the axes that vectors lost in it."""
    if y_ndim == 1:
        dz = np.expand_dims(dz, -1)
    return np.expand_dims(dz, -2) if x_ndim == 1 else dz


class Affine(Gate):
    """Fully connected layer: ``z = x @ w + b``, with shapes ``(..., k)``, ``(k, n)`` and ``(n,)``."""

    name: ClassVar[str] = "affine"

    def infer(self, x: ArraySpec, w: ArraySpec, b: ArraySpec) -> ArraySpec:
        if x.ndim == 0 or w.ndim != 2 or x.shape[-1] != w.shape[0] or b.shape != w.shape[1:]:
            msg = (
                f"Operands must have shapes (..., k), (k, n) and (n,), got {x.shape}, {w.shape} and {b.shape}. "
                f"Transpose or reshape one of them."
            )
            raise ShapeError(msg)
        return ArraySpec((*x.shape[:-1], w.shape[1]), np.result_type(x.dtype, w.dtype, b.dtype))

    def cost(self, x: ArraySpec, w: ArraySpec, b: ArraySpec) -> Cost:
        return of_products(x, w, self.infer(x, w, b), w.shape[0])

    def forward(self, x: Array, w: Array, b: Array) -> Array:
        return np.matmul(x, w) + b

    def backward_x(self, dz: Array, w: Array) -> Array:
        return np.matmul(dz, adjoint(w))

    def backward_w(self, dz: Array, x: Array) -> Array:
        rows = prod(x.shape[:-1])
        return np.matmul(adjoint(x.reshape(rows, x.shape[-1])), dz.reshape(rows, dz.shape[-1]))

    def backward_b(self, dz: Array) -> Array:
        return reduce_sum(dz, tuple(range(dz.ndim - 1)))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        for x in ((4, 3), (3,), (2, 4, 3)):
            yield Example(cls(), random.normal(size=x), random.normal(size=(3, 2)), random.normal(size=(2,)))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [MatMul, Affine]
