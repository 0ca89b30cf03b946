"""Gate of Einstein's sums: products of any operands, summed over the letters that the result does not have."""

import functools
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, conjugated, narrowed
from graphsvc.errors import AttributeValueError, ShapeError
from graphsvc.gate import Cost, Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

_Shape = tuple[int, ...]


def _refuse(problem: str) -> AttributeValueError:
    return AttributeValueError(problem, attribute="subscripts")


def _terms(subscripts: str, count: int) -> tuple[list[str], str | None]:
    """Split subscripts into one term for each operand and that of the result; one sign stands for an ellipsis."""
    plain = subscripts.replace(" ", "").replace("...", "*")
    before, arrow, after = plain.partition("->")
    terms = before.split(",")
    for term in (*terms, after):
        for letter in term:
            if letter not in string.ascii_letters + "*":
                msg = f"Attribute 'subscripts' has {letter!a} in {ascii(subscripts)[:80]}. Use letters, ',', '...' "
                msg += "and one '->'."
                raise _refuse(msg)
        if term.count("*") > 1:
            msg = f"Attribute 'subscripts' is {subscripts[:80]!r}, with two '...' in one term. Keep one."
            raise _refuse(msg)
    if len(terms) != count:
        msg = f"Attribute 'subscripts' is {subscripts[:80]!r}, for {len(terms)} operands, but there are {count}."
        msg += " Write a term for each, with commas between them."
        raise _refuse(msg)
    return terms, after if arrow else None


def _labels(term: str, shape: _Shape, subscripts: str) -> list[str]:
    """Return a label for each axis: its letter, or `.1`, `.2`, ... from the right for one that an ellipsis covers."""
    covered = len(shape) - len(term.replace("*", ""))
    if covered < 0 or (covered and "*" not in term):
        said = term.replace("*", "...")
        msg = f"Term {said!r} of subscripts {subscripts[:80]!r} does not fit an operand of shape {shape}."
        raise ShapeError(msg + " Write one letter for each axis.")
    dots = [f".{n}" for n in range(covered, 0, -1)]
    return [label for letter in term for label in (dots if letter == "*" else [letter])]


def _result_labels(term: str | None, operands: list[list[str]], subscripts: str) -> list[str]:
    every = [label for labels in operands for label in labels]
    dots = sorted({label for label in every if label[0] == "."}, key=lambda label: -int(label[1:]))
    if term is None:
        return [*dots, *sorted(label for label in set(every) - set(dots) if every.count(label) == 1)]
    if dots and "*" not in term:
        msg = f"Attribute 'subscripts' is {subscripts[:80]!r}, and its result lacks the '...' of the operands. Add it."
        raise _refuse(msg)
    labels = [label for letter in term for label in (dots if letter == "*" else [letter])]
    for label in labels:
        if labels.count(label) > 1 or label not in every:
            msg = f"Attribute 'subscripts' is {subscripts[:80]!r}, whose result has the letter {label!r} "
            msg += "twice" if label in every else "that no operand has"
            msg += ". Name each letter of the operands at most once."
            raise _refuse(msg)
    return labels


@dataclass(frozen=True, slots=True)
class _Plan:
    """What subscripts mean for operands of given shapes.

    Attributes:
        terms: Letters of the axes of each operand that take part; axes of length 1 that broadcast do not.
        shapes: Shapes of the operands without the axes that broadcast.
        result: Letters of the result.
        sizes: Length of each letter.
    """

    terms: tuple[str, ...]
    shapes: tuple[_Shape, ...]
    result: str
    sizes: dict[str, int]

    def shape(self, letters: str) -> _Shape:
        return tuple(self.sizes[letter] for letter in letters)


@functools.lru_cache(maxsize=1024)
def _plan(subscripts: str, shapes: tuple[_Shape, ...]) -> _Plan:
    terms, result = _terms(subscripts, len(shapes))
    operands = [_labels(term, shape, subscripts) for term, shape in zip(terms, shapes, strict=True)]
    wanted = _result_labels(result, operands, subscripts)
    sizes: dict[str, int] = {}
    for labels, shape in zip(operands, shapes, strict=True):
        own: dict[str, int] = {}
        for label, size in zip(labels, shape, strict=True):
            known = sizes.setdefault(label, size)
            if size != own.setdefault(label, size) or (size != known and 1 not in (size, known)):
                msg = f"Letter {label!r} of subscripts {subscripts[:80]!r} has axes of lengths {known} and {size}, of "
                msg += f"operands of shapes {', '.join(map(str, shapes))}. Reshape one of them."
                raise ShapeError(msg)
            if known == 1:
                sizes[label] = size
    # A letter more is needed for each that an operand has twice.
    letters = dict(zip(sizes, string.ascii_letters, strict=False))
    if len(sizes) + max(len(labels) for labels in operands) > len(string.ascii_letters):
        msg = f"There are {len(sizes)} axes with names of their own, which is too many. Take the product in two steps."
        raise _refuse(msg)
    kept = [
        [(letters[label], size) for label, size in zip(labels, shape, strict=True) if size == sizes[label]]
        for labels, shape in zip(operands, shapes, strict=True)
    ]
    return _Plan(
        tuple("".join(letter for letter, _ in axes) for axes in kept),
        tuple(tuple(size for _, size in axes) for axes in kept),
        "".join(letters[label] for label in wanted),
        {letters[label]: size for label, size in sizes.items()},
    )


