"""Inference: shape and dtype of every value of a graph, without data."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphsvc.arrays import MAX_RANK, Array, ArraySpec, Literal, fits_memory, literal_dtype
from graphsvc.errors import (
    AttributeValueError,
    DtypeError,
    GateContractError,
    GateError,
    GraphsvcError,
    InputError,
    NonFiniteError,
    ShapeError,
    quoted,
)
from graphsvc.garbage import full_collections_put_off
from graphsvc.gate import Gate

__all__ = ["BoundNode", "Spec", "described", "infer_node", "infer_specs", "literal_array"]

Spec: TypeAlias = ArraySpec | Literal | None
"""What is known of a value before the run: shape and dtype, a Python literal, or nothing."""


class BoundNode(NamedTuple):
    """A gate node whose gate is at hand.

    Attributes:
        operands: References to its operands, in order.
        results: References to its outputs, in order.
    """

    name: str
    gate_name: str
    gate: Gate
    operands: tuple[str, ...]
    results: tuple[str, ...]


def literal_array(node: BoundNode, position: int, value: Literal, dtypes: Iterable[np.dtype[Any]]) -> Array:
    """Return a Python literal as the 0-d array that the gate is given.

    Args:
        node: The gate node.
        position: Which operand it is.
        value: The literal.
        dtypes: Dtypes of the operands beside it, without those that must be integers.

    Raises:
        DtypeError: The literal does not fit the dtype that it meets.
    """
    signature = node.gate.signature
    dtype = (
        np.dtype(np.int64) if signature.index(position) in signature.integers else literal_dtype(value, list(dtypes))
    )
    if isinstance(value, float) and dtype.kind in "iu":
        msg = f"Operand {signature.operand_name(position)!r} must be an integer, got {value!r}."
        raise DtypeError(msg).at(node.name, node.gate_name)
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(value, dtype)
    except OverflowError:
        array = None
    if array is None or (np.isinf(array) and math.isfinite(value)):
        msg = f"The literal {value} does not fit {dtype}, the dtype that it meets. Make it a constant of a wider dtype."
        raise DtypeError(msg).at(node.name, node.gate_name)
    array.flags.writeable = False
    return array


@full_collections_put_off()
def infer_specs(nodes: Iterable[BoundNode], specs: dict[str, Spec]) -> dict[str, Spec]:
    """Infer shape and dtype of every value, without data.

    Args:
        nodes: In topological order.
        specs: What is known of inputs and constants, by reference; the other values are added to it.

    Returns:
        `specs`. None stands for a value that a gate without `infer` makes, and for what depends on it.

    Raises:
        InputError: Shapes or dtypes do not fit a gate; the message names the node.
        AttributeValueError: An attribute does not fit the operand.
        GateError: An `infer` failed, or returned what it may not.
    """
    numbers: dict[str, int] = {}
    kinds = {name: _kind(spec, numbers) for name, spec in specs.items()}
    # Gates are pure: what was learnt of one on operands of some kinds holds for every node that has it and them.
    learnt: dict[tuple[int, ...], list[tuple[ArraySpec | None, int]]] = {}
    for node in nodes:
        key = (id(node.gate), *map(kinds.__getitem__, node.operands))
        found = learnt.get(key)
        if found is None:
            results = infer_node(node, [specs[operand] for operand in node.operands])
            found = learnt[key] = [(spec, _kind(spec, numbers)) for spec in results]
        for reference, (spec, kind) in zip(node.results, found, strict=True):
            specs[reference] = spec
            kinds[reference] = kind
    return specs


def _kind(spec: Spec, numbers: dict[str, int]) -> int:
    """Return a number for all that inference sees of a value. Two values of one number are one to every gate."""
    if isinstance(spec, ArraySpec):
        said = f"{spec.shape}{spec.dtype.str}"
    elif spec is not None and (abs(spec) < 60_000 if isinstance(spec, float) else 0 <= spec < 128):
        # Every dtype that it may take holds it, float16 and int8 too, so its type is all that counts.
        said = type(spec).__name__
    else:
        said = repr(spec)
    return numbers.setdefault(said, len(numbers))


def infer_node(node: BoundNode, operands: Sequence[Spec]) -> Sequence[ArraySpec | None]:
    """Infer the outputs of one gate; see `infer_specs`."""
    signature = node.gate.signature
    unknown = (None,) * len(node.results)
    strong = [
        spec.dtype
        for position, spec in enumerate(operands)
        if isinstance(spec, ArraySpec) and signature.index(position) not in signature.integers
    ]
    known = []
    for position, spec in enumerate(operands):
        if spec is None:
            return unknown
        if not isinstance(spec, ArraySpec):
            spec = ArraySpec((), literal_array(node, position, spec, strong).dtype)
        if signature.index(position) in signature.integers and spec.dtype.kind not in "iu":
            name = signature.operands[signature.index(position)]
            msg = f"Operand {name!r} must be of an integer dtype, got {spec.dtype}. Convert it with the gate 'cast'."
            raise DtypeError(msg).at(node.name, node.gate_name)
        known.append(spec)
    if not signature.infers:
        return unknown
    try:
        inferred = node.gate.infer(*known)  # type: ignore[attr-defined]
    except (InputError, AttributeValueError, NonFiniteError) as error:
        raise error.at(node.name, node.gate_name) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, GraphsvcError) and "inner_graph" in error.facts:
            raise error.at(node.name, node.gate_name) from None
        msg = f"infer failed: {described(error)}"
        raise GateError(msg).at(node.name, node.gate_name) from error
    return unknown if inferred is None else _checked_specs(node, inferred)


def _checked_specs(node: BoundNode, inferred: object) -> Sequence[ArraySpec]:
    signature = node.gate.signature
    specs = (inferred,) if isinstance(inferred, ArraySpec) else inferred
    counts = (len(signature.outputs), len(signature.outputs) + len(signature.saves))
    if not isinstance(specs, tuple | list) or len(specs) not in counts:
        msg = f"infer must return {counts[0]} specs of outputs, with or without {len(signature.saves)} of saves."
        raise GateContractError(msg).at(node.name, node.gate_name)
    outputs = specs[: counts[0]]
    if not all(isinstance(spec, ArraySpec) for spec in outputs):
        msg = f"infer must return ArraySpec objects, got {', '.join(type(s).__name__ for s in outputs)}."
        raise GateContractError(msg).at(node.name, node.gate_name)
    for spec in outputs:
        if spec.ndim > MAX_RANK or not fits_memory(spec.shape, spec.dtype.itemsize):
            msg = f"Its output would have the shape {quoted(spec.shape)}: more than {MAX_RANK} axes or 2^63 bytes."
            raise ShapeError(msg).at(node.name, node.gate_name)
    return outputs


def described(error: BaseException) -> str:
    """Return class and message of a stranger's exception, whose `__str__` may itself fail or be very long."""
    try:
        text = str(error)[:300]
    except BaseException:  # noqa: BLE001 - a stranger's __str__ may raise anything
        text = "(its message cannot be read)"
    return f"{type(error).__name__}: {text}"
