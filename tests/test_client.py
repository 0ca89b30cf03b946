"""What clients do by themselves: across processes, with a busy server, with a wrong target, and after a loss."""

import asyncio
import os
import pty
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import graphsvc
import graphsvc.aio
from graphsvc import errors
from graphsvc.testing import serving
from graphsvc.v1 import service_pb2
from graphsvc.wire.chunks import CHUNKED_BYTES
from graphsvc.wire.status import packed_status, status_of
from tests.planted import FAULTY_GATES, install

GRAPH = graphsvc.parse("f = (x + y) * z")
INPUTS = {"x": -2.0, "y": 5.0, "z": -4.0}
GRADIENTS = {"x": -4.0, "y": -4.0, "z": 3.0}
TICK = graphsvc.parse("f = faulty.tick(x)")
SLEEP = graphsvc.parse("f = faulty.sleep(faulty.sleep(faulty.sleep(faulty.sleep(faulty.sleep(x)))))")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin with the gates that sleep and fail."""
    folder = tmp_path_factory.mktemp("faulty")
    install(folder, "faulty", FAULTY_GATES)
    return folder


def ways(client: graphsvc.Client) -> list[Callable[..., Any]]:
    """Return both ways to ask: a call for each question, and the stream that they share."""
    return [client.value_and_grad, lambda graph, *given, **how: client.graph(graph).value_and_grad(*given, **how)]


# Processes ----------------------------------------------------------------------------------------------------------

ACROSS = """
    import concurrent.futures
    import multiprocessing
    import sys

    import graphsvc

    graph = graphsvc.parse("f = (x + y) * z")
    inputs = {"x": -2.0, "y": 5.0, "z": -4.0}

    def ask(client, remote):
        assert client.value_and_grad(graph, inputs, timeout=20)[0]["f"] == -12
        assert remote.value_and_grad(inputs, timeout=20)[0]["f"] == -12

    def main(target, method, how):
        client = graphsvc.connect(target)
        remote = client.graph(graph, resident=None)
        context = multiprocessing.get_context(method)
        for _ in range(2):
            ask(client, remote)
            if how == "pool":
                with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
                    list(pool.map(ask, [client] * 4, [remote] * 4))
            else:
                child = context.Process(target=ask, args=(client, remote))
                child.start()
                child.join(30)
                assert child.exitcode == 0, child.exitcode
            ask(client, remote)

    if __name__ == "__main__":
        main(*sys.argv[1:])
"""


def run(script: str, *arguments: str, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GRPC_")}
    environment |= {"PYTHONPATH": str(ROOT), **(variables or {})}
    command = [sys.executable, script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("method", "how"),
    [("fork", "process"), ("forkserver", "process"), ("spawn", "process"), ("fork", "pool"), ("spawn", "pool")],
)
def test_a_client_works_before_in_and_after_a_child_process(target: str, script, method: str, how: str):
    """A used client with an open session: each process opens a channel of its own, and the first goes on."""
    done = run(script(ACROSS), target, method, how)
    assert done.returncode == 0, done.stderr


def test_a_fork_that_grpc_does_not_survive_is_refused(target: str, script):
    """Where gRPC came before graphsvc and was not told of forks, the child gets an error and does not hang."""
    done = run(script("import grpc\n" + textwrap.dedent(ACROSS)), target, "fork", "process")
    assert done.returncode != 0
    assert "ServiceError" in done.stderr
    assert "GRPC_ENABLE_FORK_SUPPORT=1" in done.stderr
    variables = {"GRPC_ENABLE_FORK_SUPPORT": "1"}
    done = run(script("import grpc\n" + textwrap.dedent(ACROSS)), target, "fork", "process", variables=variables)
    assert done.returncode == 0, done.stderr


ASYNCIO = """
    import asyncio
    import multiprocessing
    import sys

    import graphsvc
    import graphsvc.aio

    client = graphsvc.aio.connect(sys.argv[1])

    def ask():
        return asyncio.run(client.value_and_grad(graphsvc.parse("f = x"), {"x": 1.0}))

    ask()
    child = multiprocessing.get_context("fork").Process(target=ask)
    child.start()
    child.join(30)
    ask()
    sys.exit(child.exitcode)
