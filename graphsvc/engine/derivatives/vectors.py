"""Gradients for many vectors, and derivatives along directions, of first and of second order."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from graphsvc.arrays import Array, is_differentiable, spec_of
from graphsvc.engine.bound import Asked
from graphsvc.engine.derivatives.directions import judged_directions, named, sliced, stacked
from graphsvc.engine.derivatives.handing import keep_memory, taken
from graphsvc.engine.derivatives.passes import Passes
from graphsvc.engine.evaluation import InputGradients, Results
from graphsvc.engine.looping import owned_results, results_of
from graphsvc.engine.question import judge_output_gradients, judge_outputs, judge_vectors
from graphsvc.engine.stacks.calling import most_stacked
from graphsvc.errors import OutputGradientError

__all__ = ["Within", "hvp", "jvp", "many_gradients"]

Within = Callable[[int], None] | None
"""Told how many bytes an answer would have; what it raises stops the run."""


def many_gradients(
    passes: Passes,
    inputs: Mapping[str, object],
    wrt: Iterable[str] | None,
    output_gradients: Mapping[str, object] | None,
    outputs: Iterable[str] | None,
    vectors: int,
    within: Within = None,
) -> Results:
    """Return outputs, and gradients for several gradients that arrive, stacked along a new first axis."""
    count = judge_vectors(vectors)
    if output_gradients is None:
        msg = "Several vectors need output_gradients: for each output an array whose first axis counts them."
        raise OutputGradientError(msg)
    asked = passes.asked(inputs, wrt, output_gradients, outputs)
    if within:
        within(count * _size(asked))
    values, records = passes.evaluated(asked)
    results = results_of(asked.plan, values)
    specs = {name: spec_of(array) for name, array in results.items()}
    arriving = [
        judge_output_gradients(specs, asked.differentiated, part)
        for part in sliced(output_gradients, count, "output_gradients")
    ]
    most = most_stacked(records.values())
    several = [passes.pulled(asked, records, stacked(arriving[k : k + most])) for k in range(0, count, most)]
    disconnected = several[0].disconnected
    gradients = {
        name: np.zeros((count, *asked.specs[name].shape), asked.specs[name].dtype)
        if name in disconnected
        else np.concatenate([part[name] for part in several])
        for name in asked.wrt
    }
    return owned_results(results), InputGradients(gradients, disconnected)


def jvp(
    passes: Passes,
    inputs: Mapping[str, object],
    directions: Mapping[str, object],
    outputs: Iterable[str] | None,
    vectors: int | None,
    within: Within = None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """See `ComputationalGraph.jvp`."""
    names = judge_outputs(passes.graph.sources, outputs)
    given = named(directions, "tangents")
    asked = passes.asked(inputs, given, dict.fromkeys(names), names)
    parts = judged_directions(asked.specs, given, vectors, "The tangent")
    primal = None if vectors is None else passes.primal(asked)[1]
    results: dict[str, Array] = {}
    several: list[dict[str, Array]] = []
    for part in parts:
        values, dots = passes.pushed(asked, part, primal, verify=True)
        if not several:
            results = results_of(asked.plan, values)
            if within:
                within(len(parts) * sum(z.nbytes for z in results.values()))
        several.append(
            {
                name: dots[source] if source in dots else np.zeros(results[name].shape, results[name].dtype)
                for name, source in asked.plan.outputs.items()
                if is_differentiable(results[name].dtype)
            }
        )
    if vectors is None:
        return owned_results(results), {name: taken(several[0], name) for name in tuple(several[0])}
    return owned_results(results), stacked(several)


def hvp(
    passes: Passes,
    inputs: Mapping[str, object],
    directions: Mapping[str, object],
    wrt: Iterable[str] | None,
    output_gradients: Mapping[str, object] | None,
    outputs: Iterable[str] | None,
    vectors: int | None,
    within: Within = None,
) -> tuple[InputGradients, InputGradients]:
    """See `ComputationalGraph.hvp`."""
    given = named(directions, "vectors")
    question = passes.graph.judged(inputs, wrt, output_gradients, outputs, tuple(given))
    parts = judged_directions(question.specs, given, vectors, "The vector")
    if within:
        within((len(parts) + 1) * _size(question))
    primal = None if vectors is None else passes.primal(question)[1]
    keep_memory(_size(question))
    several: list[dict[str, Array]] = []
    gradients: dict[str, Array] = {}
    for part in parts:
        gradients, products = passes.second(question, part, primal)
        several.append(products)
        del products
    disconnected = [name for name in question.wrt if name not in gradients]
    for part in (gradients, *several):
        for name in question.wrt:
            if name not in part:
                part[name] = np.zeros(question.specs[name].shape, question.specs[name].dtype)
    firsts = {name: taken(gradients, name) for name in question.wrt}
    del part
    if vectors is None:
        seconds = {name: taken(several[0], name) for name in question.wrt}
    else:
        seconds = {name: np.stack([each[name] for each in several]) for name in question.wrt}
    return InputGradients(firsts, disconnected), InputGradients(seconds, disconnected)


def _size(asked: Asked) -> int:
    """Return the bytes of the gradients."""
    return sum(asked.specs[name].nbytes for name in asked.wrt)
