"""`graphsvc jacobian`: the derivatives of every output by every input."""

import click

from graphsvc.cli.printing import print_blocks
from graphsvc.cli.question import Question, question_options

__all__ = ["jacobian"]


@click.command()
@question_options("wrt", "outputs")
def jacobian(question: Question, *, as_json: bool) -> None:
    """Print the derivatives of the outputs of GRAPH: for each, of its shape followed by that of the input.

    GRAPH is an expression or the name of a JSON file. A value is a number, a JSON list, @FILE.npy
    or @FILE.npz:ARRAY.

    \b
    Example:
      graphsvc jacobian "z = W @ x" "W=[[1,2],[3,4]]" "x=[5,6]" --wrt x
    """
    print_blocks(question.answer("jacobian"), as_json=as_json, what="jacobian")
