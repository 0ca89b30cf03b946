"""Linear algebra under the gates: values, refusals, tangents, and calls handed over to what stands for an array."""

from typing import Any

import numpy as np
import pytest

from graphsvc import solves
from graphsvc.errors import GateDataError
from graphsvc.tangents import TANGENTS

RANDOM = np.random.default_rng(3)


def random(*shape: int, kind: str = "f") -> np.ndarray:
    real = RANDOM.normal(size=shape)
    return real + 1j * RANDOM.normal(size=shape) if kind == "c" else real


def definite(a: np.ndarray) -> np.ndarray:
    return a @ solves.adjoint(a) + np.eye(a.shape[-1])


def cases(kind: str) -> list[tuple[Any, tuple[np.ndarray, ...], dict[str, Any]]]:
    square, tall, wide = (random(*shape, kind=kind) for shape in ((2, 4, 4), (2, 4, 3), (3, 4)))
    well = square + 4 * np.eye(4)
    return [
        (solves.solve, (well, tall), {}),
        (solves.solve, (well[0], tall[0, :, 0]), {}),
        (solves.solve, (well, tall[0, :, 0]), {}),
        (solves.solve_triangular, (well, tall), {}),
        (solves.solve_triangular, (well[0], tall[0, :, 0]), {"lower": False, "transposed": True}),
        (solves.solve_triangular, (well, tall[0, :, 0]), {"unit_diagonal": True}),
        (solves.inv, (well,), {}),
        (solves.pinv, (tall,), {}),
        (solves.pinv, (wide,), {}),
        (solves.det, (well,), {}),
        (solves.slogdet, (well,), {}),
        (solves.cofactors, (well,), {}),
        (solves.cofactors, (np.matmul(tall[:, :, :2], solves.adjoint(tall[:, :, 1:])),), {}),
        (solves.cofactors, (np.eye(3),), {}),
        (solves.cholesky, (definite(square),), {}),
        (solves.eigh, (definite(square),), {}),
        (solves.svd, (tall,), {}),
        (solves.svd, (wide,), {}),
        (solves.qr, (tall,), {}),
        (solves.lu, (square,), {}),
        (solves.expm, (square,), {}),
    ]


CASES = [(kind, *case) for kind in "fc" for case in cases(kind)]


def invariant(function: Any, result: Any) -> list[np.ndarray]:
    """Return what of a result does not depend on the phases of complex vectors."""
    parts = list(result) if isinstance(result, tuple) else [result]
    if function is solves.eigh and parts[1].dtype.kind == "c":
        w, v = parts
        return [w, np.einsum("...ij,...kj->...jik", v, np.conjugate(v))]
    if function is solves.svd and parts[0].dtype.kind == "c":
        u, s, vh = parts
        return [s, np.einsum("...ij,...jk->...jik", u, vh)]
    return parts


def moved(function: Any, result: Any, tangents: Any) -> list[np.ndarray]:
    """Return the tangents of `invariant`."""
    step = 1e-6
    parts = result if isinstance(result, tuple) else (result,)
    dots = tangents if isinstance(tangents, tuple) else (tangents,)

    def at(t: float) -> list[np.ndarray]:
        values = tuple(part + t * dot for part, dot in zip(parts, dots, strict=True))
        return invariant(function, values if isinstance(result, tuple) else values[0])

    return [(above - below) / (2 * step) for above, below in zip(at(step), at(-step), strict=True)]


@pytest.mark.parametrize(("kind", "function", "operands", "attributes"), CASES)
def test_a_tangent_agrees_with_differences(kind, function, operands, attributes):
    """Every rule gives what the function changes by along a random direction, for each operand alone and for all."""
    directions = [random(*x.shape, kind=kind) for x in operands]
    if function in (solves.cholesky, solves.eigh):
        directions = [d + solves.adjoint(d) for d in directions]
    step = 1e-5
    which = [{i} for i in range(len(operands))] + [set(range(len(operands)))]
    result = function(*operands, **attributes)
    for chosen in which:
        dots = [d if i in chosen else None for i, d in enumerate(directions)]
        tangents = TANGENTS[function](result, operands, dots, **attributes)
        above, below = (
            invariant(
                function,
                function(*(x if d is None else x + t * d for x, d in zip(operands, dots, strict=True)), **attributes),
            )
            for t in (step, -step)
        )
        for up, down, tangent in zip(above, below, moved(function, result, tangents), strict=True):
            np.testing.assert_allclose((up - down) / (2 * step), tangent, rtol=2e-6, atol=2e-6)


def test_every_function_that_is_handed_over_has_a_tangent():
    """No dispatched function lacks a rule."""
    handed = {getattr(solves, name) for name in solves.__all__ if hasattr(getattr(solves, name), "__wrapped__")}
    assert handed - {solves.dispatched} == set(TANGENTS)


class Stand:
    """Stands for an array, and remembers how it was called."""

    def __array_function__(self, func, types, args, kwargs):
        return func, types, args, kwargs


