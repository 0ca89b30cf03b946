"""`graphsvc grad`: outputs and input gradients."""

import click

from graphsvc.cli.arguments import (
    connected,
    evaluate,
    graph_argument,
    inputs_argument,
    observing_options,
    read_graph,
    read_inputs,
    remote_options,
)
from graphsvc.cli.printing import (
    observations_to_data,
    print_arrays,
    print_drawing,
    print_json,
    print_observations,
    results_to_data,
)

__all__ = ["grad"]


@click.command()
@graph_argument
@inputs_argument
@click.option("--wrt", multiple=True, metavar="NAME", help="Only the gradient of this input; may be repeated.")
@click.option("--output", "wanted", multiple=True, metavar="NAME", help="Only this output; may be repeated.")
@click.option(
    "--output-gradient",
    "arriving",
    multiple=True,
    metavar="NAME=VALUE",
    help="The gradient that arrives at an output; 1 for a single number. May be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--draw", "drawn", is_flag=True, help="Draw the graph as a tree, with every value and gradient.")
@observing_options
@remote_options
def grad(
    graph: str,
    inputs: tuple[str, ...],
    wrt: tuple[str, ...],
    wanted: tuple[str, ...],
    arriving: tuple[str, ...],
    *,
    as_json: bool,
    drawn: bool,
    debug: bool,
    profile: bool,
    target: str | None,
    timeout: float,
) -> None:
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
    if drawn and (as_json or debug or profile):
        msg = "--draw is a picture of its own. Leave out --json, --debug and --profile."
        raise click.UsageError(msg)
    made = read_graph(graph)
    if drawn:
        question = (read_inputs(inputs, made), read_inputs(arriving) or None, wrt or None, wanted or None)
        with connected(target, timeout) as client:
            print_drawing(made.draw(*question, through=client).picture)
        return
    outputs, gradients = evaluate(
        made,
        read_inputs(inputs, made),
        target=target,
        timeout=timeout,
        wrt=wrt or None,
        output_gradients=read_inputs(arriving) or None,
        outputs=wanted or None,
        debug=debug,
        profile=profile,
    )
    if as_json:
        observed = observations_to_data(gradients, debug=debug)
        print_json(results_to_data(outputs, gradients) | observed)
    else:
        print_arrays(outputs, gradients)
        print_observations(gradients, debug=debug)
