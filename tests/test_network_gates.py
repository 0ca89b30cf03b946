"""Convolutions, pooling, normalisation, dropout and tables: what the laws that hold for every gate do not see."""

import numpy as np
import pytest
import scipy.signal

import graphsvc
from graphsvc.arrays import Array, spec_of
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.errors import AttributeValueError, DtypeError, GateDataError, GraphsvcError, ShapeError
from graphsvc.gate import Gate
from graphsvc.gates import _windows
from graphsvc.gates.batches import BatchNorm, BatchNormInference
from graphsvc.gates.columns import Col2im, Im2col
from graphsvc.gates.convolution import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d
from graphsvc.gates.network import Dropout, Embedding, _sum_of_rows
from graphsvc.gates.normalisation import GroupNorm, InstanceNorm, LayerNorm, MeanVarianceNorm, RmsNorm
from graphsvc.gates.pooling import AvgPool1d, AvgPool2d, GlobalAvgPool, GlobalMaxPool, MaxPool1d, MaxPool2d
from graphsvc.gates.unit_vectors import L2Normalize


def value(gate: Gate, *operands: Array) -> Array:
    """Return the first output of a gate, run by the engine."""
    return gradients(gate, *operands, wrt=[])[0]


def gradients(
    gate: Gate, *operands: Array, dz: Array | None = None, wrt: list[str] | None = None
) -> tuple[Array, list[Array]]:
    """Return the first output, and the gradients for `dz` at it."""
    graph = ComputationalGraph()
    names = [f"x{i}" for i in range(len(operands))]
    node = graph.add(gate, *(graph.input(name) for name in names))
    graph.output("f", node.output(gate.signature.outputs[0]))
    seeds = None if dz is None else {"f": dz}
    outputs, found = graph.value_and_grad(dict(zip(names, operands, strict=True)), wrt=wrt, output_gradients=seeds)
    return outputs["f"], list(found.values())


def refusal(gate: Gate, *operands: Array) -> GraphsvcError:
    """Return what `infer` raises."""
    with pytest.raises(GraphsvcError) as caught:
        gate.infer(*map(spec_of, operands))
    return caught.value


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


# Convolution --------------------------------------------------------------------------------------------------------