def _sum(terms: Sequence[str], result: str, operands: Sequence[Array]) -> Array:
    return np.einsum(f"{','.join(terms)}->{result}", *operands, optimize=len(operands) > 1)


def _work(terms: Sequence[str], result: str, sizes: Mapping[str, int]) -> tuple[int, int]:
    """Return the products that `_sum` forms, and the elements of all that it makes on the way."""
    likenesses = [np.broadcast_to(0.0, [sizes[letter] for letter in term]) for term in terms]
    path, _ = np.einsum_path(f"{','.join(terms)}->{result}", *likenesses, optimize="greedy")
    left, products, made = list(terms), 0, 0
    for positions in path[1:]:
        taken = {letter for position in positions for letter in left[position]}
        left = [term for position, term in enumerate(left) if position not in positions]
        needed = "".join(sorted(taken & set(result).union(*left)))
        products += prod(sizes[letter] for letter in taken)
        made += prod(sizes[letter] for letter in needed)
        left.append(needed)
    return products, made


def _wide(x: Array) -> Array:
    return x.astype(np.float32) if x.dtype == np.float16 else x


class EinSum(Gate):
    """Einstein's sum: the product of the operands, letter by letter, summed over the letters that the result lacks.

    As `numpy.einsum`: a letter twice in one operand takes its diagonal, ``...`` stands for axes that broadcast, and
    without ``->`` the result has the letters that occur once, in the order of the alphabet.
    """

    name: ClassVar[str] = "einsum"

    subscripts: Annotated[
        str, Field(min_length=1, max_length=500, description="Letters of the axes, as in 'ij,jk->ik'.")
    ]

    def infer(self, *xs: ArraySpec) -> ArraySpec:
        plan = _plan(self.subscripts, tuple(x.shape for x in xs))
        return ArraySpec(plan.shape(plan.result), np.result_type(*(x.dtype for x in xs)))

    def cost(self, *xs: ArraySpec) -> Cost:
        plan = _plan(self.subscripts, tuple(x.shape for x in xs))
        products, made = _work(plan.terms, plan.result, plan.sizes)
        for i, term in enumerate(plan.terms):
            others = (plan.result, *plan.terms[:i], *plan.terms[i + 1 :])
            known = "".join(dict.fromkeys(letter for letter in term if any(letter in other for other in others)))
            found = _work(others, known, plan.sizes)
            # A backward counts twice.
            products, made = max(products, len(xs) * found[0] // 2), max(made, found[1])
        whole = sum(x.size for x in xs) + prod(plan.shape(plan.result))
        return Cost(2 * products, 16 * (2 * made + 2 * whole))

    def forward(self, *xs: Array) -> Array:
        plan = _plan(self.subscripts, tuple(x.shape for x in xs))
        operands = [_wide(x).reshape(shape) for x, shape in zip(xs, plan.shapes, strict=True)]
        return narrowed(_sum(plan.terms, plan.result, operands), np.result_type(*(x.dtype for x in xs)))

    def backward(self, dz: Array, xs: tuple[Array, ...]) -> list[Array]:
        plan = _plan(self.subscripts, tuple(x.shape for x in xs))
        operands = [conjugated(_wide(x)).reshape(shape) for x, shape in zip(xs, plan.shapes, strict=True)]
        dz = _wide(dz)
        gradients = []
        for i, x in enumerate(xs):
            terms = (plan.result, *plan.terms[:i], *plan.terms[i + 1 :])
            gradient = _sum_to(plan.terms[i], terms, (dz, *operands[:i], *operands[i + 1 :]), plan)
            gradients.append(gradient.reshape(x.shape))
        return gradients

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)

        def example(subscripts: str, *shapes: _Shape) -> Example:
            return Example(cls(subscripts=subscripts), *(random.normal(size=shape) for shape in shapes))

        yield example("ij,jk->ik", (2, 3), (3, 4))
        yield example("bi,ij,bj->b", (2, 3), (3, 4), (2, 4))
        yield example("ii->i", (3, 3))
        yield example("iij,k->j", (2, 2, 3), (4,))
        yield example("ij->", (2, 3))
        yield example("...i,...ij", (2, 3), (4, 1, 3, 2))
        yield example("i,i->i", (1,), (3,))
        yield example(",->", (), ())
        x, y = random.normal(size=(2, 3)) + 1j, random.normal(size=(3, 2)) + 1j * random.normal(size=(3, 2))
        yield Example(cls(subscripts="ij,ji->i"), x, y)


def _sum_to(term: str, terms: Sequence[str], operands: Sequence[Array], plan: _Plan) -> Array:
    """Sum products to the axes of a term, in which letters may repeat, and which may have some that no operand has."""
    once = "".join(dict.fromkeys(term))
    known = "".join(letter for letter in once if any(letter in other for other in terms))
    found = _sum(terms, known, operands)
    if known != once:
        found = found.reshape([plan.sizes[letter] if letter in known else 1 for letter in once])
        found = np.broadcast_to(found, plan.shape(once))
    if once == term:
        return found
    # A diagonal is put in its place by unit matrices, one for each letter that comes again.
    fresh = iter(letter for letter in string.ascii_letters if letter not in plan.sizes)
    spread, units = "", []
    for letter in term:
        again = next(fresh) if letter in spread else letter
        units += [letter + again] if again != letter else []
        spread += again
    eyes = [np.eye(plan.sizes[unit[0]], dtype=found.dtype) for unit in units]
    return _sum((once, *units), spread, (found, *eyes))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [EinSum]
