"""The client: graphs run on a server as they run in process."""

import os
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import grpc

from graphsvc.arrays import Array
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.question import judge_directions
from graphsvc.errors import GraphsvcError, StoppedError
from graphsvc.exchange import Answer, Conversation, Question, check_target, check_timeout, converse
from graphsvc.status import error_from_rpc
from graphsvc.v1 import service_pb2, service_pb2_grpc

__all__ = ["CHANNEL_OPTIONS", "Client", "RemoteGraph", "connect"]

CHANNEL_OPTIONS: Final = (
    # The server says what is too large.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


class Client:
    """A connection to a server.

    It connects when it is first used, anew in each process. Any number of threads may share it, and it can be pickled.
    """

    def __init__(self, target: str, *, timeout: float | None = 60.0) -> None:
        """Make a client; nothing is sent yet.

        Args:
            target: Host and port of the server, as in `localhost:50051`.
            timeout: Seconds that a call may take, if it does not say otherwise; None means any time.

        Raises:
            UnreachableError: `target` cannot be a server's.
        """
        self.target = check_target(target)
        self.timeout = check_timeout(timeout)
        self._known: dict[bytes, bytes] = {}
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._process = 0

    def value_and_grad(
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
        """Run a graph on the server; see `ComputationalGraph.value_and_grad`.

        The gates of the graph need not be installed here. The graph is sent once, and afterwards by its digest.

        Args:
            graph: The graph.
            inputs: An array, number or list for each input, by name.
            wrt: Inputs whose gradients are wanted; None means every floating-point one, an empty list means none.
            output_gradients: The gradient that arrives at each output; None means 1 for one output of one element.
            outputs: Outputs that are wanted; None means all.
            vectors: How many gradients arrive at each output; see `ComputationalGraph.value_and_grad`.
            timeout: Seconds that the call may take; None means the client's own.

        Raises:
            GraphsvcError: As in process, and ServiceError where server or network fail.
        """
        question = Question(inputs, wrt, output_gradients, outputs, vectors)
        answer: tuple[dict[str, Array], InputGradients] = self._ask(converse(graph, question, self._known), timeout)
        return answer

    def jvp(
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
        answer: tuple[dict[str, Array], dict[str, Array]] = self._ask(converse(graph, question, self._known), timeout)
        return answer

    def hvp(
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
        answer: tuple[InputGradients, InputGradients] = self._ask(converse(graph, question, self._known), timeout)
        return answer

    def jacobian(
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
        answer: dict[str, dict[str, Array]] = self._ask(converse(graph, question, self._known), timeout)
        return answer

    def hessian(
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
        answer: dict[str, dict[str, Array]] = self._ask(converse(graph, question, self._known), timeout)
        return answer

    def graph(self, graph: ComputationalGraph) -> "RemoteGraph":
        """Return the graph as one that runs on the server."""
        return RemoteGraph(self, graph)

    def gates(self) -> list[service_pb2.Gate]:
        """Return the gates that graphs may use on the server, as messages of `graphsvc.v1`."""
        response = self._call("ListGates", service_pb2.ListGatesRequest(), None)
        return list(response.gates)

    def describe_gate(self, name: str) -> service_pb2.DescribeGateResponse:
        """Return all that the server knows of a gate, which need not be installed here, as a message of `graphsvc.v1`.

        Args:
            name: Its name, with the namespace of its plugin.

        Raises:
            UnknownGateError: The server has none of that name.
        """
        request = service_pb2.DescribeGateRequest(name=name)
        found: service_pb2.DescribeGateResponse = self._call("DescribeGate", request, None)
        return found

    def server_info(self) -> service_pb2.GetServerInfoResponse:
        """Return versions, limits and plugins of the server, as a message of `graphsvc.v1`."""
        info: service_pb2.GetServerInfoResponse = self._call("GetServerInfo", service_pb2.GetServerInfoRequest(), None)
        return info

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None and self._process == os.getpid():
            channel.close()

    def _stub(self) -> Any:
        with self._lock:
            # A channel does not survive a fork.
            if self._channel is None or self._process != os.getpid():
                self._channel = grpc.insecure_channel(self.target, options=CHANNEL_OPTIONS)
                self._process = os.getpid()
            return service_pb2_grpc.GraphServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def _call(self, method: str, request: Any, timeout: float | None) -> Any:
        seconds = self.timeout if timeout is None else check_timeout(timeout)
        try:
            return getattr(self._stub(), method)(request, timeout=seconds)
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.target) from None
        except ValueError as error:
            # What gRPC raises where another thread closes the channel meanwhile.
            msg = "The client was closed during the call."
            raise StoppedError(msg) from error

    def _ask(self, conversation: Conversation, timeout: float | None) -> Answer:
        try:
            request = next(conversation)
            while True:
                try:
                    response = self._call(type(request).__name__.removesuffix("Request"), request, timeout)
                except GraphsvcError as error:
                    request = conversation.throw(error)
                else:
                    request = conversation.send(response)
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickled, (self.target, self.timeout)

    def __repr__(self) -> str:
        return f"<Client of {self.target!r}>"


def _unpickled(target: str, timeout: float | None) -> Client:
    return Client(target, timeout=timeout)


class RemoteGraph:
    """A graph that runs on a server."""

    def __init__(self, client: Client, graph: ComputationalGraph) -> None:
        self._client = client
        self._graph = graph

    def value_and_grad(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        vectors: int | None = None,
        timeout: float | None = None,
    ) -> tuple[dict[str, Array], InputGradients]:
        """Run the graph on the server; see `Client.value_and_grad`."""
        return self._client.value_and_grad(
            self._graph, inputs, wrt, output_gradients, outputs, vectors=vectors, timeout=timeout
        )

    def jvp(
        self,
        inputs: Mapping[str, object],
        tangents: Mapping[str, object],
        outputs: Iterable[str] | None = None,
        *,
        vectors: int | None = None,
        timeout: float | None = None,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Differentiate the graph on the server; see `Client.jvp`."""
        return self._client.jvp(self._graph, inputs, tangents, outputs, vectors=vectors, timeout=timeout)

    def hvp(
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
        """Differentiate the graph on the server; see `Client.hvp`."""
        return self._client.hvp(
            self._graph, inputs, directions, wrt, output_gradients, outputs, vectors=vectors, timeout=timeout
        )

    def jacobian(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, dict[str, Array]]:
        """Differentiate the graph on the server; see `Client.jacobian`."""
        return self._client.jacobian(self._graph, inputs, wrt, outputs, timeout=timeout)

    def hessian(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, dict[str, Array]]:
        """Differentiate the graph on the server; see `Client.hessian`."""
        return self._client.hessian(self._graph, inputs, wrt, output_gradients, outputs, timeout=timeout)


def connect(target: str, *, timeout: float | None = 60.0) -> Client:
    """Return a client of the server at `target`, for use in `with`; see `Client`."""
    return Client(target, timeout=timeout)
