"""Gates of interpolation, which read a table between its entries: interp1d along a line, bilinear on a grid.

The slope at a knot is that to the right, and outside of the table it is zero.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, broadcast_shapes, conjugated, require_floating, sum_to_shape
from graphsvc.errors import GateDataError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


def _added(values: Array, places: tuple[Array, ...], shape: tuple[int, ...]) -> Array:
    """Add values up at their places in an array of `shape`. Sums in float16 would stop at 2048."""
    sums = np.zeros_like(values, shape=shape, dtype=np.result_type(values.dtype, np.float32))
    np.add.at(sums, places, values)
    return sums


_Outside = Annotated[float | None, Field(allow_inf_nan=False)]


class Interp1d(Gate):
    """Linear interpolation of the points ``(xp, fp)`` at ``x``, as `numpy.interp`.

    ``x`` has any shape, ``xp`` and ``fp`` are vectors of as many elements; ``xp`` ascends, else it is refused, and is
    not differentiable. ``fp`` may be complex. The gradient of ``fp`` is shared by the two points about each ``x``.
    """

    name: ClassVar[str] = "interp1d"
    saves: ClassVar[tuple[str, ...]] = ("place",)

    left: Annotated[_Outside, Field(description="Value below the first point; None takes that of the first.")] = None
    right: Annotated[_Outside, Field(description="Value above the last point; None takes that of the last.")] = None

    def infer(self, x: ArraySpec, xp: ArraySpec, fp: ArraySpec) -> ArraySpec:
        require_floating("x", x)
        require_floating("xp", xp)
        require_floating("fp", fp, complex_too=True)
        if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
            msg = f"Operands 'xp' and 'fp' must be vectors of as many elements, got {xp.shape} and {fp.shape}."
            msg += " Give a value for each point."
            raise ShapeError(msg)
        return ArraySpec(x.shape, np.result_type(x.dtype, xp.dtype, fp.dtype))

    def forward(self, x: Array, xp: Array, fp: Array) -> tuple[Array, Array]:
        if not np.all(xp[1:] > xp[:-1]):
            msg = "Operand 'xp' does not ascend. Sort the points, and drop those that come twice."
            raise GateDataError(msg)
        place = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, max(xp.shape[0] - 2, 0))
        part = _part(x, xp, place)
        z = _at(fp, place) + part * (_after(fp, place) - _at(fp, place))
        z = np.where(x < xp[0], fp[0] if self.left is None else self.left, z)
        z = np.where(x >= xp[-1], fp[-1], z)
        if self.right is not None:
            z = np.where(x > xp[-1], self.right, z)
        return z.astype(np.result_type(x.dtype, xp.dtype, fp.dtype)), place

    def backward_x(self, dz: Array, x: Array, xp: Array, fp: Array, place: Array) -> Array:
        width = _after(xp, place) - _at(xp, place)
        slope = (_after(fp, place) - _at(fp, place)) / np.where(width == 0, 1, width)
        return np.where((x < xp[0]) | (x >= xp[-1]), 0, dz * conjugated(slope))

    def backward_fp(self, dz: Array, x: Array, xp: Array, place: Array, fp_shape: tuple[int, ...]) -> Array:
        if self.left is not None:
            dz = np.where(x < xp[0], 0, dz)
        if self.right is not None:
            dz = np.where(x > xp[-1], 0, dz)
        part = np.where(x >= xp[-1], 1, _part(x, xp, place)).astype(xp.dtype)
        after = np.minimum(place + 1, fp_shape[0] - 1)
        return _added(dz * (1 - part), (place,), fp_shape) + _added(dz * part, (after,), fp_shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        xp, fp = np.array([-1.0, 0.0, 0.5, 2.0]), random.normal(size=4)
        yield Example(cls(), np.array([[-0.7, 0.1], [1.3, 0.4]]), xp, fp)
        yield Example(cls(), np.array([-2.0, 0.2, 3.0]), xp, fp)
        yield Example(cls(left=0.0, right=1.0), np.array([-2.0, 0.2, 3.0]), xp, fp)
        yield Example(cls(), np.array(0.7), xp, fp + 1j * random.normal(size=4))


def _at(points: Array, place: Array) -> Array:
    return np.take(points, place)


def _after(points: Array, place: Array) -> Array:
    return np.take(points, np.minimum(place + 1, points.shape[0] - 1))


def _part(x: Array, xp: Array, place: Array) -> Array:
    """Return how far `x` is between the points about it: 0 at the left one, 1 at the right one, and beyond them."""
    width = _after(xp, place) - _at(xp, place)
    return np.clip((x - _at(xp, place)) / np.where(width == 0, 1, width), 0, 1)


class Bilinear(Gate):
    """Value of a table between its entries: ``table[x, y]`` for places ``x`` along its first axis and ``y`` its second.

    ``table`` has the shape ``(m, n)``; ``x`` and ``y`` broadcast, and count entries from 0. Places outside take the
    nearest value at the edge. The gradient of the table is shared by the four entries about each place.
    """

    name: ClassVar[str] = "bilinear"

    def infer(self, table: ArraySpec, x: ArraySpec, y: ArraySpec) -> ArraySpec:
        require_floating("table", table, complex_too=True)
        require_floating("x", x)
        require_floating("y", y)
        if table.ndim != 2 or not table.size:
            msg = f"Operand 'table' must be a matrix with entries, got shape {table.shape}. Reshape it."
            raise ShapeError(msg)
        return ArraySpec(broadcast_shapes(x.shape, y.shape), np.result_type(table.dtype, x.dtype, y.dtype))

    def forward(self, table: Array, x: Array, y: Array) -> Array:
        (i, i_next, s), (j, j_next, t) = _cell(x, table.shape[0]), _cell(y, table.shape[1])
        above = (1 - t) * table[i, j] + t * table[i, j_next]
        below = (1 - t) * table[i_next, j] + t * table[i_next, j_next]
        z = (1 - s) * above + s * below
        return z.astype(np.result_type(table.dtype, x.dtype, y.dtype))

    def backward_table(self, dz: Array, x: Array, y: Array, table_shape: tuple[int, ...]) -> Array:
        (i, i_next, s), (j, j_next, t) = _cell(x, table_shape[0]), _cell(y, table_shape[1])
        above, below = dz * (1 - s), dz * s
        return (
            _added(above * (1 - t), (i, j), table_shape)
            + _added(above * t, (i, j_next), table_shape)
            + _added(below * (1 - t), (i_next, j), table_shape)
            + _added(below * t, (i_next, j_next), table_shape)
        )

    def backward_x(self, dz: Array, table: Array, x: Array, y: Array) -> Array:
        (i, i_next, _), (j, j_next, t) = _cell(x, table.shape[0]), _cell(y, table.shape[1])
        slope = (1 - t) * (table[i_next, j] - table[i, j]) + t * (table[i_next, j_next] - table[i, j_next])
        outside = (x < 0) | (x >= table.shape[0] - 1)
        return sum_to_shape(np.where(outside, 0, dz * conjugated(slope)), x.shape)

    def backward_y(self, dz: Array, table: Array, x: Array, y: Array) -> Array:
        (i, i_next, s), (j, j_next, _) = _cell(x, table.shape[0]), _cell(y, table.shape[1])
        slope = (1 - s) * (table[i, j_next] - table[i, j]) + s * (table[i_next, j_next] - table[i_next, j])
        outside = (y < 0) | (y >= table.shape[1] - 1)
        return sum_to_shape(np.where(outside, 0, dz * conjugated(slope)), y.shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(2)
        table = random.normal(size=(3, 4))
        yield Example(cls(), table, np.array([[0.3], [1.6]]), np.array([0.2, 1.7, 2.5]))
        yield Example(cls(), table, np.array([-0.5, 2.4, 1.2]), np.array([0.5, 3.5, -1.0]))
        yield Example(cls(), table, np.array(0.4), np.array(1.4))
        yield Example(cls(), table + 1j * random.normal(size=(3, 4)), np.array([0.4, 1.2]), np.array([1.4, 0.3]))


def _cell(x: Array, length: int) -> tuple[Array, Array, Array]:
    """Return the entry to the left of each place, that to the right, and how far the place is between them."""
    place = np.clip(np.floor(np.where(np.isnan(x), 0, x)), 0, max(length - 2, 0)).astype(np.int64)
    return place, np.minimum(place + 1, length - 1), np.clip(x - place.astype(x.dtype), 0, 1)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Interp1d, Bilinear]
