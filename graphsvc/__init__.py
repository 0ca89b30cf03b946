"""Gradients as a service: a computational graph is plain data, and one call gives its outputs and input gradients."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphsvc import aio
    from graphsvc.arrays import Array, ArraySpec
    from graphsvc.builders import safe_where
    from graphsvc.client import Client, RemoteGraph, connect
    from graphsvc.diagnosis import Diagnosis
    from graphsvc.errors import GateDataError, GraphsvcError
    from graphsvc.evaluation import Evaluation, InputGradients
    from graphsvc.gate import Elementwise, Example, Gate
    from graphsvc.graph import ComputationalGraph, load, parse
    from graphsvc.hookspecs import PluginContext, hookimpl
    from graphsvc.node import Node
    from graphsvc.profile import Profile
    from graphsvc.summary import GraphSummary

__version__ = "0.1.0"

_HOME = {
    "Array": "arrays",
    "ArraySpec": "arrays",
    "Client": "client",
    "ComputationalGraph": "graph",
    "Diagnosis": "diagnosis",
    "Elementwise": "gate",
    "Evaluation": "evaluation",
    "Example": "gate",
    "Gate": "gate",
    "GateDataError": "errors",
    "GraphSummary": "summary",
    "GraphsvcError": "errors",
    "InputGradients": "evaluation",
    "Node": "node",
    "PluginContext": "hookspecs",
    "Profile": "profile",
    "RemoteGraph": "client",
    "aio": "",
    "connect": "client",
    "hookimpl": "hookspecs",
    "load": "graph",
    "parse": "graph",
    "safe_where": "builders",
}
"""Where each public name lives. They are imported when first used: all of them take 0.4 s, and `--help` none."""

__all__ = [
    "Array",
    "ArraySpec",
    "Client",
    "ComputationalGraph",
    "Diagnosis",
    "Elementwise",
    "Evaluation",
    "Example",
    "Gate",
    "GateDataError",
    "GraphSummary",
    "GraphsvcError",
    "InputGradients",
    "Node",
    "PluginContext",
    "Profile",
    "RemoteGraph",
    "__version__",
    "aio",
    "connect",
    "hookimpl",
    "load",
    "parse",
    "safe_where",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module 'graphsvc' has no attribute {name!r}"
        raise AttributeError(msg)
    home = _HOME[name]
    return getattr(import_module(f"graphsvc.{home}"), name) if home else import_module(f"graphsvc.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
