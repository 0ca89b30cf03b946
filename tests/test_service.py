"""The service over a real network: what a server promises, and what clients do by themselves."""

import asyncio
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import graphsvc
from graphsvc import ComputationalGraph, errors
from graphsvc.engine.description import describe_gate
from graphsvc.engine.registry import default_registry
from graphsvc.serving.calls import Calls
from graphsvc.serving.service import Service
from graphsvc.serving.settings import Settings
from graphsvc.serving.stop import Stop
from graphsvc.serving.work import NO_RUN, Work
from graphsvc.testing import serving
from graphsvc.v1 import service_pb2, service_pb2_grpc
from graphsvc.wire.codec import graph_from_document, named_tensors
from tests.planted import FAULTY_GATES, install

EVALUATE = "/graphsvc.v1.GraphService/Evaluate"
GRAPH = graphsvc.parse("f = (x + y) * z")
INPUTS = {"x": -2.0, "y": 5.0, "z": -4.0}
GRADIENTS = {"x": -4.0, "y": -4.0, "z": 3.0}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with gates that fail in every way."""
    folder = tmp_path_factory.mktemp("faulty")
    install(folder, "faulty", FAULTY_GATES)
    with serving("--threads", "4", path=[folder]) as target:
        yield target


@pytest.fixture
def ticking(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server of four threads, and a file that grows with every gate `faulty.tick` that runs there."""
    install(tmp_path, "faulty", FAULTY_GATES)
    ticks = tmp_path / "ticks"
    ticks.touch()
    with serving("--threads", "4", path=[tmp_path], environment={"TICKS": str(ticks)}) as target:
        yield target, ticks


def chain(gate: str, count: int) -> ComputationalGraph:
    """Return a chain of gates."""
    graph = ComputationalGraph()
    node = graph.input("x")
    for _ in range(count):
        node = graph.add(gate, node)
    graph.output("f", node)
    return graph


# Clients ------------------------------------------------------------------------------------------------------------


def test_a_graph_is_sent_once_and_then_by_its_digest(target: str):
    """The digest is the server's; a server that forgets is sent the graph again, unseen."""
    with serving(environment={"GRAPHSVC_CACHED_GRAPHS": "1"}) as forgetful, graphsvc.connect(forgetful) as client:
        other = graphsvc.parse("f = x * 2")
        for _ in range(3):
            assert client.value_and_grad(GRAPH, INPUTS)[1] == GRADIENTS
            assert client.value_and_grad(other, {"x": 1.0})[1] == {"x": 2.0}
        assert {mine: known.digest for mine, known in client._known.items()} == {
            g.digest(): g.digest() for g in (GRAPH, other)
        }


def test_many_threads_share_a_client(client: graphsvc.Client):
    """Each gets the answer to its own question."""
    graph = graphsvc.parse("f = sum(x * x)")

    def ask(i: int) -> bool:
        outputs, gradients = client.value_and_grad(graph, {"x": np.full(10, float(i))})
        return outputs["f"] == 10.0 * i * i and bool(np.all(gradients["x"] == 2.0 * i))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


def test_a_client_can_be_pickled(client: graphsvc.Client):
    """The copy opens a connection of its own."""
    with pickle.loads(pickle.dumps(client)) as copy:  # noqa: S301 - our own bytes
        assert copy.value_and_grad(GRAPH, INPUTS)[1] == GRADIENTS
    again = pickle.loads(pickle.dumps(graphsvc.aio.connect("localhost:1")))  # noqa: S301 - our own bytes
    assert again.target == "localhost:1"


def test_a_client_works_in_an_event_loop(target: str):
    """The asyncio client asks many questions at once, and works in one event loop after another."""
    graph = graphsvc.parse("f = sum(x * x)")
    client = graphsvc.aio.connect(target)

    async def main() -> None:
        async with client:
            answers = await asyncio.gather(
                *(client.value_and_grad(graph, {"x": np.full(3, float(i))}) for i in range(50))
            )
            for i, (outputs, gradients) in enumerate(answers):
                assert outputs["f"] == 3.0 * i * i
                np.testing.assert_array_equal(gradients["x"], np.full(3, 2.0 * i))
            with pytest.raises(errors.MissingInputError):
                await client.graph(graph).value_and_grad({})
            with pytest.raises(errors.UnknownGateError):
                await client.value_and_grad(graphsvc.parse("f = nope(x)"), {"x": 1.0})
            assert len(await client.gates()) == len(default_registry().gates())
            assert (await client.server_info()).version == graphsvc.__version__
            assert (await client.describe_gate("exp")).gate.name == "exp"

    for _ in range(2):
        asyncio.run(main())


