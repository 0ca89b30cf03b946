"""Gates that slide filters over axes: convolutions, their transposes, and the windows themselves as columns."""

from collections.abc import Iterable
from math import prod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import (
    MAX_DIMENSION,
    Array,
    ArraySpec,
    conjugated,
    narrowed,
    require_floating,
    widened,
)
from graphsvc.errors import AttributeValueError, ShapeError
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._correlation import column_bytes, correlated, products, spread_out
from graphsvc.gates._windows import Padding, PerAxis, WindowAxis, per_axis, window_axes
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

Groups = Annotated[
    int, Field(ge=1, le=MAX_DIMENSION, description="Into how many groups of channels, each with filters of its own.")
]
Margin = Annotated[int, Field(ge=0, le=MAX_DIMENSION)]


class _Windowed(Gate):
    """Base of the gates with windows over the last axes."""

    spatial: ClassVar[int]

    stride: Annotated[PerAxis, Field(description="Step from one window to the next, for all axes or each.")] = 1
    dilation: Annotated[PerAxis, Field(description="Step between the places of a window, for all axes or each.")] = 1


def _check_operands(x: ArraySpec, w: ArraySpec, spatial: int, channels: str) -> None:
    """Refuse operands that are no batch of channels and no filters."""
    require_floating("x", x, complex_too=True)
    require_floating("w", w, complex_too=True)
    places = ", ".join(["length"] if spatial == 1 else ["depth", "height", "width"][-spatial:])
    if x.ndim < spatial + 1 or w.ndim != spatial + 2:
        msg = f"Operands must have shapes (..., channels, {places}) and ({channels}, {places}), got {x.shape} and"
        msg += f" {w.shape}. Reshape one of them."
        raise ShapeError(msg)
    if w.size == 0:
        msg = f"Operand 'w' has the shape {w.shape} and no element. Give filters of at least one place and channel."
        raise ShapeError(msg)


