"""Symbols: arrays that are not there yet, and write down what is computed of them.

A symbol knows its dtype, and answers NumPy's functions with another symbol. Whatever would need a value is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, cast

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from graphsvc.arrays import broadcast_shapes, is_known, normalized_axes
from graphsvc.engine.fusion.instructions import (
    Constant,
    Instruction,
    Kind,
    Shape,
    filled,
    placed,
    powered,
    recast,
    reshaped,
    taken,
)

__all__ = ["POWERS", "Refusal", "Symbol", "Tape"]

_MAX_INSTRUCTIONS: Final = 256
"""Calls of one gate beyond which merging them gains nothing."""


class Refusal(BaseException):
    """Why a gate cannot be recorded. No `Exception`, so that a gate that catches those does not hide it."""


class Tape:
    """The list that the symbols of one recording write to."""

    def __init__(self) -> None:
        self.count = 0
        self.entries: list[Instruction | Constant] = []
        self.guards: list[tuple[int, bool]] = []
        self.shared: set[int] = set()
        self.refusal: str | None = None

    def refuse(self, reason: str) -> NoReturn:
        """Stop recording. Raises Refusal."""
        self.refusal = self.refusal or reason
        raise Refusal(reason)

    def append(self, entry: Instruction | Constant) -> int:
        """Write something down, and return the index of its value."""
        if len(self.entries) >= _MAX_INSTRUCTIONS:
            self.refuse(f"it makes more than {_MAX_INSTRUCTIONS} calls")
        self.entries.append(entry)
        return self.count + len(self.entries) - 1

    def index(self, value: object) -> int:
        """Return the index of an argument, a symbol or a constant."""
        if isinstance(value, Symbol):
            return value.index_
        if isinstance(value, np.ndarray) and is_known(value.dtype):
            return self.append(value.copy())
        if not isinstance(value, bool | int | float) and not (isinstance(value, np.generic) and is_known(value.dtype)):
            self.refuse(f"it calls NumPy on {type(value).__name__}")
        return self.append(value)


class _Flags:
    """The memory layout of what is computed from symbols."""

    c_contiguous = True


class Symbol(NDArrayOperatorsMixin):
    """An array that is not there yet."""

    __slots__ = ("_given", "_shape", "_tape", "_test", "dtype", "index_")

    flags = _Flags()

    def __init__(self, tape: Tape, index: int, dtype: np.dtype[Any], shape: Shape) -> None:
        self._tape = tape
        self._shape = shape
        self._given = index < tape.count
        self._test: bool | None = None
        self.dtype = dtype
        self.index_ = index

    # What NumPy asks of it

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> "Symbol":
        if method == "reduce":
            return self._reduce(ufunc, inputs[0], **keywords)
        if method != "__call__" or ufunc.nout != 1:
            self._tape.refuse(f"it calls np.{ufunc.__name__} in a form that is not recorded")
        (target,) = keywords.pop("out", (None,))
        if keywords.keys() - {"dtype", "casting"}:
            self._tape.refuse(f"it calls np.{ufunc.__name__} with {', '.join(keywords)}")
        if ufunc is np.matmul:
            made = self._product(*inputs)
        elif ufunc.signature is None:
            made = self._map(ufunc, inputs, keywords)
        else:
            self._tape.refuse(f"it calls np.{ufunc.__name__}")
        return made if target is None else self._assigned(target, made)

    def __array_function__(
        self, function: Callable[..., Any], types: object, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> "Symbol | None":
        recorder = _FUNCTIONS.get(function)
        if recorder is None:
            self._tape.refuse(f"it calls np.{function.__name__}")
        try:
            return recorder(self, *arguments, **keywords)
        except TypeError:
            self._tape.refuse(f"it calls np.{function.__name__} in a form that is not recorded")

    def __bool__(self) -> bool:
        if self._test is None:
            self._tape.refuse("it branches on a value")
        self._tape.guards.append((self.index_, self._test))
        return self._test

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__array"):
            raise AttributeError(name)
        self._tape.refuse(f"it uses x.{name}")

    def _no_value(self, *_: object) -> NoReturn:
        self._tape.refuse("it asks for a value")

    __array__ = __float__ = __int__ = __index__ = __complex__ = __len__ = __iter__ = __contains__ = _no_value
    __setitem__ = __round__ = __copy__ = __deepcopy__ = __reduce_ex__ = _no_value
    __hash__ = None  # type: ignore[assignment]

    # What gates ask of it

    @property
    def shape(self) -> tuple[int, ...]:
        """See `numpy.ndarray.shape`."""
        if self._shape is None:
            self._tape.refuse("it asks for a shape")
        return self._shape

    @property
    def ndim(self) -> int:
        """See `numpy.ndarray.ndim`."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """See `numpy.ndarray.size`."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def T(self) -> "Symbol":
        """See `numpy.ndarray.T`."""
        return _transpose(self, self)

    def __getitem__(self, key: object) -> "Symbol":
        """Record `x[..., np.newaxis]` and the like, which move no element."""
        shape = self.shape
        try:
            found = np.broadcast_to(np.empty(()), shape)[cast(Any, key)]
        except (IndexError, TypeError, ValueError):
            self._no_value()
        if found.size != self.size or any(n < 0 for n in found.strides):
            self._no_value()
        return self._reshaped(found.shape)

    def __pow__(self, exponent: Any) -> "Symbol":
        """Record the operator: a gate's operands are arrays, what it computes of single numbers are NumPy's numbers."""
        if not self._given:
            return self._map(powered, (self, exponent), {})
        simple = POWERS.get(exponent) if type(exponent) in (int, float) and self.dtype.kind == "f" else None
        return self._map(simple, (self,), {}) if simple else self._map(np.power, (self, exponent), {})

    def __rpow__(self, base: Any) -> "Symbol":
        return self._map(np.power if self._given else powered, (base, self), {})

    def astype(self, dtype: Any, *, copy: bool = True) -> "Symbol":
        """See `numpy.ndarray.astype`."""
        target = np.dtype(dtype)
        if not is_known(target):
            self._tape.refuse(f"it converts to {target}")
        if target == self.dtype and not copy:
            self._tape.shared.add(self.index_)
            return self
        return self._append(Kind.MAP, recast, (self,), {"dtype": target}, target, self._shape)

    def copy(self) -> "Symbol":
        """See `numpy.ndarray.copy`."""
        return self.astype(self.dtype)

    def reshape(self, *shape: Any) -> "Symbol":
        """See `numpy.ndarray.reshape`."""
        return _reshape(self, self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> "Symbol":
        """See `numpy.ndarray.transpose`."""
        return _transpose(self, self, axes[0] if len(axes) == 1 else axes or None)

    def sum(self, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> "Symbol":
        """See `numpy.ndarray.sum`."""
        return self._reduce(np.add, self, axis, dtype, keepdims=keepdims)

    def max(self, axis: Any = None, *, keepdims: bool = False) -> "Symbol":
        """See `numpy.ndarray.max`."""
        return self._reduce(np.maximum, self, axis, keepdims=keepdims)

    def min(self, axis: Any = None, *, keepdims: bool = False) -> "Symbol":
        """See `numpy.ndarray.min`."""
        return self._reduce(np.minimum, self, axis, keepdims=keepdims)

    def any(self) -> "Symbol":
        """See `numpy.ndarray.any`."""
        return _any(self, self)

    def all(self) -> "Symbol":
        """See `numpy.ndarray.all`."""
        return _all(self, self)

    # What is written down

    def _append(
        self,
        kind: Kind,
        function: Callable[..., Any],
        arguments: Sequence[object],
        keywords: Mapping[str, Any],
        dtype: np.dtype[Any],
        shape: Shape,
    ) -> "Symbol":
        tape = self._tape
        if any(isinstance(a, Symbol) and a._tape is not tape for a in arguments):
            tape.refuse("it mixes symbols of two recordings")
        if set(np.geterr().values()) != {"ignore"}:
            tape.refuse("it asks to be told of numeric errors")
        if dtype.kind == "c":
            tape.refuse("it computes with complex numbers")
        if not is_known(dtype):
            tape.refuse(f"it computes {dtype}")
        operands = tuple(map(tape.index, arguments))
        index = tape.append(Instruction(kind, function, operands, tuple(keywords.items()), dtype, shape))
        return Symbol(tape, index, dtype, shape)

    def _map(self, function: Callable[..., Any], arguments: Sequence[Any], keywords: Mapping[str, Any]) -> "Symbol":
        shapes = [a._shape if isinstance(a, Symbol) else np.shape(a) for a in arguments]
        free = any(isinstance(a, Symbol) and a._shape is None for a in arguments)
        if free and any(shapes[i] for i, a in enumerate(arguments) if not isinstance(a, Symbol)):
            self._tape.refuse("it computes with an array of its own")
        with np.errstate(all="ignore"):
            sample = function(*(np.ones((), a.dtype) if isinstance(a, Symbol) else a for a in arguments), **keywords)
        shape = None if free else broadcast_shapes(*(shape for shape in shapes if shape is not None))
        return self._append(Kind.MAP, function, arguments, keywords, sample.dtype, shape)

    def _reduce(
        self, ufunc: np.ufunc, x: Any, axis: Any = None, dtype: Any = None, out: Any = None, **keywords: Any
    ) -> "Symbol":
        keepdims = keywords.pop("keepdims", False) is True
        unusual = keywords.pop("initial", None) not in (None, np._NoValue) or keywords.pop("where", True) is not True
        if out is not None or unusual or keywords or ufunc not in _REDUCTIONS or not isinstance(x, Symbol):
            self._tape.refuse(f"it calls np.{ufunc.__name__}.reduce in a form that is not recorded")
        if x._shape is None:
            self._tape.refuse("it reduces over axes")
        axes = normalized_axes(axis, len(x._shape))
        kept = tuple(1 if a in axes else n for a, n in enumerate(x._shape))
        result = ufunc.reduce(np.ones(1, x.dtype), dtype=dtype).dtype
        keywords = {"axis": axes, "dtype": None if dtype is None else np.dtype(dtype)}
        made = self._append(Kind.REDUCE, ufunc, (x,), keywords, result, kept)
        return made if keepdims else made._reshaped(tuple(n for a, n in enumerate(kept) if a not in axes))

    def _test_of(self, ufunc: np.ufunc, x: Any, *, expected: bool) -> "Symbol":
        """Record `np.any` or `np.all` over all elements, which may serve as a condition."""
        if not isinstance(x, Symbol) or x.dtype.kind != "b":
            self._no_value()
        made = self._append(Kind.REDUCE, ufunc, (x,), {"axis": None, "dtype": None}, x.dtype, ())
        made._test = expected
        return made

    def _reshaped(self, shape: tuple[int, ...]) -> "Symbol":
        if shape == self.shape:
            return self
        return self._view(Kind.VIEW, reshaped, {"shape": shape}, shape)

    def _view(
        self, kind: Kind, function: Callable[..., Any], keywords: Mapping[str, Any], shape: tuple[int, ...]
    ) -> "Symbol":
        """Record a result that shares memory with its operand, so that neither may be written to."""
        made = self._append(kind, function, (self,), keywords, self.dtype, shape)
        self._tape.shared.update((self.index_, made.index_))
        return made

    def _product(self, x: Any, y: Any) -> "Symbol":
        if not isinstance(x, Symbol) or not isinstance(y, Symbol):
            self._tape.refuse("it multiplies by a matrix of its own")
        if x.ndim == 0 or y.ndim == 0 or x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
            self._tape.refuse("it multiplies matrices that do not fit")
        stack = broadcast_shapes(x.shape[:-2], y.shape[:-2])
        shape = (*stack, *x.shape[-2:-1], *(y.shape[-1:] if y.ndim > 1 else ()))
        return self._append(Kind.WHOLE, np.matmul, (x, y), {}, np.result_type(x.dtype, y.dtype), shape)

    def _assigned(self, target: Any, made: "Symbol") -> "Symbol":
        """Record `t += x` and `out=t`: from now on `t` stands for the new value, under whatever name it goes."""
        if not isinstance(target, Symbol) or target._given:
            self._tape.refuse("it writes to an array that is not its own")
        if target.index_ in self._tape.shared:
            self._tape.refuse("it writes to an array of which it has a view")
        if made.dtype != target.dtype or made._shape != target._shape:
            self._tape.refuse("it writes to an array of another shape or dtype")
        target.index_ = made.index_
        return target


_REDUCTIONS: Final = frozenset({np.add, np.maximum, np.minimum, np.logical_and, np.logical_or})

POWERS: Final[Mapping[Any, np.ufunc]] = {2: np.square, -1: np.reciprocal, 0.5: np.sqrt, 1: np.positive}
"""What NumPy's arrays call for `x ** exponent`."""


# NumPy's functions, with the symbol that was asked first -------------------------------------------------------------


def _where(symbol: Symbol, condition: Any, x: Any, y: Any) -> Symbol:
    return symbol._map(np.where, (condition, x, y), {})


def _clip(symbol: Symbol, x: Any, least: Any, most: Any) -> Symbol:
    if least is None or most is None:
        symbol._tape.refuse("it clips at one side")
    return symbol._map(np.clip, (x, least, most), {})


def _any(symbol: Symbol, x: Any) -> Symbol:
    return symbol._test_of(np.logical_or, x, expected=False)


def _all(symbol: Symbol, x: Any) -> Symbol:
    return symbol._test_of(np.logical_and, x, expected=True)


def _sum(symbol: Symbol, x: Any, axis: Any = None, dtype: Any = None, out: Any = None, **keywords: Any) -> Symbol:
    return symbol._reduce(np.add, x, axis, dtype, out, **keywords)


def _max(symbol: Symbol, x: Any, axis: Any = None, out: Any = None, **keywords: Any) -> Symbol:
    return symbol._reduce(np.maximum, x, axis, None, out, **keywords)


def _min(symbol: Symbol, x: Any, axis: Any = None, out: Any = None, **keywords: Any) -> Symbol:
    return symbol._reduce(np.minimum, x, axis, None, out, **keywords)


def _reshape(symbol: Symbol, x: Symbol, shape: Any) -> Symbol:
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    return x._reshaped(np.broadcast_to(np.empty(()), x.shape).reshape(sizes).shape if -1 in sizes else sizes)


def _broadcast_to(symbol: Symbol, x: Symbol, shape: Any) -> Symbol:
    target = (shape,) if isinstance(shape, int) else tuple(shape)
    return x if target == x.shape else x._view(Kind.VIEW, np.broadcast_to, {"shape": target}, target)


def _expand_dims(symbol: Symbol, x: Symbol, axis: Any) -> Symbol:
    return x._reshaped(np.expand_dims(np.broadcast_to(np.empty(()), x.shape), axis).shape)


def _along(symbol: Symbol, x: Any, indices: Any, axis: Any) -> None:
    """Refuse everything but one index for each row of the last axis."""
    last = isinstance(x, Symbol) and isinstance(indices, Symbol) and axis in (-1, x.ndim - 1)
    if not last or indices.shape != (*x.shape[:-1], 1) or indices.dtype.kind not in "iu":
        symbol._tape.refuse("it indexes otherwise than once for each row of the last axis")


def _take_along_axis(symbol: Symbol, x: Symbol, indices: Symbol, axis: Any) -> Symbol:
    _along(symbol, x, indices, axis)
    return x._append(Kind.ALONG, taken, (x, indices), {}, x.dtype, indices.shape)


def _put_along_axis(symbol: Symbol, x: Symbol, indices: Symbol, values: Any, axis: Any) -> None:
    _along(symbol, x, indices, axis)
    if not isinstance(values, Symbol) or values.shape != indices.shape or values.dtype != x.dtype:
        symbol._tape.refuse("it puts something else than a value of the same dtype for each row")
    x._assigned(x, x._append(Kind.ALONG, placed, (x, indices, values), {}, x.dtype, x.shape))


def _squeeze(symbol: Symbol, x: Symbol, axis: Any = None) -> Symbol:
    return x._reshaped(np.squeeze(np.broadcast_to(np.empty(()), x.shape), axis).shape)


def _transpose(symbol: Symbol, x: Symbol, axes: Any = None) -> Symbol:
    order = tuple(reversed(range(x.ndim))) if axes is None else normalized_axes(tuple(axes), x.ndim)
    if len(order) != x.ndim:
        symbol._tape.refuse("it transposes with too few axes")
    return x._view(Kind.WHOLE, np.transpose, {"axes": order}, tuple(x.shape[a] for a in order))


def _swapaxes(symbol: Symbol, x: Symbol, one: int, other: int) -> Symbol:
    order = list(range(x.ndim))
    order[one], order[other] = order[other], order[one]
    return _transpose(symbol, x, order)


def _full_like(symbol: Symbol, x: Symbol, value: Any, dtype: Any = None) -> Symbol:
    made = np.full_like(np.empty((), x.dtype), value, dtype)
    return x._append(Kind.MAP, filled, (x,), {"value": made[()]}, made.dtype, x._shape)


def _zeros_like(symbol: Symbol, x: Symbol, dtype: Any = None) -> Symbol:
    return _full_like(symbol, x, 0, dtype)


def _ones_like(symbol: Symbol, x: Symbol, dtype: Any = None) -> Symbol:
    return _full_like(symbol, x, 1, dtype)


_FUNCTIONS: Final[Mapping[Callable[..., Any], Callable[..., Symbol | None]]] = {
    np.all: _all,
    np.any: _any,
    np.broadcast_to: _broadcast_to,
    np.clip: _clip,
    np.expand_dims: _expand_dims,
    np.full_like: _full_like,
    np.max: _max,
    np.min: _min,
    np.ones_like: _ones_like,
    np.put_along_axis: _put_along_axis,
    np.reshape: _reshape,
    np.squeeze: _squeeze,
    np.sum: _sum,
    np.swapaxes: _swapaxes,
    np.take_along_axis: _take_along_axis,
    np.transpose: _transpose,
    np.where: _where,
    np.zeros_like: _zeros_like,
}
