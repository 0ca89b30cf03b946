"""What a server lets in: refused by estimate, queued within bounds, and given back exactly once."""

import asyncio
import threading
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


def ignored(_: Lease) -> None:
    """Begin nothing."""


def test_a_lease_is_given_back_once():
    """Releasing twice changes nothing, and what a lease grew by goes back with it."""
    queue = Queue(1, settings())
    lease = queue.enter(MIB, 0.1, ignored)
    lease.resize(3 * MIB)
    assert queue.used_bytes == 3 * MIB
    with pytest.raises(errors.LimitError):
        lease.resize(9 * MIB)
    lease.release()
    lease.release()
    assert queue.used_bytes == 0
    assert queue.is_empty


def test_who_gives_up_is_forgotten():
    """Who gives up in the queue takes nothing with it, and the next one comes in; who is in cannot give up."""
    queue = Queue(1, settings())
    first = queue.enter(MIB, 0.1, ignored)
    begun: list[Lease] = []
    impatient = queue.enter(MIB, 0.1, begun.append)
    waiting = queue.enter(MIB, 0.1, begun.append)
    assert impatient.give_up()
    assert not first.give_up()
    first.release()
    assert begun == [waiting]
    waiting.release()
    assert queue.is_empty
    assert queue.used_bytes == 0


def test_who_gives_a_place_back_lets_the_next_one_in_with_its_own_hands():
    """The next run begins in the thread that ended one, with no event loop between them; bytes stay until released."""
    queue = Queue(1, settings())
    first = queue.enter(MIB, 0.1, ignored)
    begun: list[str] = []
    second = queue.enter(MIB, 0.1, lambda _: begun.append(threading.current_thread().name))
    thread = threading.Thread(target=first.vacate, name="the one that ended")
    thread.start()
    thread.join()
    assert begun == ["the one that ended"]
    assert queue.used_bytes == 2 * MIB
    first.release()
    assert queue.used_bytes == MIB
    second.release()
    assert queue.is_empty


def test_bytes_that_a_run_turns_out_not_to_need_let_the_next_one_in():
    """A call that waits for memory does not wait for the end of a run that gives some back."""
    queue = Queue(2, settings())
    first = queue.enter(8 * MIB, 0.1, ignored)
    begun: list[Lease] = []
    second = queue.enter(4 * MIB, 0.1, begun.append)
    first.resize(7 * MIB)
    assert not begun
    first.resize(6 * MIB)
    assert begun == [second]


def test_what_a_thread_works_with_is_given_back_when_it_is_done():
    """Releasing a lease while a thread works for it waits for the thread."""
    queue = Queue(1, settings())
    lease = queue.enter(MIB, 0.1, ignored)
    lease.work.set_running_or_notify_cancel()
    lease.release()
    assert queue.used_bytes == MIB
    lease.work.set_result(b"")
    assert queue.is_empty


def test_where_nobody_may_wait_an_idle_server_still_answers():
    """A queue of no length lets in who finds a place, and refuses the next one."""
    queue = Queue(1, Settings(memory_bytes=10 * MIB, max_run_bytes=8 * MIB, queue_length=0))
    queue.check_open()
    lease = queue.enter(MIB, 0.1, ignored)
    with pytest.raises(errors.BusyError):
        queue.check_open()
    with pytest.raises(errors.BusyError):
        queue.enter(MIB, 0.1, ignored)
    lease.release()
    queue.check_open()


def test_who_is_refused_is_told_to_come_the_later_the_longer_a_run_takes():
    """A run that takes longer than was thought is taken to go on as long again."""
    queue = Queue(1, Settings(queue_length=0))
    queue.enter(MIB, 1e-4, ignored)
    time.sleep(0.3)
    with pytest.raises(errors.BusyError) as caught:
        queue.check_open()
    assert int(caught.value.facts["retry_ms"]) > 290


SIZES = st.integers(0, 9).map(lambda number: number * MIB)
KINDS = ("waiting", "running", "vacated", "held")


