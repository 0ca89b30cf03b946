"""Expressions: Python's operators and precedence, read without Python."""

import random

import numpy as np
import pytest

import graphsvc
from graphsvc import errors
from graphsvc.expression import MAX_LENGTH, placed

VALUES = {"x": 1.3, "y": -0.7, "z": 2.9}


@pytest.mark.parametrize(
    "text",
    [
        "x + y * z",
        "(x + y) * z",
        "x - y - z",
        "x / y / z",
        "x / y * z",
        "-x ** 2",
        "(-x) ** 2",
        "z ** -x",
        "z ** x ** y",
        "2 ** 3 ** 0.5 * x",
        "-x * -y",
        "x - -y",
        "+x - +y",
        "1e-3 * x + .5 - 2.",
        "1 / 2 * x",
        "x  # a comment\n",
        "(x\n  + y)",
        "x + \\\n y",
        "2 * 3 + x",
        "-2 ** 2 + x",
    ],
)
def test_operators_bind_as_in_python(text):
    """An expression has the value that Python gives it."""
    outputs, _ = graphsvc.parse(f"f = {text}").value_and_grad(
        {name: value for name, value in VALUES.items() if name in text}
    )
    assert outputs["f"] == pytest.approx(eval(text, {}, VALUES), rel=1e-15)  # noqa: S307 - our own text


def test_random_expressions_have_the_value_that_python_gives_them():
    """Three hundred random expressions with parentheses, signs and all operators."""
    generator = random.Random(11)  # noqa: S311 - no secret

    def make(depth: int) -> str:
        if depth == 0 or generator.random() < 0.2:
            return generator.choice(["x", "y", "z", "2", "0.5", "3.0"])
        kind = generator.random()
        if kind < 0.15:
            return f"-{make(depth - 1)}"
        if kind < 0.4:
            return f"({make(depth - 1)})"
        if kind < 0.5:
            return f"({make(depth - 1)}) ** {generator.choice(['2', '3', '-1'])}"
        return f"{make(depth - 1)} {generator.choice('+-*/')} {make(depth - 1)}"

    compared = 0
    for _ in range(300):
        text = make(5)
        try:
            expected = eval(text, {}, VALUES)  # noqa: S307 - our own text
        except ZeroDivisionError:
            continue
        graph = graphsvc.parse(f"f = {text}")
        outputs, _ = graph.value_and_grad({name: VALUES[name] for name in graph.inputs}, wrt=[])
        assert outputs["f"] == pytest.approx(expected, rel=1e-12), text
        compared += 1
    assert compared > 250


def test_free_names_are_inputs_and_unused_assignments_are_outputs():
    """In the order in which they appear."""
    graph = graphsvc.parse("q = x + y; f = q * z\ng = exp(f)\nh = q  # used only here\n")
    assert graph.inputs == ("x", "y", "z")
    assert graph.outputs == ("g", "h")
    outputs, _ = graph.value_and_grad({"x": 1.0, "y": 2.0, "z": 3.0}, wrt=[])
    assert outputs["h"] == 3
    assert outputs["g"] == np.exp(9.0)


def test_an_expression_alone_is_the_output_f():
    """Without a name it is called f, unless f is something else."""
    assert graphsvc.parse("(x + y) * z").outputs == ("f",)
    with pytest.raises(errors.ExpressionError, match="without a name"):
        graphsvc.parse("f + 1")


def test_max_and_min_are_pairwise_or_reductions():
    """Of two or more operands they compare these, of one they reduce it."""
    inputs = {"x": [1.0, 5.0], "y": [4.0, 2.0]}
    outputs, _ = graphsvc.parse("a = max(x, y, 3); b = min(x); c = max(x, axis=0, keepdims=True)").value_and_grad(
        inputs, wrt=[]
    )
    np.testing.assert_array_equal(outputs["a"], [4, 5])
    assert outputs["b"] == 1
    np.testing.assert_array_equal(outputs["c"], [5])


