"""Drawings: what stands in a picture, and that every form of it can be read by what it is meant for."""

import itertools
import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import networkx
import numpy as np
import pytest

import graphsvc
from graphsvc import ComputationalGraph
from graphsvc.document import document_from_json, document_to_json
from graphsvc.drawing.picture import Picture, PictureNode, picture_to_data
from graphsvc.drawing.summaries import summary_of
from graphsvc.drawing.symbols import SYMBOLS
from graphsvc.engine.registry import default_registry
from graphsvc.errors import DrawingError, MissingEvaluationError, NotDifferentiableError, RequestError
from tests.every_gate import GateCase, every_example
from tests.test_lecture import CASES, Case

GRAPHVIZ = shutil.which("dot")


def texts(svg: str, kind: str = "") -> list[str]:
    """Return the texts of an SVG that have a class; reading it proves that it is well-formed."""
    root = ET.fromstring(svg)  # noqa: S314 - our own
    return [
        e.text or ""
        for e in root.iter("{http://www.w3.org/2000/svg}text")
        if kind in e.get("class", "").split() or not kind
    ]


def assert_drawable(drawing: graphsvc.Drawing) -> None:
    """Each form can be read, and Graphviz takes the DOT, where it is installed."""
    texts(drawing.svg)
    if GRAPHVIZ:
        done = subprocess.run([GRAPHVIZ, "-Tplain"], input=drawing.dot.encode(), capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_case_of_the_lecture_is_drawn(case: Case):
    """A node for each input, gate and output, an edge for each operand; values, and gradients that add up."""
    given = {name: np.ones(np.shape(value)) for name, value in case.outputs.items()}
    graph = graphsvc.parse(case.expression)
    picture = graph.draw(case.inputs, output_gradients=given).picture
    document = graph.document()
    kinds: dict[str, list[str]] = {}
    for node in picture.nodes:
        kinds.setdefault(node.kind, []).append(node.id)
    assert kinds["input"] == list(graph.inputs)
    assert set(kinds["gate"]) == {node.name for node in document.nodes}
    assert kinds["output"] == [f"output {name}" for name in graph.outputs]
    drawn = sorted((edge.source.split()[0], edge.target, edge.position) for edge in picture.edges)
    operands = [(o, node.name, i) for node in document.nodes for i, o in enumerate(node.operands)]
    assert drawn == sorted(operands + [(output.source, f"output {output.name}", 0) for output in document.outputs])
    for edge in picture.edges:
        if edge.target.startswith("output "):
            np.testing.assert_allclose(edge.value.elements, case.outputs[edge.target.split()[1]], rtol=1e-14)
    for node in picture.nodes:
        if node.kind == "input":
            np.testing.assert_allclose(node.ports[0].gradient.elements, case.gradients[node.id], rtol=1e-14, atol=1e-15)
        branches = [edge.gradient for edge in picture.edges if edge.source == node.id and edge.gradient]
        if branches:
            total = sum(np.asarray(branch.elements) for branch in branches)
            np.testing.assert_allclose(node.ports[0].gradient.elements, total, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_number_of_a_picture_is_written(case: Case):
    """The SVG and the DOT have each value and each gradient of each edge, in its colour."""
    given = {name: np.ones(np.shape(value)) for name, value in case.outputs.items()}
    drawing = graphsvc.parse(case.expression).draw(case.inputs, output_gradients=given)
    assert_drawable(drawing)
    values = [line for edge in drawing.picture.edges for line in edge.value.lines()]
    gradients = [line for edge in drawing.picture.edges if edge.gradient for line in edge.gradient.lines()]
    sums = {line for line in texts(drawing.svg, "gradient") if "=" in line}
    assert sorted(texts(drawing.svg, "value")) == sorted(values)
    assert sorted(line for line in texts(drawing.svg, "gradient") if line not in sums) == sorted(gradients)
    for line in (*values, *gradients, *sums):
        assert f">{line}</FONT>" in drawing.dot


def test_branches_are_shown_where_they_add_up():
    """At the value that fans out: each contribution on its edge, and their sum at the node."""
    drawing = graphsvc.parse("b = a + a; c = b * b").draw({"a": 3.0})
    assert "6 + 6 = 12" in texts(drawing.svg, "gradient")
    assert "12 + 12 = 24" in texts(drawing.svg, "gradient")


@pytest.mark.parametrize("case", every_example(), ids=str)
def test_every_gate_is_drawn(case: GateCase):
    """On its example, with numbers and without; the picture is plain data."""
    graph, gate = ComputationalGraph(), case.example.gate
    inputs = {f"operand_{i}": operand for i, operand in enumerate(case.example.operands)}
    node = graph.add(gate, *(graph.input(name) for name in inputs))
    for output in gate.signature.outputs:
        graph.output(output, node.output(output))
    for drawing in (graph.draw(inputs), graph.draw()):
        texts(drawing.svg)
        assert "digraph" in drawing.dot
        json.dumps(picture_to_data(drawing.picture), allow_nan=False)
        assert [node.gate for node in drawing.picture.nodes if node.gate] == [case.name]


def test_every_symbol_is_that_of_a_gate():
    """None is left over from a gate of another name."""
    for name in SYMBOLS:
        assert default_registry().gate_class(name)


def test_texts_and_boxes_do_not_overlap():
    """No two texts stand over each other, in the pictures of the lecture."""
    for case in CASES:
        graph = graphsvc.parse(case.expression)
        given = {name: np.ones(np.shape(value)) for name, value in case.outputs.items()}
        root = ET.fromstring(graph.draw(case.inputs, given).svg)  # noqa: S314 - our own
        boxes = []
        for e in root.iter("{http://www.w3.org/2000/svg}text"):
            width = len(e.text) * (6 if "small" in e.get("class") else 7.2)
            x, y = float(e.get("x")), float(e.get("y"))
            boxes.append((x - width / 2, x + width / 2, y - 9, y + 2, e.text))
        for i, (left, right, top, bottom, text) in enumerate(boxes):
            for other in boxes[:i]:
                assert right <= other[0] or other[1] <= left or bottom <= other[2] or other[3] <= top, (text, other)


HOSTILE = "</text><script>alert(1)</script>]]>&\"'\x00\ud800\\N"


def test_what_a_stranger_wrote_is_text():
    """Attributes with markup, controls and lone surrogates are escaped in every form."""
    graph = ComputationalGraph()
    graph.output("f", graph.add("nobody.knows", graph.input("x"), name="script", word=HOSTILE[:-3]))
    drawing = graph.draw()
    assert "<script" not in drawing.svg
    assert_drawable(drawing)
    nodes = tuple(
        PictureNode(HOSTILE + kind, kind, HOSTILE, gate=HOSTILE, attributes={HOSTILE: HOSTILE}, finding=HOSTILE)
        for kind in ("input", "gate", "group", "output")
    )
    drawing = graphsvc.Drawing(Picture(nodes, (), HOSTILE))
    assert "<script" not in drawing.svg
    assert_drawable(drawing)


def test_a_finding_is_marked_at_the_first_node():
    """NaN comes up in log, and in the gradient that multiply gives; what follows is not marked."""
    drawing = graphsvc.parse("f = sum(log(x) * y)").draw({"x": [-1.0, 1.0], "y": [1.0, 2.0]})
    marked = {node.gate: node.finding for node in drawing.picture.nodes if node.finding}
    assert list(marked) == ["log", "multiply"]
    assert "outside of the gate's domain" in marked["log"]
    assert {"NaN first here", "NaN gradient first here"} <= set(texts(drawing.svg, "loud"))
    drawing = graphsvc.parse("f = x * 2").draw({"x": np.inf}, {"f": np.nan})
    assert [node.id for node in drawing.picture.nodes if node.finding] == ["x", "output f"]


def test_gradients_that_vanish_or_explode_are_tinted():
    """Below 1e-7 of the largest, and above 1e7 of what was given; a zero is neither."""
    drawing = graphsvc.parse("f = x * 1e-9 + y + 0 * z").draw({"x": 1.0, "y": 1.0, "z": 1.0})
    flows = {edge.source: edge.flow for edge in drawing.picture.edges}
    assert (flows["x"], flows["y"], flows["z"]) == ("vanishing", "", "")
    drawing = graphsvc.parse("f = x * 1e-6 + y").draw({"x": 1.0, "y": 1.0})
    assert {edge.flow for edge in drawing.picture.edges} == {""}
    drawing = graphsvc.parse("f = x * 1e9 + y").draw({"x": 1.0, "y": 1.0})
    flows = {edge.source: edge.flow for edge in drawing.picture.edges}
    assert (flows["x"], flows["y"]) == ("exploding", "")
    assert "thick" in drawing.svg


def test_values_are_drawn_where_there_can_be_no_gradients():
    """Several outputs, or integers; the picture says why. Where gradients were asked for it is an error."""
    graph = graphsvc.parse("f = x + 1; g = x * 2")
    drawing = graph.draw({"x": 1.0})
    assert drawing.picture.note.startswith("No gradients: ")
    assert [edge.value.elements for edge in drawing.picture.edges if edge.target == "output g"] == [2.0]
    with pytest.raises(graphsvc.GraphsvcError):
        graph.draw({"x": 1.0}, wrt=["x"])
    assert graph.draw({"x": 1.0}, {"g": 3.0}).picture.note == ""


def test_an_evaluation_is_drawn_while_the_graph_is_as_it_was():
    """As its inputs were then; afterwards it is refused."""
    graph = graphsvc.parse("f = x * x")
    x = np.array(3.0)
    evaluation = graph.forward({"x": x})
    x[...] = 4.0
    drawing = graph.draw(evaluation)
    assert drawing.picture == graph.draw({"x": 3.0}).picture
    assert drawing._repr_svg_() == drawing.svg
    graph.input("y")
    with pytest.raises(MissingEvaluationError):
        graph.draw(evaluation)


@pytest.mark.parametrize(
    "array",
    [
        np.array([1e308, -1e308, 1.0, 0.0, 2.0]),
        np.full(9, 5e-324),
        np.zeros((0, 3)),
        np.array([np.nan, np.inf, -np.inf, 1.0, 2.0]),
        np.full((2, 3), np.nan),
        np.arange(12) > 5,
        np.arange(12) * 1j,
        np.arange(-3, 300, dtype=np.int16),
        np.linspace(1.0, np.nextafter(1.0, 2.0), 7),
    ],
    ids=str,
)
def test_any_array_is_summarized(array: np.ndarray):
    """With no warning; all its finite elements are in the histogram."""
    summary = summary_of(array)
    assert all(summary.lines())
    finite = np.isfinite(array).sum()
    assert sum(summary.histogram) in (0, finite)
    assert summary.nans == np.isnan(array).sum()


def test_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The end of a name says the format; PNG and PDF say that they need Graphviz."""
    drawing = graphsvc.parse("f = x * x").draw({"x": 3.0})
    drawing.save(tmp_path / "f.svg")
    drawing.save(str(tmp_path / "f.DOT"))
    assert (tmp_path / "f.svg").read_text(encoding="utf-8") == drawing.svg
    with pytest.raises(DrawingError, match=r"\.svg, \.png, \.pdf, \.dot"):
        drawing.save(tmp_path / "f.gif")
    if GRAPHVIZ:
        drawing.save(tmp_path / "f.png")
        assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
        drawing.save(tmp_path / "f.pdf")
        assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DrawingError, match="Graphviz, which is not installed"):
        drawing.save(tmp_path / "g.png")
    assert not (tmp_path / "g.png").exists()


@pytest.mark.parametrize(("slope", "terms"), [(7.5, "2 - 7.5 = -5.5"), (2.0001992, "2 - 2.0001992 = -0.0001992")])
def test_terms_that_cancel_have_the_digits_that_are_left(slope: float, terms: str):
    """With four digits, 2 - 2 would be -0.0001992."""
    graph = graphsvc.parse(f"f = 2 * x - {slope} * x")
    assert terms in texts(graph.draw({"x": 1.0}).svg, "gradient")


def test_the_sum_at_a_value_counts_the_branches_into_groups():
    """What several edges into a group bring back is not told apart, so their sum stands for it."""
    graph = ComputationalGraph()
    x = graph.input("x")
    terms = [graph.add("multiply", x, float(i), name=f"group{i // 2}.product{i}") for i in range(3)]
    total = terms[0]
    for i, term in enumerate(terms[1:]):
        total = graph.add("add", total, term, name=f"sums.sum{i}")
    graph.output("f", total)
    picture = graph.draw({"x": 1.0}, fold=8).picture
    assert [node.name for node in picture.nodes if node.kind == "group"] == ["group0", "group1", "sums"]
    assert "Σ 3 branches = 3" in texts(graph.draw({"x": 1.0}, fold=8).svg, "gradient")
    assert [edge.count for edge in picture.edges if edge.source == "x"] == [2, 1]


# Graphs that others run


class Elsewhere:
    """Who runs graphs, and tells nothing but outputs and gradients."""

    def value_and_grad(self, graph, *question, **keywords):
        return ComputationalGraph.from_document(graph.document()).value_and_grad(*question, **keywords)


def assert_alike(one: Picture, other: Picture) -> None:
    """Two pictures have the same nodes and edges, with the same values and gradients up to the rounding of sums."""

    def summaries(picture: Picture):
        for node in picture.nodes:
            yield from (
                (node.id, port.name, what, getattr(port, what)) for port in node.ports for what in ("value", "gradient")
            )
        for edge in picture.edges:
            yield from (
                (edge.source, edge.target, edge.position, what, getattr(edge, what)) for what in ("value", "gradient")
            )

    for (*where, mine), (*there, theirs) in zip(summaries(one), summaries(other), strict=True):
        assert where == there
        assert (mine is None) == (theirs is None), where
        if mine:
            assert (mine.shape, mine.dtype, mine.nans, mine.infinities) == (
                theirs.shape,
                theirs.dtype,
                theirs.nans,
                theirs.infinities,
            ), where
            tolerance = 1e-2 if mine.dtype in ("float16", "float32", "complex64") else 1e-9
            numbers = [[s.mean, s.std, s.smallest, s.largest, s.magnitude] for s in (mine, theirs)]
            np.testing.assert_allclose(
                *numbers, rtol=tolerance, atol=tolerance * (1e-3 + mine.magnitude), err_msg=str(where)
            )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_another_runs_is_drawn_alike(case: Case, client: graphsvc.Client):
    """A server tells outputs and input gradients alone; the picture has every value and every branch all the same."""
    graph = graphsvc.parse(case.expression)
    given = {name: np.ones(np.shape(value)) for name, value in case.outputs.items()}
    assert_alike(graph.draw(case.inputs, given, through=client).picture, graph.draw(case.inputs, given).picture)
    wrt = list(case.gradients)[:1]
    some = [graph.draw(case.inputs, given, wrt, through=through).picture for through in (client, None)]
    assert_alike(*some)


@pytest.mark.parametrize("case", every_example(), ids=str)
def test_every_gate_is_drawn_alike_where_another_runs_it(case: GateCase):
    """With a gradient at its first output, if it has one there."""
    graph, gate = ComputationalGraph(), case.example.gate
    inputs = {f"operand_{i}": operand for i, operand in enumerate(case.example.operands)}
    node = graph.add(gate, *(graph.input(name) for name in inputs))
    for output in gate.signature.outputs:
        graph.output(output, node.output(output))
    value = graph.forward(inputs).outputs[gate.signature.outputs[0]]
    given = {gate.signature.outputs[0]: np.ones_like(value)} if value.dtype.kind in "fc" else None
    try:
        here = graph.draw(inputs, given)
    except NotDifferentiableError as error:
        with pytest.raises(type(error)):
            graph.draw(inputs, given, through=Elsewhere())
        return
    there = graph.draw(inputs, given, through=Elsewhere())
    assert_alike(there.picture, here.picture)
    assert bool(there.picture.note) == bool(here.picture.note)


def test_a_gate_that_only_another_has_is_drawn_with_numbers():
    """Names that a probe would have are taken here, and a NaN is marked at the node that made it."""
    graph = ComputationalGraph()
    probe, x = graph.input("probe.0"), graph.input("x")
    graph.output("f", probe * graph.add("log", x) + x)
    document = graph.document()

    class Other(Elsewhere):
        def value_and_grad(self, graph, *question, **keywords):
            text = json.dumps(json.loads(document_to_json(graph.document()))).replace("other.log", "log")
            return ComputationalGraph.from_document(document_from_json(text)).value_and_grad(*question, **keywords)

    text = document_to_json(document).replace('"log"', '"other.log"')
    graph = ComputationalGraph.from_document(document_from_json(text))
    picture = graph.draw({"probe.0": 2.0, "x": 4.0}, through=Other()).picture
    assert {e.source: e.gradient.elements for e in picture.edges if e.target == "log.1"} == {"x": 0.5}
    assert next(node for node in picture.nodes if node.id == "x").ports[0].gradient.elements == 1.5
    picture = graph.draw({"probe.0": 2.0, "x": -4.0}, through=Other()).picture
    assert {node.id: node.finding.partition("\n")[0] for node in picture.nodes if node.finding} == {
        "log.1": "forward: node 'log.1' (gate 'log'), output 'z': 1 NaN of 1 element, where x = -4.0.",
        "multiply.1": "backward: node 'multiply.1' (gate 'multiply'), gradient of operand 'x': 1 NaN of 1 element, "
        "where dz = 1.0, y = nan.",
    }


@pytest.mark.parametrize(
    ("expression", "inputs", "wrt"),
    [
        ("f = sum(where(x > 0, log(x), 0))", {"x": [0.0, 1.0]}, None),
        ("f = sum(where(x > 0, log(x), 0))", {"x": [0.0, 1.0]}, []),
        ("a = log(x); b = 1 / a", {"x": [0.0, 1.0]}, None),
        ("f = x * y", {"x": np.nan, "y": 2.0}, ["y"]),
    ],
)
def test_another_tells_why_a_number_is_not_finite(expression, inputs, wrt):
    """The same of the same nodes, with and without gradients."""
    graph = graphsvc.parse(expression)
    here, there = (graph.draw(inputs, None, wrt, through=through).picture for through in (None, Elsewhere()))
    assert any(node.finding for node in here.nodes)
    assert {node.id: node.finding for node in there.nodes} == {node.id: node.finding for node in here.nodes}


# Large graphs


def layered(layers: int, *, named: bool = True) -> tuple[ComputationalGraph, dict[str, np.ndarray]]:
    """Return a network of five nodes a layer, in named groups or without any names."""
    graph = ComputationalGraph()
    h = graph.input("x")
    for i in range(layers):
        of = f"net.layer{i}." if named else f"layer{i}_"
        w, b = (graph.input(of + name, parameter=True) for name in "wb")
        product = graph.add("multiply", w, h, name=of + "p" if named else None)
        total = graph.add("add", product, b, name=of + "s" if named else None)
        h = graph.add("tanh", total, name=of + "h" if named else None)
    graph.output("f", h)
    return graph, {name: np.float64(0.5) for name in graph.inputs}


def assert_folded(picture: Picture, whole: Picture) -> None:
    """Every node is drawn, alone or in one group, and no group depends on itself."""
    drawn = [name for node in picture.nodes for name in (node.members or [node.id])]
    assert sorted(drawn) == sorted(node.id for node in whole.nodes)
    links = networkx.DiGraph((edge.source, edge.target) for edge in picture.edges)
    assert networkx.is_directed_acyclic_graph(links)
    assert set(links) <= {node.id for node in picture.nodes}


def test_a_large_graph_is_folded_by_name():
    """Into the innermost groups that make it small; one of these may be opened, and its gradients are there."""
    graph, inputs = layered(40)
    whole = graph.draw(inputs, fold=None).picture
    assert len(whole.nodes) == 202
    drawing = graph.draw(inputs)
    groups = [node.name for node in drawing.picture.nodes if node.kind == "group"]
    assert groups == [f"net.layer{i}" for i in range(40)]
    assert_folded(drawing.picture, whole)
    assert_drawable(drawing)
    assert drawing.picture.note == "200 of 202 nodes are folded into 40 groups."
    opened = graph.draw(inputs, unfold=["net.layer3"]).picture
    assert_folded(opened, whole)
    assert {node.id for node in opened.nodes if node.name.startswith("net.layer3.")} == {
        f"net.layer3.{name}" for name in "wbpsh"
    }
    assert [node.name for node in graph.draw(inputs, fold=10).picture.nodes if node.kind == "group"] == ["net"]
    inner = graph.draw(inputs, fold=10, unfold=["net"]).picture
    assert [node.name for node in inner.nodes if node.kind == "group"] == groups
    with pytest.raises(RequestError, match="no group 'net.layer99' to unfold. Did you mean 'net.layer9'"):
        graph.draw(inputs, unfold=["net.layer99"])


def test_groups_that_would_depend_on_themselves_are_not_made():
    """A group that is left and entered again is no part of a picture that goes from left to right."""
    graph = ComputationalGraph()
    h = graph.input("x")
    for i in range(20):
        h = graph.add("tanh", h, name=f"{'ab'[i % 2]}.h{i}")
    graph.output("f", h)
    assert_folded(graph.draw({"x": 0.5}, fold=8).picture, graph.draw({"x": 0.5}, fold=None).picture)


@pytest.mark.parametrize("seed", range(20))
def test_any_graph_is_folded(seed: int):
    """Random graphs, to few nodes; every form can be read, and the texts are those of the edges that are drawn."""
    random = np.random.default_rng(seed)
    graph = ComputationalGraph()
    values = [graph.input(f"x{i}") for i in range(random.integers(1, 20))]
    for i in range(random.integers(20, 80)):
        a, b = random.choice(len(values), 2)
        name = f"g{random.integers(3)}.v{i}" if seed % 2 else None
        values.append(graph.add(("add", "multiply", "maximum")[i % 3], values[a], values[b], name=name))
    for i in range(3):
        graph.output(f"f{i}", values[-1 - i])
    shape = (6000,) if seed % 3 else ()
    inputs = {name: random.normal(size=shape) for name in graph.inputs}
    arriving = {"f0": random.normal(size=shape)}
    whole = graph.draw(inputs, arriving, fold=None).picture
    for most in (4, 15, 40):
        drawing = graph.draw(inputs, arriving, fold=most)
        assert_folded(drawing.picture, whole)
        assert_folded(graph.draw(inputs, arriving, fold=most, fold_by="block").picture, whole)
        assert len(drawing.picture.nodes) <= max(12, 2 * most)
        texts(drawing.svg)


def test_a_large_graph_is_folded_by_block():
    """The gates that a run forward fuses are a group; what is not fused is drawn alone."""
    graph = ComputationalGraph()
    x, w = graph.input("x"), graph.input("w")
    h = x
    for layer in range(3):
        for i in range(20):
            h = graph.add("tanh", h + 0.5, name=f"layer{layer}.h{i}")
        h = graph.add("matmul", h, w, name=f"product{layer}")
    graph.output("f", graph.add("sum", h, name="total"))
    random = np.random.default_rng(3)
    inputs = {"x": random.normal(size=(300, 40)), "w": random.normal(size=(40, 40))}
    whole = graph.draw(inputs, fold=None).picture
    drawing = graph.draw(inputs, fold=100, fold_by="block")
    assert_folded(drawing.picture, whole)
    assert_drawable(drawing)
    groups = {node.name: node for node in drawing.picture.nodes if node.kind == "group"}
    assert [dict(node.attributes) for node in groups.values()] == [{"add": "20", "tanh": "20"}] * 3
    parts = [set(part.nodes) for part in graph.explain(inputs, ()).parts if len(part.nodes) > 1]
    gates = {node.id for node in whole.nodes if node.kind == "gate"}
    assert [gates & set(node.members) for node in groups.values()] == parts
    assert [node.name for node in drawing.picture.nodes if node.kind == "gate"] == [
        "product0",
        "product1",
        "product2",
        "total",
    ]
    first = next(iter(groups))
    opened = graph.draw(inputs, fold=100, fold_by="block", unfold=[first]).picture
    assert_folded(opened, whole)
    assert groups[first].members[-1] in {node.id for node in opened.nodes}
    with pytest.raises(RequestError, match="no group 'layer1' to unfold"):
        graph.draw(inputs, fold=100, fold_by="block", unfold=["layer1"])


def test_a_gate_without_work_of_its_own_is_in_the_block_of_its_operands():
    """What is computed once for two gates belongs to the first; the other is not left between two parts of a block."""
    graph = graphsvc.parse("p = sin(x); a = tanh(p); b = tanh(p); f = sum(exp(a) + sqrt(b))")
    inputs = {"x": np.random.default_rng(5).normal(size=9000) + 4}
    assert "b" not in {node for part in graph.explain(inputs, ()).parts for node in part.nodes}
    picture = graph.draw(inputs, fold=1, fold_by="block").picture
    assert_folded(picture, graph.draw(inputs, fold=None).picture)
    assert [node.id for node in picture.nodes] == ["x", "group block1", "output f"]


def test_blocks_are_told_of_a_run_that_has_some():
    """Without inputs, and where single numbers run level by level, there are none."""
    graph = ComputationalGraph()
    values = [graph.input("x")] * 200
    for _ in range(10):
        values = [graph.add("multiply", a, b) for a, b in itertools.pairwise([values[-1], *values])]
    for i, value in enumerate(values):
        graph.output(f"f{i}", value)
    with pytest.raises(RequestError, match="depends on the inputs"):
        graph.draw(fold_by="block")
    assert [part.how for part in graph.explain({"x": 1.0}, ()).parts] == ["levels"]
    with pytest.raises(RequestError, match="single numbers run many gates at a time"):
        graph.draw({"x": 1.0}, fold_by="block")
    small = graphsvc.parse("f = x * x")
    assert small.draw({"x": 2.0}, fold_by="block").picture == small.draw({"x": 2.0}).picture


@pytest.mark.parametrize("named", [True, False])
def test_ten_thousand_nodes_are_drawn(named: bool):
    """Folded to a picture that a person can read, and unfolded all the same."""
    graph, inputs = layered(2000, named=named)
    folded = graph.draw(inputs).picture
    assert len(folded.nodes) <= 150
    whole = graph.draw(fold=None)
    assert_folded(folded, whole.picture)
    assert len(texts(whole.svg, "symbol")) == 6000


def test_a_layout_of_one_column_and_of_nothing():
    """Graphs without gates, and without anything, are drawn."""
    graph = ComputationalGraph()
    assert_drawable(graph.draw())
    graph.output("f", graph.input("x"))
    assert_drawable(graph.draw({"x": 1.0}))
    assert texts(graph.draw({"x": 1.0}).svg, "gradient") == ["1"]
