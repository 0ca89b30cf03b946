"""Plugins: finding them, importing them so that one cannot harm another, and saying what became of each.

pluggy's own entry-point loader stops at the first plugin that raises, lets one of two plugins of one name win silently,
and passes over a misspelt hook. Here each plugin gets a manager of its own; whatever it does wrong is its state, with
the cause.
"""

import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import pluggy

import graphsvc.gates
from graphsvc.errors import GraphsvcError, PluginError
from graphsvc.gate import Gate
from graphsvc.hookspecs import API_VERSION, PROJECT, PluginContext, PluginHooks

__all__ = [
    "PluginReport",
    "PluginState",
    "built_in_modules",
    "find_plugins",
    "gates_of",
    "import_plugin",
    "probe_plugin",
    "probe_plugins",
]


class PluginState(StrEnum):
    """What became of a plugin."""

    FOUND = "found"
    LOADED = "loaded"
    FAILED = "failed"
    CONFLICT = "conflict"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class PluginReport:
    """A plugin, and what became of it.

    Attributes:
        namespace: Name of its entry point.
        distribution: The package that brings it, empty if unknown.
        version: Version of that package.
        target: The module that the entry point names.
        state: What became of it.
        cause: Why it cannot be used; empty if it can.
        gates: Names of its gates, without namespace; empty before it is loaded.
    """

    namespace: str
    distribution: str
    version: str
    target: str
    state: PluginState = PluginState.FOUND
    cause: str = ""
    gates: tuple[str, ...] = ()

    def refused(self, state: PluginState, cause: str) -> "PluginReport":
        """Return the report of a plugin that cannot be used."""
        return replace(self, state=state, cause=cause, gates=())


def built_in_modules() -> list[str]:
    """Return the modules of graphsvc's own gates. They come in through the same hook; their namespace is empty."""
    modules = pkgutil.iter_modules(graphsvc.gates.__path__)
    return [f"graphsvc.gates.{module.name}" for module in modules if not module.name.startswith("_")]


