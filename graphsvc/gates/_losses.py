"""What the families of losses share: one number for each sample, and how these are put together."""

from math import prod
from typing import Annotated, Any
from typing import Literal as OneOf

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, divided, reduce_mean, reduce_sum, require_floating, widened
from graphsvc.errors import ShapeError
from graphsvc.gate import Gate

__all__ = ["Loss", "PairLoss", "loss_dtype", "widened_all"]


class Loss(Gate):
    """Base of the losses."""

    reduction: Annotated[
        OneOf["mean", "sum", "none"],
        Field(description="Whether the losses of the samples are averaged, summed, or given one by one."),
    ] = "mean"

    def _reduced(self, losses: Array) -> Array:
        if self.reduction == "none":
            return losses
        return reduce_sum(losses) if self.reduction == "sum" else reduce_mean(losses)

    def _reduced_spec(self, samples: tuple[int, ...], name: str, scores: ArraySpec) -> ArraySpec:
        require_floating(name, scores)
        return ArraySpec(samples if self.reduction == "none" else (), scores.dtype)

    def _shared(self, dz: Array, samples: tuple[int, ...]) -> Array:
        """Return the gradient of each sample's loss. Shape `samples`."""
        dz = widened(dz)
        if self.reduction == "mean":
            dz = divided(dz, prod(samples))
        return np.broadcast_to(dz, samples)


class PairLoss(Loss):
    """Base of the losses that compare `x` and `target` element by element. Their shapes must be equal.

    An integer or boolean operand, such as a count or a label, takes the dtype of the other.
    """

    def infer(self, x: ArraySpec, target: ArraySpec) -> ArraySpec:
        """Return the spec of the loss: a number, or one for each element.

        Raises:
            ShapeError: The shapes differ.
            DtypeError: None of the operands is floating point, or one is complex.
        """
        if x.shape != target.shape:
            msg = f"Operand and target must have one shape, got {x.shape} and {target.shape}. Reshape one of them."
            raise ShapeError(msg)
        return self._reduced_spec(x.shape, "x", ArraySpec(x.shape, loss_dtype(x.dtype, target.dtype)))


def loss_dtype(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a loss: that of the operands which are neither integers nor booleans, if there are any."""
    floating = [dtype for dtype in dtypes if dtype.kind not in "biu"]
    return np.result_type(*(floating or dtypes))


def widened_all(*operands: Array) -> tuple[Array, ...]:
    """Return operands so that a formula may be computed in them, integers and booleans as what they are beside."""
    dtype = loss_dtype(*(operand.dtype for operand in operands))
    wide = np.dtype(np.float32) if dtype == np.float16 else dtype
    return tuple(x.astype(wide) if x.dtype.kind in "biu" else widened(x) for x in operands)
