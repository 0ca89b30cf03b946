"""Gates that lose tangents, each in another way, and what is meant to become of their second derivatives."""

import math
from typing import Any, ClassVar

import numpy as np
import scipy.linalg

from graphsvc.arrays import Array
from graphsvc.gate import Elementwise, Gate

CACHE: dict[Any, Array] = {}
TABLE = np.exp(np.linspace(0.0, 2.0, 2001))


def bisected(y: Array) -> Array:
    """Return the cube root of `y` in (0, 8) by bisection, in which nothing but constants is chosen from."""
    low, high = np.zeros(y.shape), np.full(y.shape, 2.0)
    for _ in range(60):
        middle = (low + high) / 2
        below = middle**3 < y
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


class BisectionElementwise(Elementwise):
    """Cube root by bisection, whose backward is by formula."""

    name: ClassVar[str] = "bisection_elementwise"

    def forward(self, x: Array) -> Array:
        return bisected(x)

    def backward(self, dz: Array, z: Array) -> Array:
        return dz / (3 * z * z)


class Bisection(Gate):
    """The same without the word that it is elementwise."""

    name: ClassVar[str] = "bisection"

    def forward(self, x: Array) -> Array:
        return bisected(x)

    def backward(self, dz: Array, z: Array) -> Array:
        return dz / (3 * z * z)


class BisectionBackward(Gate):
    """A bisection in backward alone: z = 3/4 x**(4/3)."""

    name: ClassVar[str] = "bisection_backward"

    def forward(self, x: Array) -> Array:
        return 0.75 * x ** (4 / 3)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * bisected(x)


class Table(Gate):
    """Exponential looked up in a table."""

    name: ClassVar[str] = "table"

    def forward(self, x: Array) -> Array:
        return TABLE[np.round(x * 1000).astype(int)]

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * z


class TableElementwise(Elementwise):
    """The same, elementwise."""

    name: ClassVar[str] = "table_elementwise"

    def forward(self, x: Array) -> Array:
        return TABLE[np.round(x * 1000).astype(int)]

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * z


class Quantiser(Gate):
    """Rounds, and tells backward otherwise."""

    name: ClassVar[str] = "quantiser"

    def forward(self, x: Array) -> Array:
        return np.round(x * 16) / 16

    def backward(self, dz: Array) -> Array:
        return dz


