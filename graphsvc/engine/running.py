"""Running a graph: by a program where there is one, or by the two loops, which may be looked on."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import Final

import numpy as np

from graphsvc.arrays import Array, Literal, is_differentiable, read_only, spec_of
from graphsvc.drawing.picture import Trace
from graphsvc.engine import backprop
from graphsvc.engine.answers import Answer, Questions
from graphsvc.engine.between import asked_between, asking
from graphsvc.engine.bound import BoundGraph, Question
from graphsvc.engine.cache import Cache
from graphsvc.engine.calls import BackwardCall, ForwardCall, call_backward, call_forward
from graphsvc.engine.estimate import Estimate
from graphsvc.engine.evaluation import Evaluation, InputGradients, Results
from graphsvc.engine.examiner import Examiner
from graphsvc.engine.explanation import Explanation, explain
from graphsvc.engine.fusion.program import GuardError
from graphsvc.engine.looping import gradients_of, looped, results_of
from graphsvc.engine.prepared import Needs, Prepared, PreparedAgain
from graphsvc.engine.profile import Profiler
from graphsvc.engine.programs import Programs
from graphsvc.engine.question import (
    judge_differentiated,
    judge_inputs,
    judge_output_gradients,
    judge_outputs,
    judge_wrt,
)
from graphsvc.engine.structure import Structure
from graphsvc.engine.tracing import Tracer
from graphsvc.engine.wording import Wording

__all__ = ["RunnableGraph"]

_KEPT_WORDINGS: Final = 512


class RunnableGraph(BoundGraph):
    """A graph that runs, with the programs made for it so far. Safe for many threads.

    Attributes:
        verified: Which nodes were found to keep tangents; see `tangents.verification`.
        wordings: What the backward of nodes was found to compute; see `walking`.
    """

    def __init__(self, structure: Structure) -> None:
        """Bind the gates of a graph.

        Raises:
            GraphError: A gate is not installed, or a node does not fit its gate.
        """
        super().__init__(structure)
        self.verified: set[object] = set()
        self.wordings = Cache[Wording](_KEPT_WORDINGS)
        self._programs = Programs(self)
        self._questions = Questions[Answer](self.inputs, self.kept)
        self._needs = Questions[Needs](self.inputs, self.kept)

    def value_and_grad(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
        between: Callable[[], None] | None,
    ) -> Results:
        """See `ComputationalGraph.value_and_grad`."""
        if self.holds_graphs and between is not asked_between():
            with asking(between):
                return self.value_and_grad(inputs, wrt, output_gradients, outputs, between)
        known = self._questions.known(inputs, wrt, outputs) if output_gradients is None else None
        if known and known[2]:
            try:
                return known[2].quick(known[1], between)
            except GuardError:
                return looped(self, self.judged(inputs, wrt, output_gradients, outputs), between)
            except MemoryError as error:
                raise self._programs.out_of_memory(self.judged(inputs, wrt, output_gradients, outputs)) from error
        question = self.judged(inputs, wrt, output_gradients, outputs)
        return self._answered(question, known[0] if known else None, between)

    def pulled(
        self,
        inputs: dict[str, Array],
        wrt: tuple[str, ...],
        output_gradients: dict[str, Array],
        between: Callable[[], None] | None,
    ) -> Results:
        """Answer as `value_and_grad` does, for gates that ask the same thousands of times: judged once for all shapes.

        Args:
            inputs: Plain arrays, in the order of the graph.
            wrt: Inputs whose gradients are wanted.
            output_gradients: Plain arrays.
            between: See `value_and_grad`.
        """
        if self.holds_graphs:
            return self.value_and_grad(inputs, wrt, output_gradients, None, between)
        given = (*inputs.values(), *output_gradients.values())
        # No question of `known` begins so.
        key = ("pulled", wrt, *output_gradients, *[(array.shape, array.dtype) for array in given])
        answer = self._questions.find(key)
        if answer:
            try:
                return answer.run(inputs, output_gradients, between)
            except GuardError:
                return looped(self, self.judged(inputs, wrt, output_gradients, None), between)
        return self._answered(self.judged(inputs, wrt, output_gradients, None), key, between)

    def prepared(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
    ) -> Prepared | PreparedAgain:
        """See `ComputationalGraph.prepare`."""

        def prepare(learn: Callable[[Needs], None] | None = None) -> Prepared:
            return Prepared(self, self._programs, self.judged(inputs, wrt, output_gradients, outputs), learn)

        # What is learned says nothing of the graphs that gates hold.
        is_known = output_gradients is None and not self.holds_graphs
        known = self._needs.known(inputs, wrt, outputs) if is_known else None
        if known is None:
            return prepare()
        key, given, needs = known
        return PreparedAgain(needs, given, prepare) if needs else prepare(partial(self._needs.learn, key))

    def _answered(
        self, question: Question, key: tuple[Hashable, ...] | None, between: Callable[[], None] | None
    ) -> Results:
        """Answer a question that was judged, and keep what answers it if it has a key."""
        answered, answer = self._programs.run(question, between)
        if answered is None:
            return looped(self, question, between)
        if answer and key is not None:
            self._questions.learn(key, answer)
        return answered

    def observed(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
        between: Callable[[], None] | None,
        *,
        debug: bool,
        profile: bool,
    ) -> Results:
        """Run as `value_and_grad` does, but always gate by gate through the two loops, and look on."""
        if self.holds_graphs and between is not asked_between():
            with asking(between):
                return self.observed(inputs, wrt, output_gradients, outputs, between, debug=debug, profile=profile)
        question = self.judged(inputs, wrt, output_gradients, outputs)
        calls: tuple[ForwardCall, BackwardCall] = call_forward, call_backward
        if profile:
            profiler = Profiler(*calls)
            calls = profiler.forward, profiler.backward
        if not debug:
            results, gradients = looped(self, question, between, *calls)
        else:
            examiner = Examiner(*calls)
            results, gradients = self._examined(question, between, examiner)
            gradients.diagnosis = examiner.diagnosis()
        if profile:
            gradients.profile = profiler.profile()
        return results, gradients

    def traced(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
    ) -> Trace:
        """Run as `observed` does, and note what every value and every gradient was like."""
        tracer = Tracer()
        self.watched(inputs, wrt, output_gradients, outputs, None, tracer)
        return tracer.trace()

    def watched(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
        between: Callable[[], None] | None,
        examiner: Examiner,
    ) -> Results:
        """Run as `observed` does, under the eyes of an examiner."""
        return self._examined(self.judged(inputs, wrt, output_gradients, outputs), between, examiner)

    def _examined(self, question: Question, between: Callable[[], None] | None, examiner: Examiner) -> Results:
        """Answer with the two loops, under the eyes of an examiner."""
        examiner.given_values(question.plan, question.inputs, {**self.constants, **question.inputs})
        results, gradients = looped(
            self, question, between, examiner.forward, examiner.backward, examiner.given_gradients
        )
        examiner.final_gradients(gradients)
        return results, gradients

    def explained(
        self, inputs: Mapping[str, object], wrt: Iterable[str] | None, outputs: Iterable[str] | None
    ) -> Explanation:
        """See `ComputationalGraph.explain`."""
        arrays = judge_inputs(self.inputs, inputs)
        names = judge_outputs(self.sources, outputs)
        known = self.output_specs({name: spec_of(array) for name, array in arrays.items()}, names)
        # Gradients of 1 arrive where that is a question; elsewhere any.
        given = None
        if known is not None and (len(names) > 1 or known[names[0]].size != 1):
            given = {
                n: np.broadcast_to(s.dtype.type(1), s.shape) for n, s in known.items() if is_differentiable(s.dtype)
            }
        question = self.judged(inputs, wrt, given, outputs)
        answer = self._programs.answer(question)
        if answer is None:
            opaque = next(step.node for step in question.plan.steps if None in step.specs)
            reason = f"gate {opaque.gate_name!r} at node {opaque.name!r} has no infer, so shapes are not known before"
            return Explanation((), 0, 0, 0, reason)
        return explain(answer.program)

    def forward(self, inputs: Mapping[str, object]) -> Evaluation:
        """See `ComputationalGraph.forward`."""
        # An evaluation owns its inputs, so that changing an array afterwards changes no gradient.
        arrays = {n: read_only(np.array(a, order="K")) for n, a in judge_inputs(self.inputs, inputs).items()}
        names = judge_outputs(self.sources, None)
        specs = {name: spec_of(array) for name, array in arrays.items()}
        plan = self.plan(specs, names, judge_wrt(arrays, None), names)
        values: dict[str, Array | Literal] = {**self.constants, **arrays}
        with np.errstate(all="ignore"):
            records = backprop.forward(plan.steps, values)
        outputs = {name: read_only(result) for name, result in results_of(plan, values).items()}
        return Evaluation(outputs, self, specs, records, arrays)

    def backward(
        self,
        evaluation: Evaluation,
        output_gradients: Mapping[str, object] | None,
        wrt: Iterable[str] | None,
    ) -> InputGradients:
        """See `ComputationalGraph.backward`."""
        names = tuple(evaluation.outputs)
        wrt_names = judge_wrt(evaluation.inputs, wrt)
        if not wrt_names:
            return InputGradients({})
        differentiated = judge_differentiated(names, output_gradients)
        plan = self.plan(evaluation.inputs, names, wrt_names, differentiated)
        specs = {name: spec_of(array) for name, array in evaluation.outputs.items()}
        arriving = judge_output_gradients(specs, differentiated, output_gradients)
        # The records stay as they are, for other backward passes.
        return gradients_of(plan, wrt_names, evaluation.inputs, dict(evaluation.records), arriving)

    def estimated(
        self, inputs: Mapping[str, object], wrt: Iterable[str] | None, outputs: Iterable[str] | None
    ) -> Estimate:
        """See `ComputationalGraph.estimate`."""
        names = judge_outputs(self.sources, outputs)
        return self.estimate(self.asked(inputs, wrt, dict.fromkeys(names), names))
