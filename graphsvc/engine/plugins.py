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
from typing import Any

import pluggy

import graphsvc.gates
from graphsvc.cores import core_count
from graphsvc.errors import GraphsvcError, PluginError, did_you_mean
from graphsvc.gate import Gate
from graphsvc.hookspecs import API_VERSION, PROJECT, Checkup, PluginContext, PluginHooks

__all__ = [
    "PluginReport",
    "PluginState",
    "built_in_modules",
    "find_plugins",
    "gates_of",
    "import_plugin",
    "is_strict",
    "permitted",
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
    NOT_ALLOWED = "not allowed"


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
        checkups: What it found when it looked at what it needs, if it was asked.
    """

    namespace: str
    distribution: str
    version: str
    target: str
    state: PluginState = PluginState.FOUND
    cause: str = ""
    gates: tuple[str, ...] = ()
    checkups: tuple[Checkup, ...] = ()

    def __str__(self) -> str:
        if self.state is PluginState.LOADED:
            return f"{self.namespace} ({self.distribution or self.target} {self.version})"
        return f"The plugin {self.namespace!r} is not loaded ({self.state.value}): {self.cause}"

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


def permitted(found: Mapping[str, PluginReport]) -> dict[str, PluginReport]:
    """Refuse those plugins that `GRAPHSVC_PLUGINS` does not name; without that variable all are allowed."""
    listed = os.environ.get("GRAPHSVC_PLUGINS")
    if listed is None:
        return dict(found)
    allowed = [name.strip() for name in listed.split(",") if name.strip()]
    cause = f"GRAPHSVC_PLUGINS allows {', '.join(allowed) or 'none'}. Add its namespace there, if it may be used."
    return {
        namespace: report if namespace in allowed else report.refused(PluginState.NOT_ALLOWED, cause)
        for namespace, report in found.items()
    }


def is_strict() -> bool:
    """Tell whether `GRAPHSVC_PLUGIN_STRICT` makes the first plugin that cannot be used fatal."""
    return os.environ.get("GRAPHSVC_PLUGIN_STRICT", "").lower() in ("1", "true", "yes", "on", "y", "t")


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
    if first.name == PROJECT:
        cause = f"The namespace {first.name!r} is that of graphsvc itself. Rename the entry point."
        return report.refused(PluginState.FAILED, cause)
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
    manager = _manager(module, namespace)
    results = manager.hook.graphsvc_gates(context=PluginContext(namespace))
    if not manager.hook.graphsvc_gates.get_hookimpls():
        msg = "it implements no hook graphsvc_gates(context). Define it under @graphsvc.hookimpl."
        raise PluginError(msg, plugin=namespace)
    # pluggy leaves out a result that is None.
    given = results[0] if results else None
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        msg = f"graphsvc_gates gave {str(given)[:60]!r}, which is no list of gate classes."
        raise PluginError(msg, plugin=namespace)
    return _by_name(given, namespace)


def _manager(module: ModuleType, namespace: str) -> pluggy.PluginManager:
    """Return a manager of pluggy's with this one plugin, whose version and hooks are right."""
    stated = getattr(module, "graphsvc_api_version", None)
    if stated != API_VERSION:
        newer = type(stated) is int and stated > API_VERSION
        todo = f"Write graphsvc_api_version = {API_VERSION} in {module.__name__}."
        if stated:
            todo = f"Install {'a newer graphsvc' if newer else 'a newer version of it'}, or an older version of "
            todo += "it." if newer else "graphsvc."
        msg = f"it states graphsvc_api_version = {stated!r}, and this graphsvc has {API_VERSION}. {todo}"
        raise PluginError(msg, plugin=namespace)
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(PluginHooks)
    manager.register(module, name=namespace or module.__name__)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        hooks = [name for name in vars(PluginHooks) if name.startswith(PROJECT)]
        named = [name for name in vars(manager.hook) if name not in hooks and name.startswith(PROJECT)]
        near = "".join(did_you_mean(name, hooks) for name in named[:1])
        msg = f"it implements a hook that does not exist ({error}).{near} There are {', '.join(hooks)}, of (context)."
        raise PluginError(msg, plugin=namespace) from error
    return manager


def _checkups(module: ModuleType, namespace: str) -> list[Checkup]:
    """Return what a plugin finds when it looks at what it needs."""
    try:
        results = _manager(module, namespace).hook.graphsvc_doctor(context=PluginContext(namespace))
        return [Checkup(str(c.what), str(c.found), bool(c.healthy)) for c in (results[0] if results else ())]
    except BaseException as error:  # noqa: BLE001 - whatever a stranger's hook raises
        return [Checkup("graphsvc_doctor", f"failed: {type(error).__name__}: {str(error)[:300]}", healthy=False)]


def _by_name(classes: Iterable[object], namespace: str) -> dict[str, type[Gate]]:
    gates: dict[str, type[Gate]] = {}
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, Gate) and hasattr(cls, "signature")):
            msg = f"graphsvc_gates gave {cls!r}, which is no gate class with a name. Give classes, not objects."
            raise PluginError(msg, plugin=namespace)
        if namespace and cls.__module__.partition(".")[0] == PROJECT:
            msg = f"it provides {cls.__name__} of {cls.__module__}, which is graphsvc's own. Provide gates of its own."
            raise PluginError(msg, plugin=namespace)
        if cls.name in gates:
            msg = f"two of its gates are named {cls.name!r}: {gates[cls.name].__name__} and {cls.__name__}. Rename one."
            raise PluginError(msg, plugin=namespace)
        gates[cls.name] = cls
    return gates


