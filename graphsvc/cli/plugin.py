"""`graphsvc plugin`: what plugins are installed, and what became of them."""

from dataclasses import asdict

import click

from graphsvc.cli.printing import print_json, print_table
from graphsvc.engine.plugins import find_plugins, probe_plugins

__all__ = ["plugin"]


@click.group()
def plugin() -> None:
    """Look after plugins.

    \b
    Example:
      graphsvc plugin list
    """


@plugin.command("list", short_help="List the installed plugins, and what became of each.")
@click.option("--seconds", default=20.0, show_default=True, help="How long the import of a plugin may take.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_plugins(seconds: float, *, as_json: bool) -> None:
    """List the installed plugins, each imported in a process of its own, with what became of it and why.

    \b
    Example:
      graphsvc plugin list
    """
    reports = list(probe_plugins(find_plugins(), seconds).values())
    if as_json:
        print_json([{**asdict(report), "state": report.state.value} for report in reports])
        return
    if not reports:
        click.echo("No plugins are installed. A plugin is a package with an entry point in the group 'graphsvc'.")
        return
    rows = [(r.namespace, r.distribution, r.version, r.state.value, r.cause or ", ".join(r.gates)) for r in reports]
    print_table(("namespace", "distribution", "version", "state", "gates, or the cause"), rows)
