"""Random graphs of scalar gates, as lists of instructions that every engine runs alike.

An instruction is a gate and the positions of its operands among all values so far, inputs first. Values that no gate
takes are added up in pairs at the end, so that every gate is reached from the one output.
"""

import functools
import math
import operator
from collections import deque
from typing import Any, Final

import numpy as np

from engines.vocabulary import Vocabulary

__all__ = ["program", "random_inputs", "run_program"]

Instruction = tuple[str, int, int | None]

_SEED: Final = 0
_BOUND: Final = 2.0
_BINARY: Final = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul}
_UNARY: Final = {"tanh": math.tanh, "sigmoid": lambda x: 1 / (1 + math.exp(-x))}
_GATES: Final = (*_BINARY, *_UNARY)


def random_inputs() -> dict[str, float]:
    """Return 16 numbers between -1 and 1."""
    random = np.random.default_rng(_SEED)
    return {f"x{i}": float(x) for i, x in enumerate(random.uniform(-1, 1, 16))}


@functools.lru_cache(maxsize=1)
def program(gates: int, window: int | None) -> list[Instruction]:
    """Draw a graph.

    Args:
        gates: How many gates it has.
        window: Operands are drawn from so many latest values, which makes the graph deep; None means from all.
    """
    random = np.random.default_rng(_SEED)
    values = list(random_inputs().values())
    unused = dict.fromkeys(range(len(values)))
    made: list[Instruction] = []
    while len(made) + len(unused) - 1 < gates:
        first = max(0, len(values) - window) if window else 0
        gate = _GATES[random.integers(len(_GATES))]
        x, y = (int(i) for i in random.integers(first, len(values), 2))
        # The bound keeps sums of sums from growing without end, and gradients with them.
        if gate in _BINARY and abs(_BINARY[gate](values[x], values[y])) > _BOUND:
            gate = "tanh"
        instruction = (gate, x, y if gate in _BINARY else None)
        values.append(_value(values, instruction))
        made.append(instruction)
        for operand in (x, instruction[2]):
            unused.pop(operand, None)
        unused[len(values) - 1] = None
    return made + _sum_of(list(unused), len(values))


def _value(values: list[float], instruction: Instruction) -> float:
    gate, x, y = instruction
    return _UNARY[gate](values[x]) if y is None else _BINARY[gate](values[x], values[y])


def _sum_of(positions: list[int], count: int) -> list[Instruction]:
    """Add values up in pairs; the next value is at position `count`."""
    made: list[Instruction] = []
    waiting = deque(positions)
    while len(waiting) > 1:
        made.append(("add", waiting.popleft(), waiting.popleft()))
        waiting.append(count + len(made) - 1)
    return made


def run_program(gates: int, window: int | None, vocabulary: Vocabulary, **inputs: Any) -> Any:
    """Run a random graph in an engine's vocabulary and return its last value."""
    table = {**_BINARY, **{gate: getattr(vocabulary, gate) for gate in _UNARY}}
    values = list(inputs.values())
    for gate, x, y in program(gates, window):
        values.append(table[gate](values[x]) if y is None else table[gate](values[x], values[y]))
    return values[-1]
