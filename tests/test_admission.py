"""What a server lets in: refused by estimate, queued within bounds, and given back exactly once."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import graphsvc
from graphsvc import errors
from graphsvc.serving.admission import Lease, Queue
from graphsvc.serving.settings import Settings
from graphsvc.testing import serving
from graphsvc.v1 import service_pb2, service_pb2_grpc
from graphsvc.wire.codec import graph_from_document, named_tensors

MIB = 2**20


@pytest.fixture(scope="module")
def target():
    with serving() as address:
        yield address


def test_a_refusal_for_good_says_so_to_every_client(target):
    """A limit has a QuotaFailure, no RetryInfo, and the pushback that stops gRPC's own retries."""
    graph = graphsvc.parse("f = sum(tile(x, reps=[1000000000]))")
    request = service_pb2.EvaluateRequest(inputs=named_tensors({"x": np.ones(1)}))
    request.graph.CopyFrom(graph_from_document(graph.document()))
    with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError) as caught:
        service_pb2_grpc.GraphServiceStub(channel).Evaluate(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    metadata = dict(caught.value.trailing_metadata())
    assert metadata["grpc-retry-pushback-ms"] == "-1"
    kinds = {detail.TypeName() for detail in status_pb2.Status.FromString(metadata["grpc-status-details-bin"]).details}
    assert kinds == {"google.rpc.ErrorInfo", "google.rpc.QuotaFailure"}
    assert error_details_pb2.QuotaFailure.DESCRIPTOR.full_name in kinds


def test_a_deadline_that_cannot_be_kept_is_refused_at_once(target):
    """A run of seconds with a deadline of a tenth of one is refused in less time than that, with the estimate."""
    inputs = {"x": np.ones((1850, 1)), "y": np.ones((1, 1850))}
    chain = graphsvc.parse("a = x @ y\nb = a @ a\nc = b @ b\nd = c @ c\nf = sum(d @ d)")
    with graphsvc.connect(target) as client, pytest.raises(errors.DeadlineTooShortError) as caught:
        client.value_and_grad(chain, inputs, timeout=0.5)
    assert float(caught.value.facts["estimate_ms"]) > 900


def test_calls_over_the_queue_are_refused_at_once_and_tried_again_with_success():
    """With one thread and two places: some of twelve calls are refused as busy, fast; tried again, all are answered."""
    environment = {"GRAPHSVC_THREADS": "1", "GRAPHSVC_QUEUE_LENGTH": "2"}
    graph = graphsvc.parse("a = x @ y\nb = a @ a\nf = sum(b @ b)")
    inputs = {"x": np.ones((700, 1)), "y": np.ones((1, 700))}
    refused = []
    with serving(environment=environment) as address, graphsvc.connect(address) as client:
        expected = client.value_and_grad(graph, inputs)[0]["f"]

        def call(_: int) -> float:
            while True:
                try:
                    return float(client.value_and_grad(graph, inputs)[0]["f"])
                except errors.BusyError as error:
                    refused.append(error)
                    time.sleep(int(error.facts["retry_ms"]) / 1000)

        with ThreadPoolExecutor(12) as threads:
            assert list(threads.map(call, range(12))) == [expected] * 12
    assert refused


def test_a_stock_client_is_answered_or_told_that_the_server_is_busy():
    """Of 1,800 calls at once over 12 new connections, none is ended by gRPC itself: not UNAVAILABLE, not CANCELLED."""
    graph = graphsvc.parse("a = x @ y\nb = a @ a\nf = sum(b @ b)")
    request = service_pb2.EvaluateRequest(inputs=named_tensors({"x": np.ones((300, 1)), "y": np.ones((1, 300))}))
    request.graph.CopyFrom(graph_from_document(graph.document()))

    async def outcome(ask: grpc.aio.UnaryUnaryMultiCallable) -> str:
        try:
            await ask(request)
        except grpc.aio.AioRpcError as error:
            details = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
            info = error_details_pb2.ErrorInfo()
            found = any(detail.Unpack(info) for detail in status_pb2.Status.FromString(details).details)
            return f"{error.code().name} {info.reason if found else 'without a reason'}"
        return "OK"

    async def outcomes(address: str) -> set[str]:
        # Each its own connection, where gRPC would let them share one.
        channels = [grpc.aio.insecure_channel(address, [("number", number)]) for number in range(12)]
        asks = [service_pb2_grpc.GraphServiceStub(channel).Evaluate for channel in channels]
        try:
            return set(await asyncio.gather(*(outcome(ask) for ask in asks for _ in range(150))))
        finally:
            for channel in channels:
                await channel.close()

    with serving(environment={"GRAPHSVC_THREADS": "1", "GRAPHSVC_QUEUE_LENGTH": "8"}) as address:
        assert asyncio.run(outcomes(address)) == {"OK", "RESOURCE_EXHAUSTED SERVER_BUSY"}


def settings(**changes: object) -> Settings:
    return Settings(memory_bytes=10 * MIB, max_run_bytes=8 * MIB, queue_length=4, **changes)


def test_a_lease_is_given_back_once():
    """Releasing twice changes nothing, and what a lease grew by goes back with it."""

    async def scenario() -> None:
        queue = Queue(1, settings())
        lease = await queue.enter(MIB, 0.1, 10.0)
        lease.resize(3 * MIB)
        assert queue.used_bytes == 3 * MIB
        with pytest.raises(errors.LimitError):
            lease.resize(9 * MIB)
        lease.release()
        lease.release()
        assert queue.used_bytes == 0
        assert queue.is_empty

    asyncio.run(scenario())


def test_who_waits_too_long_is_told_and_forgotten():
    """A deadline that passes in the queue ends the waiting, and the next one comes in."""

    async def scenario() -> None:
        queue = Queue(1, settings())
        first = await queue.enter(MIB, 0.1, 10.0)
        with pytest.raises(errors.DeadlineError):
            await queue.enter(MIB, 0.1, 0.01)
        waiting = asyncio.create_task(queue.enter(MIB, 0.1, 10.0))
        await asyncio.sleep(0)
        first.release()
        second = await waiting
        second.release()
        assert queue.is_empty
        assert queue.used_bytes == 0

    asyncio.run(scenario())


def test_where_nobody_may_wait_an_idle_server_still_answers():
    """A queue of no length lets in who finds a place, and refuses the next one."""

    async def scenario() -> None:
        queue = Queue(1, Settings(memory_bytes=10 * MIB, max_run_bytes=8 * MIB, queue_length=0))
        queue.check_open()
        lease = await queue.enter(MIB, 0.1, 10.0)
        with pytest.raises(errors.BusyError):
            queue.check_open()
        with pytest.raises(errors.BusyError):
            await queue.enter(MIB, 0.1, 10.0)
        lease.release()
        queue.check_open()

    asyncio.run(scenario())


def test_who_is_refused_is_told_to_come_the_later_the_longer_a_run_takes():
    """A run that takes longer than was thought is taken to go on as long again."""

    async def scenario() -> None:
        queue = Queue(1, Settings(queue_length=0))
        await queue.enter(MIB, 1e-4, 10.0)
        await asyncio.sleep(0.3)
        with pytest.raises(errors.BusyError) as caught:
            queue.check_open()
        assert int(caught.value.facts["retry_ms"]) > 290

    asyncio.run(scenario())


class QueueMachine(RuleBasedStateMachine):
    """Calls that come, wait, are cancelled and leave in any order: a model of bytes and places agrees throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.queue = Queue(2, settings())
        self.tasks: list[asyncio.Task[Lease]] = []
        self.leases: list[Lease] = []
        self.held: list[Lease] = []
        self.entering: dict[asyncio.Task[Lease], Lease] = {}

    def settle(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.remove(task)
            self.entering.pop(task, None)
            if not task.cancelled() and task.exception() is None:
                self.leases.append(task.result())

    @rule(nbytes=st.integers(0, 12 * MIB), seconds=st.floats(0, 3))
    def come(self, nbytes: int, seconds: float) -> None:
        self.tasks.append(self.loop.create_task(self.queue.enter(nbytes, seconds, 100.0)))
        self.settle()

    @rule(nbytes=st.integers(0, 12 * MIB))
    def hold(self, nbytes: int) -> None:
        with suppress(errors.LimitError, errors.BusyError):
            self.held.append(self.queue.hold(nbytes))

    @rule(which=st.integers(0, 9), enters=st.booleans())
    def go_on_with_what_is_held(self, which: int, enters: bool) -> None:
        if self.held:
            lease = self.held.pop(which % len(self.held))
            if enters:
                task = self.loop.create_task(self.queue.enter(lease.nbytes, 1.0, 100.0, lease))
                self.tasks.append(task)
                self.entering[task] = lease
                self.settle()
            else:
                lease.release()

    @rule(which=st.integers(0, 9))
    def cancel(self, which: int) -> None:
        if self.tasks:
            self.tasks[which % len(self.tasks)].cancel()
            self.settle()

    @rule(which=st.integers(0, 9), twice=st.booleans())
    def leave(self, which: int, twice: bool) -> None:
        if self.leases:
            lease = self.leases.pop(which % len(self.leases))
            lease.release()
            if twice:
                lease.release()
            self.settle()

    @rule(which=st.integers(0, 9), nbytes=st.integers(0, 12 * MIB))
    def resize(self, which: int, nbytes: int) -> None:
        if self.leases:
            with suppress(errors.LimitError, errors.BusyError):
                self.leases[which % len(self.leases)].resize(nbytes)

    @rule(which=st.integers(0, 9))
    def leave_while_another_is_cancelled(self, which: int) -> None:
        if self.leases and self.tasks:
            self.leases.pop().release()
            self.tasks[which % len(self.tasks)].cancel()
            self.settle()

    @invariant()
    def bytes_and_places_are_those_of_who_is_in(self) -> None:
        taken = [*self.leases, *self.held, *self.entering.values()]
        assert self.queue.used_bytes == sum(lease.nbytes for lease in taken) <= 10 * MIB
        assert len(self.leases) <= 2
        assert len(self.tasks) <= 4

    def teardown(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.settle()
        self.leases += self.held
        while self.leases:
            self.leases.pop().release()
            self.settle()
        assert self.queue.is_empty
        assert self.queue.used_bytes == 0
        self.loop.close()


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = hypothesis_settings(max_examples=60, stateful_step_count=30, deadline=None)
