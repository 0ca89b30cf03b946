"""`graphsvc serve`: the server."""

import asyncio
import logging

import click

from graphsvc import __version__
from graphsvc.server import Server, run_server
from graphsvc.settings import Settings

__all__ = ["serve"]


@click.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 50051]")
@click.option("--threads", type=int, help="Graphs that run at once.  [default: the number of cores]")
@click.option(
    "--plugin", "plugins", multiple=True, metavar="NAMESPACE", help="Allow only this plugin; may be repeated."
)
def serve(host: str | None, port: int | None, threads: int | None, plugins: tuple[str, ...]) -> None:
    """Serve gradients over gRPC until interrupted.

    Whoever reaches the port may use it: listen on other addresses than this machine's only where that is meant. Every
    setting can be given as GRAPHSVC_<NAME> in the environment, such as GRAPHSVC_MAX_MESSAGE_BYTES.

    \b
    Example:
      graphsvc serve --port 0
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    flags = {"host": host, "port": port, "threads": threads, "plugins": plugins or None}
    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValueError as error:
        raise click.UsageError(str(error)) from None

    def ready(server: Server) -> None:
        click.echo(f"graphsvc {__version__} listening on {settings.host}:{server.port}")

    asyncio.run(run_server(settings, ready))
