"""Names and references: what may stand for the things of a graph, and the errors where it does not."""

import re
from collections.abc import Iterable
from typing import Final

from graphsvc.errors import DuplicateNameError, InvalidNameError, UnknownReferenceError, did_you_mean, quoted

__all__ = [
    "NAME",
    "REFERENCE",
    "at",
    "bad_name",
    "check_name",
    "is_name",
    "is_reference",
    "name_taken",
    "reference",
    "unknown_reference",
]

NAME: Final = r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}$"
"""The pattern of a name."""

REFERENCE: Final = r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}(:[A-Za-z][A-Za-z0-9_]{0,127})?$"
"""The pattern of a reference: a node's name, or `node:output`."""

is_name: Final = re.compile(NAME).fullmatch
"""Tell whether a text can name something."""

is_reference: Final = re.compile(REFERENCE).fullmatch
"""Tell whether a text can refer to something."""


def check_name(name: object) -> str:
    """Return `name` if it can name a node, an input, a constant or an output.

    Raises:
        InvalidNameError: It cannot.
    """
    if not isinstance(name, str) or not is_name(name):
        raise InvalidNameError(bad_name(name))
    return name


def bad_name(name: object) -> str:
    """Return the message for what is no name."""
    return (
        f"{quoted(name)} is no name. A name starts with a letter or underscore, goes on with letters, digits, '_', '.' "
        f"or '-', and has at most 128 characters."
    )


def name_taken(name: str, path: str = "") -> DuplicateNameError:
    """Return the error for a name that an input, a constant or a node has already."""
    msg = f"{at(path)}The name {name!r} is taken. Inputs, constants and nodes need different names."
    return DuplicateNameError(msg, name=name, path=path)


def unknown_reference(name: str, known: Iterable[str], path: str = "") -> UnknownReferenceError:
    """Return the error for a reference to what is not in the graph; `known` is what is."""
    msg = f"{at(path)}There is no value {quoted(name)} in the graph.{did_you_mean(name, known)}"
    return UnknownReferenceError(msg, name=name[:128], path=path)


def at(path: str) -> str:
    """Return what the message of an error begins with that knows the place in the document."""
    return f"{path}: " if path else ""


def reference(text: str) -> tuple[str, str | None]:
    """Split `node:output` into the node's name and the output's, which is None for a node's first output."""
    node, colon, output = text.partition(":")
    return node, output if colon else None
