"""Blocks: running a kernel piece by piece in cache, over threads, without a compiler.

Every call writes into one of a few registers, small arrays that are used again and again, or straight into a block of
a result. Where blocks begin depends on shapes and dtypes alone, so the same question gives the same bits whatever the
number of threads.
"""

import functools
import math
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np

from graphsvc.arrays import Array
from graphsvc.fusion import Form, Kernel, Member
from graphsvc.lowering import Lowered
from graphsvc.recording import Constant, Kind, placed, recast, reshaped, taken

__all__ = ["BlockedKernel", "thread_count"]

_REGISTER_BYTES: Final = 3 << 20
"""Bytes of all registers of a thread."""

_BLOCK_ELEMENTS: Final = (1 << 12, 1 << 17)
"""Fewest and most elements of a block, as long as a row allows. In small ones threads wait for each other."""

_DIVIDED: Final = 1 << 15
"""Elements from which on there is more than one block."""

_PROVEN_ELEMENTS: Final = 1 << 12
"""Elements of the first rows, on which recordings are compared with their gates."""

_SHARED_WORK: Final = 1 << 18
"""Elements times calls from which on threads share a kernel: waking one costs about 30 microseconds."""


def thread_count() -> int:
    """Return how many threads share a kernel: GRAPHSVC_THREADS if it is set, otherwise the cores of this process."""
    return max(1, int(os.environ.get("GRAPHSVC_THREADS", "0")) or len(os.sched_getaffinity(0)))


class _Workers:
    """The threads that help, and the registers of each thread."""

    def __init__(self) -> None:
        self.count = thread_count()
        self.pool = ThreadPoolExecutor(max(1, self.count - 1), thread_name_prefix="graphsvc-blocks")
        self.local = threading.local()

    def registers(self, kernel: "BlockedKernel") -> list[Array]:
        """Return the registers of this thread, laid out for a kernel."""
        made = getattr(self.local, "made", None)
        if made is None:
            made = self.local.made = weakref.WeakKeyDictionary()
            self.local.memory = np.empty(0, np.uint8)
        registers: list[Array] | None = made.get(kernel)
        if registers is None:
            if self.local.memory.nbytes < kernel.register_bytes:
                made.clear()
                self.local.memory = np.empty(kernel.register_bytes, np.uint8)
            registers = made[kernel] = kernel.laid_out(self.local.memory)
        return registers


@functools.cache
def _workers(process: int) -> _Workers:
    """Return the threads of this process; a fork has none of its parent's."""
    return _Workers()


@dataclass(slots=True)
class _Register:
    form: Form
    dtype: np.dtype[Any]


@dataclass(slots=True)
class _Code:
    """The calls of a kernel as lines of Python, which name nothing of a client."""

    lines: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)

    def bind(self, value: object) -> str:
        """Return a name for a value."""
        name = f"n{len(self.names)}"
        self.names[name] = value
        return name


