"""Windows that slide over axes: where they lie, what they show, and the adjoint of showing it.

All is written for arrays and for whatever stands in for one in NumPy's functions. Only what is an array for certain is
written to in place.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Annotated, Any, Final, TypeAlias
from typing import Literal as OneOf

import numpy as np
from pydantic import Field

from graphsvc.arrays import MAX_DIMENSION, Array
from graphsvc.errors import AttributeValueError, ShapeError

__all__ = [
    "Padding",
    "PerAxis",
    "WindowAxis",
    "accumulated",
    "at",
    "kept",
    "overlaid",
    "per_axis",
    "spread_sum",
    "window_axes",
    "window_sum",
    "windows_of",
]

_Count = Annotated[int, Field(ge=1, le=MAX_DIMENSION)]
_Margin = Annotated[int, Field(ge=0, le=MAX_DIMENSION)]

PerAxis: TypeAlias = _Count | tuple[_Count, ...]
"""A positive number for every axis, or one for each."""

Padding: TypeAlias = _Margin | tuple[_Margin | tuple[_Margin, _Margin], ...] | OneOf["same", "valid"]
"""How much is added around: one number for all sides, one or a pair for each axis, or by name."""

_Index: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class WindowAxis:
    """How windows lie along one axis: window `o` shows the places `o * stride + i * dilation - before`.

    Attributes:
        size: Length of the axis.
        count: Number of windows.
        kernel: Number of places in a window.
        stride: Step from one window to the next.
        dilation: Step from one place of a window to the next.
        before: How far the first window stands out before the axis.
        after: How far windows may stand out behind it.
    """

    size: int
    count: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def trivial(self) -> bool:
        """Whether each window is one place, and each place a window."""
        return self.kernel == self.stride == 1 and self.before == 0 and self.size == self.count

    def hits(self) -> Iterator[tuple[int, slice, slice]]:
        """Yield for each place in the window its number, the windows in which it lies on the axis, and where."""
        for i in range(self.kernel):
            shift = i * self.dilation - self.before
            first = max(0, -(shift // self.stride))
            end = min(self.count, (self.size - 1 - shift) // self.stride + 1)
            if first < end:
                start = first * self.stride + shift
                yield i, slice(first, end), slice(start, start + (end - first - 1) * self.stride + 1, self.stride)


def per_axis(name: str, value: int | tuple[Any, ...], axes: int) -> tuple[Any, ...]:
    """Return an attribute as one item for each of `axes` axes.

    Raises:
        AttributeValueError: There are more or fewer.
    """
    items = (value,) * axes if isinstance(value, int) else value
    if len(items) != axes:
        msg = f"Attribute {name!r} is {value}, but windows have {axes} {'axis' if axes == 1 else 'axes'}."
        msg += " Give one number for all, or one item for each."
        raise AttributeValueError(msg, attribute=name)
    return items


def window_axes(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: PerAxis,
    dilation: PerAxis = 1,
    padding: Padding = 0,
) -> tuple[WindowAxis, ...]:
    """Return how windows lie over axes of given sizes.

    Args:
        sizes: Lengths of the axes.
        kernel: Places of a window along each.
        stride: Step from one window to the next.
        dilation: Step from one place of a window to the next.
        padding: Zeros around. "same" makes `ceil(size / stride)` windows, the odd zero behind; "valid" is none.

    Raises:
        AttributeValueError: An attribute has not one item for each axis.
        ShapeError: A window is longer than its axis with its padding.
    """
    count = len(sizes)
    strides, dilations = per_axis("stride", stride, count), per_axis("dilation", dilation, count)
    named = padding if isinstance(padding, str) else None
    margins = (0,) * count if isinstance(padding, str) else per_axis("padding", padding, count)
    axes = []
    for size, k, s, d, margin in zip(sizes, kernel, strides, dilations, margins, strict=True):
        extent = (k - 1) * d + 1
        before, after = margin if isinstance(margin, tuple) else (margin, margin)
        if named == "same":
            total = max((-(-size // s) - 1) * s + extent - size, 0)
            before, after = total // 2, total - total // 2
        length = size + before + after
        if extent > length:
            msg = f"A window that reaches over {extent} elements does not fit an axis of length {size} with padding"
            msg += f" {before} and {after}. Choose a smaller window or dilation, or more padding."
            raise ShapeError(msg)
        axes.append(WindowAxis(size, (length - extent) // s + 1, k, s, d, before, after))
    return tuple(axes)


def at(item: slice, axis: int) -> Any:
    """Return the index that applies `item` to an axis, counted from the end if negative, and takes all of others."""
    return (*(slice(None),) * axis, item) if axis >= 0 else (..., item, *(slice(None),) * (-axis - 1))


def _hits(axes: Sequence[WindowAxis]) -> Iterator[tuple[tuple[int, ...], _Index, _Index]]:
    """Yield for each place in the window its numbers, the windows in which it lies on the axes, and where."""
    for hit in product(*(list(axis.hits()) for axis in axes)):
        yield tuple(h[0] for h in hit), tuple(h[1] for h in hit), tuple(h[2] for h in hit)


def windows_of(x: Array, axes: Sequence[WindowAxis], between: int = 0) -> Array:
    """Return what the windows over the last axes show, zeros where they stand out.

    Args:
        x: Shape `(..., *others, *sizes)`.
        axes: How the windows lie.
        between: How many others there are.

    Returns:
        Shape `(..., *kernel, *others, *counts)`.
    """
    leading, others = _split(x.shape, len(axes), between)
    kernel, counts = tuple(axis.kernel for axis in axes), tuple(axis.count for axis in axes)
    shape = (*leading, *kernel, *others, *counts)
    if all(axis.trivial for axis in axes):
        return x.reshape(shape)
    if prod(shape) == 0:
        return np.zeros(shape, x.dtype)
    if type(x) is not np.ndarray:
        return _stacked_windows(x, axes, len(leading)).reshape(shape)
    inside = all(axis.before == axis.after == 0 for axis in axes)
    made = (np.empty if inside else np.zeros)(shape, x.dtype)
    before, behind = (slice(None),) * len(leading), (slice(None),) * between
    for numbers, windows, places in _hits(axes):
        index: _Index = (*before, *numbers, *behind, *windows)
        made[index] = x[(..., *places)]
    return made


def _split(shape: tuple[int, ...], axes: int, between: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the parts of a shape in front of its last `axes`: what leads, and the last `between` of it."""
    front = shape[: len(shape) - axes]
    return front[: len(front) - between], front[len(front) - between :]


