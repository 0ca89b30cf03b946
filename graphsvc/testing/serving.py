"""A real server for tests and examples."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["serving"]


@contextmanager
def serving(
    *flags: str, path: Iterable[str | Path] = (), environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run `graphsvc serve` on a free port of this machine, in a process of its own.

    Args:
        flags: Further flags of `graphsvc serve`.
        path: Folders from which the server alone can import, such as those of plugins.
        environment: Further variables of the server's environment, such as `GRAPHSVC_MAX_SECONDS`.

    Yields:
        The target for `graphsvc.connect`.

    Raises:
        RuntimeError: The server does not start.
    """
    variables = {**os.environ, **(environment or {})}
    variables["PYTHONPATH"] = os.pathsep.join([*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "graphsvc", "serve", "--port", "0", *flags]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command
    try:
        lines = process.stdout or ()
        line = next((line for line in lines if " listening on " in line), None)
        if line is None:
            msg = f"The server did not start: it ended with code {process.wait()}. Its log says why."
            raise RuntimeError(msg)
        yield line.rsplit(maxsplit=1)[-1]
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
