"""The words of an expression, and pointing at one that is wrong."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from graphsvc.errors import ExpressionError, quoted

__all__ = ["Token", "pointed", "refuse", "tokenize"]

_TOKEN: Final = re.compile(
    r"(?P<space>[ \t\r\f]+|\#[^\n]*|\\\n)"
    r"|(?P<end>[\n;])"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
    r"|(?P<string>'[^'\n\\]*'|\"[^\"\n\\]*\")"
    r"|(?P<symbol>\.\.\.|\.(?=[A-Za-z_])|\*\*|<=|>=|==|!=|[-+*/@()\[\],=:<>])",
    re.ASCII,
)

_INSTEAD: Final = {
    "&": "logical_and(x, y)",
    "|": "logical_or(x, y)",
    "^": "logical_xor(x, y), or x ** y for powers",
    "~": "logical_not(x)",
    "!": "logical_not(x)",
    "%": "remainder(x, y)",
}


@dataclass(frozen=True, slots=True)
class Token:
    """A word: its kind (end, number, name, string or symbol), its text, and where it starts."""

    kind: str
    text: str
    start: int


def tokenize(text: str) -> Iterator[Token]:
    """Yield the words of an expression; the last is an end.

    Raises:
        ExpressionError: A character has no meaning.
    """
    position, nesting = 0, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            problem = f"{quoted(text[position])} has no meaning in an expression"
            instead = _INSTEAD.get(text[position])
            refuse(text, f"{problem}; write {instead}" if instead else problem, position)
        kind, word = str(match.lastgroup), match[0]
        nesting += (word in ("(", "[")) - (word in (")", "]"))
        # Inside parentheses a newline is white space, as in Python.
        if kind != "space" and not (word == "\n" and nesting > 0):
            yield Token(kind, word, position)
        position = match.end()
    yield Token("end", "", len(text))


def refuse(text: str, problem: str, start: int) -> NoReturn:
    """Raise an ExpressionError that says what is wrong, with line and column, and points at it."""
    line, column, shown = pointed(text, start)
    msg = f"{problem}, at line {line}, column {column}.\n{shown}"
    raise ExpressionError(msg, line=str(line), column=str(column))


def pointed(text: str, start: int) -> tuple[int, int, str]:
    """Return the line and the column of a place, counted from 1, and what stands around it with a caret below."""
    begin = text.rfind("\n", 0, start) + 1
    left = max(begin, start - 60)
    shown = text[left : start + 20].split("\n")[0]
    return text.count("\n", 0, start) + 1, start - begin + 1, f"    {shown}\n    {' ' * (start - left)}^"
