"""`sum((x - 1)**2)` served by UM-Bridge."""

import sys
from functools import partial
from typing import Any

import aiohttp.web
import numpy as np
import umbridge


class Squares(umbridge.Model):
    """The model; the client says in `config` how long the vector is."""

    def __init__(self) -> None:
        super().__init__("squares")

    def get_input_sizes(self, config: dict[str, Any]) -> list[int]:
        """Return the length of the vector."""
        return [config["n"]]

    def get_output_sizes(self, config: dict[str, Any]) -> list[int]:
        """Return that it gives one number."""
        return [1]

    def supports_evaluate(self) -> bool:
        """Return that it has values."""
        return True

    def supports_gradient(self) -> bool:
        """Return that it has gradients."""
        return True

    def __call__(self, parameters: list[list[float]], config: dict[str, Any]) -> list[list[float]]:
        """Return the value."""
        return [[float(np.sum((np.asarray(parameters[0]) - 1) ** 2))]]

    def gradient(
        self, out_wrt: int, in_wrt: int, parameters: list[list[float]], sens: list[float], config: dict[str, Any]
    ) -> list[float]:
        """Return the gradient."""
        return (2 * (np.asarray(parameters[0]) - 1) * sens[0]).tolist()


# It has no setting for the address, and would listen on all of the machine's.
aiohttp.web.run_app = partial(aiohttp.web.run_app, host="127.0.0.1")
umbridge.serve_models([Squares()], int(sys.argv[1]), max_workers=1)
