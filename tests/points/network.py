"""Points of gates that networks are made of: windows, normalised rows, tables."""

from math import inf as INF
from math import nan as NAN

import numpy as np

POINTS = [
    # A largest element is chosen by its place: ties go to the first.
    ("sum(max_pool1d(x, kernel_size=2))", {"x": [1.0, 1.0]}, {"x": [1.0, 0.0]}),
    ("sum(max_pool1d(x, kernel_size=2, stride=1))", {"x": [0.0, 2.0, 2.0]}, {"x": [0.0, 2.0, 0.0]}),
    ("sum(max_pool1d(x, kernel_size=2))", {"x": [1.0, NAN]}, {"x": [0.0, 1.0]}),
    ("sum(max_pool1d(x, kernel_size=2))", {"x": [NAN, NAN]}, {"x": [1.0, 0.0]}),
    ("sum(max_pool1d(x, kernel_size=2))", {"x": [-INF, -INF]}, {"x": [1.0, 0.0]}),
    ("sum(max_pool1d(x, kernel_size=3, stride=3, padding=1))", {"x": [-INF, -INF]}, {"x": [1.0, 0.0]}),
    ("sum(max_pool2d(x, kernel_size=2))", {"x": [[1.0, 3.0], [3.0, 2.0]]}, {"x": [[0.0, 1.0], [0.0, 0.0]]}),
    ("sum(max_pool2d(x, kernel_size=2))", {"x": [[1.0, 2.0], [3.0, 3.0]]}, {"x": [[0.0, 0.0], [1.0, 0.0]]}),
    ("sum(global_max_pool(x))", {"x": [[[1.0, 2.0, 2.0]]]}, {"x": [[[0.0, 1.0, 0.0]]]}),
    ("sum(global_max_pool(x))", {"x": [[[1.0, NAN, 2.0]]]}, {"x": [[[0.0, 1.0, 0.0]]]}),
    # Vectors of length 0 stay, and have the gradient 0.
    ("sum(l2_normalize(x))", {"x": [0.0, 0.0]}, {"x": [0.0, 0.0]}),
    ("sum(l2_normalize(x))", {"x": [3.0, 4.0]}, {"x": [4 / 125, -3 / 125]}),
    ("sum(lp_normalize(x, p=1))", {"x": [0.0, 0.0]}, {"x": [0.0, 0.0]}),
    ("sum(lp_normalize(x, p=1) * w)", {"x": [0.0, 2.0], "w": [1.0, 3.0]}, {"x": [0.5, 0.0], "w": [0.0, 1.0]}),
    # Rows of equal elements are at their mean: the gradients of a sum cancel.
    ("sum(mean_variance_norm(x, axis=-1))", {"x": [2.0, 2.0]}, {"x": [0.0, 0.0]}),
    (
        "sum(layer_norm(x, g, b))",
        {"x": [2.0, 2.0], "g": [1.0, 1.0], "b": [0.0, 0.0]},
        {"x": [0.0, 0.0], "g": [0.0, 0.0], "b": [1.0, 1.0]},
    ),
    # A row that is named twice gets both gradients; one that stands for nothing gets none.
    ("sum(embedding(w, i))", {"w": [1.0, 2.0, 3.0], "i": np.array([1, 1, 0])}, {"w": [1.0, 2.0, 0.0]}),
    ("sum(embedding(w, i, padding_idx=1))", {"w": [1.0, 2.0], "i": np.array([1, 1, 0])}, {"w": [1.0, 0.0]}),
    ("sum(dropout(x, p=0.0, seed=3))", {"x": [1.0, INF]}, {"x": [1.0, 1.0]}),
]
