"""Where things stand: a layered layout, left to right, in which no edge runs through a text.

Nodes stand in the even columns, in topological generations. The texts of edges stand in the odd ones, as high and wide
as they are, and edges that pass a column take a place in it too; so between the columns there is nothing but edges.
This is how Graphviz does it (Gansner et al., "A technique for drawing directed graphs", 1993), with the coordinates by
isotonic regression instead of network simplex.
"""

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import networkx as nx

__all__ = ["Box", "Layout", "Link", "Route", "lay_out"]

_GAP: Final = 14.0
"""Between two things in a column."""

_LEAST: Final = 26.0
_MOST: Final = 90.0
"""Between two columns."""

_MANY: Final = 4_000
"""Beyond so many places edges pass columns anywhere, and nothing is put in order twice."""

_SWEEPS: Final = 12
_SETTLINGS: Final = 16
_FAR: Final = 8
"""In a longer picture, inputs stand where they are used."""


@dataclass(frozen=True, slots=True)
class Box:
    """What something takes: its width, and how far it reaches above and below its line.

    Attributes:
        room: The width of what stands above and below it, if that is more.
        late: Whether it stands where it is used, and not at the left.
        entries: How far from its line each edge enters it, in the order of its operands.
        commutes: Whether edges may enter it in any order.
        exits: How far from its line an edge leaves it, by the number of the port.
    """

    width: float
    above: float
    below: float
    room: float = 0.0
    late: bool = False
    entries: tuple[float, ...] = ()
    commutes: bool = False
    exits: tuple[float, ...] = (0.0,)


@dataclass(frozen=True, slots=True)
class Link:
    """An edge: which boxes it leaves and enters, by which port and as which operand, and what its text takes."""

    source: int
    port: int
    target: int
    entry: int
    text: Box


