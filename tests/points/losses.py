"""Points of losses."""

from math import inf as INF
from math import nan as NAN

import numpy as np

POINTS = [
    ("mean_absolute_error(x, t)", {"x": [1.0], "t": [1.0]}, {"x": [0.0], "t": [0.0]}),
    ("smooth_l1(x, t)", {"x": [1.0], "t": [1.0]}, {"x": [0.0], "t": [0.0]}),
    ("smooth_l1(x, t, beta=0.0)", {"x": [1.0], "t": [1.0]}, {"x": [0.0], "t": [0.0]}),
    ("smooth_l1(x, t)", {"x": [1.0], "t": [0.0]}, {"x": [1.0], "t": [-1.0]}),
    ("huber(x, t, delta=2.0)", {"x": [2.0], "t": [0.0]}, {"x": [2.0], "t": [-2.0]}),
    ("svm_hinge(s, l, squared=True)", {"s": [[1.0, 0.0]], "l": np.array([0])}, {"s": [[0.0, 0.0]]}),
    ("kl_div(x, t)", {"x": [-1.0], "t": [0.0]}, {"x": [0.0], "t": [-INF]}),
    ("kl_div(x, t, log_target=True)", {"x": [-1.0], "t": [-INF]}, {"x": [0.0], "t": [0.0]}),
    ("poisson_nll(x, t, log_input=False)", {"x": [0.0], "t": [0.0]}, {"x": [1.0], "t": [INF]}),
    ("poisson_nll(x, t, log_input=False)", {"x": [0.0], "t": [1.0]}, {"x": [-INF], "t": [INF]}),
    ("gaussian_nll(x, t, v)", {"x": [1.0], "t": [1.0], "v": [0.0]}, {"x": [NAN], "t": [NAN], "v": [NAN]}),
    ("cosine_similarity(x, y)", {"x": [0.0, 0.0], "y": [3.0, 4.0]}, {"x": [0.0, 0.0], "y": [0.0, 0.0]}),
    (
        "triplet(a, p, n)",
        {"a": [1.0, 2.0], "p": [1.0, 2.0], "n": [1.0, 3.0]},
        {"a": [0.0, 0.0], "p": [0.0, 0.0], "n": [0.0, 0.0]},
    ),
    (
        "triplet(a, p, n, margin=2.0)",
        {"a": [1.0, 2.0], "p": [1.0, 2.0], "n": [1.0, 3.0]},
        {"a": [0.0, 1.0], "p": [0.0, 0.0], "n": [0.0, -1.0]},
    ),
    ("nll(s, l, ignore_index=0)", {"s": [[1.0, 0.0]], "l": np.array([0])}, {"s": [[0.0, 0.0]]}),
    ("softmax_cross_entropy(s, l, ignore_index=0)", {"s": [[1.0, 0.0]], "l": np.array([0])}, {"s": [[0.0, 0.0]]}),
    ("softmax_cross_entropy(s, l)", {"s": [0.0, -INF], "l": np.array(0)}, {"s": [0.0, 0.0]}),
    ("soft_cross_entropy(s, t)", {"s": [0.0, -INF], "t": [1.0, 0.0]}, {"s": [0.0, 0.0], "t": [0.0, INF]}),
]
