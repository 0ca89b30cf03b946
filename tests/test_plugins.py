"""Plugins: strangers' packages come in through the same hook, and none harms another."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

import graphsvc
from graphsvc import ComputationalGraph, errors
from graphsvc.engine.plugins import PluginReport, PluginState, find_plugins, import_plugin, probe_plugin
from graphsvc.engine.registry import Registry
from graphsvc.testing import serving
from tests.planted import FAULTS, GOOD_MODULE, install


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every faulty plugin, two that claim one namespace, and a good one."""
    folder = tmp_path_factory.mktemp("faults")
    for namespace, (_, _, source) in FAULTS.items():
        install(folder, namespace, source)
    install(folder, "contested", GOOD_MODULE, package="planted-first")
    install(folder, "contested", GOOD_MODULE, package="planted-second")
    return folder


def in_fresh_process(code: str, path: Path) -> str:
    """Run code with `path` importable, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_plugin_list_reports_every_plugin_with_state_and_cause(faults: Path):
    """One plugin that raises, exits, crashes or hangs stops no other: each is listed with what became of it."""
    environment = {**os.environ, "PYTHONPATH": str(faults)}
    command = [sys.executable, "-m", "graphsvc", "plugin", "list", "--json", "--seconds", "5"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=True)
    listed = {row["namespace"]: row for row in json.loads(done.stdout)}
    assert set(listed) == {*FAULTS, "contested"}
    for namespace, (state, cause, _) in FAULTS.items():
        row = listed[namespace]
        assert row["state"] == state, row
        assert cause in row["cause"], row
        assert (row["distribution"], row["version"]) == (f"planted-{namespace}", "1.5")
        assert row["gates"] == (["twice"] if state == "loaded" else [])
    assert listed["contested"]["state"] == "conflict"
    assert "planted-first" in listed["contested"]["cause"]
    assert "planted-second" in listed["contested"]["cause"]


def test_a_plugin_is_imported_only_when_a_graph_names_it(faults: Path):
    """Importing graphsvc and running a graph of its own gates imports no plugin; naming one imports that alone."""
    code = """
import sys, graphsvc
def planted(): return sorted(m for m in sys.modules if m.startswith("planted"))
graphsvc.parse("f = exp(x)").value_and_grad({"x": 1.0})
assert planted() == [], planted()
outputs, gradients = graphsvc.parse("f = good.twice(x)").value_and_grad({"x": 3.0})
assert planted() == ["planted_good"], planted()
print(outputs["f"], gradients["x"])
"""
    assert in_fresh_process(code, faults) == "6.0 2.0\n"


@pytest.mark.parametrize("namespace", ["raises", "exits", "missing", "misspelt", "contested", "future"])
def test_a_graph_that_names_a_refused_plugin_says_why(faults: Path, namespace: str):
    """The error names the plugin and its fault, at every try; other gates go on working."""
    code = f"""
import graphsvc
from graphsvc.errors import PluginError
for _ in range(2):
    try:
        graphsvc.parse("f = {namespace}.twice(x)").value_and_grad({{"x": 3.0}})
    except PluginError as error:
        assert {namespace!r} in str(error), error
        print(error.reason)
print(graphsvc.parse("f = good.twice(x)").value_and_grad({{"x": 3.0}})[0]["f"])
"""
    assert in_fresh_process(code, faults) == "PLUGIN_REFUSED\nPLUGIN_REFUSED\n6.0\n"


def test_a_plugin_may_be_registered_under_the_name_of_its_class(physics_folder: Path):
    """A gate object of an installed plugin is saved under its full name, whether or not the plugin was named before."""
    code = """
