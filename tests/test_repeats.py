"""Questions that are asked again about other numbers: answered as bytes, and yet as if nobody knew them."""

import asyncio
import operator
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import graphsvc
import graphsvc.aio
from graphsvc import errors
from graphsvc.arrays import DTYPES
from graphsvc.engine.registry import default_registry
from graphsvc.serving.calls import Call, Calls, Reply
from graphsvc.serving.repeats import Repeats
from graphsvc.serving.service import Service
from graphsvc.serving.settings import Settings
from graphsvc.serving.stop import Stop
from graphsvc.testing import serving
from graphsvc.v1 import service_pb2
from graphsvc.wire.chunks import CHUNKED_BYTES
from graphsvc.wire.codec import graph_from_document, named_arrays, named_tensors
from graphsvc.wire.forms import Form
from graphsvc.wire.frames import Frame, framed, unframed

NUMBERS = [dtype for name, dtype in DTYPES.items() if name != "bool"]


@st.composite
def twins(draw: st.DrawFn) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Two sets of arrays with the same names, shapes and dtypes, and any elements."""
    names = draw(st.lists(st.text("abc\xff\x00", min_size=1, max_size=40), min_size=1, max_size=4, unique=True))
    kinds = {
        name: (draw(st.sampled_from(NUMBERS)), draw(hnp.array_shapes(min_dims=0, max_dims=3, max_side=7)))
        for name in names
    }
    one, other = ({n: draw(hnp.arrays(dtype, shape)) for n, (dtype, shape) in kinds.items()} for _ in range(2))
    return one, other


def request(arrays: dict[str, np.ndarray], **fields: object) -> service_pb2.EvaluateRequest:
    return service_pb2.EvaluateRequest(graph_digest=bytes(range(32)), inputs=named_tensors(arrays), **fields)


def form_of(message: service_pb2.EvaluateRequest) -> Form | None:
    return Form.of(message, [named.tensor for named in message.inputs])


# Forms --------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(twins())
def test_a_form_writes_and_reads_as_the_parser_does(arrays):
    """Whatever the elements are that it was made of, which stay as they were."""
    one, other = arrays
    message = request(one)
    before = message.SerializeToString()
    form = form_of(message)
    assert message.SerializeToString() == before
    data = form.write(other.values())
    assert data == request(other).SerializeToString()
    parsed = named_arrays(service_pb2.EvaluateRequest.FromString(data).inputs, "Input")
    for array, expected in zip(form.read(data), parsed.values(), strict=True):
        assert (array.dtype, array.shape, array.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
        assert not array.flags.writeable


@settings(deadline=None)
@given(twins(), st.data())
def test_a_form_reads_nothing_that_differs_in_more_than_elements(arrays, data):
    """Any byte: what is read with one changed is what the parser reads, with the same names, or nothing."""
    form = form_of(request(arrays[0]))
    changed = bytearray(request(arrays[1]).SerializeToString())
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= data.draw(st.integers(1, 255))
    read = form.read(bytes(changed))
    if read is not None:
        message = service_pb2.EvaluateRequest.FromString(bytes(changed))
        assert request(named_arrays(message.inputs, "Input")) == message
        assert list(arrays[0]) == [named.name for named in message.inputs]
        assert [named.tensor.data for named in message.inputs] == [array.tobytes() for array in read]
    assert form.read(bytes(changed[:-1])) is None
    assert form.read(bytes(changed) + b"\x00") is None


@settings(deadline=None)
@given(twins(), st.data())
def test_a_form_writes_no_arrays_of_another_kind(arrays, data):
    """Another shape, or another dtype, even of as many bytes."""
    one = arrays[0]
    form = form_of(request(one))
    name = data.draw(st.sampled_from(list(one)))
    array = one[name]
    for other in (array[np.newaxis], np.zeros(array.shape, "i4" if array.dtype == np.float32 else "f4")):
        assert form.write((one | {name: other}).values()) is None


@pytest.mark.parametrize(
    "array", [np.zeros(0), np.array([True]), np.zeros(CHUNKED_BYTES // 8)], ids=["none", "bool", "large"]
)
def test_what_has_no_form(array: np.ndarray):
    """Elements that are none, that are judged one by one, or that take their time."""
    assert form_of(request({"x": np.zeros(1), "y": array})) is None


def test_what_is_kept_of_a_message_is_little():
    """Elsewhere nobody counts it."""
    assert form_of(request({f"{i:0>100}": np.zeros(1) for i in range(20)}))
    assert form_of(request({f"{i:0>100}": np.zeros(1) for i in range(60)})) is None


# Frames -------------------------------------------------------------------------------------------------------------

NUMBER = st.integers(0, 2**32 - 1)
REQUESTS = st.builds(
    Frame, NUMBER, st.just("evaluate"), twins().map(lambda pair: request(pair[0]).SerializeToString()), st.none()
)
CHUNKS = st.builds(Frame, NUMBER, st.just("chunk"), st.binary(max_size=300), st.none() | NUMBER)


def parsed(data: bytes) -> Frame:
    """Return a message as the parser sees it."""
    message = service_pb2.SessionRequest.FromString(data)
    kind = message.WhichOneof("request")
    part = getattr(message, kind) if kind else b""
    timeout = message.timeout_ms if message.HasField("timeout_ms") else None
    return Frame(message.id, kind, part if isinstance(part, bytes) else part.SerializeToString(), timeout)


@settings(deadline=None)
@given(REQUESTS | CHUNKS)
def test_a_frame_is_what_the_parser_sees(frame: Frame):
    """Written here and parsed there, or written there and read here."""
    data = framed(service_pb2.SessionRequest, frame)
    assert parsed(data) == unframed(service_pb2.SessionRequest, data) == frame
    # Others leave an id of 0 away.
    assert (
        unframed(service_pb2.SessionRequest, service_pb2.SessionRequest.FromString(data).SerializeToString()) == frame
    )


@settings(deadline=None)
@given(CHUNKS, st.data())
def test_a_damaged_frame_is_what_the_parser_sees_or_left_to_it(frame: Frame, data):
    """Whichever byte of its head is another."""
    message = bytearray(framed(service_pb2.SessionRequest, frame))
    message[data.draw(st.integers(0, len(message) - len(frame.body) - 1))] = data.draw(st.integers(0, 255))
    read = unframed(service_pb2.SessionRequest, bytes(message))
    if read is not None and read.kind == "chunk":
        assert parsed(bytes(message)) == read


def test_numbers_longer_than_they_may_be_are_left_to_the_parser():
    """It takes the bits that it has room for."""
    for field in (b"\x08", b"\x10"):
        assert unframed(service_pb2.SessionRequest, field + b"\xff" * 9 + b"\x7f\x32\x00") is None


# In a server ----------------------------------------------------------------------------------------------------------

GRAPH = graphsvc.parse("f = sum(x ** 2) * k + sum(y); n = x * 0 + z")


@pytest.fixture(scope="module")
def service() -> Service:
    return Service(default_registry(), {}, Settings())


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with serving() as address:
        yield address


def answered(service: Service, message: service_pb2.EvaluateRequest) -> bytes:
    """Answer a request as the server does, unless it is known."""
    calls = Calls(service, Settings())
    try:
        reply = asyncio.run(calls.answer(Call(message, message.ByteSize(), service.serialized, Stop(60))))
    finally:
        calls.close()
    assert isinstance(reply, Reply)
    return reply.message


def repeated(service: Service, message: service_pb2.EvaluateRequest) -> bytes:
    """Ask until the question is known by its bytes: one of many numbers has to be seen to take no time."""
    for _ in range(100):
        if (known := service.repeated(message.SerializeToString())) is not None:
            return known
        answered(service, message)
    pytest.fail("It was never known.")


def sent(service: Service, text: str) -> bytes:
    """Give a server a graph, and return its digest."""
    return service.graph_by_value(graph_from_document(graphsvc.parse(text).document()), lambda: None)[0]


@pytest.mark.parametrize("size", [5, CHUNKED_BYTES // 8 - 2], ids=["few", "as many as go in a message"])
def test_a_repeated_question_is_answered_with_the_same_bytes(service: Service, size: int):
    """From the third time on without being parsed, many numbers where it was seen that they take no time."""
    digest = sent(service, "f = sum((x - 1) ** 2) + k")
    for seed in range(6):
        x = np.resize([np.nan, np.inf, -0.0, 1e308, seed], size)
        message = request({"x": x, "k": np.array(float(seed))}, wrt=service_pb2.NameList(names=["x"]))
        message.graph_digest = digest
        known = service.repeated(message.SerializeToString())
        assert size > 5 or (known is None) == (seed < 2)
        assert known in (None, answered(service, message))
    assert repeated(service, message) == answered(service, message)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c16"])
def test_a_sum_has_the_same_bits_wherever_its_elements_stand_in_a_message(service: Service, dtype: str):
    """NumPy adds up more than 8192 elements at odd addresses in another order."""
    x = np.random.default_rng(1).normal(size=9000).astype(dtype)
    for length in range(1, 17):
        name = "x" * length
        message = request({name: x}, wrt=service_pb2.NameList())
        message.graph_digest = sent(service, f"f = sum({name})")
        assert answered(service, message) == repeated(service, message)


def test_questions_that_are_alike_are_told_apart(service: Service):
    """As many bytes, and other names, shapes, dtypes, orders, or gradients."""
    digest = sent(service, "f = sum(x) + 2 * sum(y)")
    three, two = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0])
    alike = [
        request({"x": three, "y": two}, wrt=service_pb2.NameList(names=["x"])),
        request({"x": three, "y": two}, wrt=service_pb2.NameList(names=["y"])),
        request({"x": two, "y": three}, wrt=service_pb2.NameList(names=["x"])),
        request({"y": two, "x": three}, wrt=service_pb2.NameList(names=["x"])),
        request({"x": three, "y": two.view("i8")}, wrt=service_pb2.NameList(names=["x"])),
        request({"x": three, "y": two.view("u8")}, wrt=service_pb2.NameList(names=["x"])),
    ]
    for message in alike:
        message.graph_digest = digest
    expected = [answered(service, message) for message in alike]
    assert len(set(expected)) > 3
    for _ in range(4):
        for message, answer in zip(alike, expected, strict=True):
            known = service.repeated(message.SerializeToString())
            assert known in (None, answer)
            assert answered(service, message) == answer
    assert service.repeated(alike[0].SerializeToString()) == expected[0]


def test_numbers_that_take_their_time_keep_nobody_waiting_again():
    """After them it is half as many that take none, until more were seen to."""

    def compute() -> None:
        end = time.thread_time() + 0.01
        while time.thread_time() < end:
            pass

    repeats = Repeats()
    for answer, quick in [(lambda: None, 100_000), (compute, 50_000), (lambda: None, 100_000)]:
        repeats.timed(100_000, answer)
        assert repeats.are_quick(quick)
        assert not repeats.are_quick(quick + 1)
    for _ in range(9):
        repeats.timed(5_000, compute)
    assert repeats.are_quick(1000)


@pytest.mark.parametrize("field", ["inputs", "residents", "output_gradients.tensors", "wrt.names", "outputs.names"])
def test_what_is_long_to_read_keeps_nobody_waiting(service: Service, field: str):
    """It is left to a thread, whatever it is that there is much of."""
    message = request({"x": np.ones(3)}, wrt=service_pb2.NameList(names=["x"]))
    message.graph_digest = sent(service, "f = sum(x)")
    answered(service, message)
    assert service.is_small(message, 1)
    part = operator.attrgetter(field)(message)
    part.extend(["x"] * 300 if field.endswith("names") else [type(part.add())()] * 300)
    assert not service.is_small(message, 1)


@pytest.mark.parametrize(
    "text",
    [f"f = concatenate({', '.join(f'x{i}' for i in range(300))})", "; ".join(f"y{i} = x" for i in range(300))],
    ids=["inputs", "outputs"],
)
def test_a_graph_of_many_tensors_keeps_nobody_waiting(text: str):
    """With few gate nodes, too."""
    service = Service(default_registry(), {}, Settings(max_outputs=1000))
    message = service_pb2.EvaluateRequest(graph_digest=sent(service, text))
    assert not service.is_small(message, 1)


def test_a_forgotten_graph_is_not_repeated():
    """What a server knows of questions goes with their graph."""
    small = Service(default_registry(), {}, Settings(cached_graphs=1))
    message = request({"x": np.ones(3)})
    message.graph_digest = sent(small, "f = sum(x)")
    for _ in range(3):
        answered(small, message)
    assert small.repeated(message.SerializeToString())
    sent(small, "f = sum(2 * x)")
    assert small.repeated(message.SerializeToString()) is None


# Over the wire --------------------------------------------------------------------------------------------------------


def asked(target: str, way: str, ask: Callable[..., object]) -> None:
    """Do something with each kind of client, `call` being what asks it for value and gradient."""
    if way.startswith("asyncio"):
        with asyncio.Runner() as runner:
            client = graphsvc.aio.connect(target)
            of = client.graph if way.endswith("session") else None
            ask(lambda graph, *a, **k: runner.run(_awaited(client, graph, of, a, k)))
            runner.run(client.close())
        return
    with graphsvc.connect(target) as blocking:
        if way == "session":
            ask(lambda graph, *a, **k: blocking.graph(graph).value_and_grad(*a, **k))
        else:
            ask(blocking.value_and_grad)


async def _awaited(client, graph, of, arguments, named):
    if of:
        return await of(graph).value_and_grad(*arguments, **named)
    return await client.value_and_grad(graph, *arguments, **named)


WAYS = ["unary", "session", "asyncio", "asyncio session"]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_asked_again_gives_the_same_bits_as_in_process(target: str, way: str):
    """Numbers, arrays of any layout and dtype, with and without wrt and outputs, in turns; and all is writable."""
    graph = graphsvc.parse("f = sum(x * y) * k; g = x + z")
    rng = np.random.default_rng(0)

    def questions(number: int) -> Iterator[tuple[dict[str, object], dict[str, object]]]:
        square = rng.normal(size=(3, 3))
        for x in (square, square.T, square[::-1], square.astype("f4"), np.asfortranarray(square)):
            for k in (float(number), number, np.float32(number), np.array(2.0 * number)):
                inputs = {"x": x, "y": rng.normal(size=3), "k": k, "z": x[0] if x is square else x[0] > 0}
                yield inputs, {"outputs": ["f"]}
                yield dict(reversed(inputs.items())), {"outputs": ("f",), "wrt": ["y", "k"]}
                yield inputs, {"wrt": [], "outputs": ["g", "f"]}

    def ask(call: Callable[..., object]) -> None:
        for number in range(4):
            for inputs, more in questions(number):
                if isinstance(inputs["k"], int) and "wrt" in more and "k" in more["wrt"]:
                    continue
                outputs, gradients = call(graph, inputs, **more)
                # The order of a sum is that of the elements, which a server is given in C order.
                laid = {n: v.copy(order="C") if isinstance(v, np.ndarray) else v for n, v in inputs.items()}
                expected, theirs = graph.value_and_grad(laid, **more)
                assert (list(outputs), list(gradients)) == (list(expected), list(theirs))
                assert gradients.disconnected == theirs.disconnected
                for name, array in [*outputs.items(), *gradients.items()]:
                    other = (expected if name in expected else theirs)[name]
                    assert (array.dtype, array.shape, array.tobytes()) == (other.dtype, other.shape, other.tobytes())
                    array[...] = 0

    asked(target, way, ask)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_wrong_with_the_numbers_is_told_each_time(target: str, way: str):
    """Before and after questions that were answered."""
    graph = graphsvc.parse("f = sum(solve(a, b))")

    def ask(call: Callable[..., object]) -> None:
        for _ in range(4):
            outputs, _ = call(graph, {"a": np.eye(2), "b": np.ones(2)})
            assert outputs["f"] == 2
            with pytest.raises(errors.GateDataError, match="singular"):
                call(graph, {"a": np.zeros((2, 2)), "b": np.ones(2)})
            with pytest.raises(errors.MissingInputError):
                call(graph, {"a": np.eye(2)})
            with pytest.raises(errors.UnknownInputError):
                call(graph, {"a": np.eye(2), "c": np.ones(2)})

    asked(target, way, ask)


@pytest.mark.parametrize("way", WAYS)
def test_a_graph_that_changes_is_another(target: str, way: str):
    """A client looks at what the graph is now."""
    graph = graphsvc.parse("f = sum(x)")

    def ask(call: Callable[..., object]) -> None:
        for _ in range(3):
            assert call(graph, {"x": np.ones(3)})[0] == {"f": 3}
        graph.output("g", graph.add("exp", 0.0))
        for _ in range(3):
            assert call(graph, {"x": np.ones(3)}, outputs=None, output_gradients={"f": 1.0})[0] == {"f": 3, "g": 1}
            with pytest.raises(errors.OutputGradientError):
                call(graph, {"x": np.ones(3)})

    asked(target, way, ask)


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_forgot_the_graph_is_sent_it_again(way: str):
    """Also where the question is known by its bytes."""
    graphs = [graphsvc.parse(f"f = sum({factor} * x)") for factor in (2, 3)]

    def ask(call: Callable[..., object]) -> None:
        for number in range(12):
            which = number // 3 % 2
            assert call(graphs[which], {"x": np.ones(3)})[0] == {"f": 3 * (which + 2)}

    with serving(environment={"GRAPHSVC_CACHED_GRAPHS": "1"}) as address:
        asked(address, way, ask)
