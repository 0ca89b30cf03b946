"""Elementwise gates: what becomes of them in a plan, and what they make of complex numbers, integers and far values."""

from typing import Any

import numpy as np
import pytest
from scipy import special

import graphsvc
from graphsvc import ComputationalGraph, errors
from graphsvc.arrays import ArraySpec, is_differentiable, spec_of
from graphsvc.gate import Elementwise, Example
from tests.every_gate import every_gate

INF, NAN = np.inf, np.nan
GATES = [gate for gate in every_gate() if issubclass(gate, Elementwise)]


def value_of(expression: str, **inputs: Any) -> Any:
    """Return the value of an expression."""
    outputs, _ = graphsvc.parse(f"f = {expression}").value_and_grad(inputs, wrt=[])
    return outputs["f"]


# What becomes of them ------------------------------------------------------------------------------------------------

NOT_FUSED = {
    "complex": "its results are complex, and those are not recorded",
}
"""Elementwise gates that are run as they are although their operands are real, and why."""


def _real_examples(gate: type[Elementwise]) -> list[Example]:
    return [example for example in gate.examples() if all(x.dtype.kind != "c" for x in example.operands)]


def _stands_alone(example: Example) -> str:
    """Return why a gate is run as it is; empty where it is fused, forward and backward."""
    inputs = {f"x{i}": x for i, x in enumerate(example.operands)}
    graph = ComputationalGraph()
    node = graph.add(example.gate, *(graph.input(name) for name in inputs), name="here")
    graph.output("f", node)
    dtype = graph.infer(inputs)["here"].dtype
    if is_differentiable(dtype):
        graph.output("g", graph.add("sum", graph.add("real", node) if dtype.kind == "c" else node))
    # Parameters of some functions have no derivative.
    signature = example.gate.signature
    wanted = [
        name
        for i, (name, x) in enumerate(inputs.items())
        if is_differentiable(x.dtype) and signature.rule_for(signature.index(i))
    ]
    explanation = graph.explain(inputs, wrt=wanted if is_differentiable(dtype) else [], outputs=[*graph.outputs][-1:])
    return explanation.reason or "; ".join(part.reason for part in explanation.parts if part.node == "here")


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_an_elementwise_gate_is_recorded_and_fused(gate: type[Elementwise]):
    """Every example of real operands, forward and backward; what is not stands in a table with the reason."""
    examples = [e for e in _real_examples(gate) if not getattr(e.gate, "dtype", "").startswith("complex")]
    reasons = {reason for example in examples if (reason := _stands_alone(example))}
    assert bool(reasons) == (gate.name in NOT_FUSED), reasons


def test_the_table_names_gates():
    """And none besides."""
    assert set(NOT_FUSED) <= {gate.name for gate in GATES}


# Complex numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_an_elementwise_gate_has_a_complex_example_or_refuses_complex_numbers(gate: type[Elementwise]):
    """So that none takes them and gives a gradient that nobody has checked."""
    examples = list(gate.examples())
    if any(x.dtype.kind == "c" for example in examples for x in example.operands):
        return
    signature = gate.signature
    for example in examples:
        for position, operand in enumerate(example.operands):
            if operand.dtype.kind != "f" or signature.index(position) in signature.integers:
                continue
            for dtype in ("complex64", "complex128"):
                specs = [spec_of(x) for x in example.operands]
                specs[position] = ArraySpec(operand.shape, np.dtype(dtype))
                with pytest.raises(errors.DtypeError, match=r"\. "):
                    example.gate.infer(*specs)


