"""Expressions: a graph written as in Python, `f = (x + y) * z`, read without ever being evaluated by Python.

Names that are not assigned are inputs; names that are assigned and not used are outputs. Statements end at a newline or
`;`, comments start with `#`. Calls are calls of gates, with attributes by keyword: `sum(x, axis=0)`. A gate stands for
its first output, and `svd(a).s` for the one named `s`.
"""

import keyword
import math
import operator as operators
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, cast

from graphsvc.document import GraphDocument
from graphsvc.draft import Draft, DraftCall, DraftOutput, DraftValue
from graphsvc.errors import GraphError, GraphsvcError, NotAGraphError, quoted
from graphsvc.tokens import Token, pointed, refuse, tokenize

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "OPERATORS", "document_from_expression", "placed"]

MAX_LENGTH: Final = 100_000
"""Longest expression, in characters."""

MAX_DEPTH: Final = 64
"""How deep parentheses, calls, signs and powers may nest."""

_BINARY: Final = {
    "<": (1, "less"),
    "<=": (1, "less_equal"),
    ">": (1, "greater"),
    ">=": (1, "greater_equal"),
    "==": (1, "equal"),
    "!=": (1, "not_equal"),
    "+": (2, "add"),
    "-": (2, "subtract"),
    "*": (3, "multiply"),
    "/": (3, "divide"),
    "@": (3, "matmul"),
    "**": (5, "power"),
}
"""Precedence and gate of each operator; a sign stands at 4."""

OPERATORS: Final = {gate: f"x {operator} y" for operator, (_, gate) in _BINARY.items()} | {
    "negative": "-x",
    "getitem": "x[0]",
}
"""How gates are written that need not be called by name."""

_FOLDABLE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": operators.add,
    "-": operators.sub,
    "*": operators.mul,
    "/": operators.truediv,
    "**": operators.pow,
}

_SIGN: Final = 4
_COMPARISON: Final = 1


_ELSEWHERE: Final = {
    "and": "write logical_and(x, y)",
    "or": "write logical_or(x, y)",
    "not": "write logical_not(x)",
    "if": "write where(condition, x, y)",
    ",": "a gate with several outputs has them by name, as in svd(a).s",
    "=": "names are letters, digits and '_'; write 'name = ...'",
}
"""What to write instead of what Python has and expressions have not."""


def document_from_expression(text: str) -> GraphDocument:
    """Read an expression.

    Args:
        text: Statements such as `q = x + y; f = q * z`. A single expression without a name makes the output `f`.

    Returns:
        The graph as a document. Gates are not looked up: it may name gates that are not installed here.

    Raises:
        ExpressionError: The text does not parse; the message shows where.
    """
    return _Parser(text).parse()


def placed(error: GraphsvcError, text: str) -> GraphsvcError:
    """Return an error at a gate with its place in the expression said, as that of a syntax error is.

    Args:
        error: An error of the graph that `text` makes; the facts `node` or `gates` say where it happened.
        text: The expression; anything else, such as a document, has no places.

    Returns:
        A copy with line, column and caret in its message, and the facts `line` and `column`; the error itself where it
        says its place already, or happened at no gate.
    """
    start = _start_of(error.facts, text)
    if start is None:
        return error
    line, column, shown = pointed(text, start)
    made = error.again()
    made.message = f"{error.message} At line {line}, column {column}:\n{shown}"
    made.facts = error.facts | {"line": str(line), "column": str(column)}
    made.args = (made.message,)
    return made


def _start_of(facts: Mapping[str, str], text: str) -> int | None:
    if "line" in facts or not facts.keys() & {"node", "gates"}:
        return None
    try:
        parser = _Parser(text)
        parser.parse()
    except GraphError:
        return None
    node, unknown = facts.get("node"), facts.get("gates", "").split(",")[0]
    found = (call for call in parser.graph.calls if (call.name == node if node else call.gate == unknown))
    return next((call.start for call in found), None)


