"""`graphsvc serve`: the server."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import click

from graphsvc import __version__
from graphsvc.cli.config import read_settings
from graphsvc.engine.plugins import PluginState
from graphsvc.serving.server import Server, run_server
from graphsvc.serving.settings import Settings, flag_of, unknown_variables

if TYPE_CHECKING:
    from graphsvc.page.app import Page

__all__ = ["serve"]

_F = TypeVar("_F", bound=Callable[..., Any])


def _settings_options(command: _F) -> _F:
    """Add a flag for each setting."""
    for name, field in reversed(Settings.model_fields.items()):
        if name == "http":
            option = click.option("--http", metavar="HOST:PORT", help=field.description)
        elif name == "plugins":
            option = click.option(
                flag_of(name), name, multiple=True, metavar="NAMESPACE", help="Allow only this plugin; may be repeated."
            )
        else:
            default = field.get_default(call_default_factory=True)
            # What has no default is a text.
            kind = str if default is None else type(default)
            option = click.option(flag_of(name), type=kind, help=f"{field.description}  [default: {default}]")
        command = option(command)
    return command


@click.command()
@_settings_options
def serve(**flags: Any) -> None:
    """Serve gradients over gRPC until interrupted.

    Whoever reaches the port may use it: listen on other addresses than this machine's only where that is meant. It has
    the plugins that are installed when it starts. Each option may also be the variable GRAPHSVC_<NAME> of the
    environment, or a line of the file that GRAPHSVC_CONFIG names; see `graphsvc config`.

    With --http, a page in the browser shows values and gradients of graphs as they are typed.

    \b
    Example:
      graphsvc serve --port 0
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = read_settings({name: value for name, value in flags.items() if value not in (None, ())})
    for warning in unknown_variables():
        click.echo(f"Warning: {warning}", err=True)

    page = _page(settings) if settings.http else None

    def ready(server: Server) -> None:
        click.echo(f"graphsvc {__version__} listening on {settings.host}:{server.port}")
        # The log tells of those that are not loaded, each with the cause.
        loaded = [str(report) for report in server.plugins.values() if report.state is PluginState.LOADED]
        click.echo(f"plugins: {', '.join(loaded) or 'none'}")
        if page:
            click.echo(f"explorer at {page.url}")

    asyncio.run(run_server(settings, ready, page.beside if page else nullcontext))
    # A gate that hangs in its thread must not keep a server that was told to stop.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _page(settings: Settings) -> "Page":
    try:
        # What it needs is an extra, and a server without it starts faster.
        from graphsvc.page.app import Page
    except ModuleNotFoundError as error:
        msg = f"--http needs the package {error.name}. Install it with: pip install 'graphsvc[http]'"
        raise click.UsageError(msg) from None
    return Page(settings)
