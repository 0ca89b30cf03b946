"""What gates return at kinks, ties and the edges of their domains: one row a point, one module a family of gates.

A row is an expression, its inputs, and the gradients of the sum of its value.
"""

import importlib
import pkgutil
from typing import Any

Point = tuple[str, dict[str, Any], dict[str, Any]]


def every_point() -> list[Point]:
    """Return the rows of every family."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return [point for module in modules for point in module.POINTS]
