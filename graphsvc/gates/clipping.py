"""Gates that keep numbers within bounds, and finite."""

import math
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, FiniteFloat

from graphsvc.arrays import Array, ArraySpec
from graphsvc.errors import AttributeValueError, DtypeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._elementwise import RealElementwise, routed, signed_operand
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class Clip(RealElementwise):
    """The nearest number within fixed bounds, element by element: ``z = min(max(x, lower), upper)``.

    The bounds are the attributes ``min`` and ``max``. The derivative is 1 between them, and 0 beyond and at them. The
    gate ``clip_between`` takes bounds that are arrays.
    """

    name: ClassVar[str] = "clip"

    min: Annotated[FiniteFloat | None, Field(description="The lower bound; None for none.")] = None
    max: Annotated[FiniteFloat | None, Field(description="The upper bound; None for none.")] = None

    def infer(self, *operands: ArraySpec) -> ArraySpec:
        """Refuse bounds that bound nothing, or that the operand's dtype cannot hold."""
        (x,) = operands
        if self.min is None and self.max is None:
            msg = "It has no bound. Give the attribute 'min', or 'max', or both."
            raise AttributeValueError(msg, attribute="min")
        if self.min is not None and self.max is not None and self.min > self.max:
            msg = f"Attribute 'min' is {self.min}, above 'max', which is {self.max}. Exchange them."
            raise AttributeValueError(msg, attribute="min")
        if x.dtype.kind == "b":
            msg = "Operand 'x' is bool, and truth has no bounds. Convert it with the gate 'cast'."
            raise DtypeError(msg)
        super().infer(x)
        limits = np.iinfo(x.dtype) if x.dtype.kind in "iu" else np.finfo(x.dtype)
        least, most = self._bounds(x.dtype)
        if least is not None and least > float(limits.max):
            msg = (
                f"Attribute 'min' is {self.min}, above all numbers of {x.dtype}. Choose a lower one, or another dtype."
            )
            raise AttributeValueError(msg, attribute="min")
        if most is not None and most < float(limits.min):
            msg = (
                f"Attribute 'max' is {self.max}, below all numbers of {x.dtype}. Choose a higher one, or another dtype."
            )
            raise AttributeValueError(msg, attribute="max")
        if least is not None and most is not None and least > most:
            msg = f"No {x.dtype} lies between 'min', which is {self.min}, and 'max', which is {self.max}. Widen them."
            raise AttributeValueError(msg, attribute="min")
        return x

    def _bounds(self, dtype: np.dtype[Any]) -> tuple[float | int | None, float | int | None]:
        """Return the bounds as numbers of the dtype; None for one that lies beyond all of them and bounds nothing."""
        least: float | int | None = self.min
        most: float | int | None = self.max
        if dtype.kind == "f":
            return least, most
        limits = np.iinfo(dtype)
        least = None if least is None or least <= limits.min else math.ceil(least)
        most = None if most is None or most >= limits.max else math.floor(most)
        return least, most

    def forward(self, x: Array) -> Array:
        least, most = self._bounds(x.dtype)
        if least is None:
            return np.positive(x) if most is None else np.minimum(x, most)
        return np.maximum(x, least) if most is None else np.clip(x, least, most)

    def backward(self, dz: Array, x: Array) -> Array:
        if self.min is None:
            return np.where(x >= self.max, 0, dz)
        if self.max is None:
            return np.where(x <= self.min, 0, dz)
        return np.where((x <= self.min) | (x >= self.max), 0, dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(min=-0.55, max=0.4), signed_operand())
        yield Example(cls(min=0.1), signed_operand())
        yield Example(cls(max=0.1), np.array(-0.5))


class ClipBetween(RealElementwise):
    """The nearest number within bounds that are arrays, element by element: ``z = min(max(x, lower), upper)``.

    Ties share the gradient evenly, first of ``x`` with ``lower``, then of the larger of these with ``upper``. A NaN
    operand gives the value, and so takes the gradient.
    """

    name: ClassVar[str] = "clip_between"

    def forward(self, x: Array, lower: Array, upper: Array) -> Array:
        return np.minimum(np.maximum(x, lower), upper)

    def backward(self, dz: Array, x: Array, lower: Array, upper: Array) -> tuple[Array, Array, Array]:
        larger = np.maximum(x, lower)
        by_larger, by_upper = (larger <= upper) | np.isnan(larger), (upper <= larger) | np.isnan(upper)
        by_x, by_lower = (x >= lower) | np.isnan(x), (lower >= x) | np.isnan(lower)
        inner = routed(dz, by_larger, by_upper)
        return routed(inner, by_x, by_lower), routed(inner, by_lower, by_x), routed(dz, by_upper, by_larger)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), signed_operand(), np.array([[-0.55], [-0.35]]), np.array([0.5, 0.35, 0.4]))
        yield Example(cls(), np.array(0.5), np.array(-1.0), np.array(0.25))


class NanToNum(RealElementwise):
    """Finite numbers for what is not, element by element: ``nan`` for NaN, ``posinf`` and ``neginf`` for infinities.

    Its derivative is 1 where ``x`` is finite, and 0 elsewhere.
    """

    name: ClassVar[str] = "nan_to_num"

    nan: Annotated[FiniteFloat, Field(description="What stands for NaN.")] = 0.0
    posinf: Annotated[
        FiniteFloat | None, Field(description="What stands for infinity; None for the largest number of the dtype.")
    ] = None
    neginf: Annotated[
        FiniteFloat | None, Field(description="What stands for -infinity; None for the lowest number of the dtype.")
    ] = None

    def infer(self, *operands: ArraySpec) -> ArraySpec | tuple[ArraySpec, ...] | None:
        """Refuse numbers that the operand's dtype cannot hold."""
        (x,) = operands
        if x.dtype.kind == "f":
            most = float(np.finfo(x.dtype).max)
            for name, value in (("nan", self.nan), ("posinf", self.posinf), ("neginf", self.neginf)):
                if value is not None and abs(value) > most:
                    msg = f"Attribute {name!r} is {value}, beyond all numbers of {x.dtype}. Choose a smaller one."
                    raise AttributeValueError(msg, attribute=name)
        return super().infer(*operands)

    def forward(self, x: Array) -> Array:
        if x.dtype.kind != "f":
            # Integers are finite.
            return np.positive(x)
        most = float(np.finfo(x.dtype).max)
        finite = np.where(x == np.inf, most if self.posinf is None else self.posinf, x)
        finite = np.where(x == -np.inf, -most if self.neginf is None else self.neginf, finite)
        return np.where(np.isnan(x), self.nan, finite)

    def backward(self, dz: Array, x: Array) -> Array:
        return np.where(np.isfinite(x), dz, 0)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), signed_operand())
        yield Example(cls(nan=1.5, posinf=100.0, neginf=-100.0), np.array(-0.5))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Clip, ClipBetween, NanToNum]
