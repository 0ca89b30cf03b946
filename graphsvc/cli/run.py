"""`graphsvc run`: outputs alone."""

import click

from graphsvc.cli.arguments import (
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
    print_json,
    print_observations,
    results_to_data,
)

__all__ = ["run"]


@click.command()
@graph_argument
@inputs_argument
@click.option("--output", "wanted", multiple=True, metavar="NAME", help="Only this output; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@observing_options
@remote_options
def run(
    graph: str,
    inputs: tuple[str, ...],
    wanted: tuple[str, ...],
    *,
    as_json: bool,
    debug: bool,
    profile: bool,
    target: str | None,
    timeout: float,
) -> None:
    """Print the outputs of GRAPH.

    GRAPH is an expression or the name of a JSON file. A value is a number, a JSON list, @FILE.npy
    or @FILE.npz:ARRAY.

    \b
    Example:
      graphsvc run "y = softmax(x)" "x=[1,2,3]"
      graphsvc run "y = softmax(x)" "x=[1,2,3]" --profile
    """
    made = read_graph(graph)
    outputs, gradients = evaluate(
        made,
        read_inputs(inputs, made),
        target=target,
        timeout=timeout,
        wrt=(),
        outputs=wanted or None,
        debug=debug,
        profile=profile,
    )
    if as_json:
        print_json(results_to_data(outputs, None) | observations_to_data(gradients, debug=debug))
    else:
        print_arrays(outputs, None)
        print_observations(gradients, debug=debug)
