"""The service itself: from a request to the work that gives the response, with no network in between."""

from collections.abc import Callable, Mapping, Sized
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from google.protobuf.message import Message

from graphsvc.arrays import Array, read_only
from graphsvc.document import digest_of
from graphsvc.engine.description import describe_gate
from graphsvc.engine.evaluation import InputGradients, Results
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.plugins import PluginReport
from graphsvc.engine.prepared import PreparedAgain
from graphsvc.engine.registry import Registry
from graphsvc.errors import (
    DuplicateInputError,
    LimitError,
    RequestError,
    UnknownGraphError,
    UnknownResidentError,
    quoted,
)
from graphsvc.serving.differentiation import differentiated, output_gradients_of, read_question
from graphsvc.serving.kept import Kept
from graphsvc.serving.repeats import Repeats, digest_in
from graphsvc.serving.selfdescription import gate_message, gate_messages, server_info
from graphsvc.serving.settings import Settings, setters_of
from graphsvc.serving.work import NO_RUN, Work, debug_estimate, derivatives_estimate, vectors_estimate
from graphsvc.v1 import graph_pb2, service_pb2
from graphsvc.wire.chunks import Arrivals, Beside
from graphsvc.wire.codec import (
    array_from_tensor,
    document_from_graph,
    named_arrays,
    named_tensors,
    parse_message,
    tensor_digest,
)
from graphsvc.wire.diagnoses import message_from_diagnosis
from graphsvc.wire.fields import Most, count_fields
from graphsvc.wire.references import check_references

__all__ = ["FEW_BYTES", "Request", "Service"]

Request: TypeAlias = service_pb2.EvaluateRequest | service_pb2.DifferentiateRequest | service_pb2.PutTensorRequest

_M = TypeVar("_M", bound=Message)

FEW_BYTES: Final = 1 << 16
"""A message of so many may be parsed at once and uncounted; a larger one might keep others waiting, or grow."""

_FEW: Final = 256
"""Gate nodes, tensors or names that are read in no time."""

_BYTES_OF_A_NODE: Final = 3000
"""What a gate node takes in memory beyond its bytes on the wire, with a plan; measured at 1.4 to 3 kB."""


class _KeptGraph(NamedTuple):
    """A graph that is kept.

    Attributes:
        graph: The graph.
        repeats: The questions to it that are answered again in no time; None if it is not small and of built-in gates
            alone, for a plugin's may take their time even over shapes.
    """

    graph: ComputationalGraph
    repeats: Repeats | None


