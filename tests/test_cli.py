"""The command line, run as a user runs it."""

import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT

import graphsvc
from graphsvc.cli.main import COMMANDS, main
from graphsvc.cli.reference import pages
from graphsvc.engine.registry import default_registry
from graphsvc.serving.settings import Settings, flag_of
from graphsvc.testing import serving
from tests.planted import GOOD_MODULE, install

COMMAND = [sys.executable, "-m", "graphsvc"]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )


def every_command() -> list[tuple[str, ...]]:
    """Return every command and subcommand."""
    commands: list[tuple[str, ...]] = [()]
    for name in COMMANDS:
        commands.append((name,))
        command = getattr(importlib.import_module(f"graphsvc.cli.{name}"), name)
        if isinstance(command, click.Group):
            commands += [(name, sub) for sub in command.commands]
    return commands


def help_text(command: tuple[str, ...]) -> str:
    """Return what `--help` of a command prints."""
    result = CliRunner().invoke(main, [*command, "--help"], prog_name="graphsvc")
    assert result.exit_code == 0
    return result.output


def examples() -> list[str]:
    """Return every example in every help text."""
    found = []
    for command in every_command():
        found += re.findall(r"^ +(graphsvc .*)$", help_text(command), re.MULTILINE)
    return list(dict.fromkeys(found))


def test_grad_prints_outputs_and_gradients():
    """F and the three gradients, for people and for programs."""
    done = run("grad", "f = (x + y) * z", "x=-2", "y=5", "z=-4")
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert ["output", "f", "-12.0"] in rows
    for name, gradient in (("x", "-4.0"), ("y", "-4.0"), ("z", "3.0")):
        assert ["gradient", name, gradient] in rows
    as_json = run("grad", "f = (x + y) * z", "x=-2", "y=5", "z=-4", "--json")
    assert as_json.stdout == ('{"outputs": {"f": -12.0}, "input_gradients": {"x": -4.0, "y": -4.0, "z": 3.0}}\n')


def test_grad_and_run_work_remotely(target: str):
    """`--target` gives the same."""
    for command in ("grad", "run"):
        arguments = (command, "f = (x + y) * z", "x=-2", "y=5", "z=-4", "--json")
        assert run(*arguments, "--target", target).stdout == run(*arguments).stdout
        for form in ([], ["--json"]):
            debug = (command, *MASKED, "--debug", *form)
            assert run(*debug, "--target", target).stdout == run(*debug).stdout


MASKED = ("f = sum(where(x > 0, log(x), 0))", "x=[0,1]")


def test_debug_is_printed_after_the_results():
    """The node, the pass and the cause; of `run`, the forward pass alone; that there is nothing is said as well."""
    done = run("grad", *MASKED, "--debug")
    assert done.returncode == 0
    results, forward, backward = re.split(r"^(?=forward:|backward:)", done.stdout, flags=re.MULTILINE)
    assert re.search(r"^ gradient +x +\[nan +1\.\]", results, re.MULTILINE)
    assert forward.startswith("forward: node 'log.1' (gate 'log'), output 'z': 1 infinite of 2 elements")
    assert backward.startswith("backward: node 'log.1' (gate 'log'), gradient of operand 'x': 1 NaN of 2 elements")
    assert "A zero gradient met an infinite derivative" in backward
    assert "backward:" not in run("run", *MASKED, "--debug").stdout
    assert "Every number of the run is finite." in run("grad", "f = x * x", "x=3", "--debug").stdout


