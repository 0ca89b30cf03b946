"""Group D: attributes of gates."""

from typing import Any

import numpy as np

from graphsvc.v1 import graph_pb2
from tests.hostile.case import INVALID, LIMIT, MIB, OK, Case, asked, unary, with_node
from tests.hostile.wire import field, graph_of

Attribute, Item, Items, Scalar = graph_pb2.Attribute, graph_pb2.Item, graph_pb2.List, graph_pb2.Scalar

ATTRIBUTE = f"{INVALID} ATTRIBUTE_INVALID"
DOCUMENT = f"{INVALID} DOCUMENT_INVALID"
SHAPE = f"{INVALID} SHAPE_MISMATCH"
DATA = f"{INVALID} GATE_DATA_REFUSED"


def gate(row: str, what: str, code: str, graph: str, says: str = "", **inputs: Any) -> Case:
    """Return a case of a graph by its expression; x is [1, 2, 3] unless it is given. No gradient is wanted."""
    return Case(row, what, code, asked(graph, {"x": [1.0, 2.0, 3.0]} | inputs, wrt=[]), says)


def wire(row: str, what: str, code: str, says: str = "", **attribute: Any) -> Case:
    """Return a case of an attribute as no client of ours would write it."""
    name = attribute.pop("name", "a")
    return Case(row, what, code, unary(with_node(0, attributes=[Attribute(name=name, **attribute)])), says)


IMAGE = np.ones((1, 1, 4, 4))
KERNEL = np.ones((1, 1, 3, 3))
TWO = np.ones((2, 2))

