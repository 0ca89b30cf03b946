"""The dual array: a value and its tangent, which answers NumPy's functions with the value and tangent of their result.

What has no tangent is a plain array, never a dual with zeros: so constants cost nothing. Where a tangent could get lost
(`np.asarray`, `float`, `out=` into a plain array, an unknown function), the dual refuses. Where the derivative is zero
almost everywhere (a comparison, `floor`, an index that was computed), the result is plain, and that is noted: the
engine then compares what the gate gives with differences.
"""

import functools
import threading
from collections.abc import Callable
from typing import Any, Final, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

__all__ = ["Dual", "LostTangent", "dual", "lose", "noted", "note_constant", "stripped", "tangent_of", "value_of"]

FRESH: Final = 0
"""The value is nobody else's; the tangent may be shared."""
OWNED: Final = 1
"""Value and tangent are nobody else's, so it may be written to."""
SEEN: Final = 2
"""It is a view of another, or others are views of it, so writing to it might miss a tangent."""


class LostTangent(BaseException):
    """Why a tangent cannot be followed. No `Exception`, so that a gate that catches those does not hide it."""


class _Notes(threading.local):
    """What happened in this thread: how often a tangent met a function that is constant almost everywhere."""

    constants: int = 0
    lost: str | None = None


_notes = _Notes()


def noted() -> _Notes:
    """Return the notes of this thread."""
    return _notes


def note_constant() -> None:
    """Note that a function was constant where it met a tangent."""
    _notes.constants += 1


def lose(reason: str) -> NoReturn:
    """Refuse to go on without the tangent. Raises LostTangent."""
    _notes.lost = _notes.lost or reason
    raise LostTangent(reason)


def dual(value: Any, tangent: Any, state: int = FRESH) -> Any:
    """Return a value with its tangent, in the value's shape and dtype; the value alone where there is none."""
    if tangent is None:
        return value
    kind = value.dtype.kind
    if kind not in "fc":
        note_constant()
        return value
    if type(tangent) is complex:
        # A complex number of Python's times a float64, which is a float, is one of Python's.
        tangent = np.complex128(tangent)
    if tangent.dtype != value.dtype:
        tangent = (tangent.real if kind == "f" and tangent.dtype.kind == "c" else tangent).astype(value.dtype)
    if tangent.shape != value.shape:
        tangent = np.broadcast_to(tangent, value.shape)
    return Dual(value, tangent, state)


def value_of(x: Any) -> Any:
    """Return the value of a dual; anything else as it is."""
    return x.value if type(x) is Dual else x


def tangent_of(x: Any) -> Any:
    """Return the tangent of a dual; None of anything else."""
    return x.tangent if type(x) is Dual else None


def stripped(x: Any) -> Any:
    """Return `x` with values for the duals, also for those in tuples, lists and dictionaries."""
    if type(x) is Dual:
        return x.value
    if type(x) in (tuple, list):
        return type(x)(map(stripped, x))
    if type(x) is dict:
        return {key: stripped(item) for key, item in x.items()}
    return x


def holds_dual(x: Any) -> bool:
    """Tell whether `x` is a dual, or a tuple, list or dictionary that holds one."""
    if type(x) in (tuple, list):
        return any(map(holds_dual, x))
    if type(x) is dict:
        return any(map(holds_dual, x.values()))
    return type(x) is Dual


