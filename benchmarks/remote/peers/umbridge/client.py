"""UM-Bridge's client: its protocol has one request for the value and one for the gradient."""

import numpy as np
import umbridge
from turns import Call, take_turns, vector


def prepare(port: int, n: int) -> Call:
    """Return a call."""
    model = umbridge.HTTPModel(f"http://127.0.0.1:{port}", "squares")
    config = {"n": n}
    x = vector(n)

    def value_and_grad() -> tuple[float, np.ndarray]:
        parameters = [x.tolist()]
        value = model(parameters, config)[0][0]
        return value, np.asarray(model.gradient(0, 0, parameters, [1.0], config))

    return value_and_grad


take_turns({"": prepare})