import graphsvc
from graphsvc_physics.heat import Heat
graph = graphsvc.ComputationalGraph()
graph.output("f", graph.add(Heat(steps=3), graph.input("u"), graph.input("k")))
node = graph.document().nodes[0]
print(node.gate, dict(node.attributes), graph.document().gates)
"""
    assert in_fresh_process(code, physics_folder) == "physics.heat {'steps': 3} {'physics.heat': 1}\n"


PACKAGES = sorted(folder.name for folder in (ROOT / "plugins").iterdir())


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_passes_its_own_tests(package: str, installed: Callable[[str], Path]):
    """Every package of `plugins/`, installed by pip, passes its tests against this graphsvc."""
    environment = {**os.environ, "PYTHONPATH": str(installed(package))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests"]
    folder = ROOT / "plugins" / package
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_the_commands_of_a_package_run(package: str, installed: Callable[[str], Path]):
    """What its README shows for the command line, with the package installed; pip itself was tried before."""
    text = (ROOT / "plugins" / package / "README.md").read_text()
    lines = re.findall(r"^    (graphsvc .+)$", text, re.MULTILINE)
    assert lines
    for line in lines:
        command = [sys.executable, "-m", *shlex.split(line)]
        environment = {**os.environ, "PYTHONPATH": str(installed(package))}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        assert "f" in done.stdout


def test_a_client_without_a_plugin_uses_a_gate_that_only_the_server_has(physics_folder: Path):
    """The package is importable on the server alone; the client builds, sends and differentiates its gate by name."""
    graph = ComputationalGraph()
    u, k = graph.input("u"), graph.input("k")
    graph.output("f", graph.add("sum_square", graph.add("physics.heat", u, k, steps=3)))
    inputs = {"u": [[0.0, 8.0, 0.0], [0.0, 0.0, 1.0]], "k": [[0.1, 0.2, 0.1], [0.2, 0.1, 0.2]]}
    assert "physics" not in find_plugins()
    with pytest.raises(errors.UnknownGateError, match="No plugin 'physics'"):
        graph.value_and_grad(inputs)
    with serving(path=[physics_folder]) as target, graphsvc.connect(target) as client:
        outputs, gradients = client.value_and_grad(graph, inputs)
        assert {gate.name for gate in client.gates()} >= {"physics.heat", "physics.truss", "matmul"}
        (plugin,) = client.server_info().plugins
        assert (plugin.namespace, plugin.distribution, plugin.state) == ("physics", "graphsvc-physics", "loaded")
    code = f"""
import graphsvc
graph = graphsvc.parse("f = sum_square(physics.heat(u, k, steps=3))")
outputs, gradients = graph.value_and_grad({inputs!r})
print(repr([float(outputs["f"]), gradients["u"].tolist(), gradients["k"].tolist()]))
"""
    expected = [float(outputs["f"]), gradients["u"].tolist(), gradients["k"].tolist()]
    assert in_fresh_process(code, physics_folder) == f"{expected!r}\n"
    assert gradients["k"][0, 1] < 0


def test_a_server_starts_whatever_its_plugins_do(faults: Path):
    """Faulty plugins are reported and absent; a graph that names one gets NOT_FOUND; good ones work."""
    with (
        serving(path=[faults], environment={"GRAPHSVC_PLUGIN_SECONDS": "5"}) as target,
        graphsvc.connect(target) as client,
    ):
        states = {plugin.namespace: plugin.state for plugin in client.server_info().plugins}
        expected = {namespace: state for namespace, (state, _, _) in FAULTS.items()} | {"contested": "conflict"}
        assert states == expected
        with pytest.raises(errors.UnknownGateError, match="No plugin 'raises' is installed on the server"):
            client.value_and_grad(graphsvc.parse("f = raises.twice(x)"), {"x": 1.0})
        outputs, _ = client.value_and_grad(graphsvc.parse("f = good.twice(x)"), {"x": 1.0})
        assert outputs["f"] == 2


def test_a_strict_server_does_not_start_without_its_plugins(faults: Path):
    """Under GRAPHSVC_PLUGIN_STRICT a plugin that cannot be used is fatal, and named with its fault."""
    environment = {**os.environ, "PYTHONPATH": str(faults), "GRAPHSVC_PLUGIN_STRICT": "1"}
    command = [sys.executable, "-m", "graphsvc", "serve", "--port", "0", "--plugin", "raises"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "'raises' is not loaded (failed)" in done.stderr


def test_a_server_may_allow_some_plugins_alone(faults: Path):
    """`--plugin` names the ones that are imported; others are as if not installed."""
    with serving("--plugin", "good", path=[faults]) as target, graphsvc.connect(target) as client:
        assert [plugin.namespace for plugin in client.server_info().plugins] == ["good"]
        with pytest.raises(errors.UnknownGateError):
            client.value_and_grad(graphsvc.parse("f = prints.twice(x)"), {"x": 1.0})


def test_plugins_that_are_not_allowed_are_not_imported(faults: Path, monkeypatch: pytest.MonkeyPatch):
    """GRAPHSVC_PLUGINS allows by name, in process as on a server; empty, it allows none; the message says so."""
    code = """
import sys, graphsvc
from graphsvc.errors import PluginError
try:
    graphsvc.parse("f = good.twice(x)").value_and_grad({"x": 3.0})
