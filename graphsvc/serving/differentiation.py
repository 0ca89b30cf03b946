"""Questions for derivatives as they come in messages, put to a graph."""

from collections.abc import Callable
from dataclasses import dataclass

from graphsvc.arrays import Array, Weak
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.errors import RequestError
from graphsvc.v1 import service_pb2
from graphsvc.wire.chunks import Arrivals, Beside
from graphsvc.wire.codec import named_arrays, named_tensors, tensor_from_array

__all__ = ["DerivativeQuestion", "differentiated", "output_gradients_of", "read_question"]


def output_gradients_of(
    request: service_pb2.EvaluateRequest | service_pb2.DifferentiateRequest, arrivals: Arrivals | None
) -> dict[str, object] | None:
    """Return the output gradients of a request; a weak one as the Python numbers that it was given as."""
    if not request.HasField("output_gradients"):
        return None
    tensors = request.output_gradients.tensors
    arrays = named_arrays(tensors, "Output gradient", arrivals, weak=True)
    weak = {tensor.name for tensor in tensors if tensor.weak}
    return {name: Weak(array) if name in weak else array for name, array in arrays.items()}


@dataclass(frozen=True, slots=True)
class DerivativeQuestion:
    """A question for derivatives, read; fields are the arguments of `jvp`, `hvp`, `jacobian` and `hessian`."""

    kind: int
    inputs: dict[str, Array]
    directions: dict[str, Array]
    wrt: list[str] | None
    outputs: list[str] | None
    output_gradients: dict[str, object] | None
    vectors: int | None


def read_question(
    request: service_pb2.DifferentiateRequest, inputs: dict[str, Array], arrivals: Arrivals | None
) -> DerivativeQuestion:
    """Read a question for derivatives, but for its inputs.

    Raises:
        RequestError: The kind of derivatives is not said, or something is given that does not belong to it.
        InputError: A tensor contradicts itself.
    """
    kind = request.kind
    along = kind in (service_pb2.DERIVATIVE_KIND_JVP, service_pb2.DERIVATIVE_KIND_HVP)
    _refuse_strays(request, kind, along=along)
    # Before the directions, as in the message, for in that order chunks follow it.
    arriving = output_gradients_of(request, arrivals)
    return DerivativeQuestion(
        kind,
        inputs,
        named_arrays(request.directions, "Direction", arrivals),
        list(request.wrt.names) if request.HasField("wrt") else None,
        list(request.outputs.names) if request.HasField("outputs") else None,
        arriving,
        request.vectors if request.HasField("vectors") else None,
    )


def differentiated(
    graph: ComputationalGraph,
    question: DerivativeQuestion,
    stop: Callable[[], None] | None,
    within: Callable[[int], None],
    beside: Beside | None,
) -> service_pb2.DifferentiateResponse:
    """Answer a question for derivatives, but for the digest.

    Args:
        graph: The graph.
        question: The question.
        stop: Called between gates; what it raises ends the evaluation.
        within: Called with the bytes of the results before they are there; what it raises ends the evaluation.
        beside: See `tensor_from_array`.

    Raises:
        GraphsvcError: Whatever is wrong.
    """
    inputs, directions, wrt = question.inputs, question.directions, question.wrt
    outputs, arriving, vectors = question.outputs, question.output_gradients, question.vectors
    match question.kind:
        case service_pb2.DERIVATIVE_KIND_JVP:
            values, tangents = graph.jvp(inputs, directions, outputs, stop, vectors=vectors, within=within)
            return service_pb2.DifferentiateResponse(
                outputs=named_tensors(values, beside), output_tangents=named_tensors(tangents, beside)
            )
        case service_pb2.DERIVATIVE_KIND_HVP:
            gradients, products = graph.hvp(
                inputs, directions, wrt, arriving, outputs, stop, vectors=vectors, within=within
            )
            return service_pb2.DifferentiateResponse(
                input_gradients=named_tensors(gradients, beside),
                products=named_tensors(products, beside),
                disconnected=gradients.disconnected,
            )
        case service_pb2.DERIVATIVE_KIND_JACOBIAN:
            blocks = graph.jacobian(inputs, wrt, outputs, stop, within)
        case _:
            blocks = graph.hessian(inputs, wrt, arriving, outputs, stop, within)
    return service_pb2.DifferentiateResponse(
        blocks=[
            service_pb2.DerivativeBlock(of=of, by=by, tensor=tensor_from_array(array, beside))
            for of, row in blocks.items()
            for by, array in row.items()
        ]
    )


def _refuse_strays(request: service_pb2.DifferentiateRequest, kind: int, *, along: bool) -> None:
    """Refuse a kind that there is not, and what would be ignored."""
    if kind == service_pb2.DERIVATIVE_KIND_UNSPECIFIED or kind not in service_pb2.DerivativeKind.values():
        msg = "The request does not say which derivatives it wants. Set kind to one of the enum DerivativeKind."
        raise RequestError(msg)
    name = service_pb2.DerivativeKind.Name(kind).removeprefix("DERIVATIVE_KIND_")
    strays = {
        "directions": bool(request.directions) and not along,
        "vectors": request.HasField("vectors") and not along,
        "wrt": request.HasField("wrt") and kind == service_pb2.DERIVATIVE_KIND_JVP,
        "output_gradients": request.HasField("output_gradients")
        and kind in (service_pb2.DERIVATIVE_KIND_JVP, service_pb2.DERIVATIVE_KIND_JACOBIAN),
    }
    for field, stray in strays.items():
        if stray:
            msg = f"A request of kind {name} has no {field}. Leave it out."
            raise RequestError(msg)
