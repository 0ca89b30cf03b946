"""A sigmoid neuron, as one gate and as the lecture takes it apart; the gradients come from a server."""

import graphsvc
from graphsvc.testing import serving

ONE_GATE = "f = sigmoid(w0 * x0 + w1 * x1 + w2)"
APART = "f = 1 / (1 + exp(-1 * (w0 * x0 + w1 * x1 + w2)))"


def main() -> None:
    """Print the neuron's value and gradients."""
    inputs = {"w0": 2.0, "x0": -1.0, "w1": -3.0, "x1": -2.0, "w2": -3.0}
    with serving() as target, graphsvc.connect(target) as client:
        for expression in (ONE_GATE, APART):
            outputs, gradients = client.value_and_grad(graphsvc.parse(expression), inputs)
            print(expression)
            print(f"  f = {outputs['f']:.16g}")
            for name, gradient in gradients.items():
                print(f"  df/d{name} = {gradient:.16g}")


if __name__ == "__main__":
    main()