class BlockedKernel:
    """A kernel, ready to run."""

    def __init__(self, kernel: Kernel, lowered: Lowered) -> None:
        self.kernel = kernel
        self.lowered = lowered
        self.rows, self.columns = kernel.rows, kernel.columns
        self._places: dict[int, str] = {}
        self._registers: list[_Register] = []
        self._free: dict[tuple[Form, np.dtype[Any]], list[int]] = {}
        self._parts = [member for member in kernel.members if member.part]
        self._inputs = [value for value in kernel.inputs if value not in lowered.constants]
        self._roots = self._aliases()
        self._arrays = list(dict.fromkeys(self._roots[value] for value in kernel.outputs if value in self._roots))
        self._run: Callable[..., tuple[Any, ...]] | None = None
        self._code = self._emit()
        self.results = (*kernel.outputs, *(member.operation.result for member in self._parts))
        self.operands = tuple(self._inputs)
        width = sum(r.dtype.itemsize for r in self._registers if r.form is Form.FULL)
        elements = min(max(_REGISTER_BYTES // max(1, width), _BLOCK_ELEMENTS[0]), _BLOCK_ELEMENTS[1])
        height = max(1, elements // max(1, self.columns))
        blocks = max(1, -(-self.rows // height))
        if self.rows * self.columns >= _DIVIDED:
            # An even number, that two threads share without waiting.
            blocks += blocks % 2
        self.height = max(1, -(-self.rows // blocks))
        self.blocks = max(1, -(-self.rows // self.height))

    # Layout

    def _aliases(self) -> dict[int, int]:
        """Return for each value made here the one that it shares its memory with, mostly itself."""
        roots: dict[int, int] = {}
        for member in self.kernel.members:
            operation = member.operation
            if not member.part:
                view = operation.function is reshaped and operation.operands[0] in roots
                roots[operation.result] = roots[operation.operands[0]] if view else operation.result
        return roots

    def _shape(self, form: Form, rows: int) -> tuple[int, ...]:
        if form is Form.SCALAR:
            return ()
        if self.columns == 1:
            return (rows,)
        return {Form.FULL: (rows, self.columns), Form.ROW: (rows, 1), Form.COLUMN: (1, self.columns)}[form]

    @property
    def register_bytes(self) -> int:
        """Bytes of the registers of one thread."""
        return sum(self._bytes(register) for register in self._registers)

    def _bytes(self, register: _Register) -> int:
        nbytes = math.prod(self._shape(register.form, self.height)) * register.dtype.itemsize
        return -(-nbytes // 64) * 64

    def laid_out(self, memory: Array) -> list[Array]:
        """Return the registers, in the given memory."""
        found, start = [], 0
        for register in self._registers:
            shape = self._shape(register.form, self.height)
            nbytes = math.prod(shape) * register.dtype.itemsize
            found.append(memory[start : start + nbytes].view(register.dtype).reshape(shape))
            start += self._bytes(register)
        return found

    def owns(self, value: int) -> bool:
        """Tell whether a result shares its memory with no other."""
        roots = [self._roots.get(result) for result in self.kernel.outputs]
        return value not in self._roots or roots.count(self._roots[value]) == 1

    # Code

    def _emit(self) -> _Code:
        """Write the calls down, with registers for what lives only here."""
        code = _Code()
        last = self._last_uses()
        held: dict[int, int] = {}
        for i, value in enumerate(self._inputs):
            self._places[value] = f"x{i}"
        for i, value in enumerate(self._arrays):
            self._places[value] = f"o{i}"
        parts: list[str] = []
        for position, member in enumerate(self.kernel.members):
            operation = member.operation
            operands = [self._operand(code, value) for value in operation.operands]
            dying = [
                v for v in dict.fromkeys(self._roots.get(v, -1) for v in operation.operands) if last.get(v) == position
            ]
            for value in dying:
                if value in held:
                    self._give(held.pop(value))
            if member.part:
                # At once, for the register may be used again.
                parts.append(f"p{len(parts)}")
                code.lines.append(f"{parts[-1]} = {self._part(code, member, operands[0])}")
                continue
            root = self._roots[operation.result]
            if root != operation.result:
                self._places[operation.result] = self._places[root]
                continue
            if root not in self._places and operation.function is not np.where:
                held[root] = self._take(member.form, self.lowered.spec(root).dtype)
                self._places[root] = f"r{held[root]}"
            self._call(code, member, operands, root)
        code.lines.append(f"return ({''.join(part + ', ' for part in parts)})")
        return code

    def _last_uses(self) -> dict[int, int]:
        last = {}
        for position, member in enumerate(self.kernel.members):
            for value in (*member.operation.operands, member.operation.result):
                if value in self._roots:
                    last[self._roots[value]] = position
        return last

    def _operand(self, code: _Code, value: int) -> str:
        if value in self._places:
            return self._places[value]
        name = self._places[value] = code.bind(self._constant(self.lowered.constants[value], value))
        return name

    def _constant(self, value: Constant, number: int) -> Constant:
        """Return a constant as the blocks take it. Python's numbers stay what they are, for they are weak."""
        if not isinstance(value, np.ndarray) or self.kernel.forms[number] is Form.SCALAR:
            return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
        return self._matrix(value, self.kernel.forms[number])

    def _call(self, code: _Code, member: Member, operands: Sequence[str], root: int) -> None:
        operation, listed = member.operation, ", ".join(operands)
        keywords = "".join(f", {name}={code.bind(value)}" for name, value in operation.keywords)
        place = self._places.get(root)
        if operation.function is np.where:
            call = f"{code.bind(np.where)}({listed})"
            if place is None:
                self._places[root] = f"w{root}"
                code.lines.append(f"w{root} = {call}")
            else:
                code.lines.append(f"{code.bind(np.copyto)}({place}, {call})")
        elif operation.function in (recast, np.broadcast_to):
            code.lines.append(f"{code.bind(np.copyto)}({place}, {listed}, casting='unsafe')")
        elif operation.kind is Kind.REDUCE:
            reduce = code.bind(operation.function.reduce)  # type: ignore[attr-defined]
            code.lines.append(f"{reduce}({self._widened(code, member, listed)}, 1, None, {place}, True)")
        elif operation.function is taken:
            code.lines.append(f"{code.bind(np.copyto)}({place}, {code.bind(np.take_along_axis)}({listed}, 1))")
        elif operation.function is placed:
            if place != operands[0]:
                code.lines.append(f"{code.bind(np.copyto)}({place}, {operands[0]})")
            code.lines.append(f"{code.bind(np.put_along_axis)}({place}, {', '.join(operands[1:])}, 1)")
        else:
            code.lines.append(f"{code.bind(operation.function)}({listed}, out={place}{keywords})")

    def _part(self, code: _Code, member: Member, operand: str) -> str:
        operation = member.operation
        if member.form is Form.COLUMN and operation.function is np.add:
            folded = self._take(Form.FULL, self.lowered.spec(operation.operands[0]).dtype)
            self._give(folded)
            return f"{code.bind(_sum_rows)}({operand}, r{folded})"
        axis = "0" if member.form is Form.COLUMN else "None"
        wide = self._widened(code, member, operand)
        return f"{code.bind(operation.function.reduce)}({wide}, {axis}, None)"  # type: ignore[attr-defined]

    def _widened(self, code: _Code, member: Member, operand: str) -> str:
        """Return the operand of a reduction in the dtype that it adds up in: to convert before takes half the time."""
        value = member.operation.operands[0]
        dtype = dict(member.operation.keywords)["dtype"]
        if dtype is None or dtype == self.lowered.spec(value).dtype:
            return operand
        register = self._take(self.kernel.forms[value], dtype)
        self._give(register)
        code.lines.append(f"{code.bind(np.copyto)}(r{register}, {operand}, casting='unsafe')")
        return f"r{register}"

    def _take(self, form: Form, dtype: np.dtype[Any]) -> int:
        """Return the number of a register that is free from now on."""
        free = self._free.get((form, dtype))
        if free:
            return free.pop()
        self._registers.append(_Register(form, dtype))
        return len(self._registers) - 1

    def _give(self, number: int) -> None:
        register = self._registers[number]
        self._free.setdefault((register.form, register.dtype), []).append(number)

    def _compiled(self) -> Callable[..., tuple[Any, ...]]:
        """Return the function of one block."""
        run = self._run
        if run is None:
            names = [f"x{i}" for i in range(len(self._inputs))]
            names += [f"o{i}" for i in range(len(self._arrays))]
            names += [f"r{i}" for i in range(len(self._registers))]
            body = "\n    ".join(self._code.lines)
            scope = dict(self._code.names)
            exec(f"def block({', '.join(names)}):\n    {body}", scope)  # noqa: S102 - only names that are made here
            run = self._run = scope["block"]
        return run

    # Running

    def _matrix(self, array: Array, form: Form) -> Array:
        """Return an input as the blocks see it."""
        kernel, split = self.kernel, self.kernel.most
        if form is Form.SCALAR:
            return array.reshape(())
        if form is Form.ROW and array.size != self.rows:
            array = np.broadcast_to(
                array.reshape((1,) * (len(kernel.shape) - array.ndim) + array.shape),
                (*kernel.shape[:split], *([1] * (len(kernel.shape) - split))),
            )
        if form is Form.COLUMN and array.size != self.columns:
            padded = array.reshape((1,) * (len(kernel.shape) - array.ndim) + array.shape)
            array = np.broadcast_to(padded[(0,) * split], kernel.shape[split:])
        return array.reshape(self._shape(form, self.rows))

    def __call__(self, between: Callable[[], None] | None, *given: Array) -> tuple[Any, ...]:
        """Run all blocks.

        Args:
            between: Called before every block of this thread; what it raises stops the run.
            given: The values of `operands`.

        Returns:
            The values of `results`.
        """
        run = self._compiled()
        forms = [self.kernel.forms[value] for value in self._inputs]
        inputs = [self._matrix(np.asarray(array), form) for array, form in zip(given, forms, strict=True)]
        specs = [self.lowered.spec(value) for value in self._arrays]
        shapes = [self._shape(self.kernel.forms[value], self.rows) for value in self._arrays]
        outputs = [np.empty(shape, spec.dtype) for shape, spec in zip(shapes, specs, strict=True)]
        cut = [form in (Form.FULL, Form.ROW) for form in forms]
        parts: list[tuple[Any, ...]] = [()] * self.blocks
        workers = _workers(os.getpid())

        def work(todo: Iterator[int], between: Callable[[], None] | None) -> None:
            whole = workers.registers(self)
            for block in todo:
                if between:
                    between()
                start = block * self.height
                stop = min(start + self.height, self.rows)
                registers = whole
                if stop - start != self.height:
                    registers = [r[: stop - start] if r.ndim else r for r in whole]
                if self.blocks == 1:
                    parts[0] = run(*inputs, *outputs, *registers)
                    return
                views = [x[start:stop] if c else x for x, c in zip(inputs, cut, strict=True)]
                parts[block] = run(*views, *(o[start:stop] for o in outputs), *registers)

        self._share(workers, work, between)
        made = dict(zip(self._arrays, outputs, strict=True))
        results = [made[self._roots[v]].reshape(self.lowered.spec(v).shape) for v in self.kernel.outputs]
        return (*results, *(self._total(m, [part[i] for part in parts]) for i, m in enumerate(self._parts)))

    def _share(
        self,
        workers: _Workers,
        work: Callable[[Iterator[int], Callable[[], None] | None], None],
        between: Callable[[], None] | None,
    ) -> None:
        """Let threads take blocks in turn."""
        todo = iter(range(self.blocks))
        futures = [workers.pool.submit(_quietly, work, todo) for _ in range(self.helpers)]
        try:
            work(todo, between)
        finally:
            # What stops this thread leaves nothing for the others.
            for _ in todo:
                pass
            for future in futures:
                future.result()

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

    # Looking

    def first_block(self, given: Sequence[Array]) -> dict[int, Any]:
        """Compute every value of the first rows, without registers.

        Returns:
            The values by number. Shapes are those of the kernel's matrix.
        """
        forms = [self.kernel.forms[value] for value in self._inputs]
        rows = min(self.rows, self.height, max(1, _PROVEN_ELEMENTS // max(1, self.columns)))
        values: dict[int, Any] = {}
        for value, array, form in zip(self._inputs, given, forms, strict=True):
            matrix = self._matrix(np.asarray(array), form)
            values[value] = matrix[:rows] if form in (Form.FULL, Form.ROW) else matrix
        for value in self.kernel.forms.keys() & self.lowered.constants.keys():
            known: Any = self._constant(self.lowered.constants[value], value)
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
        return values

    @property
    def scratch_bytes(self) -> int:
        """Bytes that it takes beside its results, in all threads that share it."""
        choices = [m for m in self.kernel.members if m.operation.function is np.where]
        largest = max((self.lowered.spec(m.operation.result).dtype.itemsize for m in choices), default=0)
        chosen = 2 * largest * self.height * self.columns
        return (self.register_bytes + chosen) * (self.helpers + 1)

    @property
    def helpers(self) -> int:
        """How many threads help."""
        if self.rows * self.columns * len(self.kernel.members) < _SHARED_WORK:
            return 0
        return min(_workers(os.getpid()).count, self.blocks) - 1


def _quietly(work: Callable[..., None], todo: Iterator[int]) -> None:
    """Work in another thread, where no numeric warning is printed either."""
    with np.errstate(all="ignore"):
        work(todo, None)


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
