"""Gates that lay out what windows show as columns, and add columns up again."""

from collections.abc import Iterable
from math import prod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import MAX_DIMENSION, Array, ArraySpec, narrowed, require_floating, widened
from graphsvc.errors import ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._windows import Padding, PerAxis, WindowAxis, overlaid, per_axis, window_axes, windows_of
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

Length = Annotated[int, Field(ge=1, le=MAX_DIMENSION)]


class _Columns(Gate):
    """Base of the gates with windows over the last two axes of an image."""

    linear: ClassVar[bool] = True

    kernel_size: Annotated[PerAxis, Field(description="Rows and columns of a window: one number, or one for each.")]
    stride: Annotated[PerAxis, Field(description="Step from one window to the next, for all axes or each.")] = 1
    dilation: Annotated[PerAxis, Field(description="Step between the places of a window, for all axes or each.")] = 1
    padding: Annotated[
        Padding,
        Field(description="Zeros around: a number, one number or (before, after) for each axis, 'same' or 'valid'."),
    ] = 0

    def _axes(self, sizes: tuple[int, ...]) -> tuple[WindowAxis, ...]:
        kernel = per_axis("kernel_size", self.kernel_size, 2)
        return window_axes(sizes, kernel, self.stride, self.dilation, self.padding)


def _window_shape(axes: tuple[WindowAxis, ...]) -> tuple[int, ...]:
    return (*(axis.kernel for axis in axes), *(axis.count for axis in axes))


class Im2col(_Columns):
    """What windows over the last two axes show, a column for each window.

    Shapes: ``x`` ``(..., channels, height, width)``, ``z`` ``(..., channels * rows * columns, windows)``.
    """

    name: ClassVar[str] = "im2col"

    def infer(self, x: ArraySpec) -> ArraySpec:
        _check_image(x, 3, "(..., channels, height, width)")
        axes = self._axes(x.shape[-2:])
        rows = x.shape[-3] * prod(axis.kernel for axis in axes)
        return ArraySpec((*x.shape[:-3], rows, prod(axis.count for axis in axes)), x.dtype)

    def forward(self, x: Array) -> Array:
        axes = self._axes(x.shape[-2:])
        rows = x.shape[-3] * prod(axis.kernel for axis in axes)
        return windows_of(x, axes).reshape(*x.shape[:-3], rows, prod(axis.count for axis in axes))

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        axes = self._axes(x_shape[-2:])
        return overlaid(widened(dz).reshape(*x_shape[:-2], *_window_shape(axes)), axes)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(kernel_size=2), random.normal(size=(2, 2, 3, 4)))
        yield Example(cls(kernel_size=(3, 1), stride=2, padding=((1, 2), 1)), random.normal(size=(1, 3, 4)))
        x = random.normal(size=(1, 4, 4))
        yield Example(cls(kernel_size=2, dilation=2, padding="same"), x + 1j * x[:, ::-1])


class Col2im(_Columns):
    """Columns of windows added up where the windows lie: the adjoint of ``im2col``.

    Shapes: ``x`` ``(..., channels * rows * columns, windows)``, ``z`` ``(..., channels, height, width)``.
    """

    name: ClassVar[str] = "col2im"

    output_size: Annotated[tuple[Length, Length], Field(description="Height and width of the result.")]

    def infer(self, x: ArraySpec) -> ArraySpec:
        _check_image(x, 2, "(..., channels * rows * columns, windows)")
        axes = self._axes(self.output_size)
        places, windows = prod(axis.kernel for axis in axes), prod(axis.count for axis in axes)
        if x.shape[-1] != windows or x.shape[-2] % places:
            msg = f"The operand must have the shape (..., channels * {places}, {windows}), got {x.shape}."
            msg += " Choose another output_size, or the attributes with which the columns were made."
            raise ShapeError(msg)
        return ArraySpec((*x.shape[:-2], x.shape[-2] // places, *self.output_size), x.dtype)

    def forward(self, x: Array) -> Array:
        axes = self._axes(self.output_size)
        channels = x.shape[-2] // prod(axis.kernel for axis in axes)
        z = overlaid(widened(x).reshape(*x.shape[:-2], channels, *_window_shape(axes)), axes)
        return narrowed(z, x.dtype)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        return windows_of(dz, self._axes(self.output_size)).reshape(x_shape)

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
    return [Im2col, Col2im]
