"""The question that a command asks of a graph: the options that say it, and the asking, here or on a server."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import click

from graphsvc.cli.arguments import connected, graph_argument, inputs_argument, read_graph, read_inputs, remote_options
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.registry import default_registry
from graphsvc.errors import UnknownGateError

__all__ = ["OPTIONS", "Question", "check_gates", "question_options"]

_Command: TypeAlias = Callable[..., Any]
_Option: TypeAlias = Callable[[_Command], _Command]

OPTIONS: Final[dict[str, _Option]] = {
    "outputs": click.option(
        "--output", "outputs", multiple=True, metavar="NAME", help="Only this output; may be repeated."
    ),
    "wrt": click.option("--wrt", multiple=True, metavar="NAME", help="Only by this input; may be repeated."),
    "output_gradients": click.option(
        "--output-gradient",
        "output_gradients",
        multiple=True,
        metavar="NAME=VALUE",
        help="The gradient that arrives at an output; 1 for a single number. May be repeated.",
    ),
    "along": click.option(
        "--along",
        multiple=True,
        required=True,
        metavar="NAME=VALUE",
        help="How fast an input moves, one number for each element; may be repeated.",
    ),
    "vectors": click.option("--vectors", type=int, help="How many vectors: the first axis of each direction."),
    "debug": click.option(
        "--debug", is_flag=True, help="Find the gates that first made a NaN or an infinity, and why."
    ),
    "profile": click.option(
        "--profile",
        is_flag=True,
        help="Measure time and bytes of each gate, run one by one; not with --target.",
    ),
    "draw": click.option("--draw", is_flag=True, help="Draw the graph as a tree, with every value and gradient."),
}
"""Options by the argument of `ComputationalGraph`'s methods that each gives."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a graph.

    Attributes:
        graph: The graph.
        inputs: Its inputs by name.
        target: The server that is asked; None is here.
        timeout: Seconds that it may take.
        options: What further options say, by argument of the method; what was not given is left out.
    """

    graph: ComputationalGraph
    inputs: dict[str, object]
    target: str | None
    timeout: float
    options: dict[str, Any]

    def answer(self, method: str, **more: Any) -> Any:
        """Return what the method of that name gives, of the graph or of a client."""
        keywords = self.options | more
        directions = (keywords.pop("along"),) if "along" in keywords else ()
        if self.target is None:
            check_gates(self.graph)
            return getattr(self.graph, method)(self.inputs, *directions, **keywords)
        if "profile" in keywords:
            msg = "--profile measures time here alone. Leave out --target, where the gates of the graph are installed "
            msg += "here, or ask where the server runs."
            raise click.UsageError(msg)
        with connected(self.target, self.timeout) as client:
            return getattr(client, method)(self.graph, self.inputs, *directions, **keywords)


def check_gates(graph: ComputationalGraph) -> None:
    """Check the gates of a graph that runs here; for one that is unknown every plugin is imported, to suggest another.

    Raises:
        GraphError: A gate is not installed, or a node does not fit its gate.
    """
    try:
        graph.check()
    except UnknownGateError:
        default_registry().load_all()
        graph.check()


def question_options(*names: str) -> Callable[[_Command], _Command]:
    """Add GRAPH, its inputs, these options, `--json` and where it runs; the command is given a Question."""

    def decorate(command: _Command) -> _Command:
        @functools.wraps(command)
        def asked(
            graph: str, inputs: tuple[str, ...], *, as_json: bool, target: str | None, timeout: float, **options: Any
        ) -> Any:
            for name in ("along", "output_gradients"):
                if name in options:
                    options[name] = read_inputs(options[name])
            given = {
                name: value for name, value in options.items() if value is not False and value not in ((), {}, None)
            }
            made = read_graph(graph)
            return command(Question(made, read_inputs(inputs, made), target, timeout, given), as_json=as_json)

        json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
        decorated: _Command = graph_argument(inputs_argument(json_option(remote_options(asked))))
        for name in reversed(names):
            decorated = OPTIONS[name](decorated)
        return decorated

    return decorate
