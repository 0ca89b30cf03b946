"""Graphs that gates hold, as these call them: run with the engine's own plans, each planned once for all calls."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from graphsvc.arrays import Array, ArraySpec, is_differentiable
from graphsvc.cost import Cost
from graphsvc.document import digest_of
from graphsvc.engine.between import asked_between
from graphsvc.engine.derivatives.passes import Passes
from graphsvc.engine.documents import document_of
from graphsvc.engine.duals.dual import Dual, dual, tangent_of, value_of
from graphsvc.engine.library import Library
from graphsvc.engine.looping import owned_results, results_of
from graphsvc.engine.question import judge_inputs, judge_outputs
from graphsvc.engine.running import RunnableGraph
from graphsvc.errors import ArityError, GraphsvcError, NotDifferentiableError, UnregisteredGateError
from graphsvc.subgraph import SubGraph

if TYPE_CHECKING:
    from graphsvc.engine.structure import Structure

__all__ = ["HeldGraph"]

_T = TypeVar("_T")


class HeldGraph(SubGraph):
    """A graph that gates hold. Safe for many threads."""

    def __init__(self, name: str, structure: "Structure") -> None:
        """Make it of a structure that nobody changes any more."""
        self.name = name
        self.structure = structure
        self.inputs = tuple(structure.inputs)
        self.outputs = tuple(structure.outputs)
        self._runnable: RunnableGraph | None = None

    def __getstate__(self) -> dict[str, object]:
        # Plans and locks stay behind.
        return {"name": self.name, "structure": self.structure, "inputs": self.inputs, "outputs": self.outputs}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _runnable=None)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HeldGraph):
            return NotImplemented
        return self is other or (self.digest is not None and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash((self.inputs, self.outputs))

    @functools.cached_property
    def digest(self) -> bytes | None:
        """The digest of the graph; None if no document can hold it, because no plugin provides a gate of it."""
        try:
            # With what it holds, and without the other graphs of its library.
            return digest_of(document_of(Library().copy_of(self.structure)))
        except UnregisteredGateError:
            return None

    def check(self) -> None:
        """See `SubGraph.check`."""
        self._told(lambda runnable: judge_outputs(self.structure.outputs, None))

    def infer(self, *operands: ArraySpec) -> tuple[ArraySpec, ...] | None:
        """See `SubGraph.infer`."""

        def inferred(runnable: RunnableGraph) -> tuple[ArraySpec, ...] | None:
            # Declared shapes and dtypes are judged as at a call.
            judge_inputs(self.structure.inputs, self._likenesses(operands))
            specs = runnable.output_specs(self._named(operands), self.outputs)
            return None if specs is None else tuple(specs.values())

        return self._told(inferred)

    def cost(self, *operands: ArraySpec) -> Cost:
        """See `SubGraph.cost`."""

        def estimated(runnable: RunnableGraph) -> Cost:
            arrays = self._likenesses(operands)
            forward, both = (runnable.estimated(arrays, wrt, None) for wrt in ((), None))
            return Cost(forward.flops, both.peak_bytes, forward.calls, forward.dearest)

        return self._told(estimated)

    def __call__(self, *operands: Array) -> tuple[Array, ...]:
        """See `SubGraph.__call__`."""

        def called(runnable: RunnableGraph) -> tuple[Array, ...]:
            inputs, moving = self._plain(operands), self._moving(operands)
            if moving:
                outputs, dots = self._pushed(runnable, inputs, moving)
                return tuple(dual(outputs[name], dots.get(name)) for name in self.outputs)
            return tuple(runnable.value_and_grad(inputs, (), None, None, asked_between())[0].values())

        return self._told(called)

    def jvp(self, operands: Sequence[Array], tangents: Sequence[Array | None]) -> tuple[Array | None, ...]:
        """See `SubGraph.jvp`."""

        def moved(runnable: RunnableGraph) -> tuple[Array | None, ...]:
            moving = {name: dot for name, dot in self._named(tangents).items() if dot is not None}
            outputs, dots = self._pushed(runnable, self._plain(operands), moving)
            return tuple(
                dots.get(name, np.zeros_like(z)) if is_differentiable(z.dtype) else None for name, z in outputs.items()
            )

        return self._told(moved)

    def vjp(
        self,
        operands: Sequence[Array],
        output_gradients: Sequence[Array | None],
        wrt: Sequence[int] | None = None,
    ) -> tuple[Array | None, ...]:
        """See `SubGraph.vjp`."""

        def pulled(runnable: RunnableGraph) -> tuple[Array | None, ...]:
            inputs, moving = self._plain(operands), self._moving(operands)
            given = {name: dz for name, dz in zip(self.outputs, output_gradients, strict=True) if dz is not None}
            arriving = {name: np.asarray(value_of(dz)) for name, dz in given.items()}
            wanted = tuple(
                name
                for position, (name, array) in enumerate(inputs.items())
                if is_differentiable(array.dtype) and (wrt is None or position in wrt)
            )
            if not moving and Dual not in map(type, given.values()):
                gradients = runnable.pulled(inputs, wanted, arriving, asked_between())[1]
                return tuple(gradients.get(name) for name in self.inputs)
            turning = {name: np.asarray(dot) for name, dz in given.items() if (dot := tangent_of(dz)) is not None}
            found, dots = self._second(runnable, inputs, wanted, arriving, moving, turning)
            return tuple(dual(found[name], dots.get(name)) if name in wanted else None for name in self.inputs)

        return self._told(pulled)

    # Tangents. What they lose within the graph, the engine finds at the gate that holds it.

    def _moving(self, operands: Sequence[Any]) -> dict[str, Array]:
        """Return the tangents of those operands that have one, by name."""
        if Dual not in map(type, operands):
            return {}
        tangents = {name: tangent_of(operand) for name, operand in self._named(operands).items()}
        return {name: np.asarray(dot) for name, dot in tangents.items() if dot is not None}

    def _pushed(
        self, runnable: RunnableGraph, inputs: dict[str, Array], moving: dict[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Run the graph along a direction; return its outputs, and the tangents of those that move."""
        passes = Passes(runnable, asked_between())
        asked = passes.asked(inputs, tuple(moving), dict.fromkeys(self.outputs), self.outputs)
        values, dots = passes.pushed(asked, moving, None, verify=False)
        outputs = owned_results(results_of(asked.plan, values))
        return outputs, {name: np.array(dots[source]) for name, source in asked.plan.outputs.items() if source in dots}

    def _second(
        self,
        runnable: RunnableGraph,
        inputs: dict[str, Array],
        wanted: tuple[str, ...],
        arriving: dict[str, Array],
        moving: dict[str, Array],
        turning: dict[str, Array],
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Run the graph backward where inputs move and arriving gradients turn; return gradients and their tangents."""
        between = asked_between()
        dots: dict[str, Array] = {}
        if moving:
            question = runnable.judged(inputs, wanted, arriving, None, tuple(moving))
            found, dots = Passes(runnable, between).second(question, moving, None, always=False)
            gradients = {n: found[n] if n in found else np.zeros(inputs[n].shape, inputs[n].dtype) for n in wanted}
        else:
            gradients = dict(runnable.pulled(inputs, wanted, arriving, between)[1])
        if turning:
            # Backward is linear in what arrives.
            for name, dot in runnable.pulled(inputs, wanted, turning, between)[1].items():
                dots[name] = dots[name] + dot if name in dots else dot
        return gradients, dots

    def _told(self, ask: Callable[[RunnableGraph], _T]) -> _T:
        """Ask the graph, bound if need be; errors say that they come from this graph."""
        try:
            between = asked_between()
            if between:
                between()
            if self._runnable is None:
                self._runnable = RunnableGraph(self.structure)
            return ask(self._runnable)
        except GraphsvcError as error:
            raise error.within(self.name) from error.__cause__

    def _named(self, operands: Sequence[_T]) -> dict[str, _T]:
        if len(operands) != len(self.inputs):
            msg = f"It has the inputs {', '.join(self.inputs) or 'none'}, but the gate hands it {len(operands)} values."
            msg += " Give the gate as many operands as the graph has inputs for, or declare the missing inputs there."
            raise ArityError(msg)
        return dict(zip(self.inputs, operands, strict=True))

    def _likenesses(self, operands: Sequence[ArraySpec]) -> dict[str, Array]:
        """Return arrays of these shapes and dtypes by name, which take no memory."""
        return {
            name: np.broadcast_to(np.zeros((), spec.dtype), spec.shape) for name, spec in self._named(operands).items()
        }

    def _plain(self, operands: Sequence[Any]) -> dict[str, Array]:
        """Return the operands by name, without tangents; NumPy's numbers become arrays, and all else is refused."""
        named = self._named(operands)
        if Dual in map(type, operands):
            named = {name: value_of(operand) for name, operand in named.items()}
        for operand in named.values():
            if type(operand) is not np.ndarray and not isinstance(operand, np.generic):
                msg = f"A graph that a gate holds is run on arrays, got {type(operand).__name__}."
                raise NotDifferentiableError(msg)
        return {name: np.asarray(operand) for name, operand in named.items()}