def test_the_asyncio_client_sends_a_forgotten_graph_again():
    """As the other client does."""

    async def main(target: str) -> None:
        async with graphsvc.aio.connect(target) as client:
            for _ in range(2):
                assert (await client.value_and_grad(GRAPH, INPUTS))[1] == GRADIENTS
                assert (await client.value_and_grad(graphsvc.parse("f = x"), {"x": 1.0}))[1] == {"x": 1.0}

    with serving(environment={"GRAPHSVC_CACHED_GRAPHS": "1"}) as target:
        asyncio.run(main(target))


def test_results_of_a_server_may_be_written_to(client: graphsvc.Client):
    """Outputs and gradients are writable arrays in C order; disconnected inputs are flagged."""
    outputs, gradients = client.value_and_grad(
        graphsvc.parse("f = transpose(x); g = y"),
        {"x": np.ones((2, 3)), "y": 1.0},
        output_gradients={"f": np.ones((3, 2))},
    )
    outputs["f"] += 1
    gradients["x"] += 1
    assert outputs["f"].flags.c_contiguous
    assert gradients.disconnected == ("y",)


def test_output_gradients_given_as_python_numbers_take_the_dtype_of_the_output(client: graphsvc.Client):
    """Remote as in process, for numbers and lists."""
    graph = graphsvc.parse("f = x * 2")
    for ask in (graph.value_and_grad, client.graph(graph).value_and_grad):
        with pytest.raises(errors.DtypeError, match="do not fit float32"):
            ask({"x": np.float32(1)}, output_gradients={"f": 16777217})
    for x, seed in ((np.float32(1), 3.0), (np.float32(1), 3), (np.ones(2, np.float16), [1.0, 2.0])):
        here = graph.value_and_grad({"x": x}, output_gradients={"f": seed})
        there = client.value_and_grad(graph, {"x": x}, output_gradients={"f": seed})
        assert here[1]["x"].dtype == there[1]["x"].dtype == x.dtype
        np.testing.assert_array_equal(here[1]["x"], there[1]["x"])


# The server ---------------------------------------------------------------------------------------------------------


def test_the_server_lists_its_gates(client: graphsvc.Client):
    """ListGates says of each gate what a client without it needs to know."""
    gates = {gate.name: gate for gate in client.gates()}
    assert set(gates) == set(default_registry().gates())
    matmul = gates["matmul"]
    assert list(matmul.operands) == ["x", "y"]
    assert matmul.version == 1
    assert "Matrix product" in matmul.documentation
    assert list(gates["take"].differentiable_operands) == ["x"]
    assert '"axis"' in gates["sum"].attributes_schema
    assert gates["concatenate"].variadic


def test_the_server_describes_a_gate(client: graphsvc.Client):
    """DescribeGate says of one gate, which the client need not have, all that `graphsvc gates NAME` says here."""
    found = client.describe_gate("softmax")
    here = describe_gate("softmax")
    assert found.gate == next(gate for gate in client.gates() if gate.name == "softmax")
    assert (found.plugin, found.plugin_version) == ("graphsvc", graphsvc.__version__)
    assert found.example.startswith("softmax(x")
    assert {o.name: o.spec for o in found.example_operands} == here.example_operands
    assert (found.fuses, found.reason) == (here.fuses, here.reason)
    assert not found.elementwise
    assert client.describe_gate("exp").elementwise
    assert client.describe_gate("exp").fuses
    assert list(client.describe_gate("take").integer_operands) == ["indices"]
    assert list(client.describe_gate("floor").disconnected_operands) == ["x"]
    with pytest.raises(errors.UnknownGateError, match="Did you mean 'softmax'"):
        client.describe_gate("softmaxx")


def test_a_gate_that_cannot_be_described_is_the_fault_of_its_author(faulty: str):
    """INTERNAL, with its name; one without examples is described all the same."""
    with graphsvc.connect(faulty) as client:
        with pytest.raises(errors.GateError, match="^Gate 'faulty.odd' failed. The server's log"):
            client.describe_gate("faulty.odd")
        found = client.describe_gate("faulty.sleep")
        assert (found.gate.name, found.example, found.HasField("fuses")) == ("faulty.sleep", "", False)
        assert (found.plugin, found.plugin_version) == ("planted-faulty", "1.5")


