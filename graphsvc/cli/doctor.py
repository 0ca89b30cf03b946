"""`graphsvc doctor`: what is wrong here, or with a server?"""

import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import click
import threadpoolctl
from google.protobuf.internal import api_implementation

from graphsvc.cli.printing import print_table
from graphsvc.client.client import connect
from graphsvc.engine.fusion.workers import thread_count
from graphsvc.engine.plugins import PluginReport, PluginState, find_plugins, permitted, probe_plugin
from graphsvc.engine.reading import parse
from graphsvc.engine.registry import default_registry
from graphsvc.errors import GraphsvcError, UnreachableError
from graphsvc.hookspecs import Checkup

__all__ = ["doctor"]

_EXPRESSION = "f = (x + y) * z"
_INPUTS = {"x": -2.0, "y": 5.0, "z": -4.0}
_GRADIENTS = {"x": -4.0, "y": -4.0, "z": 3.0}


@click.command()
@click.option("--target", metavar="HOST:PORT", help="Examine this server as well.")
def doctor(target: str | None) -> None:
    """Find out what is wrong with this installation, or with a server.

    \b
    Example:
      graphsvc doctor
    """
    checks: list[tuple[str, Callable[[], str]]] = [
        ("Python", platform.python_version),
        ("packages", _packages),
        ("protobuf", _protobuf),
        ("gates", lambda: f"{len(default_registry().gates())} of graphsvc's own"),
        ("gradient in process", _in_process),
        ("threads", _threads),
    ]
    for namespace, report in permitted(find_plugins()).items():
        probed = probe_plugin(report, doctor=True)
        checks.append((f"plugin {namespace}", lambda r=probed: _plugin(r)))  # type: ignore[misc]
        for checkup in probed.checkups:
            checks.append((f"plugin {namespace}: {checkup.what}", lambda c=checkup: _found(c)))  # type: ignore[misc]
    if target:
        checks.append((f"server {target}", lambda: _server(target)))
        checks.append((f"plugins of {target}", lambda: _plugins_of(target)))
    rows, failures = [], []
    for name, check in checks:
        try:
            rows.append(("ok", name, check()))
        except GraphsvcError as error:
            rows.append(("FAILED", name, error.message))
            failures.append(error)
    print_table(("", "what", "found"), rows)
    if failures:
        click.echo(f"Error: {len(failures)} of {len(rows)} checks failed: {failures[0].message}", err=True)
        sys.exit(3 if isinstance(failures[0], UnreachableError) else 1)


def _packages() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("graphsvc", "numpy", "grpcio", "protobuf", "pydantic"))


def _protobuf() -> str:
    kind = api_implementation.Type()
    if kind != "upb":
        msg = f"protobuf runs on its {kind} implementation, and a server needs upb. Reinstall protobuf."
        raise GraphsvcError(msg)
    return f"its implementation is {kind}"


def _threads() -> str:
    """Say how many threads compute: their number changes no bit of what graphsvc does, but may change BLAS's."""
    pools = threadpoolctl.threadpool_info()
    found = [f"{pool['internal_api']} {pool['version']} with {pool['num_threads']}" for pool in pools]
    return f"{thread_count()} share a kernel; BLAS: {', '.join(found) or 'unknown'}"


def _in_process() -> str:
    _, gradients = parse(_EXPRESSION).value_and_grad(_INPUTS)
    return _compared({name: float(array) for name, array in gradients.items()})


def _compared(gradients: dict[str, float]) -> str:
    if gradients != _GRADIENTS:
        msg = f"the gradients of {_EXPRESSION} are {gradients}, but should be {_GRADIENTS}."
        raise GraphsvcError(msg)
    return f"{_EXPRESSION} has the gradients {', '.join(f'{v:g}' for v in gradients.values())}"


def _plugin(report: PluginReport) -> str:
    if report.state is PluginState.NOT_ALLOWED:
        return f"{report.state.value}: {report.cause}"
    if report.state is not PluginState.LOADED:
        raise GraphsvcError(report.cause)
    return f"{report.distribution} {report.version}: {', '.join(report.gates)}"


def _found(checkup: Checkup) -> str:
    if not checkup.healthy:
        raise GraphsvcError(checkup.found)
    return checkup.found


def _server(target: str) -> str:
    with connect(target, timeout=10.0) as client:
        info = client.server_info()
        graph = client.graph(parse(_EXPRESSION))
        graph.value_and_grad(_INPUTS)
        began = time.perf_counter()
        _, gradients = graph.value_and_grad(_INPUTS)
        milliseconds = (time.perf_counter() - began) * 1e3
    found = _compared({name: float(array) for name, array in gradients.items()})
    return f"graphsvc {info.version} answers in {milliseconds:.1f} ms: {found}"


def _plugins_of(target: str) -> str:
    with connect(target, timeout=10.0) as client:
        plugins = client.server_info().plugins
    refused = [f"{p.namespace!r} ({p.state})" for p in plugins if p.state != PluginState.LOADED]
    if refused:
        msg = f"{', '.join(refused)} cannot be used there. The server's log says why."
        raise GraphsvcError(msg)
    return ", ".join(f"{p.namespace} ({p.distribution} {p.version})" for p in plugins) or "none"
