"""Directions and other vectors as they are given: judged, one set for each vector, and stacked again."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphsvc.arrays import Array, ArraySpec, Weak, as_array, read_only
from graphsvc.engine.question import judge_vectors
from graphsvc.errors import DtypeError, RequestError, ShapeError

__all__ = ["judged_directions", "named", "sliced", "stacked"]


def named(given: object, what: str) -> dict[str, object]:
    """Return what is given by name. Raises RequestError."""
    if not isinstance(given, Mapping):
        msg = f"{what} are given by name of the input, not as {type(given).__name__}."
        raise RequestError(msg)
    return dict(given)


def judged_directions(
    specs: Mapping[str, ArraySpec], given: Mapping[str, object], vectors: int | None, what: str
) -> list[dict[str, Array]]:
    """Return the directions, one set of arrays for each.

    Args:
        specs: Shapes and dtypes of the inputs.
        given: The directions by input.
        vectors: How many there are, counted by a first axis; None means one, without that axis.
        what: What the error calls one of them.

    Raises:
        ShapeError: An array is not of its input's shape.
        DtypeError: It is not of a dtype that fits.
    """
    parts: Iterable[Mapping[str, object]] = (given,)
    if vectors is not None:
        parts = sliced(given, judge_vectors(vectors), what)
    return [
        {name: _judged_direction(f"{what} of input {name!r}", value, specs[name], name) for name, value in part.items()}
        for part in parts
    ]


def _judged_direction(what: str, value: object, spec: ArraySpec, name: str) -> Array:
    try:
        array = as_array(value, spec.dtype)
    except DtypeError as error:
        msg = f"{what}: {error.message}"
        raise DtypeError(msg, input=name) from None
    if array.shape != spec.shape:
        msg = f"{what} has shape {array.shape}, but the input has shape {spec.shape}. Give one number for each element."
        raise ShapeError(msg, input=name)
    return read_only(array)


def sliced(given: Mapping[str, object], count: int, what: str) -> list[dict[str, object]]:
    """Split arrays, whose first axis counts the vectors, into one set for each vector. Raises ShapeError."""
    arrays: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Weak):
            value = value.array if value.array.ndim == 0 else [Weak(part) for part in value.array]
        array = value if isinstance(value, list | tuple) else as_array(value)
        length = len(array) if isinstance(array, list | tuple) else (array.shape[0] if array.ndim else -1)
        if length != count:
            msg = f"{what} {name!r} must have a first axis of length {count}, one for each of vectors={count}."
            raise ShapeError(msg, name=name)
        arrays[name] = array
    return [{name: array[k] for name, array in arrays.items()} for k in range(count)]


def stacked(parts: list[dict[str, Array]]) -> dict[str, Array]:
    """Return arrays whose first axis counts the sets."""
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}
