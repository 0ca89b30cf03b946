"""The symbols that gates are drawn with, and written; others are boxes with their names."""

from collections.abc import Sequence
from typing import Final

__all__ = ["SYMBOLS", "written"]

SYMBOLS: Final = {
    "abs": "|x|",
    "add": "+",
    "cos": "cos",
    "divide": "÷",
    "dot": "·",
    "exp": "exp",
    "log": "ln",
    "matmul": "@",
    "max": "max",
    "maximum": "max",
    "mean": "mean",
    "min": "min",
    "minimum": "min",
    "multiply": "×",
    "negative": "−x",
    "power": "xʸ",
    "reciprocal": "1/x",
    "relu": "relu",
    "sigmoid": "σ",
    "sin": "sin",
    "sqrt": "√x",
    "square": "x²",
    "subtract": "−",
    "sum": "Σ",
    "tanh": "tanh",
}

_PATTERNS: Final = {
    "abs": "|{}|",
    "add": "{} + {}",
    "divide": "{} ÷ {}",
    "dot": "{} · {}",
    "matmul": "{} @ {}",
    "multiply": "{} × {}",
    "negative": "−{}",
    "power": "{}^{}",
    "reciprocal": "1/{}",
    "sqrt": "√{}",
    "square": "{}²",
    "subtract": "{} − {}",
}
_BARE_AT_FIRST: Final = frozenset({"abs", "add", "divide", "dot", "matmul", "multiply", "subtract"})


def written(gate: str, operands: Sequence[str]) -> str:
    """Return the call of a gate as it is written, such as `w × x`; operands are names or numbers."""
    pattern = _PATTERNS.get(gate, "")
    if pattern.count("{}") != len(operands):
        return f"{SYMBOLS.get(gate, gate)}({', '.join(operands)})"
    bare = int(gate in _BARE_AT_FIRST)
    return pattern.format(*operands[:bare], *(f"({x})" if x.startswith("-") else x for x in operands[bare:]))