"""


def test_an_asyncio_client_that_was_used_is_refused_after_a_fork(target: str, script):
    """The child gets an error and does not hang; the first process goes on."""
    done = run(script(ASYNCIO), target)
    assert done.returncode == 1, done.stderr
    assert "An asyncio client that was used does not survive a fork. Make one in the child process." in done.stderr


# A busy server ------------------------------------------------------------------------------------------------------


class Scripted(grpc.GenericRpcHandler):
    """A server that refuses the first calls of each method, and counts them."""

    def __init__(self, refusal: errors.GraphsvcError, times: int) -> None:
        self.calls = 0
        self._status = status_of(refusal)
        self._times = times

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        if details.method.endswith("Session"):
            return grpc.stream_stream_rpc_method_handler(self._session)
        return grpc.unary_unary_rpc_method_handler(self._unary)

    def _refuses(self) -> bool:
        self.calls += 1
        return self.calls <= self._times

    def _unary(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        if self._refuses():
            context.abort_with_status(self._status)
        return service_pb2.EvaluateResponse(graph_digest=bytes(32)).SerializeToString()

    def _session(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for data in messages:
            asked = service_pb2.SessionRequest.FromString(data)
            answer = service_pb2.SessionResponse(id=asked.id)
            if asked.WhichOneof("request") == "chunk":
                continue
            if self._refuses():
                answer.status = packed_status(self._status)
            else:
                answer.evaluate.graph_digest = bytes(32)
            yield answer.SerializeToString()


@contextmanager
def handling(*handlers: grpc.GenericRpcHandler) -> Iterator[str]:
    """A gRPC server of our own making."""
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


@contextmanager
def scripted(refusal: errors.GraphsvcError, times: int) -> Iterator[tuple[str, Scripted]]:
    handler = Scripted(refusal, times)
    with handling(handler) as target:
        yield target, handler


BUSY = errors.BusyError("The server is busy.", retry_ms="20")
LIMIT = errors.LimitError("That is too much.", limit="max_flops", asked="9")
HOW = {
    "unary": lambda client, x: client.value_and_grad(graphsvc.parse("f = x"), {"x": x}, wrt=[]),
    "session": lambda client, x: client.graph(graphsvc.parse("f = x")).value_and_grad({"x": x}, wrt=[]),
}
SIZES = {"small": np.ones(3), "in chunks": np.ones(CHUNKED_BYTES // 8)}


def ask(kind: str, target: str, how: str, x: np.ndarray) -> None:
    """Ask in one way with one client."""
    if kind == "threads":
        with graphsvc.connect(target, timeout=20) as client:
            HOW[how](client, x)
        return

    async def main() -> None:
        async with graphsvc.aio.connect(target, timeout=20) as client:
            await HOW[how](client, x)

    asyncio.run(main())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_a_busy_server_is_asked_again_and_a_limit_is_not(kind: str, how: str, size: str):
    """Up to four times in all, whether gRPC or the client itself asks again; a limit stays one."""
    x = SIZES[size]
    with scripted(BUSY, 3) as (target, server):
        ask(kind, target, how, x)
        assert server.calls == 4
    with scripted(BUSY, 99) as (target, server), pytest.raises(errors.BusyError):
        ask(kind, target, how, x)
    assert server.calls == 4
    with scripted(LIMIT, 1) as (target, server), pytest.raises(errors.LimitError, match="too much"):
        ask(kind, target, how, x)
    assert server.calls == 1


def test_who_is_refused_by_a_busy_server_is_answered_later(folder: Path, tmp_path: Path):
    """One place and no queue: calls at the same time are all answered, one after the other, as the server says when."""
    settings = {"GRAPHSVC_QUEUE_LENGTH": "0", "TICKS": str(tmp_path / "ticks")}
    with serving("--threads", "1", path=[folder], environment=settings) as target, graphsvc.connect(target) as client:
        for way in ways(client):
            with futures.ThreadPoolExecutor(2) as pool:
                answers = pool.map(lambda x, way=way: way(TICK, {"x": x})[0]["f"], [1.0, 2.0])
                assert list(answers) == [1.0, 2.0]


# Deadlines, and the end of a client ---------------------------------------------------------------------------------


def test_every_call_has_a_deadline(folder: Path):
    """A minute if nothing is said; the client's own, or that of the call."""
    assert graphsvc.connect("localhost:1").timeout == graphsvc.aio.connect("localhost:1").timeout == 60
    with serving(path=[folder]) as target, graphsvc.connect(target, timeout=0.3) as client:
        for way in ways(client):
            with pytest.raises(errors.DeadlineError):
                way(SLEEP, {"x": 1.0})
            assert way(SLEEP, {"x": 1.0}, timeout=20)[0]["f"] == 1
        with pytest.raises(errors.DeadlineError):
            list(client.map(SLEEP, [{"x": 1.0}]))


