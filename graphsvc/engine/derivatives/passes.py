"""The passes over a graph that derivatives beyond one gradient are made of."""

from collections.abc import Callable, Iterable, Mapping
from typing import cast

import numpy as np

from graphsvc.arrays import Array, Literal
from graphsvc.engine import backprop
from graphsvc.engine.bound import Asked, Question
from graphsvc.engine.calls import Record, call_forward
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.looping import gradients_of, results_of, summed_arriving
from graphsvc.engine.running import RunnableGraph
from graphsvc.engine.stacks.calling import call_backward_stacked
from graphsvc.engine.stacks.stack import Stack, Unstackable
from graphsvc.engine.tangents import loops
from graphsvc.engine.tangents.movement import Primal
from graphsvc.engine.tangents.verification import Verification, check_random_adjoint
from graphsvc.errors import GraphsvcError

__all__ = ["Passes"]

Values = dict[str, Array | Literal]


class Passes:
    """The passes over one graph.

    Attributes:
        graph: The graph.
        between: Called before every gate; what it raises stops the run.
    """

    def __init__(self, graph: RunnableGraph, between: Callable[[], None] | None = None) -> None:
        self.graph = graph
        self.between = between

    def asked(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
    ) -> Asked:
        """Judge what is asked, as `BoundGraph.asked`, and refuse derivatives that there are not."""
        asked = self.graph.asked(inputs, wrt, output_gradients, outputs)
        if asked.plan.blocked:
            raise asked.plan.blocked.again()
        return asked

    def _values(self, asked: Asked) -> Values:
        return {**self.graph.constants, **asked.inputs}

    def evaluated(self, asked: Asked) -> tuple[Values, dict[str, Record]]:
        """Run forward for backward passes; return values by reference, and what these passes need."""
        values = self._values(asked)
        with np.errstate(all="ignore"):
            records = backprop.forward(asked.plan.steps, values, self.between)
        return values, records

    def pulled(self, asked: Asked, records: Mapping[str, Record], arriving: Mapping[str, Array]) -> InputGradients:
        """Run backward for several gradients at once, which a first axis counts, here and in the gradients returned.

        Those of inputs that no path leads from have no such axis.
        """
        return gradients_of(
            asked.plan, asked.wrt, asked.specs, dict(records), arriving, self.between, call_backward_stacked
        )

    def primal(self, asked: Asked) -> tuple[Values, Primal]:
        """Run forward once for many directions."""
        values = self._values(asked)
        primal: Primal = {}
        with np.errstate(all="ignore"):
            for step in asked.plan.steps:
                if self.between:
                    self.between()
                node = step.node
                primal[node.name] = call_forward(step, [values[operand] for operand in node.operands])
                values.update(zip(node.results, primal[node.name][0], strict=True))
        return values, primal

    def pushed(
        self, asked: Asked, direction: Mapping[str, Array], primal: Primal | None, *, verify: bool
    ) -> tuple[Values, dict[str, Array]]:
        """Run forward along a direction; return values and tangents by reference."""
        values, dots = self._values(asked), dict(direction)
        steps = asked.plan.steps
        with np.errstate(all="ignore"):
            moved = loops.forward(steps, values, dots, self.between, primal)
            for step in steps if verify else ():
                kept = moved.get(step.node.name)
                if kept and kept.unproven:
                    check_random_adjoint(step, kept)
        return values, dots

    def pushed_at_once(self, asked: Asked, name: str, directions: Array, primal: Primal) -> dict[str, Array]:
        """Run forward along several directions of one input, which a first axis counts, here and in the tangents.

        Where a gate does not take several at once, they are pushed one after the other.
        """
        try:
            _, dots = self.pushed(asked, {name: cast(Array, Stack(directions))}, primal, verify=False)
        except (GraphsvcError, Unstackable):
            several = [self.pushed(asked, {name: direction}, primal, verify=False)[1] for direction in directions]
            return {reference: np.stack([dots[reference] for dots in several]) for reference in several[0]}
        return {reference: dot.array if isinstance(dot, Stack) else dot[np.newaxis] for reference, dot in dots.items()}

    def second(
        self, question: Question, direction: Mapping[str, Array], primal: Primal | None, *, always: bool = True
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Run forward and backward along a direction.

        Args:
            question: The question for gradients.
            direction: How fast inputs move.
            primal: A forward pass on the same inputs, if there was one.
            always: Whether gates that may lose much are compared with differences each time.

        Returns:
            Gradients and their tangents, by input, of those that have any.
        """
        values, dots = self._values(question), dict(direction)
        plan = question.plan
        with np.errstate(all="ignore"):
            moved = loops.forward(plan.steps, values, dots, self.between, primal)
            gradients = summed_arriving(plan, question.arrived(results_of(plan, values)))
            moving: dict[str, Array] = {}
            verification = Verification(self.graph.verified, always=always)
            loops.backward(plan.steps, moved, gradients, moving, verification, self.between)
            return _of_inputs(question, gradients), _of_inputs(question, moving)


def _of_inputs(question: Question, gradients: Mapping[str, Array]) -> dict[str, Array]:
    """Return the wanted ones, in the dtypes of the inputs."""
    return {
        name: np.asarray(gradient.astype(question.specs[name].dtype, copy=False))
        for name, gradient in gradients.items()
        if name in question.wrt
    }