class Service:
    """Answers requests. Safe for many threads."""

    def __init__(self, registry: Registry, plugins: dict[str, PluginReport], settings: Settings) -> None:
        """Make a service.

        Args:
            registry: The gates that graphs may use, with every plugin imported.
            plugins: What became of each plugin.
            settings: Limits, and the size of the cache.
        """
        self.registry = registry
        self._settings = settings
        self._graphs = Kept[_KeptGraph](settings.cached_bytes, settings.cached_graphs)
        self._residents = Kept[Array](settings.resident_bytes, seconds=settings.resident_seconds)
        self._gates = service_pb2.ListGatesResponse(gates=gate_messages(registry)).SerializeToString()
        self._info = server_info(plugins, settings).SerializeToString()
        limits = {"max_nodes": ("nodes", "graphs", "gates"), "max_operands": ("operands",)}
        limits["max_tensors"] = ("inputs", "constants", "residents", "directions", "tensors")
        self._most = {
            name: Most(getattr(settings, limit), limit, setters_of(limit))
            for limit, names in limits.items()
            for name in names
        }

    def parse(self, cls: type[_M], data: bytes) -> _M:
        """Parse a message, a large one only where it has no more of anything than it may have.

        Raises:
            MessageError: The bytes are no message of this type.
            LimitError: There is more in it than may be.
        """
        if len(data) > FEW_BYTES:
            count_fields(cls, data, self._most, self._most["operands"])
        return parse_message(cls, data)

    def read(self, request: Request, nbytes: int, stop: Callable[[], None], arrivals: Arrivals | None = None) -> Work:
        """Read and judge a request; the work gives the response to it.

        Args:
            request: The request.
            nbytes: Bytes of its message, without chunks.
            stop: Called now and then; what it raises ends the reading.
            arrivals: In a session, is told of the tensors whose data are to come before the work is done; None where
                there are no chunks.

        Raises:
            GraphsvcError: Whatever is wrong.
        """
        stop()
        match request:
            case service_pb2.EvaluateRequest():
                return self._evaluation(request, nbytes, stop, arrivals)
            case service_pb2.DifferentiateRequest():
                return self._differentiation(request, nbytes, stop, arrivals)
            case _:
                return self._putting(request, nbytes, arrivals)

    def is_small(self, request: Request, nbytes: int) -> bool:
        """Tell whether a request of so many bytes takes no time.

        That is if it is short, its graph at hand, small, and of gates that are our own, and others like it took none.
        """
        if not isinstance(request, service_pb2.EvaluateRequest):
            return False
        tensors = (request.inputs, request.residents, request.output_gradients.tensors)
        parts: tuple[Sized, ...] = (*tensors, request.wrt.names, request.outputs.names)
        if max(map(len, parts)) > _FEW:
            return False
        kept = self._graphs.get(request.graph_digest)
        return kept is not None and kept.repeats is not None and kept.repeats.are_quick(nbytes)

    def repeated(self, request: bytes) -> bytes | None:
        """Answer an `EvaluateRequest` like one that was answered before about other numbers; None where none was.

        Raises:
            GraphsvcError: As the graph does for its inputs.
        """
        kept = self._graphs.get(digest_in(request))
        return kept.repeats.answer(request) if kept and kept.repeats else None

    def learn(self, request: Request, work: Work, response: Any) -> None:
        """Keep how a question that was answered in no time looks, if it is one that may be known by its bytes."""
        if not isinstance(request, service_pb2.EvaluateRequest) or not isinstance(work.prepared, PreparedAgain):
            return
        kept = self._graphs.get(request.graph_digest)
        # All of them, so that none is kept here.
        in_order = kept and tuple(named.name for named in request.inputs) == kept.graph.inputs
        if kept and kept.repeats and in_order:
            kept.repeats.learn(request, work.prepared.answer, response)

    def _evaluation(
        self,
        request: service_pb2.EvaluateRequest,
        nbytes: int,
        stop: Callable[[], None],
        arrivals: Arrivals | None,
    ) -> Work:
        digest, graph = self._graph(request, stop)
        inputs = self._inputs(request, arrivals)
        stop()
        wrt = list(request.wrt.names) if request.HasField("wrt") else None
        outputs = list(request.outputs.names) if request.HasField("outputs") else None
        arriving = output_gradients_of(request, arrivals)
        beside = None if arrivals is None else Beside()

        def answered(results: tuple[Mapping[str, Array], InputGradients]) -> service_pb2.EvaluateResponse:
            values, gradients = results
            found = gradients.diagnosis
            return service_pb2.EvaluateResponse(
                outputs=named_tensors(values, beside),
                input_gradients=named_tensors(gradients, beside),
                disconnected=gradients.disconnected,
                graph_digest=digest,
                diagnosis=message_from_diagnosis(found) if found else None,
            )

        nbytes += arrivals.nbytes if arrivals else 0
        fits = self._fitting(beside)
        if not (request.HasField("vectors") or request.debug):
            prepared = graph.prepare(inputs, wrt, arriving, outputs)
            fits(prepared.estimate.result_bytes)
            kept = self._graphs.get(digest)
            repeats = kept.repeats if kept and prepared.planned else None

            def planned(stop: Callable[[], None] | None, more: Callable[[int], None]) -> service_pb2.EvaluateResponse:
                def run() -> Results:
                    return prepared.run(stop, more)

                return answered(repeats.timed(nbytes, run) if repeats else run())

            return Work(prepared.estimate, nbytes, beside, planned, prepared)
        vectors = request.vectors if request.HasField("vectors") else None
        estimate = graph.estimate(inputs, wrt, outputs)
        if vectors is None:
            fits(estimate.result_bytes)
            estimate = debug_estimate(estimate)
        else:
            estimate = vectors_estimate(estimate, vectors)

        def one_by_one(stop: Callable[[], None] | None, more: Callable[[int], None]) -> service_pb2.EvaluateResponse:
            asked = (inputs, wrt, arriving, outputs, stop)
            return answered(graph.value_and_grad(*asked, debug=request.debug, vectors=vectors, within=fits))

        return Work(estimate, nbytes, beside, one_by_one)

    def _differentiation(
        self,
        request: service_pb2.DifferentiateRequest,
        nbytes: int,
        stop: Callable[[], None],
        arrivals: Arrivals | None,
    ) -> Work:
        digest, graph = self._graph(request, stop)
        self._within("max_tensors", len(request.directions), "directions")
        question = read_question(request, self._inputs(request, arrivals), arrivals)
        beside = None if arrivals is None else Beside()
        nbytes += arrivals.nbytes if arrivals else 0

        def answer(stop: Callable[[], None] | None, more: Callable[[int], None]) -> service_pb2.DifferentiateResponse:
            response = differentiated(graph, question, stop, self._fitting(beside), beside)
            response.graph_digest = digest
            return response

        return Work(derivatives_estimate(graph, question), nbytes, beside, answer)

    def _putting(self, request: service_pb2.PutTensorRequest, nbytes: int, arrivals: Arrivals | None) -> Work:
        if not request.HasField("tensor"):
            msg = "The request has no tensor. Send the one that is to be kept."
            raise RequestError(msg)
        array = array_from_tensor(request.tensor, "The tensor", arrivals)
        self._within("resident_bytes", array.nbytes, "bytes in the tensor")
        nbytes += arrivals.nbytes if arrivals else 0

        def answer(stop: Callable[[], None] | None, more: Callable[[int], None]) -> service_pb2.PutTensorResponse:
            digest = tensor_digest(array)
            # Of its own: an array that shares the bytes of a message keeps all of that. Many calls share it.
            mine = array if arrivals and arrivals.nbytes else array.copy()
            self._residents.put(digest, read_only(mine), array.nbytes)
            return service_pb2.PutTensorResponse(digest=digest, seconds=self._settings.resident_seconds)

        return Work(NO_RUN, nbytes, None if arrivals is None else [], answer)

    def _inputs(
        self, request: service_pb2.EvaluateRequest | service_pb2.DifferentiateRequest, arrivals: Arrivals | None
    ) -> dict[str, Array]:
        """Return the inputs of a request, those that are kept here among them."""
        self._within("max_tensors", len(request.inputs) + len(request.residents), "inputs")
        inputs = named_arrays(request.inputs, "Input", arrivals)
        for resident in request.residents:
            if resident.name in inputs:
                msg = f"Input {quoted(resident.name)} is given twice. Give it once."
                raise DuplicateInputError(msg, input=resident.name[:128])
            kept = self._residents.get(resident.digest)
            if kept is None:
                digest = resident.digest.hex()[:64] or "(empty)"
                msg = (
                    f"No tensor of the digest {digest}, for input {quoted(resident.name)}, is kept here. Put it again."
                )
                raise UnknownResidentError(msg, input=resident.name[:128])
            inputs[resident.name] = kept
        return inputs

    def serialized(self, response: Message) -> bytes:
        """Return the bytes of a response.

        Raises:
            LimitError: There are more than a message may have.
        """
        self._within("max_message_bytes", response.ByteSize(), "bytes of results with their names")
        return response.SerializeToString()

    def _fitting(self, beside: list[Array] | None) -> Callable[[int], None]:
        """Return what refuses results of more bytes than may go."""
        limit = "max_message_bytes" if beside is None else "max_response_bytes"
        return lambda size: self._within(limit, size, "bytes of results")

    def _graph(
        self, request: service_pb2.EvaluateRequest | service_pb2.DifferentiateRequest, stop: Callable[[], None]
    ) -> tuple[bytes, ComputationalGraph]:
        """Return the graph of a request with its digest, from the cache or from the request itself."""
        match request.WhichOneof("source"):
            case "graph":
                return self.graph_by_value(request.graph, stop)
            case "graph_digest":
                digest = request.graph_digest
                kept = self._graphs.get(digest)
                if kept is None:
                    msg = (
                        f"No graph of the digest {digest.hex()[:64] or '(empty)'} is known here. Send the graph itself."
                    )
                    raise UnknownGraphError(msg)
                return digest, kept.graph
            case _:
                msg = "The request has no graph. Send one, or the digest of one that was sent before."
                raise RequestError(msg)

    def graph_by_value(self, message: graph_pb2.Graph, stop: Callable[[], None]) -> tuple[bytes, ComputationalGraph]:
        """Return a graph with its digest; it is kept from now on.

        Raises:
            GraphsvcError: It is over a limit, or cannot run here.
        """
        # A graph that gates hold takes as much as a gate node, even an empty one.
        parts: list[graph_pb2.Graph | graph_pb2.HeldGraph] = [message, *message.graphs]
        nodes = sum(len(part.nodes) for part in parts) + len(message.graphs)
        self._within("max_nodes", nodes, "gate nodes")
        tensors = sum(len(part.inputs) + len(part.constants) for part in parts)
        self._within("max_tensors", tensors, "inputs and constants")
        self._within("max_outputs", sum(len(part.outputs) for part in parts), "outputs")
        check_references(message)
        stop()
        document = document_from_graph(message)
        operands = sum(len(node.operands) for part in (document, *document.graphs) for node in part.nodes)
        self._within("max_operands", operands, "operands")
        stop()
        digest = digest_of(document)
        kept = self._graphs.get(digest)
        if kept is not None:
            return digest, kept.graph
        graph = ComputationalGraph.from_document(document, self.registry)
        stop()
        # Only a graph that can run is kept.
        graph.check()
        small = max(nodes, tensors, len(message.outputs)) <= _FEW and not message.graphs
        small = small and not any("." in node.gate for node in message.nodes)
        kept = _KeptGraph(graph, Repeats() if small else None)
        self._graphs.put(digest, kept, message.ByteSize() + _BYTES_OF_A_NODE * nodes)
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
        found = describe_gate(request.name, self.registry)
        return service_pb2.DescribeGateResponse(
            gate=gate_message(request.name, self.registry.gate_class(request.name)),
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
