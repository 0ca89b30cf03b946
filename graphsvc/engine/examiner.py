"""The examiner: watches a run gate by gate, and finds out where and why a number is not finite, or has no value."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

import numpy as np

from graphsvc.arrays import Array, Literal
from graphsvc.engine.calls import BackwardCall, ForwardCall, Record, call_backward, call_forward, call_undefined
from graphsvc.engine.diagnosis import Cause, Diagnosis, Direction, Finding, Kind, Undefined
from graphsvc.engine.experiment import Explained, explain_gradient, is_finite, placed, values_at
from graphsvc.engine.plan import Plan, Step

__all__ = ["Examiner"]

_NOWHERE: Final = (None, None)


class Examiner:
    """An observer of one run; its `forward` and `backward` stand in the place of `call_forward` and `call_backward`."""

    def __init__(self, call_forward: ForwardCall = call_forward, call_backward: BackwardCall = call_backward) -> None:
        """Make an observer that calls gates with these."""
        self._call_forward = call_forward
        self._call_backward = call_backward
        self._findings: list[Finding] = []
        self._undefined: list[Undefined] = []

    def given_values(self, plan: Plan, inputs: Mapping[str, Array], values: Mapping[str, Array | Literal]) -> None:
        """Look at the inputs, and then at the constants, that the run will read."""
        read = {operand for step in plan.steps for operand in step.node.operands} | set(plan.outputs.values())
        for name in (*inputs, *(name for name in values if name not in inputs)):
            if name in read:
                kind = Kind.INPUT if name in inputs else Kind.CONSTANT
                self._look("forward", kind, name, _NOWHERE, np.asarray(values[name]), _always(Cause.GIVEN))

    def given_gradients(self, output_gradients: Mapping[str, Array]) -> None:
        """Look at the gradients that arrive at the outputs."""
        for name, gradient in output_gradients.items():
            self._look("backward", Kind.OUTPUT_GRADIENT, name, _NOWHERE, gradient, _always(Cause.GIVEN))

    def forward(self, step: Step, operands: list[Array | Literal]) -> tuple[tuple[Array, ...], Record | None]:
        """Call a gate forward, and look at its outputs."""
        outputs, record = self._call_forward(step, operands)
        signature = step.node.gate.signature
        for name, output in zip(signature.outputs, outputs, strict=True):
            explain = partial(_explain_output, step, operands, output.shape)
            self._look("forward", Kind.OUTPUT, name, (step.node.name, step.node.gate_name), output, explain)
        return outputs, record

    def backward(self, step: Step, record: Record, arriving: Sequence[Array | None]) -> Iterator[tuple[str, Array]]:
        """Call a gate backward, and look at the gradients that arrive and at those that it gives."""
        node, signature = step.node, step.node.gate.signature
        where = (node.name, node.gate_name)
        for name, gradient in zip(signature.outputs, arriving, strict=True):
            if gradient is not None:
                self._look("backward", Kind.ARRIVING_GRADIENT, name, where, gradient, _explain_sum)
        for position, gradient in placed(step, self._call_backward(step, record, arriving)):
            explain = partial(explain_gradient, step, record, arriving, position)
            self._look("backward", Kind.OPERAND_GRADIENT, signature.operand_name(position), where, gradient, explain)
            yield node.operands[position], gradient
        if says := call_undefined(step, record, arriving):
            self._undefined.append(Undefined(node.name, node.gate_name, says))

    def final_gradients(self, gradients: Mapping[str, Array]) -> None:
        """Look at the gradients of the inputs, to which branches have added up."""
        for name, gradient in gradients.items():
            self._look("backward", Kind.INPUT_GRADIENT, name, _NOWHERE, gradient, _explain_sum)

    def diagnosis(self) -> Diagnosis | None:
        """Return what was found; None if every number was finite, and every derivative exists."""
        found = Diagnosis(tuple(self._findings), tuple(self._undefined))
        return found if found.findings or found.undefined else None

    def _look(
        self,
        direction: Direction,
        kind: Kind,
        name: str,
        where: tuple[str | None, str | None],
        array: Array,
        explain: "_Explain",
    ) -> None:
        """Note an array that holds the first number of a pass that is not finite, or its first NaN."""
        before = [finding for finding in self._findings if finding.direction == direction]
        if is_finite(array) or any(finding.nans for finding in before):
            return
        nan = np.isnan(array)
        nans = int(np.count_nonzero(nan))
        if before and not nans:
            return
        bad = nan if nans else np.isinf(array)
        index = tuple(int(i) for i in np.unravel_index(np.argmax(bad), array.shape))
        values, cause = explain(index, nans > 0)
        self._findings.append(
            Finding(
                direction=direction,
                kind=kind,
                name=name,
                node=where[0],
                gate=where[1],
                dtype=array.dtype.name,
                size=array.size,
                nans=nans,
                infinities=int(np.count_nonzero(np.isinf(array))),
                index=index,
                values={name: value.item() for name, value in values.items()},
                cause=cause,
            )
        )


_Explain: TypeAlias = Callable[[tuple[int, ...], bool], Explained]


def _always(cause: Cause) -> _Explain:
    return lambda index, is_nan: ({}, cause)


def _explain_output(
    step: Step, operands: Sequence[Array | Literal], shape: tuple[int, ...], index: tuple[int, ...], is_nan: bool
) -> Explained:
    """Return what the gate read at that place, and what follows. Operands hold no NaN, nor an infinity if it is one."""
    signature = step.node.gate.signature
    read = {signature.operand_name(position): np.asarray(operand) for position, operand in enumerate(operands)}
    values = values_at(step, read, shape, index)
    if all(map(is_finite, (values or read).values())):
        return values, Cause.OUTSIDE_DOMAIN if is_nan else Cause.POLE
    return values, Cause.INFINITE_OPERAND


def _explain_sum(index: tuple[int, ...], is_nan: bool) -> Explained:
    return {}, Cause.SUM_OF_INFINITIES if is_nan else Cause.SUM_OVERFLOW
