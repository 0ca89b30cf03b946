"""Gates that pick, scatter, sort, pad and cut, against NumPy and by hand; and what they refuse."""

import numpy as np
import pytest

import graphsvc
from graphsvc import errors


def run(expression: str, **inputs):
    """Return the value of an expression."""
    return graphsvc.parse(f"f = {expression}").value_and_grad(inputs, wrt=[])[0]["f"]


X = np.random.default_rng(5).normal(size=(3, 4))


@pytest.mark.parametrize(
    ("expression", "inputs", "expected"),
    [
        ("sort(x, axis=0)", {}, np.sort(X, 0)),
        ("sort(x, descending=True)", {}, -np.sort(-X, -1)),
        ("argsort(x)", {}, np.argsort(X, -1)),
        ("median(x, axis=0)", {}, np.median(X, 0)),
        ("quantile(x, q=0.3)", {}, np.quantile(X, 0.3)),
        ("roll(x, shift=(1, 2), axis=(0, 1))", {}, np.roll(X, (1, 2), (0, 1))),
        ('pad(x, pad_width=((1, 5), (0, 2)), mode="wrap")', {}, np.pad(X, ((1, 5), (0, 2)), mode="wrap")),
        ('pad(x, pad_width=((1, 5), (0, 2)), mode="symmetric")', {}, np.pad(X, ((1, 5), (0, 2)), mode="symmetric")),
        ("split(x, sections=(1, 3), index=1, axis=1)", {}, np.split(X, (1, 3), axis=1)[1]),
        ("slice(x, start=3, stop=0, step=-2, axis=1)", {}, X[:, 3:0:-2]),
        ("diag(diagonal(x, offset=1))", {}, np.diag(np.diagonal(X, 1))),
        ("tril(x, k=-1) + triu(x)", {}, X),
        ("moveaxis(x, source=0, destination=-1)", {}, np.moveaxis(X, 0, -1)),
        ("segment_sum(x, s, count=2)", {"s": np.array([1, 0, 1])}, np.stack([X[1], X[0] + X[2]])),
        ("one_hot(s, depth=3)", {"s": np.array([1, -1])}, np.eye(3)[[1, -1]]),
        ("bincount(s, length=4)", {"s": np.array([1, 3, 1])}, np.array([0, 2, 0, 1])),
        ("nonzero(s, size=2)", {"s": np.array([0, 3, 1])}, np.array([[1], [2]])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_gate_gives_what_numpy_gives(expression, inputs, expected):
    """The value is NumPy's, shape and dtype too."""
    given = {"x": X} | inputs if "x" in graphsvc.parse(f"f = {expression}").inputs else inputs
    found = run(expression, **given)
    np.testing.assert_allclose(found, expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)


@pytest.mark.parametrize(
    ("expression", "inputs", "error", "words"),
    [
        ("take(x, i)", {"i": np.array([12])}, errors.GateDataError, "Index 12 is out of range for 12"),
        ("take(x, i)", {"i": np.array([255], np.uint8)}, errors.GateDataError, "Index 255 is out of range"),
        ("gather_elements(x, i)", {"i": np.array([[3]])}, errors.GateDataError, "from -3 to 2"),
        ("gather_nd(x, i)", {"i": np.array([[0, -5]])}, errors.GateDataError, "Index -5"),
        ("gather_nd(x, i)", {"i": np.array([[0, 0, 0]])}, errors.ShapeError, "at most the 2 axes"),
        ("segment_sum(x, i, count=2)", {"i": np.array([0, 1, 2])}, errors.GateDataError, "Segment 2"),
        ("one_hot(i, depth=2)", {"i": np.array([2])}, errors.GateDataError, "Index 2"),
        ("bincount(i, length=2)", {"i": np.array([-1])}, errors.GateDataError, "number -1"),
        ("compress(x, i, size=2, axis=0)", {"i": np.array([True, False, False])}, errors.GateDataError, "1 elements"),
        ("compress(x, i, size=2)", {"i": np.array([1, 0, 0])}, errors.ShapeError, "must be boolean"),
        ("searchsorted(i, x)", {"i": np.array([2.0, 1.0])}, errors.GateDataError, "do not ascend"),
        ("topk(x, k=5)", {}, errors.ShapeError, "fewer elements"),
        ("split(x, sections=3, index=0, axis=1)", {}, errors.ShapeError, "3 equal parts"),
        ("pad(x, pad_width=((1, 1),))", {}, errors.AttributeValueError, "1 pairs"),
        ("slice(x, step=0)", {}, errors.AttributeValueError, "never ends"),
        ("max(x * i)", {"i": np.array(1j)}, errors.DtypeError, "must be real"),
        ("squeeze(x, axis=0)", {}, errors.ShapeError, "have length 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_refused_with_names_and_values(expression, inputs, error, words):
    """Indices out of range, counts that differ and shapes that do not fit are the caller's fault, and said so."""
    given = {"x": X} | inputs if "x" in graphsvc.parse(f"f = {expression}").inputs else inputs
    with pytest.raises(error, match=words):
        run(expression, **given)


@pytest.mark.parametrize("shift", [1e5, -1e5])
def test_reductions_keep_their_digits_far_out(shift):
    """Variance and logsumexp of float32 numbers around +-1e5 are those of the numbers around 0, as are gradients."""
    x = np.array([0.0, 1.0, 3.0, 0.5], np.float32)
    for expression in ("var(x)", "std(x, ddof=1)", "logsumexp(x)", "sum(logcumsumexp(x))"):
        graph = graphsvc.parse(f"f = {expression}")
        near = graph.value_and_grad({"x": x})[1]["x"]
        far = graph.value_and_grad({"x": x + np.float32(shift)})[1]["x"]
        np.testing.assert_allclose(far, near, rtol=1e-5, atol=1e-6)


def test_scattered_sums_in_narrow_dtypes_do_not_stop():
    """4096 ones added to one place in float16 are 4096, and a running sum gets there as well."""
    ones, zero = np.ones(4096, np.float16), np.zeros(1, np.float16)
    i = np.zeros(4096, np.int64)
    assert run("index_add(x, i, u)", x=zero, i=i, u=ones) == 4096
    assert run("segment_sum(u, i, count=1)", u=ones, i=i) == 4096
    assert run('scatter_elements(x, i, u, reduction="add")', x=zero, i=i, u=ones) == 4096
    assert run("cumsum(u)", u=ones)[-1] == 4096


def test_large_integers_are_added_exactly():
    """Sums of int64 beyond 2**53 lose no digit when they are scattered."""
    big = np.array([2**53, 1])
    assert run("segment_sum(x, i, count=1)", x=big, i=np.array([0, 0])) == 2**53 + 1
