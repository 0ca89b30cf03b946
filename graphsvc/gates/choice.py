"""Gates that choose between operands: the larger or smaller, by a condition, by a sign."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array, ArraySpec
from graphsvc.errors import DtypeError, ShapeError
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.gates._elementwise import RealElementwise, complex_operand, routed, signed_operand
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Extreme(RealElementwise):
    """Base of the larger and the smaller, which complex numbers do not have."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), signed_operand(), np.array([[0.4], [-0.7]]))
        yield Example(cls(), np.array(0.5), np.array(-1.5))


class Maximum(_Extreme):
    """The larger, element by element: ``z = max(x, y)``. A router of gradients.

    Ties share the gradient evenly. A NaN operand gives the value, and so takes the gradient.
    """

    name: ClassVar[str] = "maximum"

    def forward(self, x: Array, y: Array) -> Array:
        return np.maximum(x, y)

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        return routed(dz, (x >= y) | np.isnan(x), (y >= x) | np.isnan(y))

    def backward_y(self, dz: Array, x: Array, y: Array) -> Array:
        return routed(dz, (y >= x) | np.isnan(y), (x >= y) | np.isnan(x))


class Minimum(_Extreme):
    """The smaller, element by element: ``z = min(x, y)``. A router of gradients.

    Ties share the gradient evenly. A NaN operand gives the value, and so takes the gradient.
    """

    name: ClassVar[str] = "minimum"

    def forward(self, x: Array, y: Array) -> Array:
        return np.minimum(x, y)

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        return routed(dz, (x <= y) | np.isnan(x), (y <= x) | np.isnan(y))

    def backward_y(self, dz: Array, x: Array, y: Array) -> Array:
        return routed(dz, (y <= x) | np.isnan(y), (x <= y) | np.isnan(x))


class Fmax(_Extreme):
    """The larger, element by element, and of a number and NaN the number. Ties share the gradient evenly."""

    name: ClassVar[str] = "fmax"

    def forward(self, x: Array, y: Array) -> Array:
        return np.fmax(x, y)

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        return routed(dz, (x >= y) | np.isnan(y), (y >= x) | np.isnan(x))

    def backward_y(self, dz: Array, x: Array, y: Array) -> Array:
        return routed(dz, (y >= x) | np.isnan(x), (x >= y) | np.isnan(y))


class Fmin(_Extreme):
    """The smaller, element by element, and of a number and NaN the number. Ties share the gradient evenly."""

    name: ClassVar[str] = "fmin"

    def forward(self, x: Array, y: Array) -> Array:
        return np.fmin(x, y)

    def backward_x(self, dz: Array, x: Array, y: Array) -> Array:
        return routed(dz, (x <= y) | np.isnan(y), (y <= x) | np.isnan(x))

    def backward_y(self, dz: Array, x: Array, y: Array) -> Array:
        return routed(dz, (y <= x) | np.isnan(x), (x <= y) | np.isnan(y))


class Where(Elementwise):
    """Choice, element by element: ``z = x if condition else y``; the condition is boolean.

    A branch that is not chosen gets a zero gradient. If its own derivative is infinite there, the product is NaN.
    """

    name: ClassVar[str] = "where"

    def infer(self, *operands: ArraySpec) -> ArraySpec | tuple[ArraySpec, ...] | None:
        _require_condition("condition", operands[0])
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
        yield Example(cls(), np.array(False), random.normal(size=()), random.normal(size=(2, 1)))
        yield Example(cls(), np.array([True, False, False, True]), complex_operand(), complex_operand()[::-1])


def _require_condition(name: str, condition: ArraySpec) -> None:
    if condition.dtype.kind != "b":
        msg = f"Operand {name!r} must be boolean, got {condition.dtype}. Compare it, as in {name} != 0."
        raise DtypeError(msg)


class Select(Elementwise):
    """The choice of the first condition that is true, element by element, and of none the default.

    The operands are conditions and choices by turns, and at last the default: ``select(c1, x1, c2, x2, otherwise)``.
    Those that are not chosen get a zero gradient.
    """

    name: ClassVar[str] = "select"

    def infer(self, *operands: ArraySpec) -> ArraySpec | tuple[ArraySpec, ...] | None:
        if len(operands) % 2 == 0 or len(operands) < 3:
            msg = f"Its operands are pairs of a condition and a choice, and a default; {len(operands)} are none such."
            msg += " Give a default after the last choice."
            raise ShapeError(msg)
        for position in range(0, len(operands) - 1, 2):
            _require_condition(self.signature.operand_name(position), operands[position])
        return super().infer(*operands)

    def forward(self, *xs: Array) -> Array:
        *pairs, chosen = xs
        for i in reversed(range(0, len(pairs), 2)):
            chosen = np.where(pairs[i], pairs[i + 1], chosen)
        return chosen

    def backward(self, dz: Array, xs: tuple[Array, ...]) -> list[Array | None]:
        gradients: list[Array | None] = []
        for i in range(0, len(xs) - 1, 2):
            gradients += [None, np.where(xs[i], dz, 0)]
            dz = np.where(xs[i], 0, dz)
        return [*gradients, dz]

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        first, second = np.array([True, False, False]), np.array([[True], [False]])
        x, y = random.normal(size=(2, 3)), random.normal(size=3)
        yield Example(cls(), first, x, second, y, np.array(0.5))
        yield Example(cls(), np.array(False), np.array(1.5), np.array(-2.5))
        yield Example(cls(), np.array([True, False, False, True]), complex_operand(), np.array(1.0))


class Heaviside(RealElementwise):
    """Step, element by element: ``z`` is 0 where ``x < 0``, ``y`` where ``x`` is 0, and 1 where ``x > 0``.

    No gradient passes through ``x``.
    """

    name: ClassVar[str] = "heaviside"
    disconnected: ClassVar[tuple[str, ...]] = ("x",)
    expected_failures: ClassVar[Mapping[str, str]] = {"disconnected": "Its examples stand on the step itself."}

    def forward(self, x: Array, y: Array) -> Array:
        return np.heaviside(x, y)

    def backward_y(self, dz: Array, x: Array) -> Array:
        return np.where(x == 0, dz, 0)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([-1.5, 0.0, 2.0]), np.array([[0.5], [0.25]]))
        yield Example(cls(), np.array(0.0), np.array(0.5))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [Maximum, Minimum, Fmax, Fmin, Where, Select, Heaviside]