@pytest.mark.parametrize("index", ["0", "-1", "1:3", "::-1", ":, 1", "1:, ::2", "..., 0", "None, 1", "-2:, None, 1:"])
def test_indices_pick_what_numpy_picks(index):
    """Integers, slices, dots and new axes."""
    x = np.arange(20.0).reshape(4, 5)
    outputs, _ = graphsvc.parse(f"f = x[{index}]").value_and_grad({"x": x}, wrt=[])
    expected = eval(f"x[{index}]", {"x": x})  # noqa: S307 - our own text
    np.testing.assert_array_equal(outputs["f"], expected)


def test_attributes_are_written_by_keyword():
    """Numbers, strings, booleans, None and lists."""
    document = graphsvc.parse("f = far.gate(x, a=1, b=-2.5, c='t', d=True, e=None, g=(1, [2, 3]))").document()
    assert document.nodes[0].attributes == {
        "a": 1,
        "b": -2.5,
        "c": "t",
        "d": True,
        "e": None,
        "g": (1, (2, 3)),
    }


def test_an_output_of_a_gate_stands_behind_a_dot():
    """Of a call or of a name; without one it is the first. Digits and plugins keep their dots."""
    graph = graphsvc.parse("d = svd(a); f = sum(d.s) + 0.5; u = d; g = svd(a).vh[0]; h = slogdet(a).logabsdet")
    outputs, gradients = graph.value_and_grad({"a": np.diag([3.0, 2.0])}, output_gradients={"f": 1.0, "h": 1.0})
    assert outputs["f"] == pytest.approx(5.5)
    assert outputs["h"] == pytest.approx(np.log(6))
    np.testing.assert_allclose(gradients["a"], np.diag([1 + 1 / 3, 1.5]))
    np.testing.assert_array_equal(np.abs(outputs["u"]), np.eye(2))
    np.testing.assert_array_equal(np.abs(outputs["g"]), [1, 0])
    with pytest.raises(errors.UnknownReferenceError, match="no such output. Its outputs: u, s, vh"):
        graphsvc.parse("f = svd(a).t").value_and_grad({"a": np.eye(2)})


WRONG = {
    "x and y": r"write logical_and\(x, y\)",
    "not x": r"write logical_not\(x\)",
    "(x > 0) & (y > 0)": r"write logical_and\(x, y\)",
    "x % 2": r"write remainder\(x, y\)",
    "u, s = svd(a)": r"by name, as in svd\(a\)\.s",
    "a = 2; a.s": "Only the output of a gate",
    "x[0].s.t": "Only the output of a gate",
    "(x + 1).s.t": "Only the output of a gate",
    "d = svd(a); d.s.t": "Only the output of a gate",
    "": "no expression",
    "# nothing": "no expression",
    "f =": "Expected a value",
    "(x": r"Expected '\)'",
    "x +* y": "Expected a value, got '\\*'",
    "f = x\ng = (y $ 2)": r"'\$' has no meaning.*line 2, column 8",
    "x < y < z": "cannot be chained",
    "f = x; f = y": "assigned twice",
    "a = b + 1; b = 3": "used before it is assigned",
    "lambda": "word of Python",
    "x if y else z": "Expected an operator",
    "x.y": "cannot name a value",
    "__import__('os')": "Expected a value",
    "sum(axis=0)": "without operands",
    "x[i]": "take",
    "x[]": "empty",
    "x[1:2:3:4]": "slice",
    "99999999999999999999 * x": "64 bits",
    "f(x, a=1, y)": "operands come first",
    "f(x, a=1, a=2)": "stands here twice",
    "f(x, a=y)": "An attribute is",
    "x; y": "without a name",
    "x y": "Expected an operator",
    "2x": r"Did you mean 2 \* x\? There is no operator before 'x'",
    "sin(3.5 y)": r"Did you mean 3.5 \* y\?",
    "2(x + 1)": r"Did you mean 2 \* \(...\)\?",
    "2sin(x)": r"Did you mean 2 \* sin\?",
    "-" * 1000 + "x": "Nested deeper",
    "(" * 500 + "x" + ")" * 500: "Nested deeper",
    "x" + "**x" * 200: "Nested deeper",
    "f(" * 200 + "x" + ")" * 200: "Nested deeper",
    "x + " * MAX_LENGTH + "x": "characters",
    "é + 1": "has no meaning",
    "x + '": "has no meaning",
    f"f = {'x' * 200}": "cannot name a value",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:20])
