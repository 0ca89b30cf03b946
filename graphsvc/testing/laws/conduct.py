"""Laws of conduct: what a gate does to what it is given, and how it behaves when it is run again, or by many."""

import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from graphsvc.arrays import Array, is_known
from graphsvc.errors import GraphsvcError
from graphsvc.testing.case import GateCase
from graphsvc.testing.comparing import require, require_close, same_bits

__all__ = ["aliasing", "contract", "determinism", "fusion", "layout", "purity", "reentrancy", "threads"]

_THREADS = 8


def purity(case: GateCase) -> int:
    """Nothing is written to: not the arrays handed to a gate, not the gate or its class, not what NumPy keeps."""
    if case.fault is not None and case.writes:
        raise AssertionError(case.fault.message)
    after = case.state()
    for what, before in case.before.items():
        require(after[what] == before, f"A run changes {what}. A gate holds no values; return them and name `saves`.")
    require(not _draws(case), "A run changes the random generator of NumPy. Use one of its own, of an attribute seed.")
    return len(after) + 1


def _draws(case: GateCase) -> bool:
    """Tell whether forward touches NumPy's global generator, which is put into a state of its own for that."""
    before = np.random.get_state()  # noqa: NPY002 - whether a gate touches it is the question
    try:
        np.random.seed(0x5EED + case.seed)  # noqa: NPY002
        expected = np.random.random(4)  # noqa: NPY002
        np.random.seed(0x5EED + case.seed)  # noqa: NPY002
        if case.fault is None:
            case.graph.forward(case.inputs)
        return not np.array_equal(np.random.random(4), expected)  # noqa: NPY002
    finally:
        np.random.set_state(before)  # noqa: NPY002


def contract(case: GateCase) -> int:
    """Forward and backward run, and return what the contract says: count, types, shapes, dtypes."""
    if case.fault is not None and not case.writes:
        raise AssertionError(case.fault.message)
    return len(case.outputs) + len(case.wanted)


def aliasing(case: GateCase) -> int:
    """No output is an operand itself, and the outputs of two runs share no memory."""
    operands = [np.array(operand) for operand in case.operands]
    first, second = case.called(operands), case.called(case.operands)
    for name, z, again in zip(case.gate.signature.outputs, first, second, strict=True):
        given = any(z is operand for operand in operands)
        require(not given, f"Output {name!r} is an operand itself. Return a view of it, or a copy.")
        shared = isinstance(z, np.ndarray) and isinstance(again, np.ndarray) and np.may_share_memory(z, again)
        require(not shared, f"Output {name!r} lies in memory that the gate keeps: two runs share it.")
    return len(first)


def determinism(case: GateCase) -> int:
    """The same operands always give the same bits, unless the gate says that it is not deterministic."""
    if not type(case.gate).deterministic:
        return 0
    again = case.new_graph().forward(case.inputs).outputs
    differs = same_bits(case.outputs, again)
    require(not differs, f"Output {differs!r} is another when the gate runs again. Say `deterministic = False`.")
    if case.differentiates:
        differs = same_bits(case.gradients, case.pull(case.output_gradients))
        require(not differs, f"A gradient is another when backward runs again ({differs}).")
    return 2


def reentrancy(case: GateCase) -> int:
    """A gate that has run with other operands meanwhile gives the same backward: forward A, forward B, backward A."""
    first = case.graph.forward(case.inputs)
    before = {name: z.copy() for name, z in first.outputs.items()}
    try:
        case.graph.forward(case.varied(lambda x: x * x.dtype.type(0.75)))
    except GraphsvcError:
        # The gate refuses these operands, which are none of its examples.
        return 0
    differs = same_bits(before, first.outputs)
    require(not differs, f"Another run of the gate changes output {differs!r} of this one.")
    if case.differentiates and type(case.gate).deterministic:
        gradients = case.graph.backward(first, case.output_gradients, case.wanted)
        differs = same_bits(case.gradients, gradients)
        require(not differs, f"Another run of the gate changes the gradients of this one ({differs}).")
    return 2


