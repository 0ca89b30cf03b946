"""The profile: what each gate of a run took."""

import time
from typing import ClassVar

import numpy as np
import pytest

import graphsvc
from graphsvc import ComputationalGraph
from graphsvc.engine.profile import Profile
from tests.every_gate import GateCase, every_example


class Sleep(graphsvc.Elementwise):
    """Takes its time, forward and backward."""

    name: ClassVar[str] = "sleep"
    forth: float = 0.0
    back: float = 0.0

    def infer(self, x):
        return x

    def forward(self, x):
        time.sleep(self.forth)
        return x + 1

    def backward(self, dz):
        time.sleep(self.back)
        return dz


class Keep(graphsvc.Gate):
    """Saves arrays in all ways that a gate may."""

    name: ClassVar[str] = "keep"
    saves: ClassVar[tuple[str, ...]] = ("parts", "view")

    def forward(self, x):
        whole = np.zeros(100)
        return x * 1, ({"a": np.zeros(10)}, [np.zeros(20)], "text", None), whole[:3]

    def backward(self, dz, parts, view):
        return dz


def profiled(graph: ComputationalGraph | str, wrt: list[str] | None = None, **inputs: object) -> Profile:
    """Return the profile of a run."""
    graph = graphsvc.parse(graph) if isinstance(graph, str) else graph
    return graph.value_and_grad(inputs, wrt, profile=True)[1].profile


@pytest.mark.parametrize("case", every_example(), ids=str)
def test_every_gate_has_a_row(case: GateCase):
    """With the bytes of its outputs and a time; a run forward alone keeps nothing and takes no time backward."""
    graph = ComputationalGraph()
    inputs = {f"x{i}": operand for i, operand in enumerate(case.example.operands)}
    node = graph.add(case.example.gate, *(graph.input(name) for name in inputs), name="n")
    names = case.example.gate.signature.outputs
    for i, name in enumerate(names):
        graph.output(name, node.output(name) if i else node)
    outputs, gradients = graph.value_and_grad(inputs, [], profile=True)
    (row,) = gradients.profile.rows
    assert (row.node, row.gate, row.nodes) == ("n", case.example.gate.name, 1)
    assert row.output_bytes == sum(output.nbytes for output in outputs.values())
    assert row.forward_seconds > 0
    assert (row.backward_seconds, row.kept_bytes) == (0, 0)


def test_time_is_that_of_the_gate():
    """Forward and backward are told apart; the sums by gate are sorted by time, with shares that add up to 1."""
    graph = ComputationalGraph()
    node = graph.add(Sleep(forth=0.2), graph.input("x"), name="forth")
    node = graph.add(Sleep(back=0.3), node, name="back")
    graph.output("f", graph.add("sum", node, name="total"))
    profile = profiled(graph, x=[1.0, 2.0])
    forth, back, total = profile.rows
    assert [row.node for row in profile.rows] == ["forth", "back", "total"]
    assert forth.forward_seconds >= 0.2 > forth.backward_seconds
    assert back.backward_seconds >= 0.3 > back.forward_seconds
    assert total.seconds < 0.2
    sleep, added = profile.gates
    assert (sleep.gate, sleep.node, sleep.nodes, added.gate) == ("sleep", None, 2, "sum")
    assert sleep.seconds == forth.seconds + back.seconds
    assert sum(map(profile.share, profile.gates)) == pytest.approx(1)
    assert profile.share(sleep) > 0.5
    assert profile.seconds == pytest.approx(sleep.seconds + added.seconds)


def test_kept_bytes_are_what_the_backward_pass_needs():
    """Each array is counted once, at the first gate that keeps it; a shape keeps nothing."""
    x = np.ones((10, 10))
    kept = {row.node: row.kept_bytes for row in profiled("a = x * y; b = a * x; f = sum(b)", x=x, y=2.0).rows}
    assert kept == {"a": 800 + 8, "b": 800, "f": 0}
    # Where one gradient is wanted, its rule alone keeps what it reads.
    kept = {row.node: row.kept_bytes for row in profiled("a = x * y; f = sum(a)", ["x"], x=x, y=2.0).rows}
    assert kept == {"a": 8, "f": 0}


def test_saved_arrays_are_counted_however_they_are_kept():
    """In tuples, lists and dictionaries; a view keeps all that it is a view of."""
    graph = ComputationalGraph()
    graph.output("f", graph.add(Keep(), graph.input("x")))
    assert profiled(graph, x=1.0).rows[0].kept_bytes == (10 + 20 + 100) * 8


def test_experiments_of_the_diagnosis_are_not_measured():
    """With debug as well, the time of a backward is that of the run alone."""

    class Slow(Sleep):
        name: ClassVar[str] = "slow"

        def backward(self, dz):
            # Zeros arrive in the run, and ones in the experiments.
            time.sleep(0.5 if dz.any() else 0)
            return dz * np.inf

    graph = ComputationalGraph()
    graph.output("f", graph.add(Slow(), graph.input("x")) * 0)
    _, gradients = graph.value_and_grad({"x": 1.0}, profile=True, debug=True)
    assert gradients.diagnosis.backward.gate == "slow"
    assert gradients.profile.rows[0].backward_seconds < 0.5


def test_a_profile_reads_well():
    """The sums by gate, then the slowest nodes; those that have no line are added up in the last."""
    expression = "; ".join(f"a{i + 1} = a{i} * 2" for i in range(30))
    profile = profiled(f"a0 = x + 1; {expression}", x=1.0)
    by_gate, by_node = str(profile).split("\n\n")
    assert by_gate.splitlines()[0].split() == ["gate", "nodes", "share", "forward", "backward", "outputs", "kept"]
    assert {line.split()[0]: int(line.split()[1]) for line in by_gate.splitlines()[1:]} == {"multiply": 30, "add": 1}
    lines = by_node.splitlines()
    assert lines[0].split() == ["node", "gate", "forward", "backward", "outputs", "kept"]
    assert len(lines) == 1 + 20 + 1
    assert lines[-1].startswith("and 11 more")
    assert len(profile.node_table(31)) == 32


def test_a_graph_without_gates_has_an_empty_profile():
    """And it can be printed."""
    profile = profiled("f = x", x=1.0)
    assert (profile.rows, profile.gates, profile.seconds) == ((), (), 0)
    assert str(profile)