def test_debug_is_a_key_of_json():
    """Only if it was asked for; null where there is nothing."""
    data = json.loads(run("grad", *MASKED, "--debug", "--json").stdout)
    forward, backward = data["diagnosis"]["findings"]
    assert (forward["direction"], forward["node"], forward["infinities"]) == ("forward", "log.1", 1)
    expected = {
        "direction": "backward",
        "kind": "OPERAND_GRADIENT",
        "node": "log.1",
        "gate": "log",
        "name": "x",
        "dtype": "float64",
        "size": 2,
        "nans": 1,
        "infinities": 0,
        "index": [0],
        "values": {"dz": 0.0, "x": 0.0},
        "cause": "ZERO_MET_INFINITE",
    }
    assert expected == {key: value for key, value in backward.items() if key != "explanation"}
    assert json.loads(run("run", "f = x - x", "x=Infinity", "--debug", "--json").stdout)["diagnosis"]["findings"][1][
        "values"
    ] == {"x": "Infinity", "y": "Infinity"}
    assert json.loads(run("run", "f = x", "x=3", "--debug", "--json").stdout)["diagnosis"] is None
    assert set(json.loads(run("grad", *MASKED, "--json").stdout)) == {"outputs", "input_gradients"}


@pytest.mark.parametrize("command", ["grad", "run"])
def test_profile_is_two_tables(command: str):
    """By gate and by node after the results; a key of JSON with numbers."""
    done = run(command, "f = sum((W @ x)**2)", "W=[[1,2],[3,4]]", "x=[1,2]", "--profile")
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert ["gate", "nodes", "share", "forward", "backward", "outputs", "kept"] in rows
    assert ["node", "gate", "forward", "backward", "outputs", "kept"] in rows
    assert sum(row[:2] == ["matmul.1", "matmul"] for row in rows) == 1
    done = run(command, "f = sum((W @ x)**2)", "W=[[1,2],[3,4]]", "x=[1,2]", "--profile", "--json")
    profile = json.loads(done.stdout)["profile"]
    assert [node["node"] for node in profile["nodes"]] == ["matmul.1", "power.1", "f"]
    assert sum(gate["share"] for gate in profile["gates"]) == pytest.approx(1)
    assert (profile["nodes"][0]["backward_seconds"] > 0) == (command == "grad")
    assert profile["nodes"][0]["output_bytes"] == 16


def test_a_graph_is_drawn_as_a_server_runs_it(target: str):
    """The same tree, with the values and gradients that the server computed."""
    here, there = (
        run("draw", "f = (x + y) * sigmoid(z * x)", "x=-2", "y=5", "z=-0.5", *to) for to in ([], ["--target", target])
    )
    assert there.returncode == 0, there.stderr
    assert here.stdout == there.stdout


def test_draw_prints_a_tree():
    """A row for each edge, from the output down: what it leaves, its value, and the gradient that came back."""
    for command in ("draw", "grad"):
        done = run(command, "f = (x + y) * z", "x=-2", "y=5", "z=-4", *(["--draw"] if command == "grad" else []))
        assert done.returncode == 0, done.stderr
        rows = [line.split() for line in done.stdout.splitlines()]
        assert [row for row in rows if row][2:] == [
            ["f"],
            ["└", "×", "-12", "1"],
            ["├", "+", "3", "-4"],
            ["│", "├", "x", "-2", "-4"],
            ["│", "└", "y", "5", "-4"],
            ["└", "z", "-4", "3"],
        ]


def test_a_deep_tree_does_not_run_out_of_the_terminal():
    """What would stand too far to the right has its operands below, and each value has them once."""
    expression = "\n".join(["h0 = x", *(f"h{i + 1} = tanh(h{i}) * h{i}" for i in range(40)), "f = h40"])
    lines = run("draw", expression, "x=0.5").stdout.splitlines()
    assert max(len(line) for line in lines) <= 200
    assert sum("tanh" in line and "(above)" not in line and "(below)" not in line for line in lines) == 40
    assert any("(above)" in line for line in lines)
    assert any("(below)" in line for line in lines)


