"""What functions of NumPy do to each array of a stack: those that gates' backwards are mostly made of."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from graphsvc.engine.stacks.stack import Stack, aligned, axis_of, refuse

__all__ = ["apply_function", "apply_ufunc"]


def apply_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Answer a call of a universal function."""
    if ufunc is np.matmul and method == "__call__" and not keywords:
        return _matmul(*inputs)
    if method != "__call__" or ufunc.signature or ufunc.nout != 1 or keywords.keys() - {"dtype", "casting"}:
        refuse(f"it calls np.{ufunc.__name__} in a way that is not known")
    ndim = max(np.ndim(x) for x in inputs)
    return Stack(ufunc(*[aligned(x, ndim) for x in inputs], **keywords))


def _matmul(x: Any, y: Any) -> Any:
    """Multiply matrices; a vector becomes a matrix of one row or column meanwhile."""
    row, column = np.ndim(x) == 1, np.ndim(y) == 1
    x = x[np.newaxis, :] if row else x
    y = y[:, np.newaxis] if column else y
    ndim = max(np.ndim(x), np.ndim(y))
    z = np.matmul(aligned(x, ndim), aligned(y, ndim))
    if column:
        z = z[..., 0]
    return Stack(z[..., 0] if row and column else z[..., 0, :] if row else z)


def _axes(x: Any, axis: Any) -> Any:
    """Return axes of one array as axes of the stack; None means all."""
    if axis is None:
        return tuple(range(1, x.ndim + 1))
    return tuple(axis_of(a, x.ndim) for a in axis) if isinstance(axis, tuple | list) else axis_of(axis, x.ndim)


def _reduced(function: Callable[..., Any], x: Any, axis: Any = None, **keywords: Any) -> Any:
    """Apply a function that takes axes, None for all."""
    if keywords.keys() - {"keepdims", "dtype"}:
        refuse(f"it calls np.{function.__name__} with {', '.join(keywords)}")
    return Stack(function(x.array, axis=_axes(x, axis), **keywords))


def _along(function: Callable[..., Any], x: Any, axis: Any) -> Any:
    """Apply a function that takes axes, and makes as many arrays."""
    return Stack(function(x.array, axis=_axes(x, axis)))


def _expand_dims(x: Any, axis: Any) -> Any:
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    return Stack(np.expand_dims(x.array, tuple(axis_of(a, x.ndim + len(axes)) for a in axes)))


def _moveaxis(x: Any, source: Any, destination: Any) -> Any:
    return Stack(np.moveaxis(x.array, _axes(x, source), _axes(x, destination)))


def _broadcast_to(x: Any, shape: Any) -> Any:
    shape = shape if isinstance(shape, tuple | list) else (shape,)
    return Stack(np.broadcast_to(aligned(x, len(shape)), (len(x.array), *shape)))


def _where(condition: Any, x: Any, y: Any) -> Any:
    operands = condition, x, y
    ndim = max(map(np.ndim, operands))
    return Stack(np.where(*[aligned(x, ndim) for x in operands]))


def _concatenate(function: Callable[..., Any], arrays: Any, axis: int = 0) -> Any:
    if not all(type(x) is Stack for x in arrays):
        refuse(f"it calls np.{function.__name__} with other arrays")
    ndim = arrays[0].ndim + (function is np.stack)
    return Stack(function([x.array for x in arrays], axis=axis_of(axis, ndim)))


def _split(x: Any, places: Any, axis: int = 0) -> Any:
    return [Stack(part) for part in np.split(x.array, places, axis=_axes(x, axis))]


def _roll(x: Any, shift: Any, axis: Any = None) -> Any:
    if axis is None:
        refuse("it calls np.roll over all axes")
    return Stack(np.roll(x.array, shift, axis=_axes(x, axis)))


def _filled(function: Callable[..., Any], x: Any, dtype: Any = None) -> Any:
    return Stack(function(x.array, dtype=dtype))


def _triangle(function: Callable[..., Any], x: Any, k: int = 0) -> Any:
    if x.ndim < 2:
        refuse(f"it calls np.{function.__name__} of a vector")
    return Stack(function(x.array, k))


FUNCTIONS: Final[Mapping[Callable[..., Any], Callable[..., Any]]] = {
    **{function: partial(_reduced, function) for function in (np.sum, np.mean)},
    **{function: partial(_along, function) for function in (np.cumsum, np.flip, np.squeeze)},
    **{function: partial(_concatenate, function) for function in (np.concatenate, np.stack)},
    **{function: partial(_triangle, function) for function in (np.tril, np.triu)},
    np.broadcast_to: _broadcast_to,
    np.expand_dims: _expand_dims,
    np.moveaxis: _moveaxis,
    np.imag: lambda x: x.imag,
    np.ndim: lambda x: x.ndim,
    np.real: lambda x: x.real,
    np.reshape: lambda x, shape: x.reshape(shape),
    np.roll: _roll,
    np.shape: lambda x: x.shape,
    np.size: lambda x: x.size,
    np.split: _split,
    np.swapaxes: lambda x, one, other: x.swapaxes(one, other),
    np.transpose: lambda x, axes=None: x.transpose() if axes is None else x.transpose(axes),
    np.where: _where,
    **{f: partial(_filled, f) for f in (np.zeros_like, np.ones_like)},
}  # fmt: skip
"""What each function does to a stack."""


def apply_function(function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Answer a call of a function of NumPy."""
    rule = FUNCTIONS.get(function)
    if rule is None:
        refuse(f"it calls {getattr(function, '__name__', function)}")
    return rule(*arguments, **keywords)
