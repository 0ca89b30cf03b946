"""What the fuzzer of `make fuzz` tries, in short: its seeds are good, and nothing that is made of them escapes."""

import random

import pytest

from tests.fuzzing.changes import change
from tests.fuzzing.seeds import corpus
from tests.fuzzing.targets import TARGETS, refusal, try_input

CORPUS = list(corpus())


@pytest.mark.parametrize("target", range(len(TARGETS)), ids=lambda target: TARGETS[target].__name__)
def test_what_the_fuzzer_starts_from_is_good(target: int):
    """So that it begins behind all checks, and not before the first of them."""
    seeds = [data for data in CORPUS if data[0] == target]
    assert len(seeds) > 200
    assert [refusal(data) for data in seeds] == [None] * len(seeds)


@pytest.mark.parametrize("target", range(len(TARGETS)), ids=lambda target: TARGETS[target].__name__)
def test_only_errors_of_our_own_escape(target: int):
    """One change after the other, with no eye on what they reach."""
    chance = random.Random(target)  # noqa: S311 - chance, and no secret
    seeds = [data for data in CORPUS if data[0] == target]
    for _ in range(600):
        data = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 3))):
            data = change(data, chance)
        try_input(data)


FOUND = {
    "an attribute of a long name": b"\4f = sum(x, " + b"a" * 129 + b"=1)",
}


@pytest.mark.parametrize("what", FOUND)
def test_what_the_fuzzer_found_is_refused(what: str):
    """Each of these once escaped as something that is no error of ours."""
    assert refusal(FOUND[what])