def test_grad_takes_files_and_options(tmp_path: Path):
    """Graph files, arrays from files, chosen inputs and outputs, output gradients, special numbers."""
    graphsvc.parse("f = x * w; g = x + w").save(tmp_path / "g.json")
    np.save(tmp_path / "x.npy", np.array([1.0, 2.0]))
    np.savez(tmp_path / "all.npz", w=np.array([3.0, np.inf]), v=np.array([9.0]))
    done = run(
        *("grad", "g.json", "x=@x.npy", "w=@all.npz", "--output", "f", "--output-gradient", "f=[1, 10]"),
        *("--wrt", "x", "--json"),
        cwd=tmp_path,
    )
    assert json.loads(done.stdout) == {"outputs": {"f": [3.0, "Infinity"]}, "input_gradients": {"x": [3.0, "Infinity"]}}
    done = run("run", "f = -v", "v=@all.npz:v", "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == {"outputs": {"f": [-9.0]}}
    done = run("grad", "f = x * 1", "x=NaN", "--json")
    assert json.loads(done.stdout) == {"outputs": {"f": "NaN"}, "input_gradients": {"x": 1.0}}
    done = run("grad", "f = sum(x) + 0 * y; g = y", 'x=[1,"Infinity"]', "y=2", "--output", "g", "--json")
    assert json.loads(done.stdout)["disconnected"] == ["x"]


def test_whole_numbers_are_integers_where_gates_take_no_others():
    """Labels and indices are written as they are; an input that is also computed with stays a float."""
    done = run("grad", "f = sum(take(x, i)) + nll(s, j)", "x=[1,2]", "i=[1,1]", "s=[-1,-2]", "j=1", "--json")
    assert json.loads(done.stdout)["input_gradients"] == {"x": [0.0, 2.0], "s": [0.0, -1.0]}
    done = run("hvp", "f = sum(take(x, i) ** 2)", "x=[1,2]", "i=[1]", "--along", "x=[1,1]", "--json")
    assert "[0.0, 2.0]" in " ".join(done.stdout.split()), done
    assert json.loads(run("run", "f = i / 2", "i=1", "--json").stdout) == {"outputs": {"f": 0.5}}
    assert "float64" in run("run", "f = take(x, i) + i", "x=[1,2]", "i=[1]").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("grad", "f = (x", "x=1"), 1, "Expected ')'"),
        (("grad", "f = nope(x)", "x=1"), 1, "GATE_NOT_FOUND"),
        (("grad", "f = x * y", "x=1"), 1, "INPUT_MISSING"),
        (("grad", "f = x @ y", "x=[1]", "y=[1,2]"), 1, "SHAPE_MISMATCH"),
        (("grad", "f = x", "x"), 2, "is no input"),
        (("grad", "f = x", "x=one"), 2, "is no value"),
        (("grad", "f = x", "x=1", "x=2"), 2, "given twice"),
        (("grad", "f = x", "x=@none.npy"), 2, "cannot be read"),
        (("grad", "none.json", "x=1"), 2, "no file"),
        (("grad",), 2, "Missing argument"),
        (("nonsense",), 2, "No such command"),
        (("grad", "f = x", "x=1", "--target", "localhost:1"), 3, "SERVER_UNREACHABLE"),
        (("run", "f = x", "x=1", "--target", "localhost:1"), 3, "SERVER_UNREACHABLE"),
        (("doctor", "--target", "localhost:1"), 3, "No server answers"),
        (("check", "f = exp(x, x)"), 1, "ARITY_MISMATCH"),
        (("gates", "sigmoyd"), 1, "Did you mean 'sigmoid'"),
        (("grad", "f = a * 2", "A=2"), 1, "Did you mean 'a'"),
        (("grad", "f = x * 2", "x=[1,2]"), 1, "Give --output-gradient f=..., or make it one number, as by sum(...)."),
        (("grad", "f = complex(x, x)", "x=1"), 1, "Give --output-gradient f=..., or make it real"),
        (("grad", "f = x * 2; g = x", "x=1"), 1, "at them, --output-gradient f=..., or ask for one alone, --output f."),
        (("grad", "f = take(x, i)", "x=[1,2]", "i=[1]", "--wrt", "i"), 1, "or leave it out of --wrt"),
        (("grad", "f = x > 1", "x=2"), 1, "Ask for outputs alone with `graphsvc run`"),
        (("hvp", "f = x", "x=1", "--along", "x=1", "--vectors", "0"), 1, "vectors says how many there are"),
        (("grad", "f = take(x, i)", "x=[1,2]", "i=[0.5]"), 1, "must be of an integer dtype, got float64"),
        (("grad", "f = take(x, i)", "x=[1,2]", "i=[[0],[0,1]]"), 1, "unequal length"),
        (("serve", "--port", "99999"), 2, "--port or GRAPHSVC_PORT: "),
        (("grad", "f = x", "x=1", "--target", "localhost"), 3, "Write HOST:PORT"),
        (("grad", "f = x", "x=1", "--target", "http://localhost:1"), 3, "Write HOST:PORT"),
        (("serve", "--plugin", "none"), 1, "not installed"),
        (("grad", "f = x", "x=1", "--profile", "--target", "localhost:1"), 2, "--profile measures time here alone"),
        (("run", "f = x", "x=1", "--profile", "--target", "localhost:1"), 2, "--profile measures time here alone"),
        (("grad", "f = x", "x=1", "--draw", "--target", "localhost:1"), 3, "SERVER_UNREACHABLE"),
        (("draw", "f = x", "x=1", "--target", "localhost:1"), 3, "SERVER_UNREACHABLE"),
        (("grad", "f = x", "x=1", "--draw", "--json"), 2, "Leave out --json"),
        (("draw", "f = x", "-o", "f.gif"), 2, "End its name in .svg, .png, .pdf, .dot"),
        (("draw", "f = x", "-o", "none/f.svg"), 2, "cannot be written: No such file"),
        (("draw", "f = x * y", "x=1", "-o", "f.svg"), 1, "INPUT_MISSING"),
        (("draw", "f = x", "x=1", "--unfold", "a", "--fold", "1"), 1, "no group 'a'"),
        (("draw", "f = x + 1; g = x", "x=1", "--wrt", "x"), 1, "Error [OUTPUT_GRADIENT"),
    ],
)
def test_what_goes_wrong_is_said_with_an_exit_code(arguments, code, says):
    """0 done, 1 refused, 2 usage, 3 unreachable; the reason is on stderr, and no traceback."""
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == "" or arguments[0] == "doctor"


