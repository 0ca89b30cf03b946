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
    reduce_sum,
    require_floating,
    widened,
)
from graphsvc.errors import AttributeValueError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._windows import Padding, PerAxis, WindowAxis, overlaid, per_axis, window_axes, windows_of
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

Groups = Annotated[
    int, Field(ge=1, le=MAX_DIMENSION, description="Into how many groups of channels, each with filters of its own.")
]
Margin = Annotated[int, Field(ge=0, le=MAX_DIMENSION)]
Length = Annotated[int, Field(ge=1, le=MAX_DIMENSION)]


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

    def _columns(self, x: Array, axes: tuple[WindowAxis, ...]) -> Array:
        """Return what the windows show. Shape `(batch, groups, channels of a group * places, windows)`."""
        channels, sizes = x.shape[-self.spatial - 1], x.shape[-self.spatial :]
        batch = prod(x.shape[: -self.spatial - 1])
        shown = windows_of(widened(x).reshape(batch, channels, *sizes), axes)
        rows = channels // self.groups * prod(axis.kernel for axis in axes)
        return shown.reshape(batch, self.groups, rows, prod(axis.count for axis in axes))

    def infer(self, x: ArraySpec, w: ArraySpec) -> ArraySpec:
        _check_operands(x, w, self.spatial, "filters, channels / groups")
        channels, filters = x.shape[-self.spatial - 1], w.shape[0]
        if channels != w.shape[1] * self.groups or filters % self.groups:
            msg = f"Operands of shapes {x.shape} and {w.shape} do not fit groups={self.groups}: {channels} channels"
            msg += f" need filters for {w.shape[1] * self.groups}, in a number that {self.groups} divides."
            raise ShapeError(msg)
        counts = (axis.count for axis in self._axes(x.shape, w.shape))
        return ArraySpec((*x.shape[: -self.spatial - 1], filters, *counts), np.result_type(x.dtype, w.dtype))

    def forward(self, x: Array, w: Array) -> Array:
        axes = self._axes(x.shape, w.shape)
        z = np.matmul(_as_matrices(w, self.groups), self._columns(x, axes))
        shape = (*x.shape[: -self.spatial - 1], w.shape[0], *(axis.count for axis in axes))
        return narrowed(z.reshape(shape), np.result_type(x.dtype, w.dtype))

    def backward_x(self, dz: Array, w: Array, x_shape: tuple[int, ...]) -> Array:
        axes = self._axes(x_shape, w.shape)
        matrices = np.swapaxes(_as_matrices(conjugated(w), self.groups), -1, -2)
        parts = np.matmul(matrices, _as_rows(dz, self.spatial, self.groups))
        channels, batch = x_shape[-self.spatial - 1], prod(x_shape[: -self.spatial - 1])
        return overlaid(parts.reshape(batch, channels, *_window_shape(axes)), axes).reshape(x_shape)

    def backward_w(self, dz: Array, x: Array, w_shape: tuple[int, ...]) -> Array:
        columns = self._columns(conjugated(x), self._axes(x.shape, w_shape))
        return _summed_products(_as_rows(dz, self.spatial, self.groups), columns).reshape(w_shape)

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

    def forward(self, x: Array, w: Array) -> Array:
        axes = self._axes(x.shape, w.shape)
        matrices = np.swapaxes(_as_matrices(w, self.groups), -1, -2)
        parts = np.matmul(matrices, _as_rows(x, self.spatial, self.groups))
        leading, filters = x.shape[: -self.spatial - 1], w.shape[1] * self.groups
        z = overlaid(parts.reshape(prod(leading), filters, *_window_shape(axes)), axes)
        shape = (*leading, filters, *(axis.size for axis in axes))
        return narrowed(z.reshape(shape), np.result_type(x.dtype, w.dtype))

    def _columns(self, dz: Array, axes: tuple[WindowAxis, ...]) -> Array:
        filters, batch = dz.shape[-self.spatial - 1], prod(dz.shape[: -self.spatial - 1])
        shown = windows_of(widened(dz).reshape(batch, filters, *dz.shape[-self.spatial :]), axes)
        rows = filters // self.groups * prod(axis.kernel for axis in axes)
        return shown.reshape(batch, self.groups, rows, prod(axis.count for axis in axes))

    def backward_x(self, dz: Array, w: Array, x_shape: tuple[int, ...]) -> Array:
        columns = self._columns(dz, self._axes(x_shape, w.shape))
        return np.matmul(_as_matrices(conjugated(w), self.groups), columns).reshape(x_shape)

    def backward_w(self, dz: Array, x: Array, w_shape: tuple[int, ...]) -> Array:
        columns = self._columns(dz, self._axes(x.shape, w_shape))
        return _summed_products(_as_rows(conjugated(x), self.spatial, self.groups), columns).reshape(w_shape)

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


def _window_shape(axes: tuple[WindowAxis, ...]) -> tuple[int, ...]:
    return (*(axis.kernel for axis in axes), *(axis.count for axis in axes))


