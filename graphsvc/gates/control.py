"""Gates that run a graph they hold: map, scan, cond, checkpoint."""

from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Final

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, is_differentiable, spec_of
from graphsvc.errors import DtypeError, ShapeError
from graphsvc.gate import Cost, Example, Gate
from graphsvc.gates._graphs import (
    KEPT,
    Sums,
    graph_of,
    outputs_of,
    require_same,
    slice_of,
    sliced,
    stacked,
    sums_bytes,
)
from graphsvc.hookspecs import PluginContext, hookimpl
from graphsvc.subgraph import SubGraph

graphsvc_api_version = 1

_BODY: Final = "The graph. Its inputs: {}. It has one output."
_LOOP: Final = "The graph. Its inputs: the carry, the slices, the other operands. It has one or two outputs."


class Checkpoint(Gate):
    """The output of a graph, of which nothing is kept until the backward pass: ``z = body(*xs)``.

    Backward runs the graph once more. So a chain of such gates takes the memory of one of them, for the time of a
    second forward pass.

    Source:
        Griewank and Walther, "Algorithm 799: revolve" (2000), for one level of checkpoints.
    """

    name: ClassVar[str] = "checkpoint"

    body: Annotated[SubGraph, Field(description="The graph. Its inputs are the operands; it has one output.")]

    def infer(self, *xs: ArraySpec) -> tuple[ArraySpec, ...] | None:
        outputs_of(self.body, "body", 1)
        return self.body.infer(*xs)

    def cost(self, *xs: ArraySpec) -> Cost:
        return self.body.cost(*xs)

    def forward(self, *xs: Array) -> Array:
        return self.body(*xs)[0]

    def backward(self, dz: Array, xs: tuple[Array, ...]) -> tuple[Array | None, ...]:
        return self.body.vjp(xs, (dz,))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        gate = cls(body=graph_of("z = tanh(x @ w) * sum(x)", ["x", "w"]))
        yield Example(gate, random.normal(size=(2, 3)), random.normal(size=(3, 2)))
        yield Example(cls(body=graph_of("z = x * exp(x)")), np.array(0.5))
        waves = cls(body=graph_of("z = x * y"))
        yield Example(waves, random.normal(size=2) + 1j * random.normal(size=2), random.normal(size=(3, 1)))


class Cond(Gate):
    """The output of one of two graphs: ``z = then(*xs) if condition else otherwise(*xs)``.

    ``condition`` is one boolean. Only the graph that it chooses is run. Both take all of ``xs`` and give outputs of one
    shape and dtype. To choose element by element is `where`.
    """

    name: ClassVar[str] = "cond"

    then: Annotated[SubGraph, Field(description="The graph that is run where the condition is true. One output.")]
    otherwise: Annotated[SubGraph, Field(description="The graph that is run where it is false. One output.")]

    def infer(self, condition: ArraySpec, *xs: ArraySpec) -> ArraySpec | None:
        if condition.dtype.kind != "b" or condition.shape != ():
            msg = f"Operand 'condition' must be a single boolean, got {condition}. Compare numbers, as in x > 0; to "
            msg += "choose element by element take the gate 'where'."
            raise (ShapeError if condition.dtype.kind == "b" else DtypeError)(msg)
        outputs_of(self.then, "then", 1)
        outputs_of(self.otherwise, "otherwise", 1)
        then, otherwise = self.then.infer(*xs), self.otherwise.infer(*xs)
        if then is None or otherwise is None:
            return None
        require_same(self.otherwise, "otherwise", otherwise[0], then[0], f"that of {self.then.name!r} for 'then'")
        return then[0]

    def cost(self, condition: ArraySpec, *xs: ArraySpec) -> Cost:
        return Cost(*map(max, self.then.cost(*xs), self.otherwise.cost(*xs)))

    def _chosen(self, condition: Array) -> SubGraph:
        return self.then if condition else self.otherwise

    def forward(self, condition: Array, *xs: Array) -> Array:
        return self._chosen(condition)(*xs)[0]

    def backward_xs(self, dz: Array, condition: Array, xs: tuple[Array, ...]) -> tuple[Array | None, ...]:
        return self._chosen(condition).vjp(xs, (dz,))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        gate = cls(then=graph_of("z = x * y"), otherwise=graph_of("z = sin(x) - y"))
        for condition in (True, False):
            yield Example(gate, np.array(condition), random.normal(size=3), random.normal(size=3))
        yield Example(gate, np.array(True), np.array(0.5), np.array(2.0))


