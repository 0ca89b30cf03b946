"""Whole matrices of derivatives: of outputs by inputs, and the second ones of inputs by inputs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from graphsvc.arrays import Array, ArraySpec, is_differentiable, read_only
from graphsvc.engine.bound import Asked
from graphsvc.engine.calls import Record
from graphsvc.engine.derivatives.passes import Passes
from graphsvc.engine.derivatives.vectors import Within
from graphsvc.engine.looping import gradients_of, results_of
from graphsvc.engine.question import judge_outputs
from graphsvc.errors import LimitError, NotDifferentiableError, TangentLostError

__all__ = ["Blocks", "hessian", "jacobian"]

Blocks = dict[str, dict[str, Array]]
"""Parts of a matrix of derivatives: by output or input, and by input."""


def jacobian(
    passes: Passes,
    inputs: Mapping[str, object],
    wrt: Iterable[str] | None,
    outputs: Iterable[str] | None,
    within: Within = None,
) -> Blocks:
    """See `ComputationalGraph.jacobian`; `within` is told how many bytes it would have, and may refuse them."""
    names = judge_outputs(passes.graph.sources, outputs)
    asked = passes.asked(inputs, wrt, dict.fromkeys(names), names)
    values, records = passes.evaluated(asked)
    results = {n: a for n, a in results_of(asked.plan, values).items() if is_differentiable(a.dtype)}
    if not results:
        msg = f"No output of {', '.join(names)[:300]} has a derivative: they are integers or booleans."
        raise NotDifferentiableError(msg)
    _require_real({**results, **{n: asked.inputs[n] for n in asked.wrt}})
    specs = asked.specs
    if within:
        within(sum(z.nbytes * specs[x].size for z in results.values() for x in asked.wrt))
    blocks = {name: {x: _block(name, z, x, specs[x]) for x in asked.wrt} for name, z in results.items()}
    rows = sum(z.size for z in results.values())
    columns = sum(specs[x].size for x in asked.wrt)
    if columns < rows:
        try:
            return _by_columns(passes, asked, blocks)
        except TangentLostError:
            # By rows it needs no tangents.
            pass
    return _by_rows(passes, asked, records, results, blocks)


def hessian(
    passes: Passes,
    inputs: Mapping[str, object],
    wrt: Iterable[str] | None,
    output_gradients: Mapping[str, object] | None,
    outputs: Iterable[str] | None,
    within: Within = None,
) -> Blocks:
    """See `ComputationalGraph.hessian`; `within` is told how many bytes it would have, and may refuse them."""
    question = passes.graph.judged(inputs, wrt, output_gradients, outputs)
    _require_real({n: question.inputs[n] for n in question.wrt})
    specs = question.specs
    if within:
        size = sum(specs[x].size for x in question.wrt)
        within(size * size * max((specs[x].dtype.itemsize for x in question.wrt), default=0))
    blocks = {x: {y: _block(x, specs[x], y, specs[y]) for y in question.wrt} for x in question.wrt}
    _, primal = passes.primal(question)
    passes.second(question, _random_direction(question), primal)
    for y, place, unit in _units(question):
        _, products = passes.second(question, {y: unit}, primal, always=False)
        for x in question.wrt:
            if x in products:
                blocks[x][y][_column(place)] = products[x]
    return blocks


def _by_rows(
    passes: Passes, asked: Asked, records: dict[str, Record], results: Mapping[str, Array], blocks: Blocks
) -> Blocks:
    for name, z in results.items():
        for place in np.ndindex(z.shape):
            unit = np.zeros(z.shape, z.dtype)
            unit[place] = 1
            gradients = gradients_of(
                asked.plan, asked.wrt, asked.specs, dict(records), {name: read_only(unit)}, passes.between
            )
            for x in asked.wrt:
                blocks[name][x][place] = gradients[x]
    return blocks


def _by_columns(passes: Passes, asked: Asked, blocks: Blocks) -> Blocks:
    _, primal = passes.primal(asked)
    passes.pushed(asked, _random_direction(asked), primal, verify=True)
    for x, place, unit in _units(asked):
        _, dots = passes.pushed(asked, {x: unit}, primal, verify=False)
        for name in blocks:
            source = asked.plan.outputs[name]
            if source in dots:
                blocks[name][x][_column(place)] = dots[source]
    return blocks


def _random_direction(asked: Asked) -> dict[str, Array]:
    """Return one in which all moves: where its tangents are kept, so are all, but for a chance of zero."""
    random = np.random.default_rng(7)
    return {
        x: read_only(np.asarray(random.standard_normal(asked.specs[x].shape)).astype(asked.specs[x].dtype))
        for x in asked.wrt
    }


def _block(of: str, z: Array | ArraySpec, by: str, x: ArraySpec) -> Array:
    """Return zeros for the derivatives of one array by another. Raises LimitError where there is no memory for them."""
    try:
        return np.zeros((*z.shape, *x.shape), z.dtype)
    except MemoryError:
        nbytes = z.nbytes * x.size
        msg = f"There is not memory enough: the derivatives of {of!r} by {by!r} have {nbytes:,} bytes. Ask for some "
        msg += "directions alone, with jvp or hvp, or for fewer inputs with wrt."
        raise LimitError(msg, asked=str(nbytes)) from None


def _units(asked: Asked) -> Iterator[tuple[str, tuple[int, ...], Array]]:
    """Yield every input, place in it, and the direction that has 1 there."""
    for x in asked.wrt:
        spec = asked.specs[x]
        for place in np.ndindex(spec.shape):
            unit = np.zeros(spec.shape, spec.dtype)
            unit[place] = 1
            yield x, place, read_only(unit)


def _column(place: tuple[int, ...]) -> Any:
    return (..., *place)


def _require_real(arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "c":
            msg = f"{name!r} is {array.dtype}, and matrices of derivatives are of real numbers. Ask for jvp or hvp."
            raise NotDifferentiableError(msg)