class Dual(NDArrayOperatorsMixin):
    """An array with its tangent, of one shape and dtype, floating point or complex."""

    __slots__ = ("_state", "tangent", "value")

    def __init__(self, value: Any, tangent: Any, state: int = FRESH) -> None:
        self.value = value
        self.tangent = tangent
        self._state = state

    # What NumPy asks of it

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        return _tables().apply_ufunc(ufunc, method, inputs, keywords)

    def __array_function__(
        self, function: Callable[..., Any], types: object, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        return _tables().apply_function(function, arguments, keywords)

    def _no_value(self, *_: object, **__: object) -> NoReturn:
        lose("it asks for the number behind an array, as np.asarray, float, a loop over elements or SciPy do")

    __array__ = __float__ = __int__ = __index__ = __complex__ = __contains__ = _no_value
    __round__ = __reduce_ex__ = __hash__ = _no_value
    __array_interface__ = __array_struct__ = property(_no_value)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        lose(f"it uses x.{name}")

    def __bool__(self) -> bool:
        note_constant()
        return bool(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self.value)))

    def __repr__(self) -> str:
        return f"<Dual: {self.value!r}, tangent {self.tangent!r}>"

    def __copy__(self) -> "Dual":
        return self.copy()

    def __deepcopy__(self, memo: object) -> "Dual":
        return self.copy()

    # What gates ask of it

    @property
    def dtype(self) -> np.dtype[Any]:
        """See `numpy.ndarray.dtype`."""
        dtype: np.dtype[Any] = self.value.dtype
        return dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """See `numpy.ndarray.shape`."""
        shape: tuple[int, ...] = self.value.shape
        return shape

    @property
    def ndim(self) -> int:
        """See `numpy.ndarray.ndim`."""
        return len(self.value.shape)

    @property
    def size(self) -> int:
        """See `numpy.ndarray.size`."""
        size: int = self.value.size
        return size

    @property
    def itemsize(self) -> int:
        """See `numpy.ndarray.itemsize`."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """See `numpy.ndarray.nbytes`."""
        return self.size * self.itemsize

    @property
    def flags(self) -> Any:
        """See `numpy.ndarray.flags`."""
        return self.value.flags

    @property
    def strides(self) -> Any:
        """See `numpy.ndarray.strides`."""
        return self.value.strides

    @property
    def T(self) -> "Dual":
        """See `numpy.ndarray.T`."""
        return self._view(self.value.T, self.tangent.T)

    @property
    def mT(self) -> "Dual":
        """See `numpy.ndarray.mT`."""
        return self._view(np.swapaxes(self.value, -1, -2), np.swapaxes(self.tangent, -1, -2))

    @property
    def real(self) -> "Dual":
        """See `numpy.ndarray.real`."""
        return self._view(self.value.real, self.tangent.real)

    @property
    def imag(self) -> "Dual":
        """See `numpy.ndarray.imag`."""
        return self._view(self.value.imag, self.tangent.imag)

    def _view(self, value: Any, tangent: Any) -> "Dual":
        if self._state == FRESH:
            self._state = SEEN
        return Dual(value, tangent, SEEN)

    def __getitem__(self, key: Any) -> "Dual":
        if holds_dual(key):
            lose("it indexes with an array that has a tangent")
        return self._view(self.value[key], self.tangent[key])

    def __setitem__(self, key: Any, item: Any) -> None:
        if holds_dual(key):
            lose("it indexes with an array that has a tangent")
        self.own()
        self.value[key] = value_of(item)
        tangent = tangent_of(item)
        self.tangent[key] = 0 if tangent is None else tangent

    def own(self) -> None:
        """Make the dual one that may be written to."""
        if self._state == SEEN:
            lose("it writes to a part of an array that has a tangent")
        if self._state == FRESH:
            self.tangent = np.array(self.tangent)
            if not isinstance(self.value, np.ndarray):
                self.value = np.array(self.value)
            self._state = OWNED

    def astype(self, dtype: Any, *, copy: bool = True, **_: Any) -> Any:
        """See `numpy.ndarray.astype`."""
        if not copy and self.value.dtype == dtype:
            return self
        value = self.value.astype(dtype)
        if value.dtype.kind not in "fc":
            note_constant()
            return value
        tangent = self.tangent
        if value.dtype.kind == "f" and tangent.dtype.kind == "c":
            tangent = tangent.real
        return Dual(value, tangent.astype(dtype), OWNED)

    def copy(self, order: Any = "C") -> "Dual":
        """See `numpy.ndarray.copy`."""
        return Dual(np.array(self.value, order=order), np.array(self.tangent, order=order), OWNED)

    def reshape(self, *shape: Any, **keywords: Any) -> "Dual":
        """See `numpy.ndarray.reshape`."""
        return self._view(self.value.reshape(*shape, **keywords), self.tangent.reshape(*shape, **keywords))

    def transpose(self, *axes: Any) -> "Dual":
        """See `numpy.ndarray.transpose`."""
        return self._view(self.value.transpose(*axes), self.tangent.transpose(*axes))

    def swapaxes(self, one: int, other: int) -> "Dual":
        """See `numpy.ndarray.swapaxes`."""
        return self._view(self.value.swapaxes(one, other), self.tangent.swapaxes(one, other))

    def conj(self) -> "Dual":
        """See `numpy.ndarray.conj`."""
        return Dual(np.conjugate(self.value), np.conjugate(self.tangent))

    conjugate = conj

    def ravel(self) -> "Dual":
        """See `numpy.ndarray.ravel`."""
        return self.reshape(-1)

    def flatten(self) -> "Dual":
        """See `numpy.ndarray.flatten`."""
        return self.copy().reshape(-1)

    def round(self, decimals: int = 0) -> Any:
        """See `numpy.ndarray.round`."""
        return np.round(self, decimals)

    def fill(self, value: Any) -> None:
        """See `numpy.ndarray.fill`."""
        self[...] = value


def _by_function(name: str) -> Callable[..., Any]:
    """Return the method of an array that does what the function of NumPy does."""

    def method(self: Dual, *arguments: Any, **keywords: Any) -> Any:
        return getattr(np, name)(self, *arguments, **keywords)

    method.__name__ = name
    method.__doc__ = f"See `numpy.ndarray.{name}`."
    return method


for _name in [
    "all",
    "any",
    "argmax",
    "argmin",
    "argsort",
    "clip",
    "compress",
    "cumprod",
    "cumsum",
    "diagonal",
    "dot",
    "max",
    "mean",
    "min",
    "nonzero",
    "prod",
    "repeat",
    "searchsorted",
    "squeeze",
    "std",
    "sum",
    "take",
    "trace",
    "var",
]:
    setattr(Dual, _name, _by_function(_name))


@functools.cache
def _tables() -> Any:
    # The tables speak of duals, and so are imported when one is first used.
    from graphsvc.engine.duals import tables

    return tables
