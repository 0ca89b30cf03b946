"""The page over HTTP, in the event loop of the server that it stands beside."""

import asyncio
import base64
import hashlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import uvicorn
from google.rpc import code_pb2
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graphsvc.drawing.svg import STYLE
from graphsvc.errors import DeadlineError, GraphsvcError, LimitError, RequestError, ServerError
from graphsvc.page.answers import error_answer
from graphsvc.page.api import Api
from graphsvc.page.openapi import openapi
from graphsvc.page.punctual import PunctualProtocol
from graphsvc.serving.server import Server
from graphsvc.serving.settings import Settings
from graphsvc.wire.status import code_of

__all__ = ["Page"]

_STATIC: Final = Path(__file__).parent / "static"

_MOST_BYTES: Final = 4 * 2**20
"""The largest question; larger data belong in gRPC."""

_HTTP_OF: Final = {
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.NOT_FOUND: 404,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.CANCELLED: 499,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.UNAVAILABLE: 503,
}

_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

_HEADERS: Final = {
    # No script but the page's own, whatever a graph is called, and no style but its own and that of drawings.
    "content-security-policy": "default-src 'none'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    f"style-src 'self' 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}

_Asked = Callable[[bytes], Coroutine[Any, Any, bytes | GraphsvcError]]


class Page:
    """The page of a server.

    Attributes:
        url: Where it is; empty until it is open.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.url = ""

    @asynccontextmanager
    async def beside(self, server: Server) -> AsyncIterator[None]:
        """Serve it while a server runs.

        Raises:
            ServerError: Its port cannot be opened.
        """
        host, port = self._settings.http_address
        listening = _listening(host, port)
        self.url = f"http://{_bracketed(host)}:{listening.getsockname()[1]}/"
        config = uvicorn.Config(
            _app(Api(server.service, server.calls, self._settings), self._settings),
            log_config=None,
            access_log=False,
            http=cast(type[asyncio.Protocol], partial(PunctualProtocol, seconds=self._settings.stall_seconds)),
            ws="none",
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=256,
            timeout_graceful_shutdown=int(self._settings.drain_seconds) + 1,
        )
        http = _Http(config)
        task = asyncio.create_task(http.serve(sockets=[listening]))
        try:
            yield
        finally:
            http.should_exit = True
            await task


class _Http(uvicorn.Server):
    """Leaves the signals to the server that it stands beside."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        msg = f"The page's address {_bracketed(host)}:{port} cannot be opened: {error.strerror}. Choose another --http."
        raise ServerError(msg, address=f"{host}:{port}") from None
    # Head and body of an answer are written apart; without this the second waits 40 ms for the first to be confirmed.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _app(api: Api, settings: Settings) -> Starlette:
    described = openapi()

    def asking(asked: _Asked) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                data = await _body(request, settings.stall_seconds)
            except GraphsvcError as error:
                return _told(error)
            except ClientDisconnect:
                return Response(status_code=499)
            return _response(await _while_there(request, asked(data)))

        return endpoint

    async def page(_: Request) -> Response:
        return FileResponse(_STATIC / "index.html")

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "serving"})

    async def description(_: Request) -> Response:
        return JSONResponse(described)

    async def gates(_: Request) -> Response:
        return _response(await api.gates())

    async def gate(request: Request) -> Response:
        return _response(await api.gate(request.path_params["name"]))

    routes = [
        Route("/", page),
        Route("/healthz", health),
        Route("/api/openapi.json", description),
        Route("/api/graph", asking(api.graph), methods=["POST"]),
        Route("/api/evaluate", asking(api.evaluate), methods=["POST"]),
        Route("/api/gates", gates),
        Route("/api/gates/{name}", gate),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    hosts = _hosts(settings.http_address[0])
    middleware = [Middleware(_Headers), Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)]
    return Starlette(routes=routes, middleware=middleware)


def _hosts(host: str) -> list[str]:
    """Return the names under which the page may be asked for.

    On this machine alone, no others: another site's name may be made to lead here, and its scripts would then ask.
    """
    local = ["localhost", "127.0.0.1", "::1", "[::1]"]
    return [*local, host] if host == "localhost" or ipaddress.ip_address(host).is_loopback else ["*"]


async def _body(request: Request, seconds: float) -> bytes:
    """Return the body of a question.

    Raises:
        RequestError: It is not said to be JSON.
        LimitError: It is too large.
        DeadlineError: It does not come.
    """
    # A form of another site cannot say this without being asked first.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        msg = "A question to this API is JSON. Send it with the header Content-Type: application/json."
        raise RequestError(msg)
    data = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                data += part
                if len(data) > _MOST_BYTES:
                    msg = f"A question of the page has at most {_MOST_BYTES:,} bytes. Send large data over gRPC."
                    raise LimitError(msg, limit="max_bytes", asked="more")
    except TimeoutError:
        msg = f"The question did not come within {seconds:g} seconds."
        raise DeadlineError(msg) from None
    return bytes(data)


async def _while_there(request: Request, answer: Coroutine[Any, Any, bytes | GraphsvcError]) -> bytes | GraphsvcError:
    """Await an answer, and give it up when nobody waits for it any more."""
    answering = asyncio.ensure_future(answer)
    leaving = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            return b""
        return answering.result()
    finally:
        answering.cancel()
        leaving.cancel()


def _response(outcome: bytes | GraphsvcError) -> Response:
    return Response(outcome, media_type="application/json") if isinstance(outcome, bytes) else _told(outcome)


def _told(error: GraphsvcError) -> Response:
    return Response(
        error_answer(error).model_dump_json(),
        status_code=_HTTP_OF.get(code_of(error), 500),
        media_type="application/json",
    )


class _Headers:
    """Adds the same headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, sending)
