"""`graphsvc plugin`: the plugins that are installed, whether their gates are right, and new ones."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from graphsvc.cli.printing import print_json, print_table
from graphsvc.cli.scaffold import write_package
from graphsvc.engine.plugins import (
    PluginReport,
    PluginState,
    find_plugins,
    is_strict,
    permitted,
    probe_plugin,
    probe_plugins,
)
from graphsvc.engine.registry import default_registry
from graphsvc.errors import PluginError, did_you_mean, quoted
from graphsvc.testing.kit import examine_gate
from graphsvc.testing.report import GateReport

__all__ = ["plugin"]


@click.group()
def plugin() -> None:
    """Look after plugins: packages that bring gates.

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
    reports = list(probe_plugins(permitted(find_plugins()), seconds).values())
    if as_json:
        print_json([{**asdict(report), "state": report.state.value} for report in reports])
    elif not reports:
        click.echo(_NONE)
    else:
        _print_plugins(reports)
    broken = [r for r in reports if r.state not in (PluginState.LOADED, PluginState.NOT_ALLOWED)]
    if broken and is_strict():
        raise PluginError(str(broken[0]), plugin=broken[0].namespace)


def _print_plugins(reports: list[PluginReport]) -> None:
    rows = [(r.namespace, r.distribution, r.version, r.state.value, r.cause or ", ".join(r.gates)) for r in reports]
    print_table(("namespace", "distribution", "version", "state", "gates, or the cause"), rows)


_NONE = "No plugins are installed. A plugin is a package with an entry point in the group 'graphsvc'."


@plugin.command("new", short_help="Write a package with a gate of your own.")
@click.argument("namespace")
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="Where; graphsvc-NAMESPACE if not given."
)
def new_plugin(namespace: str, folder: Path | None) -> None:
    """Write a package whose gates are named NAMESPACE.something: a gate, its test, a README, all that pip needs.

    \b
    Example:
      graphsvc plugin new tides
    """
    written = write_package(namespace, folder or Path(f"graphsvc-{namespace}"))
    for path in written:
        click.echo(path)
    where = written[0].parent
    click.echo(f"\nNext: cd {where} && pip install -e '.[test]' && pytest && graphsvc plugin check {namespace}")


@plugin.command("check", short_help="Examine the gates of plugins by every law of the conformance kit.")
@click.argument("namespace", required=False)
@click.option("--seconds", default=20.0, show_default=True, help="How long the import of a plugin may take.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_plugin(namespace: str | None, seconds: float, *, as_json: bool) -> None:
    """Examine the gates of the plugin NAMESPACE, or of every one, on all their examples, by every law.

    \b
    Example:
      graphsvc plugin check
    """
    found = permitted(find_plugins())
    if namespace is not None and namespace not in found:
        msg = f"No plugin {quoted(namespace)} is installed here.{did_you_mean(namespace, found)} Install it first."
        raise PluginError(msg, plugin=namespace[:128])
    chosen = found if namespace is None else {namespace: found[namespace]}
    examined = {name: _examined(probe_plugin(report, seconds)) for name, report in chosen.items()}
    reports = [report for gates in examined.values() for report in gates.values()]
    if as_json:
        print_json({name: {gate: _as_data(r) for gate, r in gates.items()} for name, gates in examined.items()})
    elif not chosen:
        click.echo(_NONE)
    else:
        _print_reports(examined)
    failed = [report for report in reports if not report.passed]
    if failed:
        click.echo(f"Error: {len(failed)} of {len(reports)} gates break a law.", err=True)
        sys.exit(1)


def _examined(report: PluginReport) -> dict[str, GateReport]:
    """Examine the gates of a plugin that did no harm in a process of its own."""
    if report.state is not PluginState.LOADED:
        raise PluginError(report.cause, plugin=report.namespace)
    gates = default_registry().gates(report.namespace)
    return {name: examine_gate(cls) for name, cls in sorted(gates.items())}


def _as_data(report: GateReport) -> dict[str, object]:
    return {
        "examples": report.examples,
        "checks": dict(report.checks),
        "failures": [asdict(failure) for failure in report.failures],
        "expected_failures": dict(report.expected),
        "passed": report.passed,
    }


def _print_reports(examined: dict[str, dict[str, GateReport]]) -> None:
    rows = [
        (
            f"{namespace}.{gate}",
            str(report.examples),
            str(sum(1 for count in report.checks.values() if count)),
            f"{sum(report.checks.values()):,}",
            "ok" if report.passed else ", ".join(report.broken),
            "; ".join(f"{law} ({reason})" for law, reason in report.expected.items()),
        )
        for namespace, gates in examined.items()
        for gate, report in gates.items()
    ]
    print_table(("gate", "examples", "laws", "checks", "result", "expected failures"), rows)
    reports = [report for gates in examined.values() for report in gates.values()]
    examples, checks = sum(r.examples for r in reports), sum(sum(r.checks.values()) for r in reports)
    for report in reports:
        for failure in report.failures:
            click.echo(f"{report.gate}: {failure}\n")
    passed = sum(report.passed for report in reports)
    click.echo(f"{passed} of {len(reports)} gates obey every law: {examples} examples, {checks:,} checks.")
