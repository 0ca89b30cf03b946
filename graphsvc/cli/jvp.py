"""`graphsvc jvp`: how outputs move along a direction of the inputs."""

import click

from graphsvc.cli.printing import print_parts
from graphsvc.cli.question import Question, question_options

__all__ = ["jvp"]


@click.command()
@question_options("along", "vectors", "outputs")
def jvp(question: Question, *, as_json: bool) -> None:
    """Print outputs of GRAPH, and how fast they move along a direction: the Jacobian times a vector.

    GRAPH is an expression or the name of a JSON file. A value is a number, a JSON list, @FILE.npy
    or @FILE.npz:ARRAY.

    \b
    Example:
      graphsvc jvp "f = (x + y) * z" x=-2 y=5 z=-4 --along x=1 --along z=0.5
    """
    outputs, tangents = question.answer("jvp")
    print_parts({"outputs": outputs, "output_tangents": tangents}, as_json=as_json)
