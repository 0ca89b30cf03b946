"""Sessions, tensors in chunks, and what the server keeps: the same answers as in process, and clear refusals."""

import asyncio
import itertools
import threading
from concurrent import futures
from functools import partial

import grpc
import numpy as np
import pytest
from google.rpc import status_pb2
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import graphsvc
import graphsvc.aio
from graphsvc import errors
from graphsvc.serving.kept import Kept
from graphsvc.testing import serving
from graphsvc.v1 import service_pb2
from graphsvc.wire.chunks import (
    CHUNK_BYTES,
    CHUNKED_BYTES,
    MOST_IN_MESSAGE,
    SMALLEST_CHUNK,
    Beside,
    chunk_data,
    chunk_messages,
)
from graphsvc.wire.codec import graph_from_document, named_tensors, tensor_digest, tensor_from_array
from graphsvc.wire.status import error_from_packed

GRAPH = graphsvc.parse("f = sum((x - 1) ** 2); y = x * 2")
LOSS = {"f": 1.5}
EDGES = (CHUNKED_BYTES // 8, CHUNK_BYTES // 8)
SIZES = [0, 1, 3, *(edge + more for edge in EDGES for more in (-1, 0, 1)), 3 * CHUNK_BYTES // 8, 500_001]
SESSION = "/graphsvc.v1.GraphService/Session"


@pytest.fixture(scope="module")
def target():
    with serving() as address:
        yield address


@pytest.fixture
def client(target: str):
    with graphsvc.connect(target) as made:
        yield made


def values(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size)


def assert_same(mine, theirs):
    for one, other in zip(mine, theirs, strict=True):
        assert list(one) == list(other)
        for name in one:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name])


# The same as in process ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_any_size_gives_the_same_bits_in_every_way(client: graphsvc.Client, size: int):
    """Unary, in a session, in chunks: who asks sees no difference."""
    inputs = {"x": values(size)}
    expected = GRAPH.value_and_grad(inputs, output_gradients=LOSS)
    assert_same(client.value_and_grad(GRAPH, inputs, output_gradients=LOSS), expected)
    answer = client.graph(GRAPH).value_and_grad(inputs, output_gradients=LOSS)
    assert_same(answer, expected)
    assert all(array.flags.writeable for array in (*answer[0].values(), *answer[1].values()))


@pytest.mark.parametrize("size", SIZES)
def test_any_size_gives_the_same_bits_for_asyncio(target: str, size: int):
    """So does the client for asyncio."""
    inputs = {"x": values(size)}
    expected = GRAPH.value_and_grad(inputs, output_gradients=LOSS)

    async def ask() -> None:
        async with graphsvc.aio.connect(target) as client:
            assert_same(await client.value_and_grad(GRAPH, inputs, output_gradients=LOSS), expected)
            assert_same(await client.graph(GRAPH).value_and_grad(inputs, output_gradients=LOSS), expected)

    asyncio.run(ask())


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "float32", "complex128"])
@pytest.mark.parametrize("order", ["C", "F", "reversed", "every other"])
def test_chunks_carry_arrays_of_any_dtype_and_layout(client: graphsvc.Client, dtype: str, order: str):
    """A chunked array arrives as it is, however it lies in memory."""
    array = (values(2_400_000) > 0 if dtype == "bool" else 10 * values(2_400_000)).astype(dtype).reshape(1200, 2000)
    laid = {"C": array, "F": np.asfortranarray(array), "reversed": array[::-1], "every other": array[:, ::2]}[order]
    graph = graphsvc.parse("y = reshape(x, shape=[-1])")
    outputs, _ = client.value_and_grad(graph, {"x": laid}, wrt=[])
    np.testing.assert_array_equal(outputs["y"], laid.reshape(-1))


