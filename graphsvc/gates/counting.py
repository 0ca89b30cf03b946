"""Gates that answer with whole numbers or yes and no: any, all, counts, and where the extremes are. No gradients."""

import typing
from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, normalized_axes
from graphsvc.gate import Example, Gate
from graphsvc.gates._reduction import Reduction, require_elements, require_real
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

INT64 = np.dtype(np.int64)


class Any(Reduction):
    """Whether any element along the axes is not zero: ``z = any(x != 0)``; false of no elements, true of NaN."""

    name: ClassVar[str] = "any"

    def _result_dtype(self, dtype: np.dtype[typing.Any]) -> np.dtype[typing.Any]:
        return np.dtype(np.bool_)

    def forward(self, x: Array) -> Array:
        return np.any(x, axis=self.axis, keepdims=self.keepdims)


class All(Reduction):
    """Whether all elements along the axes are not zero: ``z = all(x != 0)``; true of no elements, and of NaN."""

    name: ClassVar[str] = "all"

    def _result_dtype(self, dtype: np.dtype[typing.Any]) -> np.dtype[typing.Any]:
        return np.dtype(np.bool_)

    def forward(self, x: Array) -> Array:
        return np.all(x, axis=self.axis, keepdims=self.keepdims)


class CountNonzero(Reduction):
    """How many elements along the axes are not zero: ``z = sum(x != 0)``, an int64."""

    name: ClassVar[str] = "count_nonzero"

    def _result_dtype(self, dtype: np.dtype[typing.Any]) -> np.dtype[typing.Any]:
        return INT64

    def forward(self, x: Array) -> Array:
        nonzero: Array = np.not_equal(x, 0)
        return nonzero.sum(axis=self.axis, keepdims=self.keepdims, dtype=np.int64)


class _Place(Gate):
    """Base of the gates that tell where along an axis an extreme is."""

    axis: Annotated[
        int | None, Field(description="The axis along which to look; None counts the elements in C order.")
    ] = None
    keepdims: Annotated[bool, Field(description="Whether reduced axes stay, with length 1.")] = False

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_real("x", x)
        axes = normalized_axes(self.axis, x.ndim)
        count = x.size if self.axis is None else x.shape[axes[0]]
        require_elements(count, x.shape, "extreme")
        if self.keepdims:
            shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
        else:
            shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
        return ArraySpec(shape, INT64)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3, 4))
        yield Example(cls(), x)
        yield Example(cls(axis=1), x)
        yield Example(cls(axis=-1, keepdims=True), x)
        yield Example(cls(keepdims=True), x)
        yield Example(cls(), x[0, 0, 0, ...])


class Argmax(_Place):
    """Where the largest element is: the first index of the largest along an axis, an int64. NaN counts too."""

    name: ClassVar[str] = "argmax"

    def forward(self, x: Array) -> Array:
        return np.argmax(x, axis=self.axis, keepdims=self.keepdims)


class Argmin(_Place):
    """Where the smallest element is: the first index of the smallest along an axis, an int64. NaN counts too."""

    name: ClassVar[str] = "argmin"

    def forward(self, x: Array) -> Array:
        return np.argmin(x, axis=self.axis, keepdims=self.keepdims)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Any, All, CountNonzero, Argmax, Argmin]
