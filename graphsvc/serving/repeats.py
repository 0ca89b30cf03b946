"""Questions that were answered before about other numbers: known as bytes, as the answers to them are."""

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from graphsvc.arrays import Array
from graphsvc.engine.answers import Answer
from graphsvc.engine.cache import Cache
from graphsvc.engine.fusion.program import GuardError
from graphsvc.v1 import service_pb2
from graphsvc.wire.forms import Form

__all__ = ["NO_TIME", "Repeats", "digest_in"]

_T = TypeVar("_T")

_KNOWN: Final = 16

NO_TIME: Final = 1e-3
"""Seconds that keep the event loop no longer than handing a question to a thread and back, about."""

_FEW_BYTES: Final = 1 << 12
"""A question of so many takes no time. Of larger ones no estimate can tell: some functions take a thousand times what
others do, and that for some numbers alone."""

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
        self._quick_bytes = _FEW_BYTES

    def are_quick(self, nbytes: int) -> bool:
        """Tell whether questions of so many bytes take no time, as far as was seen."""
        return nbytes <= self._quick_bytes

    def timed(self, nbytes: int, answer: Callable[[], _T]) -> _T:
        """Answer a question of so many bytes, and see whether that takes no time; what others take does not count."""
        if nbytes <= _FEW_BYTES:
            return answer()
        start = time.thread_time()
        try:
            return answer()
        finally:
            if time.thread_time() - start <= NO_TIME:
                self._quick_bytes = max(self._quick_bytes, nbytes)
            else:
                self._quick_bytes = min(self._quick_bytes, max(nbytes // 2, _FEW_BYTES))

    def answer(self, request: bytes) -> bytes | None:
        """Return the response to a request; None if that is to be found as if nothing were known.

        Raises:
            GraphsvcError: As the graph does for its inputs.
        """
        nbytes = len(request)
        known = self._known.find(nbytes) if self.are_quick(nbytes) else None
        if known is None or (given := known.request.read(request)) is None:
            return None
        answer, arrays = known.answer, [_aligned(array) for array in given]
        try:
            outputs, gradients = self.timed(nbytes, lambda: answer.quick(arrays, None))
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
