"""Cost: what a gate takes beyond what its operands and outputs tell."""

from typing import NamedTuple

__all__ = ["Cost"]


class Cost(NamedTuple):
    """What a gate takes, as far as its operands and outputs do not tell it.

    Attributes:
        flops: Floating-point operations of `forward`; backward is taken to need twice as many.
        scratch_bytes: Bytes that `forward` or a backward takes at most at one time beside operands, outputs and
            gradients, with what it saves for the backward pass.
        calls: How many gates `forward` calls in graphs that the gate holds. A run can be stopped between two of them.
        dearest: Floating-point operations of the gate among these that needs most.
    """

    flops: int
    scratch_bytes: int
    calls: int = 0
    dearest: int = 0

    def times(self, count: int, scratch_bytes: int = 0) -> "Cost":
        """Return the cost of `count` runs, one after the other, with so many bytes kept beside them."""
        return self._replace(
            flops=count * self.flops,
            scratch_bytes=self.scratch_bytes + scratch_bytes,
            calls=count * self.calls,
        )
