"""Heat in a plate, by explicit finite differences, with the adjoint of exactly these steps."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, FiniteFloat

import graphsvc
from graphsvc import Array, ArraySpec, Example, GateDataError
from graphsvc.arrays import require_floating
from graphsvc.errors import ShapeError

__all__ = ["Heat"]


class Heat(graphsvc.Gate):
    """Temperature of an insulated plate after ``steps`` explicit steps of the heat equation.

    Each step adds ``dt / spacing**2`` times what flows into a cell: across each face the difference of two
    temperatures times the mean of the two diffusivities. No heat is lost. Operands: ``u``, the temperature at first,
    shape ``(m, n)``; ``k``, the diffusivity of each cell, shape ``(m, n)``, from 0 to ``spacing**2 / (4 * dt)``,
    beyond which the scheme is unstable. Every temperature on the way is kept for the backward pass.
    """

    name: ClassVar[str] = "heat"
    saves: ClassVar[tuple[str, ...]] = ("history",)

    steps: Annotated[int, Field(ge=1, le=100_000, description="Number of time steps.")] = 10
    dt: Annotated[FiniteFloat, Field(gt=0, description="Length of a time step.")] = 1.0
    spacing: Annotated[FiniteFloat, Field(gt=0, description="Length of the side of a cell.")] = 1.0

    def infer(self, u: ArraySpec, k: ArraySpec) -> ArraySpec:
        if u.ndim != 2 or u.shape != k.shape or 0 in u.shape:
            msg = f"Operands must both have a shape (m, n) with m and n from 1, got {u.shape} and {k.shape}."
            raise ShapeError(msg)
        require_floating("u", u)
        require_floating("k", k)
        return ArraySpec(u.shape, np.result_type(u.dtype, k.dtype))

    def forward(self, u: Array, k: Array) -> tuple[Array, list[Array]]:
        rate = self.dt / self.spacing**2
        if not np.all((k >= 0) & (4 * rate * k <= 1)):
            msg = f"k must lie between 0 and spacing**2 / (4 * dt) = {1 / (4 * rate):g}. Take smaller time steps."
            raise GateDataError(msg)
        history = []
        u = u.astype(np.result_type(u.dtype, k.dtype))
        for _ in range(self.steps):
            history.append(u)
            u = u + rate * _inflow(u, k)
        return u, history

    def backward(self, dz: Array, k: Array, history: list[Array]) -> tuple[Array, Array]:
        rate = self.dt / self.spacing**2
        dk = np.zeros_like(dz)
        for u in reversed(history):
            for axis in (0, 1):
                dk = dk - rate * _to_cells(np.diff(dz, axis=axis) * np.diff(u, axis=axis), axis)
            # A step is a symmetric matrix, so it is its own adjoint.
            dz = dz + rate * _inflow(dz, k)
        return dz, dk

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(steps=4), random.uniform(0.0, 1.0, (3, 4)), random.uniform(0.05, 0.25, (3, 4)))
        yield Example(cls(steps=1, dt=0.5, spacing=2.0), random.uniform(size=(1, 3)), random.uniform(size=(1, 3)))


def _inflow(u: Array, k: Array) -> Array:
    """Return what flows into each cell in a unit of time. Shape of `u`."""
    total = np.zeros_like(u)
    for axis in (0, 1):
        flux = _at_faces(k, axis) * np.diff(u, axis=axis)
        total = total + np.diff(_walled(flux, axis), axis=axis)
    return total


def _at_faces(k: Array, axis: int) -> Array:
    """Return the mean of each two neighbours along an axis."""
    first, second = (k[:-1], k[1:]) if axis == 0 else (k[:, :-1], k[:, 1:])
    return (first + second) * 0.5


def _to_cells(faces: Array, axis: int) -> Array:
    """Return half of what is on a cell's two faces: the adjoint of `_at_faces`."""
    return _at_faces(_walled(faces, axis), axis)


def _walled(faces: Array, axis: int) -> Array:
    """Return the faces with the two of the walls, through which nothing flows."""
    return np.pad(faces, [(1, 1) if a == axis else (0, 0) for a in (0, 1)])
