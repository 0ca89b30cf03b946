"""One example of a gate, with what the laws need of it: computed once, and shared."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphsvc.arrays import Array, is_differentiable
from graphsvc.engine.evaluation import Evaluation, InputGradients
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.errors import GateContractError, GateError, GraphsvcError
from graphsvc.gate import Gate
from graphsvc.testing.differences import random_like

__all__ = ["GateCase"]


class GateCase:
    """A gate and operands for it, as a graph of one node whose inputs are the operands.

    Attributes:
        gate: The gate.
        operands: Copies of the operands, read-only.
        names: The names of the graph's inputs, in the order of the operands.
        seed: Seed of the random directions.
        tolerance: Allowed difference of a gradient from central differences, relative to its size.
    """

    def __init__(self, gate: Gate, operands: Sequence[Array], seed: int = 0, tolerance: float = 1e-6) -> None:
        self.gate = gate
        self.operands = tuple(np.array(operand) for operand in operands)
        for operand in self.operands:
            operand.flags.writeable = False
        self.names = tuple(f"operand_{i}" for i in range(len(self.operands)))
        self.seed = seed
        self.tolerance = tolerance
        self.before = self.state()

    @property
    def inputs(self) -> dict[str, Array]:
        """The operands by the names of the graph's inputs."""
        return dict(zip(self.names, self.operands, strict=True))

    @functools.cached_property
    def graph(self) -> ComputationalGraph:
        """The graph, with every output of the gate."""
        return self.new_graph()

    def new_graph(self) -> ComputationalGraph:
        """Make the graph anew."""
        graph = ComputationalGraph()
        node = graph.add(self.gate, *(graph.input(name) for name in self.names))
        for output in self.gate.signature.outputs:
            graph.output(output, node.output(output))
        return graph

    def operand_name(self, name: str) -> str:
        """Return what the gate calls the operand that is the graph's input `name`."""
        return self.gate.signature.operand_name(self.names.index(name))

    def state(self) -> dict[str, Any]:
        """Return what a run must not change."""
        return {
            "the gate": (dict(vars(self.gate)), dict(self.gate.__pydantic_private__ or {})),
            "its class": {name: id(value) for name, value in vars(type(self.gate)).items()},
            "how NumPy treats errors": np.geterr(),
        }

    # What several laws look at

    @functools.cached_property
    def evaluation(self) -> Evaluation:
        """The forward pass, through the two loops."""
        return self.graph.forward(self.inputs)

    @property
    def outputs(self) -> dict[str, Array]:
        """The outputs by name."""
        return self.evaluation.outputs

    @functools.cached_property
    def wanted(self) -> tuple[str, ...]:
        """Names of the inputs that have a gradient."""
        return self.differentiable(self.inputs)

    def differentiable(self, inputs: Mapping[str, Array]) -> tuple[str, ...]:
        """Return the names of those of `inputs` that have a gradient."""
        signature = self.gate.signature
        return tuple(
            name
            for position, name in enumerate(self.names)
            if is_differentiable(inputs[name].dtype) and signature.rule_for(signature.index(position))
        )

    @property
    def precise(self) -> tuple[str, ...]:
        """Names of the inputs with a gradient that central differences can judge."""
        return tuple(name for name in self.wanted if self.inputs[name].dtype.itemsize >= 8 * self._parts(name))

    def _parts(self, name: str) -> int:
        return 2 if self.inputs[name].dtype.kind == "c" else 1

    def seeds(self, random: np.random.Generator, outputs: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Return random gradients for those outputs that a gradient may arrive at."""
        signature = self.gate.signature
        given = self.outputs if outputs is None else outputs
        return {
            name: np.asarray(random_like(random, z), z.dtype)
            for i, (name, z) in enumerate(given.items())
            if is_differentiable(z.dtype) and i in signature.differentiable_outputs
        }

    @functools.cached_property
    def output_gradients(self) -> dict[str, Array]:
        """Random gradients at the outputs, the same for all laws."""
        return self.seeds(np.random.default_rng(self.seed))

    @functools.cached_property
    def gradients(self) -> InputGradients:
        """The gradients of the operands for `output_gradients`, through the two loops."""
        return self.pull(self.output_gradients)

    def pull(self, output_gradients: Mapping[str, Array], wanted: Iterable[str] | None = None) -> InputGradients:
        """Return the gradients of the operands for gradients at the outputs, through the two loops."""
        return self.graph.backward(self.evaluation, output_gradients, self.wanted if wanted is None else wanted)

    @property
    def differentiates(self) -> bool:
        """Whether there is any gradient to speak of."""
        return bool(self.wanted and self.output_gradients)

    @functools.cached_property
    def fault(self) -> GraphsvcError | None:
        """What running the example forward and backward raised, if anything."""
        try:
            if self.outputs and self.differentiates:
                _ = self.gradients
        except GraphsvcError as error:
            return error
        return None

    @property
    def writes(self) -> bool:
        """Whether the fault is that the gate wrote where it must not."""
        cause = self.fault and self.fault.__cause__
        stores = isinstance(cause, GateContractError)
        return stores or (isinstance(self.fault, GateError) and "belong to others" in self.fault.message)

    def forward(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run forward through the two loops, with no thought of gradients beyond what they keep."""
        return self.graph.forward(inputs).outputs

    def called(self, operands: Sequence[Array]) -> tuple[Array, ...]:
        """Call the gate's forward itself, and return its outputs as it gave them."""
        # The engine's gate, which is bound to whatever its attributes refer to.
        (node,) = self.graph._bind().nodes
        signature = node.gate.signature
        with np.errstate(all="ignore"):
            returned = signature.forward(node.gate, *operands)
        values = (returned,) if len(signature.outputs) + len(signature.saves) == 1 else returned
        return tuple(values[: len(signature.outputs)])

    def varied(self, change: Callable[[Array], Array]) -> dict[str, Array]:
        """Return the inputs with every operand that is no integer changed."""
        return {name: np.asarray(change(x)) if x.dtype.kind in "fc" else x for name, x in self.inputs.items()}
