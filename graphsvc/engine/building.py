"""Building a graph: inputs, constants, gate nodes and outputs, added one by one."""

import functools
import operator
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

import numpy as np
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from graphsvc.arrays import DTYPES, Array, Literal, as_array, owned, read_only
from graphsvc.document import InputEntry
from graphsvc.engine.binding import check_arity
from graphsvc.engine.library import Library
from graphsvc.engine.node import Node
from graphsvc.engine.registry import Registry, default_registry
from graphsvc.engine.structure import GateNode, Structure
from graphsvc.engine.subgraphs import HeldGraph
from graphsvc.errors import (
    ArityError,
    AttributeValueError,
    DtypeError,
    GraphError,
    PluginError,
    ShapeError,
    UnknownGateError,
    UnknownReferenceError,
    quoted,
)
from graphsvc.gate import Gate, attributes_of
from graphsvc.names import check_name
from graphsvc.plaindata import Attribute, GraphReference, attribute_value

__all__ = ["GraphBuilder"]


class GraphBuilder:
    """A graph as it is built; `ComputationalGraph` is one that runs, too."""

    def __init__(self, registry: Registry | None = None) -> None:
        """Make an empty graph.

        Args:
            registry: Where gates are looked up; None means all that is installed here.
        """
        self._structure = Structure(registry or default_registry(), Library(HeldGraph))
        self._counts: dict[str, int] = {}
        self._literals: dict[tuple[type, str], str] = {}

    def input(
        self,
        name: str,
        shape: Iterable[int | None] | None = None,
        dtype: Any = None,
        *,
        parameter: bool = False,
    ) -> Node:
        """Declare an input.

        Args:
            name: Its name.
            shape: Its shape, where None stands for any length; None as a whole stands for any shape.
            dtype: Its dtype, by name or as NumPy's; None stands for any.
            parameter: Whether it is learned.

        Raises:
            InvalidNameError: `name` is no name.
            DuplicateNameError: It is taken.
            DtypeError: There is no such dtype.
            ShapeError: That is no shape.
        """
        declared = _dtype_name(dtype)
        check_name(name)
        try:
            sizes = None if shape is None else tuple(_length(size) for size in shape)
            entry = InputEntry(name=name, dtype=declared, shape=sizes, parameter=bool(parameter))
        except (ValidationError, TypeError):
            msg = f"{quoted(shape)} is no shape. Give lengths from 0, or None for any, as in (64, None)."
            raise ShapeError(msg) from None
        self._structure.add_input(entry)
        return self._changed(name)

    def constant(self, value: object, name: str | None = None) -> Node:
        """Add a constant: an array, or a Python number, which takes the dtype that it meets.

        Raises:
            DtypeError: `value` is no array of numbers.
        """
        if type(value) in (int, float):
            return self._literal(value, name)  # type: ignore[arg-type]
        made = self._new_name("constant") if name is None else check_name(name)
        self._structure.add_constant(made, read_only(owned(_constant_array(value))))
        return self._changed(made)

    def _literal(self, value: Literal, name: str | None) -> Node:
        """Add a Python number; one without a name of its own stands in the graph once."""
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            msg = f"The integer {quoted(value)} does not fit 64 bits. Write it as a float."
            raise DtypeError(msg)
        key = (type(value), repr(value))
        if name is None and key in self._literals:
            return Node(self, self._literals[key])
        made = self._new_name("constant") if name is None else check_name(name)
        self._structure.add_constant(made, value)
        if name is None:
            self._literals[key] = made
        return self._changed(made)

    def add(self, gate: str | Gate, /, *operands: object, name: str | None = None, **keywords: object) -> Node:
        """Add a gate node.

        Args:
            gate: A gate by its name, which need not be installed here, or a gate object.
            operands: Nodes, arrays and numbers, in the order of the gate's `forward`.
            name: Name of the node; None makes one up.
            keywords: Attributes, and operands by their names. An attribute that holds a graph is given a
                ComputationalGraph, which is copied.

        Returns:
            The gate's first output. `node.output("name")` gives another.

        Raises:
            ArityError: Too few or too many operands, or one given twice.
            AttributeValueError: An attribute that the gate does not take.
            UnknownReferenceError: A node of another graph.
        """
        if isinstance(gate, type) and issubclass(gate, Gate):
            msg = f"{gate.__name__} is a class of gates. Give an object: {gate.__name__}(...)."
            raise ArityError(msg)
        given = gate if isinstance(gate, Gate) else None
        by_name = given is None
        gate_name = check_name(gate) if given is None else type(given).name
        cls = self._installed(gate_name) if given is None else type(given)
        node_name = self._new_name(gate_name) if name is None else check_name(name)
        self._structure.check_free(node_name)
        values, attributes = _split_keywords(node_name, gate_name, cls, operands, keywords)
        if attributes and not by_name:
            msg = f"The gate object has its attributes already; {', '.join(attributes)} cannot be given here."
            raise AttributeValueError(msg).at(node_name, gate_name)
        if cls:
            check_arity(node_name, gate_name, cls, len(values))
        try:
            made, plain = _made(given, cls, attributes)
            references = tuple([self._refer(value) for value in values])
            if any(isinstance(value, HeldGraph) for value in plain.values()):
                made, plain = self._with_graphs(made, plain, by_name=by_name)
        except GraphError as error:
            raise error.at(node_name, gate_name) from None
        except PydanticCustomError as error:
            raise AttributeValueError(error.message()).at(node_name, gate_name) from None
        if by_name and cls:
            self._structure.versions.setdefault(gate_name, cls.version)
        self._structure.add_node(
            GateNode(node_name, gate_name, references, cast(dict[str, Attribute], plain), made, by_name)
        )
        return self._changed(node_name)

    def _with_graphs(
        self, made: Gate | None, plain: Mapping[str, object], *, by_name: bool
    ) -> tuple[Gate | None, dict[str, object]]:
        """Take the graphs that a gate is to hold into this one; return the gate that holds them, and their names."""
        library = self._structure.library
        names = {
            key: library.take_in(key, value.structure, value.digest)
            for key, value in plain.items()
            if isinstance(value, HeldGraph)
        }
        if made is not None and by_name:
            made = type(made)(**{**plain, **{key: library.subgraph(name) for key, name in names.items()}})
        return made, {**plain, **{key: GraphReference(name) for key, name in names.items()}}

    def __graphsvc_subgraph__(self, name: str) -> HeldGraph:
        """Return a copy of this graph as gates hold it."""
        return HeldGraph(name, Library(HeldGraph).copy_of(self._structure))

    def output(self, name: str, node: object) -> Node:
        """Declare an output: its name, and the node whose value it is.

        Raises:
            InvalidNameError: `name` is no name.
            DuplicateNameError: There is an output of that name.
        """
        self._structure.check_output_free(check_name(name))
        source = self._refer(node)
        self._structure.add_output(name, source)
        self._changed(name)
        return Node(self, source)

    def _installed(self, gate_name: str) -> type[Gate] | None:
        try:
            return self._structure.registry.gate_class(gate_name)
        except (UnknownGateError, PluginError):
            # It is checked where it runs.
            return None

    def _refer(self, value: object) -> str:
        if not isinstance(value, Node):
            return self.constant(value).reference
        if value.graph is not self:
            msg = f"Node {value.reference!r} belongs to another graph. Build both parts in one graph."
            raise UnknownReferenceError(msg, name=value.reference)
        return value.reference

    def _new_name(self, stem: str) -> str:
        while True:
            self._counts[stem] = self._counts.get(stem, 0) + 1
            name = f"{stem}.{self._counts[stem]}"
            if name not in self._structure:
                return check_name(name)

    def _changed(self, name: str) -> Node:
        """Return a node that was added."""
        return Node(self, name)