def _as_matrices(w: Array, groups: int) -> Array:
    """Return filters as a matrix for each group. Shape `(groups, rows of a group, all else)`."""
    return widened(w).reshape(groups, w.shape[0] // groups, prod(w.shape[1:]))


def _as_rows(x: Array, spatial: int, groups: int) -> Array:
    """Return channels as rows of all their places. Shape `(batch, groups, channels of a group, places)`."""
    batch, channels, places = prod(x.shape[: -spatial - 1]), x.shape[-spatial - 1], prod(x.shape[-spatial:])
    return widened(x).reshape(batch, groups, channels // groups, places)


def _summed_products(x: Array, y: Array) -> Array:
    """Return `x @ y^T` of each group, summed over the batch.

    Args:
        x: Shape `(batch, groups, m, places)`.
        y: Shape `(batch, groups, n, places)`.

    Returns:
        Shape `(groups, m, n)`.
    """
    return reduce_sum(np.matmul(x, np.swapaxes(y, -1, -2)), 0)


class Im2col(_Windowed):
    """What windows over the last two axes show, a column for each window.

    Shapes: ``x`` ``(..., channels, height, width)``, ``z`` ``(..., channels * rows * columns, windows)``.
    """

    name: ClassVar[str] = "im2col"
    linear: ClassVar[bool] = True
    spatial: ClassVar[int] = 2

    kernel_size: Annotated[PerAxis, Field(description="Rows and columns of a window: one number, or one for each.")]
    padding: Annotated[
        Padding,
        Field(description="Zeros around: a number, one number or (before, after) for each axis, 'same' or 'valid'."),
    ] = 0

    def _axes(self, shape: tuple[int, ...]) -> tuple[WindowAxis, ...]:
        kernel = per_axis("kernel_size", self.kernel_size, 2)
        return window_axes(shape[-2:], kernel, self.stride, self.dilation, self.padding)

    def infer(self, x: ArraySpec) -> ArraySpec:
        _check_image(x, 3, "(..., channels, height, width)")
        axes = self._axes(x.shape)
        rows = x.shape[-3] * prod(axis.kernel for axis in axes)
        return ArraySpec((*x.shape[:-3], rows, prod(axis.count for axis in axes)), x.dtype)

    def forward(self, x: Array) -> Array:
        axes = self._axes(x.shape)
        rows = x.shape[-3] * prod(axis.kernel for axis in axes)
        return windows_of(x, axes).reshape(*x.shape[:-3], rows, prod(axis.count for axis in axes))

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        axes = self._axes(x_shape)
        return overlaid(widened(dz).reshape(*x_shape[:-2], *_window_shape(axes)), axes)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(kernel_size=2), random.normal(size=(2, 2, 3, 4)))
        yield Example(cls(kernel_size=(3, 1), stride=2, padding=((1, 2), 1)), random.normal(size=(1, 3, 4)))
        x = random.normal(size=(1, 4, 4))
        yield Example(cls(kernel_size=2, dilation=2, padding="same"), x + 1j * x[:, ::-1])


class Col2im(_Windowed):
    """Columns of windows added up where the windows lie: the adjoint of ``im2col``.

    Shapes: ``x`` ``(..., channels * rows * columns, windows)``, ``z`` ``(..., channels, height, width)``.
    """

    name: ClassVar[str] = "col2im"
    linear: ClassVar[bool] = True
    spatial: ClassVar[int] = 2

    output_size: Annotated[tuple[Length, Length], Field(description="Height and width of the result.")]
    kernel_size: Annotated[PerAxis, Field(description="Rows and columns of a window: one number, or one for each.")]
    padding: Annotated[
        Padding,
        Field(description="What is cut off around: a number, one number or (before, after) for each axis, or a name."),
    ] = 0

    def _axes(self) -> tuple[WindowAxis, ...]:
        kernel = per_axis("kernel_size", self.kernel_size, 2)
        return window_axes(self.output_size, kernel, self.stride, self.dilation, self.padding)

    def infer(self, x: ArraySpec) -> ArraySpec:
        _check_image(x, 2, "(..., channels * rows * columns, windows)")
        axes = self._axes()
        places, windows = prod(axis.kernel for axis in axes), prod(axis.count for axis in axes)
        if x.shape[-1] != windows or x.shape[-2] % places:
            msg = f"The operand must have the shape (..., channels * {places}, {windows}), got {x.shape}."
            msg += " Choose another output_size, or the attributes with which the columns were made."
            raise ShapeError(msg)
        return ArraySpec((*x.shape[:-2], x.shape[-2] // places, *self.output_size), x.dtype)

    def forward(self, x: Array) -> Array:
        axes = self._axes()
        channels = x.shape[-2] // prod(axis.kernel for axis in axes)
        z = overlaid(widened(x).reshape(*x.shape[:-2], channels, *_window_shape(axes)), axes)
        return narrowed(z, x.dtype)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        return windows_of(dz, self._axes()).reshape(x_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(output_size=(3, 4), kernel_size=2), random.normal(size=(2, 8, 6)))
        yield Example(
            cls(output_size=(3, 4), kernel_size=(3, 1), stride=2, padding=((1, 2), 1)), random.normal(size=(3, 6))
        )
        x = random.normal(size=(4, 16))
        yield Example(cls(output_size=(4, 4), kernel_size=2, dilation=2, padding="same"), x + 1j * x[::-1])


def _check_image(x: ArraySpec, axes: int, shape: str) -> None:
    require_floating("x", x, complex_too=True)
    if x.ndim < axes:
        msg = f"The operand must have a shape {shape}, got {x.shape}. Reshape it."
        raise ShapeError(msg)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, Im2col, Col2im]
