"""Gates that put the elements of an array at other places: reversed, shifted, turned, in blocks."""

from collections.abc import Iterable
from typing import Annotated, ClassVar
from typing import Literal as OneOf

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, normalized_axes
from graphsvc.errors import AttributeValueError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class Flip(Gate):
    """The elements in reversed order along axes."""

    name: ClassVar[str] = "flip"
    linear: ClassVar[bool] = True

    axis: Annotated[int | tuple[int, ...] | None, Field(description="Axes to reverse; None means all.")] = None

    def infer(self, x: ArraySpec) -> ArraySpec:
        normalized_axes(self.axis, x.ndim)
        return x

    def forward(self, x: Array) -> Array:
        return np.flip(x, self.axis)

    def backward(self, dz: Array) -> Array:
        return np.flip(dz, self.axis)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3, 4))
        yield Example(cls(), x)
        yield Example(cls(axis=1), x)
        yield Example(cls(axis=(0, -1)), x + 1j * x)
        yield Example(cls(), x[0, 0, 0, ...])


class Roll(Gate):
    """The elements shifted along axes; what leaves at one end comes in at the other."""

    name: ClassVar[str] = "roll"
    linear: ClassVar[bool] = True

    shift: Annotated[int | tuple[int, ...], Field(description="By how many places, for each axis.")]
    axis: Annotated[
        int | tuple[int, ...] | None, Field(description="Axes to shift along; None shifts in C order, as if flattened.")
    ] = None

    def infer(self, x: ArraySpec) -> ArraySpec:
        axes = normalized_axes(self.axis, x.ndim)
        fits = not isinstance(self.shift, tuple) or (self.axis is not None and len(self.shift) == len(axes))
        if not fits:
            msg = f"Attributes 'shift' and 'axis' are {self.shift} and {self.axis}. Give one shift for each axis."
            raise AttributeValueError(msg, attribute="shift")
        return x

    def forward(self, x: Array) -> Array:
        return np.roll(x, self.shift, self.axis)

    def backward(self, dz: Array) -> Array:
        back = -self.shift if isinstance(self.shift, int) else tuple(-shift for shift in self.shift)
        return np.roll(dz, back, self.axis)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 4))
        yield Example(cls(shift=1), x)
        yield Example(cls(shift=-2, axis=1), x)
        yield Example(cls(shift=(1, 5), axis=(0, -1)), x + 1j * x)
        yield Example(cls(shift=1), x[0, 0, ...])


class Rot90(Gate):
    """The array turned by 90 degrees ``k`` times, from the first of two axes towards the second."""

    name: ClassVar[str] = "rot90"
    linear: ClassVar[bool] = True

    k: Annotated[int, Field(description="How often it is turned.")] = 1
    axes: Annotated[tuple[int, int], Field(description="The plane in which it is turned.")] = (0, 1)

    def infer(self, x: ArraySpec) -> ArraySpec:
        one, other = normalized_axes(self.axes, x.ndim)
        shape = list(x.shape)
        if self.k % 2:
            shape[one], shape[other] = shape[other], shape[one]
        return ArraySpec(tuple(shape), x.dtype)

    def forward(self, x: Array) -> Array:
        return np.rot90(x, self.k, self.axes)

    def backward(self, dz: Array) -> Array:
        return np.rot90(dz, -self.k, self.axes)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3, 4))
        for k in range(4):
            yield Example(cls(k=k), x[0])
        yield Example(cls(k=-1, axes=(-1, 0)), x + 1j * x)


class _Blocks(Gate):
    """Base of the gates that move blocks of the plane to the channels and back."""

    block_size: Annotated[int, Field(ge=1, le=2**31, description="Side of the square blocks.")]
    mode: Annotated[
        OneOf["DCR", "CRD"],
        Field(description="Whether in the channels the places within a block come before (DCR) or after (CRD) depth."),
    ] = "DCR"

    def _to_depth(self, x: Array) -> Array:
        block, (*rest, channels, height, width) = self.block_size, x.shape
        cut = x.reshape((*rest, channels, height // block, block, width // block, block))
        order = (2, 4, 0, 1, 3) if self.mode == "DCR" else (0, 2, 4, 1, 3)
        moved = cut.transpose((*range(len(rest)), *(len(rest) + axis for axis in order)))
        return moved.reshape((*rest, channels * block * block, height // block, width // block))

    def _to_space(self, x: Array) -> Array:
        block, (*rest, channels, height, width) = self.block_size, x.shape
        depth = channels // (block * block)
        parts, order = (
            ((block, block, depth), (2, 3, 0, 4, 1)) if self.mode == "DCR" else ((depth, block, block), (0, 3, 1, 4, 2))
        )
        cut = x.reshape((*rest, *parts, height, width))
        moved = cut.transpose((*range(len(rest)), *(len(rest) + axis for axis in order)))
        return moved.reshape((*rest, depth, height * block, width * block))

    @staticmethod
    def _require_image(x: ArraySpec) -> None:
        if x.ndim < 3:
            msg = f"The operand must have the shape (..., channels, height, width), got {x.shape}. Reshape it."
            raise ShapeError(msg)


class SpaceToDepth(_Blocks):
    """Blocks of the plane moved to the channels: ``(..., c, h, w)`` becomes ``(..., c * b**2, h / b, w / b)``."""

    name: ClassVar[str] = "space_to_depth"
    linear: ClassVar[bool] = True

    def infer(self, x: ArraySpec) -> ArraySpec:
        self._require_image(x)
        *rest, channels, height, width = x.shape
        block = self.block_size
        if height % block or width % block:
            msg = f"Height and width of the operand's shape {x.shape} must be multiples of {block}. Pad it."
            raise ShapeError(msg)
        return ArraySpec((*rest, channels * block * block, height // block, width // block), x.dtype)

    def forward(self, x: Array) -> Array:
        return self._to_depth(x)

    def backward(self, dz: Array) -> Array:
        return self._to_space(dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3, 4, 6))
        yield Example(cls(block_size=2), x)
        yield Example(cls(block_size=2, mode="CRD"), x[0] + 1j * x[1])


class DepthToSpace(_Blocks):
    """Channels moved to blocks of the plane: ``(..., c, h, w)`` becomes ``(..., c / b**2, h * b, w * b)``."""

    name: ClassVar[str] = "depth_to_space"
    linear: ClassVar[bool] = True

    def infer(self, x: ArraySpec) -> ArraySpec:
        self._require_image(x)
        *rest, channels, height, width = x.shape
        block = self.block_size
        if channels % (block * block):
            msg = f"The channels of the operand's shape {x.shape} must be a multiple of {block * block}."
            msg += " Choose another block_size."
            raise ShapeError(msg)
        return ArraySpec((*rest, channels // (block * block), height * block, width * block), x.dtype)

    def forward(self, x: Array) -> Array:
        return self._to_space(x)

    def backward(self, dz: Array) -> Array:
        return self._to_depth(dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 8, 2, 3))
        yield Example(cls(block_size=2), x)
        yield Example(cls(block_size=2, mode="CRD"), x[0] + 1j * x[1])


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Flip, Roll, Rot90, SpaceToDepth, DepthToSpace]
