"""Where duals find what a function of NumPy or SciPy does to a tangent, and apply it."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from graphsvc.engine.duals.dual import Dual, dual, holds_dual, lose, note_constant, tangent_of, value_of
from graphsvc.engine.duals.functions import CONSTANT_FUNCTIONS, FUNCTIONS, QUESTIONS
from graphsvc.engine.duals.special import SPECIAL
from graphsvc.engine.duals.ufuncs import CONSTANT, PARTIALS, unit_moves

__all__ = ["apply_function", "apply_ufunc"]


def apply_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Answer a call of a universal function on duals."""
    if method != "__call__":
        return _apply_method(ufunc, method, inputs, keywords)
    out = keywords.pop("out", None)
    values = [value_of(x) for x in inputs]
    tangents = [tangent_of(x) for x in inputs]
    if keywords:
        values, tangents = _recast(ufunc, values, tangents, keywords)
    partials = PARTIALS.get(ufunc) or _rare_partials(ufunc, values)
    z = ufunc(*values)
    if not partials:
        note_constant()
        return _into(out, z)
    total = None
    for partial, t in zip(partials, tangents, strict=True):
        if t is not None:
            if partial is None:
                lose(f"the derivative of {ufunc.__name__} in one of its operands is not known")
            part = partial(t, z, *values)
            total = part if total is None else total + part
    made = dual(z, total)
    return made if out is None else _into(out, made)


def _rare_partials(ufunc: np.ufunc, values: list[Any]) -> tuple[Callable[..., Any] | None, ...]:
    """Return the partials of what is not in the table; none of what is constant almost everywhere."""
    if ufunc is np.sign and values[0].dtype.kind == "c":
        return (unit_moves,)
    return () if ufunc in CONSTANT else _of_scipy(ufunc)


def _recast(
    ufunc: np.ufunc, values: list[Any], tangents: list[Any], keywords: Mapping[str, Any]
) -> tuple[list[Any], list[Any]]:
    """Bring the operands to the dtype that a call asks for."""
    if keywords.keys() - {"dtype", "casting", "where"} or keywords.get("where", True) is not True:
        lose(f"it calls np.{ufunc.__name__} with {', '.join(keywords)}")
    dtype = keywords.get("dtype")
    if dtype is None:
        return values, tangents
    dtype = np.dtype(dtype)
    if dtype.kind not in "fc":
        lose(f"it calls np.{ufunc.__name__} with dtype={dtype}")
    return (
        [np.asarray(v).astype(dtype, copy=False) for v in values],
        [None if t is None else t.astype(dtype, copy=False) for t in tangents],
    )


def _into(out: Any, made: Any) -> Any:
    """Write a result where the call wants it."""
    if out is None:
        return made
    (target,) = out
    if type(target) is Dual:
        target[...] = made
        return target
    if type(made) is Dual:
        lose("it writes to a plain array, with out= or an operator such as +=; make another array instead")
    target[...] = made
    return target


def _of_scipy(ufunc: np.ufunc) -> tuple[Callable[..., Any] | None, ...]:
    """Return the partials of a function of scipy.special."""
    special = sys.modules.get("scipy.special")
    name = ufunc.__name__
    known = SPECIAL.get(name)
    home = getattr(special, name, None) if special else None
    # Some are wrapped by a function of Python, such as lambertw.
    if known is None or not (home is ufunc or name.startswith("_")):
        lose(f"the derivative of {name} is not known")
    return known


def _apply_method(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Answer a call of a method of a universal function, such as `np.add.reduce`."""
    alike = {"reduce": _REDUCED, "accumulate": _ACCUMULATED}.get(method, {}).get(ufunc)
    if alike is not None:
        return apply_function(alike, (inputs[0],), {"axis": keywords.pop("axis", 0), **keywords})
    if method == "accumulate" and ufunc in PARTIALS and ufunc.nin == 2 and type(inputs[0]) is Dual:
        return _accumulate(ufunc, inputs[0], **keywords)
    if method == "outer" and not keywords:
        one, other = inputs
        return ufunc(one[(..., *(np.newaxis,) * np.ndim(other))], other)
    if method != "at" or ufunc not in (np.add, np.subtract):
        lose(f"it calls np.{ufunc.__name__}.{method}")
    target, indices, added = inputs
    if type(target) is not Dual:
        lose(f"it calls np.{ufunc.__name__}.at on a plain array; make it with np.zeros_like")
    target.own()
    ufunc.at(target.value, indices, value_of(added))
    if (t := tangent_of(added)) is not None:
        ufunc.at(target.tangent, indices, t)
    return None


def _accumulate(ufunc: np.ufunc, x: Dual, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
    """Answer `ufunc.accumulate`: what came before and the next element, one after the other."""
    if dtype is not None or out is not None:
        lose(f"it calls np.{ufunc.__name__}.accumulate with dtype or out")
    value = ufunc.accumulate(x.value, axis=axis)
    z, v, t = (np.moveaxis(a, axis, 0) for a in (value, x.value, x.tangent))
    before, after = PARTIALS[ufunc]
    assert before is not None  # noqa: S101 - functions that accumulate have both
    assert after is not None  # noqa: S101
    dots = [t[0]] if len(t) else []
    for i in range(1, len(t)):
        given = z[i], z[i - 1], v[i]
        dots.append(before(dots[-1], *given) + after(t[i], *given))
    return dual(value, np.moveaxis(np.stack(dots), 0, axis) if dots else x.tangent)


_REDUCED: dict[np.ufunc, Callable[..., Any]] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_or: np.any,
    np.logical_and: np.all,
}
_ACCUMULATED: dict[np.ufunc, Callable[..., Any]] = {np.add: np.cumsum, np.multiply: np.cumprod}


def apply_function(function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Answer a call of a function of NumPy, or one that dispatches like them, on duals."""
    rule = FUNCTIONS.get(function)
    if rule is None:
        if getattr(function, "__module__", "") == "graphsvc.solves":
            return _apply_solve(function, arguments, keywords)
        if function in QUESTIONS:
            return function(*map(_shown, arguments), **keywords)
        if function in CONSTANT_FUNCTIONS:
            note_constant()
            return function(*map(_shown, arguments), **{key: _shown(x) for key, x in keywords.items()})
        lose(f"it calls {getattr(function, '__name__', function)}, whose derivative is not known")
    if keywords.pop("out", None) is not None:
        lose("it writes to an array with out=; make another array instead")
    if holds_dual(list(keywords.values())) and function not in _DUAL_KEYWORDS:
        lose(f"it calls np.{function.__name__} with a tangent in a keyword")
    return rule(*arguments, **keywords)


def _apply_solve(function: Callable[..., Any], operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Answer a call of a function of `graphsvc.solves`."""
    rule = import_module("graphsvc.tangents").TANGENTS.get(function)
    if rule is None:
        lose(f"it calls {function.__name__}, whose derivative is not known")
    values = tuple(map(value_of, operands))
    result = function(*values, **attributes)
    dots = rule(result, values, tuple(map(tangent_of, operands)), **attributes)
    if isinstance(result, tuple):
        return tuple(dual(z, dot) for z, dot in zip(result, dots, strict=True))
    return dual(result, dots)


_DUAL_KEYWORDS = frozenset({np.clip, np.interp, np.linalg.solve, np.copyto, np.where})


def _shown(x: Any) -> Any:
    """Return values for duals, also within a list."""
    if type(x) in (list, tuple):
        return type(x)(map(_shown, x))
    return value_of(x)
