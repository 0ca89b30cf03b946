"""Folding: a large picture with groups in the place of most of its nodes."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

import networkx as nx

from graphsvc.drawing.picture import Picture, PictureEdge, PictureNode, PicturePort
from graphsvc.errors import RequestError, did_you_mean, quoted

__all__ = ["folded", "is_large"]

_Groups: TypeAlias = Mapping[str, str]
"""The group of each node that is in one."""


def is_large(picture: Picture, most: int | None) -> bool:
    """Tell whether a picture has more than so many nodes; None is any number of them."""
    return most is not None and len(picture.nodes) > most


def folded(
    picture: Picture, most: int | None, unfold: Iterable[str] = (), blocks: Iterable[Collection[str]] | None = None
) -> Picture:
    """Fold a picture of more than so many nodes into groups, none of which depends on itself.

    Names say what belongs together: `layer1.w` and `layer1.h` are of the group `layer1`. Where names do not make the
    picture small, groups are parts of the graph on the way from its inputs to its outputs: `part1`, `part2`, ...

    Args:
        picture: What is to be folded.
        most: How many nodes are not too many; None folds nothing.
        unfold: Names of groups that stay open.
        blocks: The gates that run together, one block after the other, to be folded as `block1`, `block2`, ... in
            the place of what names say.

    Raises:
        RequestError: There is no group of such a name.
    """
    if most is None or not is_large(picture, most):
        return picture
    opened = frozenset(unfold)
    if blocks is None:
        groups = _by_name(picture, most, opened) or _by_place(picture, most)
        known = {*groups.values(), *_inner_and_outer(picture)}
    else:
        groups = _by_block(picture, blocks)
        known = set(groups.values())
    for name in sorted(opened - known):
        msg = f"There is no group {quoted(name)} to unfold.{did_you_mean(name, known)}"
        raise RequestError(msg)
    closed = {node: group for node, group in groups.items() if group not in opened}
    note = f"{len(closed)} of {len(picture.nodes)} nodes are folded into {len(set(closed.values()))} groups."
    return replace(_quotient(picture, closed), note=" ".join(filter(None, [picture.note, note])))


# Groups by name


def _prefix(node: PictureNode) -> tuple[str, ...]:
    return tuple(node.name.split(".")[:-1]) if node.kind != "output" else ()


def _inner_and_outer(picture: Picture) -> set[str]:
    """Return every group that names speak of."""
    prefixes = {_prefix(node) for node in picture.nodes}
    return {".".join(prefix[:length]) for prefix in prefixes for length in range(1, len(prefix) + 1)}


def _by_name(picture: Picture, most: int, opened: Collection[str]) -> _Groups | None:
    """Return the innermost groups with which the picture is small enough; None if there are none."""
    prefixes = {node.id: prefix for node in picture.nodes if (prefix := _prefix(node))}
    for depth in range(max(map(len, prefixes.values()), default=0), 0, -1):
        closed = {node: ".".join(prefix[:depth]) for node, prefix in prefixes.items()}
        groups = _with_sources(picture, closed, nameless=True)
        if len(picture.nodes) - len(groups) + len(set(groups.values())) > most:
            continue
        groups = {node: _within(prefix, depth, opened) for node, prefix in prefixes.items()}
        groups = _with_sources(picture, groups, nameless=True)
        if _is_acyclic(_quotient(picture, groups)):
            return groups
    return None


def _within(prefix: tuple[str, ...], depth: int, opened: Collection[str]) -> str:
    """Return the group of a node: so many parts of its prefix, and in a group that is open the next inner one."""
    names = [".".join(prefix[:length]) for length in range(min(depth, len(prefix)), len(prefix) + 1)]
    return next((name for name in names if name not in opened), names[-1])


# Groups by block


def _by_block(picture: Picture, blocks: Iterable[Collection[str]]) -> _Groups:
    """Return the blocks of more than one gate, and the inputs and constants that one of them alone uses."""
    last = {node: i for i, block in enumerate(blocks, 1) for node in block}
    sources: dict[str, list[str]] = {}
    for edge in picture.edges:
        sources.setdefault(edge.target, []).append(edge.source)
    # A gate is done with the last block that works for it, and not before its operands are. One without any work of
    # its own, as a view or what was computed for another, is done when they are. So no block depends on a later one.
    done: dict[str, int] = {}
    for node in picture.nodes:
        if node.kind == "gate":
            operands = [done.get(source, 0) for source in sources.get(node.id, ())]
            done[node.id] = max(last.get(node.id, 0), *operands, 0)
    sizes = Counter(done.values())
    groups = {node: f"block{block}" for node, block in done.items() if block and sizes[block] > 1}
    return _with_sources(picture, groups, nameless=True)


# Groups by place


def _by_place(picture: Picture, most: int) -> _Groups:
    """Return as groups the parts of the graph from left to right, and of these those that hang together."""
    depths = {node.id: 0 for node in picture.nodes}
    for edge in picture.edges:
        depths[edge.target] = max(depths[edge.target], depths[edge.source] + 1)
    gates = {node.id: depths[node.id] for node in picture.nodes if node.kind == "gate"}
    count, deepest = max(1, most // 3), max(gates.values(), default=0) + 1
    bands = {gate: depth * count // deepest for gate, depth in gates.items()}
    parts = _connected(picture, bands)
    if len(parts) > most // 2:
        parts = [[gate for gate in gates if bands[gate] == band] for band in sorted(set(bands.values()))]
    groups = {gate: f"part{i}" for i, part in enumerate(parts, 1) for gate in part}
    groups = _with_sources(picture, groups, nameless=False)
    left = [node for node in picture.nodes if node.id not in groups]
    kinds = Counter(node.kind for node in left)
    if len(left) + len(parts) > most:
        groups |= {node.id: f"{node.kind}s" for node in left if kinds[node.kind] > 1}
    return groups


def _connected(picture: Picture, bands: Mapping[str, int]) -> list[list[str]]:
    """Return the parts of bands that hang together, from left to right."""
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(bands)
    inner = ((edge.source, edge.target) for edge in picture.edges if edge.source in bands and edge.target in bands)
    graph.add_edges_from((source, target) for source, target in inner if bands[source] == bands[target])
    order = {gate: i for i, gate in enumerate(bands)}
    parts = [sorted(part, key=order.__getitem__) for part in nx.connected_components(graph)]
    return sorted(parts, key=lambda part: bands[part[0]])


def _with_sources(picture: Picture, groups: _Groups, *, nameless: bool) -> dict[str, str]:
    """Take into a group the inputs and constants that it alone uses; perhaps only those without a name of their own."""
    users: dict[str, set[str]] = {}
    for edge in picture.edges:
        users.setdefault(edge.source, set()).add(groups.get(edge.target, ""))
    sources = [node for node in picture.nodes if node.kind not in ("gate", "output") and node.id not in groups]
    taken = {
        node.id: next(iter(users[node.id]))
        for node in sources
        if len(users.get(node.id, ())) == 1 and not (nameless and node.name)
    }
    return {**groups, **{node: group for node, group in taken.items() if group}}


# The folded picture


def _quotient(picture: Picture, groups: _Groups) -> Picture:
    """Return a picture with groups in the place of their members."""
    members: dict[str, list[PictureNode]] = {}
    for node in picture.nodes:
        members.setdefault(f"group {groups[node.id]}" if node.id in groups else node.id, []).append(node)
    nodes = tuple([_group(name, inner) if name != inner[0].id else inner[0] for name, inner in members.items()])
    merged: dict[tuple[str, str, str, int], list[PictureEdge]] = {}
    for edge in picture.edges:
        source = f"group {groups[edge.source]}" if edge.source in groups else edge.source
        target = f"group {groups[edge.target]}" if edge.target in groups else edge.target
        if source != target:
            port = "" if edge.source in groups else edge.port
            position = 0 if edge.target in groups else edge.position
            merged.setdefault((source, port, target, position), []).append(edge)
    return replace(picture, nodes=nodes, edges=tuple([_merged(*key, edges) for key, edges in merged.items()]))


def _group(name: str, members: list[PictureNode]) -> PictureNode:
    gates = Counter(node.gate for node in members if node.gate) or Counter(node.kind for node in members)
    return PictureNode(
        name,
        "group",
        name.removeprefix("group "),
        attributes={gate: str(count) for gate, count in gates.most_common()},
        ports=(PicturePort(""),),
        members=tuple([node.id for node in members]),
        finding=next((node.finding for node in members if node.finding), ""),
    )


def _merged(source: str, port: str, target: str, position: int, edges: list[PictureEdge]) -> PictureEdge:
    """Return edges as one: with their value, if it is one, and the largest of their gradients."""
    values = {(edge.source, edge.port) for edge in edges}
    gradients = [edge.gradient for edge in edges if edge.gradient]
    flows = {edge.flow for edge in edges}
    return replace(
        edges[0],
        source=source,
        port=port,
        target=target,
        position=position,
        operand="" if target.startswith("group ") else edges[0].operand,
        value=edges[0].value if len(values) == 1 else None,
        gradient=max(gradients, key=lambda gradient: gradient.magnitude, default=None),
        flow=next((flow for flow in ("exploding", "vanishing") if flow in flows), ""),
        count=len(edges),
    )


def _is_acyclic(picture: Picture) -> bool:
    return nx.is_directed_acyclic_graph(nx.DiGraph((edge.source, edge.target) for edge in picture.edges))
