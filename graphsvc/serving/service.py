"""The service itself: from the bytes of a request to the bytes of a response, with no network in between."""

import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from google.protobuf.message import Message

from graphsvc import __version__
from graphsvc.arrays import Array
from graphsvc.codec import document_from_graph, dtype_numbers, named_arrays, named_tensors, parse_message
from graphsvc.document import digest_of
from graphsvc.engine.description import describe_gate
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.plugins import PluginReport
from graphsvc.engine.registry import Registry
from graphsvc.errors import DeadlineError, LimitError, RequestError, StoppedError, UnknownGraphError
from graphsvc.gate import Gate
from graphsvc.serving.differentiation import differentiated, output_gradients_of, read_question
from graphsvc.serving.settings import Settings, setters_of
from graphsvc.serving.work import Work, derivatives_estimate, vectors_estimate
from graphsvc.v1 import graph_pb2, service_pb2

__all__ = ["GraphCache", "Service", "Stop"]


_LOG: Final = logging.getLogger("graphsvc.server")

_BYTES_OF_A_NODE: Final = 3000
"""What a gate node takes in memory beyond its bytes on the wire, with a plan; measured at 1.4 to 3 kB."""


class Stop:
    """Tells an evaluation in another thread to stop; it asks between two gates."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._stopped = threading.Event()

    def set(self) -> None:
        """Stop the evaluation before its next gate."""
        self._stopped.set()

    @property
    def remaining(self) -> float:
        """Seconds until the deadline."""
        return self._deadline - time.monotonic()

    def __call__(self) -> None:
        """Raise StoppedError or DeadlineError if the evaluation is to stop."""
        if self._stopped.is_set():
            msg = "Nobody waits for the evaluation any more."
            raise StoppedError(msg)
        if time.monotonic() > self._deadline:
            msg = "The deadline passed before the evaluation was done. Give the call more time, or ask for less."
            raise DeadlineError(msg)


class GraphCache:
    """The graphs that may be called by digest: the latest used, bounded in number and bytes. Safe for many threads."""

    def __init__(self, count: int, size: int) -> None:
        self._count = count
        self._size = size
        self._lock = threading.Lock()
        self._graphs: OrderedDict[bytes, tuple[ComputationalGraph, int]] = OrderedDict()
        self._held = 0

    def get(self, digest: bytes) -> ComputationalGraph | None:
        """Return the graph of that digest, if it is kept."""
        with self._lock:
            if digest not in self._graphs:
                return None
            self._graphs.move_to_end(digest)
            return self._graphs[digest][0]

    def put(self, digest: bytes, graph: ComputationalGraph, size: int) -> None:
        """Keep a graph that takes about `size` bytes; those not used for longest make room."""
        with self._lock:
            if digest in self._graphs or size > self._size:
                return
            self._graphs[digest] = graph, size
            self._held += size
            while len(self._graphs) > self._count or self._held > self._size:
                self._held -= self._graphs.popitem(last=False)[1][1]


class Service:
    """Answers requests. Safe for many threads."""

    def __init__(self, registry: Registry, plugins: dict[str, PluginReport], settings: Settings) -> None:
        """Make a service.

        Args:
            registry: The gates that graphs may use, with every plugin imported.
            plugins: What became of each plugin.
            settings: Limits, and the size of the cache.
        """
        self._registry = registry
        self._settings = settings
        self._graphs = GraphCache(settings.cached_graphs, settings.cached_bytes)
        self._gates = service_pb2.ListGatesResponse(gates=_gate_messages(registry)).SerializeToString()
        self._info = _server_info(plugins, settings).SerializeToString()

    def evaluate(self, data: bytes, stop: Callable[[], None]) -> Work:
        """Read and judge an EvaluateRequest; the work gives an EvaluateResponse.

        Args:
            data: The serialized request.
            stop: Called now and then; what it raises ends the reading.

        Raises:
            GraphsvcError: Whatever is wrong.
        """
        stop()
        request = parse_message(service_pb2.EvaluateRequest, data)
        digest, graph = self._graph(request, stop)
        self._within("max_tensors", len(request.inputs), "inputs")
        inputs = named_arrays(request.inputs, "Input")
        stop()
        wrt = list(request.wrt.names) if request.HasField("wrt") else None
        outputs = list(request.outputs.names) if request.HasField("outputs") else None
        arriving = output_gradients_of(request)
        vectors = request.vectors if request.HasField("vectors") else None

        def answered(results: tuple[Mapping[str, Array], InputGradients]) -> bytes:
            values, gradients = results
            return self._serialized(
                service_pb2.EvaluateResponse(
                    outputs=named_tensors(values),
                    input_gradients=named_tensors(gradients),
                    disconnected=gradients.disconnected,
                    graph_digest=digest,
                )
            )

        if vectors is None:
            prepared = graph.prepare(inputs, wrt, arriving, outputs)
            self._fits(prepared.estimate.result_bytes)
            held = len(data) + 3 * prepared.estimate.result_bytes
            return Work(prepared.estimate, held, prepared, lambda stop, more: answered(prepared.run(stop, more)))
        estimate = vectors_estimate(graph.estimate(inputs, wrt, outputs), vectors)

        def many(stop: Callable[[], None], more: Callable[[int], None]) -> bytes:
            return answered(
                graph.value_and_grad(inputs, wrt, arriving, outputs, stop, vectors=vectors, within=self._fits)
            )

        return Work(estimate, len(data) + 3 * estimate.result_bytes, None, many)

    def differentiate(self, data: bytes, stop: Callable[[], None]) -> Work:
        """Read and judge a DifferentiateRequest; the work gives a DifferentiateResponse.

        Args:
            data: The serialized request.
            stop: Called now and then; what it raises ends the reading.

        Raises:
            GraphsvcError: Whatever is wrong.
        """
        stop()
        request = parse_message(service_pb2.DifferentiateRequest, data)
        digest, graph = self._graph(request, stop)
        self._within("max_tensors", len(request.inputs) + len(request.directions), "inputs and directions")
        question = read_question(request)
        estimate = derivatives_estimate(graph, question)

        def answer(stop: Callable[[], None], more: Callable[[int], None]) -> bytes:
            response = differentiated(graph, question, stop, self._fits)
            response.graph_digest = digest
            return self._serialized(response)

        return Work(estimate, len(data) + 3 * estimate.result_bytes, None, answer)

    def _serialized(self, response: Message) -> bytes:
        self._within("max_message_bytes", response.ByteSize(), "bytes of results with their names")
        return response.SerializeToString()

    def _fits(self, size: int) -> None:
        """Refuse results of more bytes than a message may have."""
        self._within("max_message_bytes", size, "bytes of results")

    def _graph(
        self, request: service_pb2.EvaluateRequest | service_pb2.DifferentiateRequest, stop: Callable[[], None]
    ) -> tuple[bytes, ComputationalGraph]:
        """Return the graph of a request with its digest, from the cache or from the request itself."""
        match request.WhichOneof("source"):
            case "graph":
                return self._graph_by_value(request.graph, stop)
            case "graph_digest":
                digest = request.graph_digest
                graph = self._graphs.get(digest)
                if graph is None:
                    msg = (
                        f"No graph of the digest {digest.hex()[:64] or '(empty)'} is known here. Send the graph itself."
                    )
                    raise UnknownGraphError(msg)
                return digest, graph
            case _:
                msg = "The request has no graph. Send one, or the digest of one that was sent before."
                raise RequestError(msg)

    def _graph_by_value(self, message: graph_pb2.Graph, stop: Callable[[], None]) -> tuple[bytes, ComputationalGraph]:
        # A graph that gates hold takes as much as a gate node, even an empty one.
        parts: list[graph_pb2.Graph | graph_pb2.HeldGraph] = [message, *message.graphs]
        nodes = sum(len(part.nodes) for part in parts) + len(message.graphs)
        self._within("max_nodes", nodes, "gate nodes")
        self._within("max_operands", sum(len(node.operands) for part in parts for node in part.nodes), "operands")
        tensors = sum(len(part.inputs) + len(part.constants) for part in parts)
        self._within("max_tensors", tensors, "inputs and constants")
        self._within("max_outputs", sum(len(part.outputs) for part in parts), "outputs")
        document = document_from_graph(message)
        stop()
        digest = digest_of(document)
        graph = self._graphs.get(digest)
        if graph is None:
            graph = ComputationalGraph.from_document(document, self._registry)
            stop()
            # Only a graph that can run is kept.
            graph.check()
            self._graphs.put(digest, graph, message.ByteSize() + _BYTES_OF_A_NODE * nodes)
        return digest, graph

    def _within(self, limit: str, count: int, what: str) -> None:
        most = getattr(self._settings, limit)
        if count > most:
            msg = f"There are {count} {what}; this server takes {most} ({setters_of(limit)})."
            raise LimitError(msg, limit=limit, asked=str(count))

    def list_gates(self, data: bytes) -> bytes:
        """Answer a ListGatesRequest with a ListGatesResponse, made beforehand."""
        parse_message(service_pb2.ListGatesRequest, data)
        return self._gates

    def describe_gate(self, data: bytes) -> bytes:
        """Answer a DescribeGateRequest with a DescribeGateResponse.

        Raises:
            UnknownGateError: There is no such gate here.
        """
        request = parse_message(service_pb2.DescribeGateRequest, data)
        found = describe_gate(request.name, self._registry)
        return service_pb2.DescribeGateResponse(
            gate=_gate_message(request.name, self._registry.gate_class(request.name)),
            plugin=found.plugin,
            plugin_version=found.plugin_version,
            integer_operands=found.integers,
            disconnected_operands=found.disconnected,
            elementwise=found.elementwise,
            linear=found.linear,
            example=found.example,
            example_operands=[
                service_pb2.ExampleOperand(name=name, spec=spec) for name, spec in found.example_operands.items()
            ],
            fuses=found.fuses,
            reason=found.reason,
            derivatives=found.derivatives,
        ).SerializeToString()

    def server_info(self, data: bytes) -> bytes:
        """Answer a GetServerInfoRequest with a GetServerInfoResponse, made beforehand."""
        parse_message(service_pb2.GetServerInfoRequest, data)
        return self._info


def _server_info(plugins: dict[str, PluginReport], settings: Settings) -> service_pb2.GetServerInfoResponse:
    return service_pb2.GetServerInfoResponse(
        version=__version__,
        dtypes=dtype_numbers(),  # type: ignore[arg-type]
        limits=[service_pb2.Limit(name=name, value=value) for name, value in settings.limits().items()],
        plugins=[
            service_pb2.Plugin(
                namespace=report.namespace,
                distribution=report.distribution,
                version=report.version,
                state=report.state.value,
            )
            for report in plugins.values()
        ],
    )


def _gate_messages(registry: Registry) -> Iterator[service_pb2.Gate]:
    """Yield a message for each gate. One that cannot be described is left out, and the log says so."""
    for name, cls in sorted(registry.usable(), key=lambda pair: pair[0]):
        try:
            yield _gate_message(name, cls)
        except Exception:  # noqa: BLE001 - one stranger's gate must not take the list from all
            _LOG.exception("gate %s cannot be described to clients", name)


def _gate_message(name: str, cls: type[Gate]) -> service_pb2.Gate:
    signature = cls.signature
    return service_pb2.Gate(
        name=name,
        version=cls.version,
        documentation=cls.__doc__ or "",
        operands=signature.operands,
        variadic=signature.variadic,
        outputs=signature.outputs,
        differentiable_operands=[o for i, o in enumerate(signature.operands) if signature.rule_for(i)],
        attributes_schema=json.dumps(cls.model_json_schema()),
        deterministic=cls.deterministic,
    )
