"""`sum((x - 1)**2)` served by Philote."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import philote_mdo.general as philote


class Squares(philote.ExplicitDiscipline):
    """The discipline; the client says in the option `n` how long the vector is."""

    def initialize(self) -> None:
        """Declare the option."""
        self.n = 1
        self.add_option("n", "int")

    def set_options(self, options: dict[str, Any]) -> None:
        """Take the option."""
        self.n = int(options["n"])

    def setup(self) -> None:
        """Declare input and output."""
        self.add_input("x", shape=(self.n,))
        self.add_output("f", shape=(1,))

    def setup_partials(self) -> None:
        """Declare the gradient."""
        self.declare_partials("f", "x")

    def compute(self, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
        """Compute the value."""
        outputs["f"] = np.array([np.sum((inputs["x"] - 1) ** 2)])

    def compute_partials(self, inputs: dict[str, np.ndarray], partials: dict[tuple[str, str], np.ndarray]) -> None:
        """Compute the gradient."""
        partials["f", "x"] = 2 * (inputs["x"] - 1)


server = grpc.server(
    ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
)
philote.ExplicitServer(discipline=Squares()).attach_to_server(server)
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
