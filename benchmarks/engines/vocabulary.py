"""The words that works are written in, beside Python's operators. Each engine says them in its own language."""

from typing import Any

__all__ = ["EPSILON", "Vocabulary"]

EPSILON = 1e-5
"""What layer norm adds to the variance."""


class Vocabulary:
    """Words of words, for engines that have none of their own. The plain ones are each engine's."""

    exp: Any
    mean: Any
    """Along the last axis, which stays with length 1."""
    relu: Any
    sigmoid: Any
    softmax_cross_entropy: Any
    """Of scores `(n, classes)` and integer labels `(n,)`, averaged over the rows."""
    sqrt: Any
    sum: Any
    tanh: Any

    def affine(self, x: Any, w: Any, b: Any) -> Any:
        """`x @ w + b`."""
        return x @ w + b

    def sum_square(self, x: Any) -> Any:
        """Sum of squares."""
        return self.sum(x * x)

    def layer_norm(self, x: Any, gain: Any, bias: Any) -> Any:
        """Rows less their mean, over their standard deviation, with gain and bias."""
        centred = x - self.mean(x)
        deviation = self.sqrt(self.mean(centred * centred) + EPSILON)
        return centred * (1 / deviation) * gain + bias
