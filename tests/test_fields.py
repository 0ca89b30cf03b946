"""Fields of a message are counted as its parser would count them."""

from collections.abc import Callable

import pytest
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError

from graphsvc import errors
from graphsvc.v1 import graph_pb2, service_pb2
from graphsvc.wire.fields import Most, count_fields
from tests.hostile.bombs import looping
from tests.hostile.case import made, question
from tests.hostile.wire import field, tag, varint

PLENTY = Most(10_000, "max_plenty")


def nodes(request: service_pb2.EvaluateRequest) -> list[graph_pb2.Node]:
    """Return all nodes of a request, those of held graphs among them."""
    return [node for graph in (request.graph, *request.graph.graphs) for node in graph.nodes]


COUNTS: dict[str, Callable[[service_pb2.EvaluateRequest], int]] = {
    "nodes": lambda r: len(r.graph.nodes),
    "operands": lambda r: sum(len(node.operands) for node in nodes(r)),
    "attributes": lambda r: sum(len(node.attributes) for node in nodes(r)),
    "graphs": lambda r: len(r.graph.graphs),
    "names": lambda r: len(r.outputs.names) + len(r.wrt.names),
}
REQUEST = question(looping("map", "a * 2 + 1", (3,)), {"x": 1.0}, wrt=["x", "x"], outputs=["f"])
REQUEST.graph.nodes.extend(question("f = sum(x, axis=0) + 2 + 3").graph.nodes)
REQUEST.graph.constants.add(name="c", integer=-(2**62))
WAYS = {
    "as it is": made(REQUEST),
    "with unknown fields": made(REQUEST)
    + tag(99, 0)
    + varint(2**64 - 1)
    + tag(98, 1)
    + bytes(8)
    + tag(97, 5)
    + bytes(4),
    "in parts": field(1, made(REQUEST.graph)[:2])
    + field(1, made(REQUEST.graph)[2:])
    + made(service_pb2.EvaluateRequest(outputs=REQUEST.outputs, wrt=REQUEST.wrt)),
    "with tags of two bytes": b"\x8a\x00" + made(REQUEST)[1:],
}

HELD: dict[str, Callable[[int], bytes]] = {
    "operands": lambda count: b"\x1a\x01x" * count,
    "operands with tags of two bytes": lambda count: b"\x9a\x00\x01x" * count,
    "items of an attribute": lambda count: field(4, field(3, field(1, b"") * count)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", COUNTS)
def test_as_many_are_counted_as_are_parsed(name: str, way: str):
    """With exactly that limit a message passes, with one less it is refused, however it is written."""
    data = WAYS[way]
    assert service_pb2.EvaluateRequest.FromString(data).graph == REQUEST.graph
    count = COUNTS[name](REQUEST)
    count_fields(service_pb2.EvaluateRequest, data, {name: Most(count, "max_these")}, PLENTY)
    with pytest.raises(errors.LimitError, match=rf"more than {count - 1} {name}.*\(max_these\)"):
        count_fields(service_pb2.EvaluateRequest, data, {name: Most(count - 1, "max_these")}, PLENTY)


def test_what_is_no_message_is_left_to_the_parser():
    """Wherever a message is cut, the walk ends without an error of its own."""
    whole = made(REQUEST)
    for end in range(len(whole)):
        count_fields(service_pb2.EvaluateRequest, whole[:end], {}, PLENTY)
    for data in (b"\xff" * 20, b"\x0a" + b"\xff" * 11, b"\x0a\xff\xff\xff\xff\x07", field(1, b"\x2a\x7f")):
        count_fields(service_pb2.EvaluateRequest, data, {}, PLENTY)
        with pytest.raises(DecodeError):
            service_pb2.EvaluateRequest.FromString(data)


def test_all_fields_together_have_a_limit():
    """Of kinds that nothing else counts, and of unknown ones."""
    for one in (tag(99, 0) + b"\0", field(1, tag(1, 0) + b"\0")):
        with pytest.raises(errors.LimitError, match="more than 40000 fields|more than 10000 graph"):
            count_fields(service_pb2.EvaluateRequest, one * 50_000, {}, PLENTY)


def test_in_a_long_message_unknown_fields_are_counted_wherever_they_are():
    """For the time that parsing takes. In one of up to 4 MiB they are not, in a message that can have no other ones."""
    node = field(1, field(5, (tag(99, 0) + b"\0") * 50_000))
    count_fields(service_pb2.EvaluateRequest, node, {}, PLENTY)
    with pytest.raises(errors.LimitError, match="more than 40000 fields"):
        count_fields(service_pb2.EvaluateRequest, node + field(99, bytes(2**22)), {}, PLENTY)


@pytest.mark.parametrize("held", HELD)
def test_what_a_node_holds_is_counted_where_it_may_be_too_much(held: str):
    """However deep in it, and with tags of more bytes than they need."""
    count_fields(service_pb2.EvaluateRequest, field(1, field(5, HELD[held](10_000))), {}, PLENTY)
    with pytest.raises(errors.LimitError, match=f"more than 10000 {held.split()[0]}"):
        count_fields(service_pb2.EvaluateRequest, field(1, field(5, HELD[held](10_001))), {}, PLENTY)


def test_a_shape_is_no_longer_than_any():
    """As a declared shape and as a tensor's."""
    long = [1] * 400
    declared = graph_pb2.Input(shape=graph_pb2.DeclaredShape(dimensions=long))
    request = question()
    request.inputs[0].tensor.shape[:] = long
    for message in (service_pb2.EvaluateRequest(graph=graph_pb2.Graph(inputs=[declared])), request):
        with pytest.raises(errors.TensorError, match="at most 32 lengths"):
            count_fields(service_pb2.EvaluateRequest, made(message), {}, PLENTY)


@pytest.mark.parametrize("depth", range(4))
def test_messages_that_hold_others_of_their_kind_are_walked_over(depth: int):
    """None of ours does yet; a list of lists of protobuf's own is counted at every depth."""
    value = struct_pb2.Value(list_value=struct_pb2.ListValue(values=[struct_pb2.Value(bool_value=True)] * 200))
    for _ in range(depth):
        value = struct_pb2.Value(list_value=struct_pb2.ListValue(values=[value]))
    most = Most(200 + depth, "max_values")
    count_fields(struct_pb2.Value, value.SerializeToString(), {"values": most}, PLENTY)
    with pytest.raises(errors.LimitError, match="values"):
        count_fields(struct_pb2.Value, value.SerializeToString(), {"values": most._replace(number=199 + depth)}, PLENTY)
