"""What the families of elementwise gates share: the refusal of complex numbers, and examples off kinks and poles."""

import numpy as np

from graphsvc.arrays import Array, ArraySpec
from graphsvc.errors import DtypeError
from graphsvc.gate import Elementwise

__all__ = ["RealElementwise", "complex_operand", "routed", "signed_operand"]


class RealElementwise(Elementwise):
    """Base of the gates that mean nothing for complex operands."""

    def infer(self, *operands: ArraySpec) -> ArraySpec | tuple[ArraySpec, ...] | None:
        """Refuse complex operands, and infer as every elementwise gate does.

        Raises:
            DtypeError: An operand is complex.
        """
        for position, operand in enumerate(operands):
            if operand.dtype.kind == "c":
                name = self.signature.operand_name(position)
                msg = f"Operand {name!r} is {operand.dtype}, and the gate takes no complex numbers."
                msg += " Take the 'real' part, the 'imag' part or the 'abs' of it."
                raise DtypeError(msg)
        return super().infer(*operands)


def signed_operand() -> Array:
    """Return numbers of either sign for examples, none of them 0 or whole, all within 1. Shape `(2, 3)`."""
    return np.array([[0.75, -0.5, 0.3], [-0.9, 0.25, -0.6]])


def complex_operand() -> Array:
    """Return complex numbers for examples, in every quadrant and off every branch cut. Shape `(4,)`."""
    return np.array([0.5 + 1.25j, -0.75 + 0.5j, -0.4 - 0.8j, 1.5 - 0.3j])


def routed(dz: Array, chosen: Array, other: Array) -> Array:
    """Send `dz` where this operand was chosen, half of it where the other was as well."""
    return np.where(chosen, np.where(other, 0.5 * dz, dz), 0)
