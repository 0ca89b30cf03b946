"""Blocks: running a kernel piece by piece in cache, over threads, without a compiler.

Where blocks begin depends on shapes and dtypes alone, so the same question gives the same bits whatever the number of
threads.
"""

import functools
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from graphsvc.arrays import Array
from graphsvc.engine.fusion.blockcode import BlockCode, Register
from graphsvc.engine.fusion.instructions import Kind
from graphsvc.engine.fusion.kernels import Form, Kernel, Member
from graphsvc.engine.fusion.merging import Lowered
from graphsvc.engine.fusion.workers import workers

__all__ = ["BlockedKernel"]

_REGISTER_BYTES: Final = 5 << 19
"""Bytes of all registers of a thread."""

_BLOCK_ELEMENTS: Final = (1 << 12, 1 << 17)
"""Fewest and most elements of a block, as long as a row allows. In small ones threads wait for each other."""

_DIVIDED: Final = 1 << 15
"""Elements from which on there is more than one block."""

_PROVEN_ELEMENTS: Final = 1 << 12
"""Elements of the first rows, on which recordings are compared with their gates."""

_SHARED_WORK: Final = 1 << 21
"""Elements times calls from which on threads share a kernel: waking one takes up to a tenth of a millisecond."""


class BlockedKernel:
    """A kernel, ready to run.

    Attributes:
        operands: The values that it takes.
        results: The values that it gives.
    """

    def __init__(self, kernel: Kernel, lowered: Lowered) -> None:
        self.kernel = kernel
        self.lowered = lowered
        self.rows, self.columns = kernel.rows, kernel.columns
        self._code = code = BlockCode(kernel, lowered, self._matrix)
        self._run: Callable[..., tuple[Any, ...]] | None = None
        self.operands = code.inputs
        self.results = (*kernel.outputs, *(member.operation.result for member in code.parts))
        self._forms = [kernel.forms[value] for value in code.inputs]
        self._shapes = [self._shape(form, self.rows) for form in self._forms]
        self._cut = [form in (Form.FULL, Form.ROW) for form in self._forms]
        self._made = [(self._shape(kernel.forms[v], self.rows), lowered.spec(v).dtype) for v in code.arrays]
        self._views = [(code.arrays.index(code.roots[v]), lowered.spec(v).shape) for v in kernel.outputs]
        self._local = threading.local()
        self._divide()

    def _divide(self) -> None:
        """Settle the blocks."""
        width = sum(r.dtype.itemsize for r in self._code.registers if r.form is Form.FULL)
        elements = min(max(_REGISTER_BYTES // max(1, width), _BLOCK_ELEMENTS[0]), _BLOCK_ELEMENTS[1])
        height = max(1, elements // max(1, self.columns))
        blocks = max(1, -(-self.rows // height))
        if self.rows * self.columns >= _DIVIDED:
            # An even number, that two threads share without waiting.
            blocks += blocks % 2
        self.height = max(1, -(-self.rows // blocks))
        self.blocks = max(1, -(-self.rows // self.height))

    # Layout

    def _shape(self, form: Form, rows: int) -> tuple[int, ...]:
        if form is Form.SCALAR:
            return ()
        if self.columns == 1:
            return (rows,)
        return {Form.FULL: (rows, self.columns), Form.ROW: (rows, 1), Form.COLUMN: (1, self.columns)}[form]

    def _matrix(self, array: Array, form: Form) -> Array:
        """Return an input as the blocks see it."""
        kernel, split = self.kernel, self.kernel.most
        if form is Form.SCALAR:
            return np.reshape(array, ())
        padded = array.reshape((1,) * (len(kernel.shape) - array.ndim) + array.shape)
        if form is Form.ROW and array.size != self.rows:
            padded = np.broadcast_to(padded, (*kernel.shape[:split], *([1] * (len(kernel.shape) - split))))
        if form is Form.COLUMN and array.size != self.columns:
            padded = np.broadcast_to(padded[(0,) * split], kernel.shape[split:])
        return padded.reshape(self._shape(form, self.rows))

    def _registers(self, *, nested: bool) -> list[Array]:
        """Return the registers of this thread; new ones where those may be in use."""
        if nested:
            return self._laid_out(np.empty(self._register_bytes, np.uint8))
        thread, local = workers().thread, self._local
        if thread.memory.nbytes < self._register_bytes:
            thread.memory = np.empty(self._register_bytes, np.uint8)
        if getattr(local, "memory", None) is not thread.memory:
            local.memory, local.registers = thread.memory, self._laid_out(thread.memory)
        registers: list[Array] = local.registers
        return registers

    def _laid_out(self, memory: Array) -> list[Array]:
        registers, start = [], 0
        for register in self._code.registers:
            shape = self._shape(register.form, self.height)
            part = memory[start : start + math.prod(shape) * register.dtype.itemsize]
            registers.append(part.view(register.dtype).reshape(shape))
            start += self._bytes(register)
        return registers

    def _bytes(self, register: Register) -> int:
        nbytes = math.prod(self._shape(register.form, self.height)) * register.dtype.itemsize
        return -(-nbytes // 64) * 64

    @functools.cached_property
    def _register_bytes(self) -> int:
        return sum(map(self._bytes, self._code.registers))

    @property
    def scratch_bytes(self) -> int:
        """Bytes of the registers of all threads that share it, and of what choices make."""
        choices = [m.operation.result for m in self.kernel.members if m.operation.function is np.where]
        largest = max((self.lowered.spec(value).dtype.itemsize for value in choices), default=0)
        return (self._register_bytes + largest * self.height * self.columns) * (self.helpers + 1)

    @functools.cached_property
    def helpers(self) -> int:
        """How many threads help."""
        if self.rows * self.columns * len(self.kernel.members) < _SHARED_WORK:
            return 0
        return min(workers().count, self.blocks) - 1

    def owns(self, value: int) -> bool:
        """Tell whether a result shares its memory with no other."""
        roots = [self._code.roots[result] for result in self.kernel.outputs]
        return value not in self._code.roots or roots.count(self._code.roots[value]) == 1

    # Running

    def __call__(self, between: Callable[[], None] | None, *given: Array) -> tuple[Any, ...]:
        """Run all blocks.

        Args:
            between: Called before every block of this thread; what it raises stops the run.
            given: The values of `operands`.

        Returns:
            The values of `results`.
        """
        run = self._run
        if run is None:
            run = self._run = self._code.compiled()
        inputs = [
            array if array.shape == shape else self._matrix(np.asarray(array), form)
            for array, shape, form in zip(given, self._shapes, self._forms, strict=True)
        ]
        outputs = [np.empty(shape, dtype) for shape, dtype in self._made]
        thread = workers().thread
        nested = thread.busy
        try:
            thread.busy = True
            if self.blocks > 1:
                parts = self._share(run, inputs, outputs, between, nested=nested)
            else:
                if between:
                    between()
                parts = [run(*inputs, *outputs, *self._registers(nested=nested))]
        finally:
            thread.busy = nested
        results = [outputs[i] if outputs[i].shape == shape else outputs[i].reshape(shape) for i, shape in self._views]
        return (*results, *(self._total(m, [part[i] for part in parts]) for i, m in enumerate(self._code.parts)))

    def _share(
        self,
        run: Callable[..., tuple[Any, ...]],
        inputs: Sequence[Array],
        outputs: Sequence[Array],
        between: Callable[[], None] | None,
        *,
        nested: bool,
    ) -> list[tuple[Any, ...]]:
        """Let threads take blocks in turn, and return the parts of each block."""
        parts: list[tuple[Any, ...]] = [()] * self.blocks
        todo = iter(range(self.blocks))

        def work(between: Callable[[], None] | None = None, *, nested: bool = False) -> None:
            whole = self._registers(nested=nested)
            for block in todo:
                if between:
                    between()
                rows = slice(block * self.height, min((block + 1) * self.height, self.rows))
                registers = whole
                if rows.stop - rows.start != self.height:
                    registers = [r[: rows.stop - rows.start] for r in whole]
                blocks = [x[rows] if cut else x for x, cut in zip(inputs, self._cut, strict=True)]
                parts[block] = run(*blocks, *[output[rows] for output in outputs], *registers)

        if nested:
            work(between, nested=True)
            return parts
        with workers().helped(self.helpers, work):
            try:
                work(between)
            finally:
                # What stops this thread leaves nothing for the others.
                for _ in todo:
                    pass
        return parts

    def _total(self, member: Member, parts: Sequence[Any]) -> Any:
        """Put the parts of the blocks together."""
        operation, spec = member.operation, self.lowered.spec(member.operation.result)
        ufunc: Any = operation.function
        if len(parts) == 1:
            total = parts[0]
        elif ufunc is np.add and spec.dtype.kind == "f":
            total = np.add.reduce(np.asarray(parts), 0, np.promote_types(spec.dtype, np.float64))
        else:
            total = ufunc.reduce(np.asarray(parts), 0)
        if member.form is Form.COLUMN:
            kernel = self.kernel
            total = np.reshape(total, kernel.shape[kernel.most :])
            axes = dict(operation.keywords)["axis"]
            extra = tuple(a - kernel.most for a in axes if a >= kernel.most)
            total = ufunc.reduce(total, extra) if extra else total
        return np.asarray(total, spec.dtype).reshape(spec.shape)

    def first_rows(self, given: Sequence[Array]) -> dict[int, Any]:
        """Compute every value of the first rows, without registers.

        Returns:
            The values by number. Shapes are those of the kernel's matrix.
        """
        rows = min(self.rows, self.height, max(1, _PROVEN_ELEMENTS // max(1, self.columns)))
        values: dict[int, Any] = {}
        for value, array, form in zip(self.operands, given, self._forms, strict=True):
            matrix = self._matrix(np.asarray(array), form)
            values[value] = matrix[:rows] if form in (Form.FULL, Form.ROW) else matrix
        for value in self.kernel.forms.keys() & self.lowered.constants.keys():
            known: Any = self._code.constant(value)
            values[value] = known[:rows] if self.kernel.forms[value] in (Form.FULL, Form.ROW) else known
        for member in self.kernel.members:
            operation = member.operation
            operands = [values[operand] for operand in operation.operands]
            keywords = dict(operation.keywords)
            if member.part:
                continue
            if operation.kind is Kind.VIEW:
                made = operands[0]
                if operation.function is np.broadcast_to:
                    made = np.broadcast_to(made, self._shape(member.form, rows))
            elif operation.kind is Kind.REDUCE:
                made = operation.function.reduce(operands[0], 1, keywords["dtype"], None, True)  # type: ignore[attr-defined]
            else:
                made = operation.function(*operands, **keywords)
            values[operation.result] = made
        for value, source in self.lowered.sources.items():
            if source in values:
                values.setdefault(value, values[source])
        return values
