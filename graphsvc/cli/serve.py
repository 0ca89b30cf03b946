"""`graphsvc serve`: the server."""

import asyncio
import logging
import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from graphsvc import __version__
from graphsvc.cli.config import read_settings
from graphsvc.serving.server import Server, run_server
from graphsvc.serving.settings import Settings, unknown_variables

if TYPE_CHECKING:
    from graphsvc.page.app import Page

__all__ = ["serve"]


_VARIABLES = "\n".join(
    f"  GRAPHSVC_{name.upper()}: {field.description} [{field.get_default(call_default_factory=True)}]"
    for name, field in Settings.model_fields.items()
)


@click.command(epilog=f"\b\nVariables of the environment, with their defaults:\n{_VARIABLES}")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 50051]")
@click.option("--http", metavar="HOST:PORT", help="Serve the explorer page there, as in 127.0.0.1:8080.")
@click.option("--threads", type=int, help="Graphs that run at once.  [default: the number of cores]")
@click.option(
    "--plugin", "plugins", multiple=True, metavar="NAMESPACE", help="Allow only this plugin; may be repeated."
)
def serve(host: str | None, port: int | None, http: str | None, threads: int | None, plugins: tuple[str, ...]) -> None:
    """Serve gradients over gRPC until interrupted.

    Whoever reaches the port may use it: listen on other addresses than this machine's only where that is meant.

    With --http, a page in the browser shows values and gradients of graphs as they are typed.

    \b
    Example:
      graphsvc serve --port 0
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    flags = {"host": host, "port": port, "http": http, "threads": threads, "plugins": plugins or None}
    settings = read_settings({name: value for name, value in flags.items() if value is not None})
    for warning in unknown_variables():
        click.echo(f"Warning: {warning}", err=True)

    page = _page(settings) if settings.http else None

    def ready(server: Server) -> None:
        click.echo(f"graphsvc {__version__} listening on {settings.host}:{server.port}")
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
