"""Node: a value in a graph that is being built, with Python's operators."""

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from graphsvc.errors import AttributeValueError, quoted
from graphsvc.names import check_name, reference

if TYPE_CHECKING:
    from graphsvc.engine.building import GraphBuilder

__all__ = ["Node"]


class Node:
    """A value of a graph: an input, a constant or an output of a gate node.

    `x + y`, `x - y`, `x * y`, `x / y`, `x @ y`, `x ** y`, `-x`, `abs(x)`, the comparisons `<`, `<=`, `>`, `>=`, `==`,
    `!=`, and `x[0]`, `x[1:3]` add gate nodes to the graph.
    """

    __slots__ = ("graph", "reference")

    # Without this, `np.ones(2) * node` becomes an array of objects.
    __array_ufunc__ = None

    def __init__(self, graph: "GraphBuilder", reference: str) -> None:
        self.graph = graph
        self.reference = reference

    @property
    def name(self) -> str:
        """Name of the node, without that of the output."""
        return reference(self.reference)[0]

    def output(self, name: str) -> "Node":
        """Return another output of the same gate node, by its name."""
        return Node(self.graph, f"{self.name}:{check_name(name)}")

    def __repr__(self) -> str:
        return f"<Node {self.reference}>"

    def __bool__(self) -> NoReturn:
        msg = f"Node {self.reference!r} has no value before the graph runs. Use the gates 'where' and 'maximum'."
        raise TypeError(msg)

    def __iter__(self) -> NoReturn:
        msg = f"Node {self.reference!r} has no length before the graph runs. Pick parts by index."
        raise TypeError(msg)

    def __add__(self, other: Any) -> "Node":
        return self.graph.add("add", self, other)

    def __radd__(self, other: Any) -> "Node":
        return self.graph.add("add", other, self)

    def __sub__(self, other: Any) -> "Node":
        return self.graph.add("subtract", self, other)

    def __rsub__(self, other: Any) -> "Node":
        return self.graph.add("subtract", other, self)

    def __mul__(self, other: Any) -> "Node":
        return self.graph.add("multiply", self, other)

    def __rmul__(self, other: Any) -> "Node":
        return self.graph.add("multiply", other, self)

    def __truediv__(self, other: Any) -> "Node":
        return self.graph.add("divide", self, other)

    def __rtruediv__(self, other: Any) -> "Node":
        return self.graph.add("divide", other, self)

    def __matmul__(self, other: Any) -> "Node":
        return self.graph.add("matmul", self, other)

    def __rmatmul__(self, other: Any) -> "Node":
        return self.graph.add("matmul", other, self)

    def __pow__(self, other: Any) -> "Node":
        return self.graph.add("power", self, other)

    def __rpow__(self, other: Any) -> "Node":
        return self.graph.add("power", other, self)

    def __pos__(self) -> "Node":
        return self

    def __neg__(self) -> "Node":
        return self.graph.add("negative", self)

    def __abs__(self) -> "Node":
        return self.graph.add("abs", self)

    def __lt__(self, other: Any) -> "Node":
        return self.graph.add("less", self, other)

    def __le__(self, other: Any) -> "Node":
        return self.graph.add("less_equal", self, other)

    def __gt__(self, other: Any) -> "Node":
        return self.graph.add("greater", self, other)

    def __ge__(self, other: Any) -> "Node":
        return self.graph.add("greater_equal", self, other)

    def __eq__(self, other: object) -> "Node":  # type: ignore[override]
        return self.graph.add("equal", self, other)

    def __ne__(self, other: object) -> "Node":  # type: ignore[override]
        return self.graph.add("not_equal", self, other)

    # Nodes stay keys of dictionaries, by identity.
    __hash__ = object.__hash__

    def __getitem__(self, index: Any) -> "Node":
        items = index if isinstance(index, tuple) else (index,)
        return self.graph.add("getitem", self, index=tuple(_item(item) for item in items))


def _item(item: Any) -> Any:
    if isinstance(item, slice):
        return (item.start, item.stop, item.step)
    if item is ...:
        return "..."
    if item is None or (isinstance(item, int | np.integer) and not isinstance(item, bool)):
        return item
    msg = f"{quoted(item)} is no index. Indices are integers, slices, None and '...'; pick by an array with 'take'."
    raise AttributeValueError(msg, attribute="index")
