"""Arrays: the closed set of dtypes, what counts as an array, and the few rules of shape that all layers share."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final, TypeAlias, cast, get_args
from typing import Literal as OneOf

import numpy as np

from graphsvc.errors import AttributeValueError, DtypeError, ShapeError
from graphsvc.precision import Array, conjugated, narrowed, widened
from graphsvc.solves import cho_solve, cholesky, solve, solve_triangular

__all__ = [
    "DTYPES",
    "MAX_DIMENSION",
    "MAX_RANK",
    "Array",
    "ArraySpec",
    "DtypeName",
    "Literal",
    "Weak",
    "as_array",
    "broadcast_shapes",
    "cho_solve",
    "cholesky",
    "conjugated",
    "divided",
    "fits_memory",
    "is_differentiable",
    "is_known",
    "literal_dtype",
    "narrowed",
    "normalized_axes",
    "owned",
    "plain_array",
    "read_only",
    "reduce_mean",
    "reduce_sum",
    "require_floating",
    "solve",
    "solve_triangular",
    "spec_of",
    "sum_to_shape",
    "widened",
]

Literal: TypeAlias = int | float
"""A Python number that stands for an operand; it is weak: it takes the dtype that it meets."""

MAX_RANK: Final = 32
MAX_DIMENSION: Final = 2**31 - 1

DtypeName: TypeAlias = OneOf[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
"""The name of a dtype, where an attribute is one."""

DTYPES: Final[dict[str, np.dtype[Any]]] = {name: np.dtype(name) for name in get_args(DtypeName)}
"""Every dtype that a value may have, by name. Nothing else enters a graph."""

# Looking a dtype up by its name takes ten times as long.
_KNOWN_DTYPES: Final = frozenset(DTYPES.values())

_WIDER: Final = {DTYPES["float16"]: DTYPES["float32"], DTYPES["float32"]: DTYPES["float64"]}


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """Shape and dtype of an array that need not exist. Dimensions are Python integers, so no product overflows."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def fits_memory(shape: Sequence[int], itemsize: int) -> bool:
    """Tell whether NumPy can hold the shape: empty arrays, too, must have lengths whose product fits 63 bits."""
    return prod(size for size in shape if size) * itemsize < 2**63


def spec_of(array: Array) -> ArraySpec:
    """Return shape and dtype of `array`."""
    return ArraySpec(array.shape, array.dtype)


def is_known(dtype: np.dtype[Any]) -> bool:
    """Tell whether a value of a graph may have this dtype, in the machine's byte order."""
    return dtype in _KNOWN_DTYPES


def is_differentiable(dtype: np.dtype[Any]) -> bool:
    """Tell whether a value of `dtype` has a gradient: floating point and complex have, integers and booleans none."""
    return dtype.kind in "fc"


def require_floating(name: str, x: ArraySpec, *, complex_too: bool = False) -> None:
    """Refuse an operand that is not floating point.

    Args:
        name: The operand's name.
        x: Its shape and dtype.
        complex_too: Whether it may be complex.

    Raises:
        DtypeError: It is of another dtype.
    """
    if x.dtype.kind not in ("fc" if complex_too else "f"):
        msg = f"Operand {name!r} must be floating point{' or complex' if complex_too else ''}, got {x.dtype}."
        msg += " Convert it with the gate 'cast'."
        raise DtypeError(msg)


def as_array(value: object, dtype: np.dtype[Any] | None = None) -> Array:
    """Judge what a user gave for an array.

    NumPy values keep their dtype, which must be `dtype` where one is declared. Python numbers and (nested) lists of
    them become `dtype`, or float64 where none is declared; booleans stay booleans. No number is changed on the way,
    save that a float is rounded to a declared narrower float.

    Args:
        value: A NumPy array or scalar, a Python number, a list, or anything with `__array__`.
        dtype: The declared dtype, one of `DTYPES`.

    Returns:
        An array in the machine's byte order. It may share memory with `value`.

    Raises:
        DtypeError: `value` is no array of numbers, has another dtype than declared, or would lose digits.
        ShapeError: Lists of unequal length, or too many axes.
    """
    if type(value) is float and (dtype is None or dtype == np.float64):
        return np.array(value)
    if isinstance(value, np.ndarray | np.generic):
        return _numpy_array(value, dtype)
    if hasattr(value, "__array__"):
        try:
            array = np.asarray(value)
        except Exception as error:
            msg = f"{type(value).__name__} does not convert to an array of NumPy ({str(error)[:200]})."
            raise DtypeError(msg) from error
        return _numpy_array(array, dtype)
    return _converted(value.array if isinstance(value, Weak) else plain_array(value), dtype)