class Map(Gate):
    """A graph run on each slice along the first axis: ``z[i] = body(*xs[i])``.

    The first ``mapped`` operands are sliced, and have first axes of one length; the others are handed to each call
    whole, and their gradients add up. ``z`` has the same first axis.
    """

    name: ClassVar[str] = "map"

    body: Annotated[SubGraph, Field(description=_BODY.format("The slices, then the other operands"))]
    mapped: Annotated[int | None, Field(ge=1, description="How many operands are sliced; None means all.")] = None

    def infer(self, *xs: ArraySpec) -> ArraySpec | None:
        outputs_of(self.body, "body", 1)
        count = self._mapped(xs)
        length = sliced("mapped", count, xs)
        made = self.body.infer(*map(slice_of, xs[:count]), *xs[count:])
        return None if made is None else ArraySpec((length, *made[0].shape), made[0].dtype)

    def cost(self, *xs: ArraySpec) -> Cost:
        count = self._mapped(xs)
        slices, whole = xs[:count], xs[count:]
        length = sliced("mapped", count, xs)
        made = self.infer(*xs)
        assert made is not None  # noqa: S101 - the cost is asked only then
        # A result, or gradients, of every slice.
        kept = max(made.nbytes, sum(x.nbytes for x in slices)) + length * count * KEPT
        return self.body.cost(*map(slice_of, slices), *whole).times(length, kept + sums_bytes(whole))

    def _mapped(self, xs: Sequence[object]) -> int:
        return len(xs) if self.mapped is None else self.mapped

    def forward(self, *xs: Array) -> Array:
        count = self._mapped(xs)
        made = [self.body(*(x[i] for x in xs[:count]), *xs[count:])[0] for i in range(len(xs[0]))]
        spec = None if made else self.infer(*map(spec_of, xs))
        return stacked(made, spec and slice_of(spec))

    def backward(self, dz: Array, xs: tuple[Array, ...]) -> Sequence[Array | None]:
        count = self._mapped(xs)
        whole = Sums(xs)
        parts: list[list[Array | None]] = [[] for _ in range(count)]
        for i in range(len(xs[0])):
            gradients = self.body.vjp((*(x[i] for x in xs[:count]), *xs[count:]), (dz[i],))
            for part, gradient in zip(parts, gradients, strict=False):
                part.append(gradient)
            for position in range(count, len(xs)):
                whole.add(position, gradients[position])
        slices = [_restacked(x, part) for x, part in zip(xs, parts, strict=False)]
        return [*slices, *whole.gradients()[count:]]

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        a, b, w = random.normal(size=(3, 2)), random.normal(size=3), random.normal(size=(2, 2))
        yield Example(cls(body=graph_of("z = sum(a @ w) * b", ["a", "b", "w"]), mapped=2), a, b, w)
        yield Example(cls(body=graph_of("z = exp(a) * b")), b, a[:, 0])
        yield Example(cls(body=graph_of("z = a * w", ["a", "w"]), mapped=1), b + 1j * a[:, 0], w)