def test_a_wrong_expression_is_refused_with_line_column_and_caret(text):
    """The message says what is wrong and where, and points at it."""
    with pytest.raises(errors.ExpressionError, match=f"(?s){WRONG[text]}") as caught:
        graphsvc.parse(text)
    assert int(caught.value.facts["line"]) >= 1
    assert int(caught.value.facts["column"]) >= 1
    assert caught.value.message.endswith("^")
    assert len(caught.value.message) < 400


def test_a_long_sum_is_no_deep_nesting():
    """Ten thousand terms parse without recursion."""
    graph = graphsvc.parse("f = " + " + ".join(["x"] * 10_000))
    assert graph.value_and_grad({"x": 1.0})[1]["x"] == 10_000


@pytest.mark.parametrize(
    "text", ["9**9**9**9", "2**63", "9223372036854775807 + 1", "3037000500 * 3037000500 * 2", "9223372036854775807**64"]
)
def test_integers_that_grow_beyond_64_bits_are_refused(text):
    """They are neither computed without end nor wrapped around."""
    with pytest.raises(errors.ExpressionError, match="beyond 64 bits"):
        graphsvc.parse(f"f = ({text}) * x")


def test_a_literal_divided_by_zero_is_infinite():
    """What Python would refuse is left to the gate, which follows IEEE 754."""
    outputs, _ = graphsvc.parse("f = x + 1 / 0").value_and_grad({"x": 1.0}, wrt=[])
    assert outputs["f"] == np.inf


@pytest.mark.parametrize(
    ("text", "facts", "place"),
    [
        ("f = sinn(x)", {"gates": "sinn"}, (1, 5)),
        ("q = x + y  # sinn\nf = q * sinn(sinn(q))", {"gates": "sinn,coss"}, (2, 14)),
        ("q = W @ x\nf = sum(q**2)", {"node": "q"}, (1, 7)),
        ("q = W @ x\nf = sum(q**2)", {"node": "power.1"}, (2, 10)),
        ("f = max(x, y, z)", {"node": "maximum.1"}, (1, 5)),
        ("f = -x[0:2]", {"node": "getitem.1"}, (1, 7)),
        ("f = -x[0:2]", {"node": "f"}, (1, 5)),
        ("x + y", {"node": "f"}, (1, 3)),
    ],
)
def test_an_error_at_a_gate_has_its_place(text: str, facts: dict[str, str], place: tuple[int, int]):
    """Line, column and a caret below the gate or the operator, as those of a syntax error."""
    error = placed(errors.GraphError("It is wrong.", **facts), text)
    assert (int(error.facts["line"]), int(error.facts["column"])) == place
    *_, shown, caret = error.message.split("\n")
    assert shown.strip() == text.split("\n")[place[0] - 1]
    assert caret.index("^") - 4 == place[1] - 1


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("f = x * x", {"input": "x"}),
        ("f = x * x", {"node": "g"}),
        ('{"graphsvc": 1}', {"node": "f"}),
        ("(", {"node": "f"}),
    ],
)
def test_an_error_elsewhere_stays_as_it_is(text: str, facts: dict[str, str]):
    """At an input, at a node of something else, and in what is no expression."""
    error = errors.GraphError("It is wrong.", **facts)
    assert placed(error, text) is error