def _made(
    given: Gate | None, cls: type[Gate] | None, attributes: Mapping[str, object]
) -> tuple[Gate | None, Mapping[str, object]]:
    """Return the gate, if it is given or installed here, and its attributes: plain data, and graphs that it holds."""
    if given is None and cls and not attributes:
        return _bare(cls)
    made = given if given is not None else cls(**attributes) if cls else None
    said = attributes if made is None else attributes_of(made)
    plain: dict[str, object] = {}
    for key, value in said.items():
        graph = value.__graphsvc_subgraph__(key) if isinstance(value, GraphBuilder) else value
        plain[key] = graph if isinstance(graph, HeldGraph) else attribute_value(value)
    return made, plain


@functools.lru_cache(maxsize=4096)
def _bare(cls: type[Gate]) -> tuple[Gate, dict[str, Attribute]]:
    """Return the gate without attributes, which is one for all, for gates hold no values."""
    made = cls()
    return made, {key: attribute_value(value) for key, value in attributes_of(made).items()}


def _split_keywords(
    node: str, gate_name: str, cls: type[Gate] | None, operands: tuple[object, ...], keywords: Mapping[str, object]
) -> tuple[list[object], dict[str, object]]:
    """Tell operands given by name from attributes."""
    if not keywords:
        return list(operands), {}
    signature = cls.signature if cls else None
    names = signature.operands[: -1 if signature.variadic else None] if signature else ()
    attributes = {key: value for key, value in keywords.items() if key not in names}
    for key, value in attributes.items():
        if isinstance(value, Node | np.ndarray):
            known = f"Its operands are {signature.describe_operands()}" if signature else "Give operands by position"
            msg = f"{key!r} is given a {type(value).__name__}, but is no operand. {known}."
            raise ArityError(msg).at(node, gate_name)
    values = list(operands)
    for position, name in enumerate(names):
        if name not in keywords:
            continue
        if position < len(operands):
            msg = f"Operand {name!r} is given twice, by position and by name. Give it once."
            raise ArityError(msg).at(node, gate_name)
        if position > len(values):
            msg = f"Operand {names[len(values)]!r} is missing. Give it by position or by name."
            raise ArityError(msg).at(node, gate_name)
        values.append(keywords[name])
    return values, attributes


def _constant_array(value: object) -> Array:
    """Return what stands for an operand as an array; lists of integers stay integers, to serve as indices."""
    if isinstance(value, list | tuple):
        with suppress(ValueError):
            plain = np.asarray(value)
            if plain.dtype.kind == "i":
                return plain
    return as_array(value)


def _length(size: object) -> int | None:
    if size is None:
        return None
    if isinstance(size, bool | str):
        raise TypeError
    return operator.index(size)  # type: ignore[arg-type]


def _dtype_name(dtype: Any) -> str | None:
    if dtype is None:
        return None
    try:
        name: str = np.dtype(dtype).name
    except (TypeError, ValueError, SyntaxError):
        name = ""
    if name not in DTYPES:
        msg = f"There is no dtype {quoted(dtype)} in graphsvc. Choose one of {', '.join(DTYPES)}."
        raise DtypeError(msg)
    return name
