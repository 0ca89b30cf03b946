"""The client for asyncio: the same calls, awaited."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from graphsvc.client.forking import check_process

# isort: split
import grpc

from graphsvc.arrays import Array
from graphsvc.client.aiosessions import AsyncSessions
from graphsvc.client.asked import METHODS, Asked, parse_response
from graphsvc.client.client import CHANNEL_OPTIONS, MAPPED_AT_ONCE
from graphsvc.client.exchange import check_target, check_timeout, converse
from graphsvc.client.known import KnownGraph
from graphsvc.client.patience import attempts, pause
from graphsvc.client.question import Question, Residents
from graphsvc.client.sessions import closed, wants_stream
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.question import judge_directions
from graphsvc.errors import BusyError, GraphsvcError, LimitError, ServiceError
from graphsvc.v1 import service_pb2
from graphsvc.wire.status import error_from_rpc

__all__ = ["AsyncClient", "AsyncRemoteGraph", "connect"]


class AsyncClient:
    """A connection to a server from an event loop; it connects when it is first used, and can be pickled."""

    def __init__(self, target: str, *, timeout: float | None = 60.0) -> None:
        """Make a client; nothing is sent yet. See `graphsvc.Client`."""
        self.target = check_target(target)
        self.timeout = check_timeout(timeout)
        self._known: dict[bytes, KnownGraph] = {}
        self._channel: grpc.aio.Channel | None = None
        # Making one takes longer than a small call.
        self._methods: dict[str, Callable[..., Awaitable[bytes]]] = {}
        self._sessions: AsyncSessions | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0

    async def value_and_grad(
        self,
        graph: ComputationalGraph,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        vectors: int | None = None,
        debug: bool = False,
        timeout: float | None = None,
    ) -> tuple[dict[str, Array], InputGradients]:
        """Run a graph on the server; see `graphsvc.Client.value_and_grad`. A cancelled task cancels the call."""
        question = Question(inputs, wrt, output_gradients, outputs, vectors, debug=debug)
        answer: tuple[dict[str, Array], InputGradients] = await self.ask(graph, question, timeout)
        return answer

    async def jvp(
        self,
        graph: ComputationalGraph,
        inputs: Mapping[str, object],
        tangents: Mapping[str, object],
        outputs: Iterable[str] | None = None,
        *,
        vectors: int | None = None,
        timeout: float | None = None,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Differentiate a graph on the server; see `ComputationalGraph.jvp`."""
        question = Question(inputs, None, None, outputs, vectors, "jvp", tangents)
        answer: tuple[dict[str, Array], dict[str, Array]] = await self.ask(graph, question, timeout)
        return answer

    async def hvp(
        self,
        graph: ComputationalGraph,
        inputs: Mapping[str, object],
        directions: Mapping[str, object] | None = None,
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        vectors: int | Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> tuple[InputGradients, InputGradients]:
        """Differentiate a graph on the server; see `ComputationalGraph.hvp`."""
        directions, vectors = judge_directions(directions, vectors)
        question = Question(inputs, wrt, output_gradients, outputs, vectors, "hvp", directions)
        answer: tuple[InputGradients, InputGradients] = await self.ask(graph, question, timeout)
        return answer

    async def jacobian(
        self,
        graph: ComputationalGraph,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, dict[str, Array]]:
        """Differentiate a graph on the server; see `ComputationalGraph.jacobian`."""
        question = Question(inputs, wrt, None, outputs, kind="jacobian")
        answer: dict[str, dict[str, Array]] = await self.ask(graph, question, timeout)
        return answer

    async def hessian(
        self,
        graph: ComputationalGraph,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, dict[str, Array]]:
        """Differentiate a graph on the server; see `ComputationalGraph.hessian`."""
        question = Question(inputs, wrt, output_gradients, outputs, kind="hessian")
        answer: dict[str, dict[str, Array]] = await self.ask(graph, question, timeout)
        return answer

    def graph(self, graph: ComputationalGraph, resident: Mapping[str, object] | None = None) -> "AsyncRemoteGraph":
        """Return the graph as one that runs on the server, for many calls; see `graphsvc.Client.graph`."""
        return AsyncRemoteGraph(self, graph, Residents(graph, resident) if resident else None)

    async def gates(self) -> list[service_pb2.Gate]:
        """Return the gates that graphs may use on the server, as messages of `graphsvc.v1`."""
        response = await self._call("ListGates", b"", None)
        return list(parse_response(service_pb2.ListGatesResponse, response).gates)

    async def describe_gate(self, name: str) -> service_pb2.DescribeGateResponse:
        """Return all that the server knows of a gate, which need not be installed here, as a message of `graphsvc.v1`.

        Args:
            name: Its name, with the namespace of its plugin.

        Raises:
            UnknownGateError: The server has none of that name.
        """
        request = service_pb2.DescribeGateRequest(name=name)
        response = await self._call("DescribeGate", request.SerializeToString(), None)
        return parse_response(service_pb2.DescribeGateResponse, response)

    async def server_info(self) -> service_pb2.GetServerInfoResponse:
        """Return versions, limits and plugins of the server, as a message of `graphsvc.v1`."""
        response = await self._call("GetServerInfo", b"", None)
        return parse_response(service_pb2.GetServerInfoResponse, response)

    def map(
        self,
        graph: ComputationalGraph,
        inputs: Iterable[Mapping[str, object]],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> AsyncIterator[tuple[dict[str, Array], InputGradients]]:
        """Run a graph on many inputs; see `AsyncRemoteGraph.map`."""
        return self.graph(graph).map(inputs, wrt, output_gradients, outputs, timeout=timeout)

    async def close(self) -> None:
        """Close the connection; the next call opens another."""
        channel, self._channel = self._channel, None
        sessions, self._sessions = self._sessions, None
        if sessions is not None:
            sessions.close()
        if channel is not None:
            await channel.close()

    def _connected(self) -> AsyncSessions:
        # A channel belongs to the event loop that it was made in.
        loop = asyncio.get_running_loop()
        if self._channel is not None and self._process != os.getpid():
            msg = "An asyncio client that was used does not survive a fork. Make one in the child process."
            raise ServiceError(msg)
        if self._channel is None or self._sessions is None or self._loop is not loop:
            check_process()
            self._channel = grpc.aio.insecure_channel(self.target, options=CHANNEL_OPTIONS)
            self._methods = {name: self._channel.unary_unary(path) for name, path in METHODS.items()}
            # Bytes, because a chunk is not worth a message.
            self._sessions = AsyncSessions(self._channel.stream_stream(METHODS["Session"]), self.target)
            self._loop = loop
            self._process = os.getpid()
        return self._sessions

    def _seconds(self, timeout: float | None) -> float | None:
        return self.timeout if timeout is None else check_timeout(timeout)

    async def _call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        self._connected()
        try:
            return await self._methods[method](request, timeout=self._seconds(timeout))
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.target) from None
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            raise closed() from None

    async def ask(
        self, graph: ComputationalGraph, question: Question, timeout: float | None, *, session: bool = False
    ) -> Any:
        """Put a question to the server; see `graphsvc.Client.ask`."""
        conversation = converse(graph, question, self._known)
        try:
            asked = next(conversation)
            while True:
                try:
                    answer = await self._answered(asked, self._seconds(timeout), session=session)
                except GraphsvcError as error:
                    asked = conversation.throw(error)
                else:
                    asked = conversation.send(answer)
        except StopIteration as stop:
            return stop.value

    async def _answered(self, asked: Asked, seconds: float | None, *, session: bool) -> Any:
        sessions = self._connected()
        if not asked.beside and (sessions.are_busy or not session):
            try:
                return asked.read(await self._call(asked.method, asked.body, seconds), None)
            except LimitError as error:
                if not wants_stream(error):
                    raise
        for left, last in attempts(seconds):
            try:
                return await sessions.ask(asked, left)
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                raise closed() from None
            except BusyError as error:
                if last or (left is not None and pause(error) >= left):
                    raise
                await asyncio.sleep(pause(error))
        raise AssertionError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickled, (self.target, self.timeout)

    def __repr__(self) -> str:
        return f"<AsyncClient of {self.target!r}>"


def _unpickled(target: str, timeout: float | None) -> AsyncClient:
    return AsyncClient(target, timeout=timeout)


class AsyncRemoteGraph:
    """A graph that runs on a server, for asyncio; see `graphsvc.RemoteGraph`."""

    def __init__(self, client: AsyncClient, graph: ComputationalGraph, residents: Residents | None = None) -> None:
        self._client = client
        self._graph = graph
        self._residents = residents

    async def value_and_grad(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        vectors: int | None = None,
        debug: bool = False,
        timeout: float | None = None,
    ) -> tuple[dict[str, Array], InputGradients]:
        """Run the graph on the server; see `AsyncClient.value_and_grad`, and of `wrt` `graphsvc.RemoteGraph`."""
        residents = self._residents
        question = Question(inputs, wrt, output_gradients, outputs, vectors, residents=residents, debug=debug)
        answer: tuple[dict[str, Array], InputGradients] = await self._ask(question, timeout)
        return answer

    async def jvp(
        self,
        inputs: Mapping[str, object],
        tangents: Mapping[str, object],
        outputs: Iterable[str] | None = None,
        *,
        vectors: int | None = None,
        timeout: float | None = None,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Differentiate the graph on the server; see `AsyncClient.jvp`."""
        question = Question(inputs, None, None, outputs, vectors, "jvp", tangents, self._residents)
        answer: tuple[dict[str, Array], dict[str, Array]] = await self._ask(question, timeout)
        return answer

    async def hvp(
        self,
        inputs: Mapping[str, object],
        directions: Mapping[str, object] | None = None,
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        vectors: int | Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> tuple[InputGradients, InputGradients]:
        """Differentiate the graph on the server; see `AsyncClient.hvp`."""
        directions, vectors = judge_directions(directions, vectors)
        question = Question(inputs, wrt, output_gradients, outputs, vectors, "hvp", directions, self._residents)
        answer: tuple[InputGradients, InputGradients] = await self._ask(question, timeout)
        return answer

    async def jacobian(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, dict[str, Array]]:
        """Differentiate the graph on the server; see `AsyncClient.jacobian`."""
        question = Question(inputs, wrt, None, outputs, kind="jacobian", residents=self._residents)
        answer: dict[str, dict[str, Array]] = await self._ask(question, timeout)
        return answer

    async def hessian(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, dict[str, Array]]:
        """Differentiate the graph on the server; see `AsyncClient.hessian`."""
        question = Question(inputs, wrt, output_gradients, outputs, kind="hessian", residents=self._residents)
        answer: dict[str, dict[str, Array]] = await self._ask(question, timeout)
        return answer

    async def map(
        self,
        inputs: Iterable[Mapping[str, object]],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> AsyncIterator[tuple[dict[str, Array], InputGradients]]:
        """Run the graph on many inputs, several at a time; see `graphsvc.RemoteGraph.map`."""
        started: deque[asyncio.Task[tuple[dict[str, Array], InputGradients]]] = deque()
        try:
            for one in inputs:
                question = self.value_and_grad(one, wrt, output_gradients, outputs, timeout=timeout)
                started.append(asyncio.create_task(question))
                if len(started) == MAPPED_AT_ONCE:
                    yield await started.popleft()
            while started:
                yield await started.popleft()
        finally:
            for task in started:
                task.cancel()

    async def _ask(self, question: Question, timeout: float | None) -> Any:
        return await self._client.ask(self._graph, question, timeout, session=True)


def _is_cancelled() -> bool:
    """Tell a task that is cancelled from one that is not meant: gRPC cancels the calls of a channel that is closed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def connect(target: str, *, timeout: float | None = 60.0) -> AsyncClient:
    """Return a client of the server at `target`, for use in `async with`; see `AsyncClient`."""
    return AsyncClient(target, timeout=timeout)
