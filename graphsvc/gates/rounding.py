"""Gates of how numbers are written: rounding to whole numbers or decimals, signs and exponents, neighbours."""

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, narrowed, widened
from graphsvc.errors import DtypeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._elementwise import RealElementwise, signed_operand
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Rounding(RealElementwise):
    """Base of the gates that round."""

    disconnected: ClassVar[tuple[str, ...]] = ("x",)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), 3 * signed_operand())
        yield Example(cls(), np.array(-1.75))


class Floor(_Rounding):
    """Largest whole number not above, element by element: ``z = floor(x)``. No gradient passes through it."""

    name: ClassVar[str] = "floor"

    def forward(self, x: Array) -> Array:
        return np.floor(x)


class Ceil(_Rounding):
    """Smallest whole number not below, element by element: ``z = ceil(x)``. No gradient passes through it."""

    name: ClassVar[str] = "ceil"

    def forward(self, x: Array) -> Array:
        return np.ceil(x)


class Trunc(_Rounding):
    """Whole number next to it towards 0, element by element: ``z = trunc(x)``. No gradient passes through it."""

    name: ClassVar[str] = "trunc"

    def forward(self, x: Array) -> Array:
        return np.trunc(x)


class Round(_Rounding):
    """Nearest number of so many decimals, element by element; halves go to the even one. No gradient passes through it.

    Integers are whole already; they are not rounded to tens.
    """

    name: ClassVar[str] = "round"

    decimals: Annotated[
        int, Field(ge=-30, le=30, description="Digits after the point that stay; below 0, digits before it that go.")
    ] = 0

    def infer(self, *operands: ArraySpec) -> ArraySpec | tuple[ArraySpec, ...] | None:
        (x,) = operands
        if self.decimals < 0 and x.dtype.kind in "iu":
            msg = f"Operand 'x' is {x.dtype}, and integers are not rounded to decimals={self.decimals}."
            msg += " Convert it with the gate 'cast'."
            raise DtypeError(msg)
        return super().infer(*operands)

    def forward(self, x: Array) -> Array:
        if x.dtype.kind != "f":
            return np.positive(x)
        if self.decimals == 0:
            return np.rint(x)
        wide, factor = widened(x), 10.0 ** abs(self.decimals)
        if self.decimals < 0:
            return narrowed(np.rint(wide / factor) * factor, x.dtype)
        scaled = wide * factor
        # What overflows has no digits after the point.
        return narrowed(np.where(np.isinf(scaled), wide, np.rint(scaled) / factor), x.dtype)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), 1.03 * signed_operand())
        yield Example(cls(), np.array(0.7))
        yield Example(cls(decimals=1), 3.01 * signed_operand())
        yield Example(cls(decimals=-2), 1003 * signed_operand())


class Copysign(RealElementwise):
    """Size of one with the sign of the other, element by element: ``z = |x| * sign(y)``, where -0.0 has a sign too.

    Its derivative in ``x`` at 0 is 0. No gradient passes through ``y``.
    """

    name: ClassVar[str] = "copysign"
    disconnected: ClassVar[tuple[str, ...]] = ("y",)

    def forward(self, x: Array, y: Array) -> Array:
        return np.copysign(x, y)

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        return dz * (np.sign(x) * np.copysign(1.0, y))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), signed_operand(), np.array([[1.5], [-2.5]]))
        yield Example(cls(), np.array(0.5), np.array(-3.0))


class Nextafter(RealElementwise):
    """Neighbour of ``x`` among the numbers of its dtype, towards ``y``. No gradient passes through it."""

    name: ClassVar[str] = "nextafter"
    disconnected: ClassVar[tuple[str, ...]] = ("x", "y")
    expected_failures: ClassVar[Mapping[str, str]] = {"disconnected": "By convention a neighbour is a constant."}

    def forward(self, x: Array, y: Array) -> Array:
        return np.nextafter(x, y)


class Ldexp(RealElementwise):
    """Product with a power of two, element by element: ``z = x * 2**y``; the exponents are integers."""

    name: ClassVar[str] = "ldexp"
    integers: ClassVar[tuple[str, ...]] = ("y",)

    def forward(self, x: Array, y: Array) -> Array:
        return np.ldexp(x, y)

    def backward_x(self, dz: Array, y: Array) -> Array:
        return np.ldexp(dz, y)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), signed_operand(), np.array([[3], [-2]]))
        yield Example(cls(), np.array(-1.5), np.array(1))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Floor, Ceil, Trunc, Round, Copysign, Nextafter, Ldexp]
