"""The wire codec: untrusted bytes in, trusted values out, and back."""

import hashlib
import itertools
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from graphsvc.arrays import DTYPES, MAX_DIMENSION, MAX_RANK, Array, fits_memory
from graphsvc.document import ConstantEntry, GraphDocument, HeldGraphEntry, document_from_dict
from graphsvc.errors import DocumentError, DuplicateInputError, MessageError, TensorError, quoted
from graphsvc.plaindata import Attribute, GraphReference
from graphsvc.v1 import graph_pb2, tensor_pb2
from graphsvc.wire.chunks import Arrivals, Beside

__all__ = [
    "array_from_tensor",
    "document_from_graph",
    "dtype_numbers",
    "graph_from_document",
    "named_arrays",
    "named_tensors",
    "parse_message",
    "tensor_digest",
    "tensor_from_array",
]

_MOST_ATTRIBUTES: Final = 256
# One more than the document takes, which then refuses them.
_MOST_ITEMS: Final = 1025

_M = TypeVar("_M", bound=Message)

_NUMBER_OF: Final[dict[str, Any]] = {name: tensor_pb2.Dtype.Value(f"DTYPE_{name.upper()}") for name in DTYPES}
_NAME_OF: Final = {number: name for name, number in _NUMBER_OF.items()}
# Finding the name of a dtype takes NumPy longer than all the rest of a small tensor.
_NUMBER_OF_DTYPE: Final = {dtype: _NUMBER_OF[name] for name, dtype in DTYPES.items()}
_LITTLE: Final = sys.byteorder == "little"


def parse_message(cls: type[_M], data: bytes) -> _M:
    """Parse a message.

    Raises:
        MessageError: The bytes are no message of this type.
    """
    try:
        return cls.FromString(data)
    except DecodeError:
        msg = f"These {len(data)} bytes are no {cls.DESCRIPTOR.full_name}. Send the protobuf message."
        raise MessageError(msg) from None


def dtype_numbers() -> list[int]:
    """Return every dtype as the enum's number."""
    return list(_NAME_OF)


# Tensors ------------------------------------------------------------------------------------------------------------


def tensor_from_array(array: Array, beside: Beside | None = None) -> tensor_pb2.Tensor:
    """Return an array as a tensor, whatever its strides and byte order.

    Args:
        array: The array.
        beside: Takes arrays whose data are to follow in chunks; None where there are no chunks.
    """
    little = array if _LITTLE else array.astype(array.dtype.newbyteorder("<"))
    dtype = _NUMBER_OF_DTYPE[array.dtype]
    if beside is not None and beside.takes(little):
        return tensor_pb2.Tensor(dtype=dtype, shape=array.shape, chunked=True)
    return tensor_pb2.Tensor(dtype=dtype, shape=array.shape, data=little.tobytes())


def tensor_digest(array: Array) -> bytes:
    """Return the SHA-256 of an array's dtype, shape and elements, by which servers keep it."""
    header = np.array([_NUMBER_OF_DTYPE[array.dtype], array.ndim, *array.shape], "<i8")
    digest = hashlib.sha256(header.data)
    digest.update(np.ascontiguousarray(array if _LITTLE else array.astype(array.dtype.newbyteorder("<"))).data)
    return digest.digest()


