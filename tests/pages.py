"""A real server with a page, for tests of its API and in a browser."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def page_serving(*flags: str, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run `graphsvc serve` with a page on a free port, in a process of its own; yield where the page is."""
    command = [sys.executable, "-m", "graphsvc", "serve", "--port", "0", "--http", "127.0.0.1:0", *flags]
    variables = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield next(line.split()[-1] for line in process.stdout if line.startswith("explorer at "))
        finally:
            process.terminate()
            process.wait(30)
