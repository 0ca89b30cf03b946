"""What was measured, and what follows from it."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from works import Work

__all__ = ["PEERS", "Measured", "Memory"]

PEERS: Final = ("torch", "jax", "autograd")


@dataclass
class Measured:
    """The times of one work, in seconds, by engine.

    Attributes:
        warm: Of one run, averaged over each batch.
        cold: Of each stage, for each graph never seen.
        too_slow: The time limit, of engines that had no results within it.
    """

    work: Work
    warm: dict[str, list[float]] = field(default_factory=dict)
    cold: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    too_slow: dict[str, float] = field(default_factory=dict)

    def median(self, engine: str) -> float:
        """Return the median of a warm run."""
        return statistics.median(self.warm[engine])

    def best_peer(self, typical: Callable[[list[float]], float] = statistics.median) -> str:
        """Return the peer that takes least time."""
        return min((peer for peer in PEERS if peer in self.warm), key=lambda peer: typical(self.warm[peer]))

    def ratio(self, peer: str, typical: Callable[[list[float]], float] = statistics.median) -> float:
        """Return how many times as long as graphsvc a peer takes."""
        return typical(self.warm[peer]) / typical(self.warm["graphsvc"])

    def reached(self, typical: Callable[[list[float]], float] = statistics.median) -> bool:
        """Tell whether the ratios aimed at are reached."""
        by_hand = self.work.by_hand_target
        best = self.ratio(self.best_peer(typical), typical)
        return best >= self.work.target and (not by_hand or self.ratio("numpy", typical) >= by_hand)

    def cold_median(self, engine: str) -> float:
        """Return the median from a graph never seen to its gradients."""
        return statistics.median(map(sum, self.cold[engine]))

    def cold_stages(self) -> list[float]:
        """Return the medians of graphsvc's stages."""
        return [statistics.median(stage) for stage in zip(*self.cold["graphsvc"], strict=True)]

    def cold_ratio(self) -> tuple[float | None, bool]:
        """Return how many times as long as graphsvc jax takes for its first call, and whether it is at least that."""
        if "jax" in self.cold:
            return self.cold_median("jax") / self.cold_median("graphsvc"), False
        if "jax" in self.too_slow:
            return self.too_slow["jax"] / self.cold_median("graphsvc"), True
        return None, False


@dataclass(frozen=True)
class Memory:
    """The memory that a work takes, in MiB.

    Attributes:
        name: Of the work.
        needed: What its outputs and gradients take.
        resident: By how much more than that the resident set grew over the inputs, by engine.
        allocated: The same of graphsvc's allocations, as tracemalloc counts them.
    """

    name: str
    needed: float
    resident: dict[str, float]
    allocated: float
