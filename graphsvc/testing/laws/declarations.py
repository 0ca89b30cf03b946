"""Laws of what a gate says about itself: documentation, examples, attributes."""

import copy
import json
import pickle
from collections.abc import Sequence

from graphsvc.arrays import spec_of
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.errors import UnregisteredGateError
from graphsvc.gate import Gate, attributes_of
from graphsvc.plaindata import attribute_from_data, attribute_to_data, attribute_value
from graphsvc.subgraph import SubGraph
from graphsvc.testing.case import GateCase
from graphsvc.testing.comparing import require, same_bits

__all__ = ["attributes", "documentation", "examples", "pickling", "schema"]


def documentation(cls: type[Gate], cases: Sequence[GateCase]) -> int:
    """The documentation begins with a sentence, and every attribute has a description."""
    own = cls.__doc__ if "__doc__" in vars(cls) else None
    first = (own or "").partition("\n")[0]
    require(first.endswith((".", "``")), f"Its documentation begins with {first!r}, which is no sentence.")
    for name, field in cls.model_fields.items():
        require(field.description, f"Attribute {name!r} has no description. Give it a Field(description=...).")
    return 1 + len(cls.model_fields)


def examples(cls: type[Gate], cases: Sequence[GateCase]) -> int:
    """There are examples, alike at every call, and one at least for every operand that has a gradient."""
    require(cases, "It has no examples. Write the class method `examples`, which yields graphsvc.Example(gate, ...).")
    again = list(cls.examples())
    if again:
        specs = [[spec_of(operand) for operand in example.operands] for example in again]
        require(specs == [[spec_of(operand) for operand in case.operands] for case in cases], "Its examples vary.")
    checked = set()
    for case in cases:
        require(type(case.gate) is cls, f"An example is of the gate class {type(case.gate).__name__}.")
        if case.fault is None and case.output_gradients:
            checked |= {cls.signature.index(case.names.index(name)) for name in case.precise}
    for index, operand in enumerate(cls.signature.operands):
        if cls.signature.rule_for(index) and not all(case.fault for case in cases):
            require(
                index in checked, f"No example has float64 or complex128 for operand {operand!r}, so none checks it."
            )
    return len(cases)


def schema(cls: type[Gate], cases: Sequence[GateCase]) -> int:
    """The attributes have a JSON Schema, which clients are shown."""
    try:
        json.dumps(cls.model_json_schema())
    except Exception as error:
        msg = f"Its attributes have no JSON Schema: {type(error).__name__}: {str(error)[:200]}"
        raise AssertionError(msg) from error
    return 1


def attributes(case: GateCase) -> int:
    """A gate comes back equal from its attributes as JSON, and computes the same."""
    cls = type(case.gate)
    require(hash(case.gate) == hash(case.gate.model_copy()), "Equal gates have different hashes.")
    try:
        document = case.graph.document()
    except UnregisteredGateError:
        given = attributes_of(case.gate)
        # A graph stands in a document by a name that a gate alone does not have.
        graphs = {key: value for key, value in given.items() if isinstance(value, SubGraph)}
        said = {k: attribute_to_data(attribute_value(value)) for k, value in given.items() if k not in graphs}
        read = {key: attribute_from_data(value) for key, value in json.loads(json.dumps(said)).items()} | graphs
        again = cls(**read)
        require(again == case.gate, f"Its attributes {said} come back as {attributes_of(again)}.")
        outputs = GateCase(again, case.operands).outputs
    else:
        graph = ComputationalGraph.from_document(document)
        require(graph.digest() == case.graph.digest(), "The document of a graph with the gate comes back another.")
        outputs = graph.forward(case.inputs).outputs
    if cls.deterministic:
        differs = same_bits(case.outputs, outputs)
        require(not differs, f"With attributes that went through a document, output {differs!r} is another.")
    return 2


def pickling(case: GateCase) -> int:
    """A gate can be pickled and copied, so that processes may share it."""
    if "<locals>" in type(case.gate).__qualname__:
        # Python finds no class that a function made, whatever gate it is.
        return 0
    for how in ("pickled", "copied"):
        try:
            again = pickle.loads(pickle.dumps(case.gate)) if how == "pickled" else copy.deepcopy(case.gate)  # noqa: S301
        except Exception as error:
            msg = f"It cannot be {how}: {type(error).__name__}: {str(error)[:200]}"
            raise AssertionError(msg) from error
        require(again == case.gate, f"When {how} it becomes another gate, {again!r}.")
    return 2