@pytest.mark.parametrize(
    ("expression", "derivative"),
    [
        ("sqrt(x)", lambda x: 0.5 / np.sqrt(x)),
        ("rsqrt(x)", lambda x: -0.5 / x / np.sqrt(x)),
        ("arcsin(x)", lambda x: 1 / np.sqrt(1 - x * x)),
        ("arccosh(x)", lambda x: 1 / (np.sqrt(x - 1) * np.sqrt(x + 1))),
        ("arcsinh(x)", lambda x: 1 / np.sqrt(x * x + 1)),
        ("log2(x)", lambda x: 1 / (x * np.log(2))),
        ("tanh(x)", lambda x: 1 / np.cosh(x) ** 2),
        ("x**(-2.5)", lambda x: -2.5 * x**-3.5),
    ],
)
def test_backward_of_a_holomorphic_gate_multiplies_by_the_conjugate_of_its_derivative(expression, derivative):
    """In every quadrant, by formulas of their own."""
    x = np.array([0.5 + 1.25j, -0.75 + 0.5j, -0.4 - 0.8j, 1.5 - 0.3j])
    dz = np.array([1.0 - 2.0j, 0.5j, 3.0 + 1.0j, -1.0 + 0j])
    _, gradients = graphsvc.parse(f"f = {expression}").value_and_grad({"x": x}, output_gradients={"f": dz})
    np.testing.assert_allclose(gradients["x"], dz * np.conjugate(derivative(x)), rtol=1e-13)


def test_complex_numbers_are_made_of_infinite_parts():
    """`x + 1j * y` would be NaN; the dtype is the complex one that holds both parts."""
    z = value_of("complex(x, y)", x=np.array([1.0, INF]), y=np.array([-INF, 2.0]))
    np.testing.assert_array_equal(z.real, [1.0, INF])
    np.testing.assert_array_equal(z.imag, [-INF, 2.0])
    for one, other, made in [
        ("float32", "float32", "complex64"),
        ("float16", "float32", "complex64"),
        ("float32", "float64", "complex128"),
        ("int64", "float32", "complex128"),
    ]:
        assert value_of("complex(x, y)", x=np.array(1, one), y=np.array(2, other)).dtype == made


def test_a_cast_to_real_numbers_does_not_drop_imaginary_parts():
    """It is refused before anything runs, and a cast among complex dtypes is not."""
    for dtype in ("float64", "int8", "bool"):
        with pytest.raises(errors.DtypeError, match="'real' part"):
            graphsvc.parse(f"f = cast(x, dtype='{dtype}')").infer({"x": np.array(1j)})
    assert value_of("cast(x, dtype='complex64')", x=np.array(1 + 2j)).dtype == np.complex64
    _, gradients = graphsvc.parse("f = real(cast(x, dtype='complex64') * 1.5)").value_and_grad({"x": np.array(2.0)})
    assert (gradients["x"], gradients["x"].dtype) == (1.5, np.float64)


# Integers ------------------------------------------------------------------------------------------------------------

UNARY = {
    "negative": np.negative, "abs": np.abs, "sign": np.sign, "square": np.square, "sqrt": np.sqrt, "cbrt": np.cbrt,
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10,
    "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan, "arcsin": np.arcsin, "arccos": np.arccos,
    "arctan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "arcsinh": np.arcsinh,
    "arccosh": np.arccosh, "arctanh": np.arctanh, "floor": np.floor, "ceil": np.ceil, "round": np.round,
    "trunc": np.trunc, "sinc": np.sinc, "deg2rad": np.deg2rad, "rad2deg": np.rad2deg, "isnan": np.isnan,
    "isinf": np.isinf, "isfinite": np.isfinite, "logical_not": np.logical_not, "nan_to_num": np.nan_to_num,
    "real": np.real, "imag": np.imag, "conjugate": np.conjugate, "angle": np.angle, "identity": np.copy,
    "stop_gradient": np.copy,
}  # fmt: skip
BINARY = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "power": np.power,
    "remainder": np.remainder, "fmod": np.fmod, "floor_divide": np.floor_divide, "maximum": np.maximum,
    "minimum": np.minimum, "fmax": np.fmax, "fmin": np.fmin, "arctan2": np.arctan2, "hypot": np.hypot,
    "logaddexp": np.logaddexp, "logaddexp2": np.logaddexp2, "copysign": np.copysign, "nextafter": np.nextafter,
    "ldexp": np.ldexp, "heaviside": np.heaviside, "equal": np.equal, "not_equal": np.not_equal, "less": np.less,
    "less_equal": np.less_equal, "greater": np.greater, "greater_equal": np.greater_equal,
    "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor,
    "xlogy": special.xlogy, "xlog1py": special.xlog1py,
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8"])
@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_a_gate_of_integers_does_what_numpy_does(name: str, dtype: str):
    """Dtype and values; `sinc` and the products with logarithms are computed in float64."""
    if np.dtype(dtype).kind == "u" and name == "ldexp":
        return
    operands = {"x": np.array([1, 2, 3, 0], dtype), "y": np.array([2, 1, 3, 1], dtype)}
    function = UNARY.get(name) or BINARY[name]
    given = operands if name in BINARY else {"x": operands["x"]}
    with np.errstate(all="ignore"):
        expected = function(*given.values())
    found = value_of(f"{name}({', '.join(given)})", **given)
    own = name in ("sinc", "xlogy", "xlog1py")
    assert own or found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-3 if own else 1e-15, equal_nan=True)


