"""Matrices: products, transposes, sums and repetition as formulas, where a vector is read as a column."""

import math
from collections.abc import Sequence

import numpy as np

from graphsvc.engine.formulas.terms import ATOM, Part, Term, applied, chained, reasons_of, within
from graphsvc.engine.fusion.instructions import Instruction, Kind, reshaped

__all__ = ["shaped", "summed"]


def shaped(entry: Instruction, parts: Sequence[Part], given: Sequence[Term], scale: Term | None) -> Term | None:
    """Return a call that is no formula of single elements as text; None for most."""
    first, shapes = given[0], [part.shape for part in parts if part.shape is not None]
    if entry.function is np.broadcast_to and entry.shape is not None and len(shapes) == len(parts):
        return first._replace(repeated=_repetition(shapes[0], entry.shape))
    if len(shapes) < len(parts) or entry.shape is None or any(term.repeated for term in given):
        return None
    keywords = dict(entry.keywords)
    if entry.kind is Kind.REDUCE and entry.function is np.add:
        return summed(first, keywords["axis"], len(shapes[0]))
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


def summed(term: Term, axes: tuple[int, ...], ndim: int) -> Term:
    """Return the sum of a term over some of its axes."""
    if len(axes) == ndim:
        return Term(f"sum({term.text})", ATOM, reasons=term.reasons)
    return Term(f"sum({term.text}, axis={axes if len(axes) > 1 else axes[0]})", ATOM, reasons=term.reasons)


def _swaps(axes: tuple[int, ...]) -> bool:
    return len(axes) > 1 and axes == (*range(len(axes) - 2), len(axes) - 1, len(axes) - 2)


def _reshaped(term: Term, shape: tuple[int, ...], wanted: tuple[int, ...], scale: Term | None) -> Term:
    long, new = (tuple(size for size in sizes if size != 1) for sizes in (shape, wanted))
    if long == new and (not long or max(len(shape), len(wanted)) <= 2):
        return _transposed(term, scale) if _is_row(shape) != _is_row(wanted) else term
    return Term(f"reshape({term.text}, {wanted})", ATOM, reasons=term.reasons)


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
    return Term(text, ATOM, reasons=term.reasons)


def _product(given: Sequence[Term], shapes: Sequence[tuple[int, ...]], scale: Term | None) -> Term:
    """Return a matrix product, or a product with the single number that one of them is."""
    x, y = given
    if any(len(shape) == 2 and math.prod(shape) == 1 for shape in shapes):
        made = chained(np.multiply, [x, y], scale) if scale else None
        return made or applied(np.multiply, [x, y])
    if len(shapes[0]) > 1:
        return _matmul([x, y])
    made = _matmul([_transposed(x, scale), y])
    return _transposed(made, scale) if len(shapes[1]) > 1 else made


def _matmul(factors: Sequence[Term]) -> Term:
    return applied(np.matmul, factors)._replace(factors=tuple(factors), reasons=reasons_of(factors))