def direct_convolution(x: Array, w: Array, stride: tuple, dilation: tuple, padding: tuple, groups: int) -> Array:
    """Return a convolution by its definition, one element at a time."""
    n = len(stride)
    x = np.pad(x, [(0, 0), (0, 0), *padding])
    extents = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilation, strict=True)]
    counts = [(m - e) // s + 1 for m, e, s in zip(x.shape[2:], extents, stride, strict=True)]
    z = np.zeros((x.shape[0], w.shape[0], *counts))
    channels, filters = w.shape[1], w.shape[0] // groups
    for b, f in np.ndindex(z.shape[:2]):
        group = f // filters
        for o in np.ndindex(*counts):
            places = tuple(slice(o[a] * stride[a], o[a] * stride[a] + extents[a], dilation[a]) for a in range(n))
            z[(b, f, *o)] = np.sum(x[(b, slice(group * channels, (group + 1) * channels), *places)] * w[f])
    return z


@pytest.mark.parametrize("gate", [Conv1d, Conv2d, Conv3d], ids=lambda gate: gate.name)
@pytest.mark.parametrize(
    ("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 1), (1, 2, 2), (3, 2, 2), (2, 1, 4)], ids=str
)
def test_a_convolution_is_what_its_definition_says(gate, stride, dilation, groups):
    """Strides, dilations, groups and uneven padding agree with the sum over channels and places, element by element."""
    n = gate.spatial
    padding = ((1, 2), (0, 1), (2, 0))[:n]
    x, w = normal(2, 4, *(7, 6, 5)[:n]), normal(4, 4 // groups, *(3, 2, 2)[:n])
    z = value(gate(stride=stride, dilation=dilation, groups=groups, padding=padding), x, w)
    expected = direct_convolution(x, w, (stride,) * n, (dilation,) * n, padding, groups)
    np.testing.assert_allclose(z, expected, rtol=1e-12, atol=1e-12)


def test_a_convolution_agrees_with_scipy():
    """Filters are correlated, not reversed: SciPy's `correlate2d` gives the same for one channel."""
    x, w = normal(8, 9), normal(3, 4)
    for mode in ("valid", "same"):
        z = value(Conv2d(padding=mode), x[np.newaxis], w[np.newaxis, np.newaxis])[0]
        if mode == "valid":
            np.testing.assert_allclose(z, scipy.signal.correlate2d(x, w, mode), rtol=1e-12)
        assert z.shape == ((6, 6) if mode == "valid" else (8, 9))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [5, 6, 7])
def test_padding_same_makes_one_window_for_each_step(size, stride):
    """Padding "same" makes ceil(size / stride) windows, and puts the odd zero behind."""
    x, w = normal(1, size), normal(1, 1, 4)
    z = value(Conv1d(padding="same", stride=stride), x, w)
    assert z.shape == (1, -(-size // stride))
    total = max((z.shape[1] - 1) * stride + 4 - size, 0)
    uneven = value(Conv1d(padding=((total // 2, total - total // 2),), stride=stride), x, w)
    np.testing.assert_array_equal(z, uneven)


@pytest.mark.parametrize(("gate", "transposed"), [(Conv1d, ConvTranspose1d), (Conv2d, ConvTranspose2d)], ids=str)
@pytest.mark.parametrize(("stride", "dilation", "groups", "more"), [(1, 1, 1, 0), (2, 1, 2, 1), (3, 2, 1, 2)], ids=str)
def test_a_transposed_convolution_is_the_adjoint_of_the_convolution(gate, transposed, stride, dilation, groups, more):
    """<conv(x, w), y> equals <x, conv_transpose(y, w)> for the same filters and attributes."""
    n = gate.spatial
    y, w = normal(2, 4, *(3, 4)[:n]), normal(4, 3, *(3, 2)[:n], seed=1)
    attributes = {"stride": stride, "dilation": dilation, "groups": groups, "padding": ((1, 0),) * n}
    up = value(transposed(output_padding=more, **attributes), y, w)
    x = normal(*up.shape, seed=2)
    down = value(gate(**attributes), x, w)
    assert down.shape == y.shape
    assert np.vdot(down, y) == pytest.approx(np.vdot(x, up), rel=1e-12)


def test_a_dilated_single_place_may_have_output_padding():
    """Windows of one place are not taken for the identity where the result is longer than the operand."""
    z = value(ConvTranspose1d(dilation=2, output_padding=1), np.ones((1, 3)), np.ones((1, 1, 1)))
    np.testing.assert_array_equal(z, [[1, 1, 1, 0]])


def test_col2im_is_the_adjoint_of_im2col_and_counts_how_often_a_place_is_seen():
    """Folding what was unfolded multiplies each place by the number of windows that show it."""
    image = normal(1, 3, 3)
    attributes = {"kernel_size": 2}
    columns = value(Im2col(**attributes), image)
    again = value(Col2im(output_size=(3, 3), **attributes), columns)
    np.testing.assert_allclose(again, image * [[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    np.testing.assert_array_equal(columns[:, 0], [image[0, 0, 0], image[0, 0, 1], image[0, 1, 0], image[0, 1, 1]])


def test_sums_of_a_convolution_in_float16_do_not_stop_at_2048():
    """Products are added up in float32, in both directions, and rounded once."""
    x, w = np.ones((1, 4096), np.float16), np.ones((1, 1, 1), np.float16)
    wide, found = gradients(Conv1d(), x, w, dz=np.ones((1, 4096), np.float16))
    assert wide.dtype == np.float16
    assert found[1][0, 0, 0] == 4096
    assert value(Conv1d(), x, np.ones((1, 1, 4096), np.float16))[0, 0] == 4096


def test_windows_that_lie_in_the_padding_alone_show_zeros():
    """Padding may be wider than the windows, and a dilated window may step over the operand."""
    z, found = gradients(
        Conv1d(padding=3), np.array([[5.0]]), np.array([[[2.0, 3.0]]]), dz=np.arange(6.0).reshape(1, 6)
    )
    np.testing.assert_array_equal(z, [[0, 0, 15, 10, 0, 0]])
    np.testing.assert_array_equal(found[0], [[2 * 3 + 3 * 2]])
    over = value(Conv1d(padding=1, dilation=2), np.array([[5.0]]), np.array([[[2.0, 3.0]]]))
    np.testing.assert_array_equal(over, [[0]])


def test_a_batch_may_be_empty_and_have_any_number_of_axes():
    """No samples give no results and gradients of zeros; two axes before the channels are one batch."""
    w = normal(2, 3, 2, 2)
    z, found = gradients(Conv2d(), np.zeros((0, 3, 4, 4)), w, dz=np.zeros((0, 2, 3, 3)))
    assert z.shape == (0, 2, 3, 3)
    np.testing.assert_array_equal(found[1], np.zeros_like(w))
    x = normal(2, 3, 3, 4, 4)
    np.testing.assert_allclose(value(Conv2d(), x, w)[1, 2], value(Conv2d(), x[1, 2], w), rtol=1e-12)


@pytest.mark.parametrize(
    ("gate", "shapes", "kind", "words"),
    [
        (Conv2d(), [(3, 4), (1, 3, 2, 2)], ShapeError, "(..., channels, height, width)"),
        (Conv2d(), [(3, 4, 4), (1, 2, 2, 2)], ShapeError, "groups=1: 3 channels need filters for 2"),
        (Conv2d(groups=2), [(4, 4, 4), (3, 2, 2, 2)], ShapeError, "that 2 divides"),
        (Conv2d(), [(3, 4, 4), (1, 3, 5, 2)], ShapeError, "reaches over 5 elements does not fit an axis of length 4"),
        (Conv1d(), [(3, 4), (0, 3, 2)], ShapeError, "no element"),
        (
            Conv1d(stride=(1, 2)),
            [(3, 4), (1, 3, 2)],
            AttributeValueError,
            "(1, 2), but windows have 1 axis",
        ),
        (Conv1d(padding=(1, 2)), [(3, 4), (1, 3, 2)], AttributeValueError, "'padding' is (1, 2)"),
        (ConvTranspose1d(output_padding=1), [(3, 4), (3, 1, 2)], AttributeValueError, "less than the stride"),
        (ConvTranspose1d(padding=9), [(3, 4), (3, 1, 2)], ShapeError, "gives nothing"),
        (ConvTranspose1d(), [(3, 4), (2, 1, 2)], ShapeError, "as long as the 3 channels"),
        (Im2col(kernel_size=2), [(3, 4)], ShapeError, "(..., channels, height, width)"),
        (Col2im(kernel_size=2, output_size=(3, 3)), [(3, 4)], ShapeError, "(..., channels * 4, 4)"),
        (MaxPool2d(kernel_size=2), [(3,)], ShapeError, "at least 2 axes"),
        (MaxPool1d(kernel_size=3, padding=2), [(9,)], AttributeValueError, "more than half of a window"),
        (AvgPool1d(kernel_size=2**20, padding=2**19), [(3,)], AttributeValueError, "more than the 3 of the axis"),
        (MaxPool1d(kernel_size=5), [(4,)], ShapeError, "does not fit"),
        (GlobalMaxPool(), [(2, 3, 0)], ShapeError, "(batch, channels, ...)"),
        (GlobalAvgPool(), [(2,)], ShapeError, "(batch, channels, ...)"),
        (LayerNorm(), [(3, 4), (3,), (4,)], ShapeError, "'gain' must have the shape (4,), got (3,)"),
        (LayerNorm(), [(3, 0), (0,), (0,)], ShapeError, "nothing to normalise"),
        (LayerNorm(), [(), (), ()], AttributeValueError, "0 axes"),
        (MeanVarianceNorm(axis=()), [(3,)], ShapeError, "nothing to normalise"),
        (GroupNorm(groups=2), [(2, 3), (3,), (3,)], AttributeValueError, "does not divide the 3 channels"),
        (GroupNorm(groups=2), [(4,), (3,), (3,)], ShapeError, "(batch, channels, ...)"),
        (BatchNorm(), [(0, 3), (3,), (3,), (3,), (3,)], ShapeError, "no mean"),
        (BatchNorm(), [(2, 3), (3,), (3,), (2,), (3,)], ShapeError, "'mean' must have the shape (3,), got (2,)"),
        (BatchNorm(), [(3,), (3,), (3,), (3,), (3,)], AttributeValueError, "1 axes"),
        (L2Normalize(axis=2), [(3, 4)], AttributeValueError, "2 axes"),
    ],
    ids=str,
)
def test_operands_that_do_not_fit_are_refused_with_what_is_wrong(gate, shapes, kind, words):
    """Before anything runs, by shape alone, in a sentence that names shapes and attributes."""
    error = refusal(gate, *map(np.zeros, shapes))
    assert isinstance(error, kind)
    assert words in str(error)


@pytest.mark.parametrize("dtype", ["bool", "int32", "complex64"])
@pytest.mark.parametrize(
    ("gate", "shapes"),
    [
        (Conv1d(), [(1, 4), (1, 1, 2)]),
        (ConvTranspose1d(), [(1, 4), (1, 1, 2)]),
        (Im2col(kernel_size=1), [(1, 2, 2)]),
        (MaxPool1d(kernel_size=2), [(4,)]),
        (AvgPool2d(kernel_size=2), [(4, 4)]),
        (GlobalAvgPool(), [(1, 2, 2)]),
        (GlobalMaxPool(), [(1, 2, 2)]),
        (LayerNorm(), [(2, 2), (2,), (2,)]),
        (RmsNorm(), [(2, 2), (2,)]),
        (InstanceNorm(), [(2, 2, 2), (2,), (2,)]),
        (BatchNormInference(), [(2, 2), (2,), (2,), (2,), (2,)]),
        (L2Normalize(), [(2,)]),
        (Dropout(seed=1), [(2,)]),
    ],
    ids=str,
)
def test_dtypes_that_mean_nothing_are_refused(gate, shapes, dtype):
    """Integers and booleans always; complex numbers where a gate is not linear in each operand."""
    operands = [np.ones(shape, dtype) for shape in shapes]
    if dtype == "complex64" and not isinstance(
        gate, LayerNorm | RmsNorm | InstanceNorm | BatchNormInference | L2Normalize | MaxPool1d | GlobalMaxPool
    ):
        assert value(gate, *operands).dtype == np.complex64
        return
    assert isinstance(refusal(gate, *operands), DtypeError)


# What stands in for an array ----------------------------------------------------------------------------------------


class Stranger(np.ndarray):
    """An array that is not one for certain, as dual arrays are not: nothing may be written to it in place."""

    def __iadd__(self, other: object) -> "Stranger":
        raise AssertionError

    def __setitem__(self, key: object, item: object) -> None:
        raise AssertionError


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", [0, ((3, 1), (0, 2)), "same"], ids=str)
def test_windows_as_expressions_are_those_of_arrays(stride, dilation, padding):
    """What duals go through, without writing in place, gives what arrays get."""
    x = normal(2, 3, 7, 6)
    axes = _windows.window_axes(x.shape[2:], (3, 2), stride, dilation, padding)
    shown = _windows.windows_of(x, axes)
    strange = _windows.windows_of(x.view(Stranger), axes)
    np.testing.assert_array_equal(np.asarray(strange), shown)
    back = _windows.overlaid(shown, axes)
    np.testing.assert_allclose(np.asarray(_windows.overlaid(shown.view(Stranger), axes)), back, rtol=1e-14)
    parts = normal(*shown.shape, seed=1)
    assert np.vdot(shown, parts) == pytest.approx(np.vdot(x, _windows.overlaid(parts, axes)), rel=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
def test_what_is_kept_is_kept_to_the_bit(dtype):
    """Infinities, NaN and the signs of zeros stay where the mask holds, and give 0 where it does not."""
    x = np.array([1.5, -0.0, np.inf, -np.inf, np.nan, -2.0]).astype(dtype)
    for mask in (np.arange(6) % 2 == 0, np.arange(6) % 2 == 1):
        assert _windows.kept(mask, x).tobytes() == np.where(mask, x, 0).tobytes()
    strided = np.repeat(x, 2)[::2]
    assert _windows.kept(mask, strided).tobytes() == np.where(mask, x, 0).tobytes()


# Pooling ------------------------------------------------------------------------------------------------------------


def test_pooling_by_hand():
    """The lecture's 4x4 example: a 2x2 window with stride 2 gives the largest of each quarter."""
    x = np.array([[1.0, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]])
    z, (dx,) = gradients(MaxPool2d(kernel_size=2), x, dz=np.array([[1.0, 2], [3, 4]]))
    np.testing.assert_array_equal(z, [[6, 8], [3, 4]])
    np.testing.assert_array_equal(dx, [[0, 0, 0, 0], [0, 1, 0, 2], [3, 0, 0, 0], [0, 0, 0, 4]])
    np.testing.assert_array_equal(value(AvgPool2d(kernel_size=2), x), [[13 / 4, 21 / 4], [2, 2]])


def test_windows_of_a_pooling_that_overlap_add_their_gradients():
    """An element that is the largest of several windows gets the gradients of all."""
    _, (dx,) = gradients(MaxPool2d(kernel_size=3, stride=1), np.pad([[9.0]], 2), dz=np.arange(9.0).reshape(3, 3))
    assert dx[2, 2] == 36
    assert np.count_nonzero(dx) == 1


@pytest.mark.parametrize(("included", "expected"), [(True, [1 / 3, 1, 2 / 3]), (False, [0.5, 1, 1])])
def test_zeros_of_the_padding_count_in_an_average_if_asked(included, expected):
    """`count_include_pad` says whether the window's length or the number of its elements divides."""
    gate = AvgPool1d(kernel_size=3, stride=2, padding=1, count_include_pad=included)
    np.testing.assert_allclose(value(gate, np.array([0.0, 1, 1, 1, 1, 1]))[[0, 1]], expected[:2])
    np.testing.assert_allclose(value(gate, np.array([1.0, 1, 1, 1, 1]))[2], expected[2])


def test_a_pooling_window_may_be_as_long_as_the_operand():
    """Averages of long windows keep their digits in float32 and float16, and need no time per place of the image."""
    x = np.full((1, 1, 300, 300), 0.1, np.float32)
    assert value(AvgPool2d(kernel_size=300), x)[0, 0, 0, 0] == np.float32(0.1)
    assert value(AvgPool1d(kernel_size=4096), np.ones(4096, np.float16))[0] == 1
    assert value(MaxPool2d(kernel_size=300), x)[0, 0, 0, 0] == np.float32(0.1)


def test_pooling_of_no_samples_gives_none():
    """An empty batch, and huge axes that hold nothing, cost nothing."""
    assert value(MaxPool2d(kernel_size=2), np.zeros((0, 2, 2**20, 2))).shape == (0, 2, 2**19, 1)
    assert value(AvgPool1d(kernel_size=2**20), np.zeros((0, 2**20))).shape == (0, 1)


# Normalisation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, 1e5, -1e5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normalised_rows_have_mean_0_and_variance_1_wherever_they_lie(shift, dtype):
    """Rows far from 0 keep the digits that their elements have."""
    x = (np.tile([0.0, 1.0, 2.0, 3.0], (5, 8)) + shift).astype(dtype)
    one, zero = np.ones(32, dtype), np.zeros(32, dtype)
    z = value(LayerNorm(epsilon=1e-12), x, one, zero)
    np.testing.assert_allclose(z[0, :4], np.array([-3, -1, 1, 3]) / np.sqrt(5), rtol=1e-5)
    assert z.dtype == dtype


def test_group_norm_of_one_group_and_of_single_channels():
    """One group is the whole sample; as many groups as channels are instance_norm."""
    x, gain, bias = normal(2, 4, 3, 3), normal(4, seed=1), normal(4, seed=2)
    whole = value(GroupNorm(groups=1), x, np.ones(4), np.zeros(4))
    rows = value(LayerNorm(axis=(1, 2, 3)), x, np.ones((4, 3, 3)), np.zeros((4, 3, 3)))
    np.testing.assert_allclose(whole, rows, rtol=1e-12)
    np.testing.assert_allclose(
        value(GroupNorm(groups=4), x, gain, bias), value(InstanceNorm(), x, gain, bias), rtol=1e-12
    )


def test_batch_norm_returns_the_statistics_that_inference_takes():
    """What training gives for running mean and variance, inference uses; with momentum 0 both give the same."""
    x, gain, bias = normal(6, 3, 2), normal(3, seed=1), normal(3, seed=2)
    graph = ComputationalGraph()
    names = ["x", "gain", "bias", "mean", "var"]
    node = graph.add("batch_norm", *map(graph.input, names), momentum=0.0)
    for output in ("z", "running_mean", "running_var"):
        graph.output(output, node.output(output))
    given = {"x": x, "gain": gain, "bias": bias, "mean": np.full(3, 7.0), "var": np.full(3, 9.0)}
    outputs, _ = graph.value_and_grad(given, wrt=[])
    np.testing.assert_allclose(outputs["running_mean"], x.mean(axis=(0, 2)), rtol=1e-12)
    np.testing.assert_allclose(outputs["running_var"], x.var(axis=(0, 2)), rtol=1e-12)
    after = value(BatchNormInference(), x, gain, bias, outputs["running_mean"], outputs["running_var"])
    np.testing.assert_allclose(after, outputs["z"], rtol=1e-10)
    half, _ = graph_with(0.75).value_and_grad(given, wrt=[])
    np.testing.assert_allclose(half["running_mean"], 0.75 * 7 + 0.25 * x.mean(axis=(0, 2)), rtol=1e-12)


def graph_with(momentum: float) -> ComputationalGraph:
    graph = ComputationalGraph()
    node = graph.add("batch_norm", *map(graph.input, ["x", "gain", "bias", "mean", "var"]), momentum=momentum)
    graph.output("running_mean", node.output("running_mean"))
    return graph


def test_gains_in_float16_collect_many_rows():
    """The gradient of a bias over 4096 rows of float16 does not stop at 2048."""
    x = np.random.default_rng(0).normal(size=(4096, 2)).astype(np.float16)
    one = np.ones(2, np.float16)
    for gate, more in ((LayerNorm(), []), (BatchNorm(), [one, one])):
        _, found = gradients(gate, x, one, one, *more, dz=np.ones_like(x), wrt=["x2"])
        np.testing.assert_array_equal(found[0], [4096, 4096])


# Dropout and tables -------------------------------------------------------------------------------------------------


def test_dropout_is_the_same_for_the_same_seed_and_keeps_the_mean():
    """The seed decides, the bits are those of PCG64 everywhere, and what is left makes up for what is gone."""
    x = np.ones(100_001)
    z = value(Dropout(p=0.25, seed=5), x)
    np.testing.assert_array_equal(z, value(Dropout(p=0.25, seed=5), x))
    assert np.any(z != value(Dropout(p=0.25, seed=6), x))
    assert set(np.unique(z)) == {0.0, 1 / 0.75}
    assert np.mean(z == 0) == pytest.approx(0.25, abs=0.01)
    np.testing.assert_array_equal(value(Dropout(p=0.5, seed=1), np.ones(8)), [0, 2, 2, 2, 0, 0, 2, 2])
    np.testing.assert_array_equal(value(Dropout(p=0.0, seed=1), x), x)
    assert value(Dropout(p=0.5, seed=1), np.zeros((0, 3))).shape == (0, 3)


def test_dropout_needs_a_seed_and_a_probability_below_one():
    """There is no hidden state: without a seed the gate is refused, and so is p = 1."""
    for attributes in ({}, {"seed": -1}, {"seed": 1, "p": 1.0}, {"seed": 1, "p": -0.1}, {"seed": 1.5}):
        with pytest.raises(AttributeValueError):
            Dropout(**attributes)


def test_a_row_that_is_named_often_gets_every_gradient():
    """Sums over rows of float16 are rounded once, and sums agree with adding one by one."""
    many = np.random.default_rng(1).uniform(size=(4096, 3)).astype(np.float16)
    _, (dw,) = gradients(Embedding(), np.ones((2, 3), np.float16), np.zeros(4096, np.int64), dz=many)
    np.testing.assert_array_equal(dw, [many.sum(axis=0, dtype=np.float64).astype(np.float16), [0] * 3])
    ids, dz = np.random.default_rng(0).integers(0, 50, (20, 7)), normal(20, 7, 3, 2)
    _, (dw,) = gradients(Embedding(), normal(60, 3, 2), ids, dz=dz)
    expected = np.zeros((60, 3, 2))
    np.add.at(expected, ids, dz)
    np.testing.assert_allclose(dw, expected, rtol=1e-12, atol=1e-12)
    strange = _sum_of_rows(dz.reshape(140, 3, 2).view(Stranger), ids.reshape(140), 60)
    np.testing.assert_allclose(np.asarray(strange), expected, rtol=1e-12, atol=1e-12)


def test_ids_that_name_no_row_are_refused():
    """Negative ids count as wrong ones, unlike in NumPy: in a table of words they are a slip."""
    for wrong in (-1, 3):
        with pytest.raises(GateDataError, match=rf"Id {wrong} is out of range for a table of 3 rows"):
            value(Embedding(), np.ones((3, 2)), np.array([0, wrong]))
    with pytest.raises(AttributeValueError, match="padding_idx"):
        value(Embedding(padding_idx=3), np.ones((3, 2)), np.array([0]))
    assert value(Embedding(), np.ones((3, 2)), np.zeros((0, 4), np.int64)).shape == (0, 4, 2)


def test_a_small_network_learns():
    """Convolution, normalisation, pooling and a loss, out of one expression: descending makes the loss smaller."""
    graph = graphsvc.parse(
        "f = sum_square(max_pool2d(relu(instance_norm(conv2d(x, w), gain, bias)), kernel_size=2) - 1)"
    )
    inputs = {"x": normal(4, 1, 6, 6), "w": normal(2, 1, 3, 3, seed=1), "gain": np.ones(2), "bias": np.zeros(2)}
    losses = []
    for _ in range(20):
        outputs, found = graph.value_and_grad(inputs, wrt=["w", "gain", "bias"])
        losses.append(float(outputs["f"]))
        inputs |= {name: inputs[name] - 0.01 * found[name] for name in found}
    assert losses[-1] < 0.7 * losses[0]
