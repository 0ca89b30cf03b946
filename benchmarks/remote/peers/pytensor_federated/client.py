"""The client of pytensor-federated: value and gradient in one message each way, over a stream that stays open."""

import numpy as np
from pytensor_federated.common import LogpGradServiceClient
from turns import Call, take_turns, vector


def prepare(port: int, n: int) -> Call:
    """Return a call."""
    client = LogpGradServiceClient("127.0.0.1", port)
    x = vector(n)

    def value_and_grad() -> tuple[np.ndarray, np.ndarray]:
        value, (gradient,) = client.evaluate(x)
        return value, gradient

    return value_and_grad


take_turns({"": prepare})
