"""Handing results over without a copy where they are nobody else's: fresh memory takes longer than the rest."""

import sys
from typing import Final

import numpy as np

from graphsvc.arrays import Array, owned

__all__ = ["keep_memory", "taken"]

_MOST_KEPT: Final = 2**24


def keep_memory(size: int) -> None:
    """Have the allocator keep freed memory of about that size for the next call, and not give it back to the system.

    It keeps twice as much as the largest array that was ever freed, and the results of one call are as much as that;
    getting their pages anew took as long as three gradients. This array is not written to, and so takes no memory.
    """
    np.empty(min(8 * size, _MOST_KEPT), np.uint8)


def taken(arrays: dict[str, Array], name: str) -> Array:
    """Take an array out, as one that nobody else has and that may be written to; a copy if somebody might have it."""
    array = arrays.pop(name)
    # Fresh memory for a large copy takes longer than the rest. Two references are this one and that of the call.
    if sys.getrefcount(array) > 2 or not array.flags.c_contiguous:
        return owned(array)
    base = array.base
    if base is None and array.flags.owndata:
        array.flags.writeable = True
        return array
    # Another shape of an array that is nobody's: one reference more, that of the view.
    whole = type(base) is np.ndarray and base.flags.owndata and base.size == array.size and sys.getrefcount(base) == 3
    if base is None or not whole or not base.flags.writeable:
        return owned(array)
    array.flags.writeable = True
    return array
