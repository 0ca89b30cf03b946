"""`sum((x - 1)**2)` as a Tesseract."""

from typing import Any

import numpy as np
from pydantic import BaseModel
from tesseract_core.runtime import Array, Differentiable, Float64, ShapeDType


class InputSchema(BaseModel):
    """What it takes."""

    x: Differentiable[Array[(None,), Float64]]


class OutputSchema(BaseModel):
    """What it gives."""

    f: Differentiable[Float64]


def apply(inputs: InputSchema) -> OutputSchema:
    """Return the value."""
    return OutputSchema(f=np.sum((inputs.x - 1) ** 2))


def vector_jacobian_product(
    inputs: InputSchema, vjp_inputs: set[str], vjp_outputs: set[str], cotangent_vector: dict[str, Any]
) -> dict[str, Any]:
    """Return the gradient."""
    return {"x": 2 * (inputs.x - 1) * cotangent_vector["f"]}


def abstract_eval(abstract_inputs: Any) -> dict[str, Any]:
    """Return the shape of the value."""
    return {"f": ShapeDType(shape=(), dtype="float64")}
