"""Running a graph: questions judged, plans made and kept, the two loops called, and results handed over."""

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Final, Generic, TypeVar

import numpy as np

from graphsvc import backprop
from graphsvc.arrays import Array, ArraySpec, Literal, owned, read_only, spec_of
from graphsvc.calls import BackwardCall, ForwardCall, Record, call_backward, call_forward
from graphsvc.evaluation import Evaluation, InputGradients
from graphsvc.examiner import Examiner
from graphsvc.inference import Spec, infer_specs
from graphsvc.plan import Plan, make_plan
from graphsvc.profile import Profiler
from graphsvc.question import judge_differentiated, judge_inputs, judge_output_gradients, judge_outputs, judge_wrt
from graphsvc.structure import Structure

__all__ = ["RunnableGraph"]

_CACHED_PLANS: Final = 64
_CACHED_SPECS: Final = 16
_CACHED_NODES: Final = 200_000

_T = TypeVar("_T")


class RunnableGraph:
    """A graph whose gates are at hand, with the plans made for it so far. Safe for many threads."""

    def __init__(self, structure: Structure) -> None:
        """Bind the gates of a graph.

        Raises:
            GraphError: A gate is not installed, or a node does not fit its gate.
        """
        self.nodes = structure.bind()
        self._inputs = dict(structure.inputs)
        self._constants = dict(structure.constants)
        self._sources = structure.sources()
        # Large graphs keep fewer plans, for each takes memory for every node.
        share = max(1, _CACHED_NODES // max(1, len(self.nodes)))
        self._specs = _Cache[dict[str, Spec]](min(_CACHED_SPECS, share))
        self._plans = _Cache[Plan](min(_CACHED_PLANS, share))

    def value_and_grad(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
        between: Callable[[], None] | None,
    ) -> tuple[dict[str, Array], InputGradients]:
        """See `ComputationalGraph.value_and_grad`."""
        arrays = judge_inputs(self._inputs, inputs)
        names = judge_outputs(self._sources, outputs)
        wrt_names = judge_wrt(arrays, wrt)
        differentiated = judge_differentiated(names, output_gradients) if wrt_names else ()
        specs = {name: spec_of(array) for name, array in arrays.items()}
        plan = self._plan(specs, names, wrt_names, differentiated)
        known = self._output_specs(specs, names)
        # Judged before the run where shapes are known by then.
        arriving = None if known is None else judge_output_gradients(known, differentiated, output_gradients)
        if plan.blocked:
            raise plan.blocked.again()
        values: dict[str, Array | Literal] = {**self._constants, **arrays}
        with np.errstate(all="ignore"):
            records = backprop.forward(plan.steps, values, between)
        results = {name: np.asarray(values[source]) for name, source in plan.outputs.items()}
        values.clear()
        if arriving is None:
            known = {name: spec_of(array) for name, array in results.items()}
            arriving = judge_output_gradients(known, differentiated, output_gradients)
        gradients = _gradients(plan, wrt_names, specs, records, arriving, between)
        # Copies, because a gate may keep what it returned, and two outputs may be views of one array.
        return {name: owned(result) for name, result in results.items()}, gradients

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
    ) -> tuple[dict[str, Array], InputGradients]:
        """Run as `value_and_grad` does, but always gate by gate through the two loops, and look on."""
        arrays = judge_inputs(self._inputs, inputs)
        names = judge_outputs(self._sources, outputs)
        wrt_names = judge_wrt(arrays, wrt)
        differentiated = judge_differentiated(names, output_gradients) if wrt_names else ()
        specs = {name: spec_of(array) for name, array in arrays.items()}
        plan = self._plan(specs, names, wrt_names, differentiated)
        known = self._output_specs(specs, names)
        if known is not None:
            judge_output_gradients(known, differentiated, output_gradients)
        if plan.blocked:
            raise plan.blocked.again()
        calls: tuple[ForwardCall, BackwardCall] = call_forward, call_backward
        if profile:
            profiler = Profiler(*calls)
            calls = profiler.forward, profiler.backward
        if debug:
            examiner = Examiner(*calls)
            calls = examiner.forward, examiner.backward
        values: dict[str, Array | Literal] = {**self._constants, **arrays}
        if debug:
            examiner.given_values(plan, arrays, values)
        with np.errstate(all="ignore"):
            records = backprop.forward(plan.steps, values, between, calls[0])
        results = {name: np.asarray(values[source]) for name, source in plan.outputs.items()}
        values.clear()
        known = {name: spec_of(array) for name, array in results.items()}
        arriving = judge_output_gradients(known, differentiated, output_gradients)
        if debug:
            examiner.given_gradients(arriving)
        gradients = _gradients(plan, wrt_names, specs, records, arriving, between, calls[1])
        if debug:
            examiner.final_gradients(gradients)
            gradients.diagnosis = examiner.diagnosis()
        if profile:
            gradients.profile = profiler.profile()
        return {name: owned(result) for name, result in results.items()}, gradients

    def forward(self, inputs: Mapping[str, object]) -> Evaluation:
        """See `ComputationalGraph.forward`."""
        # An evaluation owns its inputs, so that changing an array afterwards changes no gradient.
        arrays = {n: read_only(np.array(a, order="K")) for n, a in judge_inputs(self._inputs, inputs).items()}
        names = judge_outputs(self._sources, None)
        specs = {name: spec_of(array) for name, array in arrays.items()}
        plan = self._plan(specs, names, judge_wrt(arrays, None), names)
        values: dict[str, Array | Literal] = {**self._constants, **arrays}
        with np.errstate(all="ignore"):
            records = backprop.forward(plan.steps, values)
        outputs = {name: read_only(np.asarray(values[source])) for name, source in plan.outputs.items()}
        return Evaluation(outputs, self, specs, records)

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
        plan = self._plan(evaluation.inputs, names, wrt_names, differentiated)
        specs = {name: spec_of(array) for name, array in evaluation.outputs.items()}
        arriving = judge_output_gradients(specs, differentiated, output_gradients)
        # The records stay as they are, for other backward passes.
        return _gradients(plan, wrt_names, evaluation.inputs, dict(evaluation.records), arriving)

    def constant_specs(self) -> dict[str, Spec]:
        """Return what is known of the constants."""
        return {n: spec_of(v) if isinstance(v, np.ndarray) else v for n, v in self._constants.items()}

    def inferred(self, inputs: Mapping[str, ArraySpec]) -> dict[str, Spec]:
        """Infer what every value of the graph is, for inputs of these shapes and dtypes."""
        return self._specs.get(
            tuple(inputs.values()),
            lambda: infer_specs(self.nodes, {**self.constant_specs(), **inputs}),
        )

    def _output_specs(self, inputs: Mapping[str, ArraySpec], names: Iterable[str]) -> dict[str, ArraySpec] | None:
        """Return what the outputs will be; None if that is not known before the run."""
        specs = self.inferred(inputs)
        known = {name: specs[self._sources[name]] for name in names}
        if any(spec is None for spec in known.values()):
            return None
        return {
            name: spec if isinstance(spec, ArraySpec) else spec_of(np.asarray(spec)) for name, spec in known.items()
        }

    def _plan(
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
                self.nodes, self.inferred(inputs), {name: self._sources[name] for name in outputs}, wrt, differentiated
            ),
        )


def _gradients(
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


class _Cache(Generic[_T]):
    """The latest made of what is dear to make. Safe for many threads; two may make one thing twice, unharmed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._made: dict[Hashable, _T] = {}

    def __len__(self) -> int:
        return len(self._made)

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return what belongs to `key`, made if need be; the oldest goes first."""
        found = self._made.get(key)
        if found is None:
            found = make()
            with self._lock:
                while len(self._made) >= self._limit:
                    del self._made[next(iter(self._made))]
                self._made[key] = found
        return found
