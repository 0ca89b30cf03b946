"""The programs of a graph: made for a question when it is first asked, proved by their first run, and kept."""

import weakref
from collections.abc import Callable, Hashable
from typing import Final

from graphsvc.engine.answers import Answer
from graphsvc.engine.bound import BoundGraph, Question
from graphsvc.engine.cache import Cache
from graphsvc.engine.calls import out_of_memory
from graphsvc.engine.estimate import scratch_of
from graphsvc.engine.evaluation import Results
from graphsvc.engine.fusion.levels import LevelProgram, level_program
from graphsvc.engine.fusion.lowering import lower
from graphsvc.engine.fusion.program import GuardError, Program
from graphsvc.engine.fusion.proof import UntrueRecordingError
from graphsvc.engine.fusion.recordings import Recordings
from graphsvc.errors import LimitError
from graphsvc.garbage import full_collections_put_off

__all__ = ["Programs"]

_PROGRAM_BYTES: Final = 4 << 20
"""What the first run of a program takes to prove its recordings, and NumPy for its buffers."""

_STEP_BYTES: Final = 1024


class Programs:
    """The programs of one graph, which whoever has them must hold. Safe for many threads."""

    def __init__(self, graph: BoundGraph) -> None:
        # Each would keep the other, and all that was made for them, until Python looks for cycles.
        self._graph: BoundGraph = weakref.proxy(graph)
        self._recordings = Recordings()
        self._answers = Cache[Answer](graph.kept)

    def run(self, question: Question, between: Callable[[], None] | None) -> tuple[Results | None, Answer | None]:
        """Answer with a program, and return it with the answer; None where the gates must run one by one."""
        while answer := self.answer(question):
            try:
                return answer.run(question.inputs, question.arriving, between), answer
            except GuardError:
                break
            except UntrueRecordingError as error:
                self._recordings.distrust(error.node.gate, str(error))
            except MemoryError as error:
                raise self.out_of_memory(question) from error
        return None, None

    def out_of_memory(self, question: Question) -> LimitError:
        """Return the error of a run for which there is not memory enough; it names the node of the largest value."""
        estimate = self._graph.estimate(question)
        node = next(step.node for step in question.plan.steps if step.node.name == estimate.largest_node)
        return out_of_memory(node, "the largest value of the run has", estimate.largest)

    def answer(self, question: Question) -> Answer | None:
        """Return what answers a question fast; None if its gates must run one by one."""
        if not _is_known(question):
            return None
        return self._answers.get(self._key(question), lambda: self._made(question))

    def is_planned(self, question: Question) -> bool:
        """Tell whether the program for a question is at hand, or there will be none."""
        return not _is_known(question) or self._answers.find(self._key(question)) is not None

    def peak_bytes(self, question: Question) -> int | None:
        """Return what a program takes for a question; None where the gates run one by one."""
        answer = self.answer(question)
        if answer is None:
            return None
        program = answer.program
        taken = program.peak_bytes + _PROGRAM_BYTES + _STEP_BYTES * len(question.plan.steps)
        if isinstance(program, LevelProgram):
            return taken
        known = self._graph.inferred(question.specs)
        return taken + program.scratch_bytes + scratch_of(program.gates_as_they_are(), known)

    def _key(self, question: Question) -> tuple[Hashable, ...]:
        ones = question.output_gradients is None
        asked = tuple(question.specs.values()), tuple(question.plan.outputs), question.wrt, question.differentiated
        return (*asked, ones, self._recordings.distrusted)

    @full_collections_put_off()
    def _made(self, question: Question) -> Answer:
        """Make the program that a question's shape and size call for."""
        ones = question.output_gradients is None
        asked = (
            question.plan,
            self._recordings,
            self._graph.constants,
            question.specs,
            question.wrt,
            question.differentiated,
        )
        program = level_program(*asked) or Program(lower(*asked, ones=ones))
        arriving = () if ones else question.differentiated
        return Answer(program, question.specs, arriving, question.wrt)


def _is_known(question: Question) -> bool:
    """Tell whether all that a program is made of is known before the run."""
    return question.arriving is not None and not any(None in step.specs for step in question.plan.steps)
