"""The symbols that gates are drawn with; others are boxes with their names."""

from typing import Final

__all__ = ["SYMBOLS"]

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