def test_a_call_is_handed_over_to_what_stands_for_an_array():
    """As NumPy does it: the public function, the types, operands and attributes, wherever the operand stands."""
    a, stand = np.eye(2), Stand()
    called = solves.solve_triangular(a, stand, lower=False)
    assert called == (solves.solve_triangular, (Stand,), (a, stand), {"lower": False})
    assert solves.cholesky(stand)[0] is solves.cholesky


def test_what_declines_a_call_is_refused():
    """An operand that answers NotImplemented to a function is a TypeError, not an array of objects."""

    class Declines:
        def __array_function__(self, func, types, args, kwargs):
            return NotImplemented

    with pytest.raises(TypeError, match="inv does not run on Declines"):
        solves.inv(Declines())


DECOMPOSED = (solves.svd, solves.pinv, solves.eigh)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_infinities_do_not_keep_a_decomposition_busy_for_ever(dtype):
    """LAPACK does not come back from some; they are refused, or what depends on them is NaN."""
    a = np.random.default_rng(0).normal(size=(200, 5, 5)).astype(dtype)
    a[np.random.default_rng(1).random(a.shape) < 0.3] = np.inf
    for function in DECOMPOSED:
        for matrix in a:
            with pytest.raises(GateDataError, match="infinities"):
                function(matrix)
    broken = np.any(np.isinf(a), axis=(-2, -1))
    assert np.array_equal(np.all(np.isnan(solves.cofactors(a)), axis=(-2, -1)), broken)


@pytest.mark.parametrize(
    ("function", "operands", "problem"),
    [
        (solves.solve, (np.ones((2, 2)), np.ones(2)), "singular"),
        (solves.solve_triangular, (np.zeros((2, 2)), np.ones(2)), "singular"),
        (solves.inv, (np.ones((3, 2, 2)),), "singular"),
        (solves.cholesky, (-np.eye(2),), "not positive definite"),
        *((f, (np.full((2, 2), x),), "NaN or infinities") for f in DECOMPOSED for x in (np.nan, np.inf)),
    ],
)
def test_bad_data_is_refused_with_a_sentence(function, operands, problem):
    """What LAPACK refuses is an error for who gave the data, that says what is wrong and what to do."""
    with pytest.raises(GateDataError, match=problem):
        function(*operands)


@pytest.mark.parametrize("n", [1, 3, 40])
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("unit_diagonal", [True, False])
def test_triangular_solves_read_their_triangle_alone(n, lower, transposed, unit_diagonal):
    """Stacks broadcast, small and large; what lies outside the triangle does not count."""
    a = random(2, 1, n, n) / n + 2 * np.eye(n)
    b = random(3, n, 2)
    full = np.tril(a) if lower else np.triu(a)
    if unit_diagonal:
        full = np.where(np.eye(n, dtype=bool), 1, full)
    x = solves.solve_triangular(a, b, lower=lower, transposed=transposed, unit_diagonal=unit_diagonal)
    assert x.shape == (2, 3, n, 2)
    np.testing.assert_allclose((np.swapaxes(full, -1, -2) if transposed else full) @ x, b + 0 * x, atol=1e-12)


def test_cofactors_of_singular_matrices():
    """The derivative of a determinant is right at rank n - 1, zero below it, and exact where the inverse is used."""
    np.testing.assert_allclose(solves.cofactors(np.array([[1.0, 2], [2, 4]])), [[4, -2], [-2, 1]], atol=1e-14)
    np.testing.assert_allclose(solves.cofactors(np.ones((3, 3))), np.zeros((3, 3)), atol=1e-14)
    np.testing.assert_allclose(solves.cofactors(np.array([[1.0, 2], [3, 4]])), [[4, -3], [-2, 1]], atol=1e-14)
    complex_rows = np.array([[1.0, 2j], [2, 4j]])
    np.testing.assert_allclose(solves.cofactors(complex_rows), [[4j, -2], [-2j, 1]], atol=1e-14)


def test_vectors_that_coincide_have_a_tangent_only_where_they_stay_together():
    """At the identity a diagonal direction moves the eigenvalues; one that mixes the vectors is refused."""
    a = np.eye(2)
    result = solves.eigh(a)
    w_dot, _ = TANGENTS[solves.eigh](result, (a,), (np.diag([1.0, 2.0]),))
    np.testing.assert_allclose(w_dot, [1, 2])
    with pytest.raises(GateDataError, match="eigenvalues coincide"):
        TANGENTS[solves.eigh](result, (a,), (np.array([[0.0, 1], [1, 0]]),))


@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64"])
def test_narrow_dtypes_are_kept(dtype):
    """float16 is computed in float32 and comes back; float32 and complex64 stay."""
    a = (definite(random(3, 3)) / 4).astype(dtype)
    for function in TANGENTS:
        result = function(a, a) if function in (solves.solve, solves.solve_triangular) else function(a)
        for part in result if isinstance(result, tuple) else (result,):
            assert part.dtype in (np.dtype(dtype), np.empty(0, dtype).real.dtype), function
