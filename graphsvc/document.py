"""Documents: a graph as plain, versioned data, and the JSON it is written in.

A document is judged once, here: names, types and values of each entry. What entries mean together (references, cycles,
gates) is judged by the graph that is made of it. Round trips are exact, down to the bits of a NaN.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, NoReturn
from typing import Literal as OneOf

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from graphsvc.arrays import DTYPES, MAX_DIMENSION, MAX_RANK, Array, Literal
from graphsvc.errors import (
    DocumentError,
    InvalidNameError,
    NotAGraphError,
    quoted,
)
from graphsvc.garbage import full_collections_put_off
from graphsvc.names import NAME, REFERENCE, bad_name, is_name
from graphsvc.plaindata import (
    array_to_entry,
    attribute_from_data,
    attribute_to_data,
    attribute_value,
    complain,
    literal_or_array,
    number_to_data,
)

__all__ = [
    "FORMAT_VERSION",
    "ConstantEntry",
    "GraphDocument",
    "HeldGraphEntry",
    "InputEntry",
    "NodeEntry",
    "OutputEntry",
    "data_from_json",
    "digest_of",
    "document_from_dict",
    "document_from_json",
    "document_to_json",
]

FORMAT_VERSION: Final = 1
"""Version of the document format, written as `graphsvc` at its top."""

_SECTIONS: Final = ("inputs", "constants", "nodes", "outputs")


Name = Annotated[str, StringConstraints(pattern=NAME)]
Reference = Annotated[str, StringConstraints(pattern=REFERENCE)]
DtypeName = Annotated[str, Field(json_schema_extra={"enum": list(DTYPES)})]
AttributeField = Annotated[Any, AfterValidator(attribute_value)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)


def _known_dtype(name: str | None) -> str | None:
    if name is not None and name not in DTYPES:
        complain(f"'dtype' must be one of {', '.join(DTYPES)}")
    return name


class InputEntry(_Entry):
    """An input: its name and what is declared of it. None stands for any dtype, any shape, any length of an axis."""

    name: Name
    dtype: Annotated[str | None, AfterValidator(_known_dtype)] = None
    shape: (
        Annotated[tuple[Annotated[int, Field(ge=0, le=MAX_DIMENSION)] | None, ...], Field(max_length=MAX_RANK)] | None
    ) = None
    parameter: bool = False


class ConstantEntry(_Entry):
    """A constant: an array, or a Python number, which is weak and takes the dtype that it meets."""

    name: Name
    value: Annotated[Any, BeforeValidator(literal_or_array)]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConstantEntry):
            return NotImplemented
        return self.name == other.name and _canonical_constant(self.value) == _canonical_constant(other.value)

    __hash__ = None  # type: ignore[assignment]


class NodeEntry(_Entry):
    """A gate node: a gate by its name, its operands in order, its attributes."""

    name: Name
    gate: Name
    operands: Annotated[tuple[Reference, ...], FailFast()]
    # A default would be copied for every node, deeply.
    attributes: dict[Annotated[str, StringConstraints(pattern=NAME)], AttributeField] = Field(default_factory=dict)


class OutputEntry(_Entry):
    """An output of the graph: its name, and the value that it is."""

    name: Name
    source: Reference


class _Body(_Entry):
    inputs: Annotated[tuple[InputEntry, ...], FailFast()] = ()
    constants: Annotated[tuple[ConstantEntry, ...], FailFast()] = ()
    nodes: Annotated[tuple[NodeEntry, ...], FailFast()] = ()
    outputs: Annotated[tuple[OutputEntry, ...], FailFast()] = ()


class HeldGraphEntry(_Body):
    """A graph that gates of the document hold, by its name. Its own gates may hold others of the same list."""

    name: Name


class GraphDocument(_Body):
    """A whole graph as data.

    Attributes:
        graphsvc: Version of the format.
        gates: Version of each gate that the graph uses, where it was known to the writer.
        inputs: In their order.
        constants: Values that are part of the graph.
        nodes: Gate nodes, in any order.
        outputs: In their order.
        graphs: The graphs that gates hold, in one flat list, so that no document contains itself.
    """

    graphsvc: OneOf[1] = FORMAT_VERSION
    gates: dict[Name, Annotated[int, Field(ge=1, le=2**31 - 1)]] = {}
    graphs: Annotated[tuple[HeldGraphEntry, ...], FailFast()] = ()


_NODES: Final = TypeAdapter(Annotated[tuple[NodeEntry, ...], FailFast()])
_AT_A_TIME: Final = 1000
"""Entries that are read or written at a time: the interpreter lets no other thread in meanwhile."""


# Reading and writing ------------------------------------------------------------------------------------------------


@full_collections_put_off()
def document_from_dict(data: Mapping[str, object]) -> GraphDocument:
    """Judge a document given as a mapping.

    Raises:
        DocumentError: An entry is malformed; the message and `facts["path"]` say which.
        InvalidNameError: A name is.
    """
    graphs = data.get("graphs")
    if isinstance(graphs, tuple):
        graphs = tuple(_with_entries(graph, ("graphs", i)) for i, graph in enumerate(graphs))
        data = {**data, "graphs": graphs}
    try:
        return GraphDocument.model_validate(_with_entries(data))
    except ValidationError as error:
        raise _document_error(error) from None


def _with_entries(data: Any, path: tuple[str | int, ...] = ()) -> Any:
    """Return the data of a graph, its nodes judged where they are many: some at a time, so that threads take turns."""
    nodes = data.get("nodes") if isinstance(data, Mapping) else None
    if not isinstance(nodes, tuple) or len(nodes) <= _AT_A_TIME:
        return data
    judged: list[NodeEntry] = []
    try:
        for start in range(0, len(nodes), _AT_A_TIME):
            judged += _NODES.validate_python(nodes[start : start + _AT_A_TIME])
    except ValidationError as error:
        raise _document_error(error, (*path, "nodes"), len(judged)) from None
    return {**data, "nodes": tuple(judged)}


def document_from_json(text: str | bytes) -> GraphDocument:
    """Read a document from JSON.

    Raises:
        NotAGraphError: The text is no JSON, or not a document of graphsvc.
        DocumentError: An entry is malformed; the message and `facts["path"]` say which.
    """
    try:
        data = data_from_json(text)
    except (ValueError, RecursionError) as error:
        msg = f"This is not JSON ({quoted(str(error))}). A graph is a JSON document or an expression."
        raise NotAGraphError(msg) from None
    if not isinstance(data, dict) or "graphsvc" not in data:
        msg = 'This JSON is no graph of graphsvc: its top must be an object with "graphsvc": 1.'
        raise NotAGraphError(msg)
    _lists_to_tuples(data)
    return document_from_dict(data)


def data_from_json(text: str | bytes) -> Any:
    """Read JSON as it is defined, with no key twice in one object.

    Raises:
        ValueError: It is something else.
        RecursionError: It is nested too deep.
    """
    return json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique_keys)


def _lists_to_tuples(data: dict[str, Any]) -> None:
    """Make tuples where the model has them (strict models take no lists), and read back what JSON cannot hold."""
    graphs = data.get("graphs")
    if isinstance(graphs, list):
        data["graphs"] = tuple(graphs)
        for graph in graphs:
            if isinstance(graph, dict):
                _body_to_tuples(graph)
    _body_to_tuples(data)


def _body_to_tuples(data: dict[str, Any]) -> None:
    for key in _SECTIONS:
        entries = data.get(key)
        if not isinstance(entries, list):
            continue
        data[key] = tuple(entries)
        for entry in entries:
            if not isinstance(entry, dict):
                continue
            for field in ("shape", "operands"):
                if isinstance(entry.get(field), list):
                    entry[field] = tuple(entry[field])
            if key == "nodes" and isinstance(entry.get("attributes"), dict):
                entry["attributes"] = {k: attribute_from_data(v) for k, v in entry["attributes"].items()}


def _no_constant(text: str) -> NoReturn:
    msg = f'{text} is no JSON; write it as the string "{text}"'
    raise ValueError(msg)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        msg = f"{text[:40]} is beyond what 64 bits hold"
        raise ValueError(msg)
    return number


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        msg = "an object has one key twice"
        raise ValueError(msg)
    return result


def _document_error(
    error: ValidationError, section: tuple[str | int, ...] = (), start: int = 0
) -> DocumentError | InvalidNameError:
    """Return the error of ours for one of pydantic's, which may be of a section alone, and of that from an entry on."""
    first = error.errors(include_url=False)[0]
    place = first["loc"]
    if section:
        place = (*section, start + int(place[0]), *place[1:])
    path = ""
    for part in place:
        if isinstance(part, int):
            path += f"[{part}]"
        elif is_name(part):
            path += f".{part}" if path else part
    if first["type"] == "string_pattern_mismatch" and not path.endswith((".source", "]")):
        return InvalidNameError(f"{path}: {bad_name(first['input'])}", path=path)
    if first["type"] == "document":
        return DocumentError(f"{path}: {first['msg']}.", path=path)
    given = f", got {quoted(first['input'])}" if first["type"] not in ("missing", "extra_forbidden") else ""
    return DocumentError(f"{path}: {first['msg']}{given}.", path=path)


