"""Whole matrices of derivatives: of outputs by inputs, and the second ones of inputs by inputs."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from graphsvc.arrays import Array, ArraySpec, is_differentiable, read_only, spec_of
from graphsvc.engine.bound import Asked
from graphsvc.engine.calls import Record
from graphsvc.engine.derivatives.passes import Passes
from graphsvc.engine.derivatives.vectors import Within
from graphsvc.engine.looping import results_of
from graphsvc.engine.question import judge_outputs
from graphsvc.engine.stacks.calling import most_stacked
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
    for y in question.wrt:
        for place, (_, unit) in zip(np.ndindex(specs[y].shape), _units(specs[y], 1), strict=True):
            _, products = passes.second(question, {y: unit[0]}, primal, always=False)
            for x in question.wrt:
                if x in products:
                    blocks[x][y][(..., *place)] = products[x]
    return blocks


def _by_rows(
    passes: Passes, asked: Asked, records: dict[str, Record], results: Mapping[str, Array], blocks: Blocks
) -> Blocks:
    """Fill in the rows, several at a time."""
    most = most_stacked(records.values())
    for name, z in results.items():
        rows = {x: blocks[name][x].reshape(z.size, *asked.specs[x].shape) for x in asked.wrt}
        for places, units in _units(spec_of(z), most):
            gradients = passes.pulled(asked, records, {name: units})
            for x in asked.wrt:
                rows[x][places] = gradients[x]
    return blocks


def _by_columns(passes: Passes, asked: Asked, blocks: Blocks) -> Blocks:
    """Fill in the columns, several at a time where the gates allow that."""
    _, primal = passes.primal(asked)
    passes.pushed(asked, _random_direction(asked), primal, verify=True)
    most = most_stacked(record for _, record in primal.values() if record)
    for x in asked.wrt:
        for places, units in _units(asked.specs[x], most):
            dots = passes.pushed_at_once(asked, x, units, primal)
            for name in blocks:
                source = asked.plan.outputs[name]
                if source in dots:
                    block = blocks[name][x]
                    columns = block.reshape(*block.shape[: block.ndim - asked.specs[x].ndim], asked.specs[x].size)
                    columns[..., places] = np.moveaxis(dots[source], 0, -1)
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


def _units(spec: ArraySpec, most: int) -> Iterator[tuple[slice, Array]]:
    """Yield places among the elements of an array, and for each of them the array that has 1 there, stacked."""
    for start in range(0, spec.size, most):
        count = min(most, spec.size - start)
        units = np.eye(count, spec.size, start, spec.dtype)
        yield slice(start, start + count), read_only(units.reshape(count, *spec.shape))


def _require_real(arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "c":
            msg = f"{name!r} is {array.dtype}, and matrices of derivatives are of real numbers. Ask for jvp or hvp."
            raise NotDifferentiableError(msg)
