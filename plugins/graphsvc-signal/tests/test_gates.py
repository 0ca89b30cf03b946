"""Tests of the signal processing."""

import numpy as np
import pytest

from graphsvc import parse
from graphsvc.errors import ShapeError
from graphsvc.testing import check_gate, parametrize_gates


@parametrize_gates("signal")
def test_a_gate_obeys_every_law(gate):
    """All laws of the conformance kit, on all examples."""
    check_gate(gate)


@pytest.mark.parametrize(("name", "window"), [("hamming", np.hamming), ("blackman", np.blackman), ("hann", np.hanning)])
def test_windows_are_numpys_without_the_last_sample(name, window):
    """NumPy's windows are symmetric; a periodic one of n samples is a symmetric one of n + 1 without its last."""
    outputs, _ = parse(f"f = signal.window(x, shape='{name}')").value_and_grad({"x": np.ones(8)}, wrt=[])
    np.testing.assert_allclose(outputs["f"], window(9)[:-1], atol=1e-15)


def test_a_tone_stands_in_its_bin():
    """A cosine of two periods a frame has its power in bin 2."""
    x = np.cos(2 * np.pi * 2 * np.arange(64) / 16)
    graph = parse("f = abs(signal.stft(x, length=16, hop=8, window='rectangular'))")
    outputs, _ = graph.value_and_grad({"x": x}, wrt=[])
    expected = np.zeros((7, 9))
    expected[:, 2] = 8.0
    np.testing.assert_allclose(outputs["f"], expected, atol=1e-12)


@pytest.mark.parametrize("mode", ["full", "valid", "causal"])
def test_the_filter_is_numpys_convolution(mode):
    """`np.convolve`, of whose full result "causal" gives the first samples, as a filter that runs along."""
    random = np.random.default_rng(3)
    x, taps = random.normal(size=9), random.normal(size=4)
    graph = parse(f"f = signal.fir_filter(x, h, mode='{mode}')")
    outputs, _ = graph.value_and_grad({"x": x, "h": taps}, wrt=[])
    expected = np.convolve(x, taps)[:9] if mode == "causal" else np.convolve(x, taps, mode)
    np.testing.assert_allclose(outputs["f"], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("expression", "inputs", "message"),
    [
        ("f = signal.stft(x)", {"x": np.ones(10)}, "10 samples and a frame 256"),
        ("f = signal.window(x)", {"x": 1.0}, "at least one axis"),
        ("f = signal.fir_filter(x, h, mode='valid')", {"x": np.ones(2), "h": np.ones(3)}, "k up to 2"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_runs(expression, inputs, message):
    """Shapes are judged by `infer`."""
    with pytest.raises(ShapeError, match=message):
        parse(expression).infer(inputs)
