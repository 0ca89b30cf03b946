"""`graphsvc hessian`: the second derivatives by every pair of inputs."""

import click

from graphsvc.cli.arguments import read_inputs
from graphsvc.cli.derivatives import asked, command_options, print_blocks, weights_option, wrt_option

__all__ = ["hessian"]


@click.command()
@command_options
@wrt_option
@weights_option
def hessian(
    graph: str,
    inputs: tuple[str, ...],
    wanted: tuple[str, ...],
    wrt: tuple[str, ...],
    arriving: tuple[str, ...],
    *,
    as_json: bool,
    target: str | None,
    timeout: float,
) -> None:
    """Print the second derivatives of GRAPH: for each pair of inputs, of the shape of the one and then the other.

    GRAPH is an expression or the name of a JSON file. A value is a number, a JSON list, @FILE.npy
    or @FILE.npz:ARRAY.

    \b
    Example:
      graphsvc hessian "f = x**2 * y" x=3 y=2
    """
    blocks = asked(
        "hessian",
        graph,
        inputs,
        target=target,
        timeout=timeout,
        wrt=wrt,
        output_gradients=read_inputs(arriving),
        outputs=wanted,
    )
    print_blocks(blocks, as_json=as_json, what="hessian")
