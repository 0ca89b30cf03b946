"""Running a graph: questions judged, programs made and kept, or the two loops called, and results handed over."""

import functools
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from graphsvc.arrays import Array, ArraySpec, Literal, is_differentiable, owned, read_only, spec_of
from graphsvc.drawing.picture import Trace
from graphsvc.engine import backprop
from graphsvc.engine.answers import Answer, Questions
from graphsvc.engine.between import asked_between, asking
from graphsvc.engine.binding import bind, sources
from graphsvc.engine.cache import Cache
from graphsvc.engine.calls import BackwardCall, ForwardCall, Record, call_backward, call_forward, out_of_memory
from graphsvc.engine.estimate import Estimate, estimate_plan, scratch_of
from graphsvc.engine.evaluation import Evaluation, InputGradients, Results
from graphsvc.engine.examiner import Examiner
from graphsvc.engine.explanation import Explanation, explain
from graphsvc.engine.fusion.levels import LevelProgram, level_program
from graphsvc.engine.fusion.lowering import lower
from graphsvc.engine.fusion.program import GuardError, Program, UntrueRecordingError
from graphsvc.engine.fusion.recordings import Recordings
from graphsvc.engine.inference import Spec, infer_specs
from graphsvc.engine.plan import Plan, make_plan
from graphsvc.engine.profile import Profiler
from graphsvc.engine.question import (
    judge_differentiated,
    judge_inputs,
    judge_output_gradients,
    judge_outputs,
    judge_wrt,
)
from graphsvc.engine.structure import Structure
from graphsvc.engine.tracing import Tracer
from graphsvc.errors import LimitError
from graphsvc.garbage import collection_put_off

__all__ = ["Prepared", "RunnableGraph", "gradients_of"]

_CACHED_PLANS: Final = 64
_CACHED_SPECS: Final = 16
_CACHED_NODES: Final = 200_000

_PROGRAM_BYTES: Final = 4 << 20
"""What the first run of a program takes to prove its recordings, and NumPy for its buffers."""

_STEP_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class _Question:
    """A question that was judged.

    Attributes:
        output_gradients: The gradients that arrive, as they were given.
        arriving: These as arrays; None where the shapes of outputs are not known before the run.
    """

    inputs: dict[str, Array]
    specs: dict[str, ArraySpec]
    wrt: tuple[str, ...]
    differentiated: tuple[str, ...]
    plan: Plan
    output_gradients: Mapping[str, object] | None
    arriving: dict[str, Array] | None


