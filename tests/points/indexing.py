"""Points of gates that pick, sort and scatter elements."""

import numpy as np

TWICE = np.array([1, 1])

POINTS = [
    ("sum(take(x, i))", {"x": [1.0, 2.0], "i": np.array([-1, 1, 0])}, {"x": [1.0, 2.0]}),
    ("sum(gather_elements(x, i))", {"x": [1.0, 2.0], "i": TWICE}, {"x": [0.0, 2.0]}),
    ("sum(take_along_axis(x, i))", {"x": [1.0, 2.0], "i": TWICE}, {"x": [0.0, 2.0]}),
    ("sum(gather_nd(x, i))", {"x": [1.0, 2.0], "i": TWICE.reshape(2, 1)}, {"x": [0.0, 2.0]}),
    ("sum(sort(x) * w)", {"x": [2.0, 1.0, 1.0], "w": [1.0, 2.0, 3.0]}, {"x": [3.0, 1.0, 2.0], "w": [1.0, 1.0, 2.0]}),
    ("sum(topk(x, k=1))", {"x": [1.0, 2.0, 2.0]}, {"x": [0.0, 1.0, 0.0]}),
    ("sum(topk(x, k=2) * w)", {"x": [1.0, 2.0, 3.0], "w": [5.0, 7.0]}, {"x": [0.0, 7.0, 5.0], "w": [3.0, 2.0]}),
    (
        "sum(scatter_elements(x, i, u) * w)",
        {"x": [1.0, 2.0], "i": TWICE, "u": [5.0, 7.0], "w": [3.0, 4.0]},
        {"x": [3.0, 0.0], "u": [0.0, 4.0], "w": [1.0, 7.0]},
    ),
    (
        'sum(scatter_elements(x, i, u, reduction="add"))',
        {"x": [1.0, 2.0], "i": TWICE, "u": [5.0, 7.0]},
        {"x": [1.0, 1.0], "u": [1.0, 1.0]},
    ),
    (
        'sum(scatter_elements(x, i, u, reduction="multiply"))',
        {"x": [1.0, 2.0], "i": TWICE, "u": [0.0, 7.0]},
        {"x": [1.0, 0.0], "u": [14.0, 0.0]},
    ),
    (
        'sum(scatter_elements(x, i, u, reduction="multiply"))',
        {"x": [1.0, 0.0], "i": np.array([1, 1, 1]), "u": [5.0, 7.0, 2.0]},
        {"x": [1.0, 70.0], "u": [0.0, 0.0, 0.0]},
    ),
    (
        'sum(scatter_elements(x, i, u, reduction="max"))',
        {"x": [1.0, 7.0], "i": TWICE, "u": [5.0, 7.0]},
        {"x": [1.0, 0.5], "u": [0.0, 0.5]},
    ),
    (
        'sum(scatter_nd(x, i, u, reduction="min"))',
        {"x": [1.0, 7.0], "i": TWICE.reshape(2, 1), "u": [5.0, 5.0]},
        {"x": [1.0, 0.0], "u": [0.5, 0.5]},
    ),
    ("sum(index_add(x, i, u))", {"x": [1.0, 2.0], "i": TWICE, "u": [5.0, 7.0]}, {"x": [1.0, 1.0], "u": [1.0, 1.0]}),
    ("sum(segment_sum(x, i, count=2) ** 2)", {"x": [3.0, 4.0], "i": TWICE}, {"x": [14.0, 14.0]}),
    ("sum(masked_fill(x, m))", {"x": [3.0, 4.0], "m": np.array([True, False])}, {"x": [0.0, 1.0]}),
    ('sum(pad(x, pad_width=((1, 2),), mode="edge"))', {"x": [3.0, 4.0]}, {"x": [2.0, 3.0]}),
    ('sum(pad(x, pad_width=((2, 0),), mode="reflect"))', {"x": [3.0, 4.0, 5.0]}, {"x": [1.0, 2.0, 2.0]}),
]