def _numpy_array(value: Array | np.generic, declared: np.dtype[Any] | None) -> Array:
    if _is_masked(value) or isinstance(value, np.matrix):
        msg = f"{type(value).__name__} is not a plain array. Pass value.filled(...) or np.asarray(value)."
        raise DtypeError(msg)
    array = np.asarray(value)
    if array.dtype.byteorder in "<>":
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not is_known(array.dtype):
        msg = f"Arrays of dtype {array.dtype} cannot be used. Convert to one of {', '.join(DTYPES)}."
        raise DtypeError(msg)
    if declared is not None and array.dtype != declared:
        msg = f"Expected dtype {declared}, got {array.dtype}. Convert it with .astype({str(declared)!r})."
        raise DtypeError(msg)
    return _within_rank(array)


def _is_masked(value: object) -> bool:
    """Tell whether a value is a masked array. Those are imported only for what may be one, which takes 30 ms."""
    return isinstance(value, np.ndarray) and type(value) is not np.ndarray and isinstance(value, np.ma.MaskedArray)


def plain_array(value: object) -> Array:
    """Return Python numbers or nested lists of them as NumPy takes them, before they get a dtype of their own.

    Raises:
        DtypeError: `value` holds something else than numbers.
        ShapeError: Lists of unequal length.
    """
    if isinstance(value, list | tuple) and any(map(_is_masked, value)):
        msg = "A list of masked arrays would lose their masks. Pass item.filled(...) of each."
        raise DtypeError(msg)
    try:
        plain = np.asarray(value)
    except (ValueError, OverflowError):
        msg = "Nested lists of unequal length are no array. Give every row the same length."
        raise ShapeError(msg) from None
    if not is_known(plain.dtype):
        msg = f"Expected numbers, got {type(value).__name__} {str(plain.dtype)!r}. Pass floats, integers or an array."
        raise DtypeError(msg)
    if _hides_integers(value, plain):
        msg = "An integer beside floats would lose digits. Pass a NumPy array of the dtype you mean."
        raise DtypeError(msg)
    return _within_rank(plain)


@dataclass(frozen=True, slots=True)
class Weak:
    """Python numbers as a plain array, whose dtype gives way to the one that they meet."""

    array: Array


def _converted(plain: Array, declared: np.dtype[Any] | None) -> Array:
    """Return Python numbers in the declared dtype, or in float64; refuse what would change them."""
    target = declared or (plain.dtype if plain.dtype.kind in "bc" else DTYPES["float64"])
    if plain.size == 0 and plain.dtype.kind == "f":
        return plain.astype(target)
    if not np.can_cast(plain.dtype, target, "same_kind") or (plain.dtype.kind == "b") != (target.kind == "b"):
        msg = f"Expected numbers of dtype {target}, got {plain.dtype}. Pass an array of the dtype you mean."
        raise DtypeError(msg)
    with np.errstate(all="ignore"):
        array = plain.astype(target)
        if plain.dtype.kind in "iu":
            exact = np.all(array.astype(plain.dtype) == plain)
        else:
            exact = np.all(np.isfinite(array) | ~np.isfinite(plain))
    if not exact:
        msg = f"Numbers do not fit {target} without losing digits. Pass a NumPy array of the dtype you mean."
        raise DtypeError(msg)
    return array


def _hides_integers(value: object, plain: Array) -> bool:
    """Tell whether an integer beside floats in a list lost digits when they all became floats."""
    if plain.dtype.kind != "f" or not np.any(np.abs(plain) >= 2.0**53):
        return False
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list | tuple):
            pending.extend(item)
        elif type(item) is int and int(float(item)) != item:
            return True
    return False


def _within_rank(array: Array) -> Array:
    if array.ndim > MAX_RANK:
        msg = f"Arrays have at most {MAX_RANK} axes, got {array.ndim}. Reshape it."
        raise ShapeError(msg)
    return array


