"""`graphsvc check`: is this a graph, and are its gradients right?"""

import sys

import click

from graphsvc.cli.arguments import graph_argument, inputs_argument, read_graph, read_inputs
from graphsvc.cli.printing import print_table
from graphsvc.engine.explanation import Explanation
from graphsvc.testing.differences import check_gradients

__all__ = ["check"]


@click.command()
@graph_argument
@inputs_argument
@click.option("--gradients", is_flag=True, help="Compare the gradients at these inputs with central differences.")
@click.option("--plan", is_flag=True, help="Show what is fused at these inputs, what is not and why, and the memory.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random output gradients and directions.")
def check(graph: str, inputs: tuple[str, ...], *, gradients: bool, plan: bool, seed: int) -> None:
    """Check names, gates, attributes and, where inputs are given, shapes and gradients of GRAPH.

    Gradients are compared along random directions, so choose inputs off kinks and ties.

    \b
    Example:
      graphsvc check "f = x * sigmoid(y)"
      graphsvc check "f = x * sigmoid(y)" x=2 "y=[0.5,-1]" --gradients
      graphsvc check "f = sum(x * sigmoid(y))" x=2 "y=[0.5,-1]" --plan
    """
    made = read_graph(graph)
    made.check()
    given = read_inputs(inputs, made)
    click.echo(made.summary(given or None))
    if plan:
        _print_plan(made.explain(given))
    if not gradients:
        return
    results = check_gradients(made, given, seed=seed)
    rows = [
        (r.input, f"{r.computed:.12g}", f"{r.expected:.12g}", f"{r.error:.1e}", "ok" if r.passed else "WRONG")
        for r in results
    ]
    print_table(("input", "gradient along a direction", "central difference", "relative error", ""), rows)
    if not all(result.passed for result in results):
        wrong = ", ".join(repr(result.input) for result in results if not result.passed)
        click.echo(f"Error: the gradients of {wrong} differ from central differences.", err=True)
        sys.exit(1)


def _print_plan(plan: Explanation) -> None:
    """Print what runs together, what does not and why, and the memory."""
    if plan.reason:
        click.echo(str(plan))
        return
    rows = [
        (
            part.how,
            part.gate_list,
            str(part.calls),
            str(part.shape) if part.shape else "",
            str(part.blocks or ""),
            f"{part.nbytes:,}",
            f"{part.node}: {part.reason}" if part.reason else "",
        )
        for part in plan.parts
    ]
    print_table(("runs as", "gates", "calls", "elements", "blocks", "bytes", "not fused because"), rows)
    click.echo(f"Peak {plan.peak_bytes:,} bytes, of which results {plan.result_bytes:,}.", nl=False)
    click.echo(f" Registers {plan.scratch_bytes:,} bytes.")
