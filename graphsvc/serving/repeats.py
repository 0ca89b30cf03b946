"""Questions that were answered before about other numbers: known as bytes, as the answers to them are."""

from typing import Any, Final, NamedTuple

from graphsvc.arrays import Array
from graphsvc.engine.answers import Answer
from graphsvc.engine.cache import Cache
from graphsvc.engine.fusion.program import GuardError
from graphsvc.v1 import service_pb2
from graphsvc.wire.forms import Form

__all__ = ["Repeats", "digest_in"]

_KNOWN: Final = 16

_BY_DIGEST: Final = service_pb2.EvaluateRequest(graph_digest=bytes(32)).SerializeToString()[:-32]
"""What stands before a digest where a request begins with it."""


def digest_in(request: bytes) -> bytes:
    """Return the digest that an `EvaluateRequest` begins with; empty if it begins with anything else."""
    start = len(_BY_DIGEST)
    return request[start : start + 32] if request.startswith(_BY_DIGEST) else b""


class _Known(NamedTuple):
    """A question, what answers it, and how that is sent."""

    request: Form
    answer: Answer
    response: Form


class Repeats:
    """The questions to one graph that are answered again in no time. Safe for many threads."""

    def __init__(self) -> None:
        """Know none yet."""
        # By length. Of those that are as long as another, the first is known, so that none is learned again and again.
        self._known = Cache[_Known](_KNOWN)

    def answer(self, request: bytes) -> bytes | None:
        """Return the response to a request; None if that is to be found as if nothing were known.

        Raises:
            GraphsvcError: As the graph does for its inputs.
        """
        known = self._known.find(len(request))
        if known is None or (given := known.request.read(request)) is None:
            return None
        try:
            outputs, gradients = known.answer.quick([_aligned(array) for array in given], None)
        except (GuardError, MemoryError):
            return None
        return known.response.write((*outputs.values(), *gradients.values()))

    def learn(
        self, request: service_pb2.EvaluateRequest, answer: Answer, response: service_pb2.EvaluateResponse
    ) -> None:
        """Keep how a question and the answer to it look.

        Args:
            request: The question, of all that a graph is asked only about its inputs, in their order.
            answer: What answers it.
            response: What is sent.
        """
        if self._known.find(request.ByteSize()) is not None:
            return
        asked = Form.of(request, [named.tensor for named in request.inputs])
        given = Form.of(response, [named.tensor for named in (*response.outputs, *response.input_gradients)])
        if asked and given:
            self._known.set(request.ByteSize(), _Known(asked, answer, given))


def _aligned(array: Array) -> Any:
    """Return an array of a message as others lie: NumPy adds up elements at odd addresses in another order."""
    if not array.ndim:
        return array[()]
    return array if array.flags.aligned else array.copy()