def find_plugins() -> dict[str, PluginReport]:
    """Return every installed plugin by namespace, importing none. Two of one namespace are both refused."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=PROJECT):
        found.setdefault(point.name, []).append(point)
    return {namespace: _report(points) for namespace, points in sorted(found.items())}


def _report(points: list[EntryPoint]) -> PluginReport:
    # One distribution that is on the path twice is no conflict: Python imports the first.
    providers = {(_distribution(point), point.value): point for point in reversed(points)}
    first = points[0]
    version = first.dist.version if first.dist else ""
    report = PluginReport(first.name, _distribution(first), version, first.value)
    if len(providers) > 1:
        names = " and ".join(sorted(f"{name or 'an unnamed package'} ({value})" for name, value in providers))
        cause = f"{names} claim the namespace {first.name!r}. Uninstall all but one of them."
        return report.refused(PluginState.CONFLICT, cause)
    if not first.name.isidentifier() or not first.name.isascii():
        cause = f"The namespace {first.name!r} is no name. Rename the entry point to letters, digits and '_'."
        return report.refused(PluginState.FAILED, cause)
    return report


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else ""


def import_plugin(report: PluginReport) -> dict[str, type[Gate]]:
    """Import a plugin and ask it for its gates.

    Returns:
        Its gates by their own names, without namespace.

    Raises:
        PluginError: It cannot be used; the message says why. Nothing that it raised escapes otherwise.
    """
    if report.cause:
        raise PluginError(report.cause, plugin=report.namespace)
    who = f"Plugin {report.namespace!r} ({report.distribution or report.target} {report.version})"
    try:
        return gates_of(importlib.import_module(report.target), report.namespace)
    except KeyboardInterrupt:
        raise
    except GraphsvcError as error:
        msg = f"{who}: {error}"
        raise PluginError(msg, plugin=report.namespace) from error
    except BaseException as error:
        msg = f"{who} cannot be imported: {type(error).__name__}: {error}"
        raise PluginError(msg, plugin=report.namespace) from error


def gates_of(module: ModuleType, namespace: str) -> dict[str, type[Gate]]:
    """Return the gates that a plugin module provides.

    Raises:
        PluginError: It states no version of the API or another one, has a hook that does not exist, or provides
            something else than gates of different names.
    """
    stated = getattr(module, "graphsvc_api_version", None)
    if stated != API_VERSION:
        todo = (
            "Install a matching one." if stated else f"Write graphsvc_api_version = {API_VERSION} in {module.__name__}."
        )
        msg = f"it states graphsvc_api_version = {stated!r}, and this graphsvc has {API_VERSION}. {todo}"
        raise PluginError(msg, plugin=namespace)
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(PluginHooks)
    manager.register(module, name=namespace or module.__name__)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        msg = f"it implements a hook that does not exist ({error}). The hook is graphsvc_gates(context)."
        raise PluginError(msg, plugin=namespace) from error
    results = manager.hook.graphsvc_gates(context=PluginContext(namespace))
    if not results:
        msg = "it implements no hook. Define graphsvc_gates(context) under @graphsvc.hookimpl."
        raise PluginError(msg, plugin=namespace)
    return _by_name(results[0], namespace)


def _by_name(classes: Iterable[object], namespace: str) -> dict[str, type[Gate]]:
    gates: dict[str, type[Gate]] = {}
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, Gate) and hasattr(cls, "signature")):
            msg = f"graphsvc_gates gave {cls!r}, which is no gate class with a name. Give classes, not objects."
            raise PluginError(msg, plugin=namespace)
        if cls.name in gates:
            msg = f"two of its gates are named {cls.name!r}: {gates[cls.name].__name__} and {cls.__name__}. Rename one."
            raise PluginError(msg, plugin=namespace)
        gates[cls.name] = cls
    return gates


# Probing ------------------------------------------------------------------------------------------------------------


def probe_plugin(report: PluginReport, seconds: float = 20.0) -> PluginReport:
    """Import a plugin in a child process, so that one that exits, crashes or hangs harms nobody.

    Args:
        report: The plugin as `find_plugins` reports it.
        seconds: How long the import may take.

    Returns:
        The report with its state after the import.
    """
    if report.cause:
        return report
    # The child finds modules where this process does, also those that a script or a test put on its path.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory() as folder:
        answer_file = Path(folder, "answer.json")
        command = [sys.executable, "-m", __name__, report.namespace, str(answer_file)]
        # A session of its own, so that what the plugin starts is ended with it, and holds no pipe of ours.
        child = subprocess.Popen(  # noqa: S603 - our own module
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            cause = f"Its import took more than {seconds:g} s. Do no work when the module is imported."
            return report.refused(PluginState.TIMED_OUT, cause)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        try:
            answer: Mapping[str, object] = json.loads(answer_file.read_bytes())
        except (OSError, ValueError):
            return report.refused(PluginState.FAILED, f"Its import ended the process, with code {code}.")
    return PluginReport(**{**asdict(report), **answer, "state": PluginState(str(answer["state"]))})


def probe_plugins(reports: Mapping[str, PluginReport], seconds: float = 20.0) -> dict[str, PluginReport]:
    """Probe plugins, some at a time; see `probe_plugin`."""
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as threads:
        probed = threads.map(lambda report: probe_plugin(report, seconds), reports.values())
        return dict(zip(reports, probed, strict=True))


def _answer_probe(namespace: str, answer_file: Path) -> None:
    """Import a plugin in this process, the child, and write what became of it."""
    # A plugin may replace what it likes, so what is needed afterwards is taken before.
    write, dump, leave = answer_file.write_text, json.dumps, os._exit
    try:
        gates = sorted(import_plugin(find_plugins()[namespace]))
        answer = dump({"state": PluginState.LOADED, "cause": "", "gates": gates})
    except PluginError as error:
        answer = dump({"state": PluginState.FAILED, "cause": str(error), "gates": []})
    write(answer)
    # A plugin's threads and exit handlers have no say any more.
    leave(0)


if __name__ == "__main__":
    _answer_probe(sys.argv[1], Path(sys.argv[2]))
