"""The README and the examples: every command and every snippet does what it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SNIPPETS = [text for kind, text in BLOCKS if kind == "python"]
COMMANDS = [line for kind, text in BLOCKS if kind == "console" for line in text.splitlines()]


GUIDES = [
    (path.stem, kind, text)
    for path in sorted((ROOT / "docs").glob("*.md"))
    for kind, text in re.findall(r"^```(\w+)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize("snippet", [text for _, kind, text in GUIDES if kind == "python"])
def test_a_snippet_of_the_guides_runs(snippet: str, target: str, tmp_path: Path):
    """As it stands; the only other kind of block is the entry point of a package."""
    assert {kind for _, kind, _ in GUIDES} == {"python", "toml"}
    script = tmp_path / "snippet.py"
    script.write_text(snippet.replace("localhost:50051", target))
    done = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


def test_links_of_the_documents_lead_somewhere():
    """Every relative link of the README and the guide is a file or a folder."""
    for document in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").glob("*/README.md")):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / link).exists(), (document, link)


def test_the_benchmark_runs():
    """A few repetitions of it; its numbers are for people."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "overhead.py", "5"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "in process" in done.stdout


def test_the_benchmark_of_the_service_runs():
    """A short round without peers; it checks the gradients before it times anything."""
    script = ROOT / "benchmarks" / "bench_remote.py"
    done = subprocess.run(
        [sys.executable, script, "--quick", "--only", "small", "--environments", "nowhere"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "calls per second" in done.stdout


def test_the_unit_for_systemd_runs_a_command_that_is_there():
    """`graphsvc serve` with no flags; its settings come from the environment."""
    unit = (ROOT / "deploy" / "graphsvc.service").read_text()
    assert re.search(r"^ExecStart=\S+/graphsvc serve$", unit, re.MULTILINE)


def test_every_block_is_python_or_console():
    """So that none escapes the tests below."""
    assert {kind for kind, _ in BLOCKS} == {"python", "console"}
    assert len(SNIPPETS) == 6


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["in process", "remote", "own gate", "second", "debug", "fast"])
def test_a_snippet_runs(snippet: str, target: str, tmp_path: Path):
    """As it stands, in an empty folder; the server of the remote one stands at the port of the tests."""
    assert len([line for line in snippet.splitlines() if line.strip()]) <= 24
    script = tmp_path / "snippet.py"
    script.write_text(snippet.replace("localhost:50051", target))
    done = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_run(command: str):
    """Commands of graphsvc are run; what make runs this suite runs, and `serve` the remote snippet and test_page."""
    words = shlex.split(command)
    if words[0] == "graphsvc" and words[1] != "serve":
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
        return
    assert command in ("graphsvc serve", "graphsvc serve --http 127.0.0.1:8080", "make demo", "make test")
    if words[0] == "make":
        dry = subprocess.run(["make", "--dry-run", words[1]], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
        assert {"demo": "python examples/demo.py", "test": "python -m pytest"}[words[1]] in dry.stdout


@pytest.mark.parametrize(
    ("script", "arguments", "says"),
    [
        ("neuron.py", [], "df/dw0 = -0.196611933241481"),
        ("staged.py", [], "f = 1.545644884106644"),
        ("train_remotely.py", ["12"], "step   11"),
        ("demo.py", [], "The server is stopped."),
    ],
)
def test_an_example_runs(script: str, arguments: list[str], says: str):
    """With one command, on a server of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / script, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


def test_the_picture_is_what_its_command_draws(tmp_path: Path):
    """The README tells the command; the file is of the same bytes."""
    (command,) = re.findall(r"`(graphsvc draw [^`]*)`", README)
    words = shlex.split(command)
    subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, timeout=100, check=True)
    (made,) = tmp_path.iterdir()
    assert made.read_bytes() == (ROOT / "docs" / "pictures" / made.name).read_bytes()
    assert f"(docs/pictures/{made.name})" in README


def test_no_example_escapes():
    """Every file of the folder is run above."""
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {
        "neuron.py",
        "staged.py",
        "train_remotely.py",
        "demo.py",
    }


def test_the_readme_tells_what_the_changelog_counts():
    """The number of gates in the changelog is the number of gates."""
    from tests.every_gate import every_gate

    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"- {len(every_gate())} gates:" in changelog
