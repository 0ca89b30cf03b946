"""The client for asyncio: the same calls, awaited."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import grpc

from graphsvc.arrays import Array
from graphsvc.client import CHANNEL_OPTIONS
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.question import judge_directions
from graphsvc.errors import GraphsvcError, ServiceError, StoppedError
from graphsvc.exchange import Answer, Conversation, Question, check_target, check_timeout, converse
from graphsvc.status import error_from_rpc
from graphsvc.v1 import service_pb2, service_pb2_grpc

__all__ = ["AsyncClient", "AsyncRemoteGraph", "connect"]


class AsyncClient:
    """A connection to a server from an event loop; it connects when it is first used, and can be pickled."""

    def __init__(self, target: str, *, timeout: float | None = 60.0) -> None:
        """Make a client; nothing is sent yet. See `graphsvc.Client`."""
        self.target = check_target(target)
        self.timeout = check_timeout(timeout)
        self._known: dict[bytes, bytes] = {}
        self._channel: grpc.aio.Channel | None = None
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
        timeout: float | None = None,
    ) -> tuple[dict[str, Array], InputGradients]:
        """Run a graph on the server; see `graphsvc.Client.value_and_grad`. A cancelled task cancels the call."""
        question = Question(inputs, wrt, output_gradients, outputs, vectors)
        answer: tuple[dict[str, Array], InputGradients] = await self._ask(
            converse(graph, question, self._known), timeout
        )
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
        answer: tuple[dict[str, Array], dict[str, Array]] = await self._ask(
            converse(graph, question, self._known), timeout
        )
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
        answer: tuple[InputGradients, InputGradients] = await self._ask(converse(graph, question, self._known), timeout)
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
        answer: dict[str, dict[str, Array]] = await self._ask(converse(graph, question, self._known), timeout)
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
        answer: dict[str, dict[str, Array]] = await self._ask(converse(graph, question, self._known), timeout)
        return answer

    def graph(self, graph: ComputationalGraph) -> "AsyncRemoteGraph":
        """Return the graph as one that runs on the server."""
        return AsyncRemoteGraph(self, graph)

    async def gates(self) -> list[service_pb2.Gate]:
        """Return the gates that graphs may use on the server, as messages of `graphsvc.v1`."""
        response = await self._call("ListGates", service_pb2.ListGatesRequest(), None)
        return list(response.gates)

    async def describe_gate(self, name: str) -> service_pb2.DescribeGateResponse:
        """Return all that the server knows of a gate, which need not be installed here, as a message of `graphsvc.v1`.

        Args:
            name: Its name, with the namespace of its plugin.

        Raises:
            UnknownGateError: The server has none of that name.
        """
        request = service_pb2.DescribeGateRequest(name=name)
        found: service_pb2.DescribeGateResponse = await self._call("DescribeGate", request, None)
        return found

    async def server_info(self) -> service_pb2.GetServerInfoResponse:
        """Return versions, limits and plugins of the server, as a message of `graphsvc.v1`."""
        info: service_pb2.GetServerInfoResponse = await self._call(
            "GetServerInfo", service_pb2.GetServerInfoRequest(), None
        )
        return info

    async def close(self) -> None:
        """Close the connection; the next call opens another."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _stub(self) -> Any:
        # A channel belongs to the event loop that it was made in.
        loop = asyncio.get_running_loop()
        if self._channel is not None and self._process != os.getpid():
            msg = "An asyncio client that was used does not survive a fork. Make one in the child process."
            raise ServiceError(msg)
        if self._channel is None or self._loop is not loop:
            self._channel = grpc.aio.insecure_channel(self.target, options=CHANNEL_OPTIONS)
            self._loop = loop
            self._process = os.getpid()
        return service_pb2_grpc.GraphServiceStub(self._channel)  # type: ignore[no-untyped-call]

    async def _call(self, method: str, request: Any, seconds: float | None) -> Any:
        seconds = self.timeout if seconds is None else check_timeout(seconds)
        try:
            return await getattr(self._stub(), method)(request, timeout=seconds)
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.target) from None
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # gRPC cancels the calls of a channel that is closed; the task that waits is not meant.
            msg = "The client was closed during the call."
            raise StoppedError(msg) from error

    async def _ask(self, conversation: Conversation, seconds: float | None) -> Answer:
        try:
            request = next(conversation)
            while True:
                try:
                    response = await self._call(type(request).__name__.removesuffix("Request"), request, seconds)
                except GraphsvcError as error:
                    request = conversation.throw(error)
                else:
                    request = conversation.send(response)
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer

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
    """A graph that runs on a server, for asyncio."""

    def __init__(self, client: AsyncClient, graph: ComputationalGraph) -> None:
        self._client = client
        self._graph = graph

    async def value_and_grad(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        vectors: int | None = None,
        timeout: float | None = None,
    ) -> tuple[dict[str, Array], InputGradients]:
        """Run the graph on the server; see `AsyncClient.value_and_grad`."""
        return await self._client.value_and_grad(
            self._graph, inputs, wrt, output_gradients, outputs, vectors=vectors, timeout=timeout
        )

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
        return await self._client.jvp(self._graph, inputs, tangents, outputs, vectors=vectors, timeout=timeout)

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
        return await self._client.hvp(
            self._graph, inputs, directions, wrt, output_gradients, outputs, vectors=vectors, timeout=timeout
        )

    async def jacobian(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, dict[str, Array]]:
        """Differentiate the graph on the server; see `AsyncClient.jacobian`."""
        return await self._client.jacobian(self._graph, inputs, wrt, outputs, timeout=timeout)

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
        return await self._client.hessian(self._graph, inputs, wrt, output_gradients, outputs, timeout=timeout)


def connect(target: str, *, timeout: float | None = 60.0) -> AsyncClient:
    """Return a client of the server at `target`, for use in `async with`; see `AsyncClient`."""
    return AsyncClient(target, timeout=timeout)
