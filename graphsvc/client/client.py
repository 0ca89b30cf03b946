"""The client: graphs run on a server as they run in process."""

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self

from graphsvc.client.forking import check_process

# isort: split
import grpc

from graphsvc.arrays import Array
from graphsvc.client.asked import METHODS, Asked, parse_response
from graphsvc.client.exchange import check_target, check_timeout, converse
from graphsvc.client.known import KnownGraph
from graphsvc.client.patience import patiently
from graphsvc.client.progress import tracked
from graphsvc.client.question import Question, Residents
from graphsvc.client.sessions import Sessions, wants_stream
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.question import judge_directions
from graphsvc.errors import GraphsvcError, LimitError, StoppedError
from graphsvc.v1 import service_pb2
from graphsvc.wire.status import error_from_rpc

__all__ = ["CHANNEL_OPTIONS", "MAPPED_AT_ONCE", "Client", "RemoteGraph", "connect"]

_SERVICE_CONFIG: Final = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "graphsvc.v1.GraphService"}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    }
)

CHANNEL_OPTIONS: Final = (
    # The server says what is too large.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # What may be asked again is asked again where no server answers, and where it says when it will be less busy.
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.per_rpc_retry_buffer_size", 4 << 20),
)


MAPPED_AT_ONCE: Final = 16
"""How many evaluations of `map` are on their way at a time."""


