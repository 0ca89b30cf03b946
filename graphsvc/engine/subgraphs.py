"""Graphs that gates hold, as these call them: run with the engine's own plans, each planned once for all calls."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from graphsvc.arrays import Array, ArraySpec, is_differentiable
from graphsvc.cost import Cost
from graphsvc.document import digest_of
from graphsvc.engine.between import asked_between
from graphsvc.engine.documents import document_of
from graphsvc.engine.library import Library
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
        return self._told(
            lambda runnable: tuple(
                runnable.value_and_grad(self._plain(operands), (), None, None, asked_between())[0].values()
            )
        )

    def vjp(
        self,
        operands: Sequence[Array],
        output_gradients: Sequence[Array | None],
        wrt: Sequence[int] | None = None,
    ) -> tuple[Array | None, ...]:
        """See `SubGraph.vjp`."""

        def pulled(runnable: RunnableGraph) -> tuple[Array | None, ...]:
            inputs = self._plain(operands)
            arriving = {
                name: np.asarray(gradient)
                for name, gradient in zip(self.outputs, output_gradients, strict=True)
                if gradient is not None
            }
            wanted = tuple(
                name
                for position, (name, array) in enumerate(inputs.items())
                if is_differentiable(array.dtype) and (wrt is None or position in wrt)
            )
            _, gradients = runnable.pulled(inputs, wanted, arriving, asked_between())
            return tuple(gradients.get(name) for name in self.inputs)

        return self._told(pulled)

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
        """Return the operands by name; NumPy's numbers become arrays, and anything but plain arrays is refused."""
        named = self._named(operands)
        for operand in operands:
            if type(operand) is not np.ndarray and not isinstance(operand, np.generic):
                msg = f"A graph that a gate holds is run on plain arrays, got {type(operand).__name__}."
                msg += " Second derivatives through it cannot be had."
                raise NotDifferentiableError(msg)
        return {name: np.asarray(operand) for name, operand in named.items()}
