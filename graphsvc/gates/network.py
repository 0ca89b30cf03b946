"""Gates of networks that belong to no other family: dropout, and rows of a table by number."""

from collections.abc import Iterable
from math import prod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import MAX_DIMENSION, Array, ArraySpec, require_floating
from graphsvc.errors import AttributeValueError, GateDataError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._windows import kept
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class Dropout(Gate):
    """Zeros at random places, and the rest made larger: ``z = x / (1 - p)`` with probability ``1 - p``, else 0.

    Which places these are depends on ``seed`` and the shape alone, and is the same everywhere and in every version of
    NumPy. For another choice at each step give another seed; after training leave the gate out.
    """

    name: ClassVar[str] = "dropout"
    linear: ClassVar[bool] = True

    p: Annotated[float, Field(ge=0, lt=1, description="Probability of a zero.")] = 0.5
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Which random choice it is.")]

    def _places(self, shape: tuple[int, ...]) -> Array:
        count = prod(shape)
        # Raw bits are the same in every version of NumPy, which is not promised of its distributions.
        bits = np.random.PCG64(self.seed).random_raw((count + 1) // 2).astype("<u8", copy=False).view("<u4")[:count]
        return (bits >= np.uint32(min(round(self.p * 2**32), 2**32 - 1))).reshape(shape)

    def infer(self, x: ArraySpec) -> ArraySpec:
        require_floating("x", x, complex_too=True)
        return x

    def forward(self, x: Array) -> Array:
        return kept(self._places(x.shape), x / (1 - self.p))

    def backward(self, dz: Array) -> Array:
        return kept(self._places(dz.shape), dz / (1 - self.p))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(3, 4))
        yield Example(cls(seed=1), x)
        yield Example(cls(p=0.25, seed=2**62), x[0] + 1j * x[1])
        yield Example(cls(p=0.0, seed=0), x[0, 0].reshape(()))


class Embedding(Gate):
    """The rows of a table that integers name: ``z = w[ids]``.

    Shapes: ``w`` ``(rows, ...)``, ``ids`` any, ``z`` ``(*ids.shape, ...)``. A row named twice gets both gradients. Rows
    named by ``padding_idx`` are zeros, whatever the table holds there, so that row has the gradient 0.
    """

    name: ClassVar[str] = "embedding"
    integers: ClassVar[tuple[str, ...]] = ("ids",)
    linear: ClassVar[bool] = True

    padding_idx: Annotated[
        int | None,
        Field(ge=0, le=MAX_DIMENSION, description="The number that stands for nothing; None means none does."),
    ] = None

    def infer(self, w: ArraySpec, ids: ArraySpec) -> ArraySpec:
        require_floating("w", w, complex_too=True)
        if w.ndim == 0:
            msg = (
                "Operand 'w' must have at least one axis, whose elements are the rows, got a single number. Reshape it."
            )
            raise ShapeError(msg)
        if self.padding_idx is not None and self.padding_idx >= w.shape[0]:
            msg = f"Attribute 'padding_idx' is {self.padding_idx}, but the table has {w.shape[0]} rows."
            raise AttributeValueError(msg, attribute="padding_idx")
        return ArraySpec((*ids.shape, *w.shape[1:]), w.dtype)

    def _means_something(self, ids: Array, ndim: int) -> Array:
        return (ids != self.padding_idx).reshape(*ids.shape, *(1,) * (ndim - 1))

    def forward(self, w: Array, ids: Array) -> Array:
        outside = (ids < 0) | (ids >= w.shape[0])
        if np.any(outside):
            first = ids.flat[int(np.argmax(outside))]
            msg = f"Id {first} is out of range for a table of {w.shape[0]} rows. Ids run from 0 to {w.shape[0] - 1}."
            raise GateDataError(msg)
        z = np.take(w, ids, axis=0)
        return z if self.padding_idx is None else np.where(self._means_something(ids, w.ndim), z, 0)

    def backward_w(self, dz: Array, ids: Array, w_shape: tuple[int, ...]) -> Array:
        if self.padding_idx is not None:
            dz = np.where(self._means_something(ids, len(w_shape)), dz, 0)
        return _sum_of_rows(dz.reshape(ids.size, *w_shape[1:]), ids.reshape(ids.size), w_shape[0])

    @classmethod
    def examples(cls) -> Iterable[Example]:
        w = np.random.default_rng(1).normal(size=(4, 3))
        yield Example(cls(), w, np.array([[3, 0], [0, 1]]))
        yield Example(cls(padding_idx=0), w, np.array([3, 0, 3]))
        yield Example(cls(), w[:, 0] + 1j * w[:, 1], np.array(2))


def _sum_of_rows(rows: Array, ids: Array, count: int) -> Array:
    """Return for each of `count` numbers the sum of the rows that it names.

    Args:
        rows: Shape `(n, ...)`.
        ids: Shape `(n,)`.
        count: How many numbers there are, from 0.

    Returns:
        Shape `(count, ...)`.
    """
    if ids.size == 0 or count == 0:
        return np.zeros((count, *rows.shape[1:]), rows.dtype)
    # Sums over runs of sorted rows: `np.add.at` takes longer, and several times as long where rows are named often.
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    # NumPy carries these sums of float16 in float32 and pairwise, unlike those of `np.sum(axis=0)` and `np.add.at`.
    sums = np.add.reduceat(np.take(rows, order, axis=0), starts, axis=0)
    if type(sums) is np.ndarray:
        total = np.zeros((count, *rows.shape[1:]), sums.dtype)
        total[ordered[starts]] = sums
        return total
    place = np.searchsorted(ordered[starts], np.arange(count))
    present = np.take(ordered[starts], place, mode="clip") == np.arange(count)
    found = np.take(sums, place, axis=0, mode="clip")
    return np.where(present.reshape(count, *(1,) * (rows.ndim - 1)), found, 0)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Dropout, Embedding]
