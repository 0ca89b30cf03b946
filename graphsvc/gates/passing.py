"""Gates that pass numbers on: as they are, without their gradient, or in another dtype."""

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import DTYPES, Array, ArraySpec, DtypeName
from graphsvc.errors import DtypeError, GateDataError
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.gates._elementwise import complex_operand, signed_operand
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Passing(Elementwise):
    """Base of the gates that give what they are given."""

    def forward(self, x: Array) -> Array:
        return x.astype(x.dtype)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), signed_operand())
        yield Example(cls(), np.array(-0.5))
        yield Example(cls(), complex_operand())


class Identity(_Passing):
    """The operand as it is: ``z = x``. It gives a value a name of its own."""

    name: ClassVar[str] = "identity"
    linear: ClassVar[bool] = True

    def backward(self, dz: Array) -> Array:
        return dz


class StopGradient(_Passing):
    """The operand as it is, as a constant: ``z = x``. No gradient passes through it."""

    name: ClassVar[str] = "stop_gradient"
    disconnected: ClassVar[tuple[str, ...]] = ("x",)
    expected_failures: ClassVar[Mapping[str, str]] = {"disconnected": "To hold back a gradient that there is, it is."}


class Cast(Elementwise):
    """The same numbers in another dtype. What an integer dtype cannot hold is refused; fractions are cut."""

    name: ClassVar[str] = "cast"
    linear: ClassVar[bool] = True
    expected_failures: ClassVar[Mapping[str, str]] = {"precision": "The dtype of the result is its attribute."}

    dtype: Annotated[DtypeName, Field(description="The dtype of the result.")]

    def infer(self, *operands: ArraySpec) -> ArraySpec:
        (x,) = operands
        if x.dtype.kind == "c" and not self.dtype.startswith("complex"):
            msg = f"A cast from {x.dtype} to {self.dtype} would drop the imaginary part."
            msg += " Take the 'real' part, the 'imag' part or the 'abs' of it."
            raise DtypeError(msg)
        return ArraySpec(x.shape, DTYPES[self.dtype])

    def forward(self, x: Array) -> Array:
        target = DTYPES[self.dtype]
        if target.kind in "iu" and x.dtype.kind in "iuf" and not np.can_cast(x.dtype, target):
            limits = np.iinfo(target)
            whole = np.trunc(x.astype(np.float64)) if x.dtype.kind == "f" else x
            # `max + 1` is a power of two, so exact as a float where `max` is not.
            inside = (whole >= limits.min) & (whole < limits.max + 1 if x.dtype.kind == "f" else whole <= limits.max)
            if not np.all(inside):
                first = x.flat[int(np.argmin(inside))]
                msg = f"The value {first} does not fit {target}. Clip it first, or choose a wider dtype."
                raise GateDataError(msg)
        return x.astype(target)

    def backward(self, dz: Array) -> Array:
        return dz

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 3))
        yield Example(cls(dtype="float64"), x)
        yield Example(cls(dtype="int64"), x)
        yield Example(cls(dtype="complex128"), x[0])
        yield Example(cls(dtype="complex128"), complex_operand())


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Identity, StopGradient, Cast]
