"""Recording: what a gate computes, learnt by calling it once on symbols instead of arrays.

A symbol stands for an array of known dtype and answers NumPy's functions by writing them down. So `forward` and
`backward` in plain NumPy, of anybody's gate, become a list of instructions that the engine may merge with those of
other gates. Recording is strict: whatever would need a value (a branch, `float(x)`, `x[i]`, an unknown function) is
refused, and the gate then runs as it is. One question is answered on trust: `np.any` and `np.all` as a condition are
taken to find nothing wrong, and a guard tells at every run whether that held.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphsvc.engine.fusion.instructions import Constant, Instruction, Shape
from graphsvc.engine.fusion.symbols import Refusal, Symbol, Tape

__all__ = ["Recording", "record"]


@dataclass(frozen=True)
class Recording:
    """What a function computes.

    Attributes:
        count: How many operands it has.
        entries: Constants and instructions, which number the values from `count` on.
        results: The value of each result; None where the function gave None.
        guards: Values that must be found true or false, or the recording is not what the function computes.
    """

    count: int
    entries: tuple[Instruction | Constant, ...]
    results: tuple[int | None, ...]
    guards: tuple[tuple[int, bool], ...]


def record(call: Callable[[list[Any]], object], operands: Sequence[tuple[np.dtype[Any], Shape]]) -> Recording | str:
    """Record what a function of arrays computes.

    Args:
        call: Takes the list of its operands; returns an array, None, or a tuple or list of these.
        operands: Dtype and shape of each.

    Returns:
        The recording, or why there is none.
    """
    first = _recorded(call, operands)
    if isinstance(first, str):
        return first
    second = _recorded(call, operands)
    if isinstance(second, str) or not _alike(first, second):
        return "it computes something else each time"
    return first


def _recorded(call: Callable[[list[Any]], object], operands: Sequence[tuple[np.dtype[Any], Shape]]) -> Recording | str:
    if any(dtype.kind == "c" for dtype, _ in operands):
        return "it computes with complex numbers"
    tape = Tape()
    tape.count = len(operands)
    symbols = [Symbol(tape, index, dtype, shape) for index, (dtype, shape) in enumerate(operands)]
    try:
        with np.errstate(all="ignore"):
            returned = call(list(symbols))
    except (KeyboardInterrupt, SystemExit):
        raise
    except Refusal as refusal:
        return str(refusal)
    except BaseException as error:  # noqa: BLE001 - a stranger's gate may raise anything; it is run as it is then
        return tape.refusal or f"it raises {type(error).__name__} on symbols"
    if tape.refusal:
        return tape.refusal
    if any(symbol.index_ != index for index, symbol in enumerate(symbols)):
        return "it writes to its operands"
    results = returned if isinstance(returned, tuple | list) else (returned,)
    if not all(result is None or (isinstance(result, Symbol) and result._tape is tape) for result in results):
        return "it returns something that it did not compute from its operands"
    indices = tuple(None if result is None else result.index_ for result in results)
    return Recording(tape.count, tuple(tape.entries), indices, tuple(tape.guards))


def _alike(first: Recording, second: Recording) -> bool:
    """Tell whether two recordings are one, also in the bits of their constants."""
    alike = first.results == second.results and first.guards == second.guards
    return (
        alike
        and len(first.entries) == len(second.entries)
        and all(_one(a, b) for a, b in zip(first.entries, second.entries, strict=True))
    )


def _one(first: Instruction | Constant, second: Instruction | Constant) -> bool:
    if isinstance(first, Instruction) or isinstance(second, Instruction):
        return type(first) is type(second) and repr(first) == repr(second)
    if type(first) is not type(second):
        return False
    a, b = np.asarray(first), np.asarray(second)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