def test_what_has_no_meaning_for_integers_is_refused():
    """With the names of operands and dtypes, and what to do."""
    for expression, dtype, says in [
        ("round(x, decimals=-1)", "int64", "decimals=-1"),
        ("clip(x, min=0)", "bool", "'x' is bool"),
        ("negative(x)", "bool", "dtype bool"),
        ("x - x", "bool", "dtype bool"),
        ("ldexp(x, x)", "float64", "'y' must be of an integer dtype"),
    ]:
        with pytest.raises(errors.DtypeError, match=says):
            graphsvc.parse(f"f = {expression}").infer({"x": np.ones(2, dtype)})


# Values --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_a_gate_gives_what_numpy_gives(name: str, dtype: str):
    """Also at zeros of either sign, far out, at infinities and at NaN."""
    x = np.array([0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.5, -3.5, 1e-7, 3e4, -3e4, INF, -INF, NAN], dtype)
    if dtype == "float16" and name in ("sinc", "xlogy", "xlog1py"):
        # NumPy loses the digits of the angle, and SciPy computes these in float64.
        return
    given = {"x": x} if name in UNARY else {"x": x, "y": x[::-1, np.newaxis].copy()}
    if name == "ldexp":
        given["y"] = np.array([[0], [3], [-4], [2000]])
    function = UNARY.get(name) or BINARY[name]
    with np.errstate(all="ignore"):
        expected = function(*given.values())
    found = value_of(f"{name}({', '.join(given)})", **given)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=4 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).tiny)


