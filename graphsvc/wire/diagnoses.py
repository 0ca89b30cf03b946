"""Diagnoses of a run as messages, and read again."""

from collections.abc import Mapping
from typing import Final, cast

from graphsvc.engine.diagnosis import Cause, Diagnosis, Direction, Finding, Kind, Undefined
from graphsvc.errors import ServerError, quoted
from graphsvc.v1 import service_pb2

__all__ = ["diagnosis_from_message", "message_from_diagnosis"]

_KINDS: Final[Mapping[str, Kind]] = {kind.name.lower(): kind for kind in Kind}
_CAUSES: Final[Mapping[str, Cause]] = {cause.name.lower(): cause for cause in Cause}


def message_from_diagnosis(diagnosis: Diagnosis) -> service_pb2.Diagnosis:
    """Return a diagnosis as a message."""
    return service_pb2.Diagnosis(
        findings=[
            service_pb2.Finding(
                direction=finding.direction,
                kind=finding.kind.name.lower(),
                name=finding.name,
                node=finding.node,
                gate=finding.gate,
                dtype=finding.dtype,
                size=finding.size,
                nans=finding.nans,
                infinities=finding.infinities,
                index=finding.index,
                read=[service_pb2.ReadNumber(name=name, value=value) for name, value in finding.values.items()],
                cause=finding.cause.name.lower() if finding.cause else "",
            )
            for finding in diagnosis.findings
        ],
        undefined=[
            service_pb2.Undefined(node=found.node, gate=found.gate, explanation=found.explanation)
            for found in diagnosis.undefined
        ],
    )


def diagnosis_from_message(message: service_pb2.Diagnosis) -> Diagnosis:
    """Return the diagnosis of a message. A cause that this version does not know is none.

    Raises:
        ServerError: It speaks of what this version does not know.
    """
    undefined = [Undefined(found.node, found.gate, found.explanation) for found in message.undefined]
    return Diagnosis(tuple(map(_finding, message.findings)), tuple(undefined))


def _finding(message: service_pb2.Finding) -> Finding:
    if message.kind not in _KINDS or message.direction not in ("forward", "backward"):
        found = f"{quoted(message.kind)}, {quoted(message.direction)}"
        msg = f"The server found something that this version does not know: {found}. Is it another version?"
        raise ServerError(msg)
    return Finding(
        direction=cast("Direction", message.direction),
        kind=_KINDS[message.kind],
        name=message.name,
        node=message.node if message.HasField("node") else None,
        gate=message.gate if message.HasField("gate") else None,
        dtype=message.dtype,
        size=message.size,
        nans=message.nans,
        infinities=message.infinities,
        index=tuple(message.index),
        values={number.name: number.value for number in message.read},
        cause=_CAUSES.get(message.cause),
    )