# Probing ------------------------------------------------------------------------------------------------------------


def probe_plugin(report: PluginReport, seconds: float = 20.0, *, doctor: bool = False) -> PluginReport:
    """Import a plugin in a child process, so that one that exits, crashes or hangs harms nobody.

    Args:
        report: The plugin as `find_plugins` reports it.
        seconds: How long the import may take.
        doctor: Whether it is asked what it finds when it looks at what it needs.

    Returns:
        The report with its state after the import.
    """
    if report.cause:
        return report
    # The child finds modules where this process does, also those that a script or a test put on its path.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory() as folder:
        answer_file = Path(folder, "answer.json")
        command = [sys.executable, "-m", __name__, report.namespace, str(answer_file), *(["doctor"] if doctor else [])]
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
            answer: dict[str, Any] = json.loads(answer_file.read_bytes())
        except (OSError, ValueError):
            return report.refused(PluginState.FAILED, f"Its import ended the process, with code {code}.")
    checkups = tuple(Checkup(*found) for found in answer.pop("checkups", ()))
    return PluginReport(
        **{**asdict(report), **answer, "state": PluginState(str(answer["state"])), "checkups": checkups}
    )


def probe_plugins(reports: Mapping[str, PluginReport], seconds: float = 20.0) -> dict[str, PluginReport]:
    """Probe plugins, some at a time; see `probe_plugin`."""
    with ThreadPoolExecutor(2 * core_count()) as threads:
        probed = threads.map(lambda report: probe_plugin(report, seconds), reports.values())
        return dict(zip(reports, probed, strict=True))


def _answer_probe(namespace: str, answer_file: Path, *, doctor: bool) -> None:
    """Import a plugin in this process, the child, and write what became of it."""
    # A plugin may replace what it likes, so what is needed afterwards is taken before.
    write, dump, leave = answer_file.write_text, json.dumps, os._exit
    try:
        report = find_plugins()[namespace]
        gates = sorted(import_plugin(report))
        found = _checkups(sys.modules[report.target], namespace) if doctor else []
        checkups = [(c.what, c.found, c.healthy) for c in found]
        answer = dump({"state": PluginState.LOADED, "cause": "", "gates": gates, "checkups": checkups})
    except PluginError as error:
        answer = dump({"state": PluginState.FAILED, "cause": str(error), "gates": []})
    write(answer)
    # A plugin's threads and exit handlers have no say any more.
    leave(0)


if __name__ == "__main__":
    _answer_probe(sys.argv[1], Path(sys.argv[2]), doctor="doctor" in sys.argv[3:])
