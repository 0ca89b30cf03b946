"""The machine and the software that results are of, and who else used it."""

import os
import platform
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["Load", "describe", "describe_engines"]


def describe(packages: Iterable[str]) -> dict[str, str]:
    """Describe the machine and the versions of the packages, which are installed."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "CPU": f"{_cpu()}, {os.cpu_count()} cores; {_caches()}",
        "RAM": f"{memory:.0f} GiB",
        "OS": _os(),
        "Python": platform.python_version(),
        "Packages": ", ".join(f"{package} {version(package)}" for package in packages),
    }


def describe_engines(about: dict[str, tuple[str, list[dict[str, Any]]]]) -> dict[str, str]:
    """Describe what each engine says of itself, with the thread pools that it loaded."""
    return {f"Engine {engine}": f"{said}; {_pools(pools)}" for engine, (said, pools) in about.items()}


class Load:
    """How busy others kept the machine since this was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._all, self._own = _busy(), _own()

    def describe(self) -> str:
        """Say how many cores others took on average. Own processes count once they have ended."""
        others = (_busy() - self._all) - (_own() - self._own)
        cores = max(0.0, others) / (time.perf_counter() - self._began)
        return (
            f"{cores:.2f} of {os.cpu_count()} cores taken by others during the run. "
            "On a busy machine, engines whose threads spin and wait for each other are slower by far."
        )


def _busy() -> float:
    """Return the seconds that all cores spent on anything; 0 where nobody counts them."""
    with suppress(OSError):
        user, nice, system, _idle, _wait, *rest = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
        return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _own() -> float:
    return sum(os.times()[:4])


def _pools(pools: list[dict[str, Any]]) -> str:
    said = (
        f"{pool['internal_api']} {pool['version'] or ''}".strip() + f" with {pool['num_threads']} threads"
        for pool in pools
    )
    return ", ".join(dict.fromkeys(said)) or "no thread pool that threadpoolctl knows"


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _caches() -> str:
    """Return the caches that the first core sees."""
    said = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / part).read_text().strip() for part in ("level", "type", "size"))
        if kind != "Instruction":
            said.append(f"L{level} {size}")
    return ", ".join(said) or "caches unknown"


def _os() -> str:
    with suppress(OSError):
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {platform.machine()}"
    return f"{platform.system()}, {platform.machine()}"
