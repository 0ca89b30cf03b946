"""Losses: by hand, far out, with weights and ignored labels, and what they refuse."""

import math

import numpy as np
import pytest

import graphsvc
from graphsvc import errors

SCORES = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0], [2.0, 2.0, 1.0], [0.3, 0.1, -0.2]])
LABELS = np.array([1, 0, 2, 2])
WEIGHTS = np.array([0.5, 2.0, 1.5])
LOGS = SCORES - np.log(np.sum(np.exp(SCORES), axis=1, keepdims=True))


def value(expression, **inputs):
    """Return the value of an expression."""
    return graphsvc.parse(f"f = {expression}").value_and_grad(inputs, wrt=[])[0]["f"]


def smoothed(epsilon):
    """Return the shares of the classes, a row for each label."""
    return (1 - epsilon) * np.eye(3)[LABELS] + epsilon / 3


BY_DEFINITION = [
    ("nll(l, i)", -LOGS[range(4), LABELS].mean()),
    ("nll(l, i, reduction='sum')", -LOGS[range(4), LABELS].sum()),
    ("nll(l, i, ignore_index=2)", -(LOGS[0, 1] + LOGS[1, 0]) / 2),
    ("nll_weighted(l, i, w)", -np.average(LOGS[range(4), LABELS], weights=WEIGHTS[LABELS])),
    ("nll_weighted(l, i, w, reduction='sum')", -np.dot(LOGS[range(4), LABELS], WEIGHTS[LABELS])),
    ("nll_weighted(l, i, w, ignore_index=2)", -(2.0 * LOGS[0, 1] + 0.5 * LOGS[1, 0]) / 2.5),
    ("softmax_cross_entropy(s, i)", -LOGS[range(4), LABELS].mean()),
    ("softmax_cross_entropy(s, i, ignore_index=2)", -(LOGS[0, 1] + LOGS[1, 0]) / 2),
    ("softmax_cross_entropy(s, i, label_smoothing=0.3)", -np.sum(smoothed(0.3) * LOGS) / 4),
    ("softmax_cross_entropy_weighted(s, i, w)", -np.average(LOGS[range(4), LABELS], weights=WEIGHTS[LABELS])),
    (
        "softmax_cross_entropy_weighted(s, i, w, label_smoothing=0.3)",
        -np.sum(smoothed(0.3) * WEIGHTS * LOGS) / WEIGHTS[LABELS].sum(),
    ),
    ("soft_cross_entropy(s, t)", -np.sum(smoothed(0.3) * LOGS) / 4),
    ("svm_hinge(s, i, reduction='sum')", 4 + 2 + 2 + 1.5 + 1.3),
    ("svm_hinge(s, i, squared=True, reduction='sum')", 4**2 + 2**2 + 2**2 + 1.5**2 + 1.3**2),
    ("mean_absolute_error(s, t)", np.mean(np.abs(SCORES - smoothed(0.3)))),
    ("kl_div(l, t, reduction='batchmean')", np.sum(smoothed(0.3) * (np.log(smoothed(0.3)) - LOGS)) / 4),
    ("poisson_nll(s, t)", np.mean(np.exp(SCORES) - smoothed(0.3) * SCORES)),
    ("gaussian_nll(s, t, w)", np.mean((np.log(WEIGHTS) + (SCORES - smoothed(0.3)) ** 2 / WEIGHTS) / 2)),
]


@pytest.mark.parametrize(("expression", "expected"), BY_DEFINITION, ids=[row[0] for row in BY_DEFINITION])
def test_a_loss_is_its_definition(expression, expected):
    """Every loss equals the sum that defines it; an average divides by the weights of the labels that count."""
    graph = graphsvc.parse(f"f = {expression}")
    everything = {"s": SCORES, "l": LOGS, "i": LABELS, "w": WEIGHTS, "t": smoothed(0.3)}
    outputs, _ = graph.value_and_grad({name: everything[name] for name in graph.inputs}, wrt=[])
    assert outputs["f"] == pytest.approx(expected, rel=1e-14)


FAR = [
    ("softmax_cross_entropy(x * v, i, label_smoothing=0.2)", lambda x: 0.9 * x if x > 0 else -0.1 * x),
    ("softmax_cross_entropy_weighted(x * v, i, w)", lambda x: x if x > 0 else 0.0),
    ("soft_cross_entropy(x * v, t)", lambda x: 0.75 * x if x > 0 else -0.25 * x),
    ("nll(x * v, i)", lambda _: 0.0),
    ("svm_hinge(x * v, i)", lambda x: max(0.0, x + 1)),
    ("binary_cross_entropy_with_logits(x, y)", lambda x: 0.75 * x if x > 0 else -0.25 * x),
    ("mean_squared_error(x, y)", lambda x: (x - 0.25) ** 2),
    ("mean_absolute_error(x, y)", lambda x: abs(x - 0.25)),
    ("huber(x, y)", lambda x: abs(x - 0.25) - 0.5),
    ("smooth_l1(x, y)", lambda x: abs(x - 0.25) - 0.5),
    ("kl_div(x, y)", lambda x: 0.25 * (math.log(0.25) - x)),
    ("gaussian_nll(x, y, y)", lambda x: (math.log(0.25) + 4 * (x - 0.25) ** 2) / 2),
    ("cosine_similarity(x * v, t)", lambda x: math.copysign(0.25 / math.hypot(0.25, 0.75), x)),
    ("triplet(x * v, t, v)", lambda x: math.hypot(x - 0.25, 0.75) - abs(x - 1) + 1),
]


