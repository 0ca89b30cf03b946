"""Gates of batch normalization: channels are normalised over a batch, in training and after it."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, FiniteFloat

from graphsvc.arrays import Array, ArraySpec, narrowed, normalized_axes, reduce_sum, require_floating, widened
from graphsvc.errors import ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._statistics import Epsilon, check_coefficients, moments, others, through_standardised
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _BatchNorm(Gate):
    """Base of the gates that normalise each channel over all else."""

    axis: Annotated[int, Field(description="The axis of the channels.")] = 1
    epsilon: Epsilon = 1e-5

    def _axes(self, ndim: int) -> tuple[int, ...]:
        return others(ndim, normalized_axes(self.axis, ndim))

    def _spread(self, gain: Array, ndim: int) -> Array:
        """Return one number for each channel in a shape that broadcasts with `x`."""
        (axis,) = normalized_axes(self.axis, ndim)
        return widened(gain).reshape((*gain.shape, *(1,) * (ndim - axis - 1)))

    def _collected(self, terms: Array) -> Array:
        return reduce_sum(terms, self._axes(terms.ndim))

    def _check(self, x: ArraySpec, **coefficients: ArraySpec) -> tuple[np.dtype[np.generic], int]:
        require_floating("x", x)
        (axis,) = normalized_axes(self.axis, x.ndim)
        check_coefficients((x.shape[axis],), **coefficients)
        return np.result_type(x.dtype, *(spec.dtype for spec in coefficients.values())), axis

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        for attributes, x, channels in (({}, (4, 3), 3), ({}, (2, 3, 2, 2), 3), ({"axis": -1}, (3, 2, 2), 2)):
            several = (random.normal(size=channels) for _ in range(3))
            yield Example(cls(**attributes), random.normal(size=x), *several, random.uniform(0.5, 1.5, channels))


class BatchNorm(_BatchNorm):
    """Channels of mean 0 and variance 1 over the batch: ``z = (x - mean(x)) / sqrt(var(x) + epsilon) * gain + bias``.

    ``mean`` and ``var`` are the statistics so far. What comes out beside ``z`` is what they are after this batch:
    ``running_mean = momentum * mean + (1 - momentum) * mean(x)``, and ``running_var`` likewise; the gate itself keeps
    nothing. The variance is that of all elements of a channel, divided by their number. Shapes: ``x``
    ``(batch, channels, ...)``, all others ``(channels,)``.

    *Source*: S. Ioffe and C. Szegedy, "Batch normalization" (2015); momentum as in ONNX, whose complement is torch's.
    """

    name: ClassVar[str] = "batch_norm"
    outputs: ClassVar[tuple[str, ...]] = ("z", "running_mean", "running_var")
    saves: ClassVar[tuple[str, ...]] = ("centre", "scale")

    momentum: Annotated[FiniteFloat, Field(ge=0, le=1, description="Weight of the statistics so far.")] = 0.9

    def infer(
        self, x: ArraySpec, gain: ArraySpec, bias: ArraySpec, mean: ArraySpec, var: ArraySpec
    ) -> tuple[ArraySpec, ...]:
        dtype, axis = self._check(x, gain=gain, bias=bias, mean=mean, var=var)
        if x.size == 0 and x.shape[axis]:
            msg = f"The operand of shape {x.shape} is empty, so its channels have no mean. Give at least one sample."
            raise ShapeError(msg)
        channels = (x.shape[axis],)
        return ArraySpec(x.shape, dtype), ArraySpec(channels, dtype), ArraySpec(channels, dtype)

    def forward(self, x: Array, gain: Array, bias: Array, mean: Array, var: Array) -> tuple[Array, ...]:
        dtype = np.result_type(x.dtype, gain.dtype, bias.dtype, mean.dtype, var.dtype)
        wide = widened(x)
        centre, spread = moments(wide, self._axes(x.ndim))
        scale = 1 / np.sqrt(spread + self.epsilon)
        z = (wide - centre) * scale * self._spread(gain, x.ndim) + self._spread(bias, x.ndim)
        old, new = self.momentum, 1 - self.momentum
        running_mean = old * widened(mean) + new * centre.reshape(mean.shape)
        running_var = old * widened(var) + new * spread.reshape(var.shape)
        return (*(value.astype(dtype) for value in (z, running_mean, running_var)), centre, scale)

    def backward_x(
        self,
        dz: Array,
        x: Array,
        gain: Array,
        centre: Array,
        scale: Array,
        drunning_mean: Array | None = None,
        drunning_var: Array | None = None,
    ) -> Array:
        axes = self._axes(x.ndim)
        centred = widened(x) - centre
        dx = through_standardised(widened(dz) * self._spread(gain, x.ndim), centred * scale, scale, axes)
        share = (1 - self.momentum) * scale.size / max(x.size, 1)
        if drunning_mean is not None:
            dx = dx + share * self._spread(drunning_mean, x.ndim)
        if drunning_var is not None:
            dx = dx + 2 * share * self._spread(drunning_var, x.ndim) * centred
        return dx

    def backward_gain(self, dz: Array, x: Array, centre: Array, scale: Array) -> Array:
        return self._collected(widened(dz) * ((widened(x) - centre) * scale))

    def backward_bias(self, dz: Array) -> Array:
        return self._collected(widened(dz))

    def backward_mean(self, drunning_mean: Array) -> Array:
        return self.momentum * drunning_mean

    def backward_var(self, drunning_var: Array) -> Array:
        return self.momentum * drunning_var

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield from super().examples()
        random = np.random.default_rng(2)
        operands = (random.uniform(0.5, 1.5, size) for size in ((5, 2), 2, 2, 2, 2))
        yield Example(cls(momentum=0.25, epsilon=0.1), *operands)


class BatchNormInference(_BatchNorm):
    """Channels shifted and scaled by known statistics: ``z = (x - mean) / sqrt(var + epsilon) * gain + bias``.

    Shapes: ``x`` ``(batch, channels, ...)``, all others ``(channels,)``.
    """

    name: ClassVar[str] = "batch_norm_inference"

    def infer(self, x: ArraySpec, gain: ArraySpec, bias: ArraySpec, mean: ArraySpec, var: ArraySpec) -> ArraySpec:
        dtype, _ = self._check(x, gain=gain, bias=bias, mean=mean, var=var)
        return ArraySpec(x.shape, dtype)

    def _scale(self, var: Array) -> Array:
        return 1 / np.sqrt(widened(var) + self.epsilon)

    def forward(self, x: Array, gain: Array, bias: Array, mean: Array, var: Array) -> Array:
        factor = self._scale(var) * widened(gain)
        shifted = widened(x) - self._spread(mean, x.ndim)
        z = shifted * self._spread(factor, x.ndim) + self._spread(bias, x.ndim)
        return narrowed(z, np.result_type(x.dtype, gain.dtype, bias.dtype, mean.dtype, var.dtype))

    def backward_x(self, dz: Array, gain: Array, var: Array) -> Array:
        return widened(dz) * self._spread(self._scale(var) * widened(gain), dz.ndim)

    def backward_gain(self, dz: Array, x: Array, mean: Array, var: Array) -> Array:
        return self._collected(widened(dz) * (widened(x) - self._spread(mean, x.ndim))) * self._scale(var)

    def backward_bias(self, dz: Array) -> Array:
        return self._collected(widened(dz))

    def backward_mean(self, dz: Array, gain: Array, var: Array) -> Array:
        return -(self._collected(widened(dz)) * (self._scale(var) * widened(gain)))

    def backward_var(self, dz: Array, x: Array, gain: Array, mean: Array, var: Array) -> Array:
        terms = self._collected(widened(dz) * (widened(x) - self._spread(mean, x.ndim)))
        scale = self._scale(var)
        return -0.5 * terms * widened(gain) * (scale * scale * scale)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [BatchNorm, BatchNormInference]