def test_output_gradients_and_directions_go_in_chunks_too(client: graphsvc.Client):
    """All arrays of a question do, and all of an answer."""
    graph = graphsvc.parse("y = x ** 3")
    x, dy, x_dot = values(300_000), values(300_000, 1), values(300_000, 2)
    given = {"x": x}, None, {"y": dy}
    assert_same(client.value_and_grad(graph, *given), graph.value_and_grad(*given))
    assert_same(client.jvp(graph, {"x": x}, {"x": x_dot}), graph.jvp({"x": x}, {"x": x_dot}))
    expected = graph.hvp({"x": x}, {"x": x_dot}, output_gradients={"y": dy})
    assert_same(client.hvp(graph, {"x": x}, {"x": x_dot}, output_gradients={"y": dy}), expected)
    wide = values(3 * 150_000).reshape(3, -1)
    expected = graph.value_and_grad({"x": x[:150_000]}, output_gradients={"y": wide}, vectors=3)
    assert_same(client.value_and_grad(graph, {"x": x[:150_000]}, None, {"y": wide}, vectors=3), expected)


@given(st.lists(st.sampled_from([0, 1, 2047, 2048, 20_000, CHUNKED_BYTES // 8 - 1, 50_000]), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrays_of_any_sizes_together_give_the_same_bits(client: graphsvc.Client, sizes: list[int]):
    """Some go in the message, some in chunks, and each gets to its place."""
    names = [f"x{i}" for i in range(len(sizes))]
    graph = graphsvc.parse("; ".join(f"y{name} = {name} * {name}" for name in names))
    inputs = {name: values(size, seed) for seed, (name, size) in enumerate(zip(names, sizes, strict=True))}
    given = {f"y{name}": values(size, seed) for seed, (name, size) in enumerate(zip(names, sizes, strict=True), 50)}
    for ask in (client.graph(graph).value_and_grad, partial(client.value_and_grad, graph)):
        assert_same(ask(inputs, None, given), graph.value_and_grad(inputs, None, given))
    assert_same(client.jvp(graph, inputs, inputs), graph.jvp(inputs, inputs))


def test_many_arrays_that_are_too_much_for_a_message_together(client: graphsvc.Client):
    """Eighty megabytes in five hundred arrays, none of which is large, and their gradients."""
    names = [f"x{i}" for i in range(500)]
    graph = graphsvc.parse(f"f = {' + '.join(f'sum({name})' for name in names)}")
    inputs = {name: np.full(20_000, float(number)) for number, name in enumerate(names)}
    outputs, gradients = client.value_and_grad(graph, inputs)
    assert outputs["f"] == 20_000 * sum(range(500))
    assert all((gradients[name] == 1).all() for name in names)


@given(st.lists(st.integers(0, 2 * CHUNKED_BYTES) | st.integers(0, 2**14), max_size=40))
@example([2**14 - 1] * 400)
def test_what_stays_in_a_message_is_little(sizes: list[int]):
    """As much as one array that goes in chunks, and what is too small for a chunk."""
    beside = Beside()
    taken = [beside.takes(np.empty(size, np.uint8)) for size in sizes]
    assert [array.size for array in beside] == list(itertools.compress(sizes, taken))
    stay = [size for size, goes in zip(sizes, taken, strict=True) if not goes]
    assert sum(size for size in stay if size >= 2**14) < CHUNKED_BYTES
    assert sum(stay) < MOST_IN_MESSAGE
    small = [size for size in map(np.size, beside) if size < 2**14]
    assert not small or sum(stay) + max(small) >= MOST_IN_MESSAGE
    assert sum(sizes) >= CHUNKED_BYTES or not beside


def test_a_large_answer_to_a_small_question_comes_in_chunks(client: graphsvc.Client):
    """What does not fit in one message goes over a session by itself."""
    graph = graphsvc.parse("y = broadcast_to(x, shape=[9000000])")
    outputs, _ = client.graph(graph).value_and_grad({"x": 2.0}, wrt=[])
    assert outputs["y"].shape == (9_000_000,)
    assert (outputs["y"] == 2).all()
    outputs, _ = client.value_and_grad(graph, {"x": 2.0}, wrt=[])
    assert (outputs["y"] == 2).all()


def test_many_threads_share_a_session(client: graphsvc.Client):
    """Each gets its own answer."""
    remote = client.graph(GRAPH)
    wrong: list[object] = []

    def ask(seed: int) -> None:
        for size in (1, 3, 200_000, 5):
            inputs = {"x": values(size, seed)}
            try:
                assert_same(
                    remote.value_and_grad(inputs, output_gradients=LOSS),
                    GRAPH.value_and_grad(inputs, output_gradients=LOSS),
                )
            except BaseException as error:  # noqa: BLE001 - a thread's failure would not be seen otherwise
                wrong.append(error)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(("at_once", "size"), [(80, 2), (200, CHUNKED_BYTES // 8)], ids=["small", "in chunks"])
def test_more_threads_than_streams_are_all_answered(client: graphsvc.Client, at_once: int, size: int):
    """Each with its own numbers, and in chunks more than a connection has calls: none waits for what stays open."""
    remote = client.graph(graphsvc.parse("f = sum(x * 2)"))
    barrier = threading.Barrier(at_once)

    def ask(number: int) -> list[float]:
        barrier.wait(60)
        given = (np.append(np.zeros(size - 2), [number, i]) for i in range(4))
        return [float(remote.value_and_grad({"x": x})[0]["f"]) for x in given]

    with futures.ThreadPoolExecutor(at_once) as pool:
        for number, answers in enumerate(pool.map(ask, range(at_once))):
            assert answers == [2.0 * (number + i) for i in range(4)]


def test_more_tasks_than_streams_are_all_answered(target: str):
    """So it is for asyncio."""
    graph = graphsvc.parse("f = sum(x * 2)")

    async def ask() -> None:
        async with graphsvc.aio.connect(target) as client:
            remote = client.graph(graph)
            for _ in range(3):
                asked = [remote.value_and_grad({"x": np.full(CHUNKED_BYTES // 8, 1.0 * i)}) for i in range(200)]
                found = [float(outputs["f"]) for outputs, _ in await asyncio.gather(*asked)]
                assert found == [2.0 * i * (CHUNKED_BYTES // 8) for i in range(200)]

    asyncio.run(ask())


def test_who_sends_more_than_may_come_is_told_so_each_time():
    """Not that the stream ended while he was sending, which is all that gRPC tells for asyncio then."""
    graph, inputs = graphsvc.parse("f = sum(x)"), {"x": np.ones(4_000_000)}

    async def ask(target: str) -> None:
        async with graphsvc.aio.connect(target) as client:
            for _ in range(10):
                with pytest.raises(errors.LimitError, match="max-request-bytes"):
                    await client.value_and_grad(graph, inputs)

    with serving("--max-request-bytes", "1048576") as target:
        asyncio.run(ask(target))
        with graphsvc.connect(target) as client:
            for _ in range(10):
                with pytest.raises(errors.LimitError, match="max-request-bytes"):
                    client.value_and_grad(graph, inputs)


def test_who_sends_for_too_long_is_told_so_each_time():
    """As it is for a server's deadline, which passes while half a gigabyte comes."""
    graph, inputs = graphsvc.parse("f = y; g = x"), {"x": np.zeros(2**26), "y": 1.0}

    async def ask(target: str) -> None:
        async with graphsvc.aio.connect(target) as client:
            for _ in range(5):
                with pytest.raises(errors.DeadlineError):
                    await client.value_and_grad(graph, inputs, wrt=[], outputs=["f"])

    with serving("--max-seconds", "0.1") as target:
        asyncio.run(ask(target))
        with graphsvc.connect(target) as client:
            for _ in range(5):
                with pytest.raises(errors.DeadlineError):
                    client.value_and_grad(graph, inputs, wrt=[], outputs=["f"])


def test_a_refusal_in_a_session_ends_nothing_else(client: graphsvc.Client):
    """Each question has a status of its own."""
    remote = client.graph(graphsvc.parse("y = solve(a, b)"))
    good = {"a": np.eye(2), "b": np.ones(2)}
    for _ in range(3):
        with pytest.raises(errors.GateDataError, match=r"'y'.*singular"):
            remote.value_and_grad({"a": np.zeros((2, 2)), "b": np.ones(2)}, wrt=[])
        outputs, _ = remote.value_and_grad(good, wrt=[])
        np.testing.assert_array_equal(outputs["y"], [1, 1])


def test_map_gives_answers_in_the_order_of_the_inputs(client: graphsvc.Client, capfd: pytest.CaptureFixture):
    """As many as there are inputs, of any iterable, with no bar where there is no terminal."""
    inputs = [{"x": values(3, seed)} for seed in range(40)]
    for some in (inputs, iter(inputs)):
        answers = list(client.map(GRAPH, some, output_gradients=LOSS))
        assert len(answers) == 40
        for one, answer in zip(inputs, answers, strict=True):
            assert_same(answer, GRAPH.value_and_grad(one, output_gradients=LOSS))
    assert list(client.map(GRAPH, [])) == []
    assert capfd.readouterr() == ("", "")


def test_map_raises_at_the_input_that_is_wrong(client: graphsvc.Client):
    """After the answers before it."""
    graph = graphsvc.parse("y = sum(x)")
    answers = client.map(graph, [{"x": 1.0}, {"x": 2.0}, {"z": 1.0}, {"x": 3.0}])
    assert [next(answers)[0]["y"], next(answers)[0]["y"]] == [1, 2]
    with pytest.raises(errors.UnknownInputError):
        next(answers)


# Resident -----------------------------------------------------------------------------------------------------------


def test_residents_are_sent_once_and_left_out_of_gradients(client: graphsvc.Client):
    """They are sent when the server lacks them, and then never."""
    graph = graphsvc.parse("f = sum((data @ w - 1) ** 2)")
    data, w = values(64_000).reshape(64, 1000), values(1000, 1)
    remote = client.graph(graph, resident={"data": data})
    expected = graph.value_and_grad({"data": data, "w": w}, wrt=["w"])
    for _ in range(3):
        assert_same(remote.value_and_grad({"w": w}), expected)
    assert list(remote.value_and_grad({"w": w}, wrt=["data", "w"])[1]) == ["data", "w"]
    assert_same(remote.jvp({"w": w}, {"w": w}), graph.jvp({"data": data, "w": w}, {"w": w}))
    assert_same(remote.hvp({"w": w}, {"w": w}), graph.hvp({"data": data, "w": w}, {"w": w}, wrt=["w"]))
    data[:] = 0
    assert_same(remote.value_and_grad({"w": w}), expected)
    with pytest.raises(errors.DuplicateInputError, match="'data'"):
        remote.value_and_grad({"data": data, "w": w})
    with pytest.raises(errors.UnknownInputError, match="'date'"):
        client.graph(graph, resident={"date": data})


@pytest.mark.parametrize("size", [3, 300_000])
def test_what_the_server_forgot_is_sent_again(size: int):
    """A server that keeps little evicts; nobody who asks sees it."""
    graph = graphsvc.parse("f = sum(data * w)")
    limits = {"GRAPHSVC_RESIDENT_BYTES": str(8 * size)}
    with serving(environment=limits) as target, graphsvc.connect(target) as client:
        given = [values(size, seed) for seed in range(3)]
        remotes = [client.graph(graph, resident={"data": array}) for array in given]
        for array in given:
            # What is done to an array afterwards changes nothing.
            array[:] = 0
        for _ in range(2):
            for seed, remote in enumerate(remotes):
                inputs = {"data": values(size, seed), "w": values(size, 9)}
                assert_same(remote.value_and_grad({"w": inputs["w"]}), graph.value_and_grad(inputs, wrt=["w"]))


def test_a_resident_that_cannot_be_kept_is_refused():
    """Larger than all that the server keeps: a limit, and no endless sending."""
    graph = graphsvc.parse("f = sum(data)")
    with serving(environment={"GRAPHSVC_RESIDENT_BYTES": "100"}) as target, graphsvc.connect(target) as client:
        remote = client.graph(graph, resident={"data": values(100)})
        with pytest.raises(errors.LimitError, match="RESIDENT_BYTES"):
            remote.value_and_grad({}, wrt=[])


def test_kept_things_go_by_use_size_number_and_time(monkeypatch: pytest.MonkeyPatch):
    """The least recently used first; one that is too large never comes in."""
    kept = Kept[str](10, count=3, seconds=60)
    for name in "abc":
        kept.put(name.encode(), name, 3)
    assert kept.get(b"a") == "a"
    kept.put(b"d", "d", 3)
    assert [name for name in "abcd" if name.encode() in kept] == ["a", "c", "d"]
    kept.put(b"e", "e", 8)
    assert [name for name in "abcde" if name.encode() in kept] == ["e"]
    kept.put(b"f", "f", 11)
    assert b"f" not in kept
    assert kept.nbytes == 8
    now = __import__("time").monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + 61)
    assert kept.get(b"e") is None
    assert kept.nbytes == 0


# The wire -----------------------------------------------------------------------------------------------------------


def request(array: np.ndarray, number: int = 7, **fields: object) -> service_pb2.SessionRequest:
    """Return a question whose input is chunked if it is large."""
    evaluate = service_pb2.EvaluateRequest(
        graph=graph_from_document(graphsvc.parse("y = x").document()),
        inputs=named_tensors({"x": array}, Beside()),
        wrt=service_pb2.NameList(),
    )
    return service_pb2.SessionRequest(id=number, evaluate=evaluate, **fields)


def converse(target: str, messages: list[bytes]) -> list[service_pb2.SessionResponse]:
    """Say all that, and return all that is answered."""
    with grpc.insecure_channel(target) as channel:
        answers = channel.stream_stream(SESSION)(iter(messages), timeout=20)
        return [service_pb2.SessionResponse.FromString(answer) for answer in answers]


LARGE = values(300_000)
CHUNKS = list(chunk_messages([LARGE]))
HEAD = request(LARGE).SerializeToString()


def chunk(nbytes: int) -> bytes:
    return service_pb2.SessionRequest(chunk=bytes(nbytes)).SerializeToString()


def test_the_wire_of_a_chunked_call(target: str):
    """A request and its chunks; an answer and its chunks."""
    head, *chunks = converse(target, [HEAD, *CHUNKS])
    assert head.id == 7
    tensor = head.evaluate.outputs[0].tensor
    assert tensor.chunked
    assert not tensor.data
    assert b"".join(part.chunk for part in chunks) == LARGE.tobytes()


@pytest.mark.parametrize(
    ("messages", "code", "reason"),
    [
        ([chunk(SMALLEST_CHUNK)], "INVALID_ARGUMENT", "REQUEST_INVALID"),
        ([b""], "INVALID_ARGUMENT", "REQUEST_INVALID"),
        ([HEAD], "INVALID_ARGUMENT", "REQUEST_INVALID"),
        ([HEAD, *CHUNKS[:-1]], "INVALID_ARGUMENT", "REQUEST_INVALID"),
        ([HEAD, HEAD], "INVALID_ARGUMENT", "REQUEST_INVALID"),
        ([HEAD, *CHUNKS, CHUNKS[-1]], "INVALID_ARGUMENT", "REQUEST_INVALID"),
        ([HEAD, CHUNKS[0], CHUNKS[0], CHUNKS[0]], "INVALID_ARGUMENT", "TENSOR_INVALID"),
        ([HEAD, chunk(1)], "RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED"),
        ([HEAD, chunk(0)], "RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED"),
        ([HEAD, b"\xff" * 20], "INVALID_ARGUMENT", "MESSAGE_MALFORMED"),
    ],
    ids=[
        *("chunk for nothing", "empty", "no chunks", "a chunk missing", "request among chunks", "one too many"),
        *("too long", "too small", "nothing in it", "garbage"),
    ],
)
def test_a_session_that_cannot_go_on_ends_with_a_status(target: str, messages: list[bytes], code: str, reason: str):
    """Nothing is padded or guessed, and the server answers the next."""
    with pytest.raises(grpc.RpcError) as caught:
        converse(target, messages)
    assert caught.value.code().name == code
    status = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    assert error_from_packed(status).reason == reason
    assert converse(target, [HEAD, *CHUNKS])[0].HasField("evaluate")


def test_requests_that_are_wrong_have_answers_of_their_own(target: str):
    """In the order of their being done; those without chunks end no stream."""
    wrong = request(np.ones(3), 1)
    wrong.evaluate.inputs[0].name = "q"
    weak = request(np.ones(3), 2)
    weak.evaluate.inputs[0].weak = True
    messages = [wrong.SerializeToString(), weak.SerializeToString(), request(np.ones(3), 3).SerializeToString()]
    answers = {answer.id: answer for answer in converse(target, messages)}
    assert sorted(answers) == [1, 2, 3]
    assert error_from_packed(answers[1].status).reason == "INPUT_UNKNOWN"
    assert error_from_packed(answers[2].status).reason == "TENSOR_INVALID"
    assert answers[3].HasField("evaluate")
    assert status_pb2.Status.FromString(answers[1].status).code == 3


def test_the_chunks_of_a_refused_request_go_by(target: str):
    """It has its answer as any other has, and so has the question after it."""
    refused = request(LARGE, 1)
    refused.evaluate.graph_digest = bytes(32)
    answers = converse(target, [refused.SerializeToString(), *CHUNKS, request(values(3), 2).SerializeToString()])
    assert [answer.id for answer in answers] == [1, 2]
    assert error_from_packed(answers[0].status).reason == "GRAPH_UNKNOWN"
    np.testing.assert_array_equal(np.frombuffer(answers[1].evaluate.outputs[0].tensor.data), values(3))


def test_a_client_for_asyncio_is_told_why_its_large_question_is_refused():
    """The server's reason, though it refuses while the client is still writing."""

    async def ask(address: str) -> None:
        async with graphsvc.aio.connect(address) as client:
            for _ in range(10):
                with pytest.raises(errors.LimitError, match="max-run-bytes"):
                    await client.value_and_grad(GRAPH, {"x": values(2_000_000)}, output_gradients=LOSS)

    with serving(environment={"GRAPHSVC_MAX_RUN_BYTES": str(2**20)}) as address:
        asyncio.run(ask(address))


def test_chunks_follow_in_the_order_of_the_message(target: str):
    """Inputs, output gradients, directions: as the protocol says, for a client that is none of ours."""
    graph = graphsvc.parse("y = x ** 3")
    x, dy, x_dot = values(300_000), values(300_000, 1), values(300_000, 2)
    beside = Beside()
    asked = service_pb2.DifferentiateRequest(
        graph=graph_from_document(graph.document()),
        kind=service_pb2.DERIVATIVE_KIND_HVP,
        inputs=named_tensors({"x": x}, beside),
        output_gradients=service_pb2.NamedTensorList(tensors=named_tensors({"y": dy}, beside)),
        directions=named_tensors({"x": x_dot}, beside),
    )
    head = service_pb2.SessionRequest(id=1, differentiate=asked).SerializeToString()
    _, *chunks = converse(target, [head, *chunk_messages(beside)])
    gradients, products = graph.hvp({"x": x}, {"x": x_dot}, output_gradients={"y": dy})
    assert b"".join(part.chunk for part in chunks) == gradients["x"].tobytes() + products["x"].tobytes()


def test_a_chunked_tensor_outside_a_session_is_refused(target: str):
    """There, nothing follows."""
    data = request(LARGE).evaluate.SerializeToString()
    with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/graphsvc.v1.GraphService/Evaluate")(data, timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_more_than_may_come_is_refused_before_it_comes():
    """By what the shape says, so that a terabyte costs nobody anything."""
    huge = request(LARGE)
    huge.evaluate.inputs[0].tensor.shape[:] = [2**30, 2**7]
    with serving(environment={"GRAPHSVC_MAX_REQUEST_BYTES": "4000000"}) as target:
        assert converse(target, [HEAD, *CHUNKS])[0].HasField("evaluate")
        with pytest.raises(grpc.RpcError) as caught:
            converse(target, [huge.SerializeToString()])
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "--max-request-bytes" in caught.value.details()


def test_who_stalls_is_not_waited_for():
    """A second without a chunk ends the stream, as does a session that is silent."""
    stop = threading.Event()

    def stalling(*messages: bytes):
        yield from messages
        stop.wait(20)

    limits = {"GRAPHSVC_STALL_SECONDS": "0.3", "GRAPHSVC_SESSION_SECONDS": "0.6"}
    try:
        with serving(environment=limits) as target, grpc.insecure_channel(target) as channel:
            for messages in ((HEAD, CHUNKS[0]), ()):
                with pytest.raises(grpc.RpcError) as caught:
                    list(channel.stream_stream(SESSION)(stalling(*messages), timeout=20))
                status = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
                assert error_from_packed(status).reason == "TRANSFER_STALLED"
            with graphsvc.connect(target) as client:
                remote = client.graph(GRAPH)
                for _ in range(2):
                    remote.value_and_grad({"x": values(3)}, output_gradients=LOSS)
                    # Longer than the server bears silence: the client opens another stream by itself.
                    threading.Event().wait(1)
    finally:
        stop.set()


def test_a_chunk_is_read_without_parsing_as_it_is_parsed():
    """The short way and the long way agree, at every length of a length."""
    for nbytes in (0, 1, 127, 128, 16383, 16384, CHUNK_BYTES):
        data = bytes(nbytes)
        message = service_pb2.SessionRequest(chunk=data).SerializeToString()
        assert chunk_data(message) == data
        assert chunk_data(message + b"\x08\x01") is None
        assert chunk_data(message[:-1]) is None
    assert chunk_data(b"") is None
    assert chunk_data(b"\x32\xff\xff\xff\xff\xff\xff") is None


def test_the_digest_of_a_tensor_is_of_its_content():
    """Dtype and shape belong to it, layout does not."""
    array = values(12).reshape(3, 4)
    assert tensor_digest(array) == tensor_digest(np.asfortranarray(array))
    others = [array.reshape(4, 3), array.T, array.astype("f4"), array.view("i8"), -array, array[None]]
    assert len({tensor_digest(other) for other in (array, *others)}) == 7
    assert len({tensor_digest(np.empty((0, 3))), tensor_digest(np.empty((3, 0)))}) == 2


def test_put_tensor_over_the_wire(target: str):
    """A stock client keeps a tensor, and names it."""
    array = values(4)
    with grpc.insecure_channel(target) as channel:
        put = channel.unary_unary("/graphsvc.v1.GraphService/PutTensor")
        data = service_pb2.PutTensorRequest(tensor=tensor_from_array(array)).SerializeToString()
        kept = service_pb2.PutTensorResponse.FromString(put(data, timeout=5))
        assert kept.digest == tensor_digest(array)
        assert kept.seconds == 3600
        with pytest.raises(grpc.RpcError) as caught:
            put(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    ask = request(array)
    del ask.evaluate.inputs[:]
    ask.evaluate.residents.add(name="x", digest=kept.digest)
    (answer,) = converse(target, [ask.SerializeToString()])
    assert answer.evaluate.outputs[0].tensor.data == array.tobytes()
    ask.evaluate.residents.add(name="x", digest=kept.digest)
    (answer,) = converse(target, [ask.SerializeToString()])
    assert error_from_packed(answer.status).reason == "INPUT_DUPLICATE"
    ask.evaluate.residents[0].digest = b"no"
    (answer,) = converse(target, [ask.SerializeToString()])
    assert error_from_packed(answer.status).reason == "RESIDENT_UNKNOWN"


def test_a_closed_client_leaves_no_thread(target: str):
    """Neither one of ours nor one of gRPC."""
    others = threading.enumerate()
    for _ in range(3):
        with graphsvc.connect(target) as client:
            client.graph(GRAPH).value_and_grad({"x": values(3)}, output_gradients=LOSS)
    left = [thread for thread in threading.enumerate() if thread not in others]
    for thread in left:
        thread.join(10)
    assert not [thread for thread in left if thread.is_alive()]