CASES = [
    gate("D1", "one missing", ATTRIBUTE, "f = reshape(x)", "needs the attribute 'shape'"),
    gate("D1", "an unknown one", ATTRIBUTE, "f = sum(x, axs=1)", "Did you mean 'axis'"),
    Case(
        "D1",
        "one twice",
        DOCUMENT,
        unary(with_node(0, attributes=[Attribute(name="a", scalar=Scalar(none=True))] * 2)),
        "twice",
    ),
    wire("D1", "one named self", ATTRIBUTE, "no attribute 'self'", name="self", scalar=Scalar(integer=1)),
    wire("D1", "one without a value", DOCUMENT, "nodes.0..attributes"),
    wire("D1", "a scalar without a value", DOCUMENT, "no value", scalar=Scalar()),
    wire("D1", "one that is not none", DOCUMENT, "no value", scalar=Scalar(none=False)),
    wire("D1", "a list with nothing in it", DOCUMENT, "no value", list=Items(items=[Item()])),
    gate("D2", "a float for an integer", ATTRIBUTE, "f = sum(x, axis=1.0)", "'axis'"),
    gate("D2", "a boolean for an integer", ATTRIBUTE, "f = softmax(x, axis=True)", "'axis'"),
    gate("D2", "a text for a number", ATTRIBUTE, "f = leaky_relu(x, slope='a')", "'slope'"),
    gate("D2", "a number for a boolean", ATTRIBUTE, "f = sort(x, descending=1)", "'descending'"),
    gate("D2", "a list for a number", ATTRIBUTE, "f = leaky_relu(x, slope=[1.0])", "'slope'"),
    wire("D3", "a million letters", DOCUMENT, "at most 4096 characters", scalar=Scalar(text="a" * MIB)),
    Case(
        "D3",
        "a list of a million empty lists",
        LIMIT,
        unary(graph_of(field(5, field(4, field(3, b"\x0a\x00" * 10**6))))),
        peak=32 * MIB,
    ),
    Case(
        "D3",
        "two thousand numbers",
        DOCUMENT,
        unary(
            lambda: with_node(
                0, attributes=[Attribute(name="a", list=Items(items=[Item(scalar=Scalar(integer=1))] * 2000))]
            )()
        ),
        "at most 1024 items",
    ),
    Case(
        "D3",
        "three hundred attributes",
        DOCUMENT,
        unary(with_node(0, attributes=[Attribute(name=f"a{i}", scalar=Scalar(none=True)) for i in range(300)])),
        "at most 256",
    ),
    Case(
        "D3",
        "a million attributes",
        LIMIT,
        unary(graph_of(field(5, b"\x22\x00" * 10**6))),
        peak=32 * MIB,
    ),
    gate("D4", "an axis out of range", ATTRIBUTE, "f = sum(x, axis=3)", "at node 'f'.*1 ax"),
    gate("D4", "an axis before the first", ATTRIBUTE, "f = sum(x, axis=-2)"),
    gate("D4", "an axis twice", ATTRIBUTE, "f = sum(x, axis=(0, -1))", "twice"),
    gate("D5", "step 0", ATTRIBUTE, "f = x[::0]", "step 0"),
    gate("D5", "stride 0", ATTRIBUTE, "f = conv2d(x, w, stride=0)", x=IMAGE, w=KERNEL),
    gate("D5", "dilation 0", ATTRIBUTE, "f = conv2d(x, w, dilation=0)", x=IMAGE, w=KERNEL),
    gate("D5", "groups 0", ATTRIBUTE, "f = conv2d(x, w, groups=0)", x=IMAGE, w=KERNEL),
    gate("D5", "a window of 0", ATTRIBUTE, "f = max_pool2d(x, kernel_size=0)", x=IMAGE),
    gate("D6", "a window larger than what it is for", SHAPE, "f = max_pool2d(x, kernel_size=5)", x=IMAGE),
    gate("D6", "a kernel larger than what it is for", SHAPE, "f = conv2d(x, w)", x=TWO[None, None], w=KERNEL),
    gate("D6", "negative padding", ATTRIBUTE, "f = pad(x, pad_width=[[-1, 0]])"),
    gate("D7", "two lengths of -1", SHAPE, "f = reshape(x, shape=(-1, -1))"),
    gate("D7", "a length of -5", ATTRIBUTE, "f = reshape(x, shape=(-5,))"),
    gate("D7", "a length of 0", SHAPE, "f = reshape(x, shape=(0, 3))"),
    gate("D7", "lengths that do not divide", SHAPE, "f = reshape(x, shape=(2, -1))"),
    gate("D7", "40 axes", SHAPE, f"f = reshape(x, shape={(1,) * 40})", "32 axes", x=1.0),
    gate("D7", "more than any memory", SHAPE, f"f = broadcast_to(x, shape={(2**31 - 1,) * 3})", x=1.0),
    gate("D8", "an axis twice for another", ATTRIBUTE, "f = transpose(x, axes=(0, 0))", x=TWO),
    gate("D8", "too few axes", ATTRIBUTE, "f = transpose(x, axes=(0,))", x=TWO),
    gate("D9", "an output twice", ATTRIBUTE, "f = einsum(x, subscripts='i->ii')"),
    gate("D9", "a letter from nowhere", ATTRIBUTE, "f = einsum(x, subscripts='i->j')"),
    gate("D9", "no letters", ATTRIBUTE, "f = einsum(x, subscripts='<script>')"),
    gate("D9", "more letters than axes", f"{SHAPE} | {ATTRIBUTE}", "f = einsum(x, subscripts='ijkl->')"),
    gate("D9", "4000 letters", f"{SHAPE} | {ATTRIBUTE}", f"f = einsum(x, subscripts='{'i' * 4000}->')"),
    wire("D9", "a MiB of letters", DOCUMENT, name="subscripts", scalar=Scalar(text="i" * MIB)),
    gate("D10", "an infinite slope", f"{INVALID} VALUE_NOT_FINITE", "f = leaky_relu(x, slope=1e999)", "finite"),
    gate("D10", "a huge slope", OK, "f = leaky_relu(x, slope=1e308)"),
    gate("D10", "a probability of 2", ATTRIBUTE, "f = dropout(x, p=2.0, seed=1)"),
    gate(
        "D11", "a slice from end to end of what there is", OK, f"f = slice(x, start={-(2**63 - 1)}, stop={2**63 - 1})"
    ),
    gate("D11", "the longest step", OK, f"f = slice(x, step={2**63 - 1})"),
    gate("D11", "the longest step backwards", OK, f"f = slice(x, step={-(2**63 - 1)})"),
    gate("D11", "an index out of range", ATTRIBUTE, "f = x[5]", "out of range"),
    gate("D12", "a huge seed", f"{OK} | {ATTRIBUTE}", f"f = dropout(x, seed={2**63 - 1})"),
    gate("D12", "a negative seed", ATTRIBUTE, "f = dropout(x, seed=-1)"),
    gate("D13", "a place out of range", DATA, "f = take(x, i)", "Index 3", i=np.array([0, 3])),
    gate("D13", "a place before the first", DATA, "f = take(x, i)", "Index -4", i=np.array([0, -4])),
    gate("D13", "a place out of range to add to", DATA, "f = index_add(x, i, x)", i=np.array([0, 1, 3])),
    gate("D13", "a label out of range", DATA, "f = svm_hinge(x, i)", x=[[1.0]], i=np.array([1])),
    gate("D13", "a negative label", DATA, "f = svm_hinge(x, i)", x=[[1.0]], i=np.array([-1])),
    gate("D14", "a text that is no choice", ATTRIBUTE, "f = gelu(x, approximate='%s{}(a+)+$')", "approximate"),
]
