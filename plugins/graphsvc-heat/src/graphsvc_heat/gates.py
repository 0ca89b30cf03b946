"""A simulator with an adjoint, and a formula with a derivative made by hand."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, FiniteFloat

import graphsvc
from graphsvc import Array, ArraySpec, Example, GateDataError
from graphsvc.errors import ShapeError

graphsvc_api_version = 1


def _curvature(u: Array) -> Array:
    """Second difference of `u`; zero at the ends, whose temperature is held. Shape of `u`."""
    inner = u[:-2] - 2 * u[1:-1] + u[2:]
    return np.concatenate([[0.0], inner, [0.0]]).astype(u.dtype)


def _curvature_adjoint(v: Array) -> Array:
    """Transpose of `_curvature`. Shape of `v`."""
    inner = np.concatenate([[0.0], v[1:-1], [0.0]])
    padded = np.pad(inner, 1)
    return (padded[:-2] - 2 * inner + padded[2:]).astype(v.dtype)


class Rod(graphsvc.Gate):
    """Temperature of a rod after ``steps`` explicit steps of the heat equation; its ends are held.

    Operands: ``u``, the temperature at first, shape ``(n,)`` with ``n >= 3``; ``r``, the conductivity times the time
    step over the square of the grid's spacing, a number from 0 to 0.5, beyond which the scheme is unstable.
    """

    name: ClassVar[str] = "rod"
    saves: ClassVar[tuple[str, ...]] = ("history",)

    steps: Annotated[int, Field(ge=1, le=10_000, description="Number of time steps.")] = 10

    def infer(self, u: ArraySpec, r: ArraySpec) -> ArraySpec:
        if u.ndim != 1 or u.shape[0] < 3 or r.ndim != 0:
            msg = f"Operands must have shapes (n,) with n >= 3 and (), got {u.shape} and {r.shape}."
            raise ShapeError(msg)
        return u

    def forward(self, u: Array, r: Array) -> tuple[Array, list[Array]]:
        if not 0 <= r <= 0.5:
            msg = f"r must lie between 0 and 0.5, got {r}. Take smaller time steps."
            raise GateDataError(msg)
        history = []
        for _ in range(self.steps):
            history.append(u)
            u = (u + r * _curvature(u)).astype(u.dtype)
        return u, history

    def backward(self, dz: Array, r: Array, history: list[Array]) -> tuple[Array, Array]:
        dr = np.zeros((), dz.dtype)
        for u in reversed(history):
            dr = dr + np.dot(dz, _curvature(u))
            dz = dz + r * _curvature_adjoint(dz)
        return dz, np.asarray(dr)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        u = np.random.default_rng(1).uniform(0.0, 1.0, 6)
        yield Example(cls(), u, np.array(0.3))
        yield Example(cls(steps=1), u[:3], np.array(0.1))


class Radiation(graphsvc.Elementwise):
    """Net power radiated per area: ``z = emissivity * sigma * (x**4 - ambient**4)``, in W/m^2 for kelvins.

    Source:
        J. Stefan (1879), L. Boltzmann (1884); sigma from CODATA 2018.
    """

    name: ClassVar[str] = "radiation"

    emissivity: Annotated[FiniteFloat, Field(ge=0, le=1, description="Of the surface.")] = 1.0
    ambient: Annotated[FiniteFloat, Field(ge=0, description="Temperature around it, in kelvins.")] = 293.15

    @property
    def _factor(self) -> float:
        return self.emissivity * 5.670374419e-8

    def forward(self, x: Array) -> Array:
        return self._factor * (x * x * x * x - self.ambient**4)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * (4 * self._factor * x * x * x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([300.0, 350.0, 400.0]))
        yield Example(cls(emissivity=0.5, ambient=0.0), np.array(1000.0))


@graphsvc.hookimpl
def graphsvc_gates(context: graphsvc.PluginContext) -> list[type[graphsvc.Gate]]:
    """Provide the gates of this package."""
    return [Rod, Radiation]
