"""The registry: which gate a name stands for, here and now."""

import functools
import importlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace

from graphsvc.engine.elsewhere import ELSEWHERE
from graphsvc.engine.plugins import (
    PluginReport,
    PluginState,
    built_in_modules,
    find_plugins,
    gates_of,
    import_plugin,
    is_strict,
    permitted,
)
from graphsvc.errors import (
    GateVersionError,
    PluginError,
    UnknownGateError,
    UnregisteredGateError,
    did_you_mean,
    nearest,
    quoted,
)
from graphsvc.gate import Gate

__all__ = ["Registry", "default_registry"]


class Registry:
    """Gates by name: graphsvc's own by bare names, a plugin's as `namespace.name`.

    A plugin is imported when a name of its namespace is first looked up. Safe for many threads.
    """

    def __init__(self, plugins: Mapping[str, PluginReport] | None = None, *, remote: bool = False) -> None:
        """Make a registry.

        Args:
            plugins: The plugins that may be imported, by namespace; None means every installed one that
                `GRAPHSVC_PLUGINS` allows, and under `GRAPHSVC_PLUGIN_STRICT` none if one of them cannot be used.
            remote: Whether those who are told that there is no gate of a name are clients of a server.
        """
        self._remote = remote
        self._allowed = plugins
        self._strict = plugins is None and is_strict()
        self._lock = threading.RLock()
        self._loaded: dict[str, dict[str, type[Gate]]] = {}
        self._failures: dict[str, PluginError] = {}

    def __reduce__(self) -> tuple[object, ...]:
        # Modules and locks stay behind; another process has its own.
        if self is default_registry():
            return default_registry, ()
        return functools.partial(Registry, remote=self._remote), (self._allowed,)

    @functools.cached_property
    def plugins(self) -> Mapping[str, PluginReport]:
        """The plugins that may be imported, by namespace."""
        return permitted(find_plugins()) if self._allowed is None else self._allowed

    def gates(self, namespace: str = "") -> Mapping[str, type[Gate]]:
        """Return the gates of a plugin, or graphsvc's own, by their names without namespace.

        Raises:
            UnknownGateError: No such plugin is installed.
            PluginError: The plugin cannot be used.
        """
        loaded = self._loaded.get(namespace)
        unsure = namespace and self._strict
        return loaded if loaded is not None and not unsure else self._load(namespace)

    def _load(self, namespace: str) -> Mapping[str, type[Gate]]:
        with self._lock:
            if namespace and self._strict:
                self._require_all()
            if namespace in self._loaded:
                return self._loaded[namespace]
            if namespace in self._failures:
                raise self._failures[namespace].again()
            if namespace and namespace not in self.plugins:
                near = did_you_mean(namespace, self.plugins)
                msg = f"No plugin {quoted(namespace)} is installed {self._place}.{near}"
                msg += " Install it, or run the graph on a server that has it."
                raise UnknownGateError(msg, namespace=namespace[:128])
            try:
                gates = import_plugin(self.plugins[namespace]) if namespace else _built_in_gates()
            except PluginError as error:
                self._failures[namespace] = error.again()
                raise
            self._loaded[namespace] = gates
            return gates

    def _require_all(self) -> None:
        """Import every plugin that is allowed; raise PluginError for the first that cannot be used."""
        # While they are imported nobody is strict; if one cannot be used, the next who asks is told as well.
        self._strict = False
        try:
            for namespace, report in self.plugins.items():
                if report.state is not PluginState.NOT_ALLOWED:
                    self.gates(namespace)
        except PluginError:
            self._strict = True
            raise

    def gate_class(self, name: str) -> type[Gate]:
        """Return the gate class that `name` stands for.

        Raises:
            UnknownGateError: There is none; the message offers a near name.
            PluginError: Its plugin cannot be used.
        """
        namespace, _, bare = name.rpartition(".")
        try:
            gates = self.gates(namespace)
        except UnknownGateError as error:
            msg = f"{error.message}{did_you_mean(bare, self.gates(), cutoff=1.0)}"
            raise UnknownGateError(msg, gate=name[:128]) from None
        if bare not in gates:
            where = " --target HOST:PORT" if self._remote else ""
            msg = f"There is no gate {quoted(name)} {self._place}.{self._meant(name)} "
            msg += f"List them with `graphsvc gates{where}`."
            raise UnknownGateError(msg, gate=name[:128])
        return gates[bare]

    @property
    def _place(self) -> str:
        return "on the server" if self._remote else "here"

    def _meant(self, name: str) -> str:
        """Return what is offered for the name of no gate; gates of a plugin only if it is imported already."""
        namespace, _, bare = name.rpartition(".")
        # What is known is told before a likeness of letters, which would lead astray.
        if name in ELSEWHERE:
            return f" It is called {ELSEWHERE[name]!r}."
        loaded = self._loaded.copy()
        meant = {known: self.qualified(other, known) for other, gates in loaded.items() for known in gates}
        if namespace and bare not in meant:
            meant = {known: self.qualified(namespace, known) for known in loaded[namespace]}
        near = bare if bare in meant else nearest(bare, meant)
        return f" Did you mean {meant[near]!r}?" if near else ""

    def check_version(self, name: str, version: int | None) -> None:
        """Compare the version of a gate that a document was written for with the installed one.

        Raises:
            GateVersionError: They differ.
        """
        installed = self.gate_class(name).version
        if version is not None and version != installed:
            msg = (
                f"The document was written for version {version} of the gate {name!r}, but version {installed} is "
                f"installed. Install the matching package, or write the document anew."
            )
            raise GateVersionError(msg, gate=name, version=str(installed))

    def name_of(self, cls: type[Gate]) -> str:
        """Return the name under which a document can hold a gate of class `cls`.

        Raises:
            UnregisteredGateError: No installed plugin provides this class.
        """
        package = cls.__module__.partition(".")[0]
        candidates = [""] + [n for n, p in self.plugins.items() if p.target.partition(".")[0] == package]
        candidates += [namespace for namespace in self._loaded if namespace not in candidates]
        for namespace in candidates:
            if self.gates(namespace).get(cls.name) is cls:
                return self.qualified(namespace, cls.name)
        msg = (
            f"Gate class {cls.__name__} is provided by no installed plugin, so a document cannot name it. Provide it "
            f"in graphsvc_gates(context) of a package with an entry point in the group 'graphsvc'."
        )
        raise UnregisteredGateError(msg, gate=cls.name)

    @staticmethod
    def qualified(namespace: str, name: str) -> str:
        """Return the name of a gate with its namespace."""
        return f"{namespace}.{name}" if namespace else name

    def usable(self) -> Iterator[tuple[str, type[Gate]]]:
        """Yield every gate that can be used, with its full name; plugins that cannot be imported are passed over."""
        for namespace in ["", *self.plugins]:
            try:
                gates = self.gates(namespace)
            except PluginError:
                if self._strict:
                    raise
                continue
            for name, cls in sorted(gates.items()):
                yield self.qualified(namespace, name), cls

    def load_all(self) -> dict[str, PluginReport]:
        """Import every plugin, and return what became of each."""
        reports = {}
        for namespace, report in self.plugins.items():
            try:
                gates = tuple(sorted(self.gates(namespace)))
            except PluginError as error:
                reports[namespace] = report.refused(PluginState.FAILED, str(error))
            else:
                reports[namespace] = replace(report, state=PluginState.LOADED, cause="", gates=gates)
        return reports


def _built_in_gates() -> dict[str, type[Gate]]:
    gates: dict[str, type[Gate]] = {}
    for module in built_in_modules():
        for name, cls in gates_of(importlib.import_module(module), "").items():
            if name in gates:
                msg = f"Two built-in gates are named {name!r}: {gates[name].__name__} and {cls.__name__}."
                raise PluginError(msg)
            gates[name] = cls
    return gates


@functools.cache
def default_registry() -> Registry:
    """Return the registry of this process, with every installed plugin."""
    return Registry()
