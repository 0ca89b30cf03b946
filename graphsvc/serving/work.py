"""Work: a request that was read and judged, with what it will take, before any of it is done."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias

from graphsvc.arrays import Array
from graphsvc.engine.estimate import Estimate
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.prepared import Prepared, PreparedAgain
from graphsvc.serving.differentiation import DerivativeQuestion
from graphsvc.v1 import service_pb2
from graphsvc.wire.chunks import MOST_IN_MESSAGE

__all__ = ["NO_RUN", "Reservation", "Work", "debug_estimate", "derivatives_estimate", "vectors_estimate"]

_DUAL: Final = 4
"""How many times what a gradient takes its derivative along a direction takes: tangents, and what checks them."""


_OBSERVED: Final = 3
"""How many times what a run takes it takes with what looks on."""


class Reservation(Protocol):
    """What a run has for itself; see `graphsvc.serving.admission.Lease`."""

    nbytes: int

    def resize(self, nbytes: int) -> None:
        """Take or give back bytes."""


Answering: TypeAlias = Callable[[Callable[[], None] | None, Callable[[int], None]], Any]
"""Does work: takes what stops it, if anything may, and what is called with the bytes that it turns out to need."""

NO_RUN: Final = Estimate(0, 0, 0, 0, 0, 0, 0, "", 0, "", "")
"""What it takes to run nothing."""

_COPIES: Final = 3
"""How many times results are there at once that go in one message: as arrays, in the message, and as its bytes."""


@dataclass(frozen=True)
class Work:
    """A request that was judged.

    Attributes:
        estimate: What it takes at most.
        request_bytes: Bytes of the request, its chunks among them.
        beside: Where large results are put that go in chunks; None if all go in one message.
        answer: Does the work, and returns the response: a message, but for calls that come by other ways than gRPC.
        prepared: The question, where a program may take less than the estimate says.
    """

    estimate: Estimate
    request_bytes: int
    beside: list[Array] | None
    answer: Answering
    prepared: Prepared | PreparedAgain | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes of the request, and of the results until they are sent."""
        results = self.estimate.result_bytes
        in_message = results if self.beside is None else min(results, MOST_IN_MESSAGE)
        return self.request_bytes + results + (_COPIES - 1) * in_message

    @property
    def is_planned(self) -> bool:
        """Whether nothing needs to be made before it can be done."""
        return self.prepared is not None and self.prepared.planned

    def needed_bytes(self, most: int) -> int:
        """Return the bytes to reserve; where only a program may do with `most`, that much to find out."""
        peak = self.estimate.peak_bytes
        if self.prepared is None:
            return peak + self.held_bytes
        if self.prepared.planned:
            return self.prepared.peak_bytes + self.held_bytes
        return max(min(peak + self.held_bytes, most), self.held_bytes)

    def run(self, stop: Callable[[], None], reservation: Reservation) -> Any:
        """Do the work.

        Raises:
            LimitError: It turns out to take more than is allowed.
            GraphsvcError: Whatever else is wrong.
        """
        # It may have waited for its place for long.
        stop()
        if self.prepared is not None:
            reservation.resize(self.prepared.peak_bytes + self.held_bytes)
        return self.answer(stop, lambda nbytes: reservation.resize(nbytes + self.held_bytes))

    def run_at_once(self) -> Any:
        """Do work that takes next to nothing, so that nothing needs to be reserved and nobody stops it."""
        return self.answer(None, lambda _: None)


def debug_estimate(one: Estimate) -> Estimate:
    """Estimate what it takes to look on at a run, in terms of the run.

    Every array is looked at, and the backward of a gate is called again with other gradients to find a cause: a few
    times in all, but it may be the gate that takes most of the time.
    """
    return replace(
        one,
        peak_bytes=_OBSERVED * one.peak_bytes,
        flops=_OBSERVED * one.flops,
        touched_bytes=_OBSERVED * one.touched_bytes,
        calls=_OBSERVED * one.calls,
    )


def vectors_estimate(one: Estimate, vectors: int) -> Estimate:
    """Estimate what gradients for many output gradients take, in terms of those for one."""
    results = vectors * one.result_bytes
    return replace(
        one,
        peak_bytes=one.peak_bytes + 2 * results,
        result_bytes=results,
        flops=vectors * one.flops,
        touched_bytes=vectors * one.touched_bytes,
        calls=vectors * one.calls,
    )


def derivatives_estimate(graph: ComputationalGraph, question: DerivativeQuestion) -> Estimate:
    """Estimate what derivatives take, in terms of a gradient."""
    one = graph.estimate(question.inputs, None, question.outputs)
    kind, vectors = question.kind, question.vectors
    if kind in (service_pb2.DERIVATIVE_KIND_JVP, service_pb2.DERIVATIVE_KIND_HVP):
        count = vectors or 1
        results = 2 * count * one.result_bytes
    else:
        columns = sum(array.size for array in question.inputs.values() if array.dtype.kind in "fc")
        rows = columns if kind == service_pb2.DERIVATIVE_KIND_HESSIAN else one.output_elements
        count = min(columns, rows)
        results = 8 * rows * columns
    return replace(
        one,
        # Results are there twice while they are put in their places.
        peak_bytes=_DUAL * one.peak_bytes + 2 * results,
        result_bytes=results,
        flops=_DUAL * count * one.flops,
        touched_bytes=_DUAL * count * one.touched_bytes,
        calls=_DUAL * count * one.calls,
    )