@pytest.mark.parametrize("decimals", [-3, -1, 1, 2, 7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounding_to_decimals_is_numpys(decimals: int, dtype: str):
    """Halves go to the even digit; what would overflow on the way stays as it is."""
    x = np.array([0.125, -2.675, 1234.5, 1500.0, -0.04999, 1e-9, INF, -INF, NAN, 0.0], dtype)
    np.testing.assert_array_equal(value_of(f"round(x, decimals={decimals})", x=x), np.round(x, decimals))
    big = np.array([1e38 if dtype == "float32" else 1e305], dtype)
    np.testing.assert_array_equal(value_of("round(x, decimals=20)", x=big), big)


def test_select_is_numpys():
    """The first condition that is true decides, of none the default."""
    random = np.random.default_rng(0)
    conditions = random.random((3, 4, 5)) < 0.4
    x, y, z = random.normal(size=(3, 4, 5))
    inputs = {"a": conditions[0], "b": conditions[1], "c": conditions[2], "x": x, "y": y, "z": z}
    found = value_of("select(a, x, b, y, c, z, 7.5)", **inputs)
    np.testing.assert_array_equal(found, np.select(list(conditions), [x, y, z], 7.5))


def test_bounds_are_kept_in_the_dtype_of_the_operand():
    """Bounds of integers are rounded inwards, and those that bound nothing are taken to do so."""
    x = np.array([-128, -3, 0, 5, 127], np.int8)
    found = value_of("clip(x, min=-2.5, max=4.5)", x=x)
    np.testing.assert_array_equal(found, np.array([-2, -2, 0, 4, 4], np.int8))
    assert found.dtype == np.int8
    np.testing.assert_array_equal(value_of("clip(x, min=-1000, max=1000)", x=x), x)
    half = np.array([1.0, INF], np.float16)
    found = value_of("clip(x, max=1e6)", x=half)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, half)
    finite = value_of("nan_to_num(x)", x=np.array([NAN, INF, -INF], np.float16))
    np.testing.assert_array_equal(finite, np.array([0, 65504, -65504], np.float16))
    finite = value_of("nan_to_num(x, nan=1, posinf=2, neginf=3)", x=np.array([NAN, INF, -INF, 4.0]))
    np.testing.assert_array_equal(finite, [1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("expression", "dtype", "says"),
    [
        ("clip(x)", "float64", "no bound"),
        ("clip(x, min=2, max=1)", "float64", "'min' is 2.0, above 'max', which is 1.0"),
        ("clip(x, min=300)", "int8", "'min' is 300.0, above all numbers of int8"),
        ("clip(x, max=-1)", "uint8", "'max' is -1.0, below all numbers of uint8"),
        ("clip(x, min=0.2, max=0.8)", "int64", "No int64 lies between"),
        ("clip(x, min=1e6)", "float16", "above all numbers of float16"),
        ("nan_to_num(x, posinf=1e6)", "float16", "'posinf' is 1000000.0"),
        ("round(x, decimals=31)", "float64", "'decimals'"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(expression: str, dtype: str, says: str):
    """Before anything runs, with the attribute, its value, and what to do."""
    with pytest.raises(errors.AttributeValueError, match=says):
        graphsvc.parse(f"f = {expression}").infer({"x": np.ones(2, dtype)})


@pytest.mark.parametrize(
    ("expression", "operands"),
    [("select(c, x)", "cx"), ("select(x, x, x)", "x"), ("select(c, x, x, x, x)", "cx"), ("where(x, x, x)", "x")],
)
def test_a_choice_with_no_default_or_by_numbers_is_refused(expression: str, operands: str):
    """The operands come in pairs with one at the end, and conditions are boolean."""
    given = {"c": np.array([True]), "x": np.array([1.0])}
    with pytest.raises(errors.InputError, match="select|where"):
        graphsvc.parse(f"f = {expression}").infer({name: given[name] for name in operands})


# Derivatives far out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "x", "slope"),
    [
        ("tanh(x)", 1000.0, 0.0),
        ("arcsinh(x)", 1e200, 1e-200),
        ("arcsinh(x)", -1e200, 1e-200),
        ("arccosh(x)", 1e200, 1e-200),
        ("expm1(x)", -50.0, np.exp(-50.0)),
        ("log1p(x)", 1e300, 1e-300),
        ("hypot(x, 1e300)", 1e300, np.sqrt(0.5)),
        ("arctan2(x, 1e200)", 1e200, 0.5e-200),
        ("arctan2(x, 1e-200)", 1e-200, 0.5e200),
        ("sinc(x)", 1e-8, -(np.pi**2) / 3 * 1e-8),
        ("sinc(x)", 0.159, None),
        ("sinc(x)", 0.160, None),
        ("logaddexp(x, 0.0)", -700.0, np.exp(-700.0)),
        ("logaddexp(x, 0.0)", 1e5, 1.0),
        ("logaddexp(x, 0.0)", -1e5, 0.0),
        ("logaddexp2(x, 0.0)", -1000.0, 2.0**-1000),
        ("sinh(x)", 1000.0, INF),
        ("log10(x)", 1e-300, 1e300 / np.log(10)),
    ],
)
def test_derivatives_keep_their_digits(expression: str, x: float, slope: float | None):
    """Where the formula of the school overflows, or has no digits left."""
    if slope is None:
        # The series of the derivative, far beyond what the gate takes of it.
        y = np.longdouble(np.pi * x)
        terms = [(-1) ** k * 2 * k * y ** (2 * k - 1) / special.factorial(2 * k + 1, exact=True) for k in range(1, 12)]
        slope = float(np.pi * sum(terms))
    _, gradients = graphsvc.parse(f"f = {expression}").value_and_grad({"x": x})
    assert gradients["x"] == pytest.approx(slope, rel=1e-13, abs=0)


def test_gates_without_a_gradient_leave_inputs_disconnected():
    """Zeros, and listed; beside another path the gradient is that of the other."""
    for gate in ("floor", "ceil", "round", "trunc", "sign", "stop_gradient"):
        _, gradients = graphsvc.parse(f"f = {gate}(x) * y").value_and_grad({"x": 1.25, "y": 3.0})
        assert gradients.disconnected == ("x",)
        assert gradients["x"] == 0
    _, gradients = graphsvc.parse("f = x + stop_gradient(round(x) - x)").value_and_grad({"x": 1.25})
    assert gradients == {"x": 1.0}
    assert gradients.disconnected == ()
