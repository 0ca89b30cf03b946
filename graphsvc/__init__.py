"""Gradients as a service: a computational graph is plain data, and one call gives its outputs and input gradients."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphsvc import aio
    from graphsvc.arrays import Array, ArraySpec
    from graphsvc.client.client import Client, RemoteGraph, connect
    from graphsvc.drawing.drawing import Drawing
    from graphsvc.engine.builders import safe_where
    from graphsvc.engine.diagnosis import Diagnosis
    from graphsvc.engine.evaluation import Evaluation, InputGradients
    from graphsvc.engine.graph import ComputationalGraph
    from graphsvc.engine.node import Node
    from graphsvc.engine.profile import Profile
    from graphsvc.engine.reading import load, parse
    from graphsvc.engine.summary import GraphSummary
    from graphsvc.errors import GateDataError, GraphsvcError
    from graphsvc.gate import Cost, Elementwise, Example, Gate
    from graphsvc.hookspecs import Checkup, PluginContext, hookimpl
    from graphsvc.subgraph import SubGraph

__version__ = "0.1.0"

_HOME = {
    "Array": "arrays",
    "ArraySpec": "arrays",
    "Checkup": "hookspecs",
    "Client": "client.client",
    "ComputationalGraph": "engine.graph",
    "Cost": "gate",
    "Diagnosis": "engine.diagnosis",
    "Drawing": "drawing.drawing",
    "Elementwise": "gate",
    "Evaluation": "engine.evaluation",
    "Example": "gate",
    "Gate": "gate",
    "GateDataError": "errors",
    "GraphSummary": "engine.summary",
    "GraphsvcError": "errors",
    "InputGradients": "engine.evaluation",
    "Node": "engine.node",
    "PluginContext": "hookspecs",
    "Profile": "engine.profile",
    "RemoteGraph": "client.client",
    "SubGraph": "subgraph",
    "aio": "",
    "connect": "client.client",
    "hookimpl": "hookspecs",
    "load": "engine.reading",
    "parse": "engine.reading",
    "safe_where": "engine.builders",
}
"""Where each public name lives. They are imported when first used: all of them take 0.4 s, and `--help` none."""

__all__ = [
    "Array",
    "ArraySpec",
    "Checkup",
    "Client",
    "ComputationalGraph",
    "Cost",
    "Diagnosis",
    "Drawing",
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
    "SubGraph",
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
