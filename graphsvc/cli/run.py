"""`graphsvc run`: outputs alone."""

import click

from graphsvc.cli.printing import (
    observations_to_data,
    print_arrays,
    print_json,
    print_observations,
    results_to_data,
)
from graphsvc.cli.question import Question, question_options

__all__ = ["run"]


@click.command()
@question_options("outputs", "debug", "profile")
def run(question: Question, *, as_json: bool) -> None:
    """Print the outputs of GRAPH.

    GRAPH is an expression or the name of a JSON file. A value is a number, a JSON list, @FILE.npy
    or @FILE.npz:ARRAY.

    \b
    Example:
      graphsvc run "y = softmax(x)" "x=[1,2,3]"
      graphsvc run "y = softmax(x)" "x=[1,2,3]" --profile
    """
    outputs, gradients = question.answer("value_and_grad", wrt=())
    debug = "debug" in question.options
    if as_json:
        print_json(results_to_data(outputs, None) | observations_to_data(gradients, debug=debug))
    else:
        print_arrays(outputs, None)
        print_observations(gradients, debug=debug)