class RunnableGraph:
    """A graph whose gates are at hand, with the plans made for it so far. Safe for many threads.

    Attributes:
        nodes: The gate nodes, in topological order.
        inputs: What is declared of each input.
        constants: The constants by name.
        sources: Reference to the value of each output.
        verified: Which nodes were found to keep tangents; see `tangents.verification`.
    """

    def __init__(self, structure: Structure) -> None:
        """Bind the gates of a graph.

        Raises:
            GraphError: A gate is not installed, or a node does not fit its gate.
        """
        self.nodes = bind(structure)
        self.inputs = dict(structure.inputs)
        self.constants = dict(structure.constants)
        self.sources = sources(structure)
        self._recordings = Recordings()
        self.verified: set[object] = set()
        # Large graphs keep fewer plans, for each takes memory for every node.
        share = max(1, _CACHED_NODES // max(1, len(self.nodes)))
        plans = min(_CACHED_PLANS, share)
        self._specs = Cache[dict[str, Spec]](min(_CACHED_SPECS, share))
        self._plans = Cache[Plan](plans)
        self._answers = Cache[Answer](plans)
        self._estimates = Cache[Estimate](plans)
        self._questions = Questions(self.inputs, plans)
        self._holds_graphs = any(node.gate.signature.graphs for node in self.nodes)

    def value_and_grad(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
        between: Callable[[], None] | None,
    ) -> Results:
        """See `ComputationalGraph.value_and_grad`."""
        if self._holds_graphs and between is not asked_between():
            with asking(between):
                return self.value_and_grad(inputs, wrt, output_gradients, outputs, between)
        known = self._questions.known(inputs, wrt, outputs) if output_gradients is None else None
        if known and known[2]:
            try:
                return known[2].quick(known[1], between)
            except GuardError:
                return self._looped(self._judged(inputs, wrt, output_gradients, outputs), between)
            except MemoryError as error:
                raise self._out_of_memory(self._judged(inputs, wrt, output_gradients, outputs)) from error
        question = self._judged(inputs, wrt, output_gradients, outputs)
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
        if self._holds_graphs:
            return self.value_and_grad(inputs, wrt, output_gradients, None, between)
        given = (*inputs.values(), *output_gradients.values())
        # No question of `known` begins so.
        key = ("pulled", wrt, *output_gradients, *[(array.shape, array.dtype) for array in given])
        answer = self._questions.find(key)
        if answer:
            try:
                return answer.run(inputs, output_gradients, between)
            except GuardError:
                return self._looped(self._judged(inputs, wrt, output_gradients, None), between)
        return self._answered(self._judged(inputs, wrt, output_gradients, None), key, between)

    def prepared(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
    ) -> "Prepared":
        """See `ComputationalGraph.prepare`."""
        return Prepared(self, self._judged(inputs, wrt, output_gradients, outputs))

    def _answered(
        self, question: _Question, key: tuple[Hashable, ...] | None, between: Callable[[], None] | None
    ) -> Results:
        """Answer a question that was judged, and keep what answers it if it has a key."""
        answered, answer = self._planned(question, between)
        if answered is None:
            return self._looped(question, between)
        if answer and key is not None:
            self._questions.learn(key, answer)
        return answered

    def _planned(self, question: _Question, between: Callable[[], None] | None) -> tuple[Results | None, Answer | None]:
        """Answer with a program, and return it with the answer; None where the gates must run one by one."""
        while answer := self._answer(question):
            try:
                return answer.run(question.inputs, question.arriving, between), answer
            except GuardError:
                break
            except UntrueRecordingError as error:
                self._recordings.distrust(error.node.gate, str(error))
            except MemoryError as error:
                raise self._out_of_memory(question) from error
        return None, None

    def _out_of_memory(self, question: _Question) -> LimitError:
        """Return the error of a run for which there is not memory enough; it names the node of the largest value."""
        estimate = self._estimate(question.plan, question.specs, question.wrt, question.differentiated)
        node = next(step.node for step in question.plan.steps if step.node.name == estimate.largest_node)
        return out_of_memory(node, "the largest value of the run has", estimate.largest)

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
        if self._holds_graphs and between is not asked_between():
            with asking(between):
                return self.observed(inputs, wrt, output_gradients, outputs, between, debug=debug, profile=profile)
        question = self._judged(inputs, wrt, output_gradients, outputs)
        calls: tuple[ForwardCall, BackwardCall] = call_forward, call_backward
        if profile:
            profiler = Profiler(*calls)
            calls = profiler.forward, profiler.backward
        if not debug:
            results, gradients = self._looped(question, between, *calls)
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
        self._examined(self._judged(inputs, wrt, output_gradients, outputs), None, tracer)
        return tracer.trace()

    def _examined(self, question: _Question, between: Callable[[], None] | None, examiner: Examiner) -> Results:
        """Answer with the two loops, under the eyes of an examiner."""
        examiner.given_values(question.plan, question.inputs, {**self.constants, **question.inputs})
        results, gradients = self._looped(
            question, between, examiner.forward, examiner.backward, examiner.given_gradients
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
        question = self._judged(inputs, wrt, given, outputs)
        answer = self._answer(question)
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
        outputs = {name: read_only(np.asarray(values[source])) for name, source in plan.outputs.items()}
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

    # Questions

    def _judged(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
    ) -> _Question:
        arrays = judge_inputs(self.inputs, inputs)
        names = judge_outputs(self.sources, outputs)
        wrt_names = judge_wrt(arrays, wrt)
        differentiated = judge_differentiated(names, output_gradients) if wrt_names else ()
        specs = {name: spec_of(array) for name, array in arrays.items()}
        plan = self.plan(specs, names, wrt_names, differentiated)
        known = self.output_specs(specs, names)
        # Judged before the run where shapes are known by then.
        arriving = None if known is None else judge_output_gradients(known, differentiated, output_gradients)
        if plan.blocked:
            raise plan.blocked.again()
        return _Question(arrays, specs, wrt_names, differentiated, plan, output_gradients, arriving)

    def constant_specs(self) -> dict[str, Spec]:
        """Return what is known of the constants."""
        return {n: spec_of(v) if isinstance(v, np.ndarray) else v for n, v in self.constants.items()}

    def inferred(self, inputs: Mapping[str, ArraySpec]) -> dict[str, Spec]:
        """Infer what every value of the graph is, for inputs of these shapes and dtypes."""
        return self._specs.get(
            tuple(inputs.values()),
            lambda: infer_specs(self.nodes, {**self.constant_specs(), **inputs}),
        )

    def output_specs(self, inputs: Mapping[str, ArraySpec], names: Iterable[str]) -> dict[str, ArraySpec] | None:
        """Return what the outputs will be; None if that is not known before the run."""
        specs = self.inferred(inputs)
        known = {name: specs[self.sources[name]] for name in names}
        if any(spec is None for spec in known.values()):
            return None
        return {
            name: spec if isinstance(spec, ArraySpec) else spec_of(np.asarray(spec)) for name, spec in known.items()
        }

    # Plans and programs

    def plan(
        self,
        inputs: Mapping[str, ArraySpec],
        outputs: tuple[str, ...],
        wrt: tuple[str, ...],
        differentiated: tuple[str, ...],
    ) -> Plan:
        """Return the plan for a question."""
        return self._plans.get(
            (tuple(inputs.values()), outputs, wrt, differentiated),
            lambda: make_plan(
                self.nodes, self.inferred(inputs), {name: self.sources[name] for name in outputs}, wrt, differentiated
            ),
        )

    def _answer(self, question: _Question) -> Answer | None:
        """Return what answers a question fast; None if its gates must run one by one."""
        if not _is_known(question):
            return None
        ones = question.output_gradients is None
        return self._answers.get(self._answer_key(question), lambda: self._made_answer(question, ones=ones))

    def _answer_key(self, question: _Question) -> tuple[Hashable, ...]:
        ones = question.output_gradients is None
        asked = tuple(question.specs.values()), tuple(question.plan.outputs), question.wrt, question.differentiated
        return (*asked, ones, self._recordings.distrusted)

    def _is_planned(self, question: _Question) -> bool:
        """Tell whether the program for a question is at hand, or there will be none."""
        return not _is_known(question) or self._answers.find(self._answer_key(question)) is not None

    def estimated(
        self, inputs: Mapping[str, object], wrt: Iterable[str] | None, outputs: Iterable[str] | None
    ) -> Estimate:
        """See `ComputationalGraph.estimate`."""
        arrays = judge_inputs(self.inputs, inputs)
        names = judge_outputs(self.sources, outputs)
        specs = {name: spec_of(array) for name, array in arrays.items()}
        wrt_names = judge_wrt(arrays, wrt)
        plan = self.plan(specs, names, wrt_names, names if wrt_names else ())
        return self._estimate(plan, specs, wrt_names, names)

    def _estimate(
        self, plan: Plan, specs: Mapping[str, ArraySpec], wrt: tuple[str, ...], differentiated: tuple[str, ...]
    ) -> Estimate:
        """Return what the two loops take for a plan."""
        return self._estimates.get(
            (tuple(specs.values()), tuple(plan.outputs), wrt, differentiated),
            lambda: estimate_plan(plan, self.inferred(specs), wrt),
        )

    def _program_bytes(self, question: _Question) -> int | None:
        """Return what a program takes for a question; None where the gates run one by one."""
        answer = self._answer(question)
        if answer is None:
            return None
        program = answer.program
        taken = program.peak_bytes + _PROGRAM_BYTES + _STEP_BYTES * len(question.plan.steps)
        if isinstance(program, LevelProgram):
            return taken
        known = self.inferred(question.specs)
        return taken + program.scratch_bytes + scratch_of(program.gates_as_they_are(), known)

    @collection_put_off()
    def _made_answer(self, question: _Question, *, ones: bool) -> Answer:
        """Make the program that a question's shape and size call for."""
        asked = (
            question.plan,
            self._recordings,
            self.constants,
            question.specs,
            question.wrt,
            question.differentiated,
        )
        program = level_program(*asked) or Program(lower(*asked, ones=ones))
        arriving = () if ones else question.differentiated
        return Answer(program, question.specs, arriving, question.wrt)

    # The two loops

    def _looped(
        self,
        question: _Question,
        between: Callable[[], None] | None,
        forward: ForwardCall = call_forward,
        backward: BackwardCall = call_backward,
        given_gradients: Callable[[Mapping[str, Array]], None] | None = None,
    ) -> Results:
        """Answer with the two loops."""
        plan = question.plan
        values: dict[str, Array | Literal] = {**self.constants, **question.inputs}
        with np.errstate(all="ignore"):
            records = backprop.forward(plan.steps, values, between, forward)
        results = {name: np.asarray(values[source]) for name, source in plan.outputs.items()}
        values.clear()
        arriving = question.arriving
        if arriving is None:
            known = {name: spec_of(array) for name, array in results.items()}
            arriving = judge_output_gradients(known, question.differentiated, question.output_gradients)
        if given_gradients:
            given_gradients(arriving)
        gradients = gradients_of(plan, question.wrt, question.specs, records, arriving, between, backward)
        # Copies, because a gate may keep what it returned, and two outputs may be views of one array.
        return {name: owned(result) for name, result in results.items()}, gradients


def _is_known(question: _Question) -> bool:
    """Tell whether all that a program is made of is known before the run."""
    return question.arriving is not None and not any(None in step.specs for step in question.plan.steps)


class Prepared:
    """A question to a graph, judged and planned; nothing has run, and nothing but the plan is allocated.

    Attributes:
        estimate: What it takes at most if its gates run one by one, from shapes alone.
    """

    def __init__(self, graph: RunnableGraph, question: _Question) -> None:
        self._graph = graph
        self._question = question
        self.estimate = graph._estimate(question.plan, question.specs, question.wrt, question.differentiated)

    @functools.cached_property
    def peak_bytes(self) -> int:
        """Bytes that a run takes at most at one time beside its inputs.

        A program is made to tell, for which gates are called on symbols, and may take up to `estimate.peak_bytes`
        meanwhile. A value that a recording did not expect makes the gates run one by one, for which `run` asks again.
        """
        planned = self._graph._program_bytes(self._question)
        return self.estimate.peak_bytes if planned is None else min(planned, self.estimate.peak_bytes)

    @property
    def planned(self) -> bool:
        """Whether the program is at hand, so that `peak_bytes` takes nothing."""
        return self._graph._is_planned(self._question)

    def run(self, between: Callable[[], None] | None = None, reserve: Callable[[int], None] | None = None) -> Results:
        """Answer the question.

        Args:
            between: See `ComputationalGraph.value_and_grad`.
            reserve: Called with the bytes that are needed where they are more than `peak_bytes`; what it raises stops
                the run.
        """
        # Gates that hold graphs ask as well.
        with asking(between):
            answered, _ = self._graph._planned(self._question, between)
            if answered is not None:
                return answered
            if reserve and self.estimate.peak_bytes > self.peak_bytes:
                reserve(self.estimate.peak_bytes)
            return self._graph._looped(self._question, between)


def gradients_of(
    plan: Plan,
    wrt: tuple[str, ...],
    inputs: Mapping[str, ArraySpec],
    records: dict[str, Record],
    output_gradients: Mapping[str, Array],
    between: Callable[[], None] | None = None,
    call: BackwardCall = call_backward,
) -> InputGradients:
    """Run the backward pass and gather the gradients of the inputs."""
    if plan.blocked:
        raise plan.blocked.again()
    gradients: dict[str, Array] = {}
    # The sums at outputs and the casts at inputs may overflow as any gate may.
    with np.errstate(all="ignore"):
        for name, gradient in output_gradients.items():
            source = plan.outputs[name]
            gradients[source] = np.asarray(gradients[source] + gradient) if source in gradients else gradient
        backprop.backward(plan.steps, records, gradients, between, call)
        disconnected = [name for name in wrt if name not in gradients]
        for name in disconnected:
            gradients[name] = np.zeros(inputs[name].shape, inputs[name].dtype)
        mine = {name: owned(gradients[name].astype(inputs[name].dtype, copy=False)) for name in wrt}
    return InputGradients(mine, disconnected)
