"""Judging a question to a graph: are these its inputs, its outputs, and gradients that it can give?"""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from graphsvc.arrays import DTYPES, Array, ArraySpec, as_array, is_differentiable, read_only
from graphsvc.document import InputEntry
from graphsvc.errors import (
    DtypeError,
    InputError,
    MissingInputError,
    NotDifferentiableError,
    OutputGradientError,
    RequestError,
    ShapeError,
    UnknownGradientError,
    UnknownInputError,
    UnknownOutputError,
    did_you_mean,
    quoted,
)

__all__ = [
    "judge_differentiated",
    "judge_directions",
    "judge_inputs",
    "judge_output_gradients",
    "judge_outputs",
    "judge_vectors",
    "judge_wrt",
]

_MOST_VECTORS: Final = 2**20


def judge_inputs(
    entries: Mapping[str, InputEntry], given: Mapping[str, object], *, partial: bool = False
) -> dict[str, Array]:
    """Return the inputs as read-only arrays, in the order of the graph.

    Args:
        entries: What the graph declares of each input.
        given: The inputs by name.
        partial: Whether some may be missing.

    Raises:
        MissingInputError: Inputs are missing; the message lists them.
        UnknownInputError: The graph has no such input.
        DtypeError: A dtype is not the declared one, or none that a graph can have.
        ShapeError: A shape is not the declared one.
    """
    if not isinstance(given, Mapping):
        msg = f"Inputs are given by name, as in {{'x': 1.0}}, not as {type(given).__name__}."
        raise RequestError(msg)
    for name in given:
        if name not in entries:
            known = ", ".join(entries) or "none"
            msg = f"The graph has no input {quoted(name)}.{did_you_mean(str(name), entries)} Its inputs: {known[:300]}."
            raise UnknownInputError(msg, input=str(name)[:128])
    missing = [name for name in entries if name not in given]
    if missing and not partial:
        listed = ", ".join(map(repr, missing[:16]))
        msg = f"The graph needs {'an input' if len(missing) == 1 else 'inputs'} {listed}. Give an array for each."
        raise MissingInputError(msg, input=missing[0])
    return {name: _judge_input(entry, given[name]) for name, entry in entries.items() if name in given}


def _judge_input(entry: InputEntry, value: object) -> Array:
    try:
        array = as_array(value, DTYPES[entry.dtype] if entry.dtype else None)
    except InputError as error:
        msg = f"Input {entry.name!r}: {error.message}"
        raise type(error)(msg, input=entry.name) from None
    if entry.shape is not None:
        fits = len(entry.shape) == array.ndim and all(
            size in (None, actual) for size, actual in zip(entry.shape, array.shape, strict=True)
        )
        if not fits:
            declared = str(entry.shape).replace("None", "any")
            msg = f"Input {entry.name!r} has the declared shape {declared}, got {array.shape}. Reshape the array."
            raise ShapeError(msg, input=entry.name)
    return read_only(array)


def judge_outputs(outputs: Mapping[str, str], wanted: Iterable[str] | None) -> tuple[str, ...]:
    """Return the names of the wanted outputs; None means all.

    Raises:
        UnknownOutputError: The graph has no such output, or none at all.
    """
    if not outputs:
        msg = "The graph has no outputs. Declare one with graph.output(name, node)."
        raise UnknownOutputError(msg)
    if wanted is None:
        return tuple(outputs)
    names = _names("outputs", wanted)
    if not names:
        msg = "outputs is empty. Name at least one, or leave it out for all."
        raise RequestError(msg)
    for name in names:
        if name not in outputs:
            msg = f"The graph has no output {quoted(name)}.{did_you_mean(name, outputs)} Its outputs: "
            msg += f"{', '.join(outputs)[:300]}."
            raise UnknownOutputError(msg, output=name[:128])
    return names


def _names(what: str, given: Iterable[str]) -> tuple[str, ...]:
    """Return a list of names, each once; a string is none. Raises RequestError."""
    names = () if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    if isinstance(given, str) or not isinstance(given, Iterable) or not all(isinstance(name, str) for name in names):
        msg = f"{what} is a list of names, got {quoted(given)}."
        raise RequestError(msg)
    return tuple(dict.fromkeys(names))


def judge_wrt(inputs: Mapping[str, Array | ArraySpec], wrt: Iterable[str] | None) -> tuple[str, ...]:
    """Return the names of the inputs whose gradients are wanted; None means every floating-point one.

    Raises:
        UnknownGradientError: The graph has no such input.
        NotDifferentiableError: An input is not floating point.
    """
    if wrt is None:
        return tuple(name for name, given in inputs.items() if is_differentiable(given.dtype))
    names = _names("wrt", wrt)
    for name in names:
        if name not in inputs:
            msg = f"Gradients are taken of inputs, and {quoted(name)} is none.{did_you_mean(name, inputs)}"
            msg += f" Inputs: {', '.join(inputs)[:300] or 'none'}."
            raise UnknownGradientError(msg, input=name[:128])
        if not is_differentiable(inputs[name].dtype):
            msg = f"Input {name!r} is {inputs[name].dtype} and has no gradient. Give it as floating point, or leave it"
            msg += " out of wrt."
            raise NotDifferentiableError(msg, input=name)
    return names


