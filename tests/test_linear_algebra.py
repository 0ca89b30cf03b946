"""Linear algebra: what the laws do not see: degenerate spectra, singular matrices, refusals, agreement with SciPy."""

import re

import numpy as np
import pytest
import scipy.linalg

import graphsvc
from graphsvc import errors
from graphsvc.testing import central_difference

RANDOM = np.random.default_rng(5)


def evaluated(expression, wrt=None, **inputs):
    return graphsvc.parse(f"f = {expression}").value_and_grad(inputs, wrt=wrt)


def test_what_does_not_depend_on_the_basis_has_its_gradient_at_equal_eigenvalues():
    """The projection onto the vectors of an eigenvalue that comes twice has the gradient that differences give."""
    a = np.diag([1.0, 1.0, 2.0])
    seed = RANDOM.normal(size=(3, 3))
    graph = graphsvc.ComputationalGraph()
    v = graph.add("eigh", graph.input("a")).output("v")[:, :2]
    graph.output("f", graph.add("sum", v @ graph.add("transpose", v) * graph.input("s")))

    def loss(a):
        v = np.linalg.eigh((a + a.T) / 2)[1][:, :2]
        return float(np.sum(v @ v.T * seed))

    _, gradients = graph.value_and_grad({"a": a, "s": seed}, wrt=["a"])
    np.testing.assert_allclose(gradients["a"], central_difference(loss, a), atol=1e-7)


@pytest.mark.parametrize("kind", ["f", "c"])
@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (3, 4)])
def test_the_nearest_orthonormal_matrix_has_its_gradient_at_equal_singular_values(shape, kind):
    """U @ vh does not depend on the choice of vectors, and its gradient is that which differences give."""
    a = np.linalg.qr(RANDOM.normal(size=(max(shape), max(shape))))[0][: shape[0], : shape[1]] * 2
    seed = RANDOM.normal(size=shape)
    if kind == "c":
        a, seed = a * np.exp(0.3j), seed + 1j * RANDOM.normal(size=shape)
    graph = graphsvc.ComputationalGraph()
    d = graph.add("svd", graph.input("a"))
    graph.output("f", d @ d.output("vh"))

    def loss(a):
        u, _, vh = np.linalg.svd(a, full_matrices=False)
        return float(np.vdot(seed, u @ vh).real)

    _, gradients = graph.value_and_grad({"a": a}, output_gradients={"f": seed})
    np.testing.assert_allclose(gradients["a"], central_difference(loss, a), atol=1e-7)


def test_the_gradient_of_eigenvalues_in_float32_is_finite_where_rounding_splits_equal_ones():
    """Gaps that are rounding alone do not blow up the gradient of vectors."""
    a = (np.eye(20) + 1e-8 * RANDOM.normal(size=(20, 20))).astype(np.float32)
    graph = graphsvc.ComputationalGraph()
    e = graph.add("eigh", graph.input("a"))
    graph.output("f", graph.add("sum", e.output("v")))
    _, gradients = graph.value_and_grad({"a": a})
    assert np.max(np.abs(gradients["a"])) < 10


@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_the_gradient_of_a_determinant_is_its_cofactors(n):
    """By hand: minors with their signs, at full rank and at rank n - 1; an empty matrix has determinant 1."""
    for a in (
        RANDOM.normal(size=(n, n)),
        RANDOM.normal(size=(n, max(n - 1, 0))) @ RANDOM.normal(size=(max(n - 1, 0), n)),
    ):
        outputs, gradients = evaluated("det(a)", a=a)
        minors = [
            [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(n)] for i in range(n)
        ]
        np.testing.assert_allclose(gradients["a"], np.reshape(minors, (n, n)), atol=1e-12)
        np.testing.assert_allclose(outputs["f"], np.linalg.det(a))


