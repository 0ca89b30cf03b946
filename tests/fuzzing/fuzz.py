"""Sends what a stranger may send to all that reads it, for as long as you like: only errors of our own may escape.

`python -m tests.fuzzing.fuzz` takes options of libFuzzer, and either folders, the first of which is for what it learns,
or files, which it tries once.
"""

import random
import resource
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["graphsvc"]):
    from tests.fuzzing.targets import try_input

from tests.fuzzing.changes import change
from tests.fuzzing.seeds import corpus

_MEMORY = 512 << 20


def changed(data: bytes, size: int, seed: int) -> bytes:
    """Return an input with one change, of its bytes or of what it means."""
    chance = random.Random(seed)  # noqa: S311 - chance, and no secret
    if not data or chance.random() < 0.3:
        return bytes(atheris.Mutate(data, size))
    return change(data, chance)[:size]


def bound_memory() -> None:
    """Let fail what is allocated because a number says so: that much is never needed to judge an input."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY, resource.RLIM_INFINITY))


def main() -> None:
    """Fuzz until something escapes, or as the options say."""
    with tempfile.TemporaryDirectory() as folder:
        options = sys.argv[1:]
        if not any(Path(option).is_file() for option in options):
            for number, data in enumerate(corpus()):
                Path(folder, str(number)).write_bytes(data)
            options.append(folder)
        bound_memory()
        atheris.Setup([sys.argv[0], *options], try_input, custom_mutator=changed)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
