"""Calling a gate: handing it what it asks for, and checking all that it gives back."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, cast

import numpy as np

from graphsvc.arrays import Array, ArraySpec, Literal, is_differentiable, is_known, spec_of, sum_to_shape
from graphsvc.engine.inference import BoundNode, described, infer_node, literal_array
from graphsvc.engine.plan import Step, WantedRule
from graphsvc.errors import (
    GateContractError,
    GateDataError,
    GateError,
    GateNotDifferentiableError,
    GraphsvcError,
    LimitError,
)
from graphsvc.gate import Elementwise
from graphsvc.signature import Parameter, Source

__all__ = [
    "BackwardCall",
    "ForwardCall",
    "Record",
    "argument_of",
    "break_contract",
    "call_backward",
    "call_forward",
    "call_rule",
    "call_undefined",
    "checked",
    "completed",
    "flaw_of",
    "freeze",
    "handed",
    "invoke",
    "listed",
    "listed_results",
    "operands_of",
    "out_of_memory",
    "specs_of",
    "want_of_memory",
]


@dataclass(slots=True)
class Record:
    """What of a gate's forward pass lives until its backward pass: what its backward asks for, and nothing else."""

    operands: tuple[Array | None, ...]
    operand_shapes: tuple[tuple[int, ...], ...]
    operand_dtypes: tuple[np.dtype[Any], ...]
    outputs: tuple[Array | None, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    output_dtypes: tuple[np.dtype[Any], ...]
    saved: tuple[object, ...]


ForwardCall: TypeAlias = Callable[[Step, list[Array | Literal]], tuple[tuple[Array, ...], Record | None]]
"""`call_forward`, or what stands in its place to observe a run."""

BackwardCall: TypeAlias = Callable[[Step, Record, Sequence[Array | None]], Iterable[tuple[str, Array]]]
"""`call_backward`, or what stands in its place to observe a run."""


def _with_literals(node: BoundNode, operands: list[Array | Literal]) -> list[Array]:
    """Return the operands with Python literals turned into arrays of the dtypes that they meet."""
    # np.float64 is a float by inheritance, and no literal.
    literal = [type(operand) in (int, float) for operand in operands]
    signature = node.gate.signature
    strong = [
        cast(Array, operand).dtype
        for position, operand in enumerate(operands)
        if not literal[position] and signature.index(position) not in signature.integers
    ]
    return [
        literal_array(node, position, cast(Literal, operand), strong) if literal[position] else cast(Array, operand)
        for position, operand in enumerate(operands)
    ]


def invoke(node: BoundNode, method: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a method of a gate. Whatever it raises becomes an error that names the node."""
    try:
        return function(node.gate, *arguments)
    except GateDataError as error:
        raise error.at(node.name, node.gate_name) from error
    except GraphsvcError as error:
        if "inner_graph" in error.facts:
            raise error.at(node.name, node.gate_name) from error
        if isinstance(error, GateContractError):
            msg = f"{method} sets a value on `self`. Return what backward needs after the outputs, and name it in"
            msg += " `saves`."
            raise GateContractError(msg).at(node.name, node.gate_name) from error
        raise _failed(node, method, error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise want_of_memory(node, method, error) or _failed(node, method, error) from error


def out_of_memory(node: BoundNode, what: str, nbytes: int) -> LimitError:
    """Return the error of a gate for which there is not memory enough.

    Args:
        node: Where.
        what: What takes so many bytes.
        nbytes: How many.
    """
    msg = f"There is not memory enough: {what} {nbytes:,} bytes. Ask for less at a time."
    return LimitError(msg, asked=str(nbytes)).at(node.name, node.gate_name)


def want_of_memory(node: BoundNode, method: str, error: BaseException) -> LimitError | None:
    """Return the error to raise where NumPy could not allocate, of which it tells shape and dtype; else None."""
    match error:
        case MemoryError(args=(tuple() as shape, np.dtype() as dtype)):
            return out_of_memory(node, f"{method} asked for", math.prod(shape) * dtype.itemsize)
        case _:
            return None


def _failed(node: BoundNode, method: str, error: BaseException) -> GateError:
    msg = f"{method} failed: {described(error)}"
    if isinstance(error, ValueError) and "read-only" in msg:
        msg += ". Arrays handed to a gate belong to others; write to a copy"
    return GateError(msg).at(node.name, node.gate_name)


# Forward ------------------------------------------------------------------------------------------------------------


def call_forward(step: Step, values: list[Array | Literal]) -> tuple[tuple[Array, ...], Record | None]:
    """Run a gate forward.

    Args:
        step: The gate, and which gradients of it are wanted.
        values: Its operands.

    Returns:
        Its outputs, read-only, and what its backward will need; None if no gradient of it is wanted.

    Raises:
        GateDataError: The gate refuses the data.
        GateContractError: It returned something else than its outputs and saves.
        GateError: It failed otherwise.
    """
    node = step.node
    operands = operands_of(step, values)
    specs = specs_of(step, operands)
    returned = invoke(node, "forward", node.gate.signature.forward, *map(handed, operands))
    outputs, saved = listed_results(node, returned)
    return completed(step, operands, outputs, saved, specs)


def operands_of(step: Step, values: list[Array | Literal]) -> list[Array]:
    """Return the operands of a gate, with Python literals turned into arrays."""
    return _with_literals(step.node, values) if step.literal else cast(list[Array], values)


def specs_of(step: Step, operands: Sequence[Array]) -> Sequence[ArraySpec | None]:
    """Return what the outputs of a gate must be.

    What could not be inferred before the run, because a gate before this one has no `infer`, is checked now.
    """
    return infer_node(step.node, [spec_of(operand) for operand in operands]) if None in step.specs else step.specs


def listed_results(node: BoundNode, returned: Any) -> tuple[tuple[Any, ...], tuple[object, ...]]:
    """Return what a forward returned as outputs and saved values."""
    signature = node.gate.signature
    count = len(signature.outputs) + len(signature.saves)
    if count == 1:
        returned = (returned,)
    elif not isinstance(returned, tuple | list) or len(returned) != count:
        names = ", ".join((*signature.outputs, *signature.saves))
        got = f"{len(returned)} things" if isinstance(returned, tuple | list) else _kind(returned)
        break_contract(node, f"forward must return {names}, got {got}")
    return tuple(returned[: len(signature.outputs)]), tuple(returned[len(signature.outputs) :])


def completed(
    step: Step,
    operands: Sequence[Array],
    outputs: tuple[Array, ...],
    saved: tuple[object, ...],
    specs: Sequence[ArraySpec | None],
) -> tuple[tuple[Array, ...], Record | None]:
    """Check what a forward returned, and keep what its backward will need; see `call_forward`."""
    node, signature = step.node, step.node.gate.signature
    for output, name, spec in zip(outputs, signature.outputs, specs, strict=True):
        if flaw := flaw_of(output):
            break_contract(node, f"forward returned for output {name!r} {flaw}")
        if spec is not None and (output.shape != spec.shape or output.dtype != spec.dtype):
            got = f"{output.dtype}{list(output.shape)}"
            break_contract(node, f"forward returned {got} for output {name!r}, but infer said {spec}")
    for array in (*outputs, *saved):
        freeze(array)
    return outputs, _record(step, operands, outputs, saved) if step.rules else None


def _record(step: Step, operands: Sequence[Array], outputs: Sequence[Array], saved: tuple[object, ...]) -> Record:
    return Record(
        operands=tuple([o if i in step.kept_operands else None for i, o in enumerate(operands)]),
        operand_shapes=tuple([o.shape for o in operands]),
        operand_dtypes=tuple([o.dtype for o in operands]),
        outputs=tuple([o if i in step.kept_outputs else None for i, o in enumerate(outputs)]),
        output_shapes=tuple([o.shape for o in outputs]),
        output_dtypes=tuple([o.dtype for o in outputs]),
        saved=saved,
    )


def handed(value: Any) -> Any:
    """Return a value as gates are given it: a NumPy number as an array of no axes, which is read-only as all are.

    NumPy's numbers are written to by making others, and raised to powers by other functions. So a gate would give
    something else for an operand of the graph than for one that a gate made.
    """
    if isinstance(value, np.generic):
        value = np.asarray(value)
        value.flags.writeable = False
    return value


def freeze(value: object) -> None:
    """Make arrays of our own read-only, also those in saved tuples, lists and dictionaries; anything else passes."""
    if isinstance(value, np.ndarray):
        if value.flags.writeable:
            value.flags.writeable = False
    elif isinstance(value, tuple | list):
        for item in value:
            freeze(item)
    elif isinstance(value, dict):
        for item in value.values():
            freeze(item)


def flaw_of(value: Any) -> str | None:
    """Return what a gate returned instead of an array of a known dtype; None if it is one."""
    if type(value) is not np.ndarray and not isinstance(value, np.generic):
        hint = "; name further results in `outputs` or `saves`" if isinstance(value, tuple) else ""
        return f"{_kind(value)}, not a NumPy array{hint}"
    return None if is_known(value.dtype) else f"an array of dtype {value.dtype}"


def _kind(value: object) -> str:
    """Return what kind of thing a gate returned; the name of a stranger's class is not for clients."""
    known = type(value).__module__.partition(".")[0] in ("builtins", "numpy")
    return f"a {type(value).__name__}" if known else "an object of its own"


def break_contract(node: BoundNode, problem: str) -> NoReturn:
    """Say what the author of a gate must mend. Raises GateContractError."""
    msg = f"{problem}. Its author must mend it."
    raise GateContractError(msg).at(node.name, node.gate_name)


# Backward -----------------------------------------------------------------------------------------------------------


def call_backward(step: Step, record: Record, arriving: Sequence[Array | None]) -> Iterator[tuple[str, Array]]:
    """Run a gate backward.

    Args:
        step: The gate, and which of its operands want a gradient.
        record: What its forward pass kept.
        arriving: The gradient at each output; None where none arrives.

    Yields:
        A reference to each wanted operand with its gradient, of the operand's shape and dtype, read-only.

    Raises:
        GateContractError: The gate returned something else than these gradients.
        GateNotDifferentiableError: It gave None for a wanted one.
        GateError: It failed otherwise.
    """
    for asked in step.rules:
        for position, gradient in zip(asked.positions, call_rule(step, asked, record, arriving), strict=True):
            # Whether it has a gradient is known for certain only now.
            if step.wanted[position] and is_differentiable(record.operand_dtypes[position]):
                yield step.node.operands[position], checked(step, record, asked.method, position, gradient)


def call_rule(step: Step, asked: WantedRule, record: Record, arriving: Sequence[Array | None]) -> Sequence[object]:
    """Call one backward rule; return what it gives for each operand that it speaks for."""
    arguments = [argument_of(parameter, step, record, arriving) for parameter in asked.rule.parameters]
    return listed(step, asked, invoke(step.node, asked.method, asked.rule.call, *arguments))


def call_undefined(step: Step, record: Record, arriving: Sequence[Array | None]) -> str:
    """Ask a gate what of its gradients has no value there; empty where all is well, or the gate does not say."""
    rule = step.node.gate.signature.undefined
    if rule is None:
        return ""
    arguments = [argument_of(parameter, step, record, arriving) for parameter in rule.parameters]
    says = invoke(step.node, "undefined", rule.call, *arguments)
    if says is not None and not isinstance(says, str):
        break_contract(step.node, f"undefined must return a sentence or None, got {_kind(says)}")
    return says or ""


def argument_of(parameter: Parameter, step: Step, record: Record, arriving: Sequence[Array | None]) -> Any:
    """Return what a parameter of a backward stands for."""
    signature, index = step.node.gate.signature, parameter.index
    several = signature.variadic and index == len(signature.operands) - 1
    match parameter.source:
        case Source.OUTPUT_GRADIENT:
            gradient = arriving[index]
            if gradient is None and not parameter.optional:
                return np.zeros(record.output_shapes[index], record.output_dtypes[index])
            return handed(gradient)
        case Source.OPERAND:
            return tuple(map(handed, record.operands[index:])) if several else handed(record.operands[index])
        case Source.OPERAND_SHAPE:
            return record.operand_shapes[index:] if several else record.operand_shapes[index]
        case Source.OUTPUT:
            return handed(record.outputs[index])
        case Source.SAVED:
            return record.saved[index]


def listed(step: Step, asked: WantedRule, returned: object) -> Sequence[object]:
    """Return what a backward returned as one gradient for each operand that it speaks for."""
    signature, index, count = step.node.gate.signature, asked.operand, len(asked.positions)
    single = count == 1 if index is None else not (signature.variadic and index == len(signature.operands) - 1)
    if single and not isinstance(returned, tuple | list):
        return (returned,)
    if not isinstance(returned, tuple | list) or len(returned) != count:
        got = len(returned) if isinstance(returned, tuple | list) else _kind(returned)
        needed = f"{count} gradients, one for each of {signature.describe_operands()}"
        break_contract(step.node, f"{asked.method} must return {needed}, got {got}")
    return returned


def _is_broadcast(shape: tuple[int, ...], operand: tuple[int, ...]) -> bool:
    """Tell whether `shape` is what an operand of shape `operand` may be broadcast to."""
    trailing = shape[len(shape) - len(operand) :]
    return len(shape) >= len(operand) and all(m in (1, n) for m, n in zip(operand, trailing, strict=True))


def checked(step: Step, record: Record, method: str, position: int, gradient: object) -> Array:
    """Check one gradient and return it in the shape and dtype of its operand."""
    node = step.node
    shape, dtype = record.operand_shapes[position], record.operand_dtypes[position]
    if gradient is None:
        msg = f"{method} gives no gradient for {_said(node, position)}. Ask for other gradients with wrt."
        raise GateNotDifferentiableError(msg).at(node.name, node.gate_name)
    if flaw := flaw_of(gradient):
        break_contract(node, f"{method} returned for {_said(node, position)} {flaw}")
    array = cast(Array, gradient)
    freeze(array)
    if array.shape == shape and array.dtype == dtype and is_differentiable(dtype):
        return array
    imaginary = array.dtype.kind == "c" and dtype.kind == "f"
    # Real operands beside complex ones, or of a complex result, have the real part of what the chain rule gives.
    of_complex = imaginary and any(d.kind == "c" for d in (*record.operand_dtypes, *record.output_dtypes))
    if not is_differentiable(array.dtype) or (imaginary and not of_complex):
        break_contract(node, f"{method} returned a gradient of dtype {array.dtype} for {_said(node, position)}")
    of_output = isinstance(node.gate, Elementwise) and array.shape in record.output_shapes
    if array.shape != shape and of_output and _is_broadcast(array.shape, shape):
        array = sum_to_shape(array, shape)
    if array.shape != shape:
        operand = f"{_said(node, position)} of shape {shape}"
        break_contract(node, f"{method} returned a gradient of shape {array.shape} for {operand}")
    if array.dtype != dtype:
        array = (array.real if imaginary else array).astype(dtype)
    freeze(array)
    return array


def _said(node: BoundNode, position: int) -> str:
    return f"operand {node.gate.signature.operand_name(position)!r}"
