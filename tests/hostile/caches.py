"""Group J: what a server keeps."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

import graphsvc
from graphsvc.document import digest_of
from graphsvc.v1 import service_pb2
from graphsvc.wire.codec import document_from_graph, tensor_from_array
from tests.hostile.case import (
    INVALID,
    LIMIT,
    OK,
    UNKNOWN,
    Answer,
    Case,
    asked,
    changed,
    made,
    question,
    session,
    unary,
    with_node,
)
from tests.hostile.streams import slow
from tests.hostile.tensors import CHUNKS, chunked

FORGOTTEN = f"{UNKNOWN} GRAPH_UNKNOWN"


def by(digest: bytes) -> service_pb2.EvaluateRequest:
    """Return a good question to a graph that goes by its digest."""
    request = question()
    request.graph_digest = digest
    return request


def digest_in(answer: Answer) -> bytes:
    return service_pb2.EvaluateResponse.FromString(answer.responses[0]).graph_digest


def evicted(target: str) -> Answer:
    """Ask a graph, two others, and the first one by its digest."""
    digest = digest_in(unary(question())(target))
    assert unary(by(digest))(target).code == OK
    for i in range(2):
        asked(f"f = x + {i}", {"x": 1.0})(target)
    return unary(by(digest))(target)


def evicted_while_it_runs(target: str) -> Answer:
    """Ask a slow graph, two others meanwhile, and return its answer."""
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(unary(slow(3)), target)
        for i in range(2):
            asked(f"f = faulty.sleep(x + {i})", {"x": 1.0})(target)
        return answer.result()


def hundred_times(target: str) -> Answer:
    """Ask one graph a hundred times at once; it has one digest."""
    data = made(question("f = x * y + z * 3.25"))
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: unary(data)(target), range(100)))
    assert {answer.code for answer in answers} == {OK}
    assert len({digest_in(answer) for answer in answers}) == 1
    return answers[0]


def refused_and_asked_again(target: str) -> Answer:
    """Send a graph with a cycle, and ask it by the digest that it would have."""
    request = with_node(0, operands=["f", "y"])()
    assert unary(request)(target).code == f"{INVALID} GRAPH_CYCLE"
    return unary(by(digest_of(document_from_graph(request.graph))))(target)


def of_another_server(target: str) -> Answer:
    """Ask by the digest that another server would give, and send the graph when it is not known."""
    graph = graphsvc.parse("f = x - 17.5")
    request = question(graph, {"x": 1.0})
    request.graph_digest = graph.digest()
    answer = unary(request)(target)
    assert digest_in(asked(graph, {"x": 1.0})(target)) == graph.digest()
    assert unary(request)(target).code == OK
    return answer


def resident(digest: bytes) -> service_pb2.EvaluateRequest:
    return changed(lambda r: (r.inputs.pop(0), r.residents.add(name="x", digest=digest)))()


CASES = [
    Case("J1", "a graph that went", FORGOTTEN, evicted, server="tight"),
    Case("J1", "a digest that nothing has", FORGOTTEN, unary(by(bytes(32))), "Send the graph"),
    Case("J1", "a digest of 5 bytes", FORGOTTEN, unary(by(b"short")), "No graph"),
    Case("J1", "a tensor that nothing has", f"{UNKNOWN} RESIDENT_UNKNOWN", unary(resident(bytes(32))), "Put it again"),
    Case("J1", "a tensor's digest of 5 bytes", f"{UNKNOWN} RESIDENT_UNKNOWN", unary(resident(b"short"))),
    Case("J2", "a graph that goes while it runs", OK, evicted_while_it_runs, server="tight"),
    Case("J3", "one graph a hundred times at once", OK, hundred_times),
    Case("J6", "a graph that is none", FORGOTTEN, refused_and_asked_again),
    Case("J8", "a graph that another server knows", FORGOTTEN, of_another_server),
    Case(
        "J10",
        "a graph where none is kept",
        FORGOTTEN,
        lambda target: unary(by(digest_in(unary(question())(target))))(target),
        server="forgetful",
    ),
    Case(
        "J10",
        "a tensor larger than all that is kept",
        LIMIT,
        unary(lambda: service_pb2.PutTensorRequest(tensor=tensor_from_array(np.ones(100))), "PutTensor"),
        "'resident_bytes'",
        server="forgetful",
    ),
    Case(
        "J14",
        "a tensor that is put by half",
        f"{INVALID} REQUEST_INVALID",
        session(
            lambda: [
                service_pb2.SessionRequest(
                    put_tensor=service_pb2.PutTensorRequest(tensor=chunked().evaluate.inputs[0].tensor)
                ),
                CHUNKS[0],
            ]
        ),
    ),
]
