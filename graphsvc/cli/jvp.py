"""`graphsvc jvp`: how outputs move along a direction of the inputs."""

import click

from graphsvc.cli.arguments import read_inputs
from graphsvc.cli.derivatives import along_options, asked, command_options, print_parts

__all__ = ["jvp"]


@click.command()
@command_options
@along_options
def jvp(
    graph: str,
    inputs: tuple[str, ...],
    wanted: tuple[str, ...],
    along: tuple[str, ...],
    *,
    vectors: int | None,
    as_json: bool,
    target: str | None,
    timeout: float,
) -> None:
    """Print outputs of GRAPH, and how fast they move along a direction: the Jacobian times a vector.

    GRAPH is an expression or the name of a JSON file. A value is a number, a JSON list, @FILE.npy
    or @FILE.npz:ARRAY.

    \b
    Example:
      graphsvc jvp "f = (x + y) * z" x=-2 y=5 z=-4 --along x=1 --along z=0.5
    """
    outputs, tangents = asked(
        "jvp",
        graph,
        inputs,
        target=target,
        timeout=timeout,
        tangents=read_inputs(along),
        outputs=wanted,
        vectors=vectors,
    )
    print_parts({"outputs": outputs, "output_tangents": tangents}, as_json=as_json)