class Client:
    """A connection to a server.

    It connects when it is first used, anew in each process. Any number of threads may share it, and it can be pickled.
    A process may be forked, but not while calls are on their way in other threads, which gRPC does not survive.
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
        self._known: dict[bytes, KnownGraph] = {}
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        # Making one takes longer than a small call.
        self._methods: dict[str, Callable[..., bytes]] = {}
        self._sessions: Sessions | None = None
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
        debug: bool = False,
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
            debug: Whether to find the gates that first made a NaN or an infinity: `gradients.diagnosis`.
            timeout: Seconds that the call may take; None means the client's own.

        Raises:
            GraphsvcError: As in process, and ServiceError where server or network fail.
        """
        question = Question(inputs, wrt, output_gradients, outputs, vectors, debug=debug)
        answer: tuple[dict[str, Array], InputGradients] = self.ask(graph, question, timeout)
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
        answer: tuple[dict[str, Array], dict[str, Array]] = self.ask(graph, question, timeout)
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
        answer: tuple[InputGradients, InputGradients] = self.ask(graph, question, timeout)
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
        answer: dict[str, dict[str, Array]] = self.ask(graph, question, timeout)
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
        answer: dict[str, dict[str, Array]] = self.ask(graph, question, timeout)
        return answer

    def graph(self, graph: ComputationalGraph, resident: Mapping[str, object] | None = None) -> "RemoteGraph":
        """Return the graph as one that runs on the server, for many calls, which go over streams that stay open.

        Args:
            graph: The graph.
            resident: Inputs that the server is to keep: data that do not change. They are sent when it does not have
                them, and left out of every call; gradients of them are given only if `wrt` names them.

        Raises:
            InputError: The graph has no such input, or one does not fit.
        """
        return RemoteGraph(self, graph, Residents(graph, resident) if resident else None)

    def map(
        self,
        graph: ComputationalGraph,
        inputs: Iterable[Mapping[str, object]],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
        progress: bool = True,
    ) -> Iterator[tuple[dict[str, Array], InputGradients]]:
        """Run a graph on many inputs; see `RemoteGraph.map`."""
        return self.graph(graph).map(inputs, wrt, output_gradients, outputs, timeout=timeout, progress=progress)

    def gates(self) -> list[service_pb2.Gate]:
        """Return the gates that graphs may use on the server, as messages of `graphsvc.v1`."""
        response = self._call("ListGates", b"", None)
        return list(parse_response(service_pb2.ListGatesResponse, response).gates)

    def describe_gate(self, name: str) -> service_pb2.DescribeGateResponse:
        """Return all that the server knows of a gate, which need not be installed here, as a message of `graphsvc.v1`.

        Args:
            name: Its name, with the namespace of its plugin.

        Raises:
            UnknownGateError: The server has none of that name.
        """
        request = service_pb2.DescribeGateRequest(name=name)
        response = self._call("DescribeGate", request.SerializeToString(), None)
        return parse_response(service_pb2.DescribeGateResponse, response)

    def server_info(self) -> service_pb2.GetServerInfoResponse:
        """Return versions, limits and plugins of the server, as a message of `graphsvc.v1`."""
        response = self._call("GetServerInfo", b"", None)
        return parse_response(service_pb2.GetServerInfoResponse, response)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        with self._lock:
            channel, self._channel = self._channel, None
            sessions, self._sessions = self._sessions, None
        if channel is not None and sessions is not None and self._process == os.getpid():
            sessions.close()
            channel.close()

    def _connected(self) -> Sessions:
        with self._lock:
            # A channel does not survive a fork.
            if self._channel is None or self._sessions is None or self._process != os.getpid():
                check_process()
                self._channel = grpc.insecure_channel(self.target, options=CHANNEL_OPTIONS)
                self._methods = {name: self._channel.unary_unary(path) for name, path in METHODS.items()}
                # Bytes, because a chunk is not worth a message.
                self._sessions = Sessions(self._channel.stream_stream(METHODS["Session"]), self.target)
                self._process = os.getpid()
            return self._sessions

    def _seconds(self, timeout: float | None) -> float | None:
        return self.timeout if timeout is None else check_timeout(timeout)

    def _call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        self._connected()
        try:
            return self._methods[method](request, timeout=self._seconds(timeout))
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.target) from None
        except ValueError as error:
            # What gRPC raises where another thread closes the channel meanwhile.
            msg = "The client was closed during the call."
            raise StoppedError(msg) from error

    def ask(
        self, graph: ComputationalGraph, question: Question, timeout: float | None, *, session: bool = False
    ) -> Any:
        """Put a question to the server.

        Args:
            graph: The graph.
            question: What is asked of it.
            timeout: See `value_and_grad`.
            session: Whether it goes over a stream that stays open, where one is free.
        """
        conversation = converse(graph, question, self._known)
        try:
            asked = next(conversation)
            while True:
                try:
                    answer = self._answered(asked, self._seconds(timeout), session=session)
                except GraphsvcError as error:
                    asked = conversation.throw(error)
                else:
                    asked = conversation.send(answer)
        except StopIteration as stop:
            return stop.value

    def _answered(self, asked: Asked, seconds: float | None, *, session: bool) -> Any:
        sessions = self._connected()
        if not asked.beside and (sessions.are_busy or not session):
            try:
                return asked.read(self._call(asked.method, asked.body, seconds), None)
            except LimitError as error:
                if not wants_stream(error):
                    raise
        return patiently(lambda left: sessions.ask(asked, left), seconds)

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
    """A graph that runs on a server, with inputs that the server keeps. Its calls go over streams that stay open."""

    def __init__(self, client: Client, graph: ComputationalGraph, residents: Residents | None = None) -> None:
        self._client = client
        self._graph = graph
        self._residents = residents

    def value_and_grad(
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
        """Run the graph on the server; see `Client.value_and_grad`. `wrt` is None for every input that is given."""
        residents = self._residents
        question = Question(inputs, wrt, output_gradients, outputs, vectors, residents=residents, debug=debug)
        answer: tuple[dict[str, Array], InputGradients] = self._ask(question, timeout)
        return answer

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
        question = Question(inputs, None, None, outputs, vectors, "jvp", tangents, self._residents)
        answer: tuple[dict[str, Array], dict[str, Array]] = self._ask(question, timeout)
        return answer

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
        directions, vectors = judge_directions(directions, vectors)
        question = Question(inputs, wrt, output_gradients, outputs, vectors, "hvp", directions, self._residents)
        answer: tuple[InputGradients, InputGradients] = self._ask(question, timeout)
        return answer

    def jacobian(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, dict[str, Array]]:
        """Differentiate the graph on the server; see `Client.jacobian`."""
        question = Question(inputs, wrt, None, outputs, kind="jacobian", residents=self._residents)
        answer: dict[str, dict[str, Array]] = self._ask(question, timeout)
        return answer

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
        question = Question(inputs, wrt, output_gradients, outputs, kind="hessian", residents=self._residents)
        answer: dict[str, dict[str, Array]] = self._ask(question, timeout)
        return answer

    def map(
        self,
        inputs: Iterable[Mapping[str, object]],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
        progress: bool = True,
    ) -> Iterator[tuple[dict[str, Array], InputGradients]]:
        """Run the graph on many inputs, several at a time, and yield what each gives, in their order.

        Args:
            inputs: The inputs of each evaluation; any iterable, which is read as far as answers are taken.
            wrt: See `value_and_grad`, as for the others.
            output_gradients: For each evaluation the same.
            outputs: For each evaluation the same.
            timeout: Seconds that each evaluation may take.
            progress: Whether a bar tells how far it is, where stderr is a terminal.

        Raises:
            GraphsvcError: An evaluation is refused; those before it were yielded.
        """
        total = len(inputs) if isinstance(inputs, Sized) else None
        return tracked(self._mapped(inputs, wrt, output_gradients, outputs, timeout), total, shown=progress)

    def _mapped(
        self,
        inputs: Iterable[Mapping[str, object]],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
        timeout: float | None,
    ) -> Iterator[tuple[dict[str, Array], InputGradients]]:
        def ask(one: Mapping[str, object]) -> tuple[dict[str, Array], InputGradients]:
            return self.value_and_grad(one, wrt, output_gradients, outputs, timeout=timeout)

        with ThreadPoolExecutor(MAPPED_AT_ONCE, "graphsvc-map") as threads:
            started: deque[Future[tuple[dict[str, Array], InputGradients]]] = deque()
            try:
                for one in inputs:
                    started.append(threads.submit(ask, one))
                    if len(started) == MAPPED_AT_ONCE:
                        yield started.popleft().result()
                while started:
                    yield started.popleft().result()
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, question: Question, timeout: float | None) -> Any:
        return self._client.ask(self._graph, question, timeout, session=True)


def connect(target: str, *, timeout: float | None = 60.0) -> Client:
    """Return a client of the server at `target`, for use in `with`; see `Client`."""
    return Client(target, timeout=timeout)
