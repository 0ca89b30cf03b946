"""Wording: the backward of an elementwise gate as formulas, in the names of a graph and in its numbers.

The formulas are learnt as fusion learns what to compute: by calling backward on symbols, that of anybody's gate. They
are read as the chain rule is taught: the local gradient first, then the one that arrived, as in `f · (1 - f) · df`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from graphsvc.arrays import Array, sum_to_shape
from graphsvc.drawing.summaries import nested_text, number_text
from graphsvc.engine.calls import Record, call_rule
from graphsvc.engine.fusion.instructions import Constant, Instruction, Kind, filled, powered, recast
from graphsvc.engine.fusion.recording import Recording
from graphsvc.engine.fusion.recording import record as recorded
from graphsvc.engine.plan import Step
from graphsvc.gate import Elementwise

__all__ = ["Wording", "wording_of"]

_LONGEST: Final = 48
"""Characters of a formula that is read at a glance."""

_DIGITS: Final = (4, 8, 12, 17)
"""Digits of the numbers in a formula: as few as lead to the gradient. With four, 1 - 0.99999 is 0."""

_CONDITION, _SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(6)

_OPERATORS: Final[dict[Callable[..., Any], tuple[str, int]]] = {
    np.add: (" + ", _SUM),
    np.subtract: (" - ", _SUM),
    np.multiply: (" · ", _PRODUCT),
    np.divide: (" / ", _PRODUCT),
    np.power: ("^", _POWER),
    powered: ("^", _POWER),
}

_LOCAL: Final = (np.multiply, np.divide, np.negative)
"""What makes of a product with the arriving gradient another one."""

_CONDITIONS: Final[dict[Callable[..., Any], str]] = {
    np.equal: "=",
    np.not_equal: "≠",
    np.less: "<",
    np.less_equal: "≤",
    np.greater: ">",
    np.greater_equal: "≥",
    np.bitwise_and: "and",
    np.bitwise_or: "or",
    np.logical_and: "and",
    np.logical_or: "or",
}


class _Term(NamedTuple):
    """A text, and how tightly what is outermost in it binds.

    Attributes:
        number: The number that it is, if it is one whatever the graph is given.
        local: What it is the arriving gradient times, if it is such a product.
    """

    text: str
    level: int
    number: float | None = None
    local: "_Term | None" = None


@dataclass(frozen=True, slots=True)
class Wording:
    """What the backward of a gate computes, to be told in any names and numbers.

    Attributes:
        made: What it computes of the operands, the output and the gradient that arrives; None where that is not known.
        positions: The operands whose gradients are its results.
        shapes: Shapes of all operands, and last of the output.
    """

    made: Recording | None
    positions: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]

    def formulas(self, names: Sequence[str | float], output: str) -> dict[int, str]:
        """Return formulas of the gradients that the gate gives, by the position of the operand.

        Args:
            names: What its operands are called, or the numbers that they are.
            output: What its output is called; the gradient that arrives is called `d` and this.

        Returns:
            None that is long, or has no words.
        """
        given = [_number(n) if not isinstance(n, str) else _Term(n, _ATOM) for n in (*names, output, f"d{output}")]
        return {position: text for position, text in self._told(given) if len(text) <= _LONGEST}

    def numbers(
        self, names: Sequence[str | float], values: Sequence[Array], gradients: Mapping[int, Array]
    ) -> dict[int, str]:
        """Return the same formulas with numbers where names stood.

        Args:
            names: As those of `formulas`.
            values: The operands, the output, and the gradient that arrived; each of few elements.
            gradients: What came of them, by the position of the operand.
        """
        told: dict[int, str] = {}
        constants = {i: _number(name) for i, name in enumerate(names) if not isinstance(name, str)}
        for digits in _DIGITS:
            texts = self._told([constants.get(i, _figures(value, digits)) for i, value in enumerate(values)])
            computed = self._computed([_rounded(value, digits) for value in values])
            for position, text in texts:
                if position in gradients and (digits == _DIGITS[-1] or _alike(computed[position], gradients[position])):
                    told.setdefault(position, text)
            if len(told) == len(gradients):
                break
        return told

    def _told(self, given: Sequence[_Term]) -> Iterator[tuple[int, str]]:
        """Yield the gradients that have words, by the position of the operand."""
        if self.made is None:
            return
        arriving = given[-1]._replace(local=_ONE)
        terms = _terms(self.made, [*given[:-1], arriving])
        for position, result in zip(self.positions, self.made.results, strict=True):
            if result is not None and (term := terms[result]):
                # Where the local gradient is 1 or -1 that is said, too.
                factor = term.local.text if term.local and term.local.number is not None else ""
                text = f"{factor} · {_within(arriving, _PRODUCT, right=True)}" if factor else term.text
                yield position, _summed(text, self.shapes[position], self.shapes[-1])

    def _computed(self, values: Sequence[Array]) -> dict[int, Array]:
        """Return the gradients that come of operands, an output and an arriving gradient."""
        if self.made is None:
            return {}
        known: list[Any] = list(values)
        with np.errstate(all="ignore"):
            for entry in self.made.entries:
                if isinstance(entry, Instruction):
                    known.append(entry.function(*[known[i] for i in entry.operands], **dict(entry.keywords)))
                else:
                    known.append(entry)
        return {
            position: sum_to_shape(np.broadcast_to(known[result], self.shapes[-1]), self.shapes[position])
            for position, result in zip(self.positions, self.made.results, strict=True)
            if result is not None
        }


def wording_of(step: Step, record: Record) -> Wording:
    """Learn what the backward of a gate computes.

    Args:
        step: The gate.
        record: What its forward pass kept.

    Returns:
        One without words for a gate that does not work element by element, or cannot be recorded.
    """
    positions = tuple(position for asked in step.rules for position in asked.positions)
    shapes = (*record.operand_shapes, record.output_shapes[0])
    if not isinstance(step.node.gate, Elementwise) or len(record.output_dtypes) > 1 or record.saved:
        return Wording(None, positions, shapes)

    def backward(symbols: list[Any]) -> list[Any]:
        *operands, value, arriving = symbols
        symbolic = Record(
            tuple(operands),
            record.operand_shapes,
            record.operand_dtypes,
            (value,),
            record.output_shapes,
            record.output_dtypes,
            (),
        )
        return [gradient for asked in step.rules for gradient in call_rule(step, asked, symbolic, [arriving])]

    dtypes = [*record.operand_dtypes, record.output_dtypes[0], record.output_dtypes[0]]
    made = recorded(backward, [(dtype, None) for dtype in dtypes])
    return Wording(None if isinstance(made, str) or made.guards else made, positions, shapes)


def _rounded(value: Array, digits: int) -> Array:
    """Return an array as it is shown."""
    if value.dtype.kind != "f":
        return value
    return np.array([float(f"{x:.{digits}g}") for x in value.flat], value.dtype).reshape(value.shape)


def _alike(computed: Array, gradient: Array) -> bool:
    """Tell whether a reader takes one for the other."""
    pairs = zip(computed.flat, gradient.flat, strict=True)
    return all(x == y or math.isclose(x, y, rel_tol=1e-3) or (math.isnan(x) and math.isnan(y)) for x, y in pairs)


def _summed(text: str, shape: tuple[int, ...], whole: tuple[int, ...]) -> str:
    """Return a formula with the sum over the axes along which an operand of this shape was repeated."""
    if math.prod(shape) == math.prod(whole):
        return text
    aligned = (1,) * (len(whole) - len(shape)) + shape
    axes = tuple(axis for axis, (size, full) in enumerate(zip(aligned, whole, strict=True)) if size != full)
    return f"sum({text})" if math.prod(shape) == 1 else f"sum({text}, axis={axes if len(axes) > 1 else axes[0]})"


# Terms


def _terms(made: Recording, given: Sequence[_Term]) -> list[_Term | None]:
    """Return each value of a recording as text; None for what has no words. The last given is the arriving gradient."""
    terms: list[_Term | None] = list(given)
    for entry in made.entries:
        terms.append(_called(entry, terms, given[-1]) if isinstance(entry, Instruction) else _constant(entry))
    return terms


def _number(number: float) -> _Term:
    text = number_text(number)
    return _Term(text, _SIGN if text.startswith("-") else _ATOM, number)


_ONE: Final = _number(1)


def _constant(value: Constant) -> _Term | None:
    return _number(np.asarray(value).item()) if np.size(value) == 1 else None


def _figures(value: Array, digits: int) -> _Term:
    text = nested_text(value.tolist(), digits)
    return _Term(text, _SIGN if text.startswith("-") else _ATOM)


def _called(entry: Instruction, terms: Sequence[_Term | None], arriving: _Term) -> _Term | None:
    given = [term for i in entry.operands if (term := terms[i])]
    if len(given) < len(entry.operands) or entry.kind not in (Kind.MAP, Kind.VIEW):
        return None
    if entry.kind is Kind.VIEW or entry.function in (recast, np.positive):
        return given[0]
    if entry.function is filled:
        return _number(dict(entry.keywords)["value"].item())
    numbers = [np.float64(term.number) for term in given if term.number is not None]
    if len(numbers) == len(given):
        return _number(np.asarray(entry.function(*numbers, **dict(entry.keywords))).item())
    return _chained(entry.function, given, arriving) or _applied(entry.function, given)


def _chained(function: Callable[..., Any], given: Sequence[_Term], arriving: _Term) -> _Term | None:
    """Return what holds the arriving gradient as a factor as the local gradient times that."""
    holding = [bool(term.local) for term in given]
    if function not in _LOCAL or sum(holding) != 1 or not (holding[0] or function is np.multiply):
        return None
    local = _applied(function, [term.local or term for term in given])
    return _applied(np.multiply, [local, arriving])._replace(local=local)


def _applied(function: Callable[..., Any], given: Sequence[_Term]) -> _Term:
    first, last = given[0], given[-1]
    if isinstance(function, np.ufunc) and None not in (first.number, last.number):
        return _number(np.asarray(function(*[np.float64(term.number or 0) for term in given])).item())
    if function is np.where and first.number is not None:
        return given[1 if first.number else 2]
    if function in (np.power, powered, np.divide) and last.number == 1:
        return first
    if function is np.multiply and {1, -1} & {first.number, last.number}:
        factor, other = (first, last) if first.number in (1, -1) else (last, first)
        return other if factor.number == 1 else _applied(np.negative, [other])
    if function in _OPERATORS:
        sign, level = _OPERATORS[function]
        # What stands to the right of - and / is in brackets even where it binds as tightly; so is a power's base.
        left = _within(first, level + (level == _POWER))
        right = _within(last, level + (function not in (np.add, np.multiply)), right=True)
        return _Term(f"{left}{sign}{right}", level)
    if function in _CONDITIONS:
        return _Term(f"{first.text} {_CONDITIONS[function]} {last.text}", _CONDITION)
    if function is np.negative:
        return _Term(f"-{_within(first, _SIGN, right=True)}", _SIGN)
    if function is np.square:
        return _Term(f"{_within(first, _ATOM)}^2", _POWER)
    return _Term(f"{function.__name__.strip('_')}({', '.join(term.text for term in given)})", _ATOM)


def _within(term: _Term, level: int, *, right: bool = False) -> str:
    """Return a term as part of another, in brackets where it needs them, as a minus does to the right of a sign."""
    bare = term.level >= level and not (right and term.text.startswith("-"))
    return term.text if bare else f"({term.text})"
