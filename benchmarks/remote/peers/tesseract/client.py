"""Tesseract's client: its protocol has one request for the value and one for the gradient."""

from typing import Any

from tesseract_core import Tesseract
from turns import Call, take_turns, vector


def prepare(port: int, n: int) -> Call:
    """Return a call."""
    tesseract = Tesseract.from_url(f"http://127.0.0.1:{port}")
    x = vector(n)

    def value_and_grad() -> tuple[Any, Any]:
        value = tesseract.apply({"x": x})["f"]
        gradients = tesseract.vector_jacobian_product(
            {"x": x}, vjp_inputs=["x"], vjp_outputs=["f"], cotangent_vector={"f": 1.0}
        )
        return value, gradients["x"]

    return value_and_grad


take_turns({"": prepare})
