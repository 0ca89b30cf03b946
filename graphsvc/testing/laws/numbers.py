"""Laws of numbers: shapes, dtypes and precision, also those that no example has."""

from collections.abc import Iterator, Mapping

import numpy as np

from graphsvc.arrays import Array, is_differentiable, spec_of
from graphsvc.errors import GateContractError, GateError, GraphsvcError
from graphsvc.testing.case import GateCase
from graphsvc.testing.comparing import require

__all__ = ["dtypes", "finite", "inference", "precision", "shapes"]

_DTYPES = ("bool", "uint8", "int32", "int64", "float16", "float32", "float64", "complex64", "complex128")
_MIXED = (("float32", "float64"), ("float64", "float32"), ("float16", "float32"), ("complex64", "float64"))


def inference(case: GateCase) -> int:
    """`infer` gives the shapes and dtypes that forward then returns, in Python integers."""
    if not case.gate.signature.infers:
        return 0
    specs = list(case.graph.infer(case.inputs).values())[len(case.inputs) :]
    for (name, z), spec in zip(case.outputs.items(), specs, strict=True):
        require(spec is not None, f"infer says nothing of output {name!r}.")
        if spec is not None:
            require(spec == spec_of(z), f"infer says {spec} of output {name!r}, but it is {spec_of(z)}.")
            plain = all(type(size) is int for size in spec.shape)
            require(plain, f"infer gives {spec.shape!r} for output {name!r}; sizes are Python integers.")
    return len(specs)


def dtypes(case: GateCase) -> int:
    """For operands of every dtype a gate does what `infer` says, or refuses them; gradients are as their operands."""
    return sum(_agrees(case, inputs) for inputs in _in_other_dtypes(case))


def shapes(case: GateCase) -> int:
    """So it is for operands with no axes, with none or one element, and with one axis more."""
    return sum(_agrees(case, inputs) for inputs in _in_other_shapes(case))


def _agrees(case: GateCase, inputs: Mapping[str, Array]) -> int:
    """Run a gate on operands that are none of its examples; 1 if it ran, 0 if it refused them."""
    given = ", ".join(str(spec_of(x)) for x in inputs.values())
    try:
        evaluation = case.graph.forward(inputs)
        wanted = case.differentiable(inputs)
        seeds = case.seeds(np.random.default_rng(case.seed), evaluation.outputs)
        if wanted and seeds:
            gradients = case.graph.backward(evaluation, seeds, wanted)
            for name, dx in gradients.items():
                require(
                    spec_of(dx) == spec_of(inputs[name]), f"A gradient of {spec_of(inputs[name])} is {spec_of(dx)}."
                )
    except GateContractError as error:
        msg = f"For operands {given}: {error.message}"
        raise AssertionError(msg) from error
    except GateError as error:
        if not case.gate.signature.infers and "failed" in error.message:
            # With no infer there is nothing that could have refused them before.
            return 0
        todo = "Refuse such operands in `infer` with a ShapeError or DtypeError, or data with a GateDataError."
        msg = f"For operands {given}: {error.message}. {todo}"
        raise AssertionError(msg) from error
    except GraphsvcError:
        return 0
    return 1


def _is_fixed(case: GateCase, position: int) -> bool:
    """Tell whether an operand is one of integers or booleans, which stays so."""
    return case.operands[position].dtype.kind in "biu"


def _in_other_dtypes(case: GateCase) -> Iterator[dict[str, Array]]:
    free = [i for i in range(len(case.operands)) if not _is_fixed(case, i)]
    for dtype in _DTYPES:
        yield _cast(case, dict.fromkeys(free, dtype))
    if len(free) > 1:
        for first, others in _MIXED:
            yield _cast(case, dict.fromkeys(free, others) | {free[0]: first})
    for i in set(range(len(case.operands))) - set(free):
        for dtype in ("bool", "int8", "uint8", "int32", "uint64"):
            if np.array_equal(case.operands[i].astype(dtype), case.operands[i]):
                yield _cast(case, {i: dtype})


