"""`graphsvc hvp`: how gradients move along a direction of the inputs."""

import click

from graphsvc.cli.arguments import read_inputs
from graphsvc.cli.derivatives import along_options, asked, command_options, print_parts, weights_option, wrt_option

__all__ = ["hvp"]


@click.command()
@command_options
@wrt_option
@weights_option
@along_options
def hvp(
    graph: str,
    inputs: tuple[str, ...],
    wanted: tuple[str, ...],
    wrt: tuple[str, ...],
    arriving: tuple[str, ...],
    along: tuple[str, ...],
    *,
    vectors: int | None,
    as_json: bool,
    target: str | None,
    timeout: float,
) -> None:
    """Print input gradients of GRAPH, and how fast they move along a direction: the Hessian times a vector.

    GRAPH is an expression or the name of a JSON file. A value is a number, a JSON list, @FILE.npy
    or @FILE.npz:ARRAY.

    \b
    Example:
      graphsvc hvp "f = sum(sin(x) * y)" "x=[0.1,0.2]" "y=[1,2]" --along "x=[1,0]"
    """
    gradients, products = asked(
        "hvp",
        graph,
        inputs,
        target=target,
        timeout=timeout,
        directions=read_inputs(along),
        wrt=wrt,
        output_gradients=read_inputs(arriving),
        outputs=wanted,
        vectors=vectors,
    )
    print_parts({"input_gradients": gradients, "products": products}, as_json=as_json)
