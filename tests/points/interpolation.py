"""Points of tables: the slope at a knot is that to the right, and zero outside."""

import numpy as np

TABLE = np.array([[0.0, 1.0], [2.0, 5.0]])

POINTS = [
    ("bilinear(t, x, y)", {"t": TABLE, "x": 0.0, "y": 0.5}, {"t": [[0.5, 0.5], [0, 0]], "x": 3.0, "y": 1.0}),
    ("bilinear(t, x, y)", {"t": TABLE, "x": 1.0, "y": 0.0}, {"t": [[0, 0], [1, 0]], "x": 0.0, "y": 3.0}),
    ("bilinear(t, x, y)", {"t": TABLE, "x": -1.0, "y": 2.0}, {"t": [[0, 1], [0, 0]], "x": 0.0, "y": 0.0}),
]