def test_the_server_says_what_it_is(client: graphsvc.Client):
    """GetServerInfo gives version, dtypes and limits."""
    info = client.server_info()
    limits = {limit.name: limit.value for limit in info.limits}
    assert info.version == graphsvc.__version__
    assert limits["max_message_bytes"] == 64 * 2**20
    assert limits["max_nodes"] == 100_000
    assert len(info.dtypes) == 14


def test_health_and_reflection_answer(target: str):
    """Stock tools find the service, its methods and its health."""
    with grpc.insecure_channel(target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "graphsvc.v1.GraphService"):
            assert health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status == 1
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "graphsvc.v1.GraphService" in database.get_services()
        descriptor = database.FindFileContainingSymbol("graphsvc.v1.GraphService")
        assert [method.name for method in descriptor.service[0].method] == [
            "Evaluate",
            "Differentiate",
            "PutTensor",
            "Session",
            "ListGates",
            "DescribeGate",
            "GetServerInfo",
        ]


def test_reflection_can_be_switched_off():
    """A setting of the environment."""
    with serving(environment={"GRAPHSVC_REFLECTION": "false"}) as target, grpc.insecure_channel(target) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def send(channel: grpc.Channel, method: str, data: bytes) -> None:
    """Send bytes to a method, whatever its kind, and wait for the end of the call."""
    if method.endswith("Watch"):
        list(channel.unary_stream(method)(data, timeout=5))
    elif method.endswith(("ReflectionInfo", "Session")):
        list(channel.stream_stream(method)(iter([data]), timeout=5))
    else:
        channel.unary_unary(method)(data, timeout=5)