def judge_differentiated(wanted: tuple[str, ...], output_gradients: Mapping[str, object] | None) -> tuple[str, ...]:
    """Return the names of the outputs that are differentiated: those at which a gradient arrives.

    Raises:
        OutputGradientError: None is given, and there is not exactly one output.
        UnknownOutputError: One is given for no wanted output.
    """
    if output_gradients is None:
        if len(wanted) == 1:
            return wanted
        listed = ", ".join(map(repr, wanted[:16]))
        msg = f"The outputs are {listed}. Say which gradient arrives at them, output_gradients={{{wanted[0]!r}: ...}},"
        msg += f" or ask for one alone, outputs=[{wanted[0]!r}]."
        raise OutputGradientError(msg)
    if not isinstance(output_gradients, Mapping):
        msg = f"output_gradients are given by name of the output, not as {type(output_gradients).__name__}."
        raise RequestError(msg)
    for name in output_gradients:
        if name not in wanted:
            msg = f"An output gradient is given for {quoted(name)}, which is no wanted output."
            msg += f" Outputs: {', '.join(wanted)[:300]}."
            raise UnknownOutputError(msg, output=str(name)[:128])
    return tuple(output_gradients)


def judge_output_gradients(
    outputs: Mapping[str, ArraySpec], differentiated: tuple[str, ...], given: Mapping[str, object] | None
) -> dict[str, Array]:
    """Return the gradients that arrive at the outputs, as read-only arrays.

    Args:
        outputs: Shape and dtype of each wanted output.
        differentiated: Names of the outputs at which a gradient arrives.
        given: Their gradients; None means 1 for the only output, which must then have one element.

    Raises:
        NotDifferentiableError: An output is not floating point.
        OutputGradientError: None is given for an output of several elements.
        ShapeError: A gradient has not the shape of its output.
        DtypeError: A gradient has not the dtype of its output.
    """
    gradients = {}
    for name in differentiated:
        spec = outputs[name]
        if not is_differentiable(spec.dtype):
            msg = f"Output {name!r} is {spec.dtype} and has no gradient. Ask for no gradients with wrt=[]."
            raise NotDifferentiableError(msg, output=name)
        if given is None:
            if spec.dtype.kind == "c":
                msg = f"Output {name!r} is {spec.dtype}, and only a real number needs no output gradient."
                msg += f" Give output_gradients={{{name!r}: ...}}, or make it real with the gate 'real' or 'abs'."
                raise OutputGradientError(msg, output=name)
            if spec.size != 1:
                msg = f"Output {name!r} has shape {spec.shape}, and only a single number needs no output gradient."
                msg += f" Give output_gradients={{{name!r}: ...}}, or make it one number, as by sum(...)."
                raise OutputGradientError(msg, output=name)
            gradients[name] = read_only(np.ones(spec.shape, spec.dtype))
            continue
        try:
            array = as_array(given[name], spec.dtype)
        except DtypeError as error:
            msg = f"The gradient of output {name!r}: {error.message}"
            raise DtypeError(msg, output=name) from None
        if array.shape != spec.shape:
            msg = f"The gradient of output {name!r} has shape {array.shape}, but the output has shape {spec.shape}."
            msg += " Give one number for each element."
            raise ShapeError(msg, output=name)
        gradients[name] = read_only(array)
    return gradients


def judge_directions(
    directions: Mapping[str, object] | None, vectors: int | Mapping[str, object] | None
) -> tuple[Mapping[str, object], int | None]:
    """Return directions, and how many there are, of arguments that may bear either name.

    Raises:
        RequestError: There are no directions.
    """
    if directions is None and isinstance(vectors, Mapping):
        directions, vectors = vectors, None
    if directions is None or isinstance(vectors, Mapping):
        msg = "hvp takes a direction: an array for each input that moves, by name."
        raise RequestError(msg)
    return directions, vectors


def judge_vectors(vectors: object) -> int:
    """Return how many vectors are asked for.

    Raises:
        RequestError: It is no count.
    """
    if type(vectors) is not int or not 1 <= vectors <= _MOST_VECTORS:
        msg = f"vectors says how many there are, from 1 to {_MOST_VECTORS}; got {quoted(vectors)}."
        raise RequestError(msg)
    return vectors
