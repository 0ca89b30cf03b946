"""The chain rule in words and in numbers, as the explorer spells it out."""

import math
import re
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.special

import graphsvc
from graphsvc.drawing.summaries import nested_text
from graphsvc.engine.description import describe_gate
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
SIGNS = {"·": "*", "^": "**", "≤": "<=", "≥": ">=", "≠": "!=", " = ": " == "}

ELEMENTWISE = [case for case in every_example() if isinstance(case.example.gate, Elementwise)]


def calculated(text: str, known: dict[str, Any] | None = None) -> np.ndarray:
    """Calculate a formula as a reader does, with NumPy's functions."""
    for sign, python in SIGNS.items():
        text = text.replace(sign, python)
    # Lists that are in no other list.
    text = re.sub(r"(?<![\[,]) ?(\[(?:[^\[\]]|\[(?:[^\[\]]|\[[^\[\]]*\])*\])*\])", r" array(\1)", text)
    said = set(re.findall("[a-z_0-9]+", text))
    names = {name: getattr(module, name) for module in (scipy.special, np) for name in said if hasattr(module, name)}
    with np.errstate(all="ignore"):
        return np.asarray(eval(text, names | KNOWN | (known or {})))  # noqa: S307 - a formula of ours


def judge(visit: Visit) -> int:
    """Hold the words of a visit to the gradients that it had; return how many gradients have words."""
    (value,), (arriving,) = visit.outputs.values(), visit.arriving.values()
    if not arriving:
        return 0
    known = {operand.label: operand.value.elements for operand in visit.operands}
    known |= {visit.label: value.elements, f"d{visit.label}": arriving.elements}
    told = [operand for operand in visit.operands if operand.formula]
    for operand in told:
        assert operand.gradient
        gradient = operand.gradient.elements
        exact = calculated(operand.formula, known).reshape(gradient.shape)
        # A gate's own constants are told with four digits.
        rounded = gradient.dtype == np.float32 or re.search(r"\d\.\d|\d{4}", operand.formula)
        np.testing.assert_allclose(exact, gradient, rtol=1e-3 if rounded else 1e-11)
        if value.few is not None:
            shown = calculated(operand.numbers).reshape(gradient.shape)
            np.testing.assert_allclose(shown, gradient, rtol=0.01, err_msg=f"{operand.formula} = {operand.numbers}")
            assert bare(operand.numbers) in [filled(operand.formula, known, digits) for digits in (4, 8, 12, 17)]
    return len(told)


def filled(formula: str, known: dict[str, np.ndarray], digits: int) -> str:
    """Return a formula with numbers in the places of names, without brackets."""
    names = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    numbers = {name: nested_text(value.tolist(), digits) for name, value in known.items()}
    return bare(re.sub(rf"(?<![\w.])({names})(?![\w.(])", lambda found: numbers[found[0]], formula))


def bare(text: str) -> str:
    """Return a formula without brackets."""
    return re.sub("[() ]", "", text)


@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_words_and_numbers_give_the_gradient(case: GateCase):
    """For every elementwise gate there is: the formula gives the gradient, and so do the numbers in its place."""
    graph = graphsvc.ComputationalGraph()
    inputs = {f"x{i}": np.ravel(operand)[:1] for i, operand in enumerate(case.example.operands)}
    graph.output("f", graph.add(case.example.gate, *map(graph.input, inputs), name="f"))
    real = {name for name, value in inputs.items() if value.dtype.kind == "f"}
    outputs, _ = graph.value_and_grad(inputs, wrt=[])
    if outputs["f"].dtype.kind != "f" or len(real) < len(inputs):
        return
    differentiable = describe_gate(case.name).differentiable
    wrt = [name for i, name in enumerate(inputs) if case.example.gate.signature.operand_name(i) in differentiable]
    judge(walk(graph, inputs, {"f": np.full(1, -1.5, outputs["f"].dtype)}, wrt).visits[0])


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
        "relu(x)": ["where(f ≤ 0, 0, df)"],
    }
    for expression, formulas in words.items():
        graph = graphsvc.parse(f"f = {expression}")
        (visit,) = walk(graph, {"x": 3.0, "y": -4.0} if "y" in expression else {"x": 3.0}).visits
        assert [operand.formula for operand in visit.operands if operand.formula] == formulas
        assert judge(visit) == len(formulas)


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
