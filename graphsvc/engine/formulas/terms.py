"""Terms: texts of formulas that know how tightly they bind, and calls of NumPy's functions of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from graphsvc.arrays import Array
from graphsvc.drawing.summaries import number_text
from graphsvc.engine.fusion.instructions import Shape, powered

__all__ = [
    "ALL",
    "ANY",
    "ATOM",
    "EQUALITIES",
    "ONE",
    "OPPOSITES",
    "ORDERS",
    "PRODUCT",
    "SUM",
    "Part",
    "Term",
    "applied",
    "because",
    "chained",
    "number",
    "reasons_of",
    "signed",
    "within",
]

_CHOICE, _JOINED, _CONDITION, SUM, PRODUCT, _SIGN, _POWER, ATOM = range(8)

_OPERATORS: Final[Mapping[Callable[..., Any], tuple[str, int]]] = {
    np.add: (" + ", SUM),
    np.subtract: (" - ", SUM),
    np.multiply: (" · ", PRODUCT),
    np.divide: (" / ", PRODUCT),
    np.matmul: (" @ ", PRODUCT),
    np.power: ("^", _POWER),
    powered: ("^", _POWER),
}

_LOCAL: Final = (np.multiply, np.divide, np.negative)
"""What makes of a product with the arriving gradient another one."""

ORDERS: Final[Mapping[Callable[..., Any], str]] = {
    np.greater: ">",
    np.less: "<",
    np.equal: "=",
    np.greater_equal: "≥",
    np.less_equal: "≤",
}
EQUALITIES: Final[Mapping[Callable[..., Any], str]] = {np.equal: "=", np.not_equal: "≠"}
ALL: Final = (np.bitwise_and, np.logical_and)
ANY: Final = (np.bitwise_or, np.logical_or)
_SIGNS: Final = {**ORDERS, **EQUALITIES}

OPPOSITES: Final[Mapping[Callable[..., Any], Callable[..., Any]]] = {
    np.greater: np.less_equal,
    np.less: np.greater_equal,
    np.greater_equal: np.less,
    np.less_equal: np.greater,
    np.equal: np.not_equal,
    np.not_equal: np.equal,
}
"""Conditions, and those that are true where they are not; NaN aside."""


class Term(NamedTuple):
    """A text, and how tightly what is outermost in it binds.

    Attributes:
        number: The number that it is, if it is one whatever the graph is given.
        local: What it is the arriving gradient times, if it is such a product.
        factors: What it is the matrix product of, if it is one.
        opposite: A condition that is true where this one is not.
        reasons: What was found of the operands for it to read so, as in `x > 0`.
        repeated: How it is repeated, if it has more elements than the text has; else empty.
        moved: Whether its elements stand in other places than the text says, so that it is no part of another.
    """

    text: str
    level: int
    number: float | None = None
    local: "Term | None" = None
    factors: "tuple[Term, ...]" = ()
    opposite: str = ""
    reasons: tuple[str, ...] = ()
    repeated: str = ""
    moved: bool = False


class Part(NamedTuple):
    """An operand of a call: how it reads, its shape if that is known, and what it was in the run if that is known."""

    term: Term | None
    shape: Shape
    value: Array | None


def signed(text: str | float) -> Term:
    """Return a name or figures, which may have a minus; or a number that is the same whatever the graph is given."""
    return Term(text, _SIGN if text.startswith("-") else ATOM) if isinstance(text, str) else number(text)


def number(value: float) -> Term:
    """Return a number."""
    return signed(number_text(value))._replace(number=value)


ONE: Final = number(1)


def within(term: Term, level: int, *, right: bool = False) -> str:
    """Return a term as part of another, in brackets where it needs them, as a minus does to the right of a sign."""
    bare = term.level >= level and not (right and term.text.startswith("-"))
    return term.text if bare else f"({term.text})"


def because(term: Term, *reasons: str) -> Term:
    """Return a term that has these reasons as well, and first."""
    both = (*reasons, *term.reasons)
    return term._replace(reasons=tuple(dict.fromkeys(filter(None, both)))) if both else term


def reasons_of(terms: Sequence[Term]) -> tuple[str, ...]:
    """Return the reasons of several terms, each once."""
    return tuple(dict.fromkeys([reason for term in terms for reason in term.reasons]))


def chained(function: Callable[..., Any], given: Sequence[Term], arriving: Term) -> Term | None:
    """Return what holds the arriving gradient as a factor as the local gradient times that."""
    holding = [bool(term.local) for term in given]
    if function not in _LOCAL or sum(holding) != 1 or not (holding[0] or function is np.multiply):
        return None
    local = applied(function, [term.local or term for term in given])
    return applied(np.multiply, [local, arriving])._replace(local=local)


def applied(function: Callable[..., Any], given: Sequence[Term]) -> Term:
    """Return a call of a function of terms, without their reasons."""
    first, last = given[0], given[-1]
    if isinstance(function, np.ufunc) and None not in (first.number, last.number):
        return number(np.asarray(function(*[np.float64(term.number or 0) for term in given])).item())
    if function is np.where:
        return _choice(*given)
    if function in (np.power, powered, np.divide) and last.number == 1:
        return first
    if function is np.multiply and {1, -1} & {first.number, last.number}:
        factor, other = (first, last) if first.number in (1, -1) else (last, first)
        return other if factor.number == 1 else applied(np.negative, [other])
    if function in _OPERATORS:
        sign, level = _OPERATORS[function]
        # What stands to the right of - and / is in brackets even where it binds as tightly; so is a power's base.
        left = within(first, level + (level == _POWER))
        right = within(last, level + (function not in (np.add, np.multiply)), right=True)
        return Term(f"{left}{sign}{right}", level)
    if function in OPPOSITES:
        return Term(f"{within(first, SUM)} {_SIGNS[function]} {within(last, SUM)}", _CONDITION)
    if function in ALL or function in ANY:
        sign = "and" if function in ALL else "or"
        return Term(f"{within(first, _CONDITION)} {sign} {within(last, _CONDITION)}", _JOINED)
    return _function(function, given)


def _function(function: Callable[..., Any], given: Sequence[Term]) -> Term:
    first = given[0]
    if function is np.negative:
        return Term(f"-{within(first, _SIGN, right=True)}", _SIGN)
    if function is np.square:
        return Term(f"{within(first, ATOM)}^2", _POWER)
    if function is np.absolute and "|" not in first.text:
        return Term(f"|{first.text}|", ATOM)
    return Term(f"{function.__name__.strip('_')}({', '.join(term.text for term in given)})", ATOM)


def _choice(condition: Term, x: Term, y: Term) -> Term:
    """Return a choice that differs between elements; the number, which says least, is named last."""
    if condition.number is not None:
        return x if condition.number else y
    test = condition.text
    if x.number is not None and y.number is None and condition.opposite:
        test, x, y = condition.opposite, y, x
    return Term(f"{within(x, _CONDITION)} where {test}, else {within(y, _CONDITION)}", _CHOICE)
