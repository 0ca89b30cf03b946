"""Fusion: which calls run together, block by block, while their data is in cache.

A kernel is a set of calls that go over the same elements. It is cut into blocks of rows: its elements are seen as a
matrix, whose rows stand for some leading axes and whose columns for the others. A reduction within rows is done in the
block; one across rows leaves a part for each block, and its result is at hand after the kernel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, TypeAlias

import numpy as np

from graphsvc.engine.fusion.instructions import Kind, taken
from graphsvc.engine.fusion.merging import GateCall, Lowered, Operation

__all__ = ["Form", "Kernel", "Member", "Part", "schedule"]

_LEAST: Final = 1 << 13
"""Elements below which blocks gain nothing."""

_MOST_COLUMNS: Final = 1 << 17
"""Elements of a row above which blocks no longer fit the cache."""

_WHOLE_ROW: Final = 1 << 14
"""Elements of an array that may be one row, so that its sum is at hand within the kernel."""


class Form(Enum):
    """What of a kernel's matrix a value fills."""

    FULL = auto()
    ROW = auto()
    """One element for each row."""
    COLUMN = auto()
    """One element for each column: the same in every row."""
    SCALAR = auto()


@dataclass(frozen=True, slots=True)
class Member:
    """A call within a kernel, and the form of its result. A reduction across rows gives a part for each block."""

    operation: Operation
    form: Form
    part: bool = False


@dataclass(slots=True, eq=False)
class Kernel:
    """Calls that run together.

    Attributes:
        shape: The elements it goes over.
        level: Which kernels must run before: those of a lower level.
        least: The fewest leading axes that may be rows.
        most: The most.
        members: Its calls, in their order.
        forms: Form of each value that it reads or makes.
        inputs: Values that are made elsewhere.
        outputs: Values that are needed elsewhere.
    """

    shape: tuple[int, ...]
    level: int
    least: int
    most: int
    members: list[Member] = field(default_factory=list)
    forms: dict[int, Form] = field(default_factory=dict)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return math.prod(self.shape[: self.most])

    @property
    def columns(self) -> int:
        """Number of columns."""
        return math.prod(self.shape[self.most :])


Part: TypeAlias = Operation | GateCall | Kernel
"""What a program consists of."""


def schedule(lowered: Lowered) -> list[Part]:
    """Put calls together.

    Returns:
        Kernels, and the calls that are in none, in an order in which they can run.
    """
    return _Schedule(lowered).parts()


_Fit: TypeAlias = tuple[Member, dict[int, Form], tuple[int, int]]
"""How a call fits a kernel: what it becomes, the forms of its operands, the fewest and the most axes that are rows."""