@pytest.mark.parametrize(
    "method",
    [
        "/graphsvc.v1.GraphService/Differentiate",
        "/graphsvc.v1.GraphService/PutTensor",
        "/graphsvc.v1.GraphService/Session",
        "/graphsvc.v1.GraphService/ListGates",
        "/graphsvc.v1.GraphService/DescribeGate",
        "/graphsvc.v1.GraphService/GetServerInfo",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_garbage_to_any_method_is_an_invalid_argument(target: str, method: str):
    """No RPC answers garbage with UNKNOWN, health and reflection neither."""
    with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError) as caught:
        send(channel, method, b"\xff" * 20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_no_method_escapes_the_law_of_garbage():
    """Every RPC of the service is tried with garbage: Evaluate among the bad input, the others above."""
    methods = service_pb2.DESCRIPTOR.services_by_name["GraphService"].methods_by_name
    tried = {"Evaluate", "Differentiate", "PutTensor", "Session", "ListGates", "DescribeGate", "GetServerInfo"}
    assert set(methods) == tried


@pytest.mark.parametrize(
    "gate",
    [
        *("value", "leave", "interrupt", "generator", "cancel", "abort", "memory", "stop", "unprintable", "huge"),
        *("contract", "returner", "inferer"),
    ],
)
def test_a_gate_that_fails_is_internal_and_tells_nothing(faulty: str, gate: str, capfd: pytest.CaptureFixture[str]):
    """Whatever a gate raises, the call ends with INTERNAL, the client sees no text of it, and the server goes on."""
    graph = chain(f"faulty.{gate}", 1)
    with graphsvc.connect(faulty) as client:
        with pytest.raises(errors.GraphsvcError) as caught:
            client.value_and_grad(graph, {"x": 1.0})
        assert caught.value.reason in ("GATE_FAILED", "GATE_CONTRACT_BROKEN", "SERVER_FAILED")
        assert "secret" not in caught.value.message
        assert not re.search("Error|Secret", caught.value.message)
        if caught.value.reason == "GATE_FAILED":
            assert (caught.value.gate, caught.value.node) == (f"faulty.{gate}", f"faulty.{gate}.1")
        assert client.value_and_grad(GRAPH, INPUTS)[1] == GRADIENTS
    request = service_pb2.EvaluateRequest(
        graph=graph_from_document(graph.document()), inputs=named_tensors({"x": np.ones(())})
    )
    with grpc.insecure_channel(faulty) as channel, pytest.raises(grpc.RpcError) as raw:
        service_pb2_grpc.GraphServiceStub(channel).Evaluate(request, timeout=10)
    assert raw.value.code() is grpc.StatusCode.INTERNAL
    assert all(b"secret" not in value for _, value in raw.value.trailing_metadata() if isinstance(value, bytes))


def test_data_that_a_gate_refuses_is_told_with_its_own_message(faulty: str):
    """GateDataError of a plugin is INVALID_ARGUMENT, with the author's words."""
    with graphsvc.connect(faulty) as client:
        with pytest.raises(errors.GateDataError, match="x must be positive"):
            client.value_and_grad(chain("faulty.data", 1), {"x": 1.0})
        with pytest.raises(errors.GateDataError, match="x is bad") as caught:
            client.value_and_grad(chain("faulty.facts", 1), {"x": 1.0})
        assert caught.value.facts["index"] == "3"
        with pytest.raises(errors.GateDataError, match=r"x is bad \?"):
            client.value_and_grad(chain("faulty.surrogate", 1), {"x": 1.0})


def test_the_words_of_a_validator_stay_on_the_server(faulty: str):
    """An attribute that a plugin's own validator refuses is INVALID_ARGUMENT, without its text."""
    graph = graphsvc.parse("f = faulty.checked(x, n=1)")
    with (
        graphsvc.connect(faulty) as client,
        pytest.raises(errors.AttributeValueError, match="'n' does not take 1") as e,
    ):
        client.value_and_grad(graph, {"x": 1.0})
    assert "secret" not in e.value.message


def test_a_gate_that_cannot_be_described_takes_the_list_from_nobody(faulty: str):
    """It is left out; the others are listed."""
    with graphsvc.connect(faulty) as client:
        names = {gate.name for gate in client.gates()}
    assert "faulty.sleep" in names
    assert "faulty.odd" not in names


def test_a_gate_that_hangs_does_not_keep_a_server_that_stops(tmp_path: Path):
    """SIGTERM ends it after the drain, whatever runs."""
    install(tmp_path, "faulty", FAULTY_GATES)
    command = [sys.executable, "-m", "graphsvc", "serve", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "GRAPHSVC_DRAIN_SECONDS": "0.5"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        target = process.stdout.readline().split()[-1]
        with graphsvc.connect(target) as client, pytest.raises(errors.DeadlineError):
            client.value_and_grad(chain("faulty.long", 1), {"x": 3.0}, timeout=1.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_closing_a_client_during_its_calls_is_told(faulty: str):
    """The calls end with an error of ours, in threads and in an event loop, where no task is cancelled by it."""
    graph = chain("faulty.sleep", 20)
    client = graphsvc.connect(faulty)
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(client.value_and_grad, graph, {"x": 1.0})
        time.sleep(0.5)
        client.close()
        with pytest.raises(errors.StoppedError):
            call.result()

    async def main() -> None:
        client = graphsvc.aio.connect(faulty)
        task = asyncio.create_task(client.value_and_grad(graph, {"x": 1.0}))
        await asyncio.sleep(0.5)
        await client.close()
        with pytest.raises(errors.StoppedError):
            await task

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [float("nan"), -1, "soon"])
def test_a_timeout_that_is_none_is_refused(timeout):
    """Infinity and absurdly long ones are any time."""
    with pytest.raises(errors.RequestError, match="no timeout"):
        graphsvc.connect("localhost:1", timeout=timeout)
    assert graphsvc.connect("localhost:1", timeout=float("inf")).timeout is None


def test_an_absurdly_long_timeout_is_no_expired_one(client: graphsvc.Client):
    """Ten thousand years are not zero seconds."""
    assert client.value_and_grad(GRAPH, INPUTS, timeout=1e30)[1] == GRADIENTS


def ticks_once_idle(target: str, ticks: Path) -> int:
    """Return how many gates have ticked, once the server's four threads have taken four calls more."""
    with graphsvc.connect(target) as client, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: client.value_and_grad(chain("faulty.sleep", 1), {"x": 1.0}), range(4)))
    return ticks.stat().st_size


def test_an_expired_deadline_stops_between_gates(ticking: tuple[str, Path]):
    """The calls end with DEADLINE_EXCEEDED, and their graphs stop on the way."""
    target, ticks = ticking
    with graphsvc.connect(target) as client, ThreadPoolExecutor(4) as pool:
        graph = chain("faulty.tick", 50)
        calls = [pool.submit(client.value_and_grad, graph, {"x": 1.0}, timeout=0.7) for _ in range(4)]
        for call in calls:
            with pytest.raises(errors.DeadlineError):
                call.result()
    assert 0 < ticks_once_idle(target, ticks) < 4 * 50


def test_a_cancelled_call_stops_between_gates(ticking: tuple[str, Path]):
    """When a client goes away, its graph stops at the next gate."""
    target, ticks = ticking

    async def main() -> None:
        async with graphsvc.aio.connect(target) as client:
            graph = chain("faulty.tick", 50)
            tasks = [asyncio.create_task(client.value_and_grad(graph, {"x": 1.0})) for _ in range(4)]
            while not ticks.stat().st_size:
                await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)

    asyncio.run(main())
    assert 0 < ticks_once_idle(target, ticks) < 4 * 50


