"""Wording: the backward of a gate as formulas, in the names of a graph and in its numbers.

The formulas are learnt as fusion learns what to compute: by calling backward on symbols, that of anybody's gate.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from graphsvc.arrays import Array, sum_to_shape
from graphsvc.drawing.summaries import nested_text
from graphsvc.engine.calls import Record, call_rule
from graphsvc.engine.formulas.matrices import summed, undirected
from graphsvc.engine.formulas.reading import chooses, terms_of
from graphsvc.engine.formulas.terms import PRODUCT, Term, number, signed, within
from graphsvc.engine.fusion.instructions import Instruction
from graphsvc.engine.fusion.recording import Recording
from graphsvc.engine.fusion.recording import record as recorded
from graphsvc.engine.plan import Step
from graphsvc.gate import Elementwise

__all__ = ["Formula", "Wording", "sum_text", "wording_of"]

_LONGEST: Final = 56
"""Characters of a formula that is read at a glance."""

_DIGITS: Final = (4, 8, 12, 17)
"""Digits of the numbers in a formula: as few as lead to the gradient. With four, 1 - 0.99999 is 0."""

_SHARES: Final = {0: "none", 0.5: "half", 1: "all"}


@dataclass(frozen=True, slots=True)
class Formula:
    """What backward computes for an operand.

    Attributes:
        text: In the names of a graph.
        note: Why it reads so, if it would not for other numbers or shapes; else empty.
    """

    text: str
    note: str


@dataclass(frozen=True)
class Wording:
    """What the backward of a gate computes, to be told in names and in any numbers.

    Attributes:
        made: What it computes of the operands, the output and the gradient that arrives; None where that is not known.
        positions: The operands whose gradients are its results.
        shapes: Shapes of all operands, and last of the output.
        elementwise: Whether it works element by element, and is told so.
        names: What its operands are called, or the numbers that they are.
        output: What its output is called; the gradient that arrives is called `d` and this.
    """

    made: Recording | None
    positions: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    elementwise: bool
    names: tuple[str | float, ...]
    output: str

    @cached_property
    def chooses(self) -> bool:
        """Whether the formulas depend on numbers."""
        return self.made is not None and chooses(self.made)

    @cached_property
    def plain(self) -> dict[int, Formula]:
        """The formulas where no numbers are known."""
        return self._formulas(())

    def values(self, given: Sequence[Array]) -> list[Array]:
        """Return all that backward computes of the operands, the output and the gradient that arrived, these first."""
        known: list[Any] = list(given)
        with np.errstate(all="ignore"):
            for entry in self.made.entries if self.made else ():
                known.append(
                    entry.call([known[i] for i in entry.operands]) if isinstance(entry, Instruction) else entry
                )
        return [np.asarray(value) for value in known]

    def formulas(self, values: Sequence[Array] = ()) -> dict[int, Formula]:
        """Return formulas of the gradients that the gate gives, by the position of the operand.

        Args:
            values: What `values` returned, by which choices are told; empty where that is not known.

        Returns:
            None that is long, or has no words.
        """
        return self._formulas(values) if self.chooses and values else self.plain

    def _formulas(self, values: Sequence[Array]) -> dict[int, Formula]:
        names, output = self.names, self.output
        called = [signed(name).text for name in (*names, output)]
        given = [signed(name) for name in (*names, output, f"d{output}")]
        return {
            position: Formula(text, self._note(position, term, called))
            for position, text, term in self._told(given, values)
            if len(text) <= _LONGEST
        }

    def numbers(
        self,
        given: Sequence[Array],
        values: Sequence[Array],
        gradients: Mapping[int, Array],
    ) -> dict[int, str]:
        """Return the same formulas with numbers where names stood.

        Args:
            given: The operands, the output, and the gradient that arrived; each of few elements.
            values: As that of `formulas`.
            gradients: What came of them, by the position of the operand.
        """
        told: dict[int, str] = {}
        constants = {i: number(name) for i, name in enumerate(self.names) if not isinstance(name, str)}
        for digits in _DIGITS:
            figures = [constants.get(i, _figures(value, digits)) for i, value in enumerate(given)]
            computed = self._computed([_rounded(value, digits) for value in given])
            for position, text, _ in self._told(figures, values):
                if position in gradients and (digits == _DIGITS[-1] or _alike(computed[position], gradients[position])):
                    told.setdefault(position, text)
            if len(told) == len(gradients):
                break
        return told

    def _told(self, given: Sequence[Term], values: Sequence[Array]) -> Iterator[tuple[int, str, Term]]:
        """Yield the gradients that have words, by the position of the operand."""
        if self.made is None:
            return
        shapes = [None] * len(given) if self.elementwise else [*self.shapes, self.shapes[-1]]
        terms = terms_of(self.made, given, shapes, values if self.chooses else ())
        for position, result in zip(self.positions, self.made.results, strict=True):
            if result is not None and (term := terms[result]):
                text = self._whole(position, term, given[-1])
                if text:
                    yield position, text, term

    def _whole(self, position: int, term: Term, arriving: Term) -> str:
        """Return the text of a gradient; where the local gradient is 1 or -1 that is said, unless it was chosen."""
        if len(self.shapes[position]) == 1 or term.repeated:
            term = undirected(term)
        axes, factor = self._axes(position), term.local
        if factor and factor.number is not None and not term.reasons and not term.repeated:
            term = term._replace(text=f"{factor.text} · {within(arriving, PRODUCT, right=True)}")
        if not axes or term.number == 0:
            return term.text
        return "" if term.number is not None else summed(term, axes, self.shapes[-1]).text

    def _axes(self, position: int) -> tuple[int, ...]:
        """Return the axes of the output along which an operand was repeated."""
        shape, whole = self.shapes[position], self.shapes[-1]
        if not self.elementwise:
            return ()
        aligned = (1,) * (len(whole) - len(shape)) + shape
        return tuple(axis for axis, (size, full) in enumerate(zip(aligned, whole, strict=True)) if size != full)

    def _note(self, position: int, term: Term, called: Sequence[str]) -> str:
        """Return why a formula reads as it does."""
        notes = [f"as {' and '.join(term.reasons)}"] if term.reasons else []
        share = term.local.number if term.local else term.number
        if term.reasons and share in _SHARES:
            notes.append(f"so {_SHARES[share]} of d{called[-1]} goes to {called[position]}")
        if term.repeated:
            notes.append(term.repeated)
        if self._axes(position):
            name, count = called[position], math.prod(self.shapes[-1]) // math.prod(self.shapes[position])
            single = math.prod(self.shapes[position]) == 1
            notes.append(
                f"{name} was used for all {count} elements" if single else f"each of {name} was used {count} times"
            )
        return ", ".join(notes)

    def _computed(self, given: Sequence[Array]) -> dict[int, Array]:
        """Return the gradients that come of operands, an output and an arriving gradient."""
        if self.made is None:
            return {}
        known = self.values(given)
        return {
            position: self._fitted(known[result], self.shapes[position])
            for position, result in zip(self.positions, self.made.results, strict=True)
            if result is not None
        }

    def _fitted(self, gradient: Array, shape: tuple[int, ...]) -> Array:
        return sum_to_shape(np.broadcast_to(gradient, self.shapes[-1]), shape) if self.elementwise else gradient


def wording_of(step: Step, record: Record, names: Sequence[str | float], output: str) -> Wording:
    """Learn what the backward of a gate computes.

    Args:
        step: The gate.
        record: What its forward pass kept.
        names: What its operands are called, or the numbers that they are.
        output: What its output is called.

    Returns:
        One without words for a gate that has several outputs, saves something, or cannot be recorded.
    """
    positions = tuple(position for asked in step.rules for position in asked.positions)
    shapes = (*record.operand_shapes, record.output_shapes[0])
    elementwise = isinstance(step.node.gate, Elementwise)
    if len(record.output_dtypes) > 1 or record.saved:
        return Wording(None, positions, shapes, elementwise, tuple(names), output)

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
    known = [None] * len(dtypes) if elementwise else [*shapes, shapes[-1]]
    made = recorded(backward, list(zip(dtypes, known, strict=True)))
    learnt = None if isinstance(made, str) or made.guards else made
    return Wording(learnt, positions, shapes, elementwise, tuple(names), output)


def sum_text(parts: Sequence[Array], total: Array) -> str:
    """Return a sum of a few small arrays with what comes of it, as in `2 + (-0.4161) = 1.584`."""
    for digits in _DIGITS:
        rounded = [_rounded(part, digits) for part in parts]
        if _alike(np.sum(rounded, axis=0), total):
            break
    first, *others = (_figures(part, digits) for part in parts)
    return " + ".join([first.text, *(within(term, PRODUCT, right=True) for term in others)]) + f" = {_text(total)}"


def _text(value: Array) -> str:
    return nested_text(value.tolist())


def _rounded(value: Array, digits: int) -> Array:
    """Return an array as it is shown."""
    if value.dtype.kind != "f":
        return value
    return np.array([float(f"{x:.{digits}g}") for x in value.flat], value.dtype).reshape(value.shape)


def _alike(computed: Array, gradient: Array) -> bool:
    """Tell whether a reader takes one for the other."""
    pairs = zip(computed.flat, gradient.flat, strict=True)
    return all(x == y or math.isclose(x, y, rel_tol=1e-3) or (math.isnan(x) and math.isnan(y)) for x, y in pairs)


def _figures(value: Array, digits: int) -> Term:
    return signed(nested_text(value.tolist(), digits))
