"""Verifying that a gate keeps tangents: by the adjoint law always, by differences when it is new to a graph."""

from dataclasses import replace
from typing import Any, Final

import numpy as np

from graphsvc.arrays import Array, Literal, is_differentiable
from graphsvc.engine.calls import call_backward, handed
from graphsvc.engine.duals.dual import stripped
from graphsvc.engine.plan import Step
from graphsvc.engine.tangents.agreement import check_adjoint, refuse, size_of
from graphsvc.engine.tangents.differences import Motion, compare
from graphsvc.engine.tangents.movement import Moved
from graphsvc.engine.tangents.pulling import Pulled, pull
from graphsvc.engine.tangents.pushing import push, still
from graphsvc.errors import GraphsvcError

__all__ = ["Verification", "check_random_adjoint"]

_BESIDE: Final = 1e-3
"""How far aside a gate is run again, relative to the size of its operands."""


class Verification:
    """Which nodes were compared with differences already. A node is compared once, or always where it may lose much."""

    def __init__(self, known: set[Any], *, always: bool = True) -> None:
        """Make one.

        Args:
            known: What was found right so far; it grows.
            always: Whether nodes that meet functions that are constant almost everywhere are compared every time.
        """
        self._known = known
        self._always = always

    def check(
        self,
        step: Step,
        kept: Moved,
        arriving: list[Array | None],
        arriving_dots: list[Array | None],
        found: Pulled,
        *,
        constants: bool,
    ) -> None:
        """Check what a gate gave for arriving gradients of which, or of whose operands, something moves.

        Args:
            step: The gate.
            kept: How it moved forward.
            arriving: The gradients that arrived at it.
            arriving_dots: Their tangents.
            found: What it made of them.
            constants: Whether a function that is constant almost everywhere met a tangent.

        Raises:
            TangentLostError: A tangent is lost.
        """
        if kept.unproven:
            check_adjoint(step, kept, arriving, {position: gradient for position, gradient, _ in found})
        moving = tuple([dot is not None for dot in (*kept.operand_dots, *arriving_dots)])
        key = step.node.name, moving, kept.record.operand_shapes, kept.record.operand_dtypes
        if key in self._known and not (constants and self._always):
            return
        if kept.unproven:
            check_random_adjoint(step, kept)
        _check_gradients(step, kept, arriving, arriving_dots, found)
        self._known.add(key)


def check_random_adjoint(step: Step, kept: Moved) -> None:
    """Check the tangents of a gate's outputs against its backward, for random gradients that arrive.

    Raises:
        TangentLostError: They do not agree.
    """
    random = np.random.default_rng(12)
    record = replace(kept.record, saved=stripped(kept.record.saved))
    differentiable = step.node.gate.signature.differentiable_outputs
    arriving = [
        _random_like(random, shape, dtype) if i in differentiable and is_differentiable(dtype) else None
        for i, (shape, dtype) in enumerate(zip(record.output_shapes, record.output_dtypes, strict=True))
    ]
    positions = iter([i for i, wanted in enumerate(step.wanted) if wanted])
    gradients = {next(positions): gradient for _, gradient in call_backward(step, record, arriving)}
    check_adjoint(step, kept, arriving, gradients)


def _check_gradients(
    step: Step, kept: Moved, arriving: list[Array | None], arriving_dots: list[Array | None], found: Pulled
) -> None:
    """Compare tangents of gradients with differences; narrow dtypes in double precision, for the code is what counts.

    Raises:
        TangentLostError: A tangent is lost.
    """
    given = (*kept.operands, *kept.operand_dots, *arriving, *arriving_dots)
    if any(a is not None and a is not _wide(a) for a in given):
        motion = _compared_anew(step, kept, arriving, arriving_dots, 0.0)
    else:
        motion = compare(step, kept, arriving, arriving_dots, found)
    if motion is Motion.AT_A_TIE:
        # There nothing need agree with its neighbours; code that loses tangents loses them beside it, too.
        try:
            motion = _compared_anew(step, kept, arriving, arriving_dots, _BESIDE)
        except GraphsvcError:
            motion = Motion.LOST
    if motion is not Motion.RIGHT:
        refuse(step, "backward does not move as differences of it do")


def _compared_anew(
    step: Step, kept: Moved, arriving: list[Array | None], arriving_dots: list[Array | None], aside: float
) -> Motion:
    """Run a gate again in double precision, `aside` from its operands relative to their size, and compare there."""
    random = np.random.default_rng(5)

    def beside(x: Any) -> Any:
        x = _wide(x)
        if not aside or x is None or not is_differentiable(x.dtype):
            return x
        return handed(np.asarray(x + aside * (size_of(x) or 1.0) * _random_like(random, x.shape, x.dtype)))

    step = step._replace(specs=(None,) * len(step.specs))
    given: list[Array | Literal] = [beside(x) for x in kept.operands]
    dots = [_wide(dot) for dot in kept.operand_dots]
    again = push(step, given, dots, None) if any(d is not None for d in dots) else still(step, given, dots, None)[1]
    assert again is not None  # noqa: S101 - rules are wanted
    dtypes = again.record.output_dtypes
    arriving = [
        None if dz is None else handed(beside(dz).astype(d, copy=False)) for dz, d in zip(arriving, dtypes, strict=True)
    ]
    arriving_dots = [
        None if dot is None else handed(_wide(dot).astype(d, copy=False))
        for dot, d in zip(arriving_dots, dtypes, strict=True)
    ]
    return compare(step, again, arriving, arriving_dots, pull(step, again, arriving, arriving_dots))


def _wide(x: Any) -> Any:
    """Return `x` in double precision; what is no number to differentiate, and what is wide, as it is."""
    if x is None or not is_differentiable(x.dtype):
        return x
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64, copy=False)


def _random_like(random: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    made = random.standard_normal(shape)
    drawn = made + 1j * random.standard_normal(shape) if dtype.kind == "c" else made
    array = np.asarray(drawn).astype(dtype)
    array.flags.writeable = False
    return array