@pytest.mark.parametrize("x", [1000.0, -1000.0, 1e5, -1e5])
@pytest.mark.parametrize(("expression", "closed"), FAR, ids=[row[0] for row in FAR])
def test_losses_are_stable_far_out(expression, closed, x):
    """At +-1000 and +-1e5 values are those of the closed form, and so are gradients."""
    graph = graphsvc.parse(f"f = {expression}")
    more = {
        "x": np.array(x),
        "v": np.array([1.0, 0.0]),
        "i": np.array(1),
        "w": np.array([3.0, 2.0]),
        "t": np.array([0.25, 0.75]),
        "y": np.array(0.25),
    }
    outputs, gradients = graph.value_and_grad({name: more[name] for name in graph.inputs}, wrt=["x"])
    assert outputs["f"] == pytest.approx(closed(x), rel=1e-9)
    slope = (closed(x + 0.5) - closed(x - 0.5)) / 1.0
    assert gradients["x"] == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_small_gradients_of_a_sure_answer_keep_their_digits(sign):
    """Where the sigmoid is almost the target, the difference is not lost to rounding."""
    graph = graphsvc.parse("f = binary_cross_entropy_with_logits(x, t)")
    _, gradients = graph.value_and_grad({"x": sign * 50.0, "t": float(sign > 0)}, wrt=["x"])
    assert gradients["x"] == pytest.approx(-sign * math.exp(-50), rel=1e-12)


def test_integers_beside_floats_do_not_widen_a_loss():
    """Labels and counts of integers and booleans take the dtype of what they are compared with."""
    x = np.array([0.5, -1.0], np.float32)
    for loss in ("binary_cross_entropy_with_logits", "poisson_nll", "mean_squared_error", "soft_cross_entropy"):
        for target in (np.array([1, 0]), np.array([True, False])):
            narrow = value(f"{loss}(x, t)", x=x, t=target)
            assert narrow.dtype == np.float32
            assert narrow == pytest.approx(value(f"{loss}(x, t)", x=x, t=target.astype(np.float32)))


def test_all_labels_ignored_is_the_mean_of_nothing():
    """The average of no rows is NaN, their sum 0; no row gets a gradient."""
    inputs = {"s": SCORES, "i": np.full(4, -100)}
    assert np.isnan(value("softmax_cross_entropy(s, i, ignore_index=-100)", **inputs))
    assert value("softmax_cross_entropy(s, i, ignore_index=-100, reduction='sum')", **inputs) == 0


def test_small_unsigned_labels_may_be_ignored_by_a_number_that_they_cannot_hold():
    """-100 equals no uint8, and 255 does."""
    labels = LABELS.astype(np.uint8)
    assert value("nll(s, i, ignore_index=-100)", s=LOGS, i=labels) == value("nll(s, i)", s=LOGS, i=LABELS)
    labels[0] = 255
    assert value("nll(s, i, ignore_index=255)", s=LOGS, i=labels) == pytest.approx(-LOGS[[1, 2, 3], [0, 2, 2]].mean())


REFUSED = [
    ("nll(s, i)", {"s": LOGS, "i": np.array([0, 1, 2, 3])}, errors.GateDataError, "Label 3 is out of range for 3"),
    ("nll(s, i, ignore_index=3)", {"s": LOGS, "i": np.array([0, 1, -1, 3])}, errors.GateDataError, "Label -1"),
    ("softmax_cross_entropy(s, i, ignore_index=9)", {"s": LOGS, "i": np.full(4, 3)}, errors.GateDataError, "Label 3"),
    ("softmax_cross_entropy_weighted(s, i, w)", {"s": LOGS, "i": LABELS, "w": WEIGHTS[:2]}, errors.ShapeError, "one"),
    ("nll(s, i)", {"s": LOGS, "i": LABELS[:2]}, errors.ShapeError, "one label for each row of logs"),
    ("soft_cross_entropy(s, t)", {"s": LOGS, "t": LOGS[:, :2]}, errors.ShapeError, "one share for each"),
    ("kl_div(x, t, reduction='batchmean')", {"x": 1.0, "t": 1.0}, errors.ShapeError, "has no axis"),
    ("gaussian_nll(x, t, v)", {"x": LOGS, "t": LOGS, "v": LABELS * 1.0}, errors.ShapeError, "does not broadcast"),
    ("gaussian_nll(x, t, v)", {"x": LOGS[0], "t": LOGS[0], "v": LOGS}, errors.ShapeError, "to the operand's shape"),
    ("huber(x, t)", {"x": LABELS, "t": LABELS}, errors.DtypeError, "must be floating point"),
    ("huber(x, t, delta=0.0)", {"x": LOGS, "t": LOGS}, errors.AttributeValueError, "delta"),
    ("triplet(x, x, t)", {"x": LOGS, "t": LOGS[0]}, errors.ShapeError, "one shape"),
    ("mean_squared_error(x, t)", {"x": LOGS * 1j, "t": LOGS}, errors.DtypeError, "floating point"),
]


@pytest.mark.parametrize(("expression", "inputs", "error", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_a_loss_cannot_take_is_refused(expression, inputs, error, message):
    """The message says which operand is wrong and what would be right."""
    with pytest.raises(error, match=message):
        value(expression, **inputs)
