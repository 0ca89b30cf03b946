"""Fixtures: real servers on free ports, real packages, no mocks."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import graphsvc
from graphsvc.testing import serving

ROOT = Path(__file__).parent.parent


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
def heat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package graphsvc-heat, installed by pip into a folder that is not on this process's path."""
    folder = tmp_path_factory.mktemp("heat")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-build-isolation", "--target", str(folder), str(ROOT / "plugins" / "graphsvc-heat")]
    subprocess.run(command, check=True)
    return folder
