"""The server: one event loop that receives and answers, and threads that run the graphs."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import Any, Final

import grpc
from google.protobuf.internal import api_implementation
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from graphsvc.engine.plugins import PluginReport, PluginState, find_plugins, probe_plugins
from graphsvc.engine.registry import Registry
from graphsvc.errors import PluginError, ServerError
from graphsvc.serving.calls import Call, Calls, outcome_of
from graphsvc.serving.service import FEW_BYTES, Request, Service
from graphsvc.serving.session import Session
from graphsvc.serving.settings import Settings
from graphsvc.serving.stop import Stop
from graphsvc.serving.strictness import StrictParsing
from graphsvc.v1 import service_pb2

__all__ = ["Server", "load_plugins", "run_server"]

_LOG: Final = logging.getLogger("graphsvc.server")

_TURN: Final = 1e-3
_COLLECTIONS: Final = 20_000

_SERVICE: Final = service_pb2.DESCRIPTOR.services_by_name["GraphService"].full_name


def load_plugins(settings: Settings) -> tuple[Registry, dict[str, PluginReport]]:
    """Import every allowed plugin: first in a child process, and then here if it did no harm there.

    Returns:
        A registry of the plugins that can be used, and what became of each allowed one.

    Raises:
        PluginError: An allowed one is not installed, or under `plugin_strict` one cannot be used.
    """
    found = find_plugins()
    for namespace in settings.plugins or ():
        if namespace not in found:
            msg = f"The plugin {namespace!r} is allowed, but not installed. Install it, or take it off the list."
            raise PluginError(msg, plugin=namespace)
    allowed = {n: report for n, report in found.items() if settings.plugins is None or n in settings.plugins}
    reports = probe_plugins(allowed, settings.plugin_seconds)
    # A refused plugin is not in the registry, so its names are unknown here and no call ever imports anything.
    usable = {n: report for n, report in reports.items() if report.state is PluginState.LOADED}
    registry = Registry(usable, remote=True)
    reports |= registry.load_all()
    for report in reports.values():
        if report.state is PluginState.LOADED:
            continue
        if settings.plugin_strict:
            raise PluginError(str(report), plugin=report.namespace)
        _LOG.warning("%s", report)
    return registry, reports


class Server:
    """A gRPC server in the running event loop.

    Attributes:
        port: The port it listens on, once it is started.
        plugins: What became of each plugin.
    """

    def __init__(self, settings: Settings, registry: Registry, plugins: dict[str, PluginReport]) -> None:
        self.plugins = plugins
        self._settings = settings
        self.service = Service(registry, plugins, settings)
        self.calls = Calls(self.service, settings)
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=_options(settings))
        self.port = 0

    async def start(self) -> None:
        """Open the port, and answer.

        Raises:
            ServerError: The port cannot be opened.
        """
        if api_implementation.Type() != "upb":
            msg = "protobuf runs without its C implementation, which has no bound on nesting. Reinstall protobuf."
            raise ServerError(msg)
        # No deserializer: bytes that are no message are then our INVALID_ARGUMENT, and not gRPC's UNKNOWN.
        methods: dict[str, Any] = {
            "Evaluate": grpc.unary_unary_rpc_method_handler(self._asking(service_pb2.EvaluateRequest)),
            "Differentiate": grpc.unary_unary_rpc_method_handler(self._asking(service_pb2.DifferentiateRequest)),
            "PutTensor": grpc.unary_unary_rpc_method_handler(self._asking(service_pb2.PutTensorRequest)),
            "Session": grpc.stream_stream_rpc_method_handler(self._session),
            "ListGates": grpc.unary_unary_rpc_method_handler(self._simple(self.service.list_gates)),
            "DescribeGate": grpc.unary_unary_rpc_method_handler(self._describe_gate),
            "GetServerInfo": grpc.unary_unary_rpc_method_handler(self._simple(self.service.server_info)),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
        strict: Any = StrictParsing(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, strict)
        if self._settings.reflection:
            names = (_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
            add_ServerReflectionServicer_to_server(reflection.aio.ReflectionServicer(names), strict)  # type: ignore[no-untyped-call]
        host = self._settings.host
        # An IPv6 address stands in brackets before a port.
        bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
        address = f"{bracketed}:{self._settings.port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            msg = (
                f"The address {address} cannot be opened. Another server may have it, or it is none of this machine's; "
            )
            msg += "choose another --port or --host."
            raise ServerError(msg, address=address) from None
        await self._server.start()
        for name in ("", _SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """Take no new calls, wait for those that run, and close."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._settings.drain_seconds)
        self.calls.close()

    def _asking(self, cls: type[Request]) -> Callable[[bytes, Any], Any]:
        """Return a handler of a method that asks for work to be done."""

        async def handler(data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            outcome = await self._outcome(cls, data, context)
            # What ends a call with a status is an exception that gRPC keeps beside the call. Its traceback has this
            # frame, so that all that stands here would live until Python collects garbage.
            del data
            return await _end(outcome, context)

        return handler

    async def _outcome(
        self, cls: type[Request], data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> bytes | grpc.Status:
        if cls is service_pb2.EvaluateRequest and (known := self.calls.repeated(data)) is not None:
            return known
        remaining = context.time_remaining()
        stop = Stop(min(self._settings.max_seconds, self._settings.max_seconds if remaining is None else remaining))
        if len(data) <= FEW_BYTES:
            request = outcome_of(lambda: self.service.parse(cls, data))
        else:
            request = await self.calls.in_reader(lambda: self.service.parse(cls, data))
        if isinstance(request, grpc.Status):
            return request
        try:
            reply = await self.calls.answer(Call(request, len(data), self.service.serialized, stop))
        except asyncio.CancelledError:
            # The client went away, or its deadline passed. The thread runs on to the end of its gate.
            stop.set()
            raise
        if isinstance(reply, grpc.Status):
            return reply
        reply.close()
        return reply.message

    async def _session(self, _: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        try:
            status = await Session(self.calls, self.service, self._settings, context).serve()
        except asyncio.CancelledError:
            # The client went away; gRPC would print that as an error.
            return
        if status is not None:
            await context.abort_with_status(status)

    async def _describe_gate(self, data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        # The example of a gate is planned, which may take as long as its author pleases.
        return await _end(await self.calls.in_reader(lambda: self.service.describe_gate(data)), context)

    def _simple(self, answer: Callable[[bytes], bytes]) -> Callable[[bytes, Any], Any]:
        """Return a handler of a method whose answer is at hand, and so needs no thread."""

        async def handler(data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            return await _end(outcome_of(lambda: answer(data)), context)

        return handler


async def _end(outcome: bytes | grpc.Status, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    if isinstance(outcome, bytes):
        return outcome
    await context.abort_with_status(outcome)
    return b""


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes + 2**20),
        ("grpc.max_concurrent_streams", 128),
        # A client knows that a stream is over before all of it is gone here. gRPC would count those as well, and tell
        # clients UNAVAILABLE that keep to the number above.
        ("grpc.http.overload_protection", 0),
        # Calls that came and wait for the event loop. gRPC would end those over a thousand with CANCELLED; they get
        # their turn instead, and are told that the server is busy.
        ("grpc.server.max_pending_requests", 1 << 14),
        ("grpc.server.max_pending_requests_hard_limit", 1 << 15),
        ("grpc.max_allowed_incoming_connections", 1024),
        ("grpc.server_handshake_timeout_ms", 10_000),
        # Otherwise a second server on the port starts without an error and takes some of the connections.
        ("grpc.so_reuseport", 0),
        # Identity alone: random floats do not compress, and nothing can be inflated.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
    ]


async def run_server(
    settings: Settings,
    ready: Callable[[Server], None],
    beside: Callable[[Server], AbstractAsyncContextManager[object]] = nullcontext,
) -> None:
    """Run a server until SIGINT or SIGTERM.

    Args:
        settings: What the operator decided.
        ready: Called once all is open.
        beside: What is open beside the port while the server runs.
    """
    with _stdout_set_aside():
        registry, plugins = load_plugins(settings)
    server = Server(settings, registry, plugins)
    await server.start()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    _favour_the_loop()
    async with beside(server):
        ready(server)
        await stopped.wait()
    await server.stop()


def _favour_the_loop() -> None:
    """Have the event loop wait less for the threads that read and run graphs, and for the collector of garbage.

    A thread that runs Python gives way after this many seconds; with five times as many, a small call beside a graph of
    many small gates takes five times as long. What was imported stays, and graphs are no garbage in cycles, so that all
    is searched for every 140 million objects that come to stay, or some hundred graphs of 20,000 gates: that may take a
    second, in which no thread runs. New objects are searched a few thousand at a time.
    """
    sys.setswitchinterval(_TURN)
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _COLLECTIONS)


@contextmanager
def _stdout_set_aside() -> Iterator[None]:
    """Send to stderr what is written to stdout, so that what plugins print does not pass for what the server says."""
    sys.stdout.flush()
    aside = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(aside, 1)
        os.close(aside)
