"""What the commands for derivatives have in common: their options, where they run, and what they print."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from rich.text import Text

from graphsvc.arrays import Array
from graphsvc.cli.arguments import graph_argument, inputs_argument, read_graph, read_inputs, remote_options
from graphsvc.cli.printing import print_json, print_table, shown
from graphsvc.plaindata import array_to_data

__all__ = ["along_options", "asked", "command_options", "print_blocks", "print_parts", "weights_option", "wrt_option"]

_F = TypeVar("_F", bound=Callable[..., Any])

wrt_option = click.option("--wrt", multiple=True, metavar="NAME", help="Only by this input; may be repeated.")
weights_option = click.option(
    "--output-gradient",
    "arriving",
    multiple=True,
    metavar="NAME=VALUE",
    help="The gradient that arrives at an output; 1 for a single number. May be repeated.",
)


def command_options(command: _F) -> _F:
    """Add the graph, its inputs, `--output`, `--json`, and where it runs."""
    command = remote_options(command)
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
    command = click.option(
        "--output", "wanted", multiple=True, metavar="NAME", help="Only this output; may be repeated."
    )(command)
    return graph_argument(inputs_argument(command))


def along_options(command: _F) -> _F:
    """Add `--along` and `--vectors`."""
    command = click.option("--vectors", type=int, help="How many vectors: the first axis of each direction.")(command)
    return click.option(
        "--along",
        multiple=True,
        required=True,
        metavar="NAME=VALUE",
        help="How fast an input moves, one number for each element; may be repeated.",
    )(command)


def asked(
    method: str, graph: str, inputs: tuple[str, ...], *, target: str | None, timeout: float, **keywords: Any
) -> Any:
    """Ask a graph, here or on a server, by the method of that name; what is empty is left out."""
    made = read_graph(graph)
    values = read_inputs(inputs, made)
    keywords = {key: value for key, value in keywords.items() if value not in ((), {}, None)}
    if target is None:
        return getattr(made, method)(values, **keywords)
    # gRPC takes a quarter of a second to import, which what runs here does not need.
    from graphsvc.client import connect

    with connect(target, timeout=timeout) as client:
        return getattr(client, method)(made, values, **keywords)


def print_parts(parts: Mapping[str, Mapping[str, Array]], *, as_json: bool) -> None:
    """Print arrays by what they are and by name: values in green, derivatives in red."""
    if as_json:
        print_json({what: {n: array_to_data(a) for n, a in arrays.items()} for what, arrays in parts.items()})
        return
    rows = [
        (what.replace("_", " ").removesuffix("s"), name, Text(shown(a), style="green" if what == "outputs" else "red"))
        for what, arrays in parts.items()
        for name, a in arrays.items()
    ]
    print_table(("", "name", "value"), rows)


def print_blocks(blocks: Mapping[str, Mapping[str, Array]], *, as_json: bool, what: str) -> None:
    """Print a matrix of derivatives, block by block."""
    if as_json:
        print_json({what: {of: {by: array_to_data(a) for by, a in row.items()} for of, row in blocks.items()}})
        return
    rows = [(of, by, Text(shown(a), style="red")) for of, row in blocks.items() for by, a in row.items()]
    print_table(("of", "by", "derivatives"), rows)