@dataclass(slots=True)
class Route:
    """The way of an edge.

    Attributes:
        text: Where the middle of its text stands.
        runs: Where it runs straight: from and to which x, at which y. Between, it bends.
    """

    text: tuple[float, float] = (0.0, 0.0)
    runs: list[tuple[float, float, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything stands: the middles of the boxes, and the ways of the edges."""

    places: list[tuple[float, float]]
    routes: list[Route]
    width: float
    height: float


def lay_out(boxes: Sequence[Box], links: Sequence[Link]) -> Layout:
    """Lay out a directed acyclic graph."""
    ranks = _ranks(boxes, links)
    places = sum(ranks[link.target] - ranks[link.source] for link in links) * 2
    columns = _Columns(boxes, links, ranks, quick=places > _MANY)
    columns.put_in_order()
    columns.place()
    return columns.layout()


def _ranks(boxes: Sequence[Box], links: Sequence[Link]) -> list[int]:
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(boxes)))
    graph.add_edges_from((link.source, link.target) for link in links)
    ranks = [0] * len(boxes)
    for rank, generation in enumerate(nx.topological_generations(graph)):
        for node in generation:
            ranks[node] = rank
    long = max(ranks, default=0) > _FAR
    for node, box in enumerate(boxes):
        if not ranks[node] and graph.succ[node] and (box.late or long):
            ranks[node] = min(ranks[user] for user in graph.succ[node]) - 1
    return ranks


class _Columns:
    """The columns while they are put in order. A place in one is a number: first the boxes, then those on edges."""

    def __init__(self, boxes: Sequence[Box], links: Sequence[Link], ranks: Sequence[int], *, quick: bool) -> None:
        self._links = links
        self._quick = quick
        self._count = len(boxes)
        self._boxes = list(boxes)
        self._column = [2 * rank for rank in ranks]
        self._chains: list[list[int]] = []
        self._before: list[list[tuple[int, float]]] = [[] for _ in boxes]
        self._after: list[list[tuple[int, float]]] = [[] for _ in boxes]
        for link in links:
            self._add(link)
        self._columns: list[list[int]] = [[] for _ in range(max(self._column, default=0) + 1)]
        for place, column in enumerate(self._column):
            self._columns[column].append(place)
        self._y = [0.0] * len(self._boxes)
        self._levels = list(self._y)

    def _add(self, link: Link) -> None:
        """Give an edge a place in each column that it passes; neighbours are noted with the way from line to line."""
        first, last = self._column[link.source] + 1, self._column[link.target]
        chain = []
        previous, bend = link.source, self._boxes[link.source].exits[link.port]
        for column in range(first, first + 1 if self._quick else last):
            place = len(self._boxes)
            self._boxes.append(link.text if column == first else Box(0.0, 4.0, 4.0))
            self._column.append(column)
            self._before.append([(previous, bend)])
            self._after.append([])
            self._after[previous].append((place, -bend))
            chain.append(place)
            previous, bend = place, 0.0
        entry = self._boxes[link.target].entries[link.entry]
        self._before[link.target].append((previous, -entry))
        self._after[previous].append((link.target, entry))
        self._chains.append(chain)

    # Order

    def put_in_order(self) -> None:
        """Put each column in an order with few crossings: that of the neighbours' middles, swept back and forth."""
        index = [0] * len(self._boxes)
        self._number(index)
        best, fewest = [list(column) for column in self._columns], self._crossings(index)
        for sweep in range(1 if self._quick else _SWEEPS):
            if not fewest:
                break
            forward = sweep % 2 == 1
            for column in self._columns if forward else reversed(self._columns):
                near = self._before if forward else self._after
                column.sort(key=lambda place: _middle(place, near[place], index))
                for i, place in enumerate(column):
                    index[place] = i
            crossings = self._crossings(index)
            if crossings < fewest:
                best, fewest = [list(column) for column in self._columns], crossings
        self._columns = best

    def _number(self, index: list[int]) -> None:
        for column in self._columns:
            for i, place in enumerate(column):
                index[place] = i

    def _crossings(self, index: list[int]) -> int:
        """Return how many pairs of edges cross."""
        crossings = 0
        for column in self._columns:
            seen: list[tuple[int, float]] = []
            for place in column:
                ends = sorted((index[after], bend) for after, bend in self._after[place])
                crossings += sum(len(seen) - bisect.bisect_right(seen, end) for end in ends)
                for end in ends:
                    bisect.insort(seen, end)
        return crossings

    # Coordinates

    def place(self) -> None:
        """Set each place as near to the middle of its neighbours as the column allows."""
        for column in self._columns:
            self._settle(column, [0.0] * len(column))
        for sweep in range(1 if self._quick else _SETTLINGS):
            both = sweep >= _SETTLINGS // 2
            self._level()
            forward = sweep % 2 == 0
            for column in self._columns if forward else reversed(self._columns):
                self._settle(column, [self._wanted(place, forward=forward, both=both) for place in column])
        # In the end everything stands level with what it comes from, where there is room.
        for column in self._columns:
            self._settle(column, [self._mean(place, self._before[place]) for place in column])

    def _level(self) -> None:
        """Settle the height that all places of an edge want, so that it runs straight: theirs, and that of its ends."""
        for link, chain in zip(self._links, self._chains, strict=True):
            source, target = self._boxes[link.source], self._boxes[link.target]
            ends = self._y[link.source] + source.exits[link.port] + self._y[link.target] + target.entries[link.entry]
            level = (ends / 2 + sum(self._y[place] for place in chain) / len(chain)) / 2
            for place in chain:
                self._levels[place] = level

    def _wanted(self, place: int, *, forward: bool, both: bool) -> float:
        if place >= self._count:
            return self._levels[place]
        near = self._before[place] if forward else self._after[place]
        return self._mean(place, self._before[place] + self._after[place] if both or not near else near)

    def _mean(self, place: int, near: list[tuple[int, float]]) -> float:
        return sum(self._y[other] + bend for other, bend in near) / len(near) if near else self._y[place]

    def _settle(self, column: list[int], wanted: list[float]) -> None:
        """Place a column: nearest to what is wanted in the sum of squares, at least so far apart as things are high."""
        offset, offsets = 0.0, []
        for i, place in enumerate(column):
            if i:
                offset += self._boxes[column[i - 1]].below + _GAP + self._boxes[place].above
            offsets.append(offset)
        # Isotonic regression: neighbours that would come too near are pooled, and share their mean.
        pools: list[list[float]] = []
        for want, distance in zip(wanted, offsets, strict=True):
            pools.append([want - distance, 1.0])
            while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
                mean, size = pools.pop()
                other, more = pools[-1]
                pools[-1] = [(mean * size + other * more) / (size + more), size + more]
        settled = itertools.chain.from_iterable(itertools.repeat(mean, int(size)) for mean, size in pools)
        for place, y, distance in zip(column, settled, offsets, strict=True):
            self._y[place] = y + distance

    # The result

    def layout(self) -> Layout:
        """Return where everything stands."""
        tops = [self._y[place] - box.above for place, box in enumerate(self._boxes)]
        top = min(tops, default=0.0)
        self._y = [y - top for y in self._y]
        height = max((self._y[place] + box.below for place, box in enumerate(self._boxes)), default=0.0)
        spans = self._spans()
        middles = [(left + right) / 2 for left, right in spans]
        places = [(middles[self._column[node]], self._y[node]) for node in range(self._count)]
        entries = self._entries()
        routes = []
        for number, (link, chain) in enumerate(zip(self._links, self._chains, strict=True)):
            source, target = self._boxes[link.source], self._boxes[link.target]
            start, end = self._y[link.source] + source.exits[link.port], self._y[link.target] + entries[number]
            route = Route((middles[self._column[chain[0]]], self._y[chain[0]]))
            route.runs.append((places[link.source][0] + source.width / 2, spans[self._column[link.source]][1], start))
            route.runs += [(*spans[self._column[place]], self._y[place]) for place in chain]
            route.runs.append((spans[self._column[link.target]][0], places[link.target][0] - target.width / 2, end))
            routes.append(route)
        return Layout(places, routes, spans[-1][1] if spans else 0.0, height)

    def _entries(self) -> list[float]:
        """Return where each edge enters its target; where any order is right, in the order in which they come."""
        entries = [self._boxes[link.target].entries[link.entry] for link in self._links]
        incoming: dict[int, list[int]] = {}
        for number, link in enumerate(self._links):
            if self._boxes[link.target].commutes:
                incoming.setdefault(link.target, []).append(number)
        for numbers in incoming.values():
            ways = sorted(entries[number] for number in numbers)
            for number, way in zip(sorted(numbers, key=lambda n: self._y[self._chains[n][-1]]), ways, strict=True):
                entries[number] = way
        return entries

    def _spans(self) -> list[tuple[float, float]]:
        """Return from where to where each column goes; edges that climb have more room."""
        spans = []
        x = 0.0
        for column in self._columns:
            width = max((max(self._boxes[place].width, self._boxes[place].room) for place in column), default=0.0)
            spans.append((x, x + width))
            climbs = [abs(self._y[other] - self._y[place]) for place in column for other, _ in self._after[place]]
            x += width + min(_MOST, max(_LEAST, max(climbs, default=0.0) / 4))
        return spans


def _middle(place: int, near: list[tuple[int, float]], index: list[int]) -> float:
    # The way from line to line tells operands of one node apart.
    return sum(index[other] + bend / 1000 for other, bend in near) / len(near) if near else index[place]