@pytest.mark.parametrize("command", ["run", "grad", "check", "draw"])
def test_an_error_at_a_gate_has_a_caret(command: str):
    """As a syntax error has, whichever command finds it."""
    done = run(command, "f = y * sinn(x)", "x=1", "y=2")
    assert "Did you mean 'sin'?" in done.stderr
    assert done.stderr.endswith("At line 1, column 9:\n    f = y * sinn(x)\n            ^\n")


def test_an_error_of_a_server_has_a_caret():
    """It knows the graph alone, and the command what was written."""
    with serving() as target:
        done = run("run", "f = W @ x", "W=[[1,2]]", "x=[1]", "--target", target)
    assert done.stderr.endswith("At line 1, column 7:\n    f = W @ x\n          ^\n")


@pytest.fixture(scope="module")
def bench_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin `bench` with the gate `logcosh`, which begins like others of graphsvc's own."""
    folder = tmp_path_factory.mktemp("bench")
    install(folder, "bench", GOOD_MODULE.replace("twice", "logcosh"))
    return folder


def test_a_gate_of_a_plugin_is_suggested_without_its_namespace(bench_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Here, where its plugin is imported to know, and on a server, of which the message then speaks."""
    with serving(path=[bench_folder]) as target:
        for command in (("grad", "f = sum(logcosh(x))", "x=1"), ("gates", "logcosh"), ("gates", "logcos")):
            there = run(*command, "--target", target).stderr
            assert "on the server. Did you mean 'bench.logcosh'? List them with `graphsvc gates --target" in there
        assert "No plugin 'other' is installed on the server." in run("gates", "other.x", "--target", target).stderr
        assert "bench.logcosh" in run("gates", "bench", "--target", target).stdout
    assert "bench" not in run("gates", "logcosh").stderr
    monkeypatch.setenv("PYTHONPATH", str(bench_folder))
    for command in (("grad", "f = sum(logcosh(x))", "x=1"), ("gates", "logcosh"), ("gates", "logcos")):
        assert "here. Did you mean 'bench.logcosh'? List them with `graphsvc gates`." in run(*command).stderr


def test_gates_of_a_plugin_are_listed(bench_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By its namespace, they alone; of one that cannot be used it is said why."""
    monkeypatch.setenv("PYTHONPATH", str(bench_folder))
    assert [gate["name"] for gate in json.loads(run("gates", "bench", "--json").stdout)] == ["bench.logcosh"]
    assert run("gates", "bench.logcosh").stdout.startswith("bench.logcosh(x)")
    install(tmp_path, "broken", "raise ValueError('no licence')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "ValueError: no licence" in run("gates", "broken").stderr


def test_a_misspelt_setting_is_told(monkeypatch: pytest.MonkeyPatch):
    """A limit that is set under a wrong name would be no limit."""
    monkeypatch.setenv("GRAPHSVC_MAX_NODE", "5")
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert "Did you mean 'GRAPHSVC_MAX_NODES'" in process.communicate(timeout=20)[1]


@pytest.mark.parametrize("content", [b"\x00\xff\xfe", b"{}", b"[1]", b"not json", b""])
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, content: bytes):
    """Whatever the file holds."""
    (tmp_path / "g.json").write_bytes(content)
    done = run("check", "g.json", cwd=tmp_path)
    assert (done.returncode, "NOT_A_GRAPH" in done.stderr) == (1, True)


def test_check_compares_gradients():
    """It prints the comparison, and fails where they differ, as at a kink."""
    done = run("check", "f = x * sigmoid(y)", "x=2", "y=[0.5,-1]", "--gradients")
    assert done.returncode == 0
    assert done.stdout.count(" ok") == 2
    done = run("check", "f = max(x, 0)", "x=0.0000001", "--gradients")
    assert done.returncode == 1
    assert "WRONG" in done.stdout
    assert "'x'" in done.stderr


def test_check_asks_a_server(bench_folder: Path):
    """Whose gates are not here: the graph alone, at inputs, and its gradients; a wrong gradient is found there too."""
    with serving(path=[bench_folder]) as target:
        there = ("--target", target)
        assert "every gate of the graph" in run("check", "f = bench.logcosh(x)", *there).stdout
        assert "float64[2]" in run("check", "f = bench.logcosh(x)", "x=[1,2]", *there).stdout
        assert " ok" in run("check", "f = bench.logcosh(x) * y", "x=[1,2]", "y=3", "--gradients", *there).stdout
        assert "WRONG" in run("check", "f = max(x, 0)", "x=0.0000001", "--gradients", *there).stdout
        for arguments, code, says in (
            (("f = bench.logcsh(x)",), 1, "on the server. Did you mean 'bench.logcosh'?"),
            (("f = bench.logcosh(x, x)",), 1, "ARITY_MISMATCH"),
            (("f = bench.logcosh(x) @ y", "x=[1,2]", "y=[1]"), 1, "SHAPE_MISMATCH"),
            (("f = x", "x=1", "--plan"), 2, "--plan shows how the graph would run here"),
        ):
            done = run("check", *arguments, *there)
            assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "No plugin 'bench' is installed here" in run("check", "f = bench.logcosh(x)").stderr


def test_gates_lists_and_describes(target: str):
    """Every gate with its operands; one with its attributes; the same as JSON, and of a server."""
    listed = json.loads(run("gates", "--json").stdout)
    assert {"matmul", "sigmoid", "svm_hinge"} <= {gate["name"] for gate in listed}
    assert "axis" in run("gates", "softmax").stdout
    assert json.loads(run("gates", "softmax", "--json").stdout)["attributes"]["axis"]["default"] == -1
    assert run("gates", "--json", "--target", target).stdout == run("gates", "--json").stdout
    assert "Did you mean 'sigmoid'" in run("gates", "sigmoyd", "--target", target).stderr


def test_gates_are_searched_and_shown(target: str):
    """By words of name, documentation or field; one with all there is to know, also of a server."""
    assert "softmax" in run("gates", "--search", "softmax").stdout
    assert "matmul" not in run("gates", "--search", "softmax").stdout
    assert "No gate has 'xyzzy'" in run("gates", "--search", "xyzzy").stdout
    assert "expand_dims" in run("gates", "--search", "unsqueeze").stdout
    shown = run("gates", "exp").stdout
    version = rf"version +1, of graphsvc {graphsvc.__version__}"
    for line in (version, "gradients of +x", "fused +yes", r"example +exp\(x\)"):
        assert re.search(line, shown), shown
    assert run("gates", "take", "--target", target).stdout == run("gates", "take").stdout
    here = json.loads(run("gates", "take", "--json").stdout)
    assert json.loads(run("gates", "take", "--json", "--target", target).stdout) == here
    assert here["integers"] == ["indices"]
    assert here["example"].startswith("take(x, indices")


def test_the_reference_pages_are_current():
    """`docs/gates` says what the gates say of themselves now; `make docs` writes it."""
    folder = ROOT / "docs" / "gates"
    made = pages()
    assert {path.name for path in folder.glob("*")} == set(made), "Run `make docs`."
    stale = [name for name, text in made.items() if (folder / name).read_text() != text]
    assert not stale, f"{', '.join(stale)} of docs/gates are not current. Run `make docs`."
    assert all(f"## {name}\n" in "".join(made.values()) for name in default_registry().gates())


def test_pages_are_written_anew(tmp_path: Path):
    """Pages of families that are gone go as well."""
    (tmp_path / "gone.md").touch()
    done = run("gates", "--pages", str(tmp_path))
    assert done.returncode == 0
    assert {path.name for path in tmp_path.glob("*")} == set(pages())


def test_doctor_examines_a_server(target: str, bench_folder: Path, tmp_path: Path):
    """It asks the server for a gradient and compares it, and lists its plugins; one that is refused is a finding."""
    done = run("doctor", "--target", target)
    assert done.returncode == 0
    assert f"server {target}" in done.stdout
    assert re.search(rf"ok +plugins of {target} +none", done.stdout)
    with serving(path=[bench_folder]) as served:
        done = run("doctor", "--target", served)
        assert re.search(rf"ok +plugins of {served} +bench \(planted-bench 1.5\)", done.stdout)
    install(tmp_path, "broken", "raise ValueError('no licence')")
    with serving(path=[bench_folder, tmp_path]) as served:
        done = run("doctor", "--target", served)
        assert done.returncode == 1
        assert re.search(rf"FAILED +plugins of {served} +'broken' \(failed\) cannot be used there", done.stdout)


def test_a_server_says_what_plugins_it_has(bench_folder: Path, tmp_path: Path):
    """One line for those that are loaded, and one of the log for each that is not, with the cause."""
    install(tmp_path, "broken", "raise ValueError('no licence')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(bench_folder), str(tmp_path)])}
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        assert process.stdout.readline() == "plugins: bench (planted-bench 1.5)\n"
        process.send_signal(signal.SIGTERM)
        (line,) = process.communicate(timeout=20)[1].splitlines()
    assert "The plugin 'broken' is not loaded (failed): " in line
    assert line.endswith("ValueError: no licence")


def test_every_setting_is_a_flag():
    """Of `graphsvc serve`, with what it is; it counts before the environment."""
    shown = " ".join(help_text(("serve",)).split())
    for name, field in Settings.model_fields.items():
        assert f" {flag_of(name)} " in shown
        assert name == "plugins" or field.description.split()[0] in shown
    with serving("--max-nodes", "1", environment={"GRAPHSVC_MAX_NODES": "9"}) as target:
        refused = run("run", "f = -(-x)", "x=1", "--target", target).stderr
        assert "this server takes 1 (--max-nodes or GRAPHSVC_MAX_NODES)" in refused
    done = run("serve", "--max-nodes", "0")
    assert (done.returncode, "--max-nodes or GRAPHSVC_MAX_NODES: " in done.stderr) == (2, True)


@pytest.mark.parametrize("command", every_command(), ids=lambda command: " ".join(command) or "graphsvc")
def test_every_help_text_has_an_example(command: tuple[str, ...]):
    """`--help` of every command and subcommand shows one."""
    assert re.search(r"^ +graphsvc ", help_text(command), re.MULTILINE)


@pytest.mark.parametrize("example", [e for e in examples() if " serve" not in e])
def test_an_example_of_a_help_text_runs(example: str, tmp_path: Path):
    """Each example does what it says, in an empty folder."""
    done = run(*shlex.split(example)[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_example_of_serve_serves():
    """It says where it listens, answers, and stops when it is told to."""
    (example,) = [e for e in examples() if " serve" in e]
    with subprocess.Popen([*COMMAND, *shlex.split(example)[1:]], stdout=subprocess.PIPE, text=True) as process:
        target = process.stdout.readline().split()[-1]
        assert run("run", "f = x + 1", "x=1", "--json", "--target", target).stdout == '{"outputs": {"f": 2.0}}\n'
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_help_imports_nothing_heavy():
    """`--help` must answer within 150 ms, so it imports neither NumPy nor gRPC nor pydantic nor any command."""
    code = """
import sys
from graphsvc.cli.main import main
try: main(["--help"])
except SystemExit: pass
heavy = {"numpy", "grpc", "pydantic", "networkx", "rich", "google"}
heavy |= {m for m in sys.modules if m == "graphsvc.engine.graph"}
print("imported:", sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith("imported: []\n")


def test_every_command_is_in_the_help():
    """The table of lazy commands and the modules agree."""
    folder = Path(importlib.import_module("graphsvc.cli").__file__).parent
    helpers = {"__init__", "arguments", "main", "printing", "question", "reference", "scaffold"}
    modules = {path.stem for path in folder.glob("*.py")} - helpers
    assert modules == set(COMMANDS)
    assert main.name == "main"


def test_output_is_plain_where_it_is_piped():
    """No colours and no escape codes."""
    assert "\x1b" not in run("grad", "f = x * x", "x=3").stdout


def test_settings_tell_where_they_come_from(tmp_path):
    """The environment counts before the file, the file before the default; what is no setting is refused by name."""
    file = tmp_path / "settings.toml"
    file.write_text("threads = 3\nmax_nodes = 7\n")
    environment = {**os.environ, "GRAPHSVC_CONFIG": str(file), "GRAPHSVC_MAX_NODES": "5"}
    done = subprocess.run([*COMMAND, "config", "--json"], env=environment, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["threads"] == {"value": 3, "origin": str(file)}
    assert said["max_nodes"] == {"value": 5, "origin": "GRAPHSVC_MAX_NODES"}
    assert said["queue_length"]["origin"] == "default"
    for text, message in (("thread = 3", "There is no setting 'thread'"), ("threads = ", "cannot be read")):
        file.write_text(text)
        done = subprocess.run([*COMMAND, "config"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert message in done.stderr
