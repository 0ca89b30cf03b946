"""graphsvc in process."""

import json
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import numpy as np

import graphsvc
from engines.vocabulary import Vocabulary
from graphsvc.document import document_from_json, document_to_json
from works import Work

__all__ = ["about", "arrays", "cold", "prepare"]

_numbers = count()


class _Gates(Vocabulary):
    """A word is a gate."""

    def __init__(self, graph: graphsvc.ComputationalGraph) -> None:
        self._graph = graph
        for word in ("affine", "exp", "relu", "sigmoid", "softmax_cross_entropy", "sqrt", "sum", "sum_square", "tanh"):
            setattr(self, word, partial(graph.add, word))
        self.mean = partial(graph.add, "mean", axis=-1, keepdims=True)


def _graph(work: Work) -> graphsvc.ComputationalGraph:
    graph = graphsvc.ComputationalGraph()
    inputs = {name: graph.input(name) for name in work.inputs() if name != "dz"}
    graph.output("f", work.function(_Gates(graph), **inputs))
    return graph


def _question(work: Work) -> dict[str, Any]:
    inputs = work.inputs()
    dz = inputs.pop("dz", None)
    return {"inputs": inputs, "wrt": work.wrt, "output_gradients": None if dz is None else {"f": dz}}


def prepare(work: Work) -> Callable[[], Any]:
    """Return what is timed: one call of value_and_grad."""
    return partial(_graph(work).value_and_grad, **_question(work))


def arrays(result: Any) -> list[np.ndarray]:
    """Return value and gradients."""
    outputs, gradients = result
    return [outputs["f"], *gradients.values()]


def cold(work: Work) -> Callable[[], tuple[float, ...]]:
    """Return what measures, each time on a graph of new names: parsing, structure, first run. In seconds."""
    document = json.loads(document_to_json(_graph(work).document()))
    question = _question(work)

    def measure() -> tuple[float, ...]:
        text = _renamed(document)
        times = [time.perf_counter()]
        parsed = document_from_json(text)
        times.append(time.perf_counter())
        graph = graphsvc.ComputationalGraph.from_document(parsed)
        times.append(time.perf_counter())
        graph.value_and_grad(**question)
        times.append(time.perf_counter())
        return tuple(float(stage) for stage in np.diff(times))

    return measure


def _renamed(document: dict[str, Any]) -> bytes:
    """Return the JSON of a graph of new names, so that nothing known of another one helps."""
    prefix = f"g{next(_numbers)}_"
    inputs = {entry["name"] for entry in document["inputs"]}

    def new(name: str) -> str:
        return name if name in inputs else prefix + name

    nodes = [
        {**node, "name": new(node["name"]), "operands": [new(operand) for operand in node["operands"]]}
        for node in document["nodes"]
    ]
    constants = [{**constant, "name": new(constant["name"])} for constant in document["constants"]]
    outputs = [{**output, "source": new(output["source"])} for output in document["outputs"]]
    return json.dumps({**document, "constants": constants, "nodes": nodes, "outputs": outputs}).encode()


def about() -> str:
    """Say what ran."""
    return f"graphsvc {graphsvc.__version__}, NumPy {np.__version__}"
