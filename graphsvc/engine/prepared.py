"""Prepared questions: judged and planned, so that it is known what they take before anything is allocated."""

import functools
from collections.abc import Callable

from graphsvc.engine.between import asking
from graphsvc.engine.bound import BoundGraph, Question
from graphsvc.engine.evaluation import Results
from graphsvc.engine.looping import looped
from graphsvc.engine.programs import Programs

__all__ = ["Prepared"]


class Prepared:
    """A question to a graph, judged and planned; nothing has run, and nothing but the plan is allocated.

    Attributes:
        estimate: What it takes at most if its gates run one by one, from shapes alone.
    """

    def __init__(self, graph: BoundGraph, programs: Programs, question: Question) -> None:
        self._graph = graph
        self._programs = programs
        self._question = question
        self.estimate = graph.estimate(question)

    @functools.cached_property
    def peak_bytes(self) -> int:
        """Bytes that a run takes at most at one time beside its inputs.

        A program is made to tell, for which gates are called on symbols, and may take up to `estimate.peak_bytes`
        meanwhile. A value that a recording did not expect makes the gates run one by one, for which `run` asks again.
        """
        planned = self._programs.peak_bytes(self._question)
        return self.estimate.peak_bytes if planned is None else min(planned, self.estimate.peak_bytes)

    @property
    def planned(self) -> bool:
        """Whether the program is at hand, so that `peak_bytes` takes nothing."""
        return self._programs.is_planned(self._question)

    def run(self, between: Callable[[], None] | None = None, reserve: Callable[[int], None] | None = None) -> Results:
        """Answer the question.

        Args:
            between: See `ComputationalGraph.value_and_grad`.
            reserve: Called with the bytes that are needed where they are more than `peak_bytes`; what it raises stops
                the run.
        """
        # Gates that hold graphs ask as well.
        with asking(between):
            answered, _ = self._programs.run(self._question, between)
            if answered is not None:
                return answered
            if reserve and self.estimate.peak_bytes > self.peak_bytes:
                reserve(self.estimate.peak_bytes)
            return looped(self._graph, self._question, between)