def test_the_server_limits_the_time_of_a_call_without_deadline(tmp_path: Path):
    """`max_seconds` holds whatever the client says."""
    install(tmp_path, "faulty", FAULTY_GATES)
    with (
        serving(path=[tmp_path], environment={"GRAPHSVC_MAX_SECONDS": "0.5"}) as target,
        graphsvc.connect(target, timeout=None) as client,
        pytest.raises(errors.DeadlineError, match="deadline passed"),
    ):
        client.value_and_grad(chain("faulty.sleep", 50), {"x": 1.0})


def test_the_event_loop_is_free_while_graphs_run(faulty: str):
    """Health answers at once while all threads are busy."""
    with graphsvc.connect(faulty) as client, ThreadPoolExecutor(4) as pool, grpc.insecure_channel(faulty) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        calls = [pool.submit(client.value_and_grad, chain("faulty.sleep", 5), {"x": 1.0}) for _ in range(8)]
        answered = 0
        while not all(call.done() for call in calls):
            assert stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status == 1
            answered += 1
        assert answered > 10


@pytest.mark.skipif(sys.platform != "linux", reason="threads elsewhere have no nice value of their own")
def test_threads_that_read_and_run_graphs_give_way_to_the_event_loop():
    """They are nicer than the thread of the loop, whose own nice value stays as it was."""

    def niceness(*_: object) -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    async def found() -> list[int]:
        settings = Settings()
        calls = Calls(Service(default_registry(), {}, settings), settings)
        reply = await calls.run(Work(NO_RUN, 0, None, niceness), lambda nice: str(nice).encode(), Stop(60))
        read = await calls.in_reader(niceness)
        calls.close()
        return [niceness(), int(reply.message), read]

    before = niceness()
    loop, run, read = asyncio.run(found())
    assert loop == before < run == read


@pytest.mark.parametrize(
    ("limit", "expression"),
    [
        ("NODES", "f = -x + -x"),
        ("OPERANDS", "f = concatenate(x, x, x)"),
        ("TENSORS", "f = x + 1 + 2 + 3"),
        ("OUTPUTS", "f = x; g = x; h = x"),
    ],
)
def test_a_graph_over_a_limit_is_refused(limit: str, expression: str):
    """Each limit can be set, and is told with what was asked, and with what sets it."""
    setters = f"--max-{limit.lower()} or GRAPHSVC_MAX_{limit}"
    with (
        serving(environment={f"GRAPHSVC_MAX_{limit}": "2"}) as target,
        graphsvc.connect(target) as client,
        pytest.raises(errors.LimitError, match=rf"this server takes 2 \({setters}\)") as caught,
    ):
        client.value_and_grad(graphsvc.parse(expression), {"x": [1.0]}, wrt=[])
    assert caught.value.facts["limit"] == f"max_{limit.lower()}"


def test_a_message_over_the_limit_is_refused_both_ways():
    """A message over `max_message_bytes` is RESOURCE_EXHAUSTED; the connection lives, and chunks go on."""
    heavy = graphsvc.ComputationalGraph()
    heavy.output("f", heavy.input("x") * heavy.constant(np.ones(400_000)))
    wide = graphsvc.parse("f = broadcast_to(x, shape=(1000, 1000))")
    asked = service_pb2.EvaluateRequest(
        graph=graph_from_document(wide.document()),
        inputs=named_tensors({"x": np.float64(1)}),
        wrt=service_pb2.NameList(),
    )
    limits = {"GRAPHSVC_MAX_MESSAGE_BYTES": str(2**21)}
    with serving(environment=limits) as target, graphsvc.connect(target) as client:
        with pytest.raises(errors.LimitError, match=r"has 3,2..,... bytes; .* takes 2,097,152 .*GRAPHSVC") as caught:
            client.value_and_grad(heavy, {"x": 1.0})
        assert caught.value.facts["limit"] == "max_message_bytes"
        with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError, match="--max-message-bytes"):
            channel.unary_unary("/graphsvc.v1.GraphService/Evaluate")(asked.SerializeToString(), timeout=5)
        assert client.value_and_grad(wide, {"x": 1.0}, wrt=[])[0]["f"].size == 10**6
        assert client.value_and_grad(graphsvc.parse("f = sum(x)"), {"x": np.ones(2**20)})[0]["f"] == 2**20
        assert client.value_and_grad(GRAPH, INPUTS)[1] == GRADIENTS


