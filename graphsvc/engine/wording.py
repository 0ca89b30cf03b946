"""Wording: the backward of an elementwise gate as formulas in the names of a graph, such as `z · df`.

The formulas are learnt as fusion learns what to compute: by calling backward on symbols, that of anybody's gate.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from graphsvc.drawing.summaries import number_text
from graphsvc.engine.calls import Record, call_rule
from graphsvc.engine.fusion.instructions import Constant, Instruction, Kind, powered, recast
from graphsvc.engine.fusion.recording import Recording
from graphsvc.engine.fusion.recording import record as recorded
from graphsvc.engine.plan import Step
from graphsvc.gate import Elementwise

__all__ = ["worded"]

_LONGEST: Final = 48
"""Characters of a formula that is read at a glance."""

_CONDITION, _SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(6)

_OPERATORS: Final[dict[Callable[..., Any], tuple[str, int]]] = {
    np.add: (" + ", _SUM),
    np.subtract: (" - ", _SUM),
    np.multiply: (" · ", _PRODUCT),
    np.divide: (" / ", _PRODUCT),
    np.power: ("^", _POWER),
    powered: ("^", _POWER),
}

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
    """A text, how tightly what is outermost in it binds, and the number that it is, if it is one."""

    text: str
    level: int
    number: float | None = None


def worded(step: Step, record: Record, names: Sequence[str | float], output: str) -> dict[int, str]:
    """Return formulas of the gradients that a gate gives, by the position of the operand.

    Args:
        step: The gate.
        record: What its forward pass kept.
        names: What its operands are called, or the numbers that they are.
        output: What its output is called; the gradient that arrives is called `d` and this.

    Returns:
        None of a gate that does not work element by element, or cannot be recorded, and none that is long.
    """
    if not isinstance(step.node.gate, Elementwise) or len(record.output_dtypes) > 1 or record.saved:
        return {}
    positions = [position for asked in step.rules for position in asked.positions]

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
    if isinstance(made, str) or made.guards:
        return {}
    terms = _terms(made, [*names, output, f"d{output}"])
    return {
        position: term.text
        for position, result in zip(positions, made.results, strict=True)
        if result is not None and (term := terms[result])
    }


def _terms(made: Recording, names: Sequence[str | float]) -> list[_Term | None]:
    """Return each value of a recording as text; None for what is long or has no words."""
    terms: list[_Term | None] = [_Term(name, _ATOM) if isinstance(name, str) else _number(name) for name in names]
    arriving = len(names) - 1
    for entry in made.entries:
        term = _called(entry, terms, arriving) if isinstance(entry, Instruction) else _constant(entry)
        terms.append(term if term and len(term.text) <= _LONGEST else None)
    return terms


def _number(number: float) -> _Term:
    text = number_text(number)
    return _Term(text, _SIGN if text.startswith("-") else _ATOM, number)


def _constant(value: Constant) -> _Term | None:
    return _number(np.asarray(value).item()) if np.size(value) == 1 else None


def _called(entry: Instruction, terms: Sequence[_Term | None], arriving: int) -> _Term | None:
    operands = list(entry.operands)
    if entry.function is np.multiply and operands[0] == arriving:
        # The chain rule is read as the local gradient times the one that arrived.
        operands.reverse()
    given = [term for i in operands if (term := terms[i])]
    if len(given) < len(operands) or entry.kind not in (Kind.MAP, Kind.VIEW):
        return None
    if entry.kind is Kind.VIEW or entry.function in (recast, np.positive):
        return given[0]
    numbers = [np.float64(term.number) for term in given if term.number is not None]
    if len(numbers) == len(given):
        return _number(np.asarray(entry.function(*numbers, **dict(entry.keywords))).item())
    return _applied(entry.function, given)


def _applied(function: Callable[..., Any], given: Sequence[_Term]) -> _Term:
    if function is np.where and given[0].number is not None:
        return given[1 if given[0].number else 2]
    if function in (np.power, powered) and given[1].number == 1:
        return given[0]
    if function in _OPERATORS:
        sign, level = _OPERATORS[function]
        # What stands to the right of - and / is in brackets even where it binds as tightly; so is a power's base.
        left = _within(given[0], level + (level == _POWER))
        right = _within(given[1], level + (function not in (np.add, np.multiply)))
        return _Term(f"{left}{sign}{right}", level)
    if function in _CONDITIONS:
        return _Term(f"{given[0].text} {_CONDITIONS[function]} {given[1].text}", _CONDITION)
    if function is np.negative:
        return _Term(f"-{_within(given[0], _SIGN)}", _SIGN)
    if function is np.square:
        return _Term(f"{_within(given[0], _ATOM)}^2", _POWER)
    return _Term(f"{function.__name__}({', '.join(term.text for term in given)})", _ATOM)


def _within(term: _Term, level: int) -> str:
    return term.text if term.level >= level else f"({term.text})"
