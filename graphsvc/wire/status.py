"""Errors as gRPC statuses and back: the one place that knows both.

A status carries a `google.rpc.ErrorInfo` with the domain `graphsvc`, the error's reason, and its facts. No text of a
stranger's exception, no path and no class name leaves the server.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from graphsvc.errors import (
    BusyError,
    DeadlineError,
    GateContractError,
    GateError,
    GateVersionError,
    GraphError,
    GraphsvcError,
    InputError,
    LimitError,
    MessageError,
    PluginError,
    RequestError,
    ServerError,
    StoppedError,
    UnknownGateError,
    UnknownGraphError,
    UnknownResidentError,
    UnreachableError,
    error_classes,
)

__all__ = ["DOMAIN", "code_of", "error_from_packed", "error_from_rpc", "packed_status", "shortened", "status_of"]

DOMAIN: Final = "graphsvc"

_CODES: Final[dict[type[GraphsvcError], int]] = {
    GraphError: code_pb2.INVALID_ARGUMENT,
    UnknownGateError: code_pb2.NOT_FOUND,
    GateVersionError: code_pb2.NOT_FOUND,
    InputError: code_pb2.INVALID_ARGUMENT,
    RequestError: code_pb2.INVALID_ARGUMENT,
    LimitError: code_pb2.RESOURCE_EXHAUSTED,
    PluginError: code_pb2.NOT_FOUND,
    StoppedError: code_pb2.CANCELLED,
    DeadlineError: code_pb2.DEADLINE_EXCEEDED,
    MessageError: code_pb2.INVALID_ARGUMENT,
    BusyError: code_pb2.RESOURCE_EXHAUSTED,
    UnknownGraphError: code_pb2.NOT_FOUND,
    UnknownResidentError: code_pb2.NOT_FOUND,
    UnreachableError: code_pb2.UNAVAILABLE,
    GraphsvcError: code_pb2.INTERNAL,
}

_DETAILS_KEY: Final = "grpc-status-details-bin"
_PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
"""Tells the retries of gRPC's clients, in every language, when to try again; a negative number that it is of no use."""

_TOO_LARGE: Final = re.compile(r"larger than max \((\d+) vs\. (\d+)\)")
"""What gRPC says where a message is over the limit, before the server sees it."""

_LONGEST_MESSAGE: Final = 512
_LONGEST_FACT: Final = 160
"""gRPC drops trailing metadata over 8 KiB, the status with it, so what is sent is short."""


def code_of(error: GraphsvcError) -> int:
    """Return the gRPC code of an error, that of its nearest class in the table."""
    return next(_CODES[cls] for cls in type(error).__mro__ if cls in _CODES)


def shortened(text: str, limit: int = _LONGEST_MESSAGE) -> str:
    """Return `text` in at most `limit` bytes of UTF-8."""
    data = text.encode("utf-8", "replace")
    return data.decode() if len(data) <= limit else f"{data[: limit - 3].decode('utf-8', 'ignore')}..."


def _told(error: GraphsvcError) -> str:
    """Return the message for the client. Only messages of our own are told: a failing gate's may hold anything."""
    if isinstance(error, GateError) and not isinstance(error, GateContractError):
        found = error.facts.get("correlation_id", "")
        where = f" at node {error.node!r}" if error.node else ""
        return f"Gate {error.gate!r}{where} failed. The server's log tells why, under {found!r}."
    if isinstance(error, PluginError):
        return f"The plugin {error.facts.get('plugin', '')!r} cannot be used on this server."
    return error.message


def status_of(error: GraphsvcError) -> grpc.Status:
    """Return the status with which a call ends that raised `error`."""
    facts = {shortened(key, 40): shortened(value, _LONGEST_FACT) for key, value in list(error.facts.items())[:8]}
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=facts)]
    field = facts.get("path") or facts.get("input") or facts.get("output") or facts.get("node")
    if code_of(error) == code_pb2.INVALID_ARGUMENT and field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, reason=error.reason)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    pushback = None
    if isinstance(error, BusyError):
        pushback = int(error.facts.get("retry_ms", "100"))
        details.append(
            error_details_pb2.RetryInfo(
                retry_delay=duration_pb2.Duration(nanos=pushback % 1000 * 10**6, seconds=pushback // 1000)
            )
        )
    elif isinstance(error, LimitError):
        pushback = -1
        asked = f"{facts.get('asked', 'more')} of {facts.get('limit', 'what there is')}"
        violation = error_details_pb2.QuotaFailure.Violation(subject=facts.get("limit", ""), description=asked)
        details.append(error_details_pb2.QuotaFailure(violations=[violation]))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    message = status_pb2.Status(code=code_of(error), message=shortened(_told(error)), details=packed)
    status: Any = rpc_status.to_status(message)
    if pushback is None:
        return status  # type: ignore[no-any-return]
    # A status that ends a call replaces what metadata there was, so all of it stands here.
    return status._replace(  # type: ignore[no-any-return]
        trailing_metadata=(*status.trailing_metadata, (_PUSHBACK_KEY, str(pushback)))
    )


def packed_status(status: grpc.Status) -> bytes:
    """Return a status that `status_of` made as the bytes of a `google.rpc.Status`."""
    return next(value for key, value in status.trailing_metadata if key == _DETAILS_KEY and isinstance(value, bytes))


def error_from_packed(data: bytes) -> GraphsvcError:
    """Return the error that a `google.rpc.Status` tells of."""
    return _from_status(data) or ServerError("The server refused the call with a status that says nothing.")


def error_from_rpc(error: grpc.RpcError, target: str) -> GraphsvcError:
    """Return the error that a server answered with, as it would have been raised in process.

    Args:
        error: What the call raised.
        target: The server, for the message where none answered.
    """
    code: grpc.StatusCode = error.code()
    details: str = error.details() or ""
    for key, value in _metadata(error):
        if key == _DETAILS_KEY and (found := _from_status(value)):
            return found
    if code is grpc.StatusCode.UNAVAILABLE:
        msg = f"No server answers at {target!r} ({details[:200]}). Start one with `graphsvc serve`, or mend the target."
        return UnreachableError(msg, target=target)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError("The deadline passed before the server answered. Give the call a longer timeout.")
    if code is grpc.StatusCode.CANCELLED:
        return StoppedError("The call was cancelled.")
    if sizes := _TOO_LARGE.search(details):
        asked, most = map(int, sizes.groups())
        msg = f"The message has {asked:,} bytes; the server at {target!r} takes {most:,} (--max-message-bytes or "
        msg += "GRAPHSVC_MAX_MESSAGE_BYTES there). Send less at a time."
        return LimitError(msg, limit="max_message_bytes", asked=str(asked))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return LimitError(f"Server or client allow no more ({details[:200]}). Send or ask for less.")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        msg = f"At {target!r} is no server of graphsvc, or one of another version. Mend the target."
        return ServerError(msg, code=code.name)
    return ServerError(f"The server at {target!r} answered {code.name}: {details[:200]}", code=code.name)


def _metadata(error: grpc.RpcError) -> Sequence[tuple[str, bytes]]:
    pairs: Iterable[Any] = error.trailing_metadata() or ()
    return [(str(key), value) for key, value in pairs if isinstance(value, bytes)]


def _from_status(data: bytes) -> GraphsvcError | None:
    """Return the error that a status tells of, if it is one of ours."""
    classes = {cls.reason: cls for cls in error_classes()}
    try:
        status = status_pb2.Status.FromString(data)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                return classes.get(info.reason, ServerError)(status.message, **dict(info.metadata))
    except DecodeError:
        return None
    return None
