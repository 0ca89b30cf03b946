"""`sum((x - 1)**2)` served by pytensor-federated."""

import asyncio
import sys

import grpclib.server
import numpy as np
from pytensor_federated import common, service


def squares(x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return value and gradient."""
    shifted = x - 1
    return np.asarray(np.sum(shifted**2)), [2 * shifted]


async def main() -> None:
    """Serve until somebody ends the process."""
    server = grpclib.server.Server([service.ArraysToArraysService(common.wrap_logp_grad_func(squares))])
    await server.start("127.0.0.1", int(sys.argv[1]))
    await server.wait_closed()


asyncio.run(main())