def test_closing_a_client_ends_what_is_on_its_way(folder: Path):
    """Each call and each answer of a map that is waited for ends with an error of ours, and the client may go on."""
    with serving("--threads", "4", path=[folder]) as target, graphsvc.connect(target) as client:
        mapped = client.map(SLEEP, [{"x": 1.0}] * 3)
        asks = [lambda way=way: way(SLEEP, {"x": 1.0}) for way in ways(client)]
        with futures.ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(ask) for ask in [*asks, lambda: next(mapped)]]
            done, _ = futures.wait(calls, timeout=0.4)
            assert not done
            client.close()
            for call in calls:
                with pytest.raises(errors.StoppedError):
                    call.result()
        for way in ways(client):
            assert way(GRAPH, INPUTS)[1] == GRADIENTS


# Targets ------------------------------------------------------------------------------------------------------------

TARGETS = [
    *("localhost", "", ":50051", "localhost:", "localhost:port", "http://localhost:50051", "grpc://localhost:50051"),
    *("localhost:50051/path", "a b:1", "localhost:123456", "::1:50051", None, 50051),
]


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_no_target_is_refused_at_once(target: Any):
    """Before anything is sent, with how to write one."""
    for connect in (graphsvc.connect, graphsvc.aio.connect):
        with pytest.raises(errors.UnreachableError, match="is no target. Write HOST:PORT"):
            connect(target)


@contextmanager
def speaking(says: bytes) -> Iterator[str]:
    """A server of something else: it says that to everybody, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.recv(1)
                        connection.sendall(says)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


OTHERS = {
    "a server that hangs up": b"",
    "a web server": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "a server with TLS": b"\x15\x03\x03\x00\x02\x02\x46",
    "a shell": b"SSH-2.0-OpenSSH_9.2\r\n",
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_server_of_something_else_is_told_with_the_target(what: str):
    """By both clients, in both ways."""
    with speaking(OTHERS[what]) as target:
        for kind in ("threads", "asyncio"):
            for how in HOW:
                with pytest.raises(errors.UnreachableError, match=f"No server answers at '{target}'"):
                    ask(kind, target, how, SIZES["small"])


def test_a_server_that_says_nothing_is_not_waited_for():
    """Somebody listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = graphsvc.connect(f"127.0.0.1:{listener.getsockname()[1]}", timeout=0.5)
        for way in ways(client):
            with pytest.raises((errors.DeadlineError, errors.UnreachableError)):
                way(GRAPH, INPUTS)
        client.close()


def test_a_grpc_server_of_another_service_is_told():
    """It knows no such method."""
    with handling() as target:
        for how in HOW:
            with pytest.raises(errors.ServerError, match="is no server of graphsvc"):
                ask("threads", target, how, SIZES["small"])


# A bar, and a loss --------------------------------------------------------------------------------------------------

MAPPING = """
    import sys
    import graphsvc

    graph = graphsvc.parse("f = x * x")
    with graphsvc.connect(sys.argv[1]) as client:
        answers = client.map(graph, [{"x": float(x)} for x in range(50)], progress=sys.argv[2] == "shown")
        print(sum(float(outputs["f"]) for outputs, _ in answers))
"""


@pytest.mark.parametrize(("terminal", "progress"), [(True, "shown"), (True, "hidden"), (False, "shown")])
def test_map_shows_a_bar_on_a_terminal_alone(target: str, script, terminal: bool, progress: str):
    """And only if it may; the answers are the same."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, script(MAPPING), target, progress]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        said = b""
        # A terminal whose other end is closed is an error to read, not an end.
        with suppress(OSError):
            while data := os.read(ours, 4096):
                said += data
        os.close(ours)
        assert process.stdout.read() == "40425.0\n"
    assert process.returncode == 0
    assert (b"Evaluating" in said) == (terminal and progress == "shown"), said


def test_a_server_that_was_killed_and_started_again_is_not_noticed():
    """On the same port: the session is opened anew, graph and resident data are sent again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    graph = graphsvc.parse("f = sum(data * w)")
    with graphsvc.connect(f"127.0.0.1:{port}") as client:
        remote = client.graph(graph, resident={"data": np.arange(3.0)})
        for _ in range(3):
            process = started(port)
            try:
                for _ in range(2):
                    assert remote.value_and_grad({"w": np.ones(3)})[0]["f"] == 3
                    assert client.value_and_grad(GRAPH, INPUTS)[1] == GRADIENTS
            finally:
                process.kill()
                process.wait()
                process.stdout.close()


