"""Graphs that a gate holds: a field of a gate, called in its forward and differentiated in its backward."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from graphsvc.arrays import Array, ArraySpec
from graphsvc.cost import Cost

__all__ = ["SubGraph"]


class SubGraph(ABC):
    """A graph as a function of arrays, with its gradients: the type of a gate's field that holds a graph.

    Where the gate is made in Python, a `graphsvc.ComputationalGraph` is given for the field. In a document the field
    holds the name of one of the document's graphs. The graph is copied when it is given, so that a gate never changes.
    Calls are pure, and any number of them may run at once. A graph sees nothing but its own inputs: whatever it is
    to read is handed to it.

    Calls take plain arrays, and arrays that carry tangents, which come out with those of the results: so a gate that
    does nothing but call its graph has every derivative that the graph has. Symbols of a recording are refused, so a
    gate that holds a graph is never fused.

    Attributes:
        name: Name of the graph.
        inputs: Names of its inputs, in their order.
        outputs: Names of its outputs, in their order.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @abstractmethod
    def check(self) -> None:
        """Check all that can be checked without operands.

        Raises:
            GraphsvcError: Something is wrong in the graph.
        """

    @abstractmethod
    def infer(self, *operands: ArraySpec) -> tuple[ArraySpec, ...] | None:
        """Return shape and dtype of each output for inputs of these; None if a gate of the graph has no `infer`.

        Raises:
            GraphsvcError: The inputs are not those of the graph, or do not fit a gate in it; the message says which.
        """

    @abstractmethod
    def cost(self, *operands: ArraySpec) -> Cost:
        """Return what a call takes on inputs of these; its bytes are those of a call or a `vjp`, with the results.

        Only for operands of which `infer` knows what comes out.

        Raises:
            GraphsvcError: As `infer`, or a gate of the graph cannot say what it costs.
        """

    @abstractmethod
    def __call__(self, *operands: Array) -> tuple[Array, ...]:
        """Run the graph, and return its outputs.

        Raises:
            GraphsvcError: It cannot be run on these operands; the message names the node within the graph.
        """

    @abstractmethod
    def vjp(
        self,
        operands: Sequence[Array],
        output_gradients: Sequence[Array | None],
        wrt: Sequence[int] | None = None,
    ) -> tuple[Array | None, ...]:
        """Run the graph forward and backward.

        Args:
            operands: The inputs, in their order.
            output_gradients: The gradient that arrives at each output, of its shape and dtype; None where none does.
            wrt: Which operands' gradients are wanted, by position; None means every floating-point one.

        Returns:
            A gradient for each operand, of its shape and dtype; None where it is not wanted.

        Raises:
            GraphsvcError: Forward or backward fails; the message names the node within the graph.
        """

    @abstractmethod
    def jvp(self, operands: Sequence[Array], tangents: Sequence[Array | None]) -> tuple[Array | None, ...]:
        """Run the graph along a direction.

        Args:
            operands: The inputs, in their order.
            tangents: How fast each moves, of its shape and dtype; None where it does not.

        Returns:
            How fast each output moves, of its shape and dtype; None if it is no floating-point one.

        Raises:
            GraphsvcError: The graph cannot be run, or not along a direction; the message names the node within it.
        """

    def __repr__(self) -> str:
        return f"<graph {self.name!r}: {', '.join(self.inputs)} -> {', '.join(self.outputs)}>"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(_judged)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "type": "object",
            "properties": {"graph": {"type": "string"}},
            "required": ["graph"],
            "additionalProperties": False,
        }


def _judged(value: object, info: core_schema.ValidationInfo[Any]) -> SubGraph:
    """Return what is given for a field as a graph that can be called."""
    if isinstance(value, SubGraph):
        return value
    held = getattr(value, "__graphsvc_subgraph__", None)
    if held is None or isinstance(value, type):
        kind, msg = "subgraph", "It holds a graph; give a ComputationalGraph"
        raise PydanticCustomError(kind, msg)
    made = held(info.field_name or "graph")
    if not isinstance(made, SubGraph):
        kind, msg = "subgraph", "It holds a graph; give a ComputationalGraph"
        raise PydanticCustomError(kind, msg)
    return made
