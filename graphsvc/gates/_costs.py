"""What gates cost whose work grows faster than their arrays: matrices, orders."""

from math import prod

from graphsvc.arrays import ArraySpec
from graphsvc.cost import Cost

__all__ = ["in_double", "logarithm", "of_matrices", "of_order", "of_products", "of_systems"]


def in_double(*specs: ArraySpec) -> int:
    """Return the bytes of arrays of these in double precision, which LAPACK and sums compute in."""
    return sum(spec.size * (16 if spec.dtype.kind == "c" else 8) for spec in specs)


def logarithm(n: int) -> int:
    """Return the logarithm of base 2, rounded up, and at least 1."""
    return max(1, (n - 1).bit_length())


def of_matrices(factor: int, a: ArraySpec, *others: ArraySpec, arrays: int = 4) -> Cost:
    """Return the cost of work on each matrix of a stack.

    Args:
        factor: There are `factor * m * n * min(m, n)` operations for a matrix of shape `(m, n)`.
        a: The matrices. Shape `(..., m, n)`.
        others: Further operands, and outputs.
        arrays: How many copies of all there may be at one time.
    """
    return Cost(factor * a.size * min(a.shape[-2:]), arrays * in_double(a, *others))


def of_systems(factor: int, a: ArraySpec, b: ArraySpec, z: ArraySpec, arrays: int = 4) -> Cost:
    """Return the cost of solving `a @ z = b`: `of_matrices` for the matrices, and two products for each column."""
    stack = prod(z.shape[: -1 if b.ndim == 1 else -2])
    matrices = ArraySpec((stack, *a.shape[-2:]), a.dtype)
    work = of_matrices(factor, a, b, matrices, z, arrays=arrays)
    return work._replace(flops=work.flops + 2 * z.size * a.shape[-2])


def of_products(x: ArraySpec, y: ArraySpec, z: ArraySpec, summed: int) -> Cost:
    """Return the cost of `summed` products for each element of `z`; BLAS is handed copies of what lies crosswise."""
    return Cost(2 * z.size * summed, 2 * max(z.dtype.itemsize, 4) * (x.size + y.size + z.size))


def of_order(x: ArraySpec, length: int, arrays: int) -> Cost:
    """Return the cost of sorting rows of `length` elements, with so many arrays of the size of all."""
    return Cost(8 * x.size * logarithm(length), 8 * arrays * x.size)
