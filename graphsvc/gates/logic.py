"""Gates of truth: logical connectives, and what kind of number an element is; booleans come out."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array
from graphsvc.gate import Elementwise, Example, Gate
from graphsvc.gates._elementwise import complex_operand, signed_operand
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Connective(Elementwise):
    """Base of the connectives of two operands."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.array([True, False]), np.array([[True], [False]]))
        yield Example(cls(), np.array([0.0, 1.5, -2.0]), np.array(0.0))
        yield Example(cls(), complex_operand(), np.array([0j, 1j, 0j, 1 + 0j]))


class LogicalAnd(_Connective):
    """Whether both are true, element by element: ``z = x and y``. A number is true unless it is 0."""

    name: ClassVar[str] = "logical_and"

    def forward(self, x: Array, y: Array) -> Array:
        return np.logical_and(x, y)


class LogicalOr(_Connective):
    """Whether one of them, or both, is true, element by element: ``z = x or y``. A number is true unless it is 0."""

    name: ClassVar[str] = "logical_or"

    def forward(self, x: Array, y: Array) -> Array:
        return np.logical_or(x, y)


class LogicalXor(_Connective):
    """Whether just one of them is true, element by element: ``z = x xor y``. A number is true unless it is 0."""

    name: ClassVar[str] = "logical_xor"

    def forward(self, x: Array, y: Array) -> Array:
        return np.logical_xor(x, y)


class _Property(Elementwise):
    """Base of the questions to one operand."""

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), signed_operand())
        yield Example(cls(), np.array(0.0))
        yield Example(cls(), complex_operand())


class LogicalNot(_Property):
    """Whether false, element by element: ``z = not x``. A number is true unless it is 0."""

    name: ClassVar[str] = "logical_not"

    def forward(self, x: Array) -> Array:
        return np.logical_not(x)


class Isnan(_Property):
    """Whether not a number, element by element: ``z = isnan(x)``; of a complex number, one of its parts."""

    name: ClassVar[str] = "isnan"

    def forward(self, x: Array) -> Array:
        return np.isnan(x)


class Isinf(_Property):
    """Whether infinite, element by element: ``z = isinf(x)``; of a complex number, one of its parts."""

    name: ClassVar[str] = "isinf"

    def forward(self, x: Array) -> Array:
        return np.isinf(x)


class Isfinite(_Property):
    """Whether neither infinite nor NaN, element by element: ``z = isfinite(x)``; of a complex number, both parts."""

    name: ClassVar[str] = "isfinite"

    def forward(self, x: Array) -> Array:
        return np.isfinite(x)


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [LogicalAnd, LogicalOr, LogicalXor, LogicalNot, Isnan, Isinf, Isfinite]
