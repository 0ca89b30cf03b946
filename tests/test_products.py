"""Products of tensors: agreement with NumPy for every rank and dtype, and what is refused."""

import numpy as np
import pytest

import graphsvc
from graphsvc import errors

RANDOM = np.random.default_rng(11)
DTYPES = ["bool", "int8", "int64", "uint16", "float16", "float32", "float64", "complex64", "complex128"]


def run(name, *operands, **attributes):
    graph = graphsvc.ComputationalGraph()
    names = [f"x{i}" for i in range(len(operands))]
    graph.output("f", graph.add(name, *(graph.input(n) for n in names), **attributes))
    return graph.value_and_grad(dict(zip(names, operands, strict=True)), wrt=[])[0]["f"]


@pytest.mark.parametrize(
    ("name", "function", "x", "y"),
    [
        ("dot", np.dot, (2, 3), (4, 3, 2)),
        ("dot", np.dot, (3,), (3, 2)),
        ("dot", np.dot, (), (3, 2)),
        ("inner", np.inner, (2, 3), (4, 2, 3)),
        ("inner", np.inner, (2,), ()),
        ("outer", np.outer, (2, 2), (3,)),
        ("vdot", np.vdot, (2, 3), (3, 2)),
        ("kron", np.kron, (2, 3), (2, 1, 2)),
        ("kron", np.kron, (), (2, 2)),
        ("kron", np.kron, (0, 2), (2, 2)),
        ("tensordot", np.tensordot, (2, 3, 4), (3, 4, 5)),
        ("tensordot", np.tensordot, (0, 3, 4), (3, 4)),
        ("cross", np.linalg.cross, (2, 3), (4, 1, 3)),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_is_that_of_numpy(name, function, x, y, dtype):
    """Of every rank, empty ones too, and every dtype: values, shapes and dtypes."""
    x, y = ((3 * RANDOM.random(size=shape)).astype(dtype) for shape in (x, y))
    if name == "cross" and dtype == "bool":
        with pytest.raises(errors.DtypeError, match="booleans"):
            run(name, x, y)
        return
    z, expected = run(name, x, y), np.asarray(function(x, y))
    assert (z.shape, z.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(z, expected, rtol=1e-2 if dtype == "float16" else 1e-5)


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ij,jk", [(2, 3), (3, 4)]),
        ("ba", [(2, 3)]),
        ("ii", [(3, 3)]),
        ("iij->ji", [(2, 2, 3)]),
        ("iii->i", [(3, 3, 3)]),
        ("i,j,k->kij", [(2,), (3,), (4,)]),
        (" i j , j k -> i k ", [(2, 3), (3, 4)]),
        ("...ij,...jk->...ik", [(5, 1, 2, 3), (4, 3, 2)]),
        ("i...,i...->...", [(2, 3), (2, 1)]),
        ("...,->...", [(2, 3), ()]),
        ("...i", [(2, 3)]),
        ("ij,jk,kl,lm->im", [(2, 3), (3, 4), (4, 2), (2, 3)]),
        ("ij->", [(0, 3)]),
        ("ij,jk->ik", [(2, 0), (0, 3)]),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_einsteins_sums_are_those_of_numpy(subscripts, shapes, dtype):
    """Implicit and explicit results, diagonals, ellipses, blanks, empty operands, every dtype."""
    operands = [(3 * RANDOM.random(size=shape)).astype(dtype) for shape in shapes]
    z, expected = run("einsum", *operands, subscripts=subscripts), np.asarray(np.einsum(subscripts, *operands))
    assert (z.shape, z.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(z, expected, rtol=1e-2 if dtype == "float16" else 1e-5)


def test_a_letter_three_times_has_its_gradient_on_the_diagonal():
    """And nowhere else."""
    graph = graphsvc.ComputationalGraph()
    graph.output("f", graph.add("einsum", graph.input("x"), subscripts="iii->i"))
    seed = np.array([2.0, 3.0])
    _, gradients = graph.value_and_grad({"x": np.ones((2, 2, 2))}, output_gradients={"f": seed})
    expected = np.zeros((2, 2, 2))
    expected[0, 0, 0], expected[1, 1, 1] = seed
    np.testing.assert_array_equal(gradients["x"], expected)


def test_sums_in_float16_are_carried_in_float32():
    """4096 ones add up to 4096, forward and backward."""
    ones = np.ones(4096, np.float16)
    graph = graphsvc.ComputationalGraph()
    graph.output("f", graph.add("einsum", graph.input("x"), graph.input("y"), subscripts="i,j->j"))
    outputs, gradients = graph.value_and_grad(
        {"x": ones, "y": ones[:2]}, output_gradients={"f": np.ones(2, np.float16)}
    )
    np.testing.assert_array_equal(outputs["f"], [4096, 4096])
    np.testing.assert_array_equal(gradients["y"], [4096, 4096])
    assert run("vdot", ones, ones) == 4096


@pytest.mark.parametrize(
    ("name", "attributes", "shapes", "problem"),
    [
        ("einsum", {"subscripts": "ij,jk"}, [(2, 3)], "for 2 operands, but there are 1"),
        ("einsum", {"subscripts": "ij"}, [(2,)], r"Term 'ij'.*shape \(2,\)"),
        ("einsum", {"subscripts": "i"}, [(2, 3)], "Term 'i'"),
        ("einsum", {"subscripts": "ij,jk"}, [(2, 3), (4, 2)], "Letter 'j'.*lengths 3 and 4"),
        ("einsum", {"subscripts": "ii"}, [(1, 3)], "Letter 'i'.*lengths 1 and 3"),
        ("einsum", {"subscripts": "i->ii"}, [(2,)], "'i' twice"),
        ("einsum", {"subscripts": "i->j"}, [(2,)], "'j' that no operand has"),
        ("einsum", {"subscripts": "...i->i"}, [(2, 3)], "lacks the '...'"),
        ("einsum", {"subscripts": "i1->i"}, [(2, 3)], "has '1'"),
        ("einsum", {"subscripts": "i->i->i"}, [(2,)], "has '-'"),
        ("einsum", {"subscripts": "......"}, [(2,)], "two '...'"),
        ("einsum", {"subscripts": ""}, [()], "'subscripts'"),
        ("dot", {}, [(2, 3), (2, 3)], "the same lengths"),
        ("inner", {}, [(2,), (3,)], "the same lengths"),
        ("tensordot", {}, [(2, 3), (2,)], "'axes' is 2"),
        ("tensordot", {"axes": ((0,), ())}, [(2, 3), (2,)], "1 axes of x and 0 of y"),
        ("tensordot", {"axes": ((0, 0), (0, 1))}, [(2, 3), (2, 2)], "twice"),
        ("tensordot", {"axes": ((2,), (0,))}, [(2, 3), (2, 2)], "'axis' is"),
        ("vdot", {}, [(2,), (3,)], "as many elements"),
        ("cross", {}, [(2,), (3,)], "three elements"),
        ("cross", {"axis": 1}, [(3,), (3,)], "'axis' is 1"),
        ("cross", {}, [(2, 3), (4, 3)], "do not broadcast"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_run(name, attributes, shapes, problem):
    """Shapes and subscripts are judged by `infer`, which says what was given."""
    with pytest.raises((errors.InputError, errors.AttributeValueError), match=problem):
        run(name, *(np.ones(shape) for shape in shapes), **attributes)
