"""Malformed messages to the services that are not ours, health and reflection: INVALID_ARGUMENT, as to our own.

gRPC would answer UNKNOWN, with the name of an exception.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

__all__ = ["StrictParsing"]

_MALFORMED: Final = object()


class StrictParsing:
    """Takes services for a server, and gives every handler that parses its requests a parser that cannot fail.

    What did not parse is refused. An interceptor could do the same, but every call of our own would pass it as well.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Take a service; see `grpc.Server`."""
        self._server.add_generic_rpc_handlers(tuple(map(_Strict, handlers)))

    def add_registered_method_handlers(self, name: str, handlers: Mapping[str, Any]) -> None:
        """Take nothing: `grpc.aio` finds methods by their generic handlers alone."""


class _Strict(grpc.GenericRpcHandler):
    """Handlers of a service, made strict."""

    def __init__(self, inner: grpc.GenericRpcHandler) -> None:
        self._inner = inner

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call; see `grpc.GenericRpcHandler`."""
        handler: Any = self._inner.service(handler_call_details)
        if handler is None:
            return None
        strict: dict[str, Any] = {"request_deserializer": _parser(handler.request_deserializer)}
        if handler.unary_unary:
            strict["unary_unary"] = _refusing(handler.unary_unary)
        elif handler.unary_stream:
            strict["unary_stream"] = _refusing(handler.unary_stream)
        elif handler.stream_stream:
            strict["stream_stream"] = _refusing_stream(handler.stream_stream)
        return handler._replace(**strict)


def _parser(parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
    def parsed(data: bytes) -> object:
        try:
            return parse(data)
        except DecodeError:
            return _MALFORMED

    return parsed


async def _refuse(context: Any) -> None:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "These bytes are not the message of this method.")


def _refusing(behaviour: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    async def refusing(request: Any, context: Any) -> Any:
        if request is _MALFORMED:
            await _refuse(context)
        return await behaviour(request, context)

    return refusing


def _refusing_stream(behaviour: Callable[[Any, Any], AsyncIterator[Any]]) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def refusing(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async def wellformed() -> AsyncIterator[Any]:
            async for request in requests:
                if request is _MALFORMED:
                    await _refuse(context)
                yield request

        async for response in behaviour(wellformed(), context):
            yield response

    return refusing
