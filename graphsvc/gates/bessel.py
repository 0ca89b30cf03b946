"""Gates of Bessel functions of orders 0 and 1: of the first kind, modified, and modified without their growth."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array, narrowed, widened
from graphsvc.gate import Example, Gate
from graphsvc.gates._elementwise import RealElementwise
from graphsvc.gates._gammas import doubled
from graphsvc.gates._scipy import special
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Bessel(RealElementwise):
    """Base of the gates of this module."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([[0.5, -1.5, 3.0], [-0.25, 8.0, 1.25]]))
        yield Example(cls(), np.array(-0.75))


class J0(_Bessel):
    """Bessel function of the first kind of order 0, element by element: ``z = J0(x)``."""

    name: ClassVar[str] = "j0"

    def forward(self, x: Array) -> Array:
        return narrowed(special().j0(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        return -dz * special().j1(widened(x))


class J1(_Bessel):
    """Bessel function of the first kind of order 1, element by element: ``z = J1(x)``."""

    name: ClassVar[str] = "j1"

    def forward(self, x: Array) -> Array:
        return narrowed(special().j1(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        x = doubled(x)
        return dz * ((special().j0(x) - special().jv(2.0, x)) / 2)


class I0(_Bessel):
    """Modified Bessel function of order 0, element by element: ``z = I0(x)``."""

    name: ClassVar[str] = "i0"

    def forward(self, x: Array) -> Array:
        return narrowed(special().i0(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * special().i1(widened(x))


class I1(_Bessel):
    """Modified Bessel function of order 1, element by element: ``z = I1(x)``."""

    name: ClassVar[str] = "i1"

    def forward(self, x: Array) -> Array:
        return narrowed(special().i1(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        x = doubled(x)
        return dz * (np.exp(np.abs(x)) * ((special().i0e(x) + special().ive(2.0, x)) / 2))


class I0e(_Bessel):
    """Modified Bessel function of order 0 without its growth: ``z = exp(-|x|) * I0(x)``.

    It has a corner at 0, where its derivative is 0.
    """

    name: ClassVar[str] = "i0e"

    def forward(self, x: Array) -> Array:
        return narrowed(special().i0e(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        x = doubled(x)
        return dz * (special().i1e(x) - np.sign(x) * special().i0e(x))


class I1e(_Bessel):
    """Modified Bessel function of order 1 without its growth: ``z = exp(-|x|) * I1(x)``."""

    name: ClassVar[str] = "i1e"

    def forward(self, x: Array) -> Array:
        return narrowed(special().i1e(widened(x)), x.dtype)

    def backward(self, dz: Array, x: Array) -> Array:
        x = doubled(x)
        return dz * ((special().i0e(x) + special().ive(2.0, x)) / 2 - np.sign(x) * special().i1e(x))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [J0, J1, I0, I1, I0e, I1e]
