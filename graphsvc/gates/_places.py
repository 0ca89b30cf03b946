"""Places in arrays: indices judged, counted from 0 in C order, and what was taken from places added back there."""

from math import prod

import numpy as np

from graphsvc.arrays import Array, normalized_axes
from graphsvc.errors import GateDataError, ShapeError

__all__ = [
    "added_at",
    "check_elements",
    "element_places",
    "judged_indices",
    "row_places",
    "slice_places",
    "slices_shape",
]


def judged_indices(indices: Array, size: int, name: str = "Index") -> Array:
    """Return indices that count from 0; those below 0 count from the end.

    Raises:
        GateDataError: One is out of range.
    """
    outside = (indices < -size) | (indices >= size)
    if np.any(outside):
        first = indices.flat[int(np.argmax(outside))]
        msg = f"{name} {first} is out of range for {size} elements. Indices run from {-size} to {size - 1}."
        raise GateDataError(msg)
    places = indices.astype(np.intp)
    return np.where(places < 0, places + size, places)


def row_places(indices: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Return the places in an array of `shape` that `np.take(x, indices, axis)` takes. Shape of its result."""
    inner = prod(shape[axis + 1 :])
    outer = np.arange(prod(shape[:axis]), dtype=np.intp) * (shape[axis] * inner)
    places = outer[:, np.newaxis, np.newaxis] + indices.reshape(-1, 1) * inner + np.arange(inner, dtype=np.intp)
    return places.reshape((*shape[:axis], *indices.shape, *shape[axis + 1 :]))


def element_places(indices: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Return the places in an array of `shape` that have these indices along `axis`, and elsewhere their own place.

    Args:
        indices: Counted from 0. As many axes as `shape`; along the others no longer than it.
        shape: Of the array.
        axis: Counted from 0.
    """
    places = np.zeros(indices.shape, np.intp)
    stride = 1
    for a in range(len(shape) - 1, -1, -1):
        along = indices if a == axis else np.arange(indices.shape[a]).reshape((-1, *(1,) * (len(shape) - 1 - a)))
        places = places + along * stride
        stride *= shape[a]
    return places


def slice_places(indices: Array, shape: tuple[int, ...]) -> Array:
    """Return the places in an array of `shape` that rows of leading indices name. Shape `(rows..., rest...)`.

    Args:
        indices: Shape `(rows..., k)`; each row names a place along the first `k` axes.
        shape: Of the array.

    Raises:
        GateDataError: An index is out of range.
    """
    k = indices.shape[-1]
    start = np.zeros(indices.shape[:-1], np.intp)
    for axis in range(k):
        start = start * shape[axis] + judged_indices(indices[..., axis], shape[axis])
    rest = shape[k:]
    inside = np.arange(prod(rest), dtype=np.intp).reshape(rest)
    return start.reshape(start.shape + (1,) * len(rest)) * prod(rest) + inside


def added_at(places: Array, values: Array, shape: tuple[int, ...]) -> Array:
    """Return zeros of `shape` to which every value is added at its place; sums are carried in float64.

    Args:
        places: Counted in C order of `shape`. Any shape.
        values: Shape of `places`.
        shape: Of the result.
    """
    flat, size = places.reshape(-1), prod(shape)
    if values.dtype.kind == "c":
        real, imaginary = (np.bincount(flat, part.reshape(-1), size) for part in (values.real, values.imag))
        return (real + 1j * imaginary).reshape(shape).astype(values.dtype)
    if values.dtype.kind == "f":
        return np.bincount(flat, values.reshape(-1), size).reshape(shape).astype(values.dtype)
    # Integers must not lose digits.
    total = np.zeros(size, values.dtype)
    np.add.at(total, flat, values.reshape(-1))
    return total.reshape(shape)


def check_elements(x: tuple[int, ...], indices: tuple[int, ...], axis: int) -> None:
    """Refuse indices that have another number of axes than the operand, or are longer than it elsewhere.

    Raises:
        ShapeError: They do.
    """
    (along,) = normalized_axes(axis, len(x))
    fits = len(x) == len(indices) and all(i <= n for a, (i, n) in enumerate(zip(indices, x, strict=True)) if a != along)
    if not fits:
        msg = f"Indices of shape {indices} do not fit an operand of shape {x}: they must have as many axes, and be"
        msg += f" no longer than it along all but axis {along}. Reshape or cut them."
        raise ShapeError(msg)


def slices_shape(x: tuple[int, ...], indices: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the slices of an operand that rows of indices name.

    Raises:
        ShapeError: The indices have no last axis, or name more axes than there are.
    """
    if not indices or indices[-1] > len(x):
        msg = f"Indices of shape {indices} must have the shape (..., k), with k at most the {len(x)} axes of the"
        msg += f" operand of shape {x}. Reshape them."
        raise ShapeError(msg)
    return (*indices[:-1], *x[indices[-1] :])
