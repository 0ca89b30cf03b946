"""`graphsvc grad`: outputs and input gradients."""

import click

from graphsvc.cli.arguments import connected
from graphsvc.cli.printing import (
    observations_to_data,
    print_arrays,
    print_drawing,
    print_json,
    print_observations,
    results_to_data,
)
from graphsvc.cli.question import Question, check_gates, question_options

__all__ = ["grad"]


@click.command()
@question_options("wrt", "outputs", "output_gradients", "debug", "profile", "draw")
def grad(question: Question, *, as_json: bool) -> None:
    """Print outputs and input gradients of GRAPH.

    GRAPH is an expression or the name of a JSON file. A value is a number, a JSON list, @FILE.npy
    or @FILE.npz:ARRAY.

    \b
    Example:
      graphsvc grad "f = (x + y) * z" x=-2 y=5 z=-4
      graphsvc grad "f = sum((W @ x)**2)" "W=[[0.1,0.5],[-0.3,0.8]]" "x=[0.2,0.4]" --wrt x --json
      graphsvc grad "f = (x + y) * z" x=-2 y=5 z=-4 --draw
      graphsvc grad "f = sum(where(x > 0, log(x), 0))" "x=[0,1]" --debug
    """
    if "draw" in question.options:
        _draw(question, as_json=as_json)
        return
    outputs, gradients = question.answer("value_and_grad")
    debug = "debug" in question.options
    if as_json:
        print_json(results_to_data(outputs, gradients) | observations_to_data(gradients, debug=debug))
    else:
        print_arrays(outputs, gradients)
        print_observations(gradients, debug=debug)


def _draw(question: Question, *, as_json: bool) -> None:
    if as_json or question.options.keys() & {"debug", "profile"}:
        msg = "--draw is a picture of its own. Leave out --json, --debug and --profile."
        raise click.UsageError(msg)
    if question.target is None:
        check_gates(question.graph)
    asked = {name: value for name, value in question.options.items() if name != "draw"}
    with connected(question.target, question.timeout) as client:
        print_drawing(question.graph.draw(question.inputs, through=client, **asked).picture)