@pytest.mark.parametrize(
    ("expression", "inputs", "problem"),
    [
        ("solve(a, b)", {"a": np.ones((2, 2)), "b": np.ones(2)}, "at node.*singular"),
        ("triangular_solve(a, b)", {"a": np.zeros((2, 2)), "b": np.ones(2)}, "at node.*singular"),
        ("inv(a)", {"a": np.ones((2, 2))}, "at node.*singular"),
        ("cholesky(a)", {"a": np.array([[1.0, 2], [2, 1]])}, "at node.*not positive definite"),
        ("svd(a)", {"a": np.full((2, 2), np.nan)}, "at node.*NaN"),
        ("qr(a)", {"a": np.array([[1.0, 1], [1, 1]])}, "at node.*depend on each other"),
        ("logdet(a)", {"a": np.ones((2, 2))}, "at node.*singular"),
    ],
)
def test_data_that_has_no_answer_is_refused_with_its_node(expression, inputs, problem):
    """Singular and indefinite matrices are the caller's, told to him with the node."""
    graph = graphsvc.parse(f"f = {expression}")
    # One seed for outputs of any shape that has one.
    seed = np.ones(np.shape(inputs.get("b", inputs["a"])) if "logdet" not in expression else ())
    with pytest.raises(errors.GateDataError, match=problem):
        graph.value_and_grad(inputs, output_gradients={"f": seed})


@pytest.mark.parametrize(
    ("expression", "inputs", "problem"),
    [
        ("solve(a, b)", {"a": np.ones((2, 3)), "b": np.ones(2)}, "square matrices"),
        ("solve(a, b)", {"a": np.ones((2, 2)), "b": np.ones(3)}, r"shape \(2,\) or \(\.\.\., 2, k\)"),
        ("solve(a, b)", {"a": np.ones((3, 2, 2)), "b": np.ones((2, 2, 1))}, "do not broadcast"),
        ("solve(a, b)", {"a": np.ones((2, 2)), "b": np.ones(())}, "many vectors stand in columns"),
        ("inv(a)", {"a": np.ones(3)}, "must be matrices"),
        ("det(a)", {"a": np.ones((2, 2), int)}, "floating point or complex"),
        ("logdet(a)", {"a": np.ones((2, 2), complex)}, "Take 'slogdet'"),
        ("qr(a)", {"a": np.ones((2, 3))}, "at least as many rows"),
        ("lstsq(a, b)", {"a": np.ones((2, 3)), "b": np.ones(3)}, r"\(2,\)"),
        ("expm(a)", {"a": np.ones((2, 3))}, "square matrices"),
        ("matrix_norm(a, ord=2)", {"a": np.ones((2, 0))}, "no largest singular value"),
        ("matrix_norm(a)", {"a": np.ones(3)}, "must be matrices"),
        ("circulant(a)", {"a": np.ones((2, 2))}, "must be a vector"),
        ("toeplitz(a, b)", {"a": np.ones(2), "b": np.ones(0)}, "Operand 'r' must be a vector with elements"),
    ],
)
def test_operands_that_do_not_fit_are_refused_before_the_run(expression, inputs, problem):
    """Shapes and dtypes are judged by `infer`, which says what was given and what to do."""
    with pytest.raises(errors.InputError, match=problem):
        evaluated(expression, **inputs)


