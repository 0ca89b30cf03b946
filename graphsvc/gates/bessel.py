"""Gates of Bessel functions: of the first kind and modified, of orders 0, 1 and any, some without their growth."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array, narrowed, widened
from graphsvc.gate import Example, Gate
from graphsvc.gates._elementwise import RealElementwise
from graphsvc.gates._gammas import doubled, rounded
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


class _AnyOrder(RealElementwise):
    """Base of the functions whose order is an operand; it has no gradient."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([0.0, 1.0, 2.5]), np.array([[0.5], [1.75], [6.0]]))
        yield Example(cls(), np.array(1.5), np.array(2.25))


class Jv(_AnyOrder):
    """Bessel function of the first kind of order ``v``, element by element: ``z = Jv(x)``. No gradient in ``v``.

    *Source*: NIST Digital Library of Mathematical Functions, 10.6.1.
    """

    name: ClassVar[str] = "jv"

    def forward(self, v: Array, x: Array) -> Array:
        return rounded(special().jv(doubled(v), doubled(x)), np.result_type(v.dtype, x.dtype))

    def backward_x(self, dz: Array, v: Array, x: Array) -> Array:
        v, x = doubled(v), doubled(x)
        return dz * ((special().jv(v - 1, x) - special().jv(v + 1, x)) / 2)


class Iv(_AnyOrder):
    """Modified Bessel function of the first kind of order ``v``, element by element: ``z = Iv(x)``.

    It has no gradient in ``v``.

    *Source*: NIST Digital Library of Mathematical Functions, 10.29.1.
    """

    name: ClassVar[str] = "iv"

    def forward(self, v: Array, x: Array) -> Array:
        return rounded(special().iv(doubled(v), doubled(x)), np.result_type(v.dtype, x.dtype))

    def backward_x(self, dz: Array, v: Array, x: Array) -> Array:
        v, x = doubled(v), doubled(x)
        return dz * ((special().iv(v - 1, x) + special().iv(v + 1, x)) / 2)


class Kv(_AnyOrder):
    """Modified Bessel function of the second kind of order ``v``, element by element: ``z = Kv(x)``, for ``x > 0``.

    It has no gradient in ``v``.

    *Source*: NIST Digital Library of Mathematical Functions, 10.29.1.
    """

    name: ClassVar[str] = "kv"

    def forward(self, v: Array, x: Array) -> Array:
        return rounded(special().kv(doubled(v), doubled(x)), np.result_type(v.dtype, x.dtype))

    def backward_x(self, dz: Array, v: Array, x: Array) -> Array:
        v, x = doubled(v), doubled(x)
        return dz * (-(special().kv(v - 1, x) + special().kv(v + 1, x)) / 2)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [J0, J1, Jv, I0, I1, Iv, I0e, I1e, Kv]
