"""Points of activations."""

from math import inf as INF
from math import nan as NAN

import numpy as np

POINTS = [
    ("log_sigmoid(x)", {"x": -1000.0}, {"x": 1.0}),
    ("log_sigmoid(x)", {"x": 0.0}, {"x": 0.5}),
    ("softplus(x)", {"x": 1000.0}, {"x": 1.0}),
    ("softplus(x)", {"x": -1000.0}, {"x": 0.0}),
    ("softplus(x, threshold=20.0)", {"x": 20.5}, {"x": 1.0}),
    ("leaky_relu(x)", {"x": 0.0}, {"x": 0.01}),
    ("prelu(x, a)", {"x": 0.0, "a": 0.25}, {"x": 0.25, "a": 0.0}),
    ("prelu(x, a)", {"x": 0.0, "a": -0.5}, {"x": 0.0, "a": 0.0}),
    ("prelu(x, a)", {"x": 0.0, "a": 3.0}, {"x": 1.0, "a": 0.0}),
    ("celu(x)", {"x": 0.0}, {"x": 1.0}),
    ("celu(x, alpha=2.0)", {"x": 0.0}, {"x": 1.0}),
    ("selu(x)", {"x": 0.0}, {"x": 1.0507009873554805}),
    ("gelu(x)", {"x": 1.0}, {"x": 1.0833154705876864}),
    ("gelu(x, approximate='tanh')", {"x": 1.0}, {"x": 1.0829640838457826}),
    ("gelu(x)", {"x": 0.0}, {"x": 0.5}),
    ("softsign(x)", {"x": 0.0}, {"x": 1.0}),
    ("hardtanh(x)", {"x": 1.0}, {"x": 0.0}),
    ("hardtanh(x)", {"x": -1.0}, {"x": 0.0}),
    ("relu6(x)", {"x": 0.0}, {"x": 0.0}),
    ("relu6(x)", {"x": 6.0}, {"x": 0.0}),
    ("hardsigmoid(x)", {"x": 3.0}, {"x": 0.0}),
    ("hardsigmoid(x)", {"x": -3.0}, {"x": 0.0}),
    ("hardswish(x)", {"x": -3.0}, {"x": 0.0}),
    ("hardswish(x)", {"x": 3.0}, {"x": 1.0}),
    ("thresholded_relu(x)", {"x": 1.0}, {"x": 0.0}),
    ("softshrink(x)", {"x": 0.5}, {"x": 0.0}),
    ("softshrink(x)", {"x": -0.5}, {"x": 0.0}),
    ("softshrink(x, threshold=0.0)", {"x": 0.0}, {"x": 0.0}),
    ("hardshrink(x)", {"x": 0.5}, {"x": 0.0}),
    ("logit(x)", {"x": 0.0}, {"x": INF}),
    ("logit(x)", {"x": 1.0}, {"x": INF}),
    ("logit(x)", {"x": 1.5}, {"x": NAN}),
    ("sum(softmax(x))", {"x": [-INF, -INF]}, {"x": [NAN, NAN]}),
    ("sum(softmax(x) * v)", {"x": [0.0, -INF], "v": [1.0, 1.0]}, {"x": [0.0, 0.0], "v": [1.0, 0.0]}),
    ("sum(glu(x))", {"x": [2.0, 0.0]}, {"x": [0.5, 0.5]}),
    ("sum(swiglu(x))", {"x": [0.0, 2.0]}, {"x": [1.0, 0.0]}),
    ("sum(hardmax(x))", {"x": [1.0, 2.0]}, {"x": [0.0, 0.0]}),
    ("sum(relu(x))", {"x": np.array([NAN])}, {"x": [1.0]}),
]
