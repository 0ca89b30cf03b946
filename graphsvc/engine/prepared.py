"""Prepared questions: judged and planned, so that it is known what they take before anything is allocated."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphsvc.engine.answers import Answer
from graphsvc.engine.between import asking
from graphsvc.engine.bound import BoundGraph, Question
from graphsvc.engine.estimate import Estimate
from graphsvc.engine.evaluation import Results
from graphsvc.engine.fusion.program import GuardError
from graphsvc.engine.looping import looped
from graphsvc.engine.programs import Programs

__all__ = ["Needs", "Prepared", "PreparedAgain"]


@dataclass(frozen=True, slots=True)
class Needs:
    """What answers a question that was prepared and run before, and what it takes; see `Prepared`."""

    answer: Answer
    estimate: Estimate
    peak_bytes: int


class Prepared:
    """A question to a graph, judged and planned; nothing has run, and nothing but the plan is allocated.

    Attributes:
        estimate: What it takes at most if its gates run one by one, from shapes alone.
    """

    def __init__(
        self, graph: BoundGraph, programs: Programs, question: Question, learn: Callable[[Needs], None] | None = None
    ) -> None:
        """Prepare a question.

        Args:
            graph: The graph.
            programs: Its programs.
            question: What is asked of it.
            learn: Called when the question was answered by a program.
        """
        self._graph = graph
        self._programs = programs
        self._question = question
        self._learn = learn
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
            answered, answer = self._programs.run(self._question, between)
            if answered is not None:
                if answer and self._learn:
                    self._learn(Needs(answer, self.estimate, self.peak_bytes))
                return answered
            if reserve and self.estimate.peak_bytes > self.peak_bytes:
                reserve(self.estimate.peak_bytes)
            return looped(self._graph, self._question, between)


class PreparedAgain:
    """A question like one that was prepared and run before; see `Prepared`, whose place it takes in less time.

    Attributes:
        answer: What answers it, and any other of the same names, shapes and dtypes.
    """

    planned = True

    def __init__(self, needs: Needs, given: list[Any], prepare: Callable[[], Prepared]) -> None:
        """Prepare a question.

        Args:
            needs: What is known of it.
            given: Its inputs, as programs take them.
            prepare: Prepares it as if nothing were known.
        """
        self.answer = needs.answer
        self._given = given
        self._prepare = prepare
        self.estimate = needs.estimate
        self.peak_bytes = needs.peak_bytes

    def run(self, between: Callable[[], None] | None = None, reserve: Callable[[int], None] | None = None) -> Results:
        """Answer the question; see `Prepared.run`."""
        try:
            return self.answer.quick(self._given, between)
        except (GuardError, MemoryError):
            # There it is known which gates run one by one, and which value there is no memory for.
            return self._prepare().run(between, reserve)
