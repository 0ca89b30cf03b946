"""Reading: the calls of a recording as formulas, as the chain rule is taught.

The local gradient stands first, then the one that arrived, as in `f · (1 - f) · df`.
"""

import math
from collections.abc import Sequence

import numpy as np

from graphsvc.arrays import Array
from graphsvc.engine.formulas.choices import CHOICES, chosen, condition_of, settled
from graphsvc.engine.formulas.matrices import shaped
from graphsvc.engine.formulas.terms import ONE, Part, Term, applied, because, chained, number, reasons_of
from graphsvc.engine.fusion.instructions import Constant, Instruction, Kind, Shape, filled, recast
from graphsvc.engine.fusion.recording import Recording

__all__ = ["chooses", "terms_of"]


def chooses(made: Recording) -> bool:
    """Tell whether what a recording computes is told in other words for other numbers."""
    calls = [entry for entry in made.entries if isinstance(entry, Instruction)]
    return any(call.function in CHOICES or call.dtype.kind == "b" for call in calls)


def terms_of(
    made: Recording, given: Sequence[Term], shapes: Sequence[Shape], known: Sequence[Array]
) -> list[Term | None]:
    """Return each value of a recording as text; None for what has no words.

    Args:
        made: The recording, the last operand of which is the arriving gradient.
        given: What its operands are called.
        shapes: Their shapes; of elementwise gates any.
        known: What each value of it was in a run; empty where that is not known.
    """
    arriving = given[-1]._replace(local=ONE)
    scalar = shapes[-1] is not None and math.prod(shapes[-1]) == 1
    values: list[Array | None] = [*known[: len(given)]] or [None] * len(given)
    parts = [Part(*part) for part in zip([*given[:-1], arriving], shapes, values, strict=True)]
    for index, entry in enumerate(made.entries, len(given)):
        value = known[index] if known else None
        if isinstance(entry, Instruction):
            term = _called(entry, [parts[i] for i in entry.operands], arriving, scalar=scalar)
            parts.append(Part(term, entry.shape, value))
        else:
            parts.append(Part(_constant(entry), np.shape(entry), value))
    return [part.term for part in parts]


def _constant(value: Constant) -> Term | None:
    return number(np.asarray(value).item()) if np.size(value) == 1 else None


def _called(entry: Instruction, parts: Sequence[Part], arriving: Term, *, scalar: bool) -> Term | None:
    """Return a call as text; numbers alone as the number that comes of them."""
    if choice := chosen(entry, parts):
        return choice
    given = [part.term for part in parts if part.term is not None]
    if len(given) < len(parts):
        return None
    if entry.kind is not Kind.MAP:
        return shaped(entry, parts, arriving if scalar else None)
    values = [part.value for part in parts if part.value is not None]
    if entry.dtype.kind == "b" and len(values) == len(parts):
        return condition_of(entry.function, given, values)
    if entry.function is np.where:
        # What decided nothing is no reason.
        given[0] = given[0]._replace(reasons=())
    elif values:
        given = [settled(term, part.value) for term, part in zip(given, parts, strict=True)]
    if entry.shape is not None:
        return _broadcast(entry, parts, _mapped(entry, given, arriving), given)
    return because(_mapped(entry, given, arriving), *reasons_of(given))


def _broadcast(entry: Instruction, parts: Sequence[Part], term: Term, given: Sequence[Term]) -> Term | None:
    """Return a call with what is known of shapes."""
    moved = any(part.moved for part in given)
    told = because(term._replace(repeated=_repeated(entry, parts), moved=moved), *reasons_of(given))
    return told if _fits(entry, parts) else None


def _fits(entry: Instruction, parts: Sequence[Part]) -> bool:
    """Tell whether the texts of some operands are as their arrays are: a vector beside matrices is a row for NumPy."""
    large = [part for part in parts if part.shape is not None and math.prod(part.shape) != 1]
    ranks = {len(part.shape or ()) for part in large}
    alone = len(large) == 1 or not any(part.term and part.term.moved for part in large)
    partly = any(part.shape != entry.shape and part.term and not part.term.repeated for part in large)
    return (1 not in ranks or len(ranks) == 1) and alone and not (partly and _repeated(entry, parts))


def _repeated(entry: Instruction, parts: Sequence[Part]) -> str:
    """Return how a call is repeated: as its operands are, unless one of them has all of its elements."""
    whole = any(part.term and not part.term.repeated and part.shape == entry.shape for part in parts)
    return "" if whole else next((part.term.repeated for part in parts if part.term and part.term.repeated), "")


def _mapped(entry: Instruction, given: Sequence[Term], arriving: Term) -> Term:
    if entry.function in (recast, np.positive):
        return given[0]
    if entry.function is filled:
        return number(dict(entry.keywords)["value"].item())
    numbers = [np.float64(term.number) for term in given if term.number is not None]
    if len(numbers) == len(given):
        return number(np.asarray(entry.function(*numbers, **dict(entry.keywords))).item())
    return chained(entry.function, given, arriving) or applied(entry.function, given)