class _Schedule:
    """Goes through the calls once, and puts each into the earliest kernel where it fits and is of use.

    Attributes:
        home: The kernel that makes a value.
        ready: The level from which on a value that is made elsewhere is at hand.
        near: The kernels of a shape and a level.
        alone: The calls that are in no kernel, with their levels.
    """

    def __init__(self, lowered: Lowered) -> None:
        self.lowered = lowered
        self.kernels: list[Kernel] = []
        self.near: dict[tuple[tuple[int, ...], int], list[Kernel]] = {}
        self.home: dict[int, Kernel] = {}
        self.ready: dict[int, int] = {}
        self.alone: list[tuple[int, Operation | GateCall]] = []

    def parts(self) -> list[Part]:
        """See `schedule`."""
        for operation in self.lowered.operations:
            if isinstance(operation, GateCall) or not self._fused(operation):
                level = max((self._level(operand) for operand in operation.operands), default=0)
                self.ready.update(dict.fromkeys(operation.results, level))
                self.alone.append((level, operation))
        self._find_outputs()
        found: list[tuple[int, int, int, Part]] = [(level, 0, i, o) for i, (level, o) in enumerate(self.alone)]
        found += [(kernel.level, 1, i, kernel) for i, kernel in enumerate(self.kernels)]
        return [part for _, _, _, part in sorted(found, key=lambda entry: entry[:3])]

    def _level(self, value: int) -> int:
        """Return the level from which on a value is at hand outside of the kernel that makes it."""
        kernel = self.home.get(value)
        return kernel.level + 1 if kernel else self.ready.get(value, 0)

    def _fused(self, operation: Operation) -> bool:
        """Put an operation into a kernel that it fits, or into a new one; tell whether it is in one."""
        if operation.kind is Kind.WHOLE:
            return False
        floor = self.home[operation.floor].level if operation.floor in self.home else self._level(operation.floor)
        level = max(floor, *(self._level(operand) for operand in operation.operands))
        whole = operation.operands[0] if operation.kind in (Kind.REDUCE, Kind.ALONG) else operation.result
        shape = self.lowered.spec(whole).shape
        near = [self.home[operand] for operand in operation.operands if operand in self.home]
        for kernel in dict.fromkeys(near + self.near.get((shape, level), [])):
            if kernel.level >= floor and all(
                self.home.get(operand) is kernel or self._level(operand) <= kernel.level
                for operand in operation.operands
            ):
                fit = self._fit(kernel, operation)
                if fit:
                    self._join(kernel, operation, *fit)
                    return True
        if operation.kind in (Kind.VIEW, Kind.ALONG) or self.lowered.spec(whole).size < _LEAST:
            return False
        kernel = Kernel(shape, level, 0, len(shape))
        fit = self._fit(kernel, operation)
        if fit:
            self.kernels.append(kernel)
            self.near.setdefault((shape, level), []).append(kernel)
            self._join(kernel, operation, *fit)
        return fit is not None

    def _join(
        self, kernel: Kernel, operation: Operation, member: Member, forms: dict[int, Form], axes: tuple[int, int]
    ) -> None:
        kernel.least, kernel.most = axes
        kernel.members.append(member)
        for value, form in forms.items():
            if value not in kernel.forms:
                kernel.forms[value] = form
                kernel.inputs.append(value)
        kernel.forms[operation.result] = member.form
        if member.part:
            self.ready[operation.result] = kernel.level + 1
        else:
            self.home[operation.result] = kernel

    # What fits

    def _fit(self, kernel: Kernel, operation: Operation) -> _Fit | None:
        """Tell how an operation fits a kernel: its form, those of its operands, and how many axes may be rows."""
        if operation.kind is Kind.REDUCE:
            found = self._fit_reduction(kernel, operation)
        elif operation.kind is Kind.ALONG:
            found = self._fit_along(kernel, operation)
        elif operation.kind is Kind.VIEW and operation.function is not np.broadcast_to:
            found = self._fit_view(kernel, operation)
        else:
            found = self._fit_map(kernel, operation)
        if found is None:
            return None
        member, forms, (least, most) = found
        least, most = max(least, kernel.least), min(most, kernel.most)
        fits = least <= most and (most == len(kernel.shape) or math.prod(kernel.shape[most:]) <= _MOST_COLUMNS)
        known = all(kernel.forms.get(value, form) is form for value, form in forms.items())
        return (member, forms, (least, most)) if fits and known else None

    def _inside(self, kernel: Kernel, value: int) -> Form | None:
        return kernel.forms[value] if self.home.get(value) is kernel else None

    def _fit_map(self, kernel: Kernel, operation: Operation) -> _Fit | None:
        shape = self.lowered.spec(operation.result).shape
        if shape == kernel.shape:
            return self._fit_full(kernel, operation)
        # Rows among themselves, or all elements under another shape: every operand must be alike.
        inside = {self._inside(kernel, operand) for operand in operation.operands} - {None}
        if len(inside) != 1 or Form.SCALAR in inside:
            return None
        (form,) = inside
        forms = {}
        for operand in operation.operands:
            spec = self.lowered.spec(operand)
            if spec.shape != shape and spec.size != 1:
                return None
            if spec.size == 1 and self._inside(kernel, operand) is None:
                forms[operand] = Form.SCALAR
            else:
                forms[operand] = form  # type: ignore[assignment]
        return Member(operation, form), forms, (0, len(kernel.shape))  # type: ignore[arg-type]

    def _fit_full(self, kernel: Kernel, operation: Operation) -> _Fit | None:
        least, most, forms = 0, len(kernel.shape), {}
        for operand in operation.operands:
            spec, inside = self.lowered.spec(operand), self._inside(kernel, operand)
            found = _form_of(spec.shape, kernel.shape)
            if found is None:
                return None
            form, axis = found
            if inside is Form.ROW and form is Form.SCALAR:
                # A single row's sum.
                form = Form.ROW
            if inside is not None and inside is not form:
                return None
            if form is Form.ROW and inside is None:
                least = max(least, axis)
            if form is Form.COLUMN:
                most = min(most, axis)
            forms[operand] = form
        return Member(operation, Form.FULL), forms, (least, most)

    def _fit_view(self, kernel: Kernel, operation: Operation) -> _Fit | None:
        (operand,) = operation.operands
        form = self._inside(kernel, operand)
        return None if form is None else (Member(operation, form), {operand: form}, (0, len(kernel.shape)))

    def _fit_along(self, kernel: Kernel, operation: Operation) -> _Fit | None:
        whole, *picks = operation.operands
        if self.lowered.spec(whole).shape != kernel.shape or self._inside(kernel, whole) is Form.ROW:
            return None
        split = len(kernel.shape) - 1
        forms = {whole: Form.FULL, **dict.fromkeys(picks, Form.ROW)}
        if any(self._inside(kernel, pick) not in (None, Form.ROW) for pick in picks) or kernel.shape[-1] == 1:
            return None
        form = Form.ROW if operation.function is taken else Form.FULL
        return Member(operation, form), forms, (split, split)

    def _fit_reduction(self, kernel: Kernel, operation: Operation) -> _Fit | None:
        (operand,) = operation.operands
        spec, ndim = self.lowered.spec(operand), len(kernel.shape)
        form = self._inside(kernel, operand)
        if form is None and spec.shape == kernel.shape:
            form = Form.FULL
        if form not in (Form.FULL, Form.ROW):
            return None
        axes = dict(operation.keywords)["axis"]
        summed = {a for a, n in enumerate(spec.shape) if axes is None or a in axes or n == 1}
        everything = len(summed) == spec.ndim
        forms: dict[int, Form] = {operand: form}
        if everything and (form is Form.ROW or spec.shape != kernel.shape or spec.size > _WHOLE_ROW):
            return Member(operation, Form.SCALAR, part=True), forms, (0, ndim)
        if form is Form.ROW or spec.shape != kernel.shape:
            return None
        leading = next((a for a in range(ndim) if a not in summed), ndim)
        across = summed <= {*range(leading), *(a for a, n in enumerate(spec.shape) if n == 1)}
        if across and leading and not everything:
            return Member(operation, Form.COLUMN, part=True), forms, (0, leading)
        trailing = next((a for a in reversed(range(ndim)) if a not in summed), -1) + 1
        within = summed <= {*range(trailing, ndim), *(a for a, n in enumerate(spec.shape) if n == 1)}
        if within and math.prod(spec.shape[trailing:]) <= _MOST_COLUMNS and axes is not None:
            return Member(operation, Form.ROW), forms, (trailing, trailing)
        return None

    def _find_outputs(self) -> None:
        """Find which values that kernels make are needed elsewhere."""
        made = self.lowered
        wanted = {*made.outputs.values(), *made.gradients.values(), *(value for value, _ in made.guards)}
        for _, operation in self.alone:
            wanted.update(operation.operands)
        for kernel in self.kernels:
            wanted.update(kernel.inputs)
        for kernel in self.kernels:
            kernel.outputs = [m.operation.result for m in kernel.members if not m.part and m.operation.result in wanted]
            kernel.inputs = [value for value in kernel.inputs if self.home.get(value) is not kernel]


def _form_of(shape: Sequence[int], whole: Sequence[int]) -> tuple[Form, int] | None:
    """Tell what of a matrix of shape `whole` an operand fills, and the axis up to which, or from which on."""
    padded = (*([1] * (len(whole) - len(shape))), *shape)
    full = [axis for axis, size in enumerate(padded) if size != 1]
    axes = [axis for axis, size in enumerate(whole) if size != 1]
    if full == axes:
        return Form.FULL, len(whole)
    if not full:
        return Form.SCALAR, 0
    if full == axes[: len(full)]:
        return Form.ROW, full[-1] + 1
    if full == axes[-len(full) :]:
        return Form.COLUMN, full[0]
    return None
