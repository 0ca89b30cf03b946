"""The gate that lays elements around an array: constants, its edge, or its mirror image."""

from collections.abc import Iterable
from typing import Annotated, ClassVar
from typing import Literal as OneOf

import numpy as np
from pydantic import Field, FiniteFloat

from graphsvc.arrays import Array, ArraySpec
from graphsvc.errors import AttributeValueError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

Width = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Pad(Gate):
    """The operand with more elements around it, as `numpy.pad` has it; elements that are repeated add up gradients."""

    name: ClassVar[str] = "pad"

    pad_width: Annotated[
        tuple[tuple[Width, Width], ...], Field(description="For each axis how many elements before and after.")
    ]
    mode: Annotated[
        OneOf["constant", "edge", "reflect", "symmetric", "wrap"],
        Field(
            description="What is laid around: a constant, the last element, the mirror image without or with the last "
            "element, or the other end."
        ),
    ] = "constant"
    constant_values: Annotated[
        int | FiniteFloat, Field(description="The constant of mode 'constant'; the dtype of the operand must hold it.")
    ] = 0

    def infer(self, x: ArraySpec) -> ArraySpec:
        if len(self.pad_width) != x.ndim:
            msg = f"Attribute 'pad_width' has {len(self.pad_width)} pairs, but the operand's shape is {x.shape}."
            msg += " Give one pair for each axis."
            raise AttributeValueError(msg, attribute="pad_width")
        if self.mode == "constant":
            self._check_constant(x)
        elif any(size == 0 and sum(width) for size, width in zip(x.shape, self.pad_width, strict=True)):
            msg = f"An operand of shape {x.shape} has no elements to repeat along an empty axis. Pad with a constant."
            raise ShapeError(msg)
        shape = tuple(size + sum(width) for size, width in zip(x.shape, self.pad_width, strict=True))
        return ArraySpec(shape, x.dtype)

    def _check_constant(self, x: ArraySpec) -> None:
        value = self.constant_values
        if x.dtype.kind in "iu":
            limits = np.iinfo(x.dtype)
            held = value == int(value) and limits.min <= value <= limits.max
        elif x.dtype.kind == "b":
            held = value in (0, 1)
        else:
            held = abs(value) <= np.finfo(x.dtype).max
        if not held:
            msg = f"Attribute 'constant_values' is {value}, which {x.dtype} does not hold. Choose another, or convert"
            msg += " the operand with the gate 'cast'."
            raise AttributeValueError(msg, attribute="constant_values")

    def forward(self, x: Array) -> Array:
        if not self.pad_width:
            return x.copy()
        if self.mode == "constant":
            value = self.constant_values if x.dtype.kind in "fc" else int(self.constant_values)
            return np.pad(x, self.pad_width, mode="constant", constant_values=value)
        return np.pad(x, self.pad_width, mode=self.mode)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        if self.mode == "constant":
            inside = [slice(before, before + n) for n, (before, _) in zip(x_shape, self.pad_width, strict=True)]
            return dz[tuple(inside)]
        for axis, (size, width) in enumerate(zip(x_shape, self.pad_width, strict=True)):
            if sum(width):
                dz = _folded(dz, axis, np.pad(np.arange(size), width, mode=self.mode))
        return dz

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 4))
        yield Example(cls(pad_width=((1, 2), (0, 3)), constant_values=1.5), x)
        yield Example(cls(pad_width=((1, 0), (2, 0))), x + 1j * x[::-1])
        for mode in ("edge", "reflect", "symmetric", "wrap"):
            yield Example(cls(pad_width=((2, 1), (0, 7)), mode=mode), x)
        yield Example(cls(pad_width=()), x[0, 0, ...])


def _folded(dz: Array, axis: int, source: Array) -> Array:
    """Add up along an axis the gradients of all places that have one source; as sums of what is taken from `dz`.

    Args:
        dz: Shape `(..., m, ...)`.
        axis: Which of its axes.
        source: For each of the `m` places the element that stands there, of which each stands somewhere.
    """
    order = np.argsort(source, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(source))])
    most = int(np.max(np.diff(starts)))
    total = np.take(dz, order[starts[:-1]], axis=axis)
    lengths = np.diff(starts)
    for more in range(1, most):
        there = (lengths > more).reshape((-1, *(1,) * (dz.ndim - 1 - axis)))
        places = order[np.minimum(starts[:-1] + more, len(source) - 1)]
        total = total + np.where(there, np.take(dz, places, axis=axis), 0)
    return total


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Pad]
