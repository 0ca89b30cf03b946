"""Library: the graphs that the gates of a graph hold, by name, in one flat list."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from graphsvc.errors import (
    CycleError,
    DocumentError,
    DuplicateNameError,
    GraphError,
    UnknownReferenceError,
    did_you_mean,
    quoted,
)
from graphsvc.subgraph import SubGraph

if TYPE_CHECKING:
    from graphsvc.engine.structure import Structure

__all__ = ["MAX_DEPTH", "Library"]

MAX_DEPTH: Final = 16
"""How deep graphs may hold each other."""


class Library:
    """The graphs that gates hold. A graph and all that it holds, however deep, share one, as in a document."""

    def __init__(self, make: "Callable[[str, Structure], SubGraph] | None" = None) -> None:
        """Make an empty library.

        Args:
            make: Makes of a graph what a gate can call; None where none is to be called.
        """
        self.graphs: dict[str, Structure] = {}
        self._make = make
        self._made: dict[str, SubGraph] = {}
        self._held: dict[bytes, str] = {}

    def add(self, name: str, structure: "Structure", path: str = "") -> None:
        """Add a graph of this library.

        Raises:
            DuplicateNameError: There is one of that name.
        """
        if name in self.graphs:
            msg = f"{path}: There are two graphs named {name!r}. Give each its own name."
            raise DuplicateNameError(msg, name=name, path=path)
        self.graphs[name] = structure

    def subgraph(self, name: str) -> SubGraph:
        """Return a graph as gates call it, which is one for all of them."""
        if name not in self._made:
            if self._make is None:
                msg = f"Graph {name!r} is of a structure that nobody runs. Make a ComputationalGraph of the document."
                raise GraphError(msg)
            self._made[name] = self._make(name, self.graphs[name])
        return self._made[name]

    def take_in(self, stem: str, structure: "Structure", digest: bytes | None) -> str:
        """Copy a graph of another library into this one, with all that it holds.

        Args:
            stem: What its name here is made of.
            structure: The graph.
            digest: Its digest, by which it is known again; None for a graph that has none.

        Returns:
            Its name here.

        Raises:
            DocumentError: Graphs would hold each other too deep.
        """
        if digest is not None and digest in self._held:
            return self._held[digest]
        check_depth(1 + _depth(structure))
        copy = self.copy_of(structure)
        name = self._free(stem)
        self.graphs[name] = copy
        if digest is not None:
            self._held[digest] = name
        return name

    def copy_of(self, structure: "Structure") -> "Structure":
        """Return a copy of a graph of another library that belongs to this one, which takes in all that it holds."""
        names: dict[str, str] = {}
        for name in _innermost_first(structure):
            names[name] = self._free(name)
            self.graphs[names[name]] = structure.library.graphs[name].copied(self, names)
        return structure.copied(self, names)

    def _free(self, stem: str) -> str:
        name, count = stem[:120], 1
        while name in self.graphs:
            count += 1
            name = f"{stem[:120]}.{count}"
        return name

    def check(self, structure: "Structure") -> None:
        """Check what the graphs of this library, and one that uses it, say of each other.

        Raises:
            UnknownReferenceError: A gate holds a graph that is not there.
            CycleError: A graph holds itself.
            DocumentError: Graphs hold each other too deep.
        """
        for place, holder in [("", structure), *self.graphs.items()]:
            for node, attribute, name in holder.held():
                if name not in self.graphs:
                    where = f"Node {node.name!r}" + (f" of graph {place!r}" if place else "")
                    msg = f"{where} holds for {attribute!r} the graph {quoted(name)}, but the document has none of that"
                    msg += f" name.{did_you_mean(name, self.graphs)}"
                    raise UnknownReferenceError(msg, name=name, node=node.name, gate=node.gate_name)
        depths: dict[str, int] = {}
        for name in self.graphs:
            self._measure(name, depths)
        check_depth(max(depths.values(), default=0))

    def _measure(self, start: str, depths: dict[str, int]) -> None:
        """Find how deep a graph holds others, without recursion, for the document is a stranger's."""
        path: dict[str, Iterator[str]] = {} if start in depths else {start: self._holds(start)}
        while path:
            name = next(reversed(path))
            held = next((other for other in path[name] if other not in depths), None)
            if held is None:
                path.popitem()
                depths[name] = 1 + max((depths[other] for other in self._holds(name)), default=0)
            elif held in path:
                cycle = [*path][[*path].index(held) :]
                shown = " -> ".join([*map(repr, cycle[:5]), *(["..."] if len(cycle) > 5 else []), repr(held)])
                node = next(node for node, _, other in self.graphs[name].held() if other == held)
                msg = (
                    f"The graphs {shown} hold each other: node {node.name!r} of graph {name!r} holds {held!r}. Let one"
                )
                msg += " of them hold another graph."
                raise CycleError(msg, node=node.name, graph=name)
            else:
                path[held] = self._holds(held)

    def _holds(self, name: str) -> Iterator[str]:
        return (other for _, _, other in self.graphs[name].held())


def _depth(structure: "Structure") -> int:
    """Return how deep a graph holds others; 0 if it holds none."""
    depths: dict[str, int] = {}
    for name in _innermost_first(structure):
        held = structure.library.graphs[name].held()
        depths[name] = 1 + max((depths[other] for _, _, other in held), default=0)
    return max((depths[name] for _, _, name in structure.held()), default=0)


def check_depth(depth: int) -> None:
    """Raise DocumentError if graphs hold each other too deep."""
    if depth > MAX_DEPTH:
        msg = f"Graphs hold each other {depth} deep, but at most {MAX_DEPTH} is allowed. Unfold one of them."
        raise DocumentError(msg, depth=depth)


def _innermost_first(structure: "Structure") -> list[str]:
    """Return the names of all graphs that a graph holds, however deep, so that each comes after those that it holds."""
    graphs = structure.library.graphs
    order: dict[str, None] = {}
    path = [iter([name for _, _, name in structure.held()])]
    names: list[str] = []
    while path:
        name = next((name for name in path[-1] if name not in order), None)
        if name is not None:
            path.append(iter([other for _, _, other in graphs[name].held()]))
            names.append(name)
            continue
        path.pop()
        if names:
            order[names.pop()] = None
    return list(order)
