"""What functions of NumPy do to tangents: linear ones twice, those of several operands by the product rule."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from graphsvc.engine.duals.decompositions import DECOMPOSITIONS
from graphsvc.engine.duals.dual import (
    FRESH,
    OWNED,
    SEEN,
    Dual,
    dual,
    holds_dual,
    lose,
    note_constant,
    stripped,
    tangent_of,
    value_of,
)

__all__ = ["CONSTANT_FUNCTIONS", "FUNCTIONS", "QUESTIONS"]

Rule = Callable[..., Any]


def _paired(values: Any, tangents: Any, state: int) -> Any:
    if isinstance(values, list | tuple):
        return type(values)(dual(v, t, state) for v, t in zip(values, tangents, strict=True))
    return dual(values, tangents, state)


def _linear(function: Callable[..., Any], x: Any, *arguments: Any, **keywords: Any) -> Any:
    """Apply a function that is linear in its first operand, and gives new arrays."""
    if type(x) is not Dual or holds_dual(arguments):
        lose(f"it calls np.{function.__name__} with a tangent where none may be")
    if keywords.get("initial") is not None:
        lose(f"it calls np.{function.__name__} with initial")
    return _paired(function(x.value, *arguments, **keywords), function(x.tangent, *arguments, **keywords), FRESH)


def _view(function: Callable[..., Any], x: Any, *arguments: Any, **keywords: Any) -> Any:
    """Apply a function that is linear in its first operand, and may give a view of it."""
    if type(x) is not Dual or holds_dual(arguments):
        lose(f"it calls np.{function.__name__} with a tangent where none may be")
    if x._state == FRESH:
        x._state = SEEN
    return _paired(function(x.value, *arguments, **keywords), function(x.tangent, *arguments, **keywords), SEEN)


def _multilinear(function: Callable[..., Any], count: int, *arguments: Any, **keywords: Any) -> Any:
    """Apply a function that is linear in each of its first `count` operands."""
    operands, rest = list(arguments[:count]), arguments[count:]
    values = [value_of(x) for x in operands]
    total = None
    for i, x in enumerate(operands):
        if type(x) is Dual:
            part = function(*values[:i], x.tangent, *values[i + 1 :], *rest, **keywords)
            total = part if total is None else total + part
    return dual(function(*values, *rest, **keywords), total)


def _einsum(subscripts: Any, *operands: Any, **keywords: Any) -> Any:
    if not isinstance(subscripts, str):
        lose("it calls np.einsum with lists of axes; write its subscripts as text")
    values = [value_of(x) for x in operands]
    total = None
    for i, x in enumerate(operands):
        if type(x) is Dual:
            part = np.einsum(subscripts, *values[:i], x.tangent, *values[i + 1 :], **keywords)
            total = part if total is None else total + part
    return dual(np.einsum(subscripts, *values, **keywords), total)


def _joined(function: Callable[..., Any], xs: Any, *arguments: Any, **keywords: Any) -> Any:
    """Apply a function that puts arrays together."""
    xs = list(xs)
    values = [value_of(x) for x in xs]
    tangents = [
        np.zeros_like(v, dtype=np.result_type(v, np.float16)) if type(x) is not Dual else x.tangent
        for x, v in zip(xs, map(np.asarray, values), strict=True)
    ]
    keywords.pop("casting", None)
    return dual(function(values, *arguments, **keywords), function(tangents, *arguments, **keywords), OWNED)


def _where(condition: Any, *branches: Any) -> Any:
    if type(condition) is Dual:
        note_constant()
        condition = condition.value
    if len(branches) != 2:
        return np.where(condition)
    x, y = branches
    tx, ty = tangent_of(x), tangent_of(y)
    value = np.where(condition, value_of(x), value_of(y))
    if tx is None and ty is None:
        return value
    return dual(value, np.where(condition, 0 if tx is None else tx, 0 if ty is None else ty))


def _bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """Count, or add up weights, in which it is linear; what is counted are whole numbers."""
    if type(x) is Dual:
        lose("it calls np.bincount with a tangent where none may be")
    return dual(np.bincount(x, weights.value, minlength), np.bincount(x, weights.tangent, minlength), OWNED)


def _select(conditions: Any, choices: Any, default: Any = 0) -> Any:
    conditions = stripped(list(conditions))
    tangents = [0 if type(c) is not Dual else c.tangent for c in choices]
    values = [value_of(c) for c in choices]
    t = tangent_of(default)
    return dual(
        np.select(conditions, values, value_of(default)),
        np.select(
            conditions,
            [np.broadcast_to(t, np.shape(v)) for t, v in zip(tangents, values, strict=True)],
            0 if t is None else t,
        ),
    )


def _clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = (min if a_min is None else a_min), (max if a_max is None else a_max)
    plain = value_of(x), value_of(low), value_of(high)
    value = np.clip(*plain)
    total = None
    v, lower, upper = plain
    inside = np.ones(np.shape(value), bool)
    if lower is not None:
        inside &= np.greater(v, lower)
    if upper is not None:
        inside &= np.less(v, upper)
    if type(x) is Dual:
        total = np.where(inside, x.tangent, 0)
    for bound, held in (
        (low, None if lower is None else np.less(v, lower)),
        (high, None if upper is None else np.greater(v, upper)),
    ):
        if type(bound) is Dual:
            part = np.where(np.asarray(held), bound.tangent, 0)
            total = part if total is None else total + part
    return dual(value, total)


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(x.ndim))
    return tuple(a % x.ndim for a in (axis if isinstance(axis, tuple | list) else (axis,)))


def _extreme(function: Callable[..., Any], x: Dual, axis: Any = None, *, keepdims: Any = False, **unusual: Any) -> Any:
    """Apply max or min: ties share the tangent."""
    initial = unusual.pop("initial", None)
    if initial not in (None, np._NoValue):
        if not x.size:
            return function(x.value, axis=axis, keepdims=keepdims is True, initial=initial)
        compare = np.maximum if function is np.max else np.minimum
        return compare(_extreme(function, x, axis, keepdims=keepdims, **unusual), initial)
    if any(value not in (None, np._NoValue, True) for value in unusual.values()):
        lose(f"it calls np.{function.__name__} with {', '.join(unusual)}")
    axes = _axes(x, axis)
    keep = keepdims is True
    kept = function(x.value, axis=axes, keepdims=True)
    chosen = (x.value == kept) | (x.value != x.value)
    count = np.sum(chosen, axis=axes, keepdims=True)
    tangent = np.sum(np.where(chosen, x.tangent, 0), axis=axes, keepdims=True) / count
    if not keep:
        kept, tangent = np.squeeze(kept, axes), np.squeeze(tangent, axes)
    return dual(kept, tangent)


def _mean(x: Dual, axis: Any = None, dtype: Any = None, **keywords: Any) -> Any:
    return _linear(np.mean, x, axis=axis, dtype=dtype, **keywords)


def _centred(x: Dual, axis: Any, ddof: Any, correction: Any, keepdims: Any) -> tuple[Any, Any]:
    """Return the variance and its tangent."""
    axes = _axes(x, axis)
    keep = keepdims is True
    ddof = ddof if correction is None or correction is np._NoValue else correction
    count = int(np.prod([x.shape[a] for a in axes], dtype=int)) - ddof
    apart = x.value - np.mean(x.value, axis=axes, keepdims=True)
    along = x.tangent - np.mean(x.tangent, axis=axes, keepdims=True)
    value = np.sum(np.real(np.conjugate(apart) * apart), axis=axes, keepdims=keep) / count
    return value, np.sum(2 * np.real(np.conjugate(apart) * along), axis=axes, keepdims=keep) / count


def _var(
    x: Dual, axis: Any = None, dtype: Any = None, *, ddof: Any = 0, keepdims: Any = False, correction: Any = None
) -> Any:
    _plain_dtype("var", dtype)
    return dual(*_centred(x, axis, ddof, correction, keepdims))


def _std(
    x: Dual, axis: Any = None, dtype: Any = None, *, ddof: Any = 0, keepdims: Any = False, correction: Any = None
) -> Any:
    _plain_dtype("std", dtype)
    value, tangent = _centred(x, axis, ddof, correction, keepdims)
    root = np.sqrt(value)
    return dual(root, np.where(root == 0, 0, tangent / np.where(root == 0, 1, 2 * root)))


def _plain_dtype(name: str, dtype: Any) -> None:
    if dtype is not None and dtype is not np._NoValue:
        lose(f"it calls np.{name} with dtype")


def _prod(x: Dual, axis: Any = None, dtype: Any = None, *, keepdims: Any = False, **unusual: Any) -> Any:
    _plain_dtype("prod", dtype)
    if any(value not in (None, np._NoValue, True) for value in unusual.values()):
        lose(f"it calls np.prod with {', '.join(unusual)}")
    axes, keep = _axes(x, axis), keepdims is True
    rest = [a for a in range(x.ndim) if a not in axes]
    order = (*rest, *axes)
    shape = (*(x.shape[a] for a in rest), -1)
    v = x.value.transpose(order).reshape(shape)
    t = x.tangent.transpose(order).reshape(shape)
    tangent = np.sum(t * _others(v), axis=-1)
    if keep:
        tangent = np.expand_dims(tangent, sorted(axes))
    return dual(np.prod(x.value, axis=axes, keepdims=keep), tangent)


def _others(v: Any) -> Any:
    """Return for each element the product of the others along the last axis."""
    ones = np.ones_like(v[..., :1])
    left = np.cumprod(np.concatenate([ones, v[..., :-1]], -1), -1)
    right = np.cumprod(np.concatenate([ones, v[..., :0:-1]], -1), -1)[..., ::-1]
    return left * right


def _cumprod(x: Dual, axis: Any = None, dtype: Any = None) -> Any:
    _plain_dtype("cumprod", dtype)
    v, t = (x.value.reshape(-1), x.tangent.reshape(-1)) if axis is None else (x.value, x.tangent)
    v, t = (np.moveaxis(a, 0 if axis is None else axis, 0) for a in (v, t))
    values, tangents = [], []
    product, along = np.ones_like(v[0]) if len(v) else v, np.zeros_like(t[0]) if len(t) else t
    for i in range(len(v)):
        product, along = product * v[i], along * v[i] + product * t[i]
        values.append(product)
        tangents.append(along)
    if not values:
        return dual(np.cumprod(x.value, axis), np.cumprod(x.tangent, axis))
    place = 0 if axis is None else axis
    return dual(np.moveaxis(np.stack(values), 0, place), np.moveaxis(np.stack(tangents), 0, place))


def _sort(x: Dual, axis: Any = -1, **keywords: Any) -> Any:
    if axis is None:
        return _sort(x.reshape(-1), 0, **keywords)
    order = np.argsort(x.value, axis=axis, kind="stable")
    return dual(np.take_along_axis(x.value, order, axis), np.take_along_axis(x.tangent, order, axis))


def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    if holds_dual([xp, left, right]) or period is not None or left is not None or right is not None:
        lose("it calls np.interp with a tangent in its places, or with left, right or period")
    v, f = value_of(x), value_of(fp)
    value = np.interp(v, xp, f)
    total = None
    if type(fp) is Dual:
        total = np.interp(v, xp, fp.tangent)
    if type(x) is Dual:
        xp = np.asarray(xp)
        place = np.clip(np.searchsorted(xp, v, side="right") - 1, 0, len(xp) - 2)
        slope = (f[place + 1] - f[place]) / (xp[place + 1] - xp[place])
        part = x.tangent * np.where((v < xp[0]) | (v >= xp[-1]), 0, slope)
        total = part if total is None else total + part
    return dual(np.asarray(value)[()] if np.ndim(value) == 0 else value, total)


def _sinc(x: Dual) -> Any:
    v = x.value
    near = np.abs(v) < 1e-3
    apart = np.where(near, 1, v)
    square = (np.pi * v) ** 2
    series = -np.pi * np.pi * v / 3 * (1 - square / 10 * (1 - square / 28))
    value = np.sinc(v)
    return dual(value, x.tangent * np.where(near, series, (np.cos(np.pi * v) - np.where(near, 1, value)) / apart))


def _nan_to_num(x: Dual, **keywords: Any) -> Any:
    keywords.pop("copy", None)
    return dual(np.nan_to_num(x.value, **keywords), np.where(np.isfinite(x.value), x.tangent, 0))


def _pad(x: Dual, pad_width: Any, mode: Any = "constant", **keywords: Any) -> Any:
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        lose(f"it calls np.pad with mode={mode!r}")
    padded = keywords if mode != "constant" else {}
    if holds_dual(list(keywords.values())) or keywords.get("reflect_type", "even") != "even":
        lose("it calls np.pad with a tangent in a keyword, or with reflect_type")
    return dual(np.pad(x.value, pad_width, mode, **keywords), np.pad(x.tangent, pad_width, mode, **padded))


def _filled(function: Callable[..., Any], x: Any, *arguments: Any, **keywords: Any) -> Any:
    """Make an array like a dual, with zeros for its tangent, so that it may be written to."""
    value = function(value_of(x), *stripped(arguments), **keywords)
    if holds_dual(arguments):
        lose(f"it calls np.{function.__name__} with a tangent")
    return dual(value, np.zeros(value.shape, value.dtype), OWNED) if value.dtype.kind in "fc" else value


def _copied(x: Dual, *_: Any, **__: Any) -> Any:
    return x.copy()


def _target(x: Any) -> Dual:
    if type(x) is not Dual:
        lose("it writes to a plain array; make it with np.zeros_like of one that may have a tangent")
    x.own()
    return x


def _put_along_axis(target: Any, indices: Any, values: Any, axis: Any) -> None:
    target = _target(target)
    t = tangent_of(values)
    np.put_along_axis(target.value, indices, value_of(values), axis)
    np.put_along_axis(target.tangent, indices, 0 if t is None else t, axis)


def _copyto(target: Any, source: Any, casting: Any = "same_kind", where: Any = True) -> None:
    target = _target(target)
    t = tangent_of(source)
    np.copyto(target.value, value_of(source), casting=casting, where=value_of(where))
    np.copyto(target.tangent, 0 if t is None else t, casting=casting, where=value_of(where))


def _fill_diagonal(target: Any, value: Any, wrap: bool = False) -> None:
    target = _target(target)
    if holds_dual(value):
        lose("it fills a diagonal with a tangent")
    np.fill_diagonal(target.value, value, wrap)
    np.fill_diagonal(target.tangent, 0, wrap)


def _broadcast_arrays(*xs: Any, **_: Any) -> Any:
    shape = np.broadcast_shapes(*(np.shape(value_of(x)) for x in xs))
    return tuple(np.broadcast_to(x, shape) for x in xs)


def _result_type(*arguments: Any) -> Any:
    return np.result_type(*(x.dtype if type(x) is Dual else x for x in arguments))


def _norm(x: Dual, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    vector = ord is None or (ord == 2 and (isinstance(axis, int) or (axis is None and x.ndim == 1)))
    if not vector and ord not in ("fro",):
        lose(f"it calls np.linalg.norm with ord={ord!r}")
    value = np.linalg.norm(x.value, ord, axis, keepdims)
    kept = np.linalg.norm(x.value, ord, axis, keepdims=True)
    axes = _axes(x, axis)
    part = np.real(np.conjugate(x.value) * x.tangent) / np.where(kept == 0, 1, kept)
    tangent = np.sum(np.where(kept == 0, 0, part), axis=axes, keepdims=keepdims)
    return dual(value, tangent)


def _divmod_free(*_: Any, **__: Any) -> Any:
    lose("it calls a function whose derivative is not known")


_LINEAR: Final = (
    np.sum, np.cumsum, np.diff, np.take, np.take_along_axis, np.compress, np.extract, np.repeat, np.tile, np.trace,
    np.roll, np.diag, np.diagflat, np.tril, np.triu, np.delete, np.rot90, np.nansum,
    np.fft.fft, np.fft.ifft, np.fft.fft2, np.fft.ifft2, np.fft.fftn, np.fft.ifftn, np.fft.rfft, np.fft.irfft,
    np.fft.rfft2, np.fft.irfft2, np.fft.rfftn, np.fft.irfftn, np.fft.hfft, np.fft.ihfft, np.fft.fftshift,
    np.fft.ifftshift, np.real_if_close,
)  # fmt: skip

_VIEWS: Final = (
    np.reshape, np.ravel, np.transpose, np.matrix_transpose, np.swapaxes, np.moveaxis, np.rollaxis, np.expand_dims,
    np.squeeze, np.broadcast_to, np.flip, np.fliplr, np.flipud, np.diagonal, np.real, np.imag, np.split,
    np.array_split, np.hsplit, np.vsplit, np.dsplit, np.unstack, np.linalg.diagonal, np.linalg.matrix_transpose,
    np.lib.stride_tricks.sliding_window_view, np.atleast_1d, np.atleast_2d, np.atleast_3d,
)  # fmt: skip

_BILINEAR: Final = (
    np.dot, np.inner, np.outer, np.tensordot, np.kron, np.vdot, np.cross, np.convolve, np.correlate, np.linalg.outer,
    np.linalg.cross, np.linalg.matmul, np.linalg.tensordot, np.linalg.vecdot,
)  # fmt: skip

FUNCTIONS: Final[Mapping[Callable[..., Any], Rule]] = {
    **{function: partial(_linear, function) for function in _LINEAR},
    **{function: partial(_view, function) for function in _VIEWS},
    **{function: partial(_multilinear, function, 2) for function in _BILINEAR},
    **{
        function: partial(_joined, function)
        for function in (np.concatenate, np.stack, np.vstack, np.hstack, np.dstack, np.column_stack)
    },
    **{function: partial(_filled, function) for function in (np.zeros_like, np.ones_like, np.full_like, np.empty_like)},
    np.amax: partial(_extreme, np.max),
    np.amin: partial(_extreme, np.min),
    np.max: partial(_extreme, np.max),
    np.min: partial(_extreme, np.min),
    np.bincount: _bincount,
    np.broadcast_arrays: _broadcast_arrays,
    np.clip: _clip,
    np.copy: _copied,
    np.copyto: _copyto,
    np.cumprod: _cumprod,
    np.einsum: _einsum,
    np.fill_diagonal: _fill_diagonal,
    np.interp: _interp,
    np.linalg.norm: _norm,
    np.mean: _mean,
    np.nan_to_num: _nan_to_num,
    np.pad: _pad,
    np.prod: _prod,
    np.ptp: lambda x, axis=None, **keywords: np.max(x, axis=axis, **keywords) - np.min(x, axis=axis, **keywords),
    np.put_along_axis: _put_along_axis,
    np.result_type: _result_type,
    np.select: _select,
    np.sinc: _sinc,
    np.sort: _sort,
    np.std: _std,
    np.var: _var,
    np.where: _where,
    **DECOMPOSITIONS,
}  # fmt: skip
"""The rule of each function."""

QUESTIONS: Final = frozenset(
    {
        np.shape,
        np.ndim,
        np.size,
        np.iscomplexobj,
        np.isrealobj,
        np.min_scalar_type,
        np.may_share_memory,
        np.shares_memory,
    }
)
"""Functions that ask for nothing but shape and dtype."""

CONSTANT_FUNCTIONS: Final = frozenset(
    {
        np.all, np.any, np.argmax, np.argmin, np.argpartition, np.argsort, np.argwhere, np.around, np.round,
        np.array_equal, np.allclose, np.isclose, np.count_nonzero, np.digitize, np.flatnonzero, np.fix, np.isneginf,
        np.isposinf, np.isreal, np.lexsort, np.nanargmax, np.nanargmin, np.nonzero, np.searchsorted, np.iscomplex,
    }
)  # fmt: skip
"""Functions that are constant almost everywhere."""
