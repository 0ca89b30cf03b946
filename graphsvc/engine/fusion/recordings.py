"""The recordings of a graph's gates, each made when it is first needed."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

from graphsvc.arrays import ArraySpec
from graphsvc.engine.cache import Cache
from graphsvc.engine.fusion.recording import Recording, record
from graphsvc.engine.fusion.trial import holds
from graphsvc.gate import Elementwise, Gate

__all__ = ["Recordings"]

_KEPT: Final = 1 << 13
"""Recordings that a graph keeps: a matrix product has some for each shape."""


def _unrecordable(cls: type[Gate]) -> str:
    """Return why no method of a gate can be recorded; empty where it may be tried."""
    if not cls.deterministic:
        return "it is not deterministic"
    return "it holds a graph" if cls.signature.graphs else ""


class Recordings:
    """The recordings of the gates of one graph, each made when it is first needed. Safe for many threads."""

    def __init__(self) -> None:
        self._made = Cache[Recording | str](_KEPT)
        self._distrusted: dict[int, str] = {}

    @property
    def distrusted(self) -> int:
        """How many gates turned out to compute something else than their recordings."""
        return len(self._distrusted)

    def get(
        self,
        key: Hashable,
        gate: Gate,
        call: Callable[[list[Any]], object],
        operands: Sequence[ArraySpec],
    ) -> Recording | str:
        """Return the recording of a method of a gate, or why there is none."""
        shaped = not isinstance(gate, Elementwise)
        given = tuple((spec.dtype, spec.shape if shaped else None) for spec in operands)
        if id(gate) in self._distrusted:
            return self._distrusted[id(gate)]
        found = self._made.find((id(gate), key, given))
        if found is None:
            reason = _unrecordable(type(gate))
            found = reason or record(call, given)
            if not isinstance(found, str) and not holds(found, call, given):
                found = "it gives something else than its recording"
            self._made.set((id(gate), key, given), found)
        return found

    def distrust(self, gate: Gate, reason: str) -> None:
        """Run a gate as it is from now on."""
        self._distrusted[id(gate)] = reason