def test_large_messages_pass(client: graphsvc.Client):
    """24 MiB in and 24 MiB of gradient out are within the default limit."""
    x = np.random.default_rng(0).normal(size=3 * 2**20)
    _, gradients = client.value_and_grad(graphsvc.parse("f = sum_square(x)"), {"x": x})
    np.testing.assert_array_equal(gradients["x"], 2 * x)


def test_nobody_there_is_told_with_the_target():
    """A wrong target is an UnreachableError that says what to do."""
    with graphsvc.connect("localhost:1") as client, pytest.raises(errors.UnreachableError, match="graphsvc serve"):
        client.value_and_grad(GRAPH, INPUTS)


def test_a_second_server_on_a_port_is_refused(target: str):
    """It does not silently share the port."""
    command = [sys.executable, "-m", "graphsvc", "serve", "--port", target.rsplit(":")[-1]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "cannot be opened" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopping_server_finishes_its_calls(tmp_path: Path, number: signal.Signals):
    """A call that runs when the server is told to stop gets its answer; then the process ends with code 0."""
    install(tmp_path, "faulty", FAULTY_GATES)
    command = [sys.executable, "-m", "graphsvc", "serve", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        target = process.stdout.readline().split()[-1]
        with graphsvc.connect(target) as client, ThreadPoolExecutor(1) as pool:
            client.value_and_grad(GRAPH, INPUTS)
            call = pool.submit(client.value_and_grad, chain("faulty.sleep", 5), {"x": 3.0})
            time.sleep(0.4)
            process.send_signal(number)
            assert call.result()[0]["f"] == 3
        assert process.wait(20) == 0


def test_the_service_works_with_a_generated_stub_alone(target: str):
    """A client of another language needs the proto files and nothing of ours: made here with the generated stub."""
    request = service_pb2.EvaluateRequest()
    request.graph.format_version = 1
    for name in "xyz":
        request.graph.inputs.add(name=name)
        request.inputs.add(name=name).tensor.MergeFrom(named_tensors({"v": np.asarray(INPUTS[name])})[0].tensor)
    request.graph.nodes.add(name="q", gate="add", operands=["x", "y"])
    request.graph.nodes.add(name="p", gate="multiply", operands=["q", "z"])
    request.graph.outputs.add(name="f", source="p")
    with grpc.insecure_channel(target) as channel:
        response = service_pb2_grpc.GraphServiceStub(channel).Evaluate(request, timeout=10)
    assert np.frombuffer(response.outputs[0].tensor.data) == [-12.0]
    assert {g.name: np.frombuffer(g.tensor.data)[0] for g in response.input_gradients} == GRADIENTS
    assert len(response.graph_digest) == 32


def test_one_graph_runs_in_many_threads_at_once(client: graphsvc.Client):
    """The same graph and different shapes at once: plans and evaluations do not mix."""
    graph = graphsvc.parse("f = sum(sigmoid(x @ w) ** 2)")
    random = np.random.default_rng(1)
    questions = [
        {"x": random.normal(size=(n, 5)), "w": random.normal(size=(5, n))} for n in range(1, 9) for _ in range(5)
    ]
    expected = [graph.value_and_grad(question) for question in questions]
    start = threading.Barrier(8)

    def ask(i: int) -> list[bool]:
        start.wait()
        return [
            got[0]["f"].tobytes() == expected[k][0]["f"].tobytes()
            and got[1]["w"].tobytes() == expected[k][1]["w"].tobytes()
            for k in range(i, len(questions), 8)
            for got in (graph.value_and_grad(questions[k]), client.value_and_grad(graph, questions[k]))
        ]

    with ThreadPoolExecutor(8) as pool:
        assert all(ok for results in pool.map(ask, range(8)) for ok in results)