class StraightThrough(Elementwise):
    """Rounds, with the derivative of a square."""

    name: ClassVar[str] = "straight_through"

    def forward(self, x: Array) -> Array:
        return np.round(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * 2 * x


class BetweenConstants(Gate):
    """A step that backward takes for a slope."""

    name: ClassVar[str] = "between_constants"

    def forward(self, x: Array) -> Array:
        return np.where(x > 0.5, 1.0, 0.0)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * np.exp(-x)


class LeakBetweenConstants(Elementwise):
    """A leaky rectifier whose slope is chosen between constants: rightly so."""

    name: ClassVar[str] = "leak_between_constants"

    def forward(self, x: Array) -> Array:
        return np.where(x > 0, x, 0.1 * x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * np.where(x > 0, 1.0, 0.1)


class ReluByMaximum(Elementwise):
    """A rectifier by np.maximum."""

    name: ClassVar[str] = "relu_by_maximum"

    def forward(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def backward(self, dz: Array, x: Array) -> Array:
        return np.where(x > 0, dz, 0)


class ByAsarray(Gate):
    """Makes an array of what it is given."""

    name: ClassVar[str] = "by_asarray"

    def forward(self, x: Array) -> Array:
        return np.exp(np.asarray(x, dtype=np.float64))

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * z


class ByAsarrayBackward(Elementwise):
    """Makes an array in backward."""

    name: ClassVar[str] = "by_asarray_backward"

    def forward(self, x: Array) -> Array:
        return np.exp(x)

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * np.asarray(z)


class ByFloat(Gate):
    """Takes the sum of squares for a float."""

    name: ClassVar[str] = "by_float"

    def forward(self, x: Array) -> Array:
        return x * float(np.sum(x * x))

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * np.sum(x * x) + 2 * x * np.sum(dz * x)


class ByCatching(Gate):
    """Catches every complaint."""

    name: ClassVar[str] = "by_catching"

    def forward(self, x: Array) -> Array:
        try:
            scale = float(np.sum(x))
        except BaseException:  # noqa: BLE001 - the point
            scale = 3.0
        return x * scale

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * np.sum(x) + np.sum(dz * x)


class ByOut(Gate):
    """Writes to a plain array."""

    name: ClassVar[str] = "by_out"

    def forward(self, x: Array) -> Array:
        z = np.empty(x.shape)
        np.exp(x, out=z)
        return z

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * z


class ByAssignment(Gate):
    """Writes to parts of a plain array."""

    name: ClassVar[str] = "by_assignment"

    def forward(self, x: Array) -> Array:
        z = np.zeros(x.shape)
        z[...] = np.exp(x)
        return z

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * z


class ByPlus(Gate):
    """Adds to a plain array in place."""

    name: ClassVar[str] = "by_plus"

    def forward(self, x: Array) -> Array:
        z = np.zeros(x.shape)
        z += np.exp(x)
        return z

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * z


class ByVectorize(Gate):
    """Calls Python for each element."""

    name: ClassVar[str] = "by_vectorize"

    def forward(self, x: Array) -> Array:
        return np.vectorize(math.exp)(x)

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * z


class ByMath(Gate):
    """Calls the module math."""

    name: ClassVar[str] = "by_math"

    def forward(self, x: Array) -> Array:
        return np.array([math.exp(v) for v in x])

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * z


class ByLapack(Gate):
    """Solves with SciPy, for a matrix that depends on the operand."""

    name: ClassVar[str] = "by_lapack"

    def forward(self, x: Array) -> Array:
        return scipy.linalg.solve(np.diag(x), np.ones(x.shape))

    def backward(self, dz: Array, z: Array) -> Array:
        return -dz * z * z


class BySavedFactor(Gate):
    """Saves what SciPy factorised for its backward."""

    name: ClassVar[str] = "by_saved_factor"
    saves: ClassVar[tuple[str, ...]] = ("factor",)

    def forward(self, x: Array) -> tuple[Array, Any]:
        factor = scipy.linalg.lu_factor(np.diag(x))
        return scipy.linalg.lu_solve(factor, np.ones(x.shape)), factor

    def backward(self, dz: Array, z: Array, factor: Any) -> Array:
        return -scipy.linalg.lu_solve(factor, dz) * z


class Caching(Elementwise):
    """Keeps in a global what its last forward computed, for its backward."""

    name: ClassVar[str] = "caching"

    def forward(self, x: Array) -> Array:
        CACHE[x.shape] = np.exp(x)
        return CACHE[x.shape]

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        return dz * CACHE[x_shape]


class CachingByBytes(Gate):
    """Keeps what it computed by the bytes of its operand."""

    name: ClassVar[str] = "caching_by_bytes"

    def forward(self, x: Array) -> Array:
        key = x.tobytes()
        if key not in CACHE:
            CACHE[key] = np.exp(x)
        return CACHE[key] + 0.0

    def backward(self, dz: Array, z: Array) -> Array:
        return dz * z


class CachingOfDuals(Gate):
    """Keeps what it computed in forward in a global, for any later backward."""

    name: ClassVar[str] = "caching_for_backward"

    def forward(self, x: Array) -> Array:
        CACHE["e"] = np.asarray(np.exp(x)) if isinstance(x, np.ndarray) else CACHE["e"]
        return np.exp(x)

    def backward(self, dz: Array) -> Array:
        return dz * CACHE["e"]


class SavedElementwise(Elementwise):
    """Saves what its backward needs, as arrays: rightly so."""

    name: ClassVar[str] = "saved_elementwise"
    saves: ClassVar[tuple[str, ...]] = ("e",)

    def forward(self, x: Array) -> tuple[Array, Array]:
        e = np.exp(x)
        return e, e * 1.0

    def backward(self, dz: Array, e: Array) -> Array:
        return dz * e


class SavedByAsarray(Elementwise):
    """Saves an array that was torn from its operand."""

    name: ClassVar[str] = "saved_by_asarray"
    saves: ClassVar[tuple[str, ...]] = ("e",)

    def forward(self, x: Array) -> tuple[Array, Array]:
        return np.exp(x), np.exp(np.asarray(x))

    def backward(self, dz: Array, e: Array) -> Array:
        return dz * e


def _exp(x: Array) -> Array:
    return np.exp(x)


EXACT = {
    BisectionElementwise: lambda x: -2 / 9 * x ** (-5 / 3),
    StraightThrough: lambda x: 2 * np.ones_like(x),
    LeakBetweenConstants: np.zeros_like,
    ReluByMaximum: np.zeros_like,
    SavedElementwise: _exp,
}
"""Second derivatives of those that are right by construction: the derivative of what backward says."""

REFUSED = {
    Bisection: "loses tangents",
    BisectionBackward: "does not move as differences",
    Table: "loses tangents",
    Quantiser: "loses tangents",
    BetweenConstants: "loses tangents",
    ByAsarray: "np.asarray",
    ByAsarrayBackward: "np.asarray",
    ByFloat: "float",
    ByCatching: "float",
    ByOut: "out=",
    ByAssignment: "np.asarray",
    ByPlus: "out=",
    ByVectorize: "np.asarray",
    ByMath: "cannot be followed",
    ByLapack: "np.asarray",
    BySavedFactor: "np.asarray",
    Caching: "does not move as differences",
    CachingByBytes: "x.tobytes",
    CachingOfDuals: "does not move as differences",
    SavedByAsarray: "np.asarray",
}
"""Those whose second derivatives are refused, and a word of the reason."""