def _cost(z: ArraySpec, x: ArraySpec, w: ArraySpec, channels: int, axes: tuple[WindowAxis, ...]) -> Cost:
    """Return what a convolution takes whose windows lie over so many channels."""
    wide = max(z.dtype.itemsize, 4)
    places = prod(axis.kernel * axis.count for axis in axes)
    batch = max(1, max(x.size, z.size) // max(1, channels * prod(axis.size for axis in axes)))
    columns = column_bytes(batch, channels * places * wide)
    multiplied = batch * prod(axis.count for axis in axes) * w.size
    # Columns and what is multiplied with them, and what is laid out anew.
    return Cost(2 * multiplied, 3 * columns + 4 * wide * (x.size + w.size + z.size))


class _Convolution(_Windowed):
    """Base of the convolutions over the last axes."""

    padding: Annotated[
        Padding,
        Field(description="Zeros around: a number, one number or (before, after) for each axis, 'same' or 'valid'."),
    ] = 0
    groups: Groups = 1

    def _axes(self, x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> tuple[WindowAxis, ...]:
        sizes, kernel = x_shape[-self.spatial :], w_shape[-self.spatial :]
        return window_axes(sizes, kernel, self.stride, self.dilation, self.padding)

    def infer(self, x: ArraySpec, w: ArraySpec) -> ArraySpec:
        _check_operands(x, w, self.spatial, "filters, channels / groups")
        channels, filters = x.shape[-self.spatial - 1], w.shape[0]
        if channels != w.shape[1] * self.groups or filters % self.groups:
            msg = f"Operands of shapes {x.shape} and {w.shape} do not fit groups={self.groups}: {channels} channels"
            msg += f" need filters for {w.shape[1] * self.groups}, in a number that {self.groups} divides."
            raise ShapeError(msg)
        counts = (axis.count for axis in self._axes(x.shape, w.shape))
        return ArraySpec((*x.shape[: -self.spatial - 1], filters, *counts), np.result_type(x.dtype, w.dtype))

    def cost(self, x: ArraySpec, w: ArraySpec) -> Cost:
        return _cost(self.infer(x, w), x, w, x.shape[-self.spatial - 1], self._axes(x.shape, w.shape))

    def forward(self, x: Array, w: Array) -> Array:
        axes = self._axes(x.shape, w.shape)
        z = correlated(_batched(x, self.spatial), _as_matrices(w, self.groups), axes)
        return narrowed(z.reshape(*x.shape[: -self.spatial - 1], *z.shape[1:]), np.result_type(x.dtype, w.dtype))

    def backward_x(self, dz: Array, w: Array, x_shape: tuple[int, ...]) -> Array:
        axes = self._axes(x_shape, w.shape)
        matrices = _as_matrices(conjugated(w), self.groups)
        return spread_out(_batched(dz, self.spatial), matrices, axes).reshape(x_shape)

    def backward_w(self, dz: Array, x: Array, w_shape: tuple[int, ...]) -> Array:
        axes = self._axes(x.shape, w_shape)
        columns, rows = _batched(conjugated(x), self.spatial), _batched(dz, self.spatial)
        return products(rows, columns, self.groups, axes).reshape(w_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        n = cls.spatial
        sizes = (5, 4, 3)[:n]

        def pair(x: tuple[int, ...], w: tuple[int, ...]) -> tuple[Array, Array]:
            return random.normal(size=x), random.normal(size=w)

        yield Example(cls(), *pair((2, 3, *sizes), (2, 3, *(2,) * n)))
        yield Example(cls(stride=2, padding=((1, 2), *((0, 1),) * (n - 1))), *pair((1, *sizes), (2, 1, *(3,) * n)))
        yield Example(cls(padding="same", dilation=2, groups=2), *pair((2, 4, *sizes), (4, 2, *(2,) * n)))
        yield Example(cls(padding="valid", groups=2), *pair((2, *sizes), (2, 1, *(1,) * n)))
        if n == 1:
            x, w = pair((2, 2, 4), (2, 2, 3))
            yield Example(cls(padding=1), x + 1j * x[::-1], w - 0.5j * w[::-1])


class Conv1d(_Convolution):
    """Filters sliding over the last axis: ``z[..., f, o] = sum over c, i of w[f, c, i] * x[..., c, o * stride + i]``.

    Shapes: ``x`` ``(..., channels, length)``, ``w`` ``(filters, channels / groups, places)``, ``z``
    ``(..., filters, windows)``. As everywhere in the field this is a correlation: filters are not reversed. A bias of
    shape ``(filters, 1)`` is added with ``+``. With as many groups as channels it is a depthwise convolution.
    """

    name: ClassVar[str] = "conv1d"
    spatial: ClassVar[int] = 1


class Conv2d(_Convolution):
    """Filters sliding over the last two axes: ``z[..., f, :, :] = sum over c of the windows of x[..., c] * w[f, c]``.

    Shapes: ``x`` ``(..., channels, height, width)``, ``w`` ``(filters, channels / groups, rows, columns)``, ``z``
    ``(..., filters, windows down, windows across)``. As everywhere in the field this is a correlation: filters are not
    reversed. A bias of shape ``(filters, 1, 1)`` is added with ``+``. With as many groups as channels it is a depthwise
    convolution.
    """

    name: ClassVar[str] = "conv2d"
    spatial: ClassVar[int] = 2


class Conv3d(_Convolution):
    """Filters sliding over the last three axes; as ``conv2d``, with a depth before height and width."""

    name: ClassVar[str] = "conv3d"
    spatial: ClassVar[int] = 3


class _TransposedConvolution(_Windowed):
    """Base of the adjoints of the convolutions with respect to their operand `x`."""

    padding: Annotated[
        Margin | tuple[Margin | tuple[Margin, Margin], ...],
        Field(description="How much is cut off around: a number, one number or (before, after) for each axis."),
    ] = 0
    output_padding: Annotated[
        Margin | tuple[Margin, ...],
        Field(description="How much longer the result is, behind, for all axes or each; less than the stride."),
    ] = 0
    groups: Groups = 1

    def _axes(self, x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> tuple[WindowAxis, ...]:
        """Return how the windows lie over the result; each shows what one element of `x` gave."""
        n = self.spatial
        strides, dilations = per_axis("stride", self.stride, n), per_axis("dilation", self.dilation, n)
        margins, more = per_axis("padding", self.padding, n), per_axis("output_padding", self.output_padding, n)
        axes = []
        for count, k, s, d, margin, extra in zip(
            x_shape[-n:], w_shape[-n:], strides, dilations, margins, more, strict=True
        ):
            before, after = margin if isinstance(margin, tuple) else (margin, margin)
            if extra >= max(s, d):
                msg = f"Attribute 'output_padding' is {self.output_padding}, but must be less than the stride or the"
                msg += f" dilation, which are {s} and {d}."
                raise AttributeValueError(msg, attribute="output_padding")
            size = (count - 1) * s + (k - 1) * d + 1 - before - after + extra
            if count < 1 or size < 1:
                msg = f"An axis of length {count} gives nothing with a window of {k} places and padding {before} and"
                msg += f" {after}. Choose less padding, or give a longer axis."
                raise ShapeError(msg)
            axes.append(WindowAxis(size, count, k, s, d, before, after))
        return tuple(axes)

    def infer(self, x: ArraySpec, w: ArraySpec) -> ArraySpec:
        _check_operands(x, w, self.spatial, "channels, filters / groups")
        channels = x.shape[-self.spatial - 1]
        if channels != w.shape[0] or channels % self.groups:
            msg = f"Operands of shapes {x.shape} and {w.shape} do not fit groups={self.groups}: the first axis of 'w'"
            msg += f" must be as long as the {channels} channels, in a number that {self.groups} divides."
            raise ShapeError(msg)
        sizes = (axis.size for axis in self._axes(x.shape, w.shape))
        leading = x.shape[: -self.spatial - 1]
        return ArraySpec((*leading, w.shape[1] * self.groups, *sizes), np.result_type(x.dtype, w.dtype))

    def cost(self, x: ArraySpec, w: ArraySpec) -> Cost:
        z = self.infer(x, w)
        return _cost(z, x, w, z.shape[-self.spatial - 1], self._axes(x.shape, w.shape))

    def forward(self, x: Array, w: Array) -> Array:
        axes = self._axes(x.shape, w.shape)
        z = spread_out(_batched(x, self.spatial), _as_matrices(w, self.groups), axes)
        return narrowed(z.reshape(*x.shape[: -self.spatial - 1], *z.shape[1:]), np.result_type(x.dtype, w.dtype))

    def backward_x(self, dz: Array, w: Array, x_shape: tuple[int, ...]) -> Array:
        axes = self._axes(x_shape, w.shape)
        matrices = _as_matrices(conjugated(w), self.groups)
        return correlated(_batched(dz, self.spatial), matrices, axes).reshape(x_shape)

    def backward_w(self, dz: Array, x: Array, w_shape: tuple[int, ...]) -> Array:
        axes = self._axes(x.shape, w_shape)
        columns, rows = _batched(dz, self.spatial), _batched(conjugated(x), self.spatial)
        return products(rows, columns, self.groups, axes).reshape(w_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        n = cls.spatial
        sizes = (3, 2)[:n]

        def pair(x: tuple[int, ...], w: tuple[int, ...]) -> tuple[Array, Array]:
            return random.normal(size=x), random.normal(size=w)

        yield Example(cls(), *pair((2, 3, *sizes), (3, 2, *(2,) * n)))
        yield Example(cls(stride=2, output_padding=1, padding=((1, 0),) * n), *pair((1, *sizes), (1, 2, *(3,) * n)))
        yield Example(cls(padding=1, dilation=2, groups=2), *pair((2, 4, *sizes), (4, 1, *(2,) * n)))
        if n == 1:
            x, w = pair((2, 2, 4), (2, 2, 3))
            yield Example(cls(padding=1), x + 1j * x[::-1], w - 0.5j * w[::-1])


class ConvTranspose1d(_TransposedConvolution):
    """Each element of the operand adds its multiple of a filter to the result: the adjoint of ``conv1d``.

    Shapes: ``x`` ``(..., channels, length)``, ``w`` ``(channels, filters / groups, places)``, ``z``
    ``(..., filters, (length - 1) * stride + (places - 1) * dilation + 1 - padding on both sides + output_padding)``.
    """

    name: ClassVar[str] = "conv_transpose1d"
    spatial: ClassVar[int] = 1


class ConvTranspose2d(_TransposedConvolution):
    """Each element of the operand adds its multiple of a filter to the result: the adjoint of ``conv2d``.

    Shapes: ``x`` ``(..., channels, height, width)``, ``w`` ``(channels, filters / groups, rows, columns)``; the lengths
    of the result are as in ``conv_transpose1d``.
    """

    name: ClassVar[str] = "conv_transpose2d"
    spatial: ClassVar[int] = 2


def _as_matrices(w: Array, groups: int) -> Array:
    """Return filters as a matrix for each group. Shape `(groups, rows of a group, all else)`."""
    return widened(w).reshape(groups, w.shape[0] // groups, prod(w.shape[1:]))


def _batched(x: Array, spatial: int) -> Array:
    """Return an operand with all its axes before the channels as one."""
    return widened(x).reshape(prod(x.shape[: -spatial - 1]), *x.shape[-spatial - 1 :])


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d]