def test_values_agree_with_numpy_and_scipy():
    """What NumPy or SciPy computes under these names, with their defaults."""
    a, b = RANDOM.normal(size=(2, 4, 4)) + 4 * np.eye(4), RANDOM.normal(size=(4, 3))
    s = a[0] @ a[0].T
    tall = RANDOM.normal(size=(5, 3))
    for expression, expected in {
        "solve(a, b)": np.linalg.solve(a, b),
        "inv(a)": np.linalg.inv(a),
        "slogdet(a)": np.linalg.slogdet(a)[0],
        "logdet(s)": np.linalg.slogdet(s)[1],
        "cholesky(s)": np.linalg.cholesky(s),
        "cholesky(s, upper=true)": np.linalg.cholesky(s, upper=True),
        "eigvalsh(s)": np.linalg.eigvalsh(s),
        "svdvals(tall)": np.linalg.svdvals(tall),
        "qr(tall)": np.linalg.qr(tall)[0],
        "pinv(tall)": np.linalg.pinv(tall),
        "lstsq(tall, c)": np.linalg.lstsq(tall, np.arange(5.0))[0],
        "triangular_solve(s, b)": scipy.linalg.solve_triangular(s, b),
        "triangular_solve(s, b, lower=true, trans='T')": scipy.linalg.solve_triangular(s, b, lower=True, trans="T"),
        "cho_solve(s, b)": scipy.linalg.cho_solve((s, True), b),
        "lu(s)": scipy.linalg.lu(s)[0],
        "expm(a)": scipy.linalg.expm(a),
        "matrix_power(a, n=-3)": np.linalg.matrix_power(a, -3),
        "matrix_power(a, n=0)": np.linalg.matrix_power(a, 0),
        "matrix_norm(a)": np.linalg.matrix_norm(a),
        "matrix_norm(a, ord='nuc', keepdims=true)": np.linalg.matrix_norm(a, ord="nuc", keepdims=True),
        "matrix_norm(tall, ord=2)": np.linalg.matrix_norm(tall, ord=2),
        "circulant(c)": scipy.linalg.circulant(np.arange(5.0)),
        "toeplitz(c, d)": scipy.linalg.toeplitz(np.arange(5.0), np.arange(3.0)),
    }.items():
        expression = expression.replace("true", "True")
        graph = graphsvc.parse(f"f = {expression}")
        inputs = {"a": a, "b": b, "s": s, "tall": tall, "c": np.arange(5.0), "d": np.arange(3.0)}
        outputs, _ = graph.value_and_grad({name: inputs[name] for name in graph.inputs}, wrt=[])
        np.testing.assert_allclose(outputs["f"], expected, rtol=1e-9, atol=1e-12, err_msg=expression)


def test_a_cholesky_factor_solves_what_its_matrix_solves():
    """cho_solve(cholesky(a), b) is solve(a, b), and so are the gradients, of symmetric directions."""
    root = RANDOM.normal(size=(4, 4))
    a, b = root @ root.T + np.eye(4), RANDOM.normal(size=4)
    _, one = evaluated("sum(cho_solve(cholesky(a), b))", a=a, b=b)
    _, two = evaluated("sum(solve(a, b))", a=a, b=b)
    np.testing.assert_allclose(one["b"], two["b"])
    np.testing.assert_allclose(one["a"], (two["a"] + two["a"].T) / 2)


def test_least_squares_of_many_rows_has_the_gradient_of_its_residual():
    """The gradient of the squared residual agrees with differences, for matrices of full rank and of less."""
    a, b = RANDOM.normal(size=(5, 3)), RANDOM.normal(size=5)
    for matrix in (a, a.T):
        right = b[: matrix.shape[0]]

        def loss(m, right=right):
            z = np.linalg.lstsq(m, right)[0]
            return float(np.sum(z * z))

        _, gradients = evaluated("sum_square(lstsq(a, b))", wrt=["a"], a=matrix, b=right)
        np.testing.assert_allclose(gradients["a"], central_difference(loss, matrix), rtol=1e-6, atol=1e-7)


def test_matrix_products_of_complex_numbers_conjugate():
    """The gradient of Re tr(x @ y) towards x is the conjugate transpose of y."""
    x, y = (RANDOM.normal(size=(2, 2)) + 1j * RANDOM.normal(size=(2, 2)) for _ in range(2))
    graph = graphsvc.parse("f = x @ y")
    _, gradients = graph.value_and_grad({"x": x, "y": y}, output_gradients={"f": np.eye(2, dtype=complex)})
    np.testing.assert_allclose(gradients["x"], y.conj().T)
    np.testing.assert_allclose(gradients["y"], x.conj().T)


