"""Matrices: products, transposes, sums and repetition as formulas, where a vector is read as a column."""

import math
from collections.abc import Sequence

import numpy as np

from graphsvc.engine.formulas.choices import settled
from graphsvc.engine.formulas.terms import ATOM, SUM, Part, Term, applied, chained, reasons_of, within
from graphsvc.engine.fusion.instructions import Instruction, Kind, reshaped

__all__ = ["shaped", "summed", "undirected"]


def shaped(entry: Instruction, parts: Sequence[Part], scale: Term | None) -> Term | None:
    """Return a call that is no formula of single elements as text; None for most."""
    given = [part.term for part in parts if part.term is not None]
    first, shapes = given[0], [part.shape for part in parts if part.shape is not None]
    if len(shapes) < len(parts) or entry.shape is None or any(term.repeated for term in given):
        return None
    keywords = dict(entry.keywords)
    if entry.function is np.broadcast_to and "reshape(" not in first.text:
        return first._replace(repeated=_repetition(shapes[0], entry.shape))
    if any(term.moved for term in given):
        return None
    if entry.kind is Kind.REDUCE and entry.function is np.add:
        if math.prod(shapes[0]) == 1:
            return settled(first, parts[0].value)
        # A condition that is counted needs no reason.
        counted = first if first.level >= SUM else first._replace(reasons=())
        return summed(counted, keywords["axis"], shapes[0])
    if entry.function is reshaped:
        return _reshaped(first, shapes[0], entry.shape, scale)
    if entry.function is np.transpose:
        return _transposed(first, scale) if _swaps(keywords["axes"]) else None
    return _product(given, shapes, scale) if entry.function is np.matmul else None


def _repetition(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if math.prod(shape) == 1:
        return "repeated for each element"
    aligned = (1,) * (len(wanted) - len(shape)) + shape
    axes = [str(axis) for axis, size in enumerate(aligned) if size != wanted[axis]]
    return f"repeated along {'axis' if len(axes) == 1 else 'axes'} {' and '.join(axes)}"


def summed(term: Term, axes: Sequence[int] | None, shape: Sequence[int]) -> Term:
    """Return the sum of a term over some of its axes."""
    long = [axis for axis, size in enumerate(shape) if size != 1]
    if axes is None or set(long) <= set(axes):
        return Term(f"sum({undirected(term).text})", ATOM, reasons=term.reasons)
    if not axes:
        return term
    return Term(f"sum({term.text}, axis={tuple(axes) if len(axes) > 1 else axes[0]})", ATOM, reasons=term.reasons)


def undirected(term: Term) -> Term:
    """Return a term without a transposition of the whole, where it makes no difference, as to a vector."""
    if term.level != ATOM or not term.text.endswith("ᵀ"):
        return term
    text = term.text.removesuffix("ᵀ")
    return term._replace(text=text[1:-1] if text.startswith("(") else text)


def _swaps(axes: tuple[int, ...]) -> bool:
    return len(axes) > 1 and axes == (*range(len(axes) - 2), len(axes) - 1, len(axes) - 2)


def _reshaped(term: Term, shape: tuple[int, ...], wanted: tuple[int, ...], scale: Term | None) -> Term:
    long, new = (tuple(size for size in sizes if size != 1) for sizes in (shape, wanted))
    if long != new:
        return Term(f"reshape({term.text}, {wanted})", ATOM, reasons=term.reasons, moved=True)
    if long and max(len(shape), len(wanted)) > 2:
        return term._replace(moved=True)
    return _transposed(term, scale) if _is_row(shape) != _is_row(wanted) else term


def _is_row(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and shape[0] == 1 and shape[1] != 1


def _transposed(term: Term, scale: Term | None) -> Term:
    """Return a term with rows and columns exchanged; a single gradient that arrives is a factor still."""
    if term.number is not None:
        return term
    if term.factors:
        return _matmul([_transposed(factor, scale) for factor in reversed(term.factors)])
    if scale and term.local and term.text != scale.text:
        local = _transposed(term.local, scale)
        return applied(np.multiply, [local, scale])._replace(local=local, reasons=term.reasons)
    plain = term.text.removesuffix("ᵀ") if term.level == ATOM else ""
    text = plain if plain and plain != term.text else f"{within(term, ATOM)}ᵀ"
    return Term(text, ATOM, reasons=term.reasons, moved=term.text.startswith("sum("))


def _product(given: Sequence[Term], shapes: Sequence[tuple[int, ...]], scale: Term | None) -> Term:
    """Return a matrix product, or a product with the single number that one of them is."""
    x, y = given
    is_row = len(shapes[0]) == 1
    if any(math.prod(shape) == 1 for shape in shapes):
        made = (chained(np.multiply, given, scale) if scale else None) or applied(np.multiply, given)
        made = made._replace(reasons=reasons_of(given))
    else:
        made = _matmul([_transposed(x, scale) if is_row else x, y])
    return _transposed(made, scale) if is_row and len(shapes[1]) > 1 else made


def _matmul(factors: Sequence[Term]) -> Term:
    return applied(np.matmul, factors)._replace(factors=tuple(factors), reasons=reasons_of(factors))
