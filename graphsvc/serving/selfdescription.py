"""What a server says of itself: versions, limits, plugins and gates, as messages."""

import json
import logging
from collections.abc import Iterator
from typing import Final

from graphsvc import __version__
from graphsvc.engine.plugins import PluginReport
from graphsvc.engine.registry import Registry
from graphsvc.gate import Gate
from graphsvc.serving.settings import Settings
from graphsvc.v1 import service_pb2
from graphsvc.wire.codec import dtype_numbers

__all__ = ["gate_message", "gate_messages", "server_info"]

_LOG: Final = logging.getLogger("graphsvc.server")


def server_info(plugins: dict[str, PluginReport], settings: Settings) -> service_pb2.GetServerInfoResponse:
    """Return versions, limits and plugins."""
    return service_pb2.GetServerInfoResponse(
        version=__version__,
        dtypes=dtype_numbers(),  # type: ignore[arg-type]
        limits=[service_pb2.Limit(name=name, value=value) for name, value in settings.limits().items()],
        plugins=[
            service_pb2.Plugin(
                namespace=report.namespace,
                distribution=report.distribution,
                version=report.version,
                state=report.state.value,
            )
            for report in plugins.values()
        ],
    )


def gate_messages(registry: Registry) -> Iterator[service_pb2.Gate]:
    """Yield a message for each gate. One that cannot be described is left out, and the log says so."""
    for name, cls in sorted(registry.usable(), key=lambda pair: pair[0]):
        try:
            yield gate_message(name, cls)
        except Exception:  # noqa: BLE001 - one stranger's gate must not take the list from all
            _LOG.exception("gate %s cannot be described to clients", name)


def gate_message(name: str, cls: type[Gate]) -> service_pb2.Gate:
    """Return what a list of gates says of one."""
    signature = cls.signature
    return service_pb2.Gate(
        name=name,
        version=cls.version,
        documentation=cls.__doc__ or "",
        operands=signature.operands,
        variadic=signature.variadic,
        outputs=signature.outputs,
        differentiable_operands=[o for i, o in enumerate(signature.operands) if signature.rule_for(i)],
        attributes_schema=json.dumps(cls.model_json_schema()),
        deterministic=cls.deterministic,
    )
