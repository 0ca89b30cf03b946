"""The plugin API: the hooks through which gates come in, graphsvc's own and a stranger's alike.

A plugin is a module with a `graphsvc_api_version` and the first hook below, named by an entry point of the group
`graphsvc`. The name of the entry point is the namespace of the gates: `signal = "my_package.gates"` makes
`signal.smooth`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pluggy

from graphsvc.gate import Gate

__all__ = ["API_VERSION", "PROJECT", "Checkup", "PluginContext", "PluginHooks", "hookimpl", "hookspec"]

PROJECT: Final = "graphsvc"
"""Group of the entry points, and pluggy's project name."""

API_VERSION: Final = 1
"""The version of this API. A plugin states in `graphsvc_api_version` the one that it was written for."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class PluginContext:
    """What graphsvc tells a plugin.

    Attributes:
        namespace: Name of the plugin's entry point; empty for graphsvc's own gates.
        api_version: The API version of the graphsvc that is running.
    """

    namespace: str
    api_version: int = API_VERSION


@dataclass(frozen=True, slots=True)
class Checkup:
    """Something that a plugin looked at, for `graphsvc doctor`.

    Attributes:
        what: What was looked at, in a few words.
        found: What was found, and what to do if it is bad.
        healthy: Whether that is as it should be.
    """

    what: str
    found: str
    healthy: bool = True


class PluginHooks:
    """The hooks that a plugin may implement."""

    @hookspec
    def graphsvc_gates(self, context: PluginContext) -> Iterable[type[Gate]]:
        """Provide gates. Called once, when a graph first names the plugin's namespace.

        A whole plugin::

            from typing import ClassVar
            import numpy as np
            import graphsvc
            from graphsvc.arrays import Array

            graphsvc_api_version = 1

            class Sine(graphsvc.Elementwise):
                \"\"\"Sine, element by element: ``z = sin(x)``.\"\"\"

                name: ClassVar[str] = "sine"

                def forward(self, x: Array) -> Array:
                    return np.sin(x)

                def backward(self, dz: Array, x: Array) -> Array:
                    return dz * np.cos(x)

            @graphsvc.hookimpl
            def graphsvc_gates(context):
                return [Sine]

        with, in its `pyproject.toml`::

            [project.entry-points.graphsvc]
            signal = "my_package.gates"

        Args:
            context: The namespace, and the version of the API.

        Returns:
            Gate classes, each with a name of its own.
        """
        raise NotImplementedError

    @hookspec
    def graphsvc_doctor(self, context: PluginContext) -> Iterable[Checkup]:
        """Look at what the plugin needs. Called by `graphsvc doctor`, in a process of its own.

        In a plugin whose gates call a program::

            @graphsvc.hookimpl
            def graphsvc_doctor(context):
                path = shutil.which("solver")
                yield graphsvc.Checkup("solver", path or "not found; install it", healthy=path is not None)

        Args:
            context: The namespace, and the version of the API.

        Returns:
            What was found; what the hook raises is a finding that is bad.
        """
        raise NotImplementedError