def threads(case: GateCase) -> int:
    """Eight threads that run a gate at once get what each would get alone."""
    if not type(case.gate).deterministic:
        return 0
    tasks = [task for i in range(_THREADS) if (task := _task(case, 1 - i / 64))]
    alone = [task() for task in tasks]
    interval = sys.getswitchinterval()
    barrier = threading.Barrier(len(tasks))

    def together(task: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
        barrier.wait()
        return task()

    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(len(tasks)) as pool:
            found = list(pool.map(together, tasks))
    finally:
        sys.setswitchinterval(interval)
    for mine, expected in zip(found, alone, strict=True):
        differs = same_bits(expected, mine)
        require(not differs, f"Beside seven other threads {differs!r} is another. A gate may keep nothing of a run.")
    return len(tasks)


def _task(case: GateCase, factor: float) -> Callable[[], dict[str, Array]] | None:
    """Return what a thread does: one run with operands of its own; None if the gate refuses these."""
    inputs = case.varied(lambda x: x * x.dtype.type(factor))

    def run() -> dict[str, Array]:
        evaluation = case.graph.forward(inputs)
        results = {f"output {name}": z for name, z in evaluation.outputs.items()}
        if case.differentiates:
            gradients = case.graph.backward(evaluation, case.output_gradients, case.wanted)
            results |= {f"gradient of {case.operand_name(name)}": dx for name, dx in gradients.items()}
        return results

    try:
        run()
    except GraphsvcError:
        return None
    return run


def layout(case: GateCase) -> int:
    """Fortran order, negative strides and gaps between elements change nothing, in operands and gradients alike."""
    wanted = case.wanted if case.output_gradients else ()
    for change in (_in_fortran_order, _reversed, _spaced):
        inputs = {name: change(x) for name, x in case.inputs.items()}
        seeds = {name: change(dz) for name, dz in case.output_gradients.items()} if wanted else None
        evaluated, gradients = case.graph.value_and_grad(inputs, wanted, seeds)
        called = dict(zip(evaluated, case.called(tuple(inputs.values())), strict=True))
        for name, z in case.outputs.items():
            problem = f"Output {name!r} is another for operands of another memory layout"
            require_close(evaluated[name], z, problem)
            require_close(called[name], z, problem)
        for name, dx in gradients.items():
            problem = f"The gradient of operand {case.operand_name(name)!r} is another for another memory layout"
            require_close(dx, case.gradients[name], problem)
    return 3 * (len(case.outputs) + len(wanted))


def _in_fortran_order(x: Array) -> Array:
    return np.array(x, order="F")


def _reversed(x: Array) -> Array:
    """Return the same array with negative strides."""
    turned = x[(slice(None, None, -1),) * x.ndim].copy() if x.ndim else x.copy()
    return np.asarray(turned[(slice(None, None, -1),) * x.ndim] if x.ndim else turned)


def _spaced(x: Array) -> Array:
    """Return the same array with a gap behind every element of the last axis."""
    if not x.ndim:
        return x
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def fusion(case: GateCase) -> int:
    """Planned and fused, a gate gives what the two loops give: the same bits, sums within their rounding."""
    wanted = case.wanted if case.output_gradients else ()
    evaluated, gradients = case.graph.value_and_grad(case.inputs, wanted, case.output_gradients if wanted else None)
    if not type(case.gate).deterministic:
        return 0
    for name, z in case.outputs.items():
        require(is_known(z.dtype), f"Output {name!r} has the dtype {z.dtype}.")
        require_close(evaluated[name], z, f"Output {name!r} is another when it is planned", ulps=8)
    for name, dx in gradients.items():
        problem = f"The gradient of operand {case.operand_name(name)!r} is another when it is planned"
        require_close(dx, case.gradients[name], problem, ulps=8)
    return len(evaluated) + len(gradients)