class _Parser:
    """Reads tokens from left to right, with one token of lookahead; operators by precedence climbing."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            msg = f"An expression is text, not {type(text).__name__}."
            raise NotAGraphError(msg)
        self.text = text
        if len(text) > MAX_LENGTH:
            self.refuse(f"The expression has {len(text)} characters; {MAX_LENGTH} are the most", 0)
        self.tokens = list(tokenize(text))
        self.at = 0
        self.depth = 0
        self.graph = Draft()

    def refuse(self, problem: str, start: int) -> NoReturn:
        refuse(self.text, problem, start)

    # Tokens

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def advance(self) -> Token:
        token = self.token
        self.at += 1
        return token

    def found(self, symbol: str) -> bool:
        if self.token.kind == "symbol" and self.token.text == symbol:
            self.at += 1
            return True
        return False

    def expect(self, symbol: str, where: str) -> None:
        if not self.found(symbol):
            self.refuse(f"Expected {symbol!r} {where}, got {self.said(self.token)}", self.token.start)

    @staticmethod
    def said(token: Token) -> str:
        return quoted(token.text) if token.text.strip() else "the end"

    # Statements

    def parse(self) -> GraphDocument:
        bare: list[tuple[int, DraftValue]] = []
        while self.at < len(self.tokens):
            if self.token.kind == "end":
                self.advance()
                continue
            start = self.token.start
            if self.token.kind == "name" and self.tokens[self.at + 1].text == "=":
                self.assignment()
            else:
                bare.append((start, self.expression()))
            if self.token.kind != "end":
                instead = _ELSEWHERE.get(self.token.text, "")
                expected = f"Expected an operator or the end of the statement, got {self.said(self.token)}"
                self.refuse(f"{expected}; {instead}" if instead else expected, self.token.start)
        self.name_bare(bare)
        if not self.graph.assigned:
            self.refuse("There is no expression", 0)
        return self.graph.document()

    def assignment(self) -> None:
        target = self.advance()
        self.advance()
        self.check_name(target)
        if target.text in self.graph.assigned:
            self.refuse(f"{target.text!r} is assigned twice; give the second value another name", target.start)
        value = self.expression()
        if target.text in self.graph.inputs:
            self.refuse(f"{target.text!r} is used before it is assigned; assign it first", target.start)
        self.assign(target.text, value)

    def assign(self, name: str, value: DraftValue) -> None:
        if isinstance(value, DraftCall) and value.name is None:
            value.name = name
        self.graph.assigned[name] = value

    def name_bare(self, bare: list[tuple[int, DraftValue]]) -> None:
        if not bare:
            return
        value = bare[0][1]
        if len(bare) > 1 or "f" in self.graph.inputs or "f" in self.graph.assigned:
            self.refuse("An expression without a name; write 'name = ...'", bare[-1][0])
        self.assign("f", value)

    def check_name(self, token: Token) -> None:
        if keyword.iskeyword(token.text):
            instead = _ELSEWHERE.get(token.text, "")
            problem = f"{token.text!r} is a word of Python and no name here"
            self.refuse(f"{problem}; {instead}" if instead else problem, token.start)
        if "." in token.text or len(token.text) > 128:
            self.refuse(f"{quoted(token.text)} cannot name a value; use letters, digits and '_'", token.start)

    # Expressions

    def nested(self, parse: Callable[[], Any]) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.refuse(f"Nested deeper than {MAX_DEPTH}; give parts names of their own", self.token.start)
        result = parse()
        self.depth -= 1
        return result

    def expression(self, least: int = 0) -> DraftValue:
        """Read operators of precedence `least` or more, and what stands between them."""
        left = self.signed()
        while self.token.kind == "symbol" and self.token.text in _BINARY:
            operator = self.token
            precedence, gate = _BINARY[operator.text]
            if precedence < least:
                break
            self.advance()
            if operator.text == "**":
                right = self.nested(lambda: self.expression(_SIGN))
            else:
                right = self.expression(precedence + 1)
            left = self.combine(operator, gate, left, right)
            if precedence == _COMPARISON and self.token.text in _BINARY and _BINARY[self.token.text][0] == _COMPARISON:
                self.refuse("Comparisons cannot be chained; compare twice", self.token.start)
        return left

    def signed(self) -> DraftValue:
        sign = self.token
        if self.found("-"):
            value = self.nested(lambda: self.expression(_SIGN))
            return -value if isinstance(value, int | float) else self.graph.call("negative", [value], sign.start)
        if self.found("+"):
            return cast(DraftValue, self.nested(lambda: self.expression(_SIGN)))
        value = self.primary()
        while self.token.text in ("[", ".") and self.token.kind == "symbol":
            value = self.index(value, sign) if self.token.text == "[" else self.output(value, self.advance())
        return value

    def output(self, value: DraftValue, dot: Token) -> DraftOutput:
        """Read the name of an output behind the dot."""
        name = self.advance().text
        return self.named(value, name, dot.start)

    def named(self, value: DraftValue, name: str, start: int) -> DraftOutput:
        if not isinstance(value, DraftCall) or "." in name or len(name) > 128:
            self.refuse("Only the output of a gate stands behind a dot, as in svd(a).s", start)
        return DraftOutput(value, name)

    def combine(self, operator: Token, gate: str, left: DraftValue, right: DraftValue) -> DraftValue:
        if isinstance(left, int | float) and isinstance(right, int | float):
            folded = _folded(operator.text, left, right)
            if isinstance(folded, int) and abs(folded) >= 2**63:
                self.refuse("The integers here grow beyond 64 bits; write one of them as a float", operator.start)
            if folded is not None:
                return folded
        return self.graph.call(gate, [left, right], operator.start)

    def primary(self) -> DraftValue:
        token = self.advance()
        if token.kind == "number":
            self.check_sign(token)
            return self.number(token)
        if token.kind == "name":
            if self.found("("):
                return cast(DraftValue, self.nested(lambda: self.gate_call(token)))
            head, dot, name = token.text.partition(".")
            if dot and head in self.graph.assigned:
                return self.named(self.graph.look_up(head), name, token.start + len(head))
            self.check_name(token)
            return self.graph.look_up(token.text)
        if token.text == "(":
            value: DraftValue = self.nested(self.expression)
            self.expect(")", "to close the parenthesis")
            return value
        self.at -= 1
        return self.refuse(f"Expected a value, got {self.said(token)}", token.start)

    def check_sign(self, number: Token) -> None:
        """Refuse a number that a name or a parenthesis follows, as in `2x`."""
        follows = self.token
        if follows.text == "(" or (follows.kind == "name" and not keyword.iskeyword(follows.text)):
            factor = "(...)" if follows.text == "(" else follows.text[:20]
            meant = f"Did you mean {number.text} * {factor}?"
            self.refuse(f"{meant} There is no operator before {quoted(follows.text)}", follows.start)

    def number(self, token: Token) -> int | float:
        if not token.text.isdigit():
            return float(token.text)
        if len(token.text) > 19 or int(token.text) >= 2**63:
            self.refuse("The integer does not fit 64 bits; write it as a float", token.start)
        return int(token.text)

    def gate_call(self, gate: Token) -> DraftValue:
        if keyword.iskeyword(gate.text) or len(gate.text) > 128:
            self.refuse(f"{quoted(gate.text)} is no gate", gate.start)
        operands: list[DraftValue] = []
        attributes: dict[str, Any] = {}
        while not self.found(")"):
            if self.token.kind == "name" and self.tokens[self.at + 1].text == "=":
                name = self.advance()
                self.advance()
                if name.text in attributes or "." in name.text or len(name.text) > 128:
                    self.refuse(f"Attribute {quoted(name.text)} cannot stand here, or stands here twice", name.start)
                attributes[name.text] = self.attribute(0)
            elif attributes:
                self.refuse("An operand after an attribute; operands come first", self.token.start)
            else:
                operands.append(self.expression())
            if not self.found(","):
                self.expect(")", f"to close the call of {gate.text!r}")
                break
        if not operands:
            self.refuse(f"{gate.text!r} is called without operands", gate.start)
        if gate.text in ("max", "min") and len(operands) > 1 and not attributes:
            return self.pairwise(f"{gate.text}imum", operands, gate.start)
        return self.graph.call(gate.text, operands, gate.start, attributes)

    def pairwise(self, gate: str, operands: list[DraftValue], start: int) -> DraftValue:
        value = operands[0]
        for operand in operands[1:]:
            value = self.graph.call(gate, [value, operand], start)
        return value

    # What is written out: attributes and indices

    def attribute(self, depth: int) -> Any:
        token = self.advance()
        if token.text in ("(", "["):
            if depth == 2:
                self.refuse("Lists in an attribute nest at most two deep", token.start)
            return self.listed({"(": ")", "[": "]"}[token.text], depth + 1)
        if token.kind == "string":
            return token.text[1:-1]
        if token.text in ("True", "False", "None"):
            return {"True": True, "False": False, "None": None}[token.text]
        if token.text == "-" and self.token.kind == "number":
            return -self.number(self.advance())
        if token.kind == "number":
            return self.number(token)
        return self.refuse("An attribute is a number, a string, True, False, None or a list of them", token.start)

    def listed(self, close: str, depth: int) -> tuple[Any, ...]:
        items: list[Any] = []
        while not self.found(close):
            items.append(self.attribute(depth))
            if not self.found(","):
                self.expect(close, "to close the list")
                break
        return tuple(items)

    def index(self, value: DraftValue, start: Token) -> DraftValue:
        bracket = self.token.start
        self.expect("[", "before an index")
        if isinstance(value, int | float):
            self.refuse("A number has no index", start.start)
        items: list[Any] = []
        while not self.found("]"):
            items.append(self.index_item())
            if not self.found(","):
                self.expect("]", "to close the index")
                break
        if not items:
            self.refuse("The index is empty", self.token.start)
        return self.graph.call("getitem", [value], bracket, {"index": tuple(items)})

    def index_item(self) -> Any:
        if self.found("..."):
            return "..."
        if self.token.text == "None":
            self.advance()
            return None
        parts = [self.bound()]
        while self.found(":"):
            parts.append(self.bound())
        if len(parts) == 1 and parts[0] is not None:
            return parts[0]
        if not 2 <= len(parts) <= 3:
            self.refuse("Expected an index or a slice 'start:stop:step'", self.token.start)
        return (*parts, None)[:3]

    def bound(self) -> int | None:
        negative = self.found("-")
        if self.token.kind == "number" and self.token.text.isdigit():
            value = int(self.number(self.advance()))
            return -value if negative else value
        if negative or self.token.text not in (":", ",", "]"):
            self.refuse("An index is written in integers; pick by an array with take(x, indices)", self.token.start)
        return None


def _folded(operator: str, left: float, right: float) -> int | float | None:
    """Compute `left operator right` of two literals as Python does, so that the result stays a weak literal.

    None where Python would raise, or give a complex or infinite number: then a gate computes it. An integer beyond 64
    bits stands for any that is too large.
    """
    if operator not in _FOLDABLE:
        return None
    if operator == "**" and isinstance(left, int) and isinstance(right, int) and right > 64 and abs(left) > 1:
        return 2**64
    try:
        result: Any = _FOLDABLE[operator](left, right)
    except ArithmeticError:
        return None
    if isinstance(result, complex) or (isinstance(result, float) and not math.isfinite(result)):
        return None
    return cast(int | float, result)
