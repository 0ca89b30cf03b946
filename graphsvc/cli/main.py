"""The command `graphsvc`: finds its subcommands, and turns errors into exit codes."""

import importlib
import re
from typing import Any, Final

import click

from graphsvc import __version__
from graphsvc.errors import GraphsvcError, UnreachableError

__all__ = ["COMMANDS", "main"]

COMMANDS: Final = {
    "grad": "Outputs and input gradients of a graph.",
    "jvp": "How outputs move along a direction of the inputs.",
    "hvp": "How gradients move along a direction of the inputs.",
    "jacobian": "The derivatives of every output by every input.",
    "hessian": "The second derivatives by every pair of inputs.",
    "run": "Outputs of a graph.",
    "draw": "Draw a graph, with its values and gradients.",
    "check": "Check a graph, and its gradients against central differences.",
    "serve": "Serve gradients over gRPC.",
    "config": "Show the settings of a server, and where each comes from.",
    "gates": "List the gates, or describe one.",
    "plugin": "Look after plugins.",
    "doctor": "Find out what is wrong with this installation, or with a server.",
}
"""Each command is the module `graphsvc.cli.<name>` with a click command of that name."""

_REFUSED: Final = 1
_UNREACHABLE: Final = 3

_FLAGS: Final = (
    (r"output_gradients=\{'([^']+)': \.\.\.\}", r"--output-gradient \1=..."),
    (r"outputs=\['([^']+)'\]", r"--output \1"),
    (r"Ask for no gradients with wrt=\[\]", "Ask for outputs alone with `graphsvc run`"),
    (r"\b(with|of) wrt\b", r"\1 --wrt"),
)
"""How messages name the arguments of Python, and what stands for them on the command line."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called; their help is known without."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"graphsvc.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of graphsvc becomes a message and an exit code."""
        try:
            return super().invoke(ctx)
        except GraphsvcError as error:
            click.echo(f"Error [{error.reason}]: {_in_flags(error.message)}", err=True)
            ctx.exit(_UNREACHABLE if isinstance(error, UnreachableError) else _REFUSED)


def _in_flags(message: str) -> str:
    """Return a message that names arguments of Python with the flags that stand for them here."""
    for argument, flag in _FLAGS:
        message = re.sub(argument, flag, message)
    return message


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="graphsvc")
def main() -> None:
    """Gradients as a service: run a computational graph forward and backward.

    \b
    Example:
      graphsvc grad "f = (x + y) * z" x=-2 y=5 z=-4

    Exit codes: 0 done, 1 refused or a check failed, 2 wrong usage, 3 no server answers.
    """
