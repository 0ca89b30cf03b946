"""Group C: tensors, whole and in chunks."""

from collections.abc import Callable
from typing import Any

import numpy as np

import graphsvc
from graphsvc.v1 import graph_pb2, service_pb2, tensor_pb2
from graphsvc.wire.chunks import SMALLEST_CHUNK, chunk_messages
from graphsvc.wire.codec import graph_from_document, named_tensors
from tests.hostile.case import INVALID, LIMIT, MIB, OK, Answer, Built, Case, asked, changed, question, session, unary
from tests.hostile.wire import field

TENSOR = f"{INVALID} TENSOR_INVALID"
REQUEST = f"{INVALID} REQUEST_INVALID"


def with_tensor(**parts: Any) -> Callable[[], service_pb2.EvaluateRequest]:
    """Return what makes a good question whose input x is another tensor: 0.0 but for these fields."""
    fields = {"dtype": tensor_pb2.DTYPE_FLOAT64, "shape": [], "data": bytes(8)} | parts

    def change(request: service_pb2.EvaluateRequest) -> None:
        request.inputs[0].tensor.CopyFrom(tensor_pb2.Tensor(**fields))

    return changed(change)


def with_declared(**parts: Any) -> Callable[[], service_pb2.EvaluateRequest]:
    """Return what makes a good question that declares of its input x what is not so."""
    return changed(lambda r: r.graph.inputs[0].MergeFrom(graph_pb2.Input(**parts)))


def echoed(array: np.ndarray) -> Callable[[str], Answer]:
    """Return what sends an array as an input and as a constant, which must come back bit for bit."""

    def ask(target: str) -> Answer:
        request = question("f = x; g = c", {"x": array}, wrt=[])
        del request.graph.inputs[1:]
        request.graph.constants.add(name="c", tensor=request.inputs[0].tensor)
        answer = unary(request)(target)
        for output in service_pb2.EvaluateResponse.FromString(answer.responses[0]).outputs:
            assert output.tensor == request.inputs[0].tensor
        return answer

    return ask


LARGE = np.random.default_rng(0).normal(size=300_000)


def chunked(array: np.ndarray = LARGE, graph: str = "f = x", **tensor: Any) -> service_pb2.SessionRequest:
    """Return a question whose input comes in chunks."""
    evaluate = service_pb2.EvaluateRequest(
        graph=graph_from_document(graphsvc.parse(graph).document()),
        inputs=[
            tensor_pb2.NamedTensor(
                name="x",
                tensor=tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_FLOAT64, shape=array.shape, chunked=True, **tensor),
            )
        ],
        wrt=service_pb2.NameList(),
    )
    return service_pb2.SessionRequest(id=7, evaluate=evaluate)


def chunk(nbytes: int) -> service_pb2.SessionRequest:
    return service_pb2.SessionRequest(chunk=bytes(nbytes))


CHUNKS = list(chunk_messages([LARGE]))


def coming(*messages: Built) -> Callable[[str], Answer]:
    """Return what sends the head of a chunked question and then these messages."""
    return session(lambda: [chunked(), *messages])


