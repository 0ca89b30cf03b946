"""What the families of activations share: a logistic function with derivatives, subgradients, examples."""

from collections.abc import Iterable

import numpy as np

from graphsvc.arrays import Array
from graphsvc.gate import Elementwise, Example

__all__ = ["least", "logistic", "softplus", "two_sided_examples"]


def logistic(t: Array) -> Array:
    """Return `1 / (1 + exp(-t))` by exponentials of what is negative.

    Nothing overflows on the way, so a derivative of this formula is finite far out, too; and at 0, where that of the
    absolute value is none.
    """
    e = np.exp(np.where(t < 0, t, -t))
    return np.where(t < 0, e, 1) / (1 + e)


def softplus(t: Array) -> Array:
    """Return `log(1 + exp(t))`, likewise."""
    return np.where(t < 0, 0, t) + np.log1p(np.exp(np.where(t < 0, t, -t)))


def least(left: float, right: float) -> float:
    """Return the subgradient of smallest size at a kink with slopes `left` and `right`."""
    return 0.0 if left * right <= 0 else min(left, right, key=abs)


def two_sided_examples(gate: Elementwise) -> Iterable[Example]:
    """Yield a gate of one operand on both sides of its kinks, and on a single number."""
    yield Example(gate, np.array([[1.5, -0.6, 7.0], [-1.25, 0.25, -3.5]]))
    yield Example(gate, np.array(0.75))