class Scan(Gate):
    """A graph run on one slice after the other, each call with what the last one made: a loop, or a recurrent network.

    ``carry, ys[i] = body(carry, *xs[i])``, with ``carry = init`` at first. The first ``scanned`` of ``xs`` are sliced
    along their first axes; the others are handed to each call whole, and their gradients add up. The first output of
    the graph is the next carry, of the shape and dtype of ``init``; its second output is ``ys[i]``, which is the carry
    itself where there is only one.
    """

    name: ClassVar[str] = "scan"
    outputs: ClassVar[tuple[str, ...]] = ("carry", "ys")
    saves: ClassVar[tuple[str, ...]] = ("carries",)

    body: Annotated[SubGraph, Field(description=_LOOP)]
    scanned: Annotated[int, Field(ge=1, description="How many operands after the first are sliced.")] = 1
    reverse: Annotated[bool, Field(description="Whether to begin with the last slice.")] = False

    def infer(self, init: ArraySpec, *xs: ArraySpec) -> tuple[ArraySpec, ...] | None:
        outputs_of(self.body, "body", 1, 2)
        length = sliced("scanned", self.scanned, xs)
        made = self.body.infer(init, *map(slice_of, xs[: self.scanned]), *xs[self.scanned :])
        if made is None:
            return None
        require_same(self.body, "body", made[0], init, "operand 'init'")
        return made[0], ArraySpec((length, *made[-1].shape), made[-1].dtype)

    def cost(self, init: ArraySpec, *xs: ArraySpec) -> Cost:
        slices, whole = xs[: self.scanned], xs[self.scanned :]
        length = sliced("scanned", self.scanned, xs)
        made = self.infer(init, *xs)
        assert made is not None  # noqa: S101 - the cost is asked only then
        # A carry of every call, and its result, or the gradients of its slices.
        kept = (length + 4) * init.nbytes + max(made[1].nbytes, sum(x.nbytes for x in slices))
        kept += length * (self.scanned + 2) * KEPT + sums_bytes(whole)
        return self.body.cost(init, *map(slice_of, slices), *whole).times(length, kept)

    def _order(self, xs: Sequence[Array]) -> range:
        order = range(len(xs[0]))
        return order[::-1] if self.reverse else order

    def _operands(self, carry: Array, xs: Sequence[Array], i: int) -> tuple[Array, ...]:
        return (carry, *(x[i] for x in xs[: self.scanned]), *xs[self.scanned :])

    def forward(self, init: Array, *xs: Array) -> tuple[Array, Array, tuple[Array, ...]]:
        carry = init.copy()
        carries, ys = [], []
        for i in self._order(xs):
            carries.append(carry)
            carry, *rest = self.body(*self._operands(carry, xs, i))
            ys.append(rest[0] if rest else carry)
        specs = None if ys else self.infer(spec_of(init), *map(spec_of, xs))
        y = slice_of(specs[1]) if specs else None
        return carry, stacked(ys[::-1] if self.reverse else ys, y), tuple(carries)

    def backward(
        self,
        init: Array,
        xs: tuple[Array, ...],
        carries: tuple[Array, ...],
        dcarry: Array | None = None,
        dys: Array | None = None,
    ) -> Sequence[Array | None]:
        if dcarry is None:
            dcarry = np.zeros(init.shape, init.dtype)
        whole = Sums(xs)
        parts: list[list[Array | None]] = [[None] * len(xs[0]) for _ in range(self.scanned)]
        for i, carry in zip(self._order(xs)[::-1], carries[::-1], strict=True):
            dy = None if dys is None else dys[i]
            if len(self.body.outputs) == 1:
                arriving: tuple[Array | None, ...] = (dcarry if dy is None else dcarry + dy,)
            else:
                arriving = (dcarry, dy)
            dcarry, *gradients = self.body.vjp(self._operands(carry, xs, i), arriving)
            for position, gradient in enumerate(gradients):
                if position < self.scanned:
                    parts[position][i] = gradient
                else:
                    whole.add(position, gradient)
        slices = [_restacked(x, part) for x, part in zip(xs, parts, strict=False)]
        return [dcarry, *slices, *whole.gradients()[self.scanned :]]

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        h, x, w = random.normal(size=2), random.normal(size=(3, 2)), random.normal(size=(2, 2))
        recurrent = graph_of("carry = tanh(h @ w + x); y = sum(h * x)", ["h", "x", "w"])
        yield Example(cls(body=recurrent), h, x, w)
        yield Example(cls(body=graph_of("h * x", ["h", "x"]), reverse=True), np.array(0.5), x[:, 0])
        yield Example(cls(body=graph_of("h * x + v", ["h", "x", "v"]), scanned=2), h + 1j, x, x * 1j)


def _restacked(x: Array, gradients: Sequence[Array | None]) -> Array | None:
    """Return the gradients of the slices of an operand as that of the operand; None if it has none."""
    if not is_differentiable(x.dtype):
        return None
    return stacked([g for g in gradients if g is not None], slice_of(spec_of(x)))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return Checkpoint, Cond, Map, Scan
