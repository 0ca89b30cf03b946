"""`graphsvc draw`: a graph as a picture."""

from pathlib import Path
from typing import Literal

import click

from graphsvc.cli.arguments import connected, graph_argument, inputs_argument, read_graph, read_inputs, remote_options
from graphsvc.cli.printing import print_drawing
from graphsvc.cli.question import OPTIONS, check_gates
from graphsvc.drawing.drawing import FORMATS

__all__ = ["draw"]


@click.command()
@graph_argument
@inputs_argument
@click.option(
    "-o",
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"Write it to this file: {', '.join(f'.{kind}' for kind in FORMATS)}. Without, it is drawn in the terminal.",
)
@OPTIONS["wrt"]
@OPTIONS["outputs"]
@OPTIONS["output_gradients"]
@click.option("--fold", default=150, show_default=True, type=click.IntRange(1), help="Fold graphs of more nodes.")
@click.option(
    "--fold-by",
    type=click.Choice(["name", "block"]),
    default="name",
    show_default=True,
    help="Fold by the part of names before a dot, or what is fused in a run.",
)
@click.option("--unfold", multiple=True, metavar="GROUP", help="Draw this group open; may be repeated.")
@remote_options
def draw(
    graph: str,
    inputs: tuple[str, ...],
    *,
    path: Path | None,
    wrt: tuple[str, ...],
    outputs: tuple[str, ...],
    output_gradients: tuple[str, ...],
    fold: int,
    fold_by: Literal["name", "block"],
    unfold: tuple[str, ...],
    target: str | None,
    timeout: float,
) -> None:
    """Draw GRAPH: values in green, gradients in red.

    Without values for its inputs it is drawn without numbers. PNG and PDF are made by Graphviz, if that is installed.

    \b
    Example:
      graphsvc draw "f = (x + y) * z" x=-2 y=5 z=-4 -o circuit.svg
      graphsvc draw "f = (x + y) * z" x=-2 y=5 z=-4
      graphsvc draw "h = tanh(w @ x); f = sum(h**2)" -o circuit.dot
    """
    if path and path.suffix[1:].lower() not in FORMATS:
        msg = f"{path.name!r} says no format. End its name in {', '.join(f'.{kind}' for kind in FORMATS)}."
        raise click.BadParameter(msg, param_hint="-o")
    made = read_graph(graph)
    given = read_inputs(inputs, made)
    if given and target is None:
        check_gates(made)
    with connected(target, timeout) as client:
        drawing = made.draw(
            given if given or not made.inputs else None,
            output_gradients=read_inputs(output_gradients) or None,
            wrt=wrt or None,
            outputs=outputs or None,
            through=client,
            fold=fold,
            fold_by=fold_by,
            unfold=unfold,
        )
    if path is None:
        print_drawing(drawing.picture)
        return
    try:
        drawing.save(path)
    except OSError as error:
        msg = f"{str(path)!r} cannot be written: {error.strerror}."
        raise click.BadParameter(msg, param_hint="-o") from None
    click.echo(path)
    if drawing.picture.note:
        click.echo(drawing.picture.note, err=True)
