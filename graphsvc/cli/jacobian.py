"""`graphsvc jacobian`: the derivatives of every output by every input."""

import click

from graphsvc.cli.derivatives import asked, command_options, print_blocks, wrt_option

__all__ = ["jacobian"]


@click.command()
@command_options
@wrt_option
def jacobian(
    graph: str,
    inputs: tuple[str, ...],
    wanted: tuple[str, ...],
    wrt: tuple[str, ...],
    *,
    as_json: bool,
    target: str | None,
    timeout: float,
) -> None:
    """Print the derivatives of the outputs of GRAPH: for each, of its shape followed by that of the input.

    GRAPH is an expression or the name of a JSON file. A value is a number, a JSON list, @FILE.npy
    or @FILE.npz:ARRAY.

    \b
    Example:
      graphsvc jacobian "z = W @ x" "W=[[1,2],[3,4]]" "x=[5,6]" --wrt x
    """
    blocks = asked("jacobian", graph, inputs, target=target, timeout=timeout, wrt=wrt, outputs=wanted)
    print_blocks(blocks, as_json=as_json, what="jacobian")