def test_the_exponential_of_what_is_not_finite_is_not_a_number():
    """Of that matrix alone; the others of the stack are as ever."""
    a = np.stack([np.eye(2), np.full((2, 2), np.inf)])
    outputs, _ = evaluated("expm(a)", wrt=[], a=a)
    np.testing.assert_allclose(outputs["f"][0], np.e * np.eye(2))
    assert np.all(np.isnan(outputs["f"][1]))


def test_the_gradient_of_an_exponential_does_not_depend_on_the_size_of_what_arrives():
    """1e30 times as much arriving gives 1e30 times as much, without the loss that squaring so often brings."""
    a, seed = RANDOM.normal(size=(3, 3)), RANDOM.normal(size=(3, 3))
    graph = graphsvc.parse("f = expm(a)")
    one, two = (graph.value_and_grad({"a": a}, output_gradients={"f": s * seed})[1]["a"] for s in (1.0, 1e30))
    np.testing.assert_allclose(two, 1e30 * one, rtol=1e-12)


IDENTITY, TWICE = np.eye(3), np.diag([1.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("text", "a", "says"),
    [
        ("e = eigh(a); f = e.v", TWICE, r"'e' \(gate 'eigh'\): Some eigenvalues coincide \(1 pairs\)"),
        ("e = eigh(a); f = e.v", TWICE + 0j, r"eigenvalues coincide \(1 pairs\)"),
        ("e = eigh(a); f = e.v", np.stack([IDENTITY, TWICE]), r"eigenvalues coincide \(4 pairs\)"),
        ("d = svd(a); f = d.u", IDENTITY, r"'d' \(gate 'svd'\): Some singular values coincide \(3 pairs\)"),
        ("d = svd(a); f = d.vh", IDENTITY + 0j, r"singular values coincide \(3 pairs\)"),
        ("d = svd(a); f = d.u", np.outer([1.0, 2.0, 3.0], [1.0, 1.0]), r"singular values are zero \(1\)"),
        ("d = svd(a); f = d.vh", np.zeros((2, 3)), r"coincide \(1 pairs\) and some singular values are zero \(2\)"),
    ],
)
def test_gradients_that_do_not_exist_and_are_taken_as_zero_are_told(text, a, says):
    """In a debugging run, with node and gate: where the result depends on a choice of vectors that is free."""
    gradients = observed(text, a)
    assert np.all(np.isfinite(gradients["a"]))
    assert re.search(says, str(gradients.diagnosis)), gradients.diagnosis
    assert gradients.diagnosis.findings == ()
    (undefined,) = gradients.diagnosis.undefined
    assert "have no derivative: it was taken as 0" in undefined.explanation


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize(
    ("text", "a"),
    [
        ("e = eigh(a); f = e.w", IDENTITY),
        ("e = eigh(a); f = (e.v * cos(e.w)) @ transpose(conjugate(e.v))", TWICE),
        ("e = eigh(a); f = e.v", np.diag([1.0, 2.0, 4.0])),
        ("d = svd(a); f = d.u @ d.vh", IDENTITY),
        ("d = svd(a); f = (d.u * d.s) @ d.vh", np.outer([1.0, 2.0, 3.0], [1.0, 1.0])),
        ("d = svd(a); f = d.s", np.zeros((2, 3))),
        ("d = svd(a); f = d.u", np.arange(6.0).reshape(3, 2) ** 2),
    ],
)
def test_nothing_is_told_of_gradients_that_exist(text, a, dtype):
    """Values that coincide are no fault where the result is the same for every choice of vectors."""
    assert observed(text, a.astype(dtype)).diagnosis is None


def observed(text, a):
    """Return gradients for random ones that arrive at `f`, with their diagnosis."""
    graph, random = graphsvc.parse(text), np.random.default_rng(0)
    z = graph.value_and_grad({"a": a}, wrt=[])[0]["f"]
    arriving = {"f": random.normal(size=z.shape).astype(z.dtype)}
    return graph.value_and_grad({"a": a}, output_gradients=arriving, outputs=["f"], debug=True)[1]
