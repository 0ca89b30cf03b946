"""Choices: one that fell the same way everywhere is told as what was chosen, with the reason: `df`, as `f > 0`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from graphsvc.arrays import Array
from graphsvc.engine.formulas.terms import (
    ALL,
    ANY,
    ATOM,
    EQUALITIES,
    OPPOSITES,
    ORDERS,
    SUM,
    Part,
    Term,
    applied,
    because,
    number,
    reasons_of,
    within,
)
from graphsvc.engine.fusion.instructions import Instruction, Kind

__all__ = ["CHOICES", "chosen", "condition_of", "settled"]

CHOICES: Final = frozenset({np.where, np.absolute, np.sign, np.minimum, np.maximum})


def chosen(entry: Instruction, parts: Sequence[Part]) -> Term | None:
    """Return what a call chose, if it chose the same for all elements; its reasons go with it."""
    values = [part.value for part in parts if part.value is not None and part.value.size]
    if entry.function not in CHOICES or entry.kind is not Kind.MAP or len(values) < len(parts):
        return None
    if any(part.shape != entry.shape for part in parts if part.term and part.term.number is None):
        return None
    if entry.function is np.where:
        return _branch(parts, values[0])
    terms = [part.term for part in parts if part.term is not None]
    if len(terms) < len(parts) or all(term.number is not None for term in terms):
        return None
    if entry.function in (np.absolute, np.sign):
        return _by_sign(entry.function, terms[0], values[0])
    order = np.less_equal if entry.function is np.minimum else np.greater_equal
    for chosen, other in ((0, 1), (1, 0)):
        if order(values[chosen], values[other]).all():
            return because(terms[chosen], _relation(ORDERS, terms, values))
    return None


def _branch(parts: Sequence[Part], condition: Array) -> Term | None:
    test, holds = parts[0].term, bool(condition.flat[0])
    chosen, other = (part.term for part in (parts[1:] if holds else parts[:0:-1]))
    if chosen is None or test is None or not _is_uniform(condition):
        return None
    # That a number lies in the domain is no choice.
    domain = other is not None and other.number is not None and np.isnan(other.number)
    if domain or test.number is not None:
        return chosen
    return because(chosen, *(test.reasons or (_plain(test, condition),)))


def _by_sign(function: Callable[..., Any], x: Term, value: Array) -> Term | None:
    for holds, sign, one in ((value > 0, ">", 1), (value < 0, "<", -1), (value == 0, "=", 0)):
        reason = f"{within(x, SUM)} {sign} 0"
        if holds.all() and function is np.sign:
            return because(number(one), *x.reasons, reason)
        if holds.all() and one < 0:
            return because(applied(np.negative, [x]), *x.reasons, reason)
    return x if function is np.absolute and (value >= 0).all() else None


def settled(term: Term, value: Array | None) -> Term:
    """Return a condition that is true for all elements, and is counted, as 1, and one that is false as 0."""
    if value is None or value.dtype.kind != "b" or term.number is not None or not _is_uniform(value):
        return term
    return because(number(float(value.flat[0])), *(term.reasons or (_plain(term, value),)))


def _is_uniform(condition: Array) -> bool:
    return bool(condition.size) and bool(condition.all() == condition.any())


def _plain(condition: Term, value: Array) -> str:
    return f"{within(condition, ATOM)} is {'true' if value.flat[0] else 'false'}"


def condition_of(function: Callable[..., Any], given: Sequence[Term], values: Sequence[Array]) -> Term:
    """Return a condition with what is to be said of it where it is true, or false, for all elements."""
    if function in ALL or function in ANY:
        return _joined(function, given, values)
    if all(term.number is not None for term in given):
        return number(np.asarray(function(*(term.number for term in given))).item())
    term = applied(function, given)
    if function is np.isnan and np.isnan(values[0]).all():
        return term._replace(reasons=(f"{given[0].text} is NaN",))
    if function not in OPPOSITES:
        return term
    found, opposite = function(*values), OPPOSITES[function]
    if _is_uniform(found):
        return because(term, _relation(EQUALITIES if function in EQUALITIES else ORDERS, given, values))
    # A NaN fulfils neither.
    return term._replace(opposite=applied(opposite, given).text) if np.array_equal(opposite(*values), ~found) else term


def _joined(function: Callable[..., Any], given: Sequence[Term], values: Sequence[Array]) -> Term:
    """Return two conditions as one: what decides it if one does, and without one that never matters."""
    deciding, idle = (True, False) if function in ANY else (False, True)
    held = [bool(value.flat[0]) if _is_uniform(value) else None for value in values]
    decisive = [term for term, one in zip(given, held, strict=True) if one is deciding]
    if decisive or held == [idle, idle]:
        return (decisive or given)[0]._replace(reasons=reasons_of(decisive or given), opposite="")
    going = [term for term, one in zip(given, held, strict=True) if one is not idle]
    return going[0] if len(going) == 1 else applied(function, given)


def _relation(table: Mapping[Callable[..., Any], str], terms: Sequence[Term], values: Sequence[Any]) -> str:
    """Return how two values are related, if all of their elements are; the larger is named first, numbers last."""
    sign = next((sign for function, sign in table.items() if function(*values).all()), "")
    first, last = (within(term, SUM) for term in terms)
    turned = sign in "<≤" if sign not in "=≠" else first > last
    if terms[0].number is not None or (turned and terms[1].number is None):
        first, sign, last = last, {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}.get(sign, sign), first
    return f"{first} {sign} {last}" if sign else ""
