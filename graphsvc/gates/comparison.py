"""Gates that compare; booleans come out."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.gates._elementwise import RealElementwise, complex_operand
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Equality(Elementwise):
    """Base of the comparisons that complex numbers take part in; booleans come out, so there is no gradient."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([1.0, 2.0, 3.0]), np.array([[2.0], [3.0]]))
        yield Example(cls(), complex_operand(), complex_operand()[0])


class _Order(RealElementwise):
    """Base of the comparisons of order, which complex numbers do not have; booleans come out."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([1.0, 2.0, 3.0]), np.array([[2.0], [3.0]]))


class Equal(_Equality):
    """Whether equal, element by element: ``z = x == y``."""

    name: ClassVar[str] = "equal"

    def forward(self, x: Array, y: Array) -> Array:
        return np.equal(x, y)


class NotEqual(_Equality):
    """Whether different, element by element: ``z = x != y``."""

    name: ClassVar[str] = "not_equal"

    def forward(self, x: Array, y: Array) -> Array:
        return np.not_equal(x, y)


class Less(_Order):
    """Whether smaller, element by element: ``z = x < y``."""

    name: ClassVar[str] = "less"

    def forward(self, x: Array, y: Array) -> Array:
        return np.less(x, y)


class LessEqual(_Order):
    """Whether smaller or equal, element by element: ``z = x <= y``."""

    name: ClassVar[str] = "less_equal"

    def forward(self, x: Array, y: Array) -> Array:
        return np.less_equal(x, y)


class Greater(_Order):
    """Whether larger, element by element: ``z = x > y``."""

    name: ClassVar[str] = "greater"

    def forward(self, x: Array, y: Array) -> Array:
        return np.greater(x, y)


class GreaterEqual(_Order):
    """Whether larger or equal, element by element: ``z = x >= y``."""

    name: ClassVar[str] = "greater_equal"

    def forward(self, x: Array, y: Array) -> Array:
        return np.greater_equal(x, y)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual]
