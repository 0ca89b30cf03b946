"""Training a two-layer network by gradient descent, where a server computes loss and gradients.

Usage: python examples/train_remotely.py [steps]
"""

import sys
from collections.abc import Iterator

import numpy as np

import graphsvc
from graphsvc.testing import serving

EXPRESSION = "loss = sum_square(sigmoid(x @ w1) @ w2 - y)"
LEARNING_RATE = 1e-4


def initial() -> tuple[dict[str, graphsvc.Array], dict[str, graphsvc.Array]]:
    """Return data and weights: 64 samples of 1000 numbers, 100 hidden neurons, 10 outputs."""
    random = np.random.default_rng(0)
    shapes = {"x": (64, 1000), "y": (64, 10), "w1": (1000, 100), "w2": (100, 10)}
    arrays = {name: random.normal(size=shape) for name, shape in shapes.items()}
    weights = {name: arrays.pop(name) for name in ("w1", "w2")}
    return arrays, weights


def training(client: graphsvc.Client, steps: int) -> Iterator[float]:
    """Train, and yield the loss before every step."""
    data, weights = initial()
    # The server keeps the data, so that a step sends the weights alone.
    model = client.graph(graphsvc.parse(EXPRESSION), resident=data)
    for _ in range(steps):
        outputs, gradients = model.value_and_grad(weights)
        yield float(outputs["loss"])
        for name, gradient in gradients.items():
            weights[name] -= LEARNING_RATE * gradient


def main(steps: int = 200) -> None:
    """Train on a server of our own, and print the loss."""
    with serving() as target, graphsvc.connect(target) as client:
        for step, loss in enumerate(training(client, steps)):
            if step % max(1, steps // 10) == 0 or step == steps - 1:
                print(f"step {step:4}  loss {loss:.6f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
