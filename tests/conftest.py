"""Fixtures: real servers on free ports, real packages, no mocks."""

import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import graphsvc
from graphsvc.testing import LAWS, serving

ROOT = Path(__file__).parent.parent


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many gates, laws, examples and checks there were."""
    counted = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in getattr(report, "user_properties", [])
        if name == "laws"
    ]
    if counted:
        examples, checks = map(sum, zip(*counted, strict=True))
        line = f"laws of gates: {len(counted)} gates, {len(LAWS)} laws, {examples} examples, {checks:,} checks"
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def target() -> Iterator[str]:
    """A server with graphsvc's own gates, for the whole session."""
    with serving() as target:
        yield target


@pytest.fixture(scope="session")
def client(target: str) -> Iterator[graphsvc.Client]:
    """A client of that server."""
    with graphsvc.connect(target) as client:
        yield client


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Installs a package of `plugins/` by pip into a folder that is not on this process's path, once a session."""

    @functools.cache
    def install(package: str) -> Path:
        folder = tmp_path_factory.mktemp(package)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-build-isolation", "--target", str(folder), str(ROOT / "plugins" / package)]
        subprocess.run(command, check=True)
        return folder

    return install


@pytest.fixture(scope="session")
def physics_folder(installed: Callable[[str], Path]) -> Path:
    """The package graphsvc-physics, installed."""
    return installed("graphsvc-physics")


@pytest.fixture(params=["whole", "blocks"])
def cut(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run arrays as they are, then cut into many small blocks that threads share."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "blocks":
            patch.setattr("graphsvc.engine.fusion.kernels._LEAST", 2)
            patch.setattr("graphsvc.engine.fusion.blocks._BLOCK_ELEMENTS", (4, 8))
            patch.setattr("graphsvc.engine.fusion.blocks._SHARED_WORK", 1)
        yield
