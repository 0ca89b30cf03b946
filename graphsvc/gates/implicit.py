"""Gates that solve equations which a graph states, and do not compute it: fixed_point, root."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, is_differentiable, require_floating
from graphsvc.errors import GateDataError
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._adjoint import DENSE, dense_rows, solved, solved_dense, system_bytes
from graphsvc.gates._graphs import graph_of, outputs_of, require_same, sums_bytes
from graphsvc.hookspecs import PluginContext, hookimpl
from graphsvc.subgraph import SubGraph

graphsvc_api_version = 1

_TOLERANCE: Final = (
    "How close it must come, relative to the largest element of the solution, or absolute where that is less than one; "
    "None means 64 times the precision of the dtype."
)


_RUNS: Final = 100
_STEPS: Final = 10
_PRODUCTS: Final = 50
"""How many repetitions, steps of Newton's method, and products of GMRES are counted where the limit is higher.

How many it takes, the data decide; few take more, and what does not converge can be stopped between two of them.
"""


class _Implicit(Gate):
    """A solution of an equation that a graph states; see `FixedPoint` and `Root`."""

    disconnected: ClassVar[tuple[str, ...]] = ("x0",)

    body: Annotated[SubGraph, Field(description="The graph. Its inputs: x, then theta. One output, like x.")]
    tolerance: Annotated[float | None, Field(gt=0, lt=1, description=_TOLERANCE)] = None

    def infer(self, x0: ArraySpec, *theta: ArraySpec) -> ArraySpec | None:
        require_floating("x0", x0)
        outputs_of(self.body, "body", 1)
        made = self.body.infer(x0, *theta)
        if made is None:
            return None
        require_same(self.body, "body", made[0], x0, "operand 'x0'")
        return x0

    def _cost(self, x0: ArraySpec, theta: Sequence[ArraySpec], runs: int) -> Cost:
        """Return the cost of so many runs of the graph, and of a linear system."""
        body = self.body.cost(x0, *theta)
        return body.times(runs, 8 * x0.nbytes + system_bytes(x0.size) + sums_bytes(theta))

    def _allowed(self, x: Array) -> float:
        """Return the largest change of `x` that counts as none."""
        relative = 64 * float(np.finfo(x.dtype).eps) if self.tolerance is None else self.tolerance
        return relative * max(1.0, float(np.max(np.abs(x), initial=0.0)))

    def _pulled(self, x: Array, theta: Sequence[Array]) -> Callable[[Array], Array]:
        """Return the product of a vector with the Jacobian of the graph in `x`, in float64: ``v -> J.T @ v``."""

        def pulled(v: Array) -> Array:
            (gradient, *_) = self.body.vjp((x, *theta), (v.reshape(x.shape).astype(x.dtype),), wrt=(0,))
            assert gradient is not None  # noqa: S101 - x is floating point
            return gradient.astype(np.float64).reshape(-1)

        return pulled

    def _pushed(self, x: Array, theta: Sequence[Array]) -> Callable[[Array], Array]:
        """Return the product of the Jacobian of the graph in `x` with a vector, in float64: ``v -> J @ v``."""

        def pushed(v: Array) -> Array:
            return self._moved(x, theta, (v.reshape(x.shape).astype(x.dtype), *[None] * len(theta)))

        return pushed

    def _driven(self, x: Array, theta: Sequence[Array], theta_dot: Sequence[Array]) -> Array:
        """Return how fast the graph moves with `theta` alone, in float64. Shape ``(x.size,)``."""
        dots = [dot if is_differentiable(dot.dtype) else None for dot in theta_dot]
        return self._moved(x, theta, (None, *dots))

    def _moved(self, x: Array, theta: Sequence[Array], tangents: Sequence[Array | None]) -> Array:
        (moved,) = self.body.jvp((x, *theta), tangents)
        assert moved is not None  # noqa: S101 - it is like x
        return moved.astype(np.float64).reshape(-1)

    def _theta(self, u: Array, x: Array, theta: Sequence[Array]) -> tuple[Array | None, ...]:
        """Pull `u`, which arrives at the graph's output, back to `theta`."""
        positions = tuple(range(1, len(theta) + 1))
        return self.body.vjp((x, *theta), (u.reshape(x.shape).astype(x.dtype),), wrt=positions)[1:]


