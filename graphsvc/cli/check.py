"""`graphsvc check`: is this a graph, and are its gradients right?"""

import sys
from typing import Any

import click

from graphsvc.arrays import spec_of
from graphsvc.cli.arguments import graph_argument, inputs_argument, read_graph, read_inputs, remote_options
from graphsvc.cli.printing import print_table
from graphsvc.cli.question import check_gates
from graphsvc.engine.explanation import Explanation
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.errors import MissingInputError
from graphsvc.testing.differences import GradientCheck, check_gradients

__all__ = ["check"]


@click.command()
@graph_argument
@inputs_argument
@click.option("--gradients", is_flag=True, help="Compare the gradients at these inputs with central differences.")
@click.option("--plan", is_flag=True, help="Show what is fused at these inputs, what is not and why, and the memory.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random output gradients and directions.")
@remote_options
def check(
    graph: str,
    inputs: tuple[str, ...],
    *,
    gradients: bool,
    plan: bool,
    seed: int,
    target: str | None,
    timeout: float,
) -> None:
    """Check names, gates, attributes and, where inputs are given, shapes and gradients of GRAPH.

    Gradients are compared along random directions, so choose inputs off kinks and ties. With --target the server
    checks, whose gates need not be here; at inputs it runs the graph.

    \b
    Example:
      graphsvc check "f = x * sigmoid(y)"
      graphsvc check "f = x * sigmoid(y)" x=2 "y=[0.5,-1]" --gradients
      graphsvc check "f = sum(x * sigmoid(y))" x=2 "y=[0.5,-1]" --plan
    """
    made = read_graph(graph)
    given = read_inputs(inputs, made)
    if target is None:
        check_gates(made)
        click.echo(made.summary(given or None))
        if plan:
            _print_plan(made.explain(given))
        if gradients:
            _print_checks(check_gradients(made, given, seed=seed))
        return
    if plan:
        msg = "--plan shows how the graph would run here. Leave out --target, or --plan."
        raise click.UsageError(msg)
    # gRPC takes a quarter of a second to import, which what runs here does not need.
    from graphsvc.client.client import connect

    _check_there(made, target, timeout)
    click.echo(f"The server at {target} has every gate of the graph, and takes it.")
    with connect(target, timeout=timeout) as client:
        remote = client.graph(made)
        if given:
            outputs, _ = remote.value_and_grad(given, wrt=())
            print_table(("output", ""), [(name, str(spec_of(array))) for name, array in outputs.items()])
        if gradients:
            _print_checks(check_gradients(made, given, seed=seed, runner=remote))


def _check_there(graph: ComputationalGraph, target: str, timeout: float) -> None:
    """Have a server check a graph: of a question without inputs it judges the graph first, and then asks for them."""
    import grpc

    from graphsvc.client.exchange import check_target
    from graphsvc.v1 import service_pb2, service_pb2_grpc
    from graphsvc.wire.codec import graph_from_document
    from graphsvc.wire.status import error_from_rpc

    request = service_pb2.EvaluateRequest(graph=graph_from_document(graph.document()))
    with grpc.insecure_channel(check_target(target)) as channel:
        stub: Any = service_pb2_grpc.GraphServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            stub.Evaluate(request, timeout=timeout)
        except grpc.RpcError as error:
            refused = error_from_rpc(error, target)
            if not isinstance(refused, MissingInputError):
                raise refused from None


def _print_checks(results: list[GradientCheck]) -> None:
    """Print comparisons; end with exit code 1 where one is off."""
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