def _stacked_windows(x: Array, axes: Sequence[WindowAxis], position: int) -> Array:
    """Return `windows_of` with the axes of the window as one at `position`, as an expression."""
    found = {numbers: (windows, places) for numbers, windows, places in _hits(axes)}
    counts = tuple(axis.count for axis in axes)
    front = x.ndim - len(axes)
    parts = []
    for numbers in np.ndindex(*(axis.kernel for axis in axes)):
        if numbers in found:
            windows, places = found[numbers]
            margins = [(w.start, count - w.stop) for w, count in zip(windows, counts, strict=True)]
            parts.append(np.pad(x[(..., *places)], [(0, 0)] * front + margins))
        else:
            parts.append(np.zeros((*x.shape[:front], *counts), x.dtype))
    return np.stack(parts, axis=position)


def overlaid(parts: Array, axes: Sequence[WindowAxis], between: int = 0) -> Array:
    """Add up what windows show where they lie: the adjoint of `windows_of`.

    Args:
        parts: Shape `(..., *kernel, *others, *counts)`.
        axes: How the windows lie.
        between: How many others there are.

    Returns:
        Shape `(..., *others, *sizes)`.
    """
    front, others = _split(parts.shape, len(axes), between)
    leading = front[: len(front) - len(axes)]
    shape = (*leading, *others, *(axis.size for axis in axes))
    if all(axis.trivial for axis in axes):
        return parts.reshape(shape)
    before, behind = (slice(None),) * len(leading), (slice(None),) * between

    def shown(numbers: _Index, windows: _Index) -> Array:
        index: _Index = (*before, *numbers, *behind, *windows)
        return parts[index]

    pieces = (((*before, *behind, *places), shown(numbers, windows)) for numbers, windows, places in _hits(axes))
    return accumulated(pieces if prod(parts.shape) else (), shape, parts.dtype)


