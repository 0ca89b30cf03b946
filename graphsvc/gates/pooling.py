"""Gates of pooling: one number of each window, or of each channel, the largest element or the average."""

from collections.abc import Iterable
from math import inf, prod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import (
    MAX_DIMENSION,
    Array,
    ArraySpec,
    divided,
    reduce_mean,
    require_floating,
    widened,
)
from graphsvc.errors import AttributeValueError, ShapeError
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._costs import in_double
from graphsvc.gates._windows import (
    PerAxis,
    WindowAxis,
    kept,
    per_axis,
    shown,
    spread,
    spread_sum,
    window_axes,
    window_sum,
)
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

Margin = Annotated[int, Field(ge=0, le=MAX_DIMENSION)]

_MANY = 64
"""Places in a window from which on a running sum in float32 loses digits that count."""


class _Pooling(Gate):
    """Base of the gates that make one number of each window over the last axes."""

    spatial: ClassVar[int]

    kernel_size: Annotated[PerAxis, Field(description="Length of a window: one number for all axes, or one for each.")]
    stride: Annotated[
        PerAxis | None,
        Field(description="Step from one window to the next, for all axes or each; None means kernel_size."),
    ] = None
    padding: Annotated[
        Margin | tuple[Margin | tuple[Margin, Margin], ...],
        Field(
            description="How far windows stand out: a number, one number or (before, after) for each axis; at most half"
            " a window and the length of the axis."
        ),
    ] = 0

    def _dilation(self) -> PerAxis:
        return 1

    def _axes(self, shape: tuple[int, ...]) -> list[tuple[int, WindowAxis]]:
        """Return how the windows lie over each of the last axes, and which axis it is; the last one first."""
        n = self.spatial
        kernel = per_axis("kernel_size", self.kernel_size, n)
        stride = self.kernel_size if self.stride is None else self.stride
        axes = window_axes(shape[-n:], kernel, stride, self._dilation(), self.padding)
        for axis in axes:
            extent = (axis.kernel - 1) * axis.dilation + 1
            if max(axis.before, axis.after) > min(extent // 2, axis.size):
                msg = f"Attribute 'padding' is {self.padding}, more than half of a window that reaches over {extent}"
                msg += f" elements, or more than the {axis.size} of the axis. Pad less."
                raise AttributeValueError(msg, attribute="padding")
        return list(enumerate(axes, len(shape) - n))[::-1]

    def infer(self, x: ArraySpec) -> ArraySpec:
        if x.ndim < self.spatial:
            msg = f"The operand must have at least {self.spatial} axes, over which windows slide, got shape {x.shape}."
            msg += " Reshape it."
            raise ShapeError(msg)
        counts = (axis.count for _, axis in reversed(self._axes(x.shape)))
        return ArraySpec((*x.shape[: -self.spatial], *counts), x.dtype)

    def cost(self, x: ArraySpec) -> Cost:
        # One axis after the other.
        places = sum(axis.kernel for _, axis in self._axes(x.shape))
        return Cost(4 * x.size * places, 3 * in_double(x, self.infer(x)))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        n = cls.spatial
        yield Example(cls(kernel_size=2), random.normal(size=(2, 2, *(5, 4)[:n])))
        yield Example(cls(kernel_size=3, stride=2, padding=1), random.normal(size=(2, *(5, 4)[:n])))
        yield Example(
            cls(kernel_size=(3, 2)[:n], stride=(1, 3)[:n], padding=((1, 0), (0, 1))[:n]),
            random.normal(size=(1, *(4, 5)[:n])),
        )


class _MaxPool(_Pooling):
    """Base of the gates that give the largest element of each window."""

    saves: ClassVar[tuple[str, ...]] = ("winners",)

    dilation: Annotated[PerAxis, Field(description="Step between the places of a window, for all axes or each.")] = 1

    def _dilation(self) -> PerAxis:
        return self.dilation

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_floating("x", x)
        return super().infer(x)

    def forward(self, x: Array) -> tuple[Array, tuple[Array, ...]]:
        # The largest of each row of a window, and then the largest of these: ties go to the first in C order.
        winners = []
        for position, axis in self._axes(x.shape):
            x, winner = _largest(x, position, axis)
            winners.append(winner)
        return x, tuple(winners)

    def backward(self, dz: Array, winners: tuple[Array, ...], x_shape: tuple[int, ...]) -> Array:
        dz = widened(dz)
        for (position, axis), winner in zip(reversed(self._axes(x_shape)), reversed(winners), strict=True):
            routed = (kept(winner == i, dz) for i in range(axis.kernel))
            dz = spread(routed, dz, position, axis)
        return dz

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        x = np.random.default_rng(2).normal(size=(1, *(6, 5)[: cls.spatial]))
        yield Example(cls(kernel_size=2, stride=1, dilation=3, padding=1), x)


def _largest(x: Array, position: int, axis: WindowAxis) -> tuple[Array, Array]:
    """Return the largest element that each window along an axis shows, and its number in the window, the first of ties.

    NaN counts as largest, as in NumPy.
    """
    shape = (*x.shape[:position], axis.count, *x.shape[position + 1 :])
    numbers = np.min_scalar_type(axis.kernel)
    if prod(shape) == 0:
        return np.zeros(shape, x.dtype), np.zeros(shape, numbers)
    pieces = shown(x, position, axis, -inf)
    best = next(pieces)
    # Where all are -inf, the first place on the axis wins, and not one of the padding before it.
    starts = axis.before - np.arange(axis.count) * axis.stride
    first = np.clip(-(-starts // axis.dilation), 0, axis.kernel - 1).astype(numbers)
    winner = np.broadcast_to(first.reshape(-1, *(1,) * (x.ndim - position - 1)), shape)
    for i, piece in enumerate(pieces, start=1):
        better = ~(piece <= best) & (best == best)
        # A maximum is many times as fast as a choice, but says nothing of which of two equal ones it took.
        best = np.maximum(best, piece) if type(x) is np.ndarray else np.where(better, piece, best)
        winner = np.maximum(winner, better * numbers.type(i))
    return (best * 1 if axis.kernel == 1 else best), winner


class MaxPool1d(_MaxPool):
    """Largest element of each window over the last axis: ``z[..., o] = max over i of x[..., o * stride + i]``.

    Shapes: ``x`` ``(..., length)``, ``z`` ``(..., windows)``. The gradient goes to the largest element, the first of
    ties.
    """

    name: ClassVar[str] = "max_pool1d"
    spatial: ClassVar[int] = 1


class MaxPool2d(_MaxPool):
    """Largest element of each window over the last two axes.

    Shapes: ``x`` ``(..., height, width)``, ``z`` ``(..., windows down, windows across)``. The gradient goes to the
    largest element, the first of ties in C order.
    """

    name: ClassVar[str] = "max_pool2d"
    spatial: ClassVar[int] = 2


class _AvgPool(_Pooling):
    """Base of the gates that give the average of each window."""

    linear: ClassVar[bool] = True

    count_include_pad: Annotated[
        bool, Field(description="Whether zeros of the padding count; else only what lies on the axis is averaged.")
    ] = True

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_floating("x", x, complex_too=True)
        return super().infer(x)

    def _counts(self, axes: list[tuple[int, WindowAxis]], ndim: int) -> int | Array:
        """Return by how much the sum of each window is divided."""
        if self.count_include_pad or all(axis.before == axis.after == 0 for _, axis in axes):
            return prod(axis.kernel for _, axis in axes)
        counts = np.ones((1,) * ndim)
        for position, axis in axes:
            along = window_sum(np.ones(axis.size), 0, axis)
            counts = counts * along.reshape(-1, *(1,) * (ndim - position - 1))
        return counts

    def forward(self, x: Array) -> Array:
        axes = self._axes(x.shape)
        z = widened(x)
        if z.dtype == np.float32 and prod(axis.kernel for _, axis in axes) >= _MANY:
            z = z.astype(np.float64)
        for position, axis in axes:
            z = window_sum(z, position, axis)
        return divided(z, self._counts(axes, x.ndim)).astype(x.dtype)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        axes = self._axes(x_shape)
        dz = widened(dz)
        dz = divided(dz, self._counts(axes, len(x_shape)))
        for position, axis in reversed(axes):
            dz = spread_sum(dz, position, axis)
        return dz

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        x = np.random.default_rng(2).normal(size=(1, *(5, 6)[: cls.spatial]))
        yield Example(cls(kernel_size=3, stride=2, padding=1, count_include_pad=False), x)
        yield Example(cls(kernel_size=2), x + 1j * x[..., ::-1])


class AvgPool1d(_AvgPool):
    """Average of each window over the last axis: ``z[..., o] = mean over i of x[..., o * stride + i]``.

    Shapes: ``x`` ``(..., length)``, ``z`` ``(..., windows)``.
    """

    name: ClassVar[str] = "avg_pool1d"
    spatial: ClassVar[int] = 1


class AvgPool2d(_AvgPool):
    """Average of each window over the last two axes.

    Shapes: ``x`` ``(..., height, width)``, ``z`` ``(..., windows down, windows across)``.
    """

    name: ClassVar[str] = "avg_pool2d"
    spatial: ClassVar[int] = 2


class _GlobalPool(Gate):
    """Base of the gates that make one number of each channel; the axes behind the second stay, with length 1."""

    def infer(self, x: ArraySpec) -> ArraySpec:
        if x.ndim < 2 or 0 in x.shape[2:]:
            msg = f"The operand must have a shape (batch, channels, ...) with elements in each channel, got {x.shape}."
            msg += " Reshape it."
            raise ShapeError(msg)
        return ArraySpec((*x.shape[:2], *(1,) * (x.ndim - 2)), x.dtype)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(), random.normal(size=(2, 3, 2, 4)))
        yield Example(cls(), random.normal(size=(1, 2, 5)))


class GlobalAvgPool(_GlobalPool):
    """Average of each channel: ``z = mean(x)`` over all axes behind the second, which stay with length 1."""

    name: ClassVar[str] = "global_avg_pool"
    linear: ClassVar[bool] = True

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_floating("x", x, complex_too=True)
        return super().infer(x)

    def forward(self, x: Array) -> Array:
        return reduce_mean(x, tuple(range(2, x.ndim)), keepdims=True)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        return np.broadcast_to(divided(dz, prod(x_shape[2:])), x_shape)


class GlobalMaxPool(_GlobalPool):
    """Largest element of each channel, over all axes behind the second, which stay with length 1.

    The gradient goes to the largest element, the first of ties in C order.
    """

    name: ClassVar[str] = "global_max_pool"
    saves: ClassVar[tuple[str, ...]] = ("winner",)

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_floating("x", x)
        return super().infer(x)

    def forward(self, x: Array) -> tuple[Array, Array]:
        flat = x.reshape(*x.shape[:2], prod(x.shape[2:]))
        winner = np.expand_dims(np.argmax(flat, axis=-1), -1)
        return np.take_along_axis(flat, winner, -1).reshape(*x.shape[:2], *(1,) * (x.ndim - 2)), winner

    def backward(self, dz: Array, winner: Array, x_shape: tuple[int, ...]) -> Array:
        places = np.arange(prod(x_shape[2:]))
        return np.where(winner == places, dz.reshape(*x_shape[:2], 1), 0).reshape(x_shape)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [MaxPool1d, MaxPool2d, AvgPool1d, AvgPool2d, GlobalAvgPool, GlobalMaxPool]
