"""Laws of derivatives: what backward gives is what forward does."""

from collections.abc import Mapping

import numpy as np

from graphsvc.arrays import Array, is_differentiable
from graphsvc.errors import TangentLostError
from graphsvc.testing.case import GateCase
from graphsvc.testing.comparing import require, require_close
from graphsvc.testing.differences import central_difference, inner, random_like

__all__ = ["adjoint", "disconnected", "duals", "linear", "linearity", "outputs", "selection"]

_STEP = float(np.cbrt(np.finfo(np.float64).eps))


def adjoint(case: GateCase) -> int:
    """Backward is the adjoint of forward's derivative: `<dz, J v> = <J^T dz, v>` along random directions."""
    if not case.output_gradients:
        return 0
    random = np.random.default_rng(case.seed + 1)
    checked = 0
    for name in case.precise:
        for _ in range(2):
            along = random_like(random, case.inputs[name])
            measured, uncertain, direction = _measured(case, case.output_gradients, name, along)
            computed = inner(direction, case.gradients[name])
            size = float(np.sum(np.abs(direction) * np.abs(case.gradients[name])))
            if not abs(measured - computed) <= case.tolerance * size + uncertain:
                _explain(case, name)
                msg = (
                    f"The gradient of gate {type(case.gate).name!r} for operand {case.operand_name(name)!r} along a "
                    f"direction is {computed!r}, but central differences give {measured!r}."
                )
                raise AssertionError(msg)
            checked += 1
    return checked


def _measured(
    case: GateCase, output_gradients: Mapping[str, Array], name: str, along: Array
) -> tuple[float, float, Array]:
    """Return the derivative of the weighted outputs along a direction, its uncertainty, and the direction.

    The direction is longer where the operand is large, for a step of one size would vanish in it.
    """
    x = case.inputs[name]
    direction = np.asarray(along * np.maximum(1.0, np.abs(x)))
    ends, size = [], 0.0
    for step in (_STEP, -_STEP):
        moved = case.forward({**case.inputs, name: np.asarray(x + step * direction)})
        ends.append(sum(inner(dz, moved[output]) for output, dz in output_gradients.items()))
        size = max(size, sum(float(np.vdot(np.abs(dz), np.abs(moved[o]))) for o, dz in output_gradients.items()))
    with np.errstate(all="ignore"):
        return (
            float(np.subtract(ends[0], ends[1])) / (2 * _STEP),
            16 * np.finfo(np.float64).eps * size / _STEP,
            direction,
        )


def _explain(case: GateCase, name: str) -> None:
    """Find the element in which a gradient differs most, by the whole Jacobian, and say so."""
    gate, computed = case.gate, case.gradients[name]

    def loss(x: Array) -> float:
        moved = case.forward({**case.inputs, name: x})
        return sum(inner(dz, moved[output]) for output, dz in case.output_gradients.items())

    if computed.size > 4096:
        return
    expected = central_difference(loss, case.inputs[name])
    difference = np.abs(computed - expected)
    allowed = case.tolerance * float(np.max(np.abs(expected), initial=0.0))
    if np.all(difference <= allowed):
        return
    index = np.unravel_index(int(np.argmax(np.nan_to_num(difference, nan=np.inf))), difference.shape)
    place = tuple(int(i) for i in index)
    msg = (
        f"The gradient of gate {type(gate).name!r} for operand {case.operand_name(name)!r} at {place} is "
        f"{computed[place].item()!r}, but central differences give {expected[place].item()!r}."
    )
    raise AssertionError(msg)


def linearity(case: GateCase) -> int:
    """Backward is linear in the gradient that arrives: `backward(a u + b v) = a backward(u) + b backward(v)`."""
    if not case.differentiates:
        return 0
    u, v = case.output_gradients, case.seeds(np.random.default_rng(case.seed + 2))
    mixed = {name: np.asarray(2 * u[name] - 3 * v[name]).astype(u[name].dtype) for name in u}
    of_u, of_v, of_mixed = case.gradients, case.pull(v), case.pull(mixed)
    # A gradient may be the small rest of large terms.
    terms = 0.01 * max(np.abs(dz).max(initial=0.0) for dz in u.values())
    for name in case.wanted:
        size = terms + np.abs(of_u[name]).max(initial=0.0) + np.abs(of_v[name]).max(initial=0.0)
        problem = f"The gradient for operand {case.operand_name(name)!r} is not linear in the one that arrives"
        require_close(of_mixed[name], 2 * of_u[name] - 3 * of_v[name], problem, size=size)
    return len(case.wanted)


def linear(case: GateCase) -> int:
    """A gate that says it is linear is: `forward(a x + b y) = a forward(x) + b forward(y)`."""
    floats = [name for name, x in case.inputs.items() if is_differentiable(x.dtype)]
    if not type(case.gate).linear or not floats:
        return 0
    random = np.random.default_rng(case.seed + 3)
    other = case.varied(lambda x: random_like(random, x).astype(x.dtype))
    mixed = {**case.inputs} | {
        name: np.asarray(2 * case.inputs[name] - 3 * other[name]).astype(case.inputs[name].dtype) for name in floats
    }
    of_x, of_y, of_mixed = case.outputs, case.forward(other), case.forward(mixed)
    checked = [name for name, z in of_x.items() if is_differentiable(z.dtype)]
    for name in checked:
        size = np.abs(of_x[name]).max(initial=0.0) + np.abs(of_y[name]).max(initial=0.0)
        problem = f"It says that it is linear, but output {name!r} is not"
        require_close(of_mixed[name], 2 * of_x[name] - 3 * of_y[name], problem, size=size)
    return len(checked)