class Ending(grpc.GenericRpcHandler):
    """A server whose sessions end at the second question, unanswered."""

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        return grpc.stream_stream_rpc_method_handler(self._session)

    def _session(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        number = service_pb2.SessionRequest.FromString(next(messages)).id
        answer = service_pb2.SessionResponse(id=number)
        answer.evaluate.graph_digest = bytes(32)
        yield answer.SerializeToString()
        next(messages)


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_a_session_that_ends_under_a_question_is_opened_again_for_it(kind: str):
    """What was asked changes nothing there, so it is asked again."""
    graph = graphsvc.parse("f = x")
    with handling(Ending()) as target:
        if kind == "threads":
            with graphsvc.connect(target) as client:
                for _ in range(4):
                    client.graph(graph).value_and_grad({"x": 1.0}, wrt=[])
            return

        async def main() -> None:
            async with graphsvc.aio.connect(target) as client:
                for _ in range(4):
                    await client.graph(graph).value_and_grad({"x": 1.0}, wrt=[])

        asyncio.run(main())


class Deaf(grpc.GenericRpcHandler):
    """A server that refuses the first question of a session, and reads no more of it."""

    def __init__(self) -> None:
        self.sessions = 0

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        return grpc.stream_stream_rpc_method_handler(self._session)

    def _session(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self.sessions += 1
        answer = service_pb2.SessionResponse(id=service_pb2.SessionRequest.FromString(next(messages)).id)
        answer.status = packed_status(status_of(LIMIT))
        yield answer.SerializeToString()
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait(60)


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_stream_with_the_chunks_of_what_was_refused_is_asked_no_more(kind: str):
    """Nobody waits for the rest of them: they stay here, and the next question goes another way."""
    server, graph, inputs = Deaf(), graphsvc.parse("f = x"), {"x": np.ones(8_000_000)}

    async def main() -> None:
        async with graphsvc.aio.connect(target, timeout=20) as client:
            for calls in range(1, 4):
                with pytest.raises(errors.LimitError, match="too much"):
                    await client.graph(graph).value_and_grad(inputs, wrt=[])
                assert server.sessions == calls

    with handling(server) as target:
        if kind == "asyncio":
            asyncio.run(main())
            return
        with graphsvc.connect(target, timeout=20) as client:
            for calls in range(1, 4):
                with pytest.raises(errors.LimitError, match="too much"):
                    client.graph(graph).value_and_grad(inputs, wrt=[])
                assert server.sessions == calls


class Confused(grpc.GenericRpcHandler):
    """A server that answers other questions than it is asked."""

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        return grpc.stream_stream_rpc_method_handler(self._session)

    def _session(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for data in messages:
            answer = service_pb2.SessionResponse(id=service_pb2.SessionRequest.FromString(data).id + 1)
            answer.evaluate.graph_digest = bytes(32)
            yield answer.SerializeToString()


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_the_answer_to_another_question_is_taken_for_no_answer(kind: str):
    """By its id."""
    graph = graphsvc.parse("f = x")

    async def awaited(target: str) -> None:
        async with graphsvc.aio.connect(target) as client:
            await client.graph(graph).value_and_grad({"x": 1.0}, wrt=[])

    def blocking(target: str) -> None:
        with graphsvc.connect(target) as client:
            client.graph(graph).value_and_grad({"x": 1.0}, wrt=[])

    ask = blocking if kind == "threads" else lambda target: asyncio.run(awaited(target))
    with handling(Confused()) as target, pytest.raises(errors.ServerError, match="answer to nothing"):
        ask(target)


def started(port: str) -> subprocess.Popen[str]:
    """Return a server that listens."""
    command = [sys.executable, "-m", "graphsvc", "serve", "--port", port]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert "listening" in process.stdout.readline()
    return process