CASES = [
    Case("C1", "a byte short", TENSOR, unary(with_tensor(data=bytes(7))), says="got 7 bytes.*takes 8"),
    Case("C1", "a byte long", TENSOR, unary(with_tensor(data=bytes(9))), says="got 9 bytes.*takes 8"),
    Case("C1", "no data", TENSOR, unary(with_tensor(data=b""))),
    Case(
        "C1",
        "a constant of other length",
        TENSOR,
        unary(
            changed(lambda r: r.graph.constants.add(name="c", tensor=tensor_pb2.Tensor(dtype=12, shape=[3], data=b"1")))
        ),
        says="constants.0..tensor",
    ),
    *(Case("C2", f"a length of {n}", TENSOR, unary(with_tensor(shape=[n]))) for n in (-1, -5, -(2**63))),
    *(
        Case("C3", f"a product that overflows: {what}", TENSOR, unary(with_tensor(shape=shape)))
        for what, shape in {
            "[2^32, 2^32]": [2**32] * 2,
            "[2^63 - 1, 2]": [2**63 - 1, 2],
            "64 of 2^31": [2**31] * 64,
            "32 of 2^31 - 1": [2**31 - 1] * 32,
        }.items()
    ),
    Case("C4", "0 and 2^62", TENSOR, unary(with_tensor(shape=[0, 2**62], data=b""))),
    Case("C4", "0 and what NumPy cannot hold", TENSOR, unary(with_tensor(shape=[0, 2**31 - 1, 2**31 - 1], data=b""))),
    *(Case("C5", f"the empty shape {shape}", OK, echoed(np.empty(shape))) for shape in ((0,), (3, 0))),
    Case(
        "C5", "the largest of nothing", f"{INVALID} SHAPE_MISMATCH", asked("f = max(x)", {"x": []}), says="no element"
    ),
    Case("C5", "softmax of nothing", f"{INVALID} SHAPE_MISMATCH", asked("f = softmax(x)", {"x": []}), says="empty"),
    Case("C6", "no axis", OK, echoed(np.float64(1))),
    Case("C6", "32 axes", OK, echoed(np.ones((1,) * 32))),
    *(Case("C6", f"{n} axes", TENSOR, unary(with_tensor(shape=[1] * n)), says="at most 32") for n in (33, 65)),
    *(Case("C7", f"the dtype {n}", TENSOR, unary(with_tensor(dtype=n)), says=f"number {n}") for n in (0, 15, 9999, -1)),
    Case(
        "C7",
        "a declared dtype that there is not",
        f"{INVALID} DOCUMENT_INVALID",
        unary(changed(lambda r: setattr(r.graph.inputs[0], "dtype", 77))),
    ),
    Case(
        "C7",
        "a constant without a value",
        f"{INVALID} DOCUMENT_INVALID",
        unary(changed(lambda r: r.graph.constants.add(name="c"))),
        says="constants.0.",
    ),
    Case("C9", "booleans that are neither", TENSOR, unary(with_tensor(dtype=1, data=b"\xff")), says="0 and 1"),
    Case(
        "C10",
        "floats of every kind",
        OK,
        echoed(
            np.frombuffer(
                bytes(range(256)) * 2
                + np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324]).tobytes()
                + b"\1\0\0\0\0\0\xf0\x7f"
            )
        ),
    ),
    *(
        Case(
            "C11",
            f"{x} as an integer",
            f"{INVALID} GATE_DATA_REFUSED",
            asked("f = cast(x, dtype='int64')", {"x": x}, wrt=[]),
        )
        for x in (np.nan, np.inf, 1e300)
    ),
    Case("C12", "a dtype of a later version", TENSOR, unary(with_tensor(dtype=99, data=bytes(2)))),
    Case(
        "C13",
        "another dtype than declared",
        f"{INVALID} DTYPE_MISMATCH",
        unary(with_declared(dtype=tensor_pb2.DTYPE_FLOAT32)),
    ),
    Case("C13", "integers where floats are wanted", OK, asked("f = x * y", {"x": np.int64(2), "y": 0.5})),
    Case(
        "C14",
        "another shape than declared",
        f"{INVALID} SHAPE_MISMATCH",
        unary(with_declared(shape=graph_pb2.DeclaredShape(dimensions=[2]))),
    ),
    Case(
        "C14",
        "a declared length of -7",
        f"{INVALID} DOCUMENT_INVALID",
        unary(with_declared(shape=graph_pb2.DeclaredShape(dimensions=[-7]))),
    ),
    Case(
        "C14",
        "a million declared axes",
        f"{INVALID} TENSOR_INVALID",
        unary(changed(lambda r: r.graph.inputs[0].shape.dimensions.extend([-5] * 10**6))),
        # Where no case came before, the allocator keeps for its threads what the message of ten megabytes took.
        kept=64 * MIB,
    ),
    Case("C15", "two inputs missing", f"{INVALID} INPUT_MISSING", asked("f = x * y * z", {"x": 1.0}), says="'y', 'z'"),
    Case(
        "C15",
        "an input that there is not",
        f"{INVALID} INPUT_UNKNOWN",
        asked("f = x * 2", {"x": 1.0, "xx": 1.0}),
        says="Did you mean 'x'",
    ),
    Case(
        "C15",
        "an input twice",
        f"{INVALID} INPUT_DUPLICATE",
        unary(changed(lambda r: r.inputs.append(r.inputs[0]))),
        says="twice",
    ),
    Case("C15", "an input without tensor", TENSOR, unary(changed(lambda r: r.inputs[0].ClearField("tensor")))),
    Case("C16", "data at an odd place", OK, unary(lambda: question().SerializeToString() + field(99, b"x"))),
    Case("C17", "data that must not be written to", OK, asked("f = sum(x + x)", {"x": np.ones(3)})),
    Case("C18", "all chunks", OK, coming(*CHUNKS)),
    Case("C18", "a chunk for nothing", REQUEST, session(lambda: [chunk(SMALLEST_CHUNK)])),
    Case("C18", "a chunk missing", REQUEST, coming(*CHUNKS[:-1])),
    Case("C18", "a chunk twice", REQUEST, coming(*CHUNKS, CHUNKS[-1])),
    Case("C18", "a request among chunks", REQUEST, coming(CHUNKS[0], chunked())),
    Case("C18", "more than its shape says", TENSOR, coming(CHUNKS[0], CHUNKS[0], CHUNKS[0])),
    *(Case("C19", f"a chunk of {n} bytes", LIMIT, coming(chunk(n)), says="'smallest_chunk'") for n in (0, 1)),
    Case("C21", "declared small, and large", TENSOR, session(lambda: [chunked(np.empty(3)), chunk(MIB)])),
    Case(
        "C23",
        "a hundred thousand tensors",
        LIMIT,
        unary(changed(lambda r: r.inputs.extend(named_tensors({"x": np.ones(1)}) * 100_000))),
        says="'max_tensors'",
    ),
    Case(
        "C26",
        "a literal beyond its dtype",
        f"{INVALID} DTYPE_MISMATCH",
        asked("f = x + 300", {"x": np.int8(1)}, wrt=[]),
    ),
]
