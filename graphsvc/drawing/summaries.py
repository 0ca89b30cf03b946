"""What a picture says of an array: its elements if they are few, and otherwise what they are like."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from graphsvc.arrays import Array

__all__ = ["Summary", "nested_text", "number_text", "summary_of"]

_MOST_ELEMENTS: Final = 4
_BINS: Final = 10
_BARS: Final = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Summary:
    """An array in a few words. Statistics are those of the finite elements, of complex ones those of their size.

    Attributes:
        shape: Its shape.
        dtype: Name of its dtype.
        elements: The elements in nested tuples, if they are at most four.
        mean: Their mean.
        std: Their standard deviation.
        smallest: The smallest.
        largest: The largest.
        magnitude: The largest size, of whatever sign.
        nans: How many are NaN.
        infinities: How many are infinite.
        histogram: How many lie in each tenth of the way from the smallest to the largest; empty where all are equal.
    """

    shape: tuple[int, ...]
    dtype: str
    elements: Any = None
    mean: float = 0.0
    std: float = 0.0
    smallest: float = 0.0
    largest: float = 0.0
    magnitude: float = 0.0
    nans: int = 0
    infinities: int = 0
    histogram: tuple[int, ...] = ()

    @property
    def alarm(self) -> str:
        """`NaN` or `infinite`, if it has such elements; else empty."""
        return "NaN" if self.nans else "infinite" if self.infinities else ""

    @property
    def bars(self) -> str:
        """The histogram as a line of bars."""
        most = max(self.histogram, default=0)
        return "".join(_BARS[math.ceil(count / most * (len(_BARS) - 1))] for count in self.histogram)

    def lines(self, *, with_shape: bool = True) -> tuple[str, ...]:
        """Return it as one or two lines of text: the elements, or shape, mean ± deviation, and range."""
        if self.elements is not None:
            return (nested_text(self.elements),)
        shape = "×".join(map(str, self.shape))
        if 0 in self.shape:
            return (f"{shape} empty",)
        spoiled = [f"{self.nans} NaN"] * (self.nans > 0) + [f"{self.infinities} infinite"] * (self.infinities > 0)
        if self.nans + self.infinities == math.prod(self.shape):
            return (shape, " ".join(spoiled)) if with_shape else (" ".join(spoiled),)
        first = f"{number_text(self.mean)} ± {number_text(self.std)}"
        second = f"{number_text(self.smallest)} … {number_text(self.largest)}"
        return (" ".join([shape] * with_shape + [first]), " ".join([second, *spoiled]))


def summary_of(array: Array) -> Summary:
    """Summarize an array."""
    if array.size == 1 and array.dtype.kind in "biuf" and math.isfinite(number := float(array.item())):
        # Large graphs are of single numbers, and for these NumPy takes twenty times as long.
        elements = _tuples(array.tolist())
        return Summary(array.shape, array.dtype.name, elements, number, 0.0, number, number, abs(number))
    few = array.size <= _MOST_ELEMENTS and (array.size or array.ndim == 0)
    elements = _tuples(array.tolist()) if few else None
    spoiled = array.dtype.kind in "fc" and array.size and not np.all(np.isfinite(array))
    nans = int(np.count_nonzero(np.isnan(array))) if spoiled else 0
    infinities = int(np.count_nonzero(np.isinf(array))) if spoiled else 0
    finite = array[np.isfinite(array)] if spoiled else array.reshape(-1)
    if not finite.size:
        return Summary(array.shape, array.dtype.name, elements, nans=nans, infinities=infinities)
    with np.errstate(all="ignore"):
        real = np.abs(finite) if finite.dtype.kind == "c" else finite
        wide = real.astype(np.float64)
        magnitude = float(np.abs(wide).max())
        # Within -1 and 1, where neither squares nor differences overflow.
        scaled = wide / magnitude if magnitude else wide
        low, high = float(scaled.min()), float(scaled.max())
        return Summary(
            array.shape,
            array.dtype.name,
            elements,
            mean=float(scaled.mean()) * (magnitude or 1.0),
            std=float(scaled.std()) * (magnitude or 1.0),
            smallest=float(wide.min()),
            largest=float(wide.max()),
            magnitude=magnitude,
            nans=nans,
            infinities=infinities,
            histogram=() if elements is not None or low == high else _histogram(scaled, low, high),
        )


def number_text(value: complex, digits: int = 4) -> str:
    """Return a number with so many digits, and an integer of up to seven in full."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) < 10**7:
        return str(value)
    # The 0 makes -0 a plain one.
    return f"{value + 0:.{digits}g}".replace("nan", "NaN")


def nested_text(value: Any, digits: int = 4) -> str:
    """Return the numbers of nested lists or tuples, each with so many digits."""
    if isinstance(value, tuple | list):
        return f"[{', '.join([nested_text(item, digits) for item in value])}]"
    return number_text(value, digits)


def _histogram(scaled: Array, low: float, high: float) -> tuple[int, ...]:
    places = np.minimum(((scaled - low) / (high - low) * _BINS).astype(np.intp), _BINS - 1)
    return tuple(np.bincount(places, minlength=_BINS).tolist())


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
