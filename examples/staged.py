"""The staged example of the lecture: a formula taken in stages; every stage can be looked at."""

import graphsvc
from graphsvc.testing import serving

EXPRESSION = """
sig_y = sigmoid(y)
numerator = x + sig_y
sig_x = sigmoid(x)
xpy = x + y
denominator = sig_x + xpy**2
f = numerator / denominator
"""


def main() -> None:
    """Print the value of the formula and its gradients."""
    graph = graphsvc.parse(EXPRESSION)
    inputs = {"x": 3.0, "y": -4.0}
    with serving() as target, graphsvc.connect(target) as client:
        outputs, gradients = client.value_and_grad(graph, inputs)
    print(f"f = {outputs['f']:.16g}")
    for name, gradient in gradients.items():
        print(f"df/d{name} = {gradient:.16g}")


if __name__ == "__main__":
    main()
