"""Gates that compare and choose: maximum, minimum, where, and the comparisons themselves."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array, ArraySpec
from graphsvc.errors import DtypeError
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class Maximum(Elementwise):
    """The larger, element by element: ``z = max(x, y)``. A router of gradients.

    Ties share the gradient evenly. A NaN operand gives the value, and so takes the gradient.
    """

    name: ClassVar[str] = "maximum"

    def forward(self, x: Array, y: Array) -> Array:
        return np.maximum(x, y)

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        return _routed(dz, (x >= y) | np.isnan(x), (y >= x) | np.isnan(y))

    def backward_y(self, dz: Array, x: Array, y: Array) -> Array:
        return _routed(dz, (y >= x) | np.isnan(y), (x >= y) | np.isnan(x))


class Minimum(Elementwise):
    """The smaller, element by element: ``z = min(x, y)``. A router of gradients.

    Ties share the gradient evenly. A NaN operand gives the value, and so takes the gradient.
    """

    name: ClassVar[str] = "minimum"

    def forward(self, x: Array, y: Array) -> Array:
        return np.minimum(x, y)

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        return _routed(dz, (x <= y) | np.isnan(x), (y <= x) | np.isnan(y))

    def backward_y(self, dz: Array, x: Array, y: Array) -> Array:
        return _routed(dz, (y <= x) | np.isnan(y), (x <= y) | np.isnan(x))


def _routed(dz: Array, chosen: Array, other: Array) -> Array:
    """Send `dz` where this operand was chosen, half of it where the other was as well."""
    return np.where(chosen, np.where(other, 0.5 * dz, dz), 0)


class Where(Elementwise):
    """Choice, element by element: ``z = x if condition else y``; the condition is boolean.

    A branch that is not chosen gets a zero gradient. If its own derivative is infinite there, the product is NaN.
    """

    name: ClassVar[str] = "where"

    def infer(self, *operands: ArraySpec) -> ArraySpec | tuple[ArraySpec, ...] | None:
        if operands[0].dtype.kind != "b":
            msg = f"The condition must be boolean, got {operands[0].dtype}. Compare it, as in condition != 0."
            raise DtypeError(msg)
        return super().infer(*operands)

    def forward(self, condition: Array, x: Array, y: Array) -> Array:
        return np.where(condition, x, y)

    def backward_x(self, dz: Array, condition: Array) -> Array:
        return np.where(condition, dz, 0)

    def backward_y(self, dz: Array, condition: Array) -> Array:
        return np.where(condition, 0, dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(), np.array([True, False, True]), random.normal(size=(2, 3)), random.normal(size=()))


class _Comparison(Elementwise):
    """Base of the comparisons: booleans come out, so they have no gradient."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([1.0, 2.0, 3.0]), np.array([[2.0], [3.0]]))


class Equal(_Comparison):
    """Whether equal, element by element: ``z = x == y``."""

    name: ClassVar[str] = "equal"

    def forward(self, x: Array, y: Array) -> Array:
        return np.equal(x, y)


class NotEqual(_Comparison):
    """Whether different, element by element: ``z = x != y``."""

    name: ClassVar[str] = "not_equal"

    def forward(self, x: Array, y: Array) -> Array:
        return np.not_equal(x, y)


class Less(_Comparison):
    """Whether smaller, element by element: ``z = x < y``."""

    name: ClassVar[str] = "less"

    def forward(self, x: Array, y: Array) -> Array:
        return np.less(x, y)


class LessEqual(_Comparison):
    """Whether smaller or equal, element by element: ``z = x <= y``."""

    name: ClassVar[str] = "less_equal"

    def forward(self, x: Array, y: Array) -> Array:
        return np.less_equal(x, y)


class Greater(_Comparison):
    """Whether larger, element by element: ``z = x > y``."""

    name: ClassVar[str] = "greater"

    def forward(self, x: Array, y: Array) -> Array:
        return np.greater(x, y)


class GreaterEqual(_Comparison):
    """Whether larger or equal, element by element: ``z = x >= y``."""

    name: ClassVar[str] = "greater_equal"

    def forward(self, x: Array, y: Array) -> Array:
        return np.greater_equal(x, y)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Maximum, Minimum, Where, Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual]