except PluginError as error:
    print(error)
assert not [m for m in sys.modules if m.startswith("planted")]
"""
    monkeypatch.setenv("GRAPHSVC_PLUGINS", "")
    assert (
        in_fresh_process(code, faults) == "GRAPHSVC_PLUGINS allows none. Add its namespace there, if it may be used.\n"
    )
    monkeypatch.setenv("GRAPHSVC_PLUGINS", "prints, ails")
    assert in_fresh_process(code, faults).startswith("GRAPHSVC_PLUGINS allows prints, ails. ")
    monkeypatch.setenv("GRAPHSVC_PLUGINS", "good")
    code = "import graphsvc; print(graphsvc.parse('f = good.twice(x)').value_and_grad({'x': 3.0})[0]['f'])"
    assert in_fresh_process(code, faults) == "6.0\n"
    command = [sys.executable, "-m", "graphsvc", "plugin", "list", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(faults)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    states = {row["namespace"]: row["state"] for row in json.loads(done.stdout)}
    assert states.pop("good") == "loaded"
    assert set(states.values()) == {"not allowed"}


def test_strictness_makes_the_first_broken_plugin_fatal(faults: Path, monkeypatch: pytest.MonkeyPatch):
    """In process a good plugin is not to be had either, and the list of plugins ends with an error."""
    monkeypatch.setenv("GRAPHSVC_PLUGIN_STRICT", "1")
    monkeypatch.setenv("GRAPHSVC_PLUGINS", "good,raises")
    code = """
import graphsvc
from graphsvc.errors import PluginError
for _ in range(2):
    try:
        graphsvc.parse("f = good.twice(x)").value_and_grad({"x": 3.0})
    except PluginError as error:
        assert "at import" in str(error)
        print(error.facts["plugin"])
print(graphsvc.parse("f = exp(x)").value_and_grad({"x": 0.0})[0]["f"])
"""
    assert in_fresh_process(code, faults) == "raises\nraises\n1.0\n"
    environment = {**os.environ, "PYTHONPATH": str(faults)}
    command = [sys.executable, "-m", "graphsvc", "plugin", "list"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "'raises' is not loaded (failed)" in done.stderr
    monkeypatch.setenv("GRAPHSVC_PLUGINS", "good")
    code = "import graphsvc; print(graphsvc.parse('f = good.twice(x)').value_and_grad({'x': 3.0})[0]['f'])"
    assert in_fresh_process(code, faults) == "6.0\n"


def test_doctor_asks_plugins_what_they_find(faults: Path, monkeypatch: pytest.MonkeyPatch):
    """By the hook graphsvc_doctor, in a child process; a hook that raises is a finding that is bad."""
    monkeypatch.setenv("GRAPHSVC_PLUGINS", "ails,ails_badly,good")
    environment = {**os.environ, "PYTHONPATH": str(faults)}
    command = [sys.executable, "-m", "graphsvc", "doctor"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert re.search(r"ok +plugin ails: its data +12 tables of ails", done.stdout)
    assert re.search(r"FAILED +plugin ails: its licence +expired; renew it", done.stdout)
    assert re.search(r"FAILED +plugin ails_badly: graphsvc_doctor +failed: ZeroDivisionError", done.stdout)
    assert re.search(r"ok +plugin good +planted-good 1.5: twice", done.stdout)
    assert re.search(r"ok +plugin raises +not allowed", done.stdout)
    assert "2 of " in done.stderr


def test_a_probe_ends_a_plugin_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The time limit holds, and the child process is gone."""
    install(tmp_path, "hangs", FAULTS["hangs"][2])
    monkeypatch.syspath_prepend(str(tmp_path))
    report = probe_plugin(find_plugins()["hangs"], seconds=2)
    assert report.state is PluginState.TIMED_OUT