def array_from_tensor(
    tensor: tensor_pb2.Tensor, what: str, arrivals: Arrivals | None = None, *, writable: bool = False
) -> Array:
    """Return a tensor as an array in C order.

    Args:
        tensor: The tensor.
        what: What it is, for the message of an error.
        arrivals: Told of a chunked tensor, whose array is filled later; None where there are no chunks.
        writable: Whether the array may be written to; otherwise it shares the message's bytes.

    Raises:
        TensorError: Dtype, shape and length contradict each other, or one of them is out of range.
    """
    name = _NAME_OF.get(tensor.dtype)
    if name is None:
        msg = f"{what}: there is no dtype of number {tensor.dtype}. Take one from the enum graphsvc.v1.Dtype."
        raise TensorError(msg)
    shape = tuple(tensor.shape) if len(tensor.shape) <= MAX_RANK else None
    fits = shape is not None and all(0 <= size <= MAX_DIMENSION for size in shape)
    if shape is None or not fits or (0 in shape and not fits_memory(shape, 16)):
        msg = f"{what}: a shape has at most {MAX_RANK} lengths from 0 to {MAX_DIMENSION}, got "
        msg += f"{quoted(list(tensor.shape[:40]))}."
        raise TensorError(msg)
    dtype = DTYPES[name]
    data = tensor.data
    if tensor.chunked:
        if arrivals is None or data or not _LITTLE:
            msg = f"{what}: chunks come in a session, for inputs and what belongs to them, and none in the message."
            raise TensorError(msg)
        return arrivals.expect(shape, dtype, what)
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        takes = f"{name} of shape {quoted(shape)} takes {quoted(expected)}"
        msg = f"{what}: got {len(data)} bytes, but {takes}. Send every element, in C order."
        raise TensorError(msg)
    if dtype.kind == "b" and data.translate(None, b"\x00\x01"):
        msg = f"{what}: booleans are the bytes 0 and 1, got others. Send one byte for each."
        raise TensorError(msg)
    buffer = bytearray(data) if writable else data
    if not expected:
        return np.empty(shape, dtype)
    if _LITTLE:
        return np.frombuffer(buffer, dtype).reshape(shape)
    return np.frombuffer(buffer, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def named_tensors(
    arrays: Mapping[str, Array], beside: Beside | None = None, weak: Iterable[str] = ()
) -> list[tensor_pb2.NamedTensor]:
    """Return arrays with their names as tensors; see `tensor_from_array`."""
    if not weak:
        return [
            tensor_pb2.NamedTensor(name=name, tensor=tensor_from_array(array, beside)) for name, array in arrays.items()
        ]
    return [
        tensor_pb2.NamedTensor(
            name=name, tensor=tensor_from_array(array, None if name in weak else beside), weak=name in weak
        )
        for name, array in arrays.items()
    ]


def named_arrays(
    tensors: Iterable[tensor_pb2.NamedTensor],
    what: str,
    arrivals: Arrivals | None = None,
    *,
    writable: bool = False,
    weak: bool = False,
) -> dict[str, Array]:
    """Return tensors with their names as arrays; see `array_from_tensor`.

    Raises:
        DuplicateInputError: Two bear one name.
        TensorError: One contradicts itself.
    """
    arrays: dict[str, Array] = {}
    for named in tensors:
        if named.name in arrays:
            msg = f"{what} {quoted(named.name)} is given twice. Give it once."
            raise DuplicateInputError(msg, input=named.name[:128])
        if named.weak and not weak:
            msg = f"{what} {quoted(named.name)} is weak, but only output gradients may be. Send its own dtype."
            raise TensorError(msg, input=named.name[:128])
        arrays[named.name] = array_from_tensor(
            # A number that gives way must be known before it can.
            named.tensor,
            f"{what} {quoted(named.name)}",
            None if named.weak else arrivals,
            writable=writable,
        )
    return arrays


# Graphs -------------------------------------------------------------------------------------------------------------


def graph_from_document(document: GraphDocument) -> graph_pb2.Graph:
    """Return a document as a message."""
    return graph_pb2.Graph(
        format_version=document.graphsvc,
        gates=[graph_pb2.GateVersion(gate=gate, version=version) for gate, version in document.gates.items()],
        **_body_fields(document),
        graphs=[graph_pb2.HeldGraph(name=graph.name, **_body_fields(graph)) for graph in document.graphs],
    )


def _body_fields(document: GraphDocument | HeldGraphEntry) -> dict[str, Any]:
    return {
        "inputs": [
            graph_pb2.Input(
                name=entry.name,
                dtype=_NUMBER_OF[entry.dtype] if entry.dtype else tensor_pb2.DTYPE_UNSPECIFIED,
                shape=None
                if entry.shape is None
                else graph_pb2.DeclaredShape(dimensions=[-1 if size is None else size for size in entry.shape]),
                parameter=entry.parameter,
            )
            for entry in document.inputs
        ],
        "constants": [_constant_message(entry) for entry in document.constants],
        "nodes": [
            graph_pb2.Node(
                name=node.name,
                gate=node.gate,
                operands=node.operands,
                attributes=[_attribute_message(name, value) for name, value in node.attributes.items()],
            )
            for node in document.nodes
        ],
        "outputs": [graph_pb2.Output(name=output.name, source=output.source) for output in document.outputs],
    }


def _constant_message(entry: ConstantEntry) -> graph_pb2.Constant:
    if isinstance(entry.value, np.ndarray):
        return graph_pb2.Constant(name=entry.name, tensor=tensor_from_array(entry.value))
    if isinstance(entry.value, int):
        return graph_pb2.Constant(name=entry.name, integer=entry.value)
    return graph_pb2.Constant(name=entry.name, number=entry.value)


def _scalar_message(value: Attribute) -> graph_pb2.Scalar:
    match value:
        case None:
            return graph_pb2.Scalar(none=True)
        case bool():
            return graph_pb2.Scalar(boolean=value)
        case int():
            return graph_pb2.Scalar(integer=value)
        case float():
            return graph_pb2.Scalar(number=value)
        case _:
            return graph_pb2.Scalar(text=str(value))


def _attribute_message(name: str, value: Attribute) -> graph_pb2.Attribute:
    if isinstance(value, GraphReference):
        return graph_pb2.Attribute(name=name, graph=value.name)
    if not isinstance(value, tuple):
        return graph_pb2.Attribute(name=name, scalar=_scalar_message(value))
    return graph_pb2.Attribute(name=name, list=graph_pb2.List(items=[_item_message(item) for item in value]))


def _item_message(value: Attribute) -> graph_pb2.Item:
    if not isinstance(value, tuple):
        return graph_pb2.Item(scalar=_scalar_message(value))
    return graph_pb2.Item(list=graph_pb2.ScalarList(items=[_scalar_message(item) for item in value]))


def document_from_graph(graph: graph_pb2.Graph) -> GraphDocument:
    """Return a message as a document, judged.

    Raises:
        GraphError: An entry is malformed; the message and `facts["path"]` say which.
        TensorError: A constant contradicts itself.
    """
    data: dict[str, Any] = {
        "graphsvc": graph.format_version,
        "gates": _unique(((entry.gate, entry.version) for entry in graph.gates), "gates"),
        **_body_data(graph),
    }
    if graph.graphs:
        data["graphs"] = tuple(
            {"name": held.name, **_body_data(held, f"graphs[{i}].")} for i, held in enumerate(graph.graphs)
        )
    return document_from_dict(data)


def _body_data(graph: graph_pb2.Graph | graph_pb2.HeldGraph, path: str = "") -> dict[str, Any]:
    return {
        "inputs": tuple(_input_data(entry, f"{path}inputs[{i}]") for i, entry in enumerate(graph.inputs)),
        "constants": tuple(_constant_data(entry, f"{path}constants[{i}]") for i, entry in enumerate(graph.constants)),
        "nodes": tuple([_node_data(node, path, i) for i, node in enumerate(graph.nodes)]),
        "outputs": tuple({"name": output.name, "source": output.source} for output in graph.outputs),
    }


def _unique(pairs: Iterable[tuple[str, Any]], path: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            msg = f"{path}: {quoted(name)} stands there twice. Give it once."
            raise DocumentError(msg, path=path)
        result[name] = value
    return result


def _input_data(entry: graph_pb2.Input, path: str) -> dict[str, Any]:
    if entry.dtype != tensor_pb2.DTYPE_UNSPECIFIED and entry.dtype not in _NAME_OF:
        msg = f"{path}.dtype: there is no dtype of number {entry.dtype}. Take one from the enum graphsvc.v1.Dtype."
        raise DocumentError(msg, path=f"{path}.dtype")
    if len(entry.shape.dimensions) > MAX_RANK:
        msg = f"{path}.shape: a shape has at most {MAX_RANK} axes, got {len(entry.shape.dimensions)}."
        raise DocumentError(msg, path=f"{path}.shape")
    shape = tuple(None if size == -1 else size for size in entry.shape.dimensions) if entry.HasField("shape") else None
    return {"name": entry.name, "dtype": _NAME_OF.get(entry.dtype), "shape": shape, "parameter": entry.parameter}


def _constant_data(entry: graph_pb2.Constant, path: str) -> dict[str, Any]:
    match entry.WhichOneof("value"):
        case "tensor":
            return {"name": entry.name, "value": array_from_tensor(entry.tensor, f"{path}.tensor")}
        case "integer":
            return {"name": entry.name, "value": entry.integer}
        case "number":
            return {"name": entry.name, "value": entry.number}
        case _:
            return _refuse_empty(path)


def _node_data(node: graph_pb2.Node, path: str, number: int) -> dict[str, Any]:
    data: dict[str, Any] = {"name": node.name, "gate": node.gate, "operands": tuple(node.operands)}
    if attributes := node.attributes:
        data["attributes"] = _attributes_data(attributes, f"{path}nodes[{number}].attributes")
    return data


def _attributes_data(attributes: Sequence[graph_pb2.Attribute], path: str) -> dict[str, Attribute]:
    if len(attributes) > _MOST_ATTRIBUTES:
        msg = f"{path}: a node has at most {_MOST_ATTRIBUTES} attributes, got {len(attributes)}."
        raise DocumentError(msg, path=path)
    return _unique(((a.name, _attribute_data(a, f"{path}.{a.name[:128]}")) for a in attributes), path)


def _attribute_data(attribute: graph_pb2.Attribute, path: str) -> Attribute:
    match attribute.WhichOneof("value"):
        case "scalar":
            return _scalar_data(attribute.scalar, path)
        case "graph":
            return GraphReference(attribute.graph)
        case "list":
            items = itertools.islice(attribute.list.items, _MOST_ITEMS)
            return tuple(_item_data(item, path) for item in items)
        case _:
            return _refuse_empty(path)


def _item_data(item: graph_pb2.Item, path: str) -> Attribute:
    match item.WhichOneof("value"):
        case "scalar":
            return _scalar_data(item.scalar, path)
        case "list":
            scalars = itertools.islice(item.list.items, _MOST_ITEMS)
            return tuple(_scalar_data(scalar, path) for scalar in scalars)
        case _:
            return _refuse_empty(path)


def _scalar_data(scalar: graph_pb2.Scalar, path: str) -> Attribute:
    kind = scalar.WhichOneof("kind")
    if kind is None or (kind == "none" and not scalar.none):
        return _refuse_empty(path)
    value: Attribute = None if kind == "none" else getattr(scalar, kind)
    return value


def _refuse_empty(path: str) -> NoReturn:
    msg = f"{path}: no value is given. Set exactly one of its alternatives."
    raise DocumentError(msg, path=path)