def document_to_dict(document: GraphDocument) -> dict[str, Any]:
    """Return a document as JSON data; what is at its default is left out."""
    data: dict[str, Any] = {"graphsvc": document.graphsvc, "gates": dict(document.gates)}
    data |= _body_to_dict(document)
    if document.graphs:
        data["graphs"] = [{"name": graph.name, **_body_to_dict(graph)} for graph in document.graphs]
    return data


def _body_to_dict(document: _Body) -> dict[str, Any]:
    data: dict[str, Any] = {}
    data["inputs"] = [
        {k: list(v) if isinstance(v, tuple) else v for k, v in entry.model_dump(exclude_defaults=True).items()}
        for entry in document.inputs
    ]
    data["constants"] = [
        {
            "name": c.name,
            "value": array_to_entry(c.value) if isinstance(c.value, np.ndarray) else number_to_data(c.value),
        }
        for c in document.constants
    ]
    data["nodes"] = [_node_to_dict(node) for node in document.nodes]
    data["outputs"] = [{"name": output.name, "source": output.source} for output in document.outputs]
    return data


def _node_to_dict(node: NodeEntry) -> dict[str, Any]:
    data: dict[str, Any] = {"name": node.name, "gate": node.gate, "operands": list(node.operands)}
    if node.attributes:
        data["attributes"] = {name: attribute_to_data(value) for name, value in sorted(node.attributes.items())}
    return data