class FixedPoint(_Implicit):
    """The value that a graph leaves as it is: ``z = body(z, *theta)``, found by repetition from ``x0``.

    ``x0`` and ``z`` have one shape and dtype. The gradient is that of the solution, whatever way led to it: backward
    solves ``u = dz + J.T u``, with the Jacobian ``J`` of the graph in its first input, for 64 unknowns or fewer with
    the matrix itself and for more by GMRES. ``x0`` has no gradient, for the solution does not depend on it. A
    repetition that does not come to rest is refused.

    Source:
        Implicit function theorem; Christianson, "Reverse accumulation and attractive fixed points" (1994).
    """

    name: ClassVar[str] = "fixed_point"

    max_iterations: Annotated[int, Field(ge=1, le=10**7, description="How often the graph is run at most.")] = 1000

    def cost(self, x0: ArraySpec, *theta: ArraySpec) -> Cost:
        return self._cost(x0, theta, min(self.max_iterations, _RUNS) + min(x0.size, DENSE))

    def forward(self, x0: Array, *theta: Array) -> Array:
        x, change = x0, np.inf
        for _ in range(self.max_iterations):
            before, x = x, self.body(x, *theta)[0]
            change = _largest(x - before)
            if change <= self._allowed(x):
                return x
            if not np.isfinite(change):
                break
        msg = f"The graph {self.body.name!r} came to no fixed point in {self.max_iterations} runs: "
        if not np.isfinite(change):
            msg = f"Running the graph {self.body.name!r} on its own output left the finite numbers: "
        msg += f"the last one changed x by {change:.3g}, and {self._allowed(x):.3g} is allowed."
        msg += (
            " Start closer, damp the graph, or raise max_iterations or tolerance; if it diverges, take the gate 'root'."
        )
        raise GateDataError(msg)

    def backward_theta(self, dz: Array, z: Array, theta: tuple[Array, ...]) -> tuple[Array | None, ...]:
        pulled = self._pulled(z, theta)
        right = dz.astype(np.float64).reshape(-1)
        if z.size <= DENSE:
            matrix = np.eye(z.size) - dense_rows(pulled, z.size)
            u = solved_dense(matrix.T, right, "The identity less the Jacobian of the graph")
        else:
            u = solved(lambda v: v - pulled(v), right, _krylov(z), "the identity less the Jacobian of the graph")
        return self._theta(u, z, theta)

    def jvp(self, theta_dot: tuple[Array, ...], theta: tuple[Array, ...], z: Array) -> Array:
        right = self._driven(z, theta, theta_dot)
        if z.size <= DENSE:
            matrix = np.eye(z.size) - dense_rows(self._pulled(z, theta), z.size)
            z_dot = solved_dense(matrix, right, "The identity less the Jacobian of the graph")
        else:
            pushed = self._pushed(z, theta)
            z_dot = solved(lambda v: v - pushed(v), right, _krylov(z), "the identity less the Jacobian of the graph")
        return z_dot.reshape(z.shape).astype(z.dtype)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        gate = cls(body=graph_of("0.5 * cos(x) + theta", ["x", "theta"]))
        yield Example(gate, np.zeros(3), random.normal(size=3))
        yield Example(gate, np.array(0.0), np.array(0.3))
        layer = cls(body=graph_of("tanh(w @ x + b)", ["x", "w", "b"]), max_iterations=500)
        yield Example(layer, np.zeros(4), random.normal(size=(4, 4)) / 8, random.normal(size=4))