class QueueMachine(RuleBasedStateMachine):
    """Calls that come, wait, give up and leave in any order: a model of bytes and places agrees throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(2, settings())
        self.waiting: list[Lease] = []
        self.running: list[Lease] = []
        self.vacated: list[Lease] = []
        self.held: list[Lease] = []
        self.taken: set[Lease] = set()
        self.is_entering = False

    def begin(self, lease: Lease) -> None:
        if lease in self.waiting:
            assert lease is self.waiting.pop(0)
        else:
            assert self.is_entering
            assert not self.waiting, "nobody overtakes who waits"
        self.running.append(lease)
        self.taken.add(lease)

    def enter(self, nbytes: int, seconds: float, held: Lease | None = None) -> None:
        self.is_entering = True
        try:
            lease = self.queue.enter(nbytes, seconds, self.begin, held)
        except (errors.LimitError, errors.BusyError):
            self.taken.discard(held)
            return
        finally:
            self.is_entering = False
        if lease not in self.running:
            self.waiting.append(lease)

    @rule(nbytes=SIZES, seconds=st.floats(0, 3))
    def come(self, nbytes: int, seconds: float) -> None:
        self.enter(nbytes, seconds)

    @rule(nbytes=SIZES)
    def hold(self, nbytes: int) -> None:
        with suppress(errors.LimitError, errors.BusyError):
            self.held.append(self.queue.hold(nbytes))
            self.taken.add(self.held[-1])

    @rule(which=st.integers(0, 9))
    def go_on_with_what_is_held(self, which: int) -> None:
        if self.held:
            lease = self.held.pop(which % len(self.held))
            self.enter(lease.nbytes, 1.0, lease)

    @rule(which=st.integers(0, 9))
    def give_up(self, which: int) -> None:
        if self.waiting:
            lease = self.waiting.pop(which % len(self.waiting))
            assert lease.give_up()
            self.vacated.append(lease)

    @rule(
        which=st.integers(0, 9), whose=st.sampled_from(["waiting", "running", "vacated", "held"]), twice=st.booleans()
    )
    def release(self, which: int, whose: str, twice: bool) -> None:
        leases = getattr(self, whose)
        if leases:
            lease = leases.pop(which % len(leases))
            self.taken.discard(lease)
            lease.release()
            if twice:
                lease.release()

    @rule(which=st.integers(0, 9))
    def vacate(self, which: int) -> None:
        if self.running:
            self.vacated.append(self.running.pop(which % len(self.running)))
            self.vacated[-1].vacate()

    @rule(which=st.integers(0, 9), nbytes=SIZES)
    def resize(self, which: int, nbytes: int) -> None:
        if self.running:
            with suppress(errors.LimitError, errors.BusyError):
                self.running[which % len(self.running)].resize(nbytes)

    @invariant()
    def bytes_and_places_are_those_of_who_is_in(self) -> None:
        assert self.queue.used_bytes == sum(lease.nbytes for lease in self.taken) <= 10 * MIB
        seconds = sum(lease.seconds for lease in (*self.running, *self.waiting))
        assert self.queue.wait_seconds() == pytest.approx(self.queue._slowness * seconds / 2, abs=1e-9)
        assert self.queue._waiting_bytes == sum(lease.nbytes for lease in self.waiting)
        assert len(self.running) <= 2
        assert len(self.waiting) <= 4
        first = next(iter(self.waiting), None)
        held = first in self.taken
        fits = first and (held or self.queue.used_bytes + first.nbytes <= 10 * MIB)
        assert not (fits and len(self.running) < 2), "the first that waits has what it waits for"

    def teardown(self) -> None:
        for whose in KINDS:
            while getattr(self, whose):
                self.release(0, whose, False)
        assert self.queue.is_empty
        assert self.queue.used_bytes == 0
        assert self.queue.wait_seconds() == 0


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = hypothesis_settings(max_examples=100, stateful_step_count=30, deadline=None)
