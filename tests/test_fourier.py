"""Fourier transforms: agreement with NumPy for every length and norm, and what is refused."""

import numpy as np
import pytest

import graphsvc
from graphsvc import errors

RANDOM = np.random.default_rng(7)


def numbers(*shape, kind="f"):
    real = RANDOM.normal(size=shape)
    return real + 1j * RANDOM.normal(size=shape) if kind == "c" else real


def run(name, x, wrt=("x",), seed=None, **attributes):
    graph = graphsvc.ComputationalGraph()
    graph.output("f", graph.add(name, graph.input("x"), **attributes))
    outputs, _ = graph.value_and_grad({"x": x}, wrt=[])
    if seed is None:
        return outputs["f"]
    return graph.value_and_grad({"x": x}, wrt=list(wrt), output_gradients={"f": seed})[1]["x"]


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
@pytest.mark.parametrize("n", [None, 1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft"])
def test_a_transform_is_that_of_numpy_and_backward_its_adjoint(name, n, norm):
    """For odd and even lengths, cut and padded, and each norm: values are NumPy's, and <dz, F x> = <F^T dz, x>."""
    x = numbers(2, 5, kind="f" if name == "rfft" else "c")
    z = run(name, x, n=n, norm=norm)
    np.testing.assert_array_equal(z, getattr(np.fft, name)(x, n, norm=norm))
    dz = numbers(*z.shape, kind=z.dtype.kind)
    dx = run(name, x, seed=dz, n=n, norm=norm)
    assert dx.dtype == x.dtype
    other = numbers(*x.shape, kind=x.dtype.kind)
    along = np.vdot(dz, getattr(np.fft, name)(other, n, norm=norm)).real
    assert np.vdot(dx, other).real == pytest.approx(along, abs=1e-12)


@pytest.mark.parametrize("name", ["fft", "irfft"])
def test_a_real_operand_has_a_real_gradient(name):
    """It is the real part of the gradient that the same operand has as a complex one."""
    x = numbers(4)
    seed = numbers(*run(name, x).shape, kind=run(name, x).dtype.kind)
    real, whole = run(name, x, seed=seed), run(name, x.astype(complex), seed=seed)
    assert real.dtype == np.float64
    np.testing.assert_allclose(real, whole.real, atol=1e-14)


def test_parsevals_theorem_has_the_gradient_of_a_sum_of_squares():
    """The energy of the spectrum is that of the signal, and its gradient twice the signal, from half a spectrum too."""
    x = numbers(7)
    z = np.fft.rfft(x, norm="ortho")
    weights = np.array([1.0, 2, 2, 2])
    np.testing.assert_allclose(run("rfft", x, seed=2 * weights * z, norm="ortho"), 2 * x)


@pytest.mark.parametrize(
    ("name", "attributes", "x", "problem"),
    [
        ("fft", {}, np.ones(3, int), "floating point or complex"),
        ("fft", {}, np.ones(()), "axes"),
        ("fft", {"axis": 2}, np.ones((2, 2)), "'axis' is 2"),
        ("fft", {}, np.ones((2, 0)), "length 0"),
        ("fft", {"n": 0}, np.ones(2), "'n'"),
        ("rfft", {}, np.ones(2, complex), "Take 'fft'"),
        ("irfft", {}, np.ones(1, complex), "length 0"),
        ("fftn", {"s": (2,)}, np.ones(2), "Name them in the attribute 'axes'"),
        ("fftn", {"s": (2,), "axes": (0, 1)}, np.ones((2, 2)), "1 lengths for 2 axes"),
        ("fft2", {}, np.ones(3), "axes"),
        ("fft2", {"axes": ()}, np.ones((3, 3)), "needs an axis"),
        ("fft2", {"axes": (0, 0)}, np.ones((3, 3)), "twice"),
        ("fftn", {}, np.ones(()), "needs an axis"),
        ("fftshift", {}, np.ones(()), "no axes"),
        ("ifftshift", {"axes": 1}, np.ones(2), "'axis' is 1"),
        ("fft", {"norm": "unitary"}, np.ones(2), "norm"),
    ],
)
def test_what_cannot_be_transformed_is_refused_before_the_run(name, attributes, x, problem):
    """Axes, lengths and dtypes are judged by `infer`, with what was given."""
    with pytest.raises((errors.InputError, errors.AttributeValueError), match=problem):
        run(name, x, **attributes)


@pytest.mark.parametrize("n", [4, 5])
def test_a_shift_and_its_inverse_are_those_of_numpy(n):
    """For even and odd lengths."""
    x = numbers(n, 3)
    np.testing.assert_array_equal(run("fftshift", x), np.fft.fftshift(x))
    np.testing.assert_array_equal(run("ifftshift", x, axes=0), np.fft.ifftshift(x, 0))
