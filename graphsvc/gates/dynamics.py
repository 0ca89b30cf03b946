"""Gates that integrate a differential equation, which a graph states, in time: odeint."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Final, NamedTuple

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, narrowed, require_floating, widened
from graphsvc.errors import AttributeValueError, ShapeError
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._graphs import KEPT, Sums, graph_of, outputs_of, require_same, sums_bytes
from graphsvc.hookspecs import PluginContext, hookimpl
from graphsvc.subgraph import SubGraph

graphsvc_api_version = 1

_BODY: Final = "The graph, which gives dy/dt. Its inputs: y, t if it depends on time, then theta. One output, like y."


class _Step(NamedTuple):
    """A step of the method.

    Attributes:
        interval: Which interval of `t` it belongs to, and which of its steps it is.
        time: Where it begins; its length.
    """

    interval: int
    part: int
    time: Any
    length: Any


class OdeInt(Gate):
    """Solution of an ordinary differential equation: ``ys[i] = y(t[i])``, with ``dy/dt = body(y, t, *theta)``.

    ``y0`` is the state at ``t[0]``; ``t`` has shape ``(n,)``, rising or falling, and ``ys`` has the shape
    ``(n, *y0.shape)``, or that of ``y0`` where only the last state is wanted. Between two of the times stand ``steps``
    equal steps of the classical Runge-Kutta method of fourth order. The step is fixed, so the error is for the caller
    to judge: twice as many steps leave a sixteenth of it. The graph may leave out its input for time.

    The gradient is that of the steps as they were taken, exact to rounding, and no solution of another differential
    equation. It takes the memory of the states of all steps.

    Source:
        Hager, "Runge-Kutta methods in optimal control and the transformed adjoint system" (2000).
    """

    name: ClassVar[str] = "odeint"
    outputs: ClassVar[tuple[str, ...]] = ("ys",)
    saves: ClassVar[tuple[str, ...]] = ("states",)

    body: Annotated[SubGraph, Field(description=_BODY)]
    steps: Annotated[int, Field(ge=1, le=10**6, description="Steps between two times.")] = 1
    trajectory: Annotated[bool, Field(description="Whether all states are given, or the last alone.")] = True

    def infer(self, y0: ArraySpec, t: ArraySpec, *theta: ArraySpec) -> ArraySpec | None:
        require_floating("y0", y0, complex_too=True)
        require_floating("t", t)
        if t.ndim != 1 or t.shape[0] < 1:
            msg = f"Operand 't' must have shape (n,), with at least one time, got {t.shape}. Reshape it."
            raise ShapeError(msg)
        outputs_of(self.body, "body", 1)
        if len(self.body.inputs) not in (len(theta) + 1, len(theta) + 2):
            msg = f"The graph {self.body.name!r} given for 'body' has the inputs {', '.join(self.body.inputs)}, but is "
            msg += f"handed y, t and {len(theta)} values for theta. Declare these, in this order; t may be left out."
            raise AttributeValueError(msg, attribute="body")
        made = self.body.infer(*self._asked(y0, theta))
        if made is None:
            return None
        require_same(self.body, "body", made[0], y0, "operand 'y0'")
        return ArraySpec((*t.shape, *y0.shape) if self.trajectory else y0.shape, y0.dtype)

    def _asked(self, y0: ArraySpec, theta: Sequence[ArraySpec]) -> list[ArraySpec]:
        """Return what the graph is run on."""
        return [y0, *[ArraySpec((), _real(y0.dtype))] * self._timed(theta), *theta]

    def cost(self, y0: ArraySpec, t: ArraySpec, *theta: ArraySpec) -> Cost:
        steps = (t.shape[0] - 1) * self.steps
        # The states; times and lengths; in a step a dozen arrays like the state, of which some are in double precision.
        kept = steps * (y0.nbytes + 2 * KEPT) + t.size * KEPT + 32 * max(y0.dtype.itemsize, 8) * y0.size
        body = self.body.cost(*self._asked(y0, theta)).times(4 * steps, kept + sums_bytes(theta))
        return body._replace(flops=body.flops + 20 * steps * y0.size)

    def _timed(self, theta: Sequence[object]) -> bool:
        """Tell whether the graph asks for the time."""
        return len(self.body.inputs) == len(theta) + 2

    def _all_steps(self, t: Array, dtype: np.dtype[Any]) -> Iterator[_Step]:
        """Yield the steps, computed in the precision of `t` and given in that of the state."""
        for interval in range(len(t) - 1):
            length = (t[interval + 1] - t[interval]) / self.steps
            for part in range(self.steps):
                time = t[interval] + part * length
                yield _Step(interval, part, time.astype(dtype), length.astype(dtype))

    def _slope(self, y: Array, time: Any, theta: Sequence[Array]) -> Array:
        return self.body(y, *[time] * self._timed(theta), *theta)[0]

    def forward(self, y0: Array, t: Array, *theta: Array) -> tuple[Array, tuple[Array, ...]]:
        y = y0.copy()
        states, times = [], [y]
        for step in self._all_steps(t, _real(y0.dtype)):
            states.append(y)
            half, h = step.length / 2, step.length
            k1 = self._slope(y, step.time, theta)
            k2 = self._slope(y + half * k1, step.time + half, theta)
            k3 = self._slope(y + half * k2, step.time + half, theta)
            k4 = self._slope(y + h * k3, step.time + h, theta)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            if step.part == self.steps - 1:
                times.append(y)
        return np.stack(times) if self.trajectory else y.copy(), tuple(states)

    def backward(
        self, dys: Array, y0: Array, t: Array, theta: tuple[Array, ...], states: tuple[Array, ...]
    ) -> Sequence[Array | None]:
        sums = Sums(theta)
        dt: list[Any] = [np.zeros((), np.promote_types(t.dtype, np.float32))] * len(t)
        # Gradients arrive at every time, and their sum may need more digits than the state.
        dy = widened(dys[-1] if self.trajectory else dys)
        all_steps = list(self._all_steps(t, _real(y0.dtype)))
        for step, y in zip(all_steps[::-1], states[::-1], strict=True):
            dy, dtime, dlength = self._pulled_step(step, y, theta, dy, sums)
            # time = t[i] + part * length, and length = (t[i + 1] - t[i]) / steps.
            share = (dtime * step.part + dlength) / self.steps
            dt[step.interval] = dt[step.interval] + dtime - share
            dt[step.interval + 1] = dt[step.interval + 1] + share
            if step.part == 0 and self.trajectory:
                dy = dy + dys[step.interval]
        return [narrowed(dy, y0.dtype), np.stack(dt).astype(t.dtype), *sums.gradients()]

    def _pulled_step(
        self, step: _Step, y: Array, theta: Sequence[Array], dy: Array, sums: Sums
    ) -> tuple[Array, Any, Any]:
        """Pull a gradient back through one step, and add what it gives for theta to `sums`.

        Returns:
            The gradients of the state, of the time at which the step begins, and of its length.
        """
        half, h, time = step.length / 2, step.length, step.time
        k1 = self._slope(y, time, theta)
        k2 = self._slope(y + half * k1, time + half, theta)
        k3 = self._slope(y + half * k2, time + half, theta)
        y4 = y + h * k3
        k4 = self._slope(y4, time + h, theta)
        dlength = _inner(dy, k1 + 2 * k2 + 2 * k3 + k4) / 6
        d4 = self._pulled(y4, time + h, theta, h / 6 * dy, sums)
        d3 = self._pulled(y + half * k2, time + half, theta, h / 3 * dy + h * d4[0], sums)
        d2 = self._pulled(y + half * k1, time + half, theta, h / 3 * dy + half * d3[0], sums)
        d1 = self._pulled(y, time, theta, h / 6 * dy + half * d2[0], sums)
        dlength = dlength + _inner(d4[0], k3) + _inner(d3[0], k2) / 2 + _inner(d2[0], k1) / 2
        dlength = dlength + d4[1] + (d3[1] + d2[1]) / 2
        return dy + d1[0] + d2[0] + d3[0] + d4[0], d1[1] + d2[1] + d3[1] + d4[1], dlength

    def _pulled(self, y: Array, time: Any, theta: Sequence[Array], dk: Array, sums: Sums) -> tuple[Array, Any]:
        """Pull the gradient of a slope back to the state and the time, and add what it gives for theta."""
        timed = self._timed(theta)
        dy, *others = self.body.vjp((y, *[time] * timed, *theta), (narrowed(dk, y.dtype),))
        for position, gradient in enumerate(others[timed:]):
            sums.add(position, gradient)
        return dy, widened(others[0]) if timed else 0.0  # type: ignore[return-value, arg-type]

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        t = np.array([0.0, 0.3, 0.5])
        pendulum = graph_of("k * sin(y @ m) - y * t", ["y", "t", "k", "m"])
        k, m = np.array(0.7), random.normal(size=(2, 2))
        yield Example(cls(body=pendulum, steps=2), random.normal(size=2), t, k, m)
        decay = graph_of("-k * y", ["y", "k"])
        yield Example(cls(body=decay, trajectory=False), np.array(2.0), t, k)
        yield Example(cls(body=decay, steps=3), random.normal(size=2) + 1j, t[::-1], np.array(0.7j))


def _real(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the parts of a number."""
    return np.zeros((), dtype).real.dtype


def _inner(a: Array, b: Array) -> Any:
    """Return the real inner product; float16 is added up in float32."""
    return np.vdot(widened(a), widened(b)).real


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return (OdeInt,)
