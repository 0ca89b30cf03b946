"""A graph whose gates are at hand: questions to it judged, and what is known of each before a run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from graphsvc.arrays import Array, ArraySpec, spec_of
from graphsvc.engine.binding import bind, sources
from graphsvc.engine.cache import Cache
from graphsvc.engine.estimate import Estimate, estimate_plan
from graphsvc.engine.inference import Spec, infer_specs
from graphsvc.engine.plan import Plan, make_plan
from graphsvc.engine.question import (
    judge_differentiated,
    judge_inputs,
    judge_output_gradients,
    judge_outputs,
    judge_wrt,
)
from graphsvc.engine.structure import Structure

__all__ = ["Asked", "BoundGraph", "Question"]

_CACHED_PLANS: Final = 64
_CACHED_SPECS: Final = 16
_CACHED_NODES: Final = 200_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of a graph, judged.

    Attributes:
        inputs: The inputs, in the order of the graph.
        specs: Their shapes and dtypes.
        wrt: Names of the inputs whose gradients are wanted.
        differentiated: Names of the outputs at which a gradient arrives.
        plan: What to run.
    """

    inputs: dict[str, Array]
    specs: dict[str, ArraySpec]
    wrt: tuple[str, ...]
    differentiated: tuple[str, ...]
    plan: Plan


@dataclass(frozen=True, slots=True)
class Question(Asked):
    """A question for gradients.

    Attributes:
        output_gradients: The gradients that arrive, as they were given.
        arriving: These as arrays; None where the shapes of outputs are not known before the run.
    """

    output_gradients: Mapping[str, object] | None
    arriving: dict[str, Array] | None

    def arrived(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the gradients that arrive, now that the outputs are known."""
        if self.arriving is not None:
            return self.arriving
        specs = {name: spec_of(array) for name, array in outputs.items()}
        return judge_output_gradients(specs, self.differentiated, self.output_gradients)


class BoundGraph:
    """A graph whose gates are at hand, with the plans made for it so far. Safe for many threads.

    Attributes:
        nodes: The gate nodes, in topological order.
        inputs: What is declared of each input.
        constants: The constants by name.
        sources: Reference to the value of each output.
        holds_graphs: Whether gates hold graphs.
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
        self.holds_graphs = any(node.gate.signature.graphs for node in self.nodes)
        # Large graphs keep fewer plans, for each takes memory for every node.
        share = max(1, _CACHED_NODES // max(1, len(self.nodes)))
        self.kept = min(_CACHED_PLANS, share)
        self._specs = Cache[dict[str, Spec]](min(_CACHED_SPECS, share))
        self._plans = Cache[Plan](self.kept)
        self._estimates = Cache[Estimate](self.kept)

    # Questions

    def asked(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
        moving: Iterable[str] = (),
    ) -> Asked:
        """Judge what is asked, but for the gradients that arrive: of them the names alone.

        Args:
            inputs: See `ComputationalGraph.value_and_grad`.
            wrt: See there.
            output_gradients: See there.
            outputs: See there.
            moving: Inputs that move along a direction. The plan is for their gradients as well.
        """
        arrays = judge_inputs(self.inputs, inputs)
        names = judge_outputs(self.sources, outputs)
        wanted, moving = judge_wrt(arrays, wrt), judge_wrt(arrays, moving)
        planned = tuple([name for name in arrays if name in wanted or name in moving]) if moving else wanted
        differentiated = judge_differentiated(names, output_gradients) if planned else ()
        specs = {name: spec_of(array) for name, array in arrays.items()}
        return Asked(arrays, specs, wanted, differentiated, self.plan(specs, names, planned, differentiated))

    def judged(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
        moving: Iterable[str] = (),
    ) -> Question:
        """Judge a question for gradients; see `asked`."""
        asked = self.asked(inputs, wrt, output_gradients, outputs, moving)
        known = self.output_specs(asked.specs, asked.plan.outputs)
        # Judged before the run where shapes are known by then.
        arriving = None if known is None else judge_output_gradients(known, asked.differentiated, output_gradients)
        if asked.plan.blocked:
            raise asked.plan.blocked.again()
        return Question(
            asked.inputs, asked.specs, asked.wrt, asked.differentiated, asked.plan, output_gradients, arriving
        )

    # What is known before a run

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

    def estimate(self, asked: Asked) -> Estimate:
        """Return what the two loops take for what is asked."""
        return self._estimates.get(
            (tuple(asked.specs.values()), tuple(asked.plan.outputs), asked.wrt, asked.differentiated),
            lambda: estimate_plan(asked.plan, self.inferred(asked.specs), asked.wrt),
        )
