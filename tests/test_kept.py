"""What a server keeps, against a model: any order of coming, using, and time that passes."""

import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from graphsvc.serving.kept import Kept

LIMIT = 10
SECONDS = 5
digests = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])


class KeptMachine(RuleBasedStateMachine):
    """The model is a list of who is in, the latest used last."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(time, "monotonic", lambda: self.now)
        self.model: list[tuple[bytes, int, int, float]] = []
        self.things = 0

    @initialize(count=st.sampled_from([None, 0, 1, 3]), seconds=st.sampled_from([None, SECONDS]))
    def begin(self, count: int | None, seconds: float | None) -> None:
        self.count, self.seconds = count, seconds
        self.kept = Kept[int](LIMIT, count, seconds)

    def forget(self) -> None:
        """Drop from the model what is old, and whoever used least lately while there are too many."""
        if self.seconds is not None:
            self.model = [entry for entry in self.model if entry[3] >= self.now - self.seconds]
        most = len(self.model) if self.count is None else self.count
        while sum(nbytes for _, _, nbytes, _ in self.model) > LIMIT or len(self.model) > most:
            del self.model[0]

    @rule(digest=digests, nbytes=st.integers(0, LIMIT + 2))
    def put(self, digest: bytes, nbytes: int) -> None:
        self.things += 1
        self.kept.put(digest, self.things, nbytes)
        self.model = [entry for entry in self.model if entry[0] != digest]
        self.forget()
        if nbytes <= LIMIT:
            self.model.append((digest, self.things, nbytes, self.now))
            self.forget()

    @rule(digest=digests)
    def get(self, digest: bytes) -> None:
        self.forget()
        found = next((entry for entry in self.model if entry[0] == digest), None)
        assert self.kept.get(digest) == (found[1] if found else None)
        if found:
            self.model.remove(found)
            self.model.append((*found[:3], self.now))

    @rule(seconds=st.sampled_from([0.5, SECONDS - 1, SECONDS + 1]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def it_keeps_what_the_model_keeps(self) -> None:
        if hasattr(self, "kept"):
            # Time that has passed is noticed at the next use.
            self.kept.get(b"none")
            self.forget()
            assert [d for d in (b"a", b"b", b"c", b"d", b"e") if d in self.kept] == sorted(e[0] for e in self.model)
            assert self.kept.nbytes == sum(nbytes for _, _, nbytes, _ in self.model) <= LIMIT

    def teardown(self) -> None:
        self.patch.undo()


TestKept = KeptMachine.TestCase
TestKept.settings = settings(max_examples=100, stateful_step_count=30, deadline=None, derandomize=True)
