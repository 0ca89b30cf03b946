"""The server: one event loop that receives and answers, and threads that run the graphs."""

import asyncio
import logging
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.internal import api_implementation
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from graphsvc.engine.plugins import PluginReport, PluginState, find_plugins, probe_plugins
from graphsvc.engine.registry import Registry
from graphsvc.errors import GateError, GraphsvcError, LimitError, PluginError, ServerError
from graphsvc.serving.admission import Machine, Queue, judge
from graphsvc.serving.service import Service, Stop
from graphsvc.serving.settings import Settings
from graphsvc.serving.strictness import StrictParsing
from graphsvc.serving.work import Work
from graphsvc.status import status_of
from graphsvc.v1 import service_pb2

__all__ = ["Server", "load_plugins", "run_server"]

_LOG: Final = logging.getLogger("graphsvc.server")
_T = TypeVar("_T")

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
        self._service = Service(registry, plugins, settings)
        self._machine = Machine.measured()
        self._queue = Queue(settings.threads, settings)
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="graphsvc")
        # Of their own, so that a call is refused in no time while graphs run.
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="graphsvc-read")
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(interceptors=(StrictParsing(),), options=_options(settings))
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
            "Evaluate": grpc.unary_unary_rpc_method_handler(self._evaluate),
            "Differentiate": grpc.unary_unary_rpc_method_handler(self._differentiate),
            "ListGates": grpc.unary_unary_rpc_method_handler(self._simple(self._service.list_gates)),
            "DescribeGate": grpc.unary_unary_rpc_method_handler(self._describe_gate),
            "GetServerInfo": grpc.unary_unary_rpc_method_handler(self._simple(self._service.server_info)),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._settings.reflection:
            names = (_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)
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
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _evaluate(self, data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return await self._run(self._service.evaluate, data, context)

    async def _differentiate(self, data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return await self._run(self._service.differentiate, data, context)

    async def _run(
        self,
        read: Callable[[bytes, Callable[[], None]], Work],
        data: bytes,
        context: grpc.aio.ServicerContext[bytes, bytes],
    ) -> bytes:
        """Read a request, admit it, wait for a place, and do the work; each in its turn may refuse it."""
        remaining = context.time_remaining()
        stop = Stop(min(self._settings.max_seconds, self._settings.max_seconds if remaining is None else remaining))
        try:
            return await _end(await self._admitted(read, data, stop), context)
        except asyncio.CancelledError:
            # The client went away, or its deadline passed. The thread runs on to the end of its gate.
            stop.set()
            raise

    async def _admitted(
        self, read: Callable[[bytes, Callable[[], None]], Work], data: bytes, stop: Stop
    ) -> bytes | grpc.Status:
        try:
            self._queue.check_open()
        except GraphsvcError as error:
            return status_of(error)
        loop = asyncio.get_running_loop()
        work = await loop.run_in_executor(self._readers, _outcome, lambda: self._judged(read, data, stop))
        if not isinstance(work, Work):
            return work
        nbytes = work.needed_bytes(min(self._settings.max_run_bytes, self._settings.memory_bytes))
        try:
            lease = await self._queue.enter(nbytes, self._machine.seconds(work.estimate), stop.remaining)
        except GraphsvcError as error:
            return status_of(error)
        done = self._threads.submit(_outcome, lambda: work.run(stop, lease))
        # Not when nobody waits for the call any more, but when the thread is done with it.
        done.add_done_callback(lambda _: loop.call_soon_threadsafe(lease.release))
        return await asyncio.wrap_future(done)

    def _judged(self, read: Callable[[bytes, Callable[[], None]], Work], data: bytes, stop: Stop) -> Work:
        work = read(data, stop)
        judge(work.estimate, self._machine.seconds(work.estimate), stop.remaining, self._settings)
        return work

    async def _describe_gate(self, data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        # The example of a gate is planned, which may take as long as its author pleases.
        return await self._answer(lambda: self._service.describe_gate(data), context)

    def _simple(self, answer: Callable[[bytes], bytes]) -> Callable[[bytes, Any], Any]:
        """Return a handler of a method whose answer is at hand, and so needs no thread."""

        async def handler(data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            return await _end(_outcome(lambda: answer(data)), context)

        return handler

    async def _answer(self, work: Callable[[], bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        """Do the work in a thread, and end the call with the status of what it raises."""
        loop = asyncio.get_running_loop()
        return await _end(await loop.run_in_executor(self._readers, _outcome, work), context)


async def _end(outcome: bytes | grpc.Status, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    if isinstance(outcome, bytes):
        return outcome
    await context.abort_with_status(outcome)
    return b""


def _outcome(work: Callable[[], _T]) -> _T | grpc.Status:
    """Return what `work` returns, or the status of what it raises. Nothing escapes.

    SystemExit in the event loop would end the server, and anything else would tell its text to the client.
    """
    try:
        return _attempt(work)
    except BaseException as error:  # noqa: BLE001 - see above
        correlation_id = uuid.uuid4().hex[:12]
        _LOG.error("internal error %s", correlation_id, exc_info=error)
        msg = f"The server failed. Its operator finds the cause in the log under {correlation_id}."
        return status_of(ServerError(msg, correlation_id=correlation_id))


def _attempt(work: Callable[[], _T]) -> _T | grpc.Status:
    try:
        return work()
    except MemoryError:
        return status_of(LimitError("The graph needs more memory than the server has. Ask for less at a time."))
    except GateError as error:
        correlation_id = uuid.uuid4().hex[:12]
        _LOG.error("%s [%s]", error.message, correlation_id, exc_info=error)
        return status_of(type(error)(error.message, **error.facts | {"correlation_id": correlation_id}))
    except GraphsvcError as error:
        return status_of(error)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes + 2**20),
        ("grpc.max_concurrent_streams", 128),
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


async def run_server(settings: Settings, ready: Callable[[Server], None]) -> None:
    """Run a server until SIGINT or SIGTERM.

    Args:
        settings: What the operator decided.
        ready: Called once the port is open.
    """
    with _stdout_set_aside():
        registry, plugins = load_plugins(settings)
    server = Server(settings, registry, plugins)
    await server.start()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    ready(server)
    await stopped.wait()
    await server.stop()


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
