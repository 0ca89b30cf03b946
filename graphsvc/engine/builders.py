"""Builders: compositions of gates that are easy to get wrong by hand."""

from collections.abc import Callable

from graphsvc.engine.node import Node
from graphsvc.errors import RequestError, quoted

__all__ = ["safe_where"]


def safe_where(condition: object, function: Callable[[Node], object], x: Node, fill: object, otherwise: object) -> Node:
    """Build `function(x)` where a condition holds, and something else elsewhere, with gradients that are right.

    `where(condition, function(x), otherwise)` masks the value, and not the derivative: where `function` has an infinite
    or no derivative at an element that is masked, the zero gradient that arrives there becomes `0 * inf = NaN`. So the
    operand is masked as well: `where(condition, function(where(condition, x, fill)), otherwise)`::

        graphsvc.safe_where(x > 0, lambda v: graph.add("log", v), x, 1.0, 0.0)

    Args:
        condition: A boolean node or array. Its shape broadcasts with that of `x`.
        function: Adds gates to a node and returns the last. It is called once; what it does with `x` itself, instead of
            with the node that it is given, is not protected.
        x: The operand of the function.
        fill: Stands for `x` where the condition does not hold: any number at which value and derivative of the function
            are finite.
        otherwise: The value where the condition does not hold.

    Returns:
        The outer `where`.

    Raises:
        RequestError: `x` is no node, or `function` cannot be called.
        GraphError: The gates do not fit.
    """
    if not isinstance(x, Node):
        msg = f"safe_where builds nodes of a graph, and {quoted(x)} is none. Give x as a node, as from graph.input."
        raise RequestError(msg)
    if not callable(function):
        msg = f"{quoted(function)} is no function of a node. Write it as in lambda v: graph.add('log', v)."
        raise RequestError(msg)
    add = x.graph.add
    return add("where", condition, function(add("where", condition, x, fill)), otherwise)
