"""`graphsvc hessian`: the second derivatives by every pair of inputs."""

import click

from graphsvc.cli.printing import print_blocks
from graphsvc.cli.question import Question, question_options

__all__ = ["hessian"]


@click.command()
@question_options("wrt", "outputs", "output_gradients")
def hessian(question: Question, *, as_json: bool) -> None:
    """Print the second derivatives of GRAPH: for each pair of inputs, of the shape of the one and then the other.

    GRAPH is an expression or the name of a JSON file. A value is a number, a JSON list, @FILE.npy
    or @FILE.npz:ARRAY.

    \b
    Example:
      graphsvc hessian "f = x**2 * y" x=3 y=2
    """
    print_blocks(question.answer("hessian"), as_json=as_json, what="hessian")
