"""SciPy, imported when a gate first needs it: that takes a quarter of a second, which most graphs need not wait for."""

import functools
import importlib
from typing import Any

__all__ = ["special"]


@functools.cache
def special() -> Any:
    """Return `scipy.special`, whose functions are ufuncs like NumPy's."""
    return importlib.import_module("scipy.special")
