"""Trusses: bars that are pinned together at joints, under load."""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field, FiniteFloat
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu

import graphsvc
from graphsvc import Array, ArraySpec, Example, GateDataError
from graphsvc.arrays import require_floating
from graphsvc.errors import ShapeError

__all__ = ["Truss"]


class _Bars(NamedTuple):
    """The bars of a truss: length `(m,)`, direction `(m, d)`, stiffness along it `(m,)`."""

    length: Array
    direction: Array
    stiffness: Array


class Truss(graphsvc.Gate):
    """Displacements of the joints of a linear elastic truss.

    Operands: ``positions`` of the joints, shape ``(n, d)``; ``areas`` of the cross-sections of the bars, ``(m,)``;
    ``loads`` on the joints, ``(n, d)``; ``bars``, the two joints of each bar, integers ``(m, 2)``; ``supports``,
    integers ``(n, d)``, 1 where a joint is held in a direction and 0 where it is free. The displacements, ``(n, d)``,
    solve ``K u = loads`` for the free directions, with ``K`` the sum over bars of
    ``modulus * area / length * b b^T``, ``b`` being the bar's direction at its second joint and its negative at the
    first. Units are the caller's, as long as they fit together.

    The gradient of any of them is that of ``K``, between the displacements and the solution of ``K l = dz``, for which
    the sparse LU factorisation of the forward pass is used again.

    Source:
        M. P. Bendsoe and O. Sigmund, "Topology Optimization" (2004), section 1.2.3 on the adjoint method.
    """

    name: ClassVar[str] = "truss"
    integers: ClassVar[tuple[str, ...]] = ("bars", "supports")
    saves: ClassVar[tuple[str, ...]] = ("factor",)

    modulus: Annotated[FiniteFloat, Field(gt=0, description="Young's modulus of all bars.")] = 1.0

    def infer(
        self, positions: ArraySpec, areas: ArraySpec, loads: ArraySpec, bars: ArraySpec, supports: ArraySpec
    ) -> ArraySpec:
        shape = positions.shape
        fits = len(shape) == 2 and loads.shape == supports.shape == shape and bars.shape == (*areas.shape, 2)
        if not fits or areas.ndim != 1:
            shapes = ", ".join(str(spec.shape) for spec in (positions, areas, loads, bars, supports))
            msg = f"Operands must have shapes (n, d), (m,), (n, d), (m, 2) and (n, d), got {shapes}."
            raise ShapeError(msg)
        for name, operand in (("positions", positions), ("areas", areas), ("loads", loads)):
            require_floating(name, operand)
        return ArraySpec(shape, np.result_type(positions.dtype, areas.dtype, loads.dtype))

    def forward(self, positions: Array, areas: Array, loads: Array, bars: Array, supports: Array) -> tuple[Array, Any]:
        _check(bars, supports, len(positions))
        made = self._bars(positions, areas, bars)
        if not np.all((areas > 0) & (made.length > 0)):
            msg = "Bars must have an area and a length above 0. Leave out those that have none."
            raise GateDataError(msg)
        free = np.flatnonzero(supports == 0)
        factor = _factorised(made, bars, free, loads.shape)
        displacements = np.zeros(loads.size)
        displacements[free] = factor.solve(loads.reshape(-1)[free].astype(np.float64))
        dtype = np.result_type(positions.dtype, areas.dtype, loads.dtype)
        return displacements.reshape(loads.shape).astype(dtype), factor

    def backward(
        self, dz: Array, positions: Array, areas: Array, bars: Array, supports: Array, z: Array, factor: Any
    ) -> tuple[Array, Array, Array, None, None]:
        free = np.flatnonzero(supports == 0)
        solved = np.zeros(dz.size)
        solved[free] = factor.solve(dz.reshape(-1)[free].astype(np.float64))
        dloads = solved.reshape(dz.shape)
        length, direction, stiffness = self._bars(positions, areas, bars)
        first, second = bars.T
        # How much each bar is stretched, and turned, by the displacements and by the adjoint.
        u, v = z[second] - z[first], dloads[second] - dloads[first]
        along_u, along_v = np.sum(u * direction, axis=1), np.sum(v * direction, axis=1)
        across_u, across_v = u - along_u[:, None] * direction, v - along_v[:, None] * direction
        dareas = -self.modulus / length * along_u * along_v
        turned = along_u[:, None] * across_v + along_v[:, None] * across_u
        dends = (stiffness / length)[:, None] * ((along_u * along_v)[:, None] * direction - turned)
        dpositions = np.zeros(positions.shape)
        np.add.at(dpositions, second, dends)
        np.subtract.at(dpositions, first, dends)
        return dpositions, dareas, dloads, None, None

    def _bars(self, positions: Array, areas: Array, bars: Array) -> _Bars:
        first, second = bars.T
        span = (positions[second] - positions[first]).astype(np.float64)
        length = np.linalg.norm(span, axis=1)
        with np.errstate(all="ignore"):
            return _Bars(length, span / length[:, None], self.modulus * areas / length)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        positions = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.1], [1.1, 1.0]])
        bars = np.array([[0, 2], [1, 2], [1, 3], [0, 3], [2, 3]])
        supports = np.array([[1, 1], [1, 1], [0, 0], [0, 0]])
        loads = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, -0.1], [0.2, -0.3]])
        yield Example(cls(modulus=2.0), positions, np.array([1.0, 0.5, 0.8, 0.7, 0.4]), loads, bars, supports)


def _check(bars: Array, supports: Array, joints: int) -> None:
    """Refuse bars between joints that do not exist, and supports that are neither 0 nor 1."""
    if not np.all((bars >= 0) & (bars < joints)):
        msg = f"Bars must join joints from 0 to {joints - 1}, the last of {joints} positions."
        raise GateDataError(msg)
    if not np.all((supports == 0) | (supports == 1)):
        msg = "Supports must be 1 where a joint is held in a direction and 0 where it is free."
        raise GateDataError(msg)


def _factorised(made: _Bars, bars: Array, free: Array, shape: tuple[int, ...]) -> Any:
    """Return the sparse LU factorisation of the stiffness of the free directions."""
    joints, dimensions = shape
    # The directions of a bar's two joints, `(m, 2 d)`, and the bar's `b` in them.
    places = (bars[:, :, None] * dimensions + np.arange(dimensions)).reshape(len(bars), -1)
    b = np.concatenate([-made.direction, made.direction], axis=1)
    blocks = made.stiffness[:, None, None] * b[:, :, None] * b[:, None, :]
    rows, columns = np.broadcast_arrays(places[:, :, None], places[:, None, :])
    size = joints * dimensions
    stiffness = coo_array((blocks.reshape(-1), (rows.reshape(-1), columns.reshape(-1))), shape=(size, size)).tocsc()
    # A diagonal that is lost in rounding is that of a mechanism.
    try:
        factor = splu(stiffness[free][:, free])
        pivots = np.abs(factor.U.diagonal())
        sound = free.size == 0 or pivots.min() > 1e-12 * pivots.max()
    except RuntimeError:
        sound = False
    if not sound:
        msg = "The truss is a mechanism: its joints can move without any bar being stretched. Add bars or supports."
        raise GateDataError(msg)
    return factor
