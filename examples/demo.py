"""What `make demo` shows: gradients of three graphs, and a network in training, all from a server."""

from neuron import APART
from rich.console import Console
from rich.table import Table
from train_remotely import EXPRESSION, training

import graphsvc
from graphsvc.testing import serving

CASES = {
    "f = (x + y) * z": {"x": -2.0, "y": 5.0, "z": -4.0},
    APART: {"w0": 2.0, "x0": -1.0, "w1": -3.0, "x1": -2.0, "w2": -3.0},
    "f = (x + sigmoid(y)) / (sigmoid(x) + (x + y)**2)": {"x": 3.0, "y": -4.0},
}


def show_case(console: Console, client: graphsvc.Client, expression: str, inputs: dict[str, float]) -> None:
    """Print outputs and input gradients of a graph as a table."""
    outputs, gradients = client.value_and_grad(graphsvc.parse(expression), inputs)
    console.print(f"[bold]{expression}[/]", highlight=False)
    table = Table()
    for column in ("", "value", "gradient"):
        table.add_column(column)
    for name, gradient in gradients.items():
        table.add_row(name, f"[green]{inputs[name]:g}[/]", f"[red]{gradient:.12g}[/]")
    for name, output in outputs.items():
        table.add_row(name, f"[green]{output:.12g}[/]", "[red]1[/]")
    console.print(table)


def main() -> None:
    """Start a server, ask it, and stop it."""
    console = Console()
    with serving() as target, graphsvc.connect(target) as client:
        console.print(f"A server listens on {target}; every number below comes from it.\n")
        for expression, inputs in CASES.items():
            show_case(console, client, expression, inputs)
        console.print(f"[bold]Gradient descent: {EXPRESSION}[/]", highlight=False)
        table = Table()
        table.add_column("step")
        table.add_column("loss")
        for step, loss in enumerate(training(client, 6)):
            table.add_row(str(step), f"{loss:.6f}")
        console.print(table)
    console.print("The server is stopped.")


if __name__ == "__main__":
    main()
