"""The chain rule in words and in numbers, as the explorer spells it out."""

import ast
import math
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.special

import graphsvc
from graphsvc.drawing.summaries import nested_text
from graphsvc.engine.description import describe_gate
from graphsvc.engine.diagnosis import Cause
from graphsvc.engine.node import Node
from graphsvc.engine.walking import Visit, walk
from graphsvc.gate import Elementwise
from tests.every_gate import GateCase, every_example
from tests.test_lecture import CASES, Case

KNOWN = {
    "array": np.asarray,
    "absolute": np.abs,
    "inf": math.inf,
    "NaN": math.nan,
    "true": True,
    "false": False,
    "sum": lambda x, axis=None: np.sum(x, axis=axis, keepdims=True),
}
SIGNS = {
    "·": "*",
    "^": "**",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    " = ": " == ",
    "ᵀ": ".mT",
    " where ": " if ",
    ", else": " else",
}

ELEMENTWISE = [case for case in every_example() if isinstance(case.example.gate, Elementwise)]
WHOLE = [case for case in every_example() if not isinstance(case.example.gate, Elementwise)]
WHOLE_NAMES = {case.name for case in WHOLE}


class Arrays(ast.NodeTransformer):
    """Makes of a choice and of joined conditions, which Python has for single values, those of arrays."""

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """Make it a call of `where`."""
        self.generic_visit(node)
        return ast.Call(ast.Name("where", ast.Load()), [node.test, node.body, node.orelse], [])

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        """Make it a call of `logical_and` or `logical_or`."""
        self.generic_visit(node)
        name = "logical_and" if isinstance(node.op, ast.And) else "logical_or"
        return ast.Call(ast.Name(name, ast.Load()), node.values, [])


def calculated(text: str, known: dict[str, Any] | None = None, *, columns: bool = False) -> np.ndarray:
    """Calculate a formula as a reader does, with NumPy's functions; where matrices are, vectors are columns."""
    text = re.sub(r"\|([^|]+)\|", r"absolute(\1)", text)
    for sign, python in SIGNS.items():
        text = text.replace(sign, python)
    # Lists that are in no other list.
    text = re.sub(r"(?<![\[,]) ?(\[(?:[^\[\]]|\[(?:[^\[\]]|\[[^\[\]]*\])*\])*\])", r" array(\1)", text)
    said = set(re.findall("[a-z_0-9]+", text)) | {"where", "logical_and", "logical_or"}
    names = {name: getattr(module, name) for module in (scipy.special, np) for name in said if hasattr(module, name)}
    names |= KNOWN | {name: column(value) if columns else value for name, value in (known or {}).items()}
    names["array"] = (lambda value: column(np.asarray(value))) if columns else np.asarray
    tree = ast.fix_missing_locations(Arrays().visit(ast.parse(text.strip(), mode="eval")))
    with np.errstate(all="ignore"):
        return np.asarray(eval(compile(tree, "formula", "eval"), names))  # noqa: S307 - a formula of ours


def column(value: np.ndarray) -> np.ndarray:
    """Return a vector as a column, and anything else as it is."""
    return value[:, np.newaxis] if value.ndim == 1 else value


