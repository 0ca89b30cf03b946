"""The stack: several arrays of one shape, which answers NumPy's functions as each of them would.

It shows the shape of one of them; the axis that counts them stands first in the array behind it. What is not known to
work on each of them alone is refused, so a stack is right or of no use, and never silently wrong.
"""

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.lib.mixins import NDArrayOperatorsMixin

__all__ = ["Stack", "Unstackable", "aligned", "axis_of", "refuse"]


class Unstackable(BaseException):
    """Why something cannot be done with a stack. No `Exception`, so that a gate that catches those does not hide it."""


def refuse(what: str) -> NoReturn:
    """Raise Unstackable."""
    raise Unstackable(what)


class Stack(NDArrayOperatorsMixin):
    """Several arrays of one shape and dtype.

    Attributes:
        array: All of them. Shape `(count, *shape)`.
    """

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        return _tables().apply_ufunc(ufunc, method, inputs, keywords)

    def __array_function__(
        self, function: Callable[..., Any], types: object, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        return _tables().apply_function(function, arguments, keywords)

    def _no_value(self, *_: object, **__: object) -> NoReturn:
        refuse("it asks for the numbers behind an array")

    __array__ = __float__ = __int__ = __index__ = __complex__ = __contains__ = __bool__ = __iter__ = _no_value
    __round__ = __reduce_ex__ = __hash__ = __setitem__ = __copy__ = __deepcopy__ = _no_value
    __array_interface__ = __array_struct__ = property(_no_value)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        refuse(f"it uses x.{name}")

    def __len__(self) -> int:
        return len(self.array[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """See `numpy.ndarray.dtype`."""
        dtype: np.dtype[Any] = self.array.dtype
        return dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one of them."""
        shape: tuple[int, ...] = self.array.shape[1:]
        return shape

    @property
    def ndim(self) -> int:
        """Number of axes of one of them."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements of one of them."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def T(self) -> "Stack":
        """See `numpy.ndarray.T`."""
        return self.transpose()

    @property
    def real(self) -> "Stack":
        """See `numpy.ndarray.real`."""
        return Stack(self.array.real)

    @property
    def imag(self) -> "Stack":
        """See `numpy.ndarray.imag`."""
        return Stack(self.array.imag)

    def __getitem__(self, key: Any) -> "Stack":
        keys = key if isinstance(key, tuple) else (key,)
        if not all(k is None or k is ... or type(k) in (int, slice) for k in keys):
            refuse("it indexes with an array")
        return Stack(self.array[(slice(None), *keys)])

    def astype(self, dtype: Any, *, copy: bool = True) -> "Stack":
        """See `numpy.ndarray.astype`."""
        return Stack(self.array.astype(dtype, copy=copy))

    def copy(self) -> "Stack":
        """See `numpy.ndarray.copy`."""
        return Stack(self.array.copy())

    def reshape(self, *shape: Any) -> "Stack":
        """See `numpy.ndarray.reshape`."""
        sizes = shape[0] if len(shape) == 1 else shape
        sizes = sizes if isinstance(sizes, tuple | list) else (sizes,)
        return Stack(self.array.reshape(len(self.array), *sizes))

    def transpose(self, *axes: Any) -> "Stack":
        """See `numpy.ndarray.transpose`."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        return Stack(self.array.transpose(0, *[axis_of(axis, self.ndim) for axis in order or range(self.ndim)[::-1]]))

    def swapaxes(self, one: int, other: int) -> "Stack":
        """See `numpy.ndarray.swapaxes`."""
        return Stack(self.array.swapaxes(axis_of(one, self.ndim), axis_of(other, self.ndim)))

    def conj(self) -> "Stack":
        """See `numpy.ndarray.conj`."""
        return Stack(np.conjugate(self.array))

    def sum(self, axis: Any = None, **keywords: Any) -> "Stack":
        """See `numpy.ndarray.sum`."""
        summed: Stack = np.sum(self, axis=axis, **keywords)
        return summed


def axis_of(axis: int, ndim: int) -> int:
    """Return which axis of the array behind a stack is this axis of one of `ndim` axes."""
    return normalize_axis_index(axis, ndim) + 1


def aligned(x: Any, ndim: int) -> Any:
    """Return the array behind a stack with as many axes as one of `ndim` needs to broadcast; others as they are."""
    if type(x) is not Stack:
        return x
    array = x.array
    return array.reshape(len(array), *(1,) * (ndim - x.ndim), *x.shape)


@functools.cache
def _tables() -> Any:
    # The tables speak of stacks, and so are imported when one is first used.
    from graphsvc.engine.stacks import tables

    return tables