def test_one_registry_loads_a_plugin_once_for_many_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Threads that name a plugin at once get the same classes."""
    from concurrent.futures import ThreadPoolExecutor

    install(tmp_path, "once", GOOD_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry()
    with ThreadPoolExecutor(8) as pool:
        classes = set(pool.map(lambda _: registry.gate_class("once.twice"), range(64)))
    assert len(classes) == 1


def test_a_namespace_that_is_no_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An entry point named `my-plugin` cannot stand before a dot."""
    install(tmp_path, "my-plugin", GOOD_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    report = find_plugins()["my-plugin"]
    assert report.state is PluginState.FAILED
    assert "no name" in report.cause


def test_a_conflict_is_not_imported():
    """What is refused when it is found is refused when it is imported."""
    report = PluginReport("a", "b", "1", "c").refused(PluginState.CONFLICT, "two packages claim it")
    with pytest.raises(errors.PluginError, match="two packages"):
        import_plugin(report)


# A package of one's own ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A package that `graphsvc plugin new tides` wrote, installed as an author does, and the Python that has it."""
    folder = tmp_path_factory.mktemp("author")
    done = subprocess.run(
        [sys.executable, "-m", "graphsvc", "plugin", "new", "tides"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "", "HTTPS_PROXY": "http://localhost:1"},
        capture_output=True,
        text=True,
        check=True,
    )
    package = folder / "graphsvc-tides"
    assert f"cd {package.name} && pip install -e '.[test]'" in done.stdout
    # An environment that sees what this one has, so that nothing is fetched.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    (site,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    (site / "outer.pth").write_text("\n".join([str(ROOT), *(p for p in sys.path if p.endswith("site-packages"))]))
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-build-isolation", "--no-index", "-e", "."]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], cwd=package, check=True)
    return package, python


def test_a_new_package_passes_its_test_and_the_kit_at_once(fresh: tuple[Path, Path]):
    """`graphsvc plugin new`, `pip install -e .`, `pytest`, `graphsvc plugin check`, with no network and no edit."""
    package, python = fresh
    command = [python, "-m", "pytest", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    command = [python, "-m", "graphsvc", "plugin", "check", "tides"]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"tides\.soft_clip +2 +\d+ +\d+ +ok", done.stdout)
    assert re.search(r"^1 of 1 gates obey every law: 2 examples, \d+ checks\.$", done.stdout, re.MULTILINE)
    lint = [sys.executable, "-m", "ruff", "check", "--isolated", "."]
    assert subprocess.run(lint, cwd=package, check=False, capture_output=True).returncode in (0, 1)


def test_the_gate_of_a_new_package_runs_on_a_server(fresh: tuple[Path, Path]):
    """As its README says: a server has it from its start on, and a client needs no installation."""
    package, python = fresh
    readme = (package / "README.md").read_text()
    (local,) = re.findall(r"^    (graphsvc grad .+ x=1)$", readme, re.MULTILINE)
    (remote,) = re.findall(r"^    (graphsvc grad .+ --target localhost:50051)$", readme, re.MULTILINE)
    arguments = shlex.split(local)[1:]
    here = subprocess.run(
        [python, "-m", "graphsvc", *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    serve = [python, "-m", "graphsvc", "serve", "--port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        try:
            target = next(line for line in server.stdout if " listening on " in line).split()[-1]
            command = [*shlex.split(remote.replace("localhost:50051", target))]
            there = subprocess.run(
                [sys.executable, "-m", *command], capture_output=True, text=True, timeout=60, check=True
            )
        finally:
            server.terminate()
    assert there.stdout == here.stdout
    assert "0.7864" in here.stdout


@pytest.mark.parametrize("namespace", ["Tides", "2d", "graphsvc", "import", "my-gates", "../up", ""])
def test_a_namespace_that_cannot_be_is_refused_before_anything_is_written(namespace: str, tmp_path: Path):
    """The same where the folder is taken."""
    for arguments in ([namespace], ["tides", "--folder", "."]):
        (tmp_path / "taken").touch()
        done = subprocess.run(
            [sys.executable, "-m", "graphsvc", "plugin", "new", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert "cannot be a namespace" in done.stderr or "nothing is overwritten" in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_plugin_check_tells_what_a_gate_breaks(faults: Path):
    """The law, the problem and the example; exit code 1, and the same as JSON."""
    install(faults, "wrong", GOOD_MODULE.replace("return 2 * dz", "return 3 * dz"))
    environment = {**os.environ, "PYTHONPATH": str(faults)}
    command = [sys.executable, "-m", "graphsvc", "plugin", "check", "wrong"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "twice: adjoint: The gradient of gate 'twice' for operand 'x' at" in done.stdout
    assert "1 of 1 gates break a law" in done.stderr
    done = subprocess.run(
        [*command, "--json"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    (failure, *_) = json.loads(done.stdout)["wrong"]["twice"]["failures"]
    assert failure["law"] == "adjoint"
    for namespace, says in (("raises", "ValueError: at import"), ("god", "Did you mean 'good'")):
        command = [sys.executable, "-m", "graphsvc", "plugin", "check", namespace]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, says in done.stderr) == (1, True), done.stderr