def spread(value: np.ndarray, note: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return what a formula gave as a gradient of this shape, repeated if the note says so."""
    if along := re.search(r"repeated along ax[ei]s ([\d and]+)", note):
        axes = tuple(map(int, along[1].strip().removesuffix("and").split(" and ")))
        kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
        return np.broadcast_to(value.reshape(kept), shape)
    single = value.size == 1
    assert math.prod(shape) == 1 or single == ("repeated for each" in note) or (single and value == 0)
    return np.broadcast_to(value.reshape(()), shape) if value.size == 1 else value.reshape(shape)


def judge(visit: Visit) -> int:
    """Hold the words of a visit to the gradients that it had; return how many gradients have words."""
    if len(visit.outputs) > 1:
        assert not any(operand.formula for operand in visit.operands)
        return 0
    (value,), (arriving,) = visit.outputs.values(), visit.arriving.values()
    if not arriving:
        return 0
    columns = visit.gate in WHOLE_NAMES
    known = {operand.label: operand.value.elements for operand in visit.operands}
    known |= {visit.label: value.elements, f"d{visit.label}": arriving.elements}
    told = [operand for operand in visit.operands if operand.formula]
    for operand in told:
        assert operand.gradient
        gradient = operand.gradient.elements
        exact = spread(calculated(operand.formula, known, columns=columns), operand.note, gradient.shape)
        # A gate's own constants are told with four digits.
        rounded = gradient.dtype == np.float32 or re.search(r"\d\.\d|\d{4}", operand.formula)
        np.testing.assert_allclose(
            exact, gradient, rtol=1e-3 if rounded else 1e-11, atol=1e-15, err_msg=operand.formula
        )
        few = [made.few is not None for made in (value, arriving, *(o.value for o in visit.operands))]
        if all(few) and operand.gradient.few is not None:
            numbers = operand.numbers or operand.formula
            shown = spread(calculated(numbers, columns=columns), operand.note, gradient.shape)
            np.testing.assert_allclose(shown, gradient, rtol=0.01, err_msg=f"{operand.formula} = {numbers}")
            assert bare(numbers) in [filled(operand.formula, known, digits) for digits in (4, 8, 12, 17)]
    return len(told)


def filled(formula: str, known: dict[str, np.ndarray], digits: int) -> str:
    """Return a formula with numbers in the places of names, without brackets."""
    names = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    numbers = {name: nested_text(value.tolist(), digits) for name, value in known.items()}
    # A transpose sign counts as a letter of a word.
    return bare(re.sub(rf"(?<![\w.])({names})(?![^\Wᵀ]|[.(])", lambda found: numbers[found[0]], formula))


def bare(text: str) -> str:
    """Return a formula without brackets."""
    return re.sub("[() ]", "", text)


@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_words_and_numbers_give_the_gradient(case: GateCase):
    """For every elementwise gate there is: the formula gives the gradient, and so do the numbers in its place."""
    judge_example(case, [np.ravel(operand)[:1] for operand in case.example.operands])


@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_words_of_arrays_give_the_gradient(case: GateCase):
    """Where elements choose differently, and where operands are broadcast."""
    judge_example(case, case.example.operands)


@pytest.mark.parametrize("case", WHOLE, ids=str)
def test_words_of_gates_of_whole_arrays_give_the_gradient(case: GateCase):
    """For every other gate there is: products of matrices, sums, transposes and repetition included."""
    judge_example(case, case.example.operands)


def judge_example(case: GateCase, operands: Sequence[Any]) -> None:
    """Hold the words for an example of a gate to its gradients, if it is of real numbers."""
    graph = graphsvc.ComputationalGraph()
    inputs = {f"x{i}": np.asarray(operand) for i, operand in enumerate(operands)}
    node = graph.add(case.example.gate, *map(graph.input, inputs), name="f")
    graph.output("f", node if isinstance(node, Node) else node[0])
    value = graph.value_and_grad(inputs, wrt=[])[0]["f"]
    if value.dtype.kind != "f" or any(array.dtype.kind != "f" for array in inputs.values()):
        return
    differentiable = describe_gate(case.name).differentiable
    wrt = [name for i, name in enumerate(inputs) if case.example.gate.signature.operand_name(i) in differentiable]
    arriving = np.random.default_rng(1).normal(size=value.shape).astype(value.dtype)
    judge(walk(graph, inputs, {"f": arriving}, wrt).visits[0])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_words_and_numbers_give_the_gradients_of_the_lecture(case: Case):
    """At every gate of every circuit of the lecture."""
    ones = {name: np.ones(np.shape(value)) for name, value in case.outputs.items()}
    for visit in walk(graphsvc.parse(case.expression), case.inputs, ones).visits:
        judge(visit)


def test_most_gates_of_the_lecture_have_words():
    """The local gradient stands first, then the one that arrived; where it is 1 that is said as well."""
    words = {
        "x + y": ["1 · df", "1 · df"],
        "x - y": ["1 · df", "-1 · df"],
        "x * y": ["y · df", "x · df"],
        "x / y": ["1 / y · df", "-f / y · df"],
        "-x": ["-1 · df"],
        "x**2": ["2 · x · df"],
        "sigmoid(x)": ["f · (1 - f) · df"],
        "tanh(x)": ["(1 - f · f) · df"],
        "exp(x)": ["f · df"],
        "reciprocal(x)": ["-f · f · df"],
        "relu(x)": ["df"],
        "log(x)": ["1 / x · df"],
        "sqrt(x)": ["1 / (2 · f) · df"],
        "abs(-x)": ["-1 · dq", "-df"],
    }
    for expression, formulas in words.items():
        graph = graphsvc.parse(f"f = {expression}")
        visits = walk(graph, {"x": 3.0, "y": -4.0} if "y" in expression else {"x": 3.0}).visits
        assert [operand.formula for visit in visits for operand in visit.operands if operand.formula] == formulas
        assert sum(map(judge, visits)) == len(formulas)


def test_the_numbers_of_the_lecture_are_multiplied_out():
    """As on its slides; a minus stands in brackets behind a sign."""
    (_, multiply) = walk(graphsvc.parse("q = x + y; f = q * z"), {"x": -2, "y": 5, "z": -4}).visits
    assert [operand.numbers for operand in multiply.operands] == ["-4 · 1", "3 · 1"]
    (sigmoid,) = walk(graphsvc.parse("f = sigmoid(x)"), {"x": 1.0}).visits
    assert sigmoid.operands[0].numbers == "0.7311 · (1 - 0.7311) · 1"
    (square,) = walk(graphsvc.parse("f = (-3 - x) * 1"), {"x": -5.0}).visits[:1]
    assert (square.operands[1].formula, square.operands[1].numbers) == ("-1 · dq", "-1 · 1")
    (add, _) = walk(graphsvc.parse("f = (x + y) * z"), {"x": -2, "y": 5, "z": -4}).visits
    assert add.operands[0].numbers == "1 · (-4)"


@pytest.mark.parametrize("x", [10.0, 17.0, -30.0, 36.0])
def test_a_saturated_sigmoid_has_digits_enough(x: float):
    """With four, 1 - f would be 0."""
    (visit,) = walk(graphsvc.parse("f = sigmoid(x)"), {"x": x}).visits
    assert judge(visit) == 1


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (3.0, [1.0, 2.0], ["sum(y · dq)", "x · dq"]),
        ([[1.0], [2.0]], [[3.0, -4.0]], ["sum(y · dq, axis=1)", "sum(x · dq, axis=0)"]),
        ([1.0, -2.0], [[3.0, 4.0]], ["y · dq", "x · dq"]),
    ],
)
def test_an_operand_that_is_repeated_has_a_sum(x: Any, y: Any, words: list[str]):
    """Its gradient is the sum over the axes along which it was repeated, and the words say so."""
    visit = walk(graphsvc.parse("f = sum(x * y)"), {"x": x, "y": y}).visits[0]
    assert [operand.formula for operand in visit.operands] == words
    assert judge(visit) == 2


def test_formulas_of_anybodys_gate_are_told():
    """They are learnt by calling its backward, once for a graph; numbers follow at every run."""
    calls = []

    class Wave(graphsvc.Elementwise):
        """A sine twice as fast."""

        name: ClassVar[str] = "wave"

        def forward(self, x):
            return np.sin(2 * x)

        def backward(self, dz, x):
            calls.append(type(x).__name__)
            return dz * 2 * np.cos(2 * x)

    graph = graphsvc.ComputationalGraph()
    graph.output("f", graph.add(Wave(), graph.input("x"), name="f"))
    for x in (1.0, 2.0):
        (visit,) = walk(graph, {"x": x}).visits
        assert visit.operands[0].formula == "2 · cos(2 · x) · df"
        assert visit.operands[0].numbers == f"2 · cos(2 · {x:g}) · 1"
    assert calls.count("Symbol") == 2


def test_nodes_without_names_have_letters():
    """A single one is `q`, as in the lecture; several are numbered, and none is called as something else is."""
    (add, _) = walk(graphsvc.parse("f = (x + y) * z"), {"x": -2, "y": 5, "z": -4}).visits
    assert (add.node, add.label, list(add.outputs)) == ("add.1", "q", ["q"])
    assert add.operands[0].formula == "1 · dq"
    visits = walk(graphsvc.parse("f = (x + q) * (x - q1)"), {"x": 1, "q": 2, "q1": 3}).visits
    assert sorted(visit.label for visit in visits) == ["f", "q2", "q3"]


def told(expression: str, **inputs: Any) -> list[tuple[str, str]]:
    """Return formulas and notes of the first gate of a graph, once they are held to its gradients."""
    visits = walk(graphsvc.parse(expression), inputs).visits
    for visit in visits:
        judge(visit)
    return [(operand.formula, operand.note) for operand in visits[0].operands if operand.gradient]


def test_a_choice_that_fell_one_way_is_told_with_its_reason():
    """Of single numbers, and of arrays whose elements agree."""
    assert told("f = relu(x)", x=3.0) == [("df", "as f > 0, so all of df goes to x")]
    assert told("f = relu(x)", x=-3.0) == [("0", "as f = 0, so none of df goes to x")]
    assert told("f = sum(relu(x))", x=[1.0, 2.0]) == [("dq", "as q > 0, so all of dq goes to x")]
    assert told("f = abs(x)", x=-3.0) == [("-df", "as x < 0")]
    assert told("f = max(x, y)", x=1.0, y=2.0) == [
        ("0", "as y > x, so none of df goes to x"),
        ("df", "as y > x, so all of df goes to y"),
    ]
    assert told("f = min(x, y)", x=1.0, y=1.0) == [
        ("0.5 · df", "as x = y, so half of df goes to x"),
        ("0.5 · df", "as x = y, so half of df goes to y"),
    ]
    assert told("f = clip(x, min=0, max=1)", x=0.5) == [("df", "as x > 0 and x < 1, so all of df goes to x")]
    assert told("f = clip(x, min=0, max=1)", x=2.0) == [("0", "as x > 1, so none of df goes to x")]
    assert told("f = where(x > 0, y, z)", x=1.0, y=2.0, z=3.0) == []
    assert told("f = log(x)", x=-1.0) == [("NaN", "as x < 0")]


def test_a_choice_that_differs_between_elements_is_told_as_one():
    """And an absolute value has bars."""
    assert told("f = sum(relu(x))", x=[1.0, -2.0]) == [("dq where q > 0, else 0", "")]
    assert told("f = sum(relu(x))", x=[1.0, -2.0, np.nan]) == [("0 where q ≤ 0, else dq", "")]
    assert told("f = max(x)", x=[3.0, 3.0]) == [("1 / sum(x = f) · df where x = f, else 0", "")]
    assert told("f = sum(max(x, y))", x=[1.0, 3.0], y=[2.0, 2.0])[0][0].endswith("where x ≥ y, else 0")


def test_a_mask_of_anybodys_gate_is_a_choice():
    """As students write a rectifier."""

    class Ramp(graphsvc.Elementwise):
        """The positive part."""

        name: ClassVar[str] = "ramp"

        def forward(self, x):
            return np.maximum(x, 0)

        def backward(self, dz, x):
            return dz * (x > 0)

    graph = graphsvc.ComputationalGraph()
    graph.output("f", graph.add(Ramp(), graph.input("x"), name="f"))
    for x, formula, note in ((2.0, "df", "as x > 0, so all of df goes to x"), (-2.0, "0 · df", "as x < 0, so none")):
        (visit,) = walk(graph, {"x": x}).visits
        assert judge(visit) == 1
        assert visit.operands[0].formula == formula
        assert visit.operands[0].note.startswith(note)


def test_a_choice_by_a_constant_is_told_as_what_was_chosen():
    """Without a reason, whatever the numbers and however many."""

    class Fixed(graphsvc.Elementwise):
        """Twice the operand, by a switch."""

        name: ClassVar[str] = "fixed"
        double: bool = True

        def forward(self, x):
            return 2 * x if self.double else x

        def backward(self, dz, x):
            return np.where(self.double, 2 * dz, dz)

    for size in (1, 100_000):
        graph = graphsvc.ComputationalGraph()
        graph.output("f", graph.add("sum", graph.add(Fixed(), graph.input("x"), name="q")))
        operand = walk(graph, {"x": np.ones(size)}).visits[0].operands[0]
        assert (operand.formula, operand.note) == ("2 · dq", "")


def test_matrices_and_sums_have_formulas():
    """Learnt as those of elementwise gates are; vectors are columns."""
    w, x = [[1.0, 2.0], [3.0, 4.0]], [1.0, -1.0]
    assert told("q = w @ x; f = sum(q)", w=w, x=x) == [("dq @ xᵀ", ""), ("wᵀ @ dq", "")]
    assert told("q = x @ w; f = sum(q)", w=w, x=x) == [("w @ dq", ""), ("x @ dqᵀ", "")]
    assert told("f = x @ y", x=x, y=x) == [("y · df", ""), ("x · df", "")]
    assert told("p = softmax(x); f = sum(p * p)", x=x) == [("p · (dp - sum(p · dp))", "")]
    assert told("f = sum(x)", x=x) == [("df", "repeated for each element")]
    assert told("q = sum(w, axis=1); f = sum(q)", w=w) == [("dq", "repeated along axis 1")]
    assert told("f = mean(x)", x=x) == [("0.5 · df", "repeated for each element")]
    assert told("q = transpose(w); f = sum(q)", w=w) == [("dqᵀ", "")]
    assert told("q = reshape(w, shape=[4]); f = sum(q)", w=w) == [("reshape(dq, (2, 2))", "")]


def test_a_broadcast_operand_has_the_reason_of_its_sum():
    """It was used for several elements."""
    assert told("q = x * y; f = sum(q)", x=3.0, y=[1.0, 2.0]) == [
        ("sum(y · dq)", "x was used for all 2 elements"),
        ("x · dq", ""),
    ]
    assert told("q = x * y; f = sum(q)", x=[[1.0], [2.0]], y=[[3.0, -4.0]])[0][1] == "each of x was used 2 times"


@pytest.mark.parametrize(
    ("expression", "x", "uses"),
    [
        ("f = sin(x) + x*x", 2.0, 3),
        ("f = x * 100001 - x * 100000", -3.5, 2),
        ("q = x * x; f = q * q", [0.5, -2.0], 2),
        ("f = x * x", 3.0, 2),
        ("f = sin(x)", 3.0, 1),
    ],
)
def test_gradients_of_a_value_that_is_used_several_times_add_up(expression: str, x: Any, uses: int):
    """Every use is told of, and the sum stands at the last; its numbers lead to the gradient."""
    ones = {"f": np.ones(np.shape(x))}
    walked = walk(graphsvc.parse(expression), {"x": x}, ones)
    operands = [o for visit in reversed(walked.visits) for o in visit.operands if o.source == "x"]
    assert [operand.uses for operand in operands] == [uses] * uses
    assert [bool(operand.total) for operand in operands] == [False] * (uses - 1) + [uses > 1]
    if uses > 1:
        assert all(f"x is used {uses} times, its gradients add up" in operand.note for operand in operands)
        terms, total = operands[-1].total.split(" = ")
        np.testing.assert_allclose(calculated(terms), walked.gradients["x"], rtol=1e-3)
        np.testing.assert_allclose(calculated(total), walked.gradients["x"], rtol=1e-3)
        assert terms.count(" + ") == uses - 1


def test_a_gradient_given_for_an_output_is_a_use():
    """An output that other gates read has the gradient that was given as well."""
    graph = graphsvc.ComputationalGraph()
    q = graph.add("square", graph.input("x"), name="q")
    graph.output("q", q)
    graph.output("f", graph.add("exp", q, name="f"))
    (_, exp) = walk(graph, {"x": 0.0}, {"q": 5.0, "f": 2.0}).visits
    assert (exp.operands[0].uses, exp.operands[0].total) == (2, "5 + 2 = 7")


def test_forward_is_told_with_the_symbol_of_the_gate():
    """In names, then in numbers; a minus to the right of a sign is in brackets."""
    calls = {
        "f = x * y": ("x × y", "-2 × (-3)"),
        "f = x + y": ("x + y", "-2 + (-3)"),
        "f = x / y": ("x ÷ y", "-2 ÷ (-3)"),
        "f = square(x)": ("x²", "(-2)²"),
        "f = abs(x)": ("|x|", "|-2|"),
        "f = exp(x)": ("exp(x)", "exp(-2)"),
        "f = softplus(x)": ("softplus(x)", "softplus(-2)"),
    }
    for expression, call in calls.items():
        (visit,) = walk(graphsvc.parse(expression), {"x": -2.0, "y": -3.0} if "y" in expression else {"x": -2.0}).visits
        assert (visit.formula, visit.numbers) == call


def test_a_visit_says_why_a_number_is_not_finite():
    """Where it came up first, with the cause."""
    visits = walk(graphsvc.parse("q = log(x); f = q + 1"), {"x": -1.0}).visits
    assert Cause.OUTSIDE_DOMAIN.value in visits[0].finding
    assert not visits[1].finding