class Root(_Implicit):
    """Where a graph is zero: ``body(z, *theta) = 0``, found by Newton's method from ``x0``.

    ``x0``, ``z`` and the output of the graph have one shape and dtype. Each step is halved until it brings the output
    closer to zero. The gradient is that of the solution, whatever way led to it: backward solves ``J.T u = -dz``, with
    the Jacobian ``J`` of the graph in its first input. For 64 unknowns or fewer ``J`` is made, row by row; for more,
    GMRES solves both systems with products alone, those of the forward pass by differences. ``x0`` has no gradient, for
    the solution does not depend on it. What does not converge is refused.

    Source:
        Implicit function theorem; Knoll and Keyes, "Jacobian-free Newton-Krylov methods" (2004), for many unknowns.
    """

    name: ClassVar[str] = "root"

    max_iterations: Annotated[int, Field(ge=1, le=10**6, description="Steps of Newton's method at most.")] = 50

    def cost(self, x0: ArraySpec, *theta: ArraySpec) -> Cost:
        products = 3 * x0.size if x0.size <= DENSE else _PRODUCTS
        return self._cost(x0, theta, min(self.max_iterations, _STEPS) * (2 + products))

    def forward(self, x0: Array, *theta: Array) -> Array:
        x, residual = x0.copy(), self.body(x0, *theta)[0]
        step: Any = np.inf
        for _ in range(self.max_iterations):
            if not np.any(residual):
                return x
            step = self._step(x, residual, theta)
            x, residual, halved = self._stepped(x, residual, step, theta)
            if not halved and _largest(step) <= self._allowed(x):
                return x
        msg = f"Newton's method found no root of the graph {self.body.name!r} in {self.max_iterations} steps: the last "
        msg += f"step was {_largest(step):.3g}, of which {self._allowed(x):.3g} is allowed, and the graph is off by "
        msg += f"{_largest(residual):.3g}. Start closer, or raise max_iterations or tolerance."
        raise GateDataError(msg)

    def _step(self, x: Array, residual: Array, theta: Sequence[Array]) -> Array:
        right = -residual.astype(np.float64).reshape(-1)
        if x.size <= DENSE:
            matrix = dense_rows(self._pulled(x, theta), x.size)
            step = solved_dense(matrix, right, "The Jacobian of the graph")
        else:
            step = solved(
                self._differences(x, residual, theta), right, 1e-3, "the Jacobian of the graph", required=False
            )
        return step.reshape(x.shape).astype(x.dtype)

    def _differences(self, x: Array, residual: Array, theta: Sequence[Array]) -> Callable[[Array], Array]:
        """Return the product of the Jacobian with a vector, by differences: ``v -> J @ v``."""
        width = float(np.sqrt(np.finfo(x.dtype).eps)) * max(1.0, _largest(x))

        def pushed(v: Array) -> Array:
            size = _largest(v)
            if size == 0.0:
                return np.zeros_like(v)
            scale = width / size
            moved = self.body(x + (scale * v).reshape(x.shape).astype(x.dtype), *theta)[0]
            return (moved.astype(np.float64) - residual).reshape(-1) / scale

        return pushed

    def _stepped(self, x: Array, residual: Array, step: Array, theta: Sequence[Array]) -> tuple[Array, Array, bool]:
        """Take a step, halved as often as needed to bring the graph closer to zero; tell whether it was."""
        before = float(np.linalg.norm(residual.astype(np.float64)))
        near = _largest(step) <= self._allowed(x)
        for halvings in range(30):
            moved = x + (step * 0.5**halvings).astype(x.dtype)
            made = self.body(moved, *theta)[0]
            norm = float(np.linalg.norm(made.astype(np.float64)))
            # At the root itself rounding is all that is left.
            if norm < before or (near and np.isfinite(norm)):
                return moved, made, halvings > 0
        msg = f"No step of Newton's method brings the graph {self.body.name!r} closer to zero than {before:.3g}. "
        msg += "Start elsewhere: this may be a minimum that is no root."
        raise GateDataError(msg)

    def backward_theta(self, dz: Array, z: Array, theta: tuple[Array, ...]) -> tuple[Array | None, ...]:
        pulled = self._pulled(z, theta)
        right = -dz.astype(np.float64).reshape(-1)
        if z.size <= DENSE:
            u = solved_dense(dense_rows(pulled, z.size).T, right, "The Jacobian of the graph")
        else:
            u = solved(pulled, right, _krylov(z), "the Jacobian of the graph")
        return self._theta(u, z, theta)

    def jvp(self, theta_dot: tuple[Array, ...], theta: tuple[Array, ...], z: Array) -> Array:
        right = -self._driven(z, theta, theta_dot)
        if z.size <= DENSE:
            matrix = dense_rows(self._pulled(z, theta), z.size)
            z_dot = solved_dense(matrix, right, "The Jacobian of the graph")
        else:
            z_dot = solved(self._pushed(z, theta), right, _krylov(z), "the Jacobian of the graph")
        return z_dot.reshape(z.shape).astype(z.dtype)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        cubic = cls(body=graph_of("x ** 3 + x - theta", ["x", "theta"]))
        yield Example(cubic, np.ones(3), random.normal(size=3))
        yield Example(cubic, np.array(1.0), np.array(0.3))
        yield Example(
            cls(body=graph_of("a @ x + 0.1 * x ** 3 - b", ["x", "a", "b"]), max_iterations=100),
            np.zeros(3),
            random.normal(size=(3, 3)) + 4 * np.eye(3),
            random.normal(size=3),
        )


def _largest(x: Any) -> float:
    """Return the largest size of an element; NaN if one is."""
    return float(np.max(np.abs(x), initial=0.0))


def _krylov(x: Array) -> float:
    """Return how far the adjoint system of a large gate is solved."""
    return max(1e-12, 8 * float(np.finfo(x.dtype).eps))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return FixedPoint, Root
