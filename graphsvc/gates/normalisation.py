"""Gates of normalization: they shift and scale to mean 0 and variance 1, over rows, channels, groups or batches."""

from collections.abc import Iterable
from math import prod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import (
    MAX_DIMENSION,
    Array,
    ArraySpec,
    narrowed,
    normalized_axes,
    reduce_sum,
    require_floating,
    widened,
)
from graphsvc.errors import AttributeValueError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._statistics import Epsilon, average, check_coefficients, moments, others, through_standardised
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

Axis = Annotated[int | tuple[int, ...], Field(description="Axes that are normalised together.")]


def _checked_axes(x: ArraySpec, axis: int | tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes that are normalised together, sorted; refuse those that hold nothing."""
    require_floating("x", x)
    axes = tuple(sorted(normalized_axes(axis, x.ndim)))
    if not axes or prod(x.shape[a] for a in axes) == 0:
        msg = f"The operand of shape {x.shape} has no element along the axes {axes}, so there is nothing to normalise."
        msg += " Choose another axis, or give an operand with elements."
        raise ShapeError(msg)
    return axes


class _RowNorm(Gate):
    """Base of the gates that normalise over some axes, with a gain for each element of these."""

    axis: Axis = -1
    epsilon: Epsilon = 1e-5

    def _axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(sorted(normalized_axes(self.axis, ndim)))

    def _spread(self, gain: Array, x_shape: tuple[int, ...]) -> Array:
        """Return a gain or bias in a shape that broadcasts with `x`."""
        axes = self._axes(len(x_shape))
        if axes == tuple(range(len(x_shape) - len(axes), len(x_shape))):
            return widened(gain)
        return widened(gain).reshape(tuple(n if a in axes else 1 for a, n in enumerate(x_shape)))

    def _collected(self, terms: Array) -> Array:
        """Return the sum over the axes that are not normalised: the gradient of a gain or bias."""
        return reduce_sum(terms, others(terms.ndim, self._axes(terms.ndim)))


class LayerNorm(_RowNorm):
    """Rows of mean 0 and variance 1, scaled and shifted: ``z = (x - mean(x)) / sqrt(var(x) + epsilon) * gain + bias``.

    Mean and variance are over ``axis``, and ``gain`` and ``bias`` have the shape of these axes: for the last axis,
    ``x`` is ``(..., n)`` and they are ``(n,)``. The variance is that of all elements, divided by their number.
    """

    name: ClassVar[str] = "layer_norm"
    saves: ClassVar[tuple[str, ...]] = ("mean", "scale")

    def infer(self, x: ArraySpec, gain: ArraySpec, bias: ArraySpec) -> ArraySpec:
        axes = _checked_axes(x, self.axis)
        check_coefficients(tuple(x.shape[a] for a in axes), gain=gain, bias=bias)
        return ArraySpec(x.shape, np.result_type(x.dtype, gain.dtype, bias.dtype))

    def forward(self, x: Array, gain: Array, bias: Array) -> tuple[Array, Array, Array]:
        wide = widened(x)
        mean, var = moments(wide, self._axes(x.ndim))
        scale = 1 / np.sqrt(var + self.epsilon)
        z = (wide - mean) * scale * self._spread(gain, x.shape) + self._spread(bias, x.shape)
        return narrowed(z, np.result_type(x.dtype, gain.dtype, bias.dtype)), mean, scale

    def backward_x(self, dz: Array, x: Array, gain: Array, mean: Array, scale: Array) -> Array:
        y = (widened(x) - mean) * scale
        return through_standardised(widened(dz) * self._spread(gain, x.shape), y, scale, self._axes(x.ndim))

    def backward_gain(self, dz: Array, x: Array, mean: Array, scale: Array) -> Array:
        return self._collected(widened(dz) * ((widened(x) - mean) * scale))

    def backward_bias(self, dz: Array) -> Array:
        return self._collected(widened(dz))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        for axis, x, gain in ((-1, (3, 4), (4,)), ((-1, -2), (2, 3, 2), (3, 2)), (0, (4, 3), (4,)), (0, (5,), (5,))):
            yield Example(cls(axis=axis), *(random.normal(size=size) for size in (x, gain, gain)))
        yield Example(cls(epsilon=0.5), *(random.normal(size=size) for size in ((2, 3), (3,), (3,))))


class RmsNorm(_RowNorm):
    """Rows of mean square 1, scaled: ``z = x / sqrt(mean(x**2) + epsilon) * gain``.

    The mean is over ``axis``, and ``gain`` has the shape of these axes: for the last axis, ``x`` is ``(..., n)`` and
    ``gain`` is ``(n,)``.

    *Source*: B. Zhang and R. Sennrich, "Root mean square layer normalization" (2019).
    """

    name: ClassVar[str] = "rms_norm"
    saves: ClassVar[tuple[str, ...]] = ("scale",)

    def infer(self, x: ArraySpec, gain: ArraySpec) -> ArraySpec:
        axes = _checked_axes(x, self.axis)
        check_coefficients(tuple(x.shape[a] for a in axes), gain=gain)
        return ArraySpec(x.shape, np.result_type(x.dtype, gain.dtype))

    def forward(self, x: Array, gain: Array) -> tuple[Array, Array]:
        wide = widened(x)
        scale = 1 / np.sqrt(average(wide * wide, self._axes(x.ndim)) + self.epsilon)
        return narrowed(wide * scale * self._spread(gain, x.shape), np.result_type(x.dtype, gain.dtype)), scale

    def backward_x(self, dz: Array, x: Array, gain: Array, scale: Array) -> Array:
        y = widened(x) * scale
        dy = widened(dz) * self._spread(gain, x.shape)
        return scale * (dy - y * average(dy * y, self._axes(x.ndim)))

    def backward_gain(self, dz: Array, x: Array, scale: Array) -> Array:
        return self._collected(widened(dz) * (widened(x) * scale))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        for axis, x, gain in ((-1, (3, 4), (4,)), ((-1, -2), (2, 3, 2), (3, 2)), (0, (4, 3), (4,)), (0, (5,), (5,))):
            yield Example(cls(axis=axis), random.normal(size=x), random.normal(size=gain))


class MeanVarianceNorm(Gate):
    """Mean 0 and variance 1 over axes: ``z = (x - mean(x)) / sqrt(var(x) + epsilon)``."""

    name: ClassVar[str] = "mean_variance_norm"
    saves: ClassVar[tuple[str, ...]] = ("scale",)

    axis: Axis = (0, 2, 3)
    epsilon: Epsilon = 1e-9

    def infer(self, x: ArraySpec) -> ArraySpec:
        _checked_axes(x, self.axis)
        return x

    def forward(self, x: Array) -> tuple[Array, Array]:
        wide = widened(x)
        mean, var = moments(wide, normalized_axes(self.axis, x.ndim))
        scale = 1 / np.sqrt(var + self.epsilon)
        return narrowed((wide - mean) * scale, x.dtype), scale

    def backward(self, dz: Array, z: Array, scale: Array) -> Array:
        return through_standardised(widened(dz), widened(z), scale, normalized_axes(self.axis, dz.ndim))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(), random.normal(size=(2, 3, 2, 2)))
        yield Example(cls(axis=-1, epsilon=0.1), random.normal(size=(3, 4)))


class _ChannelGroups(Gate):
    """Base of the gates that normalise groups of channels of each sample, with a gain and a bias for each channel."""

    saves: ClassVar[tuple[str, ...]] = ("mean", "scale")

    epsilon: Epsilon = 1e-5

    def _groups(self, channels: int) -> int:
        return channels

    def _split(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape in which a group is the last axis."""
        groups = self._groups(shape[1])
        return (shape[0], groups, prod(shape[1:]) // groups)

    def infer(self, x: ArraySpec, gain: ArraySpec, bias: ArraySpec) -> ArraySpec:
        require_floating("x", x)
        if x.ndim < 2 or 0 in x.shape[1:]:
            msg = f"The operand must have a shape (batch, channels, ...) with elements in each sample, got {x.shape}."
            msg += " Reshape it."
            raise ShapeError(msg)
        groups = self._groups(x.shape[1])
        if x.shape[1] % groups:
            msg = f"Attribute 'groups' is {groups} and does not divide the {x.shape[1]} channels. Choose a divisor."
            raise AttributeValueError(msg, attribute="groups")
        check_coefficients(x.shape[1:2], gain=gain, bias=bias)
        return ArraySpec(x.shape, np.result_type(x.dtype, gain.dtype, bias.dtype))

    def _standardised(self, x: Array, mean: Array, scale: Array) -> Array:
        return (widened(x).reshape(self._split(x.shape)) - mean) * scale

    def forward(self, x: Array, gain: Array, bias: Array) -> tuple[Array, Array, Array]:
        mean, var = moments(widened(x).reshape(self._split(x.shape)), (2,))
        scale = 1 / np.sqrt(var + self.epsilon)
        y = self._standardised(x, mean, scale).reshape(x.shape)
        z = y * _for_channels(gain, x.ndim) + _for_channels(bias, x.ndim)
        return narrowed(z, np.result_type(x.dtype, gain.dtype, bias.dtype)), mean, scale

    def backward_x(self, dz: Array, x: Array, gain: Array, mean: Array, scale: Array) -> Array:
        dy = (widened(dz) * _for_channels(gain, x.ndim)).reshape(self._split(x.shape))
        return through_standardised(dy, self._standardised(x, mean, scale), scale, (2,)).reshape(x.shape)

    def backward_gain(self, dz: Array, x: Array, mean: Array, scale: Array) -> Array:
        y = self._standardised(x, mean, scale).reshape(x.shape)
        return reduce_sum(widened(dz) * y, others(x.ndim, (1,)))

    def backward_bias(self, dz: Array) -> Array:
        return reduce_sum(widened(dz), others(dz.ndim, (1,)))


def _for_channels(gain: Array, ndim: int, axis: int = 1) -> Array:
    """Return one number for each channel in a shape that broadcasts with an operand of `ndim` axes."""
    return widened(gain).reshape((-1, *(1,) * (ndim - axis - 1)) if gain.size else (0, *(1,) * (ndim - axis - 1)))


class GroupNorm(_ChannelGroups):
    """Groups of channels of each sample with mean 0 and variance 1, scaled and shifted by channel.

    ``z = (x - mean) / sqrt(var + epsilon) * gain + bias``, with mean and variance of each group of each sample.
    Shapes: ``x`` ``(batch, channels, ...)``, ``gain`` and ``bias`` ``(channels,)``.

    *Source*: Y. Wu and K. He, "Group normalization" (2018).
    """

    name: ClassVar[str] = "group_norm"

    groups: Annotated[int, Field(ge=1, le=MAX_DIMENSION, description="Into how many groups the channels fall.")]

    def _groups(self, channels: int) -> int:
        return self.groups

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(groups=2), *(random.normal(size=size) for size in ((2, 4, 3), (4,), (4,))))
        yield Example(cls(groups=1), *(random.normal(size=size) for size in ((2, 2, 2, 2), (2,), (2,))))
        yield Example(cls(groups=2), *(random.normal(size=size) for size in ((2, 4), (4,), (4,))))


class InstanceNorm(_ChannelGroups):
    """Each channel of each sample with mean 0 and variance 1, scaled and shifted: ``group_norm`` of single channels.

    Shapes: ``x`` ``(batch, channels, ...)``, ``gain`` and ``bias`` ``(channels,)``.
    """

    name: ClassVar[str] = "instance_norm"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(), *(random.normal(size=size) for size in ((2, 3, 4), (3,), (3,))))
        yield Example(cls(epsilon=0.1), *(random.normal(size=size) for size in ((1, 2, 2, 3), (2,), (2,))))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [LayerNorm, RmsNorm, MeanVarianceNorm, GroupNorm, InstanceNorm]
