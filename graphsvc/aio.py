"""The client for asyncio: the same calls, awaited."""

import asyncio
import itertools
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from graphsvc.client.forking import check_process

# isort: split
import grpc

from graphsvc.arrays import Array
from graphsvc.client.asked import METHODS, Asked, Listener, parse_response
from graphsvc.client.client import CHANNEL_OPTIONS, MAPPED_AT_ONCE
from graphsvc.client.exchange import check_target, check_timeout, converse
from graphsvc.client.known import KnownGraph
from graphsvc.client.patience import attempts, pause
from graphsvc.client.question import Question, Residents
from graphsvc.client.sessions import late, wants_stream
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.question import judge_directions
from graphsvc.errors import BusyError, GraphsvcError, LimitError, ServiceError, StoppedError, UnreachableError
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
        self._session: _Session | None = None
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
        session, self._session = self._session, None
        if session is not None:
            session.close()
        if channel is not None:
            await channel.close()

    def _connected(self) -> grpc.aio.Channel:
        # A channel belongs to the event loop that it was made in.
        loop = asyncio.get_running_loop()
        if self._channel is not None and self._process != os.getpid():
            msg = "An asyncio client that was used does not survive a fork. Make one in the child process."
            raise ServiceError(msg)
        if self._channel is None or self._loop is not loop:
            check_process()
            self._channel = grpc.aio.insecure_channel(self.target, options=CHANNEL_OPTIONS)
            self._methods = {name: self._channel.unary_unary(path) for name, path in METHODS.items()}
            self._session = None
            self._loop = loop
            self._process = os.getpid()
        return self._channel

    def _stream(self) -> Any:
        # Bytes, because a chunk is not worth a message.
        return self._connected().stream_stream(METHODS["Session"])

    def _open_session(self) -> "_Session":
        """Return the stream that small questions share, opened if there is none."""
        self._connected()
        if self._session is None or self._session.is_lost:
            self._session = _Session(self._stream(), self.target)
        return self._session

    def _seconds(self, timeout: float | None) -> float | None:
        return self.timeout if timeout is None else check_timeout(timeout)

    async def _call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        self._connected()
        with _told_of_closing():
            try:
                return await self._methods[method](request, timeout=self._seconds(timeout))
            except grpc.RpcError as error:
                raise error_from_rpc(error, self.target) from None

    async def ask(
        self, graph: ComputationalGraph, question: Question, timeout: float | None, *, shared: bool = False
    ) -> Any:
        """Put a question to the server; see `graphsvc.Client.ask`."""
        conversation = converse(graph, question, self._known)
        try:
            asked = next(conversation)
            while True:
                try:
                    answer = await self._answered(asked, self._seconds(timeout), shared=shared)
                except GraphsvcError as error:
                    asked = conversation.throw(error)
                else:
                    asked = conversation.send(answer)
        except StopIteration as stop:
            return stop.value

    async def _answered(self, asked: Asked, seconds: float | None, *, shared: bool) -> Any:
        if not asked.beside and not shared:
            try:
                return asked.read(await self._call(asked.method, asked.body, seconds), None)
            except LimitError as error:
                if not wants_stream(error):
                    raise
        alone = asked.beside or not shared
        for left, last in attempts(seconds):
            try:
                with _told_of_closing():
                    return await (self._alone(asked, left) if alone else self._in_session(asked, left))
            except BusyError as error:
                if last or (left is not None and pause(error) >= left):
                    raise
                await asyncio.sleep(pause(error))
        raise AssertionError

    async def _in_session(self, asked: Asked, seconds: float | None) -> Any:
        for last in (False, True):
            try:
                return await self._open_session().ask(asked, seconds)
            except _SessionLostError as lost:
                # Such as one that was silent for long. What is asked changes nothing there, so it may be asked again.
                if last or lost.is_closed:
                    raise lost.error from None
        raise AssertionError

    async def _alone(self, asked: Asked, seconds: float | None) -> Any:
        """Ask one question on a stream of its own."""
        session = _Session(self._stream(), self.target)
        try:
            return await session.ask(asked, seconds)
        except _SessionLostError as lost:
            raise lost.error from None
        finally:
            session.close()

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
        return await self._client.ask(self._graph, question, timeout, shared=True)


class _SessionLostError(Exception):
    """The stream ended before the answer came; `error` says why.

    What was asked may be asked again, unless the client was closed: `is_closed`.
    """

    def __init__(self, error: GraphsvcError) -> None:
        super().__init__(error)
        self.error = error
        self.is_closed = type(error) is StoppedError


class _Session:
    """A stream that carries many questions at once. It lasts until the server or the network ends it."""

    def __init__(self, opener: Any, target: str) -> None:
        self._target = target
        self._listener = Listener()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._lost: GraphsvcError | None = None
        self._writing = asyncio.Lock()
        self._stream = opener()
        self._reader = asyncio.create_task(self._read())

    @property
    def is_lost(self) -> bool:
        return self._lost is not None

    async def ask(self, asked: Asked, seconds: float | None) -> Any:
        if self._lost:
            raise _SessionLostError(self._lost)
        number = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._listener.expect(number, asked)
        try:
            async with asyncio.timeout(seconds):
                await self._send(asked, number, seconds)
                return await answer
        except TimeoutError:
            raise late() from None
        finally:
            del self._waiting[number]

    async def _send(self, asked: Asked, number: int, seconds: float | None) -> None:
        # Nothing may come between a request and its chunks.
        async with self._writing:
            try:
                for message in asked.messages(number, seconds):
                    await self._stream.write(message)
            except (grpc.RpcError, asyncio.InvalidStateError):
                # Who reads knows why, and says so to whoever waits for an answer.
                return

    async def _read(self) -> None:
        try:
            while (data := await self._stream.read()) is not grpc.aio.EOF:
                if (heard := self._listener.hear(data)) is not None:
                    self._give(*heard)
            self._lose(UnreachableError(f"The server at {self._target!r} ended the session.", target=self._target))
        except grpc.RpcError as error:
            self._lose(error_from_rpc(error, self._target))
        except GraphsvcError as error:
            self._lose(error)
            self._stream.cancel()

    def _give(self, number: int, answer: Any) -> None:
        waiting = self._waiting.get(number)
        if waiting is None or waiting.done():
            return
        if isinstance(answer, Exception):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)

    def _lose(self, error: GraphsvcError) -> None:
        self._lost = error
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(_SessionLostError(error))

    def close(self) -> None:
        if not self._lost:
            self._lose(StoppedError("The client was closed during the call."))
        self._reader.cancel()
        self._stream.cancel()


@contextmanager
def _told_of_closing() -> Iterator[None]:
    """Tell a call that ends because its channel is closed from a task that is cancelled."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # gRPC cancels the calls of a channel that is closed; the task that waits is not meant.
        msg = "The client was closed during the call."
        raise StoppedError(msg) from error


def connect(target: str, *, timeout: float | None = 60.0) -> AsyncClient:
    """Return a client of the server at `target`, for use in `async with`; see `AsyncClient`."""
    return AsyncClient(target, timeout=timeout)