def document_to_json(document: GraphDocument) -> str:
    """Write a document as JSON, one line an entry, so that a change to a graph is a small diff."""
    data = document_to_dict(document)
    lines = [f'  "graphsvc": {data["graphsvc"]}', f'  "gates": {json.dumps(data["gates"])}']
    lines += _body_lines(data, "  ")
    if document.graphs:
        graphs = (
            ",\n".join([f'      "name": {json.dumps(graph["name"])}', *_body_lines(graph, "      ")])
            for graph in data["graphs"]
        )
        lines.append('  "graphs": [\n    {\n' + "\n    },\n    {\n".join(graphs) + "\n    }\n  ]")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _body_lines(data: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key in _SECTIONS:
        entries = ",\n".join(f"{indent}  {json.dumps(entry, allow_nan=False)}" for entry in data[key])
        lines.append(f'{indent}"{key}": [\n{entries}\n{indent}]' if entries else f'{indent}"{key}": []')
    return lines


def _canonical_constant(value: Literal | Array) -> object:
    if not isinstance(value, np.ndarray):
        return number_to_data(value)
    little = value.astype(value.dtype.newbyteorder("<"), copy=False)
    return {
        "dtype": value.dtype.name,
        "shape": list(value.shape),
        "sha256": hashlib.sha256(little.tobytes()).hexdigest(),
    }


def _canonical_constants(document: _Body) -> list[dict[str, Any]]:
    return [{"name": c.name, "value": _canonical_constant(c.value)} for c in document.constants]


def digest_of(document: GraphDocument) -> bytes:
    """Return the SHA-256 of the canonical form: 32 bytes that name a graph.

    The canonical form is the document as compact JSON, with its entries in their own order, attributes sorted by name,
    and the elements of array constants stood for by the SHA-256 of their little-endian bytes.
    """
    graphs = tuple(graph.model_copy(update={"constants": ()}) for graph in document.graphs)
    light = document.model_copy(update={"constants": (), "graphs": graphs})
    data = document_to_dict(light)
    data["gates"] = dict(sorted(data["gates"].items()))
    data["constants"] = _canonical_constants(document)
    for graph, held in zip(document.graphs, data.get("graphs", ()), strict=True):
        held["constants"] = _canonical_constants(graph)
    digest = hashlib.sha256()
    for piece in _compact_json(data):
        digest.update(piece.encode())
    return digest.digest()


def _compact_json(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield JSON without spaces, in pieces, so that threads take turns."""
    before = "{"
    for key, value in data.items():
        yield f'{before}"{key}":'
        before = ","
        if not isinstance(value, list):
            yield _compact(value)
            continue
        yield "["
        if key == "graphs":
            for i, graph in enumerate(value):
                yield "," if i else ""
                yield from _compact_json(graph)
        else:
            for start in range(0, len(value), _AT_A_TIME):
                yield ("," if start else "") + _compact(value[start : start + _AT_A_TIME])[1:-1]
        yield "]"
    yield "}"


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