def literal_dtype(value: Literal, others: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """Return the dtype a Python literal takes beside operands of dtypes `others` (NEP 50)."""
    return np.result_type(*others, value)


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape to which `shapes` broadcast, in Python integers.

    Raises:
        ShapeError: They do not broadcast.
    """
    rank = max(map(len, shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if result[axis] == 1:
                result[axis] = size
            elif size not in (1, result[axis]):
                listed = " and ".join(map(str, shapes))
                msg = f"Operands of shapes {listed} do not broadcast. Reshape one of them."
                raise ShapeError(msg)
    return tuple(result)


def normalized_axes(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """Return `axis` as a tuple of axes from 0, in the order given; None means all of them.

    Raises:
        AttributeValueError: An axis is out of range or named twice.
    """
    if axis is None:
        return tuple(range(ndim))
    axes = (axis,) if isinstance(axis, int) else axis
    if not all(-ndim <= a < ndim for a in axes):
        msg = f"Attribute 'axis' is {axis}, but the operand has {ndim} axes. Axes run from {-ndim} to {ndim - 1}."
        raise AttributeValueError(msg, attribute="axis")
    normalized = tuple(a % ndim for a in axes)
    if len(set(normalized)) != len(normalized):
        msg = f"Attribute 'axis' is {axis} and names one axis twice. Name each once."
        raise AttributeValueError(msg, attribute="axis")
    return normalized


def reduce_sum(x: Array, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False) -> Array:
    """Sum over `axis` without the loss that NumPy's running sums have in narrow dtypes.

    NumPy adds pairwise along trailing axes, and one by one along the others, where float16 stops at 2048 and float32
    loses digits. Those sums are carried one size wider and rounded once.

    Args:
        x: Shape `(...)`.
        axis: Axes to sum over; None means all.
        keepdims: Whether summed axes stay, with size 1.

    Returns:
        The sum, of the dtype `np.sum` gives.
    """
    wider = _WIDER.get(x.dtype)
    if wider is None or (x.dtype.itemsize > 2 and _is_trailing(x, axis)):
        return cast(Array, np.sum(x, axis=axis, keepdims=keepdims))
    return cast(Array, np.sum(x, axis=axis, keepdims=keepdims, dtype=wider).astype(x.dtype))


def reduce_mean(x: Array, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False) -> Array:
    """Average over `axis`; narrow dtypes are summed and divided one size wider. The mean of nothing is NaN.

    Args:
        x: Shape `(...)`.
        axis: Axes to average over; None means all.
        keepdims: Whether averaged axes stay, with size 1.

    Returns:
        The mean; float64 for integers and booleans.
    """
    count = prod(x.shape[a] for a in normalized_axes(axis, x.ndim))
    wider = _WIDER.get(x.dtype, None if x.dtype.kind == "c" else DTYPES["float64"])
    mean: Array = np.sum(x, axis=axis, keepdims=keepdims, dtype=wider) / count
    return mean.astype(x.dtype) if x.dtype.kind == "f" else mean


def divided(x: Array, count: int | Array) -> Array:
    """Return `x / count` in the dtype of `x`, also where a count is more than that dtype can hold."""
    return np.divide(x, count, dtype=_WIDER.get(x.dtype, x.dtype), casting="unsafe").astype(x.dtype)


def _is_trailing(x: Array, axis: int | tuple[int, ...] | None) -> bool:
    """Tell whether the sum runs over contiguous memory alone."""
    axes = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    summed = sorted(a % x.ndim for a in axes) if x.ndim else []
    return x.flags.c_contiguous and summed == list(range(x.ndim - len(summed), x.ndim))


def sum_to_shape(x: Array, shape: tuple[int, ...]) -> Array:
    """Sum the axes of `x` that broadcasting from `shape` made: the adjoint of broadcasting.

    Args:
        x: Shape to which `shape` broadcasts.
        shape: The shape to come back to.

    Returns:
        `x` itself where nothing was broadcast, so nobody may write to it; otherwise a new array of shape `shape`.
    """
    if x.shape == shape:
        return x
    leading = x.ndim - len(shape)
    axes = (*range(leading), *(a for a, size in enumerate(shape, leading) if size == 1 and x.shape[a] != 1))
    return reduce_sum(x, axes, keepdims=True).reshape(shape)


def read_only(array: Array) -> Array:
    """Return `array` as nobody can write to it. NumPy scalars cannot be written to anyway."""
    if isinstance(array, np.ndarray) and array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def owned(array: Array) -> Array:
    """Return a writable array in C order that shares memory with no other. NumPy scalars become 0-d arrays."""
    return np.array(array, order="C", copy=True)
