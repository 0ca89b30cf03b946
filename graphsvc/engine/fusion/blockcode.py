"""The code of one block: a kernel's calls, each writing into a register or a block of a result.

Registers are small arrays, allotted by liveness: the first that is free is taken again. The source names nothing of a
client, only our own numbers.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np

from graphsvc.arrays import Array
from graphsvc.engine.fusion.instructions import Kind, placed, powered, recast, reshaped, taken
from graphsvc.engine.fusion.kernels import Form, Kernel, Member
from graphsvc.engine.fusion.merging import Lowered
from graphsvc.engine.fusion.symbols import POWERS

__all__ = ["BlockCode", "Register"]

_LONGEST_PIECE: Final = 200
"""Lines that are compiled at a time. It takes Python 5 ms, in which no other thread runs."""


@dataclass(frozen=True, slots=True)
class Register:
    """What a register holds: one number for each element of a block, or for each of its rows."""

    form: Form
    dtype: np.dtype[Any]


@dataclass
class _Piece:
    """A part of the calls of a kernel, with the parts of reductions that it returns."""

    lines: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def add_part(self, part: str) -> None:
        """Compute the part of a reduction, which is returned in the end."""
        self.parts.append(f"p{len(self.parts)}")
        self.lines.append(f"{self.parts[-1]} = {part}")

    def compiled(self, arguments: Sequence[str], scope: dict[str, Any]) -> Callable[..., tuple[Any, ...]]:
        """Return it as a function of these arguments; `scope` is what it knows besides."""
        body = "\n    ".join([*self.lines, f"return ({''.join(part + ', ' for part in self.parts)})"])
        exec(f"def block({', '.join(arguments)}):\n    {body}", scope)  # noqa: S102 - only names that are made here
        made: Callable[..., tuple[Any, ...]] = scope.pop("block")
        return made


class BlockCode:
    """The calls of a kernel as a function of one block.

    Attributes:
        inputs: The values that it reads block by block, in the order of its arguments.
        arrays: The values that it writes block by block, next among its arguments.
        registers: What it needs besides, the last of its arguments.
        parts: The reductions across rows, of which it returns the parts of this block.
        roots: For each value made here the one that it shares its memory with, mostly itself.
    """

    def __init__(self, kernel: Kernel, lowered: Lowered, matrix: Callable[[Array, Form], Array]) -> None:
        self._kernel = kernel
        self._lowered = lowered
        self._matrix = matrix
        self.roots = self._aliases()
        self.inputs = tuple(value for value in kernel.inputs if value not in lowered.constants)
        self.arrays = tuple(dict.fromkeys(self.roots[value] for value in kernel.outputs))
        self.parts = tuple(member for member in kernel.members if member.part)
        self.registers: list[Register] = []
        self._free: dict[Register, list[int]] = {}
        self._held: dict[int, int] = {}
        self._pieces = [_Piece()]
        self._names: dict[str, Any] = {}
        self._places = {value: f"x{i}" for i, value in enumerate(self.inputs)}
        self._places |= {value: f"o{i}" for i, value in enumerate(self.arrays)}
        self._write()

    def compiled(self) -> Callable[..., tuple[Any, ...]]:
        """Return the function: of blocks of the inputs and of the results, and the registers."""
        names = [f"x{i}" for i in range(len(self.inputs))]
        names += [f"o{i}" for i in range(len(self.arrays))]
        names += [f"r{i}" for i in range(len(self.registers))]
        scope = dict(self._names)
        pieces = [piece.compiled(names, scope) for piece in self._pieces]

        def block(*arrays: Array) -> tuple[Any, ...]:
            return tuple(itertools.chain.from_iterable([piece(*arrays) for piece in pieces]))

        return pieces[0] if len(pieces) == 1 else block

    # Registers

    def _aliases(self) -> dict[int, int]:
        roots: dict[int, int] = {}
        for member in self._kernel.members:
            operation = member.operation
            if not member.part:
                view = operation.function is reshaped and operation.operands[0] in roots
                roots[operation.result] = roots[operation.operands[0]] if view else operation.result
        return roots

    def _last_uses(self) -> dict[int, int]:
        last = {}
        for position, member in enumerate(self._kernel.members):
            for value in (*member.operation.operands, member.operation.result):
                if value in self.roots:
                    last[self.roots[value]] = position
        return last

    def _take(self, form: Form, dtype: np.dtype[Any]) -> int:
        """Return the number of a register that is free from now on."""
        register = Register(form, dtype)
        free = self._free.get(register)
        if free:
            return free.pop()
        self.registers.append(register)
        return len(self.registers) - 1

    def _give(self, number: int) -> None:
        self._free.setdefault(self.registers[number], []).append(number)

    def _passing(self, form: Form, dtype: np.dtype[Any]) -> str:
        """Return a register for one call alone."""
        number = self._take(form, dtype)
        self._give(number)
        return f"r{number}"

    # Lines

    def _bind(self, value: object) -> str:
        """Return a name for a function or a constant."""
        name = f"n{len(self._names)}"
        self._names[name] = value
        return name

    def _line(self, function: Callable[..., Any], *arguments: str) -> None:
        self._pieces[-1].lines.append(f"{self._bind(function)}({', '.join(arguments)})")

    def _write(self) -> None:
        last = self._last_uses()
        for position, member in enumerate(self._kernel.members):
            if len(self._pieces[-1].lines) >= _LONGEST_PIECE:
                self._pieces.append(_Piece())
            operation = member.operation
            operands = [self._operand(value) for value in operation.operands]
            dying = {root for value in operation.operands if last.get(root := self.roots.get(value, -1)) == position}
            for root in dying & self._held.keys():
                self._give(self._held.pop(root))
            if member.part:
                # At once, for the register may be taken again.
                self._pieces[-1].add_part(self._part(member, operands[0]))
            elif self.roots[operation.result] != operation.result:
                self._places[operation.result] = self._places[self.roots[operation.result]]
            else:
                if operation.result not in self._places:
                    number = self._take(member.form, self._lowered.spec(operation.result).dtype)
                    self._held[operation.result] = number
                    self._places[operation.result] = f"r{number}"
                self._call(member, operands, self._places[operation.result])

    def _operand(self, value: int) -> str:
        if value not in self._places:
            self._places[value] = self._bind(self.constant(value))
        return self._places[value]

    def constant(self, value: int) -> Any:
        """Return a constant as blocks take it. Python's numbers stay what they are, for they are weak."""
        known, form = self._lowered.constants[value], self._kernel.forms[value]
        if not isinstance(known, np.ndarray):
            return known
        return known.reshape(())[()] if form is Form.SCALAR else self._matrix(known, form)

    def _call(self, member: Member, operands: Sequence[str], place: str) -> None:
        operation = member.operation
        if operation.function in (recast, np.broadcast_to):
            self._line(np.copyto, place, *operands, "casting='unsafe'")
        elif operation.function is np.where:
            self._choice(member, operands, place)
        elif operation.kind is Kind.REDUCE:
            function: Any = operation.function
            self._line(function.reduce, self._widened(member, operands[0]), "1", "None", place, "True")
        elif operation.function is powered:
            self._power(member, operands, place)
        elif operation.function is taken:
            self._line(np.copyto, place, f"{self._bind(np.take_along_axis)}({', '.join(operands)}, 1)")
        elif operation.function is placed:
            if place != operands[0]:
                self._line(np.copyto, place, operands[0])
            self._line(np.put_along_axis, place, *operands[1:], "1")
        else:
            keywords = (f"{name}={self._bind(value)}" for name, value in operation.keywords)
            self._line(operation.function, *operands, f"out={place}", *keywords)

    def _power(self, member: Member, operands: Sequence[str], place: str) -> None:
        """Write the operator `**`, which calls simpler functions for some exponents of arrays."""
        base, exponent = member.operation.operands
        known = self._lowered.constants.get(exponent)
        floating = self._lowered.spec(base).dtype.kind == "f"
        simple = POWERS.get(known) if type(known) in (int, float) and floating else None
        needed = operands[:1] if simple else operands
        self._line(simple or np.power, *needed, f"out={place}")

    def _choice(self, member: Member, operands: Sequence[str], place: str) -> None:
        """Write `np.where`. It has no `out`; where a choice is 0, clearing bits takes a third of the time."""
        condition, first, second = member.operation.operands
        dtype = self._lowered.spec(member.operation.result).dtype
        zeros = [self._is_zero(first), self._is_zero(second)]
        kept = second if zeros[0] else first
        filled = [self._kernel.forms[value] is Form.FULL for value in (condition, kept)]
        if sum(zeros) != 1 or not all(filled) or self._lowered.spec(kept).dtype != dtype or dtype.kind != "f":
            self._line(np.copyto, place, f"{self._bind(np.where)}({', '.join(operands)})", "casting='unsafe'")
            return
        integer = np.dtype(f"i{dtype.itemsize}")
        mask, as_integer = self._passing(Form.FULL, integer), f".view({self._bind(integer)})"
        # The mask is 0 or -1: no bit or all bits.
        self._line(np.copyto, mask, operands[0])
        if zeros[0]:
            self._line(np.subtract, mask, "1", f"out={mask}")
        else:
            self._line(np.negative, mask, f"out={mask}")
        number = operands[2] if zeros[0] else operands[1]
        self._line(np.bitwise_and, number + as_integer, mask, f"out={place}{as_integer}")

    def _is_zero(self, value: int) -> bool:
        known = self._lowered.constants.get(value)
        return known is not None and np.size(known) == 1 and not np.any(known) and not np.any(np.signbit(known))

    def _part(self, member: Member, operand: str) -> str:
        function: Any = member.operation.function
        if member.form is Form.COLUMN and function is np.add:
            spec = self._lowered.spec(member.operation.operands[0])
            return f"{self._bind(_sum_rows)}({operand}, {self._passing(Form.FULL, spec.dtype)})"
        axis = "0" if member.form is Form.COLUMN else "None"
        return f"{self._bind(function.reduce)}({self._widened(member, operand)}, {axis})"

    def _widened(self, member: Member, operand: str) -> str:
        """Return the operand of a reduction in the dtype that it adds up in: no slower, and in registers."""
        value = member.operation.operands[0]
        dtype = dict(member.operation.keywords)["dtype"]
        if dtype is None or dtype == self._lowered.spec(value).dtype:
            return operand
        place = self._passing(self._kernel.forms[value], dtype)
        self._line(np.copyto, place, operand, "casting='unsafe'")
        return place


def _sum_rows(x: Array, folded: Array) -> Array:
    """Sum over rows pairwise: as exact as NumPy's sums along contiguous memory, and as fast.

    Args:
        x: Shape `(rows, columns)`.
        folded: What the sums of pairs are written to. Shape and dtype of `x`; it may be `x` itself.

    Returns:
        Shape `(columns,)`; of the dtype of `x`, float16 as float32.
    """
    if x.dtype.kind != "f" or x.dtype == np.float16:
        return cast(Array, np.add.reduce(x, 0, np.float32 if x.dtype == np.float16 else None))
    rows = len(x)
    while rows > 8:
        half = rows // 2
        np.add(x[:half], x[half : 2 * half], out=folded[:half])
        if rows % 2:
            np.add(folded[0], x[rows - 1], out=folded[0])
        x, rows = folded, half
    return cast(Array, np.add.reduce(x[:rows], 0))
