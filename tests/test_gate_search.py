"""Searching gates: who knows the field's word for something finds every gate of it."""

import json

import pytest
from click.testing import CliRunner

from graphsvc.cli.gates import gates

FOUND = {
    "activation": "sigmoid tanhshrink gelu relu elu hardswish softshrink glu softmax maxout",
    "batch normalization": "batch_norm batch_norm_inference",
    "bessel": "j0 j1 jv i0 i1 iv i0e i1e kv",
    "convolution": "conv1d conv2d conv3d conv_transpose1d conv_transpose2d",
    "complex numbers": "real imag conjugate angle complex",
    "cumulative": "cumsum cumprod cummax cummin logcumsumexp",
    "decomposition": "cholesky qr lu eigh eigvalsh svd svdvals",
    "determinant": "det slogdet logdet",
    "differential equation": "odeint",
    "eigenvalues": "eigh eigvalsh",
    "fourier transform": "fft ifft fft2 ifft2 fftn ifftn rfft irfft rfft2 irfft2 fftshift ifftshift",
    "gamma function": "gamma gammaln digamma trigamma polygamma multigammaln gammainc gammaincc beta betaln betainc",
    "gather": "take_along_axis gather_elements gather_nd one_hot",
    "hyperbolic": "sinh cosh tanh arcsinh arccosh arctanh",
    "interpolation": "interp1d bilinear",
    "linear equations": "solve triangular_solve cho_solve inv lstsq",
    "loss": "softmax_cross_entropy nll svm_hinge mean_squared_error huber kl_div poisson_nll triplet",
    "Max Pool": "max_pool1d max_pool2d global_max_pool",
    "reduction": "sum mean prod max min",
    "scatter": "scatter_elements scatter_nd index_add segment_sum",
    "sorting": "sort argsort topk searchsorted",
}


@pytest.mark.parametrize("words", FOUND)
def test_a_search_by_the_words_of_the_field_finds_every_member(words: str):
    """Whether they stand in a gate's own documentation or in that of its family; in whatever order and case."""
    for search in (words, " ".join(reversed(words.split()))):
        found = {gate["name"] for gate in json.loads(CliRunner().invoke(gates, ["--search", search, "--json"]).stdout)}
        assert set(FOUND[words].split()) <= found
        assert "matmul" not in found
