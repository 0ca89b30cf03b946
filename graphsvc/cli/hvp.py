"""`graphsvc hvp`: how gradients move along a direction of the inputs."""

import click

from graphsvc.cli.printing import print_parts
from graphsvc.cli.question import Question, question_options

__all__ = ["hvp"]


@click.command()
@question_options("along", "vectors", "wrt", "outputs", "output_gradients")
def hvp(question: Question, *, as_json: bool) -> None:
    """Print input gradients of GRAPH, and how fast they move along a direction: the Hessian times a vector.

    GRAPH is an expression or the name of a JSON file. A value is a number, a JSON list, @FILE.npy
    or @FILE.npz:ARRAY.

    \b
    Example:
      graphsvc hvp "f = sum(sin(x) * y)" "x=[0.1,0.2]" "y=[1,2]" --along "x=[1,0]"
    """
    gradients, products = question.answer("hvp")
    print_parts({"input_gradients": gradients, "products": products}, as_json=as_json)
