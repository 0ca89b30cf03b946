"""Answering a question with the two loops, gate by gate."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphsvc.arrays import Array, ArraySpec, Literal, owned
from graphsvc.engine import backprop
from graphsvc.engine.bound import BoundGraph, Question
from graphsvc.engine.calls import BackwardCall, ForwardCall, Record, call_backward, call_forward
from graphsvc.engine.evaluation import InputGradients, Results
from graphsvc.engine.plan import Plan

__all__ = ["gradients_of", "looped", "owned_results", "results_of", "summed_arriving"]


def looped(
    graph: BoundGraph,
    question: Question,
    between: Callable[[], None] | None,
    forward: ForwardCall = call_forward,
    backward: BackwardCall = call_backward,
    given_gradients: Callable[[Mapping[str, Array]], None] | None = None,
) -> Results:
    """Answer a question.

    Args:
        graph: The graph.
        question: What is asked.
        between: Called before every gate; what it raises stops the run.
        forward: What calls a gate forward; an observer stands here.
        backward: What calls it backward.
        given_gradients: Told the gradients that arrive at outputs.
    """
    plan = question.plan
    values: dict[str, Array | Literal] = {**graph.constants, **question.inputs}
    with np.errstate(all="ignore"):
        records = backprop.forward(plan.steps, values, between, forward)
    results = results_of(plan, values)
    values.clear()
    arriving = question.arrived(results)
    if given_gradients:
        given_gradients(arriving)
    gradients = gradients_of(plan, question.wrt, question.specs, records, arriving, between, backward)
    return owned_results(results), gradients


def results_of(plan: Plan, values: Mapping[str, Any]) -> dict[str, Array]:
    """Return the wanted outputs by name."""
    return {name: np.asarray(values[source]) for name, source in plan.outputs.items()}


def owned_results(results: Mapping[str, Array]) -> dict[str, Array]:
    """Return copies, because a gate may keep what it returned, and two outputs may be views of one array."""
    return {name: owned(result) for name, result in results.items()}


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
    # The sums at outputs and the casts at inputs may overflow as any gate may.
    with np.errstate(all="ignore"):
        gradients = summed_arriving(plan, output_gradients)
        backprop.backward(plan.steps, records, gradients, between, call)
        disconnected = [name for name in wrt if name not in gradients]
        for name in disconnected:
            gradients[name] = np.zeros(inputs[name].shape, inputs[name].dtype)
        mine = {name: owned(gradients[name].astype(inputs[name].dtype, copy=False)) for name in wrt}
    return InputGradients(mine, disconnected)


def summed_arriving(plan: Plan, output_gradients: Mapping[str, Array]) -> dict[str, Array]:
    """Return the gradients that arrive by the reference of the value; two outputs may be one value."""
    gradients: dict[str, Array] = {}
    for name, gradient in output_gradients.items():
        source = plan.outputs[name]
        gradients[source] = np.asarray(gradients[source] + gradient) if source in gradients else gradient
    return gradients
