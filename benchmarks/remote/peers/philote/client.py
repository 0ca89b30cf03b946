"""Philote's client: its protocol has one stream for the value and one for the gradient.

A server has one state for all its clients, so the length of the vector is set when it changes.
"""

import grpc
import numpy as np
import philote_mdo.general as philote
from turns import Call, take_turns, vector

_lengths: dict[str, int] = {}


def prepare(port: int, n: int) -> Call:
    """Return a call."""
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    client = philote.ExplicitClient(channel=grpc.insecure_channel(f"127.0.0.1:{port}", options=unlimited))
    x = vector(n)

    def value_and_grad() -> tuple[float, np.ndarray]:
        if _lengths.get("now") != n:
            client.send_stream_options()
            client.send_options({"n": n})
            client.run_setup()
            client.get_variable_definitions()
            client.get_partials_definitions()
            _lengths["now"] = n
        value = client.run_compute({"x": x})["f"][0]
        return value, client.run_compute_partials({"x": x})["f", "x"]

    return value_and_grad


take_turns({"": prepare})
