"""The three products that convolutions are made of, each of a few samples at a time so that memory stays small."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Final

import numpy as np

from graphsvc.arrays import Array
from graphsvc.gates._windows import WindowAxis, overlaid, windows_of

__all__ = ["column_bytes", "correlated", "products", "spread_out"]

_BYTES: Final = 2**23
"""What the columns of the samples that are worked on together may take."""


def _blocks(x: Array, channels: int, axes: Sequence[WindowAxis]) -> Iterator[slice]:
    """Yield which samples are worked on together; one slice if there are none."""
    sample = channels * prod(axis.kernel * axis.count for axis in axes) * x.dtype.itemsize
    count = max(1, _BYTES // max(sample, 1))
    for start in range(0, max(x.shape[0], 1), count):
        yield slice(start, start + count)


def column_bytes(batch: int, sample: int) -> int:
    """Return what the columns take at most that are there at one time, where those of a sample take `sample` bytes."""
    return min(batch * sample, max(_BYTES, sample))


def _columns(x: Array, groups: int, axes: Sequence[WindowAxis]) -> Array:
    """Return what windows show, as columns.

    Args:
        x: Shape `(batch, channels, *sizes)`.
        groups: Number of groups of channels.
        axes: How the windows lie.

    Returns:
        Shape `(groups, channels of a group * places, batch * windows)`.
    """
    shown = windows_of(np.swapaxes(x, 0, 1), axes, between=1)
    rows = x.shape[1] // groups * prod(axis.kernel for axis in axes)
    return shown.reshape(groups, rows, x.shape[0] * prod(axis.count for axis in axes))


def _rows(x: Array, groups: int) -> Array:
    """Return channels as rows. Shape `(groups, channels of a group, batch * places)`."""
    batch, channels, *sizes = x.shape
    return np.swapaxes(x, 0, 1).reshape(groups, channels // groups, batch * prod(sizes))


def correlated(x: Array, matrices: Array, axes: Sequence[WindowAxis]) -> Array:
    """Multiply filters with what windows show.

    Args:
        x: Shape `(batch, channels, *sizes)`.
        matrices: Shape `(groups, filters of a group, channels of a group * places)`.
        axes: How the windows lie.

    Returns:
        Shape `(batch, filters, *counts)`.
    """
    groups, filters, _ = matrices.shape
    counts = tuple(axis.count for axis in axes)

    def product(part: Array) -> Array:
        z = np.matmul(matrices, _columns(part, groups, axes))
        return np.swapaxes(z.reshape(groups * filters, part.shape[0], *counts), 0, 1)

    return np.concatenate([product(x[block]) for block in _blocks(x, x.shape[1], axes)])


def spread_out(z: Array, matrices: Array, axes: Sequence[WindowAxis]) -> Array:
    """Add multiples of filters up where the windows lie: the adjoint of `correlated`, without the conjugate.

    Args:
        z: Shape `(batch, filters, *counts)`.
        matrices: Shape `(groups, filters of a group, channels of a group * places)`.
        axes: How the windows lie.

    Returns:
        Shape `(batch, channels, *sizes)`.
    """
    groups = matrices.shape[0]
    kernel, counts = tuple(axis.kernel for axis in axes), tuple(axis.count for axis in axes)
    channels = groups * matrices.shape[2] // prod(kernel)

    def sum_of(part: Array) -> Array:
        parts = np.matmul(np.swapaxes(matrices, -1, -2), _rows(part, groups))
        laid = overlaid(parts.reshape(channels, *kernel, part.shape[0], *counts), axes, between=1)
        return np.swapaxes(laid, 0, 1)

    return np.concatenate([sum_of(z[block]) for block in _blocks(z, channels, axes)])


def products(z: Array, x: Array, groups: int, axes: Sequence[WindowAxis]) -> Array:
    """Multiply what arrives at windows with what they show, summed over batch and windows.

    Args:
        z: Shape `(batch, filters, *counts)`.
        x: Shape `(batch, channels, *sizes)`.
        groups: Number of groups.
        axes: How the windows lie.

    Returns:
        Shape `(groups, filters of a group, channels of a group * places)`.
    """
    return _added(
        np.matmul(_rows(z[block], groups), np.swapaxes(_columns(x[block], groups, axes), -1, -2))
        for block in _blocks(x, x.shape[1], axes)
    )


def _added(terms: Iterator[Array]) -> Array:
    """Add up terms by halves, so that digits are lost with the logarithm of their number only."""
    partial: list[tuple[int, Array]] = []
    for term in terms:
        level = 0
        while partial and partial[-1][0] == level:
            term = partial.pop()[1] + term
            level += 1
        partial.append((level, term))
    total = partial.pop()[1]
    while partial:
        total = partial.pop()[1] + total
    return total
