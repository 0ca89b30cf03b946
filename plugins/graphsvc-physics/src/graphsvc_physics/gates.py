"""The plugin: what graphsvc finds in this package."""

import graphsvc
from graphsvc_physics.heat import Heat
from graphsvc_physics.truss import Truss

graphsvc_api_version = 1


@graphsvc.hookimpl
def graphsvc_gates(context: graphsvc.PluginContext) -> list[type[graphsvc.Gate]]:
    """Provide the gates of this package."""
    return [Heat, Truss]
