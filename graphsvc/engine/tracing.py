"""The tracer: watches a run gate by gate, and notes what every value and every gradient was like."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from graphsvc.arrays import Array, Literal
from graphsvc.drawing.picture import Trace
from graphsvc.drawing.summaries import summary_of
from graphsvc.engine.calls import Record
from graphsvc.engine.diagnosis import Diagnosis, Kind
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.examiner import Examiner
from graphsvc.engine.experiment import placed
from graphsvc.engine.plan import Plan, Step

__all__ = ["Tracer", "findings_of"]


class Tracer(Examiner):
    """An observer of one run, which also finds where numbers first were not finite. Arrays live no longer for it."""

    def __init__(self) -> None:
        super().__init__()
        self._trace = Trace()

    def given_values(self, plan: Plan, inputs: Mapping[str, Array], values: Mapping[str, Array | Literal]) -> None:
        """Note all inputs and constants."""
        super().given_values(plan, inputs, values)
        self._trace.values.update({name: summary_of(np.asarray(value)) for name, value in values.items()})

    def given_gradients(self, output_gradients: Mapping[str, Array]) -> None:
        """Note the gradients that arrive at the outputs."""
        super().given_gradients(output_gradients)
        self._trace.output_gradients.update({name: summary_of(array) for name, array in output_gradients.items()})

    def forward(self, step: Step, operands: list[Array | Literal]) -> tuple[tuple[Array, ...], Record | None]:
        """Call a gate forward, and note its outputs."""
        outputs, record = super().forward(step, operands)
        self._trace.values.update(zip(step.node.results, map(summary_of, outputs), strict=True))
        return outputs, record

    def backward(self, step: Step, record: Record, arriving: Sequence[Array | None]) -> Iterator[tuple[str, Array]]:
        """Call a gate backward, and note the gradients that arrive and those that it gives."""
        for result, gradient in zip(step.node.results, arriving, strict=True):
            if gradient is not None:
                self._trace.gradients[result] = summary_of(gradient)
        given = list(super().backward(step, record, arriving))
        for position, gradient in placed(step, given):
            self._trace.contributions[step.node.name, position] = summary_of(gradient)
        yield from given

    def final_gradients(self, gradients: Mapping[str, Array]) -> None:
        """Note the gradients of the inputs, but for the zeros of those that no path leads from."""
        super().final_gradients(gradients)
        alone = gradients.disconnected if isinstance(gradients, InputGradients) else ()
        self._trace.gradients.update({n: summary_of(array) for n, array in gradients.items() if n not in alone})

    def trace(self) -> Trace:
        """Return what was seen."""
        self._trace.findings = findings_of(self.diagnosis())
        return self._trace


def findings_of(diagnosis: Diagnosis | None) -> dict[str, str]:
    """Return what a picture says of numbers that are not finite, by the node, input or constant where they came up."""
    findings: dict[str, str] = {}
    for finding in diagnosis.findings if diagnosis else ():
        given = f"output {finding.name}" if finding.kind is Kind.OUTPUT_GRADIENT else finding.name
        findings.setdefault(finding.node or given, str(finding))
    return findings