def accumulated(pieces: Iterable[tuple[_Index, Array]], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Add up pieces, each at its place in zeros.

    Args:
        pieces: A slice for each axis, and what is added there.
        shape: Shape of the result.
        dtype: Its dtype.
    """
    total: Array | None = None
    for index, piece in pieces:
        if type(piece) is np.ndarray:
            total = np.zeros(shape, dtype) if total is None else total
            total[index] += piece
        else:
            spread = _spread(piece, index, shape)
            total = spread if total is None else total + spread
    return np.zeros(shape, dtype) if total is None else total


def _spread(piece: Array, index: _Index, shape: tuple[int, ...]) -> Array:
    """Return zeros of `shape` with `piece` at `index`, as an expression."""
    for axis, (item, size) in enumerate(zip(index, shape, strict=True)):
        start, _, step = item.indices(size)
        count = piece.shape[axis]
        if step > 1:
            apart = [(0, 0)] * (axis + 1) + [(0, step - 1)] + [(0, 0)] * (piece.ndim - axis - 1)
            padded = np.pad(np.expand_dims(piece, axis + 1), apart)
            merged = padded.reshape((*piece.shape[:axis], count * step, *piece.shape[axis + 1 :]))
            piece = merged[at(slice(0, (count - 1) * step + 1), axis)]
        behind = size - start - piece.shape[axis]
        if start or behind:
            piece = np.pad(piece, [(0, 0)] * axis + [(start, behind)] + [(0, 0)] * (piece.ndim - axis - 1))
    return piece


def _padded(x: Array, position: int, axis: WindowAxis, fill: float) -> Array:
    if axis.before == axis.after == 0:
        return x
    margins = [(0, 0)] * position + [(axis.before, axis.after)] + [(0, 0)] * (x.ndim - position - 1)
    return np.pad(x, margins, constant_values=fill)


def shown(x: Array, position: int, axis: WindowAxis, fill: float) -> Iterator[Array]:
    """Yield for each place in the window what the windows along one axis show there."""
    x = _padded(x, position, axis, fill)
    length = (axis.count - 1) * axis.stride + 1
    for i in range(axis.kernel):
        start = i * axis.dilation
        yield x[at(slice(start, start + length, axis.stride), position)]


def window_sum(x: Array, position: int, axis: WindowAxis) -> Array:
    """Add up what each window along one axis shows.

    Args:
        x: Shape `(..., size, ...)`.
        position: Which axis it is, from 0.
        axis: How the windows lie.

    Returns:
        Shape `(..., count, ...)`.
    """
    shape = (*x.shape[:position], axis.count, *x.shape[position + 1 :])
    if prod(shape) == 0:
        return np.zeros(shape, x.dtype)
    first, *others = shown(x, position, axis, 0)
    total = first
    for other in others:
        total = total + other
    return total if others else total * 1


def spread_sum(z: Array, position: int, axis: WindowAxis) -> Array:
    """Give each place the sum over the windows that show it: the adjoint of `window_sum`.

    Args:
        z: Shape `(..., count, ...)`.
        position: Which axis it is, from 0.
        axis: How the windows lie.

    Returns:
        Shape `(..., size, ...)`.
    """
    return spread((z for _ in range(axis.kernel)), z, position, axis)


def spread(pieces: Iterable[Array], z: Array, position: int, axis: WindowAxis) -> Array:
    """Add up `pieces`, one for each place in the window, of the shape of `z`, where they lie along one axis."""
    shape = (*z.shape[:position], axis.size, *z.shape[position + 1 :])
    whole = (slice(None),)
    before, behind = whole * position, whole * (z.ndim - position - 1)
    hits = {i: (windows, places) for i, windows, places in axis.hits()} if prod(z.shape) else {}
    found = (
        ((*before, hits[i][1], *behind), piece[at(hits[i][0], position)])
        for i, piece in enumerate(pieces if hits else ())
        if i in hits
    )
    return accumulated(found, shape, z.dtype)


_BITS: Final = {np.dtype(f"f{size}"): np.dtype(f"i{size}") for size in (2, 4, 8)}


def kept(mask: Array, x: Array) -> Array:
    """Return `x` where `mask` holds, and 0 elsewhere: `np.where(mask, x, 0)`, to the bit.

    Args:
        mask: Booleans. Shape `(...)`.
        x: Shape `(...)`.
    """
    bits = _BITS.get(x.dtype) if type(x) is np.ndarray else None
    if bits is None:
        return np.where(mask, x, 0)
    # Masks that no processor can foresee make `np.where` several times slower than this.
    return (x.view(bits) & -mask.astype(bits)).view(x.dtype)