def outputs(case: GateCase) -> int:
    """Where gradients arrive at several outputs, those that come of each alone add up to that of all."""
    given = case.output_gradients
    if len(given) < 2 or not case.wanted:
        return 0
    alone = [case.pull({name: dz}) for name, dz in given.items()]
    for name in case.wanted:
        total = np.sum([gradients[name] for gradients in alone], axis=0)
        size = max(np.abs(gradients[name]).max(initial=0.0) for gradients in alone)
        problem = f"The gradients for operand {case.operand_name(name)!r} of single outputs do not add up"
        require_close(case.gradients[name], total, problem, size=size)
    return len(case.wanted)


def selection(case: GateCase) -> int:
    """The gradient of an operand is the same whether it alone is wanted or others as well."""
    if len(case.wanted) < 2 or not case.output_gradients:
        return 0
    # Other gradients arrive than before, and the last operand is first: what another backward left behind is no help.
    arriving = case.seeds(np.random.default_rng(case.seed + 6))
    alone = {name: case.pull(arriving, [name])[name] for name in reversed(case.wanted)}
    together = case.pull(arriving)
    for name in case.wanted:
        problem = f"The gradient for operand {case.operand_name(name)!r} is another when it alone is wanted"
        require_close(alone[name], together[name], problem)
    return len(case.wanted)


def disconnected(case: GateCase) -> int:
    """No change of an operand that is said to be disconnected changes the outputs, nearly everywhere."""
    signature, random = case.gate.signature, np.random.default_rng(case.seed + 4)
    seeds = {name: np.asarray(random_like(random, z)) for name, z in case.outputs.items() if is_differentiable(z.dtype)}
    checked = 0
    for position, (name, x) in enumerate(case.inputs.items()):
        if signature.index(position) in signature.disconnected and x.dtype in (np.float64, np.complex128) and seeds:
            measured, uncertain, _ = _measured(case, seeds, name, random_like(random, x))
            problem = f"Operand {case.operand_name(name)!r} is said to be disconnected, but outputs change with it"
            require(not abs(measured) > uncertain + case.tolerance, f"{problem}: by {measured!r}.")
            checked += 1
    return checked


def duals(case: GateCase) -> int:
    """Derivatives along a direction and second ones are right, or refused: by the adjoint, symmetry and differences."""
    names = case.precise
    if not names or not case.output_gradients or not type(case.gate).deterministic:
        return 0
    random = np.random.default_rng(case.seed + 5)
    v, u = ({name: random_like(random, case.inputs[name]) for name in names} for _ in range(2))
    try:
        _, tangents = case.graph.jvp(case.inputs, v, list(case.output_gradients))
    except TangentLostError as error:
        require(case.gate.signature.jvp is None, f"It has a jvp of its own, which is refused: {error.message}")
        return 0
    found = sum(inner(dz, tangents[output]) for output, dz in case.output_gradients.items())
    expected = sum(inner(v[name], case.gradients[name]) for name in names)
    size = sum(float(np.vdot(np.abs(v[name]), np.abs(case.gradients[name]))) for name in names)
    problem = f"Along a direction the outputs move by {found!r}, but by the gradients it should be {expected!r}"
    require(abs(found - expected) <= 1e-9 * (1 + size), f"{problem}.")
    asked = {"wrt": names, "output_gradients": case.output_gradients, "outputs": list(case.output_gradients)}
    try:
        _, along_v = case.graph.hvp(case.inputs, v, **asked)  # type: ignore[arg-type]
        _, along_u = case.graph.hvp(case.inputs, u, **asked)  # type: ignore[arg-type]
    except TangentLostError:
        return 1
    one, other = (sum(inner(a[n], b[n]) for n in names) for a, b in ((u, along_v), (v, along_u)))
    size = sum(float(np.vdot(np.abs(u[n]), np.abs(along_v[n]))) for n in names)
    require(abs(one - other) <= 1e-8 * (1 + size), f"The second derivative is not symmetric: {one!r} and {other!r}.")
    _require_second(case, v, along_v)
    return 2 + len(names)


def _require_second(case: GateCase, v: Mapping[str, Array], products: Mapping[str, Array]) -> None:
    """Compare products of the Hessian with central differences of the gradient."""
    step, ends = 1e-5, []
    for sign in (1, -1):
        moved = {n: x + sign * step * v[n] if n in v else x for n, x in case.inputs.items()}
        ends.append(case.graph.backward(case.graph.forward(moved), case.output_gradients, list(v)))
    for name, product in products.items():
        with np.errstate(all="ignore"):
            difference = (ends[0][name] - ends[1][name]) / (2 * step)
        # What rounding in the gradients leaves uncertain, and what the curvature beyond the second order adds.
        size = float(np.abs(ends[0][name]).max(initial=0.0))
        allowed = 1e-4 * float(np.abs(product).max(initial=0.0)) + 1e-6 * max(1.0, size)
        worst = float(np.abs(product - difference).max(initial=0.0))
        problem = f"The second derivative for operand {case.operand_name(name)!r} is off by {worst:.3g}"
        require(not worst > allowed, f"{problem}.")