def _cast(case: GateCase, dtypes: Mapping[int, str]) -> dict[str, Array]:
    cast = {}
    for i, (name, x) in enumerate(case.inputs.items()):
        dtype = np.dtype(dtypes.get(i, x.dtype))
        with np.errstate(all="ignore"):
            cast[name] = (x.real if x.dtype.kind == "c" and dtype.kind != "c" else x).astype(dtype)
    return cast


def _in_other_shapes(case: GateCase) -> Iterator[dict[str, Array]]:
    every = set(range(len(case.operands)))
    groups = [every, *({i} for i in every if len(every) > 1)]
    ranks = max(x.ndim for x in case.operands)
    seen = set()
    for group in groups:
        for kind in ("0-d", "one", "more", *range(1, ranks + 1)):
            inputs = {n: _reshaped(x, kind) if i in group else x for i, (n, x) in enumerate(case.inputs.items())}
            said = tuple(x.shape for x in inputs.values())
            if said not in seen:
                seen.add(said)
                yield inputs


def _reshaped(x: Array, kind: str | int) -> Array:
    """Return a part of `x` with no axes, one element, one axis more, or none along the axis that is so far back."""
    if kind == "0-d":
        return x.reshape(-1)[:1].reshape(()) if x.size else x
    if kind == "one":
        return x[(slice(0, 1),) * x.ndim]
    if kind == "more":
        return x[None]
    if not isinstance(kind, int) or kind > x.ndim:
        return x
    return np.take(x, range(0), axis=x.ndim - kind)


def precision(case: GateCase) -> int:
    """What is given as float32 or float16 comes back as such, and as exact as that allows."""
    if not any(x.dtype.kind in "fc" for x in case.operands):
        return 0
    checked = 0
    for dtype, allowed in ((np.dtype("float32"), 1e-3), (np.dtype("float16"), 5e-2)):
        # There are no complex numbers of half precision.
        if dtype.itemsize == 2 and any(x.dtype.kind == "c" for x in case.operands):
            continue
        complex_dtype = np.result_type(dtype, np.complex64)
        narrow = {
            name: x.astype({"f": dtype, "c": complex_dtype}.get(x.dtype.kind, x.dtype))
            for name, x in case.inputs.items()
        }
        wide = {name: narrow[name].astype(x.dtype) for name, x in case.inputs.items()}
        try:
            outputs, exact = case.forward(narrow), case.forward(wide)
        except GraphsvcError:
            # It refuses this dtype, or fails, which the law of dtypes finds.
            continue
        for name, z in outputs.items():
            if not is_differentiable(z.dtype):
                continue
            expected = complex_dtype if z.dtype.kind == "c" else dtype
            require(z.dtype == expected, f"Output {name!r} is {z.dtype} for operands of {dtype}, and no {expected}.")
            _require_precise(name, z, exact[name], allowed)
            checked += 1
    return checked


def _require_precise(name: str, z: Array, exact: Array, allowed: float) -> None:
    if z.shape != exact.shape or not np.all(np.isfinite(exact)):
        return
    size = float(np.abs(exact).max(initial=0.0))
    if size > float(np.finfo(z.dtype).max):
        return
    difference = float(np.abs(z - exact).max(initial=0.0))
    problem = f"Output {name!r} in {z.dtype} is off by {difference:.3g}, of numbers up to {size:.3g}"
    require(difference <= allowed * max(size, 1e-3), f"{problem}. Compute it in a wider dtype.")


def finite(case: GateCase) -> int:
    """Finite operands give finite outputs and gradients, where the examples are."""
    if not all(np.all(np.isfinite(x)) for x in case.operands):
        return 0
    for name, z in case.outputs.items():
        require(bool(np.all(np.isfinite(z))), f"Output {name!r} is not finite, though all operands are.")
    if case.differentiates:
        for name, dx in case.gradients.items():
            what = f"The gradient of operand {case.operand_name(name)!r}"
            require(bool(np.all(np.isfinite(dx))), f"{what} is not finite, though all operands are.")
    return len(case.outputs) + (len(case.wanted) if case.differentiates else 0)
