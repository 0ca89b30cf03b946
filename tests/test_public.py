"""The public surface: names, errors, statuses, and what leaves the project."""

import ast
import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grpc
import pytest
from conftest import ROOT
from google.rpc import code_pb2

import graphsvc
from graphsvc import errors
from graphsvc.errors import GraphsvcError, error_classes
from graphsvc.serving.settings import Settings
from graphsvc.wire.status import _CODES, code_of, shortened, status_of

MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(graphsvc.__path__, "graphsvc.")
    if not name.startswith("graphsvc.v1.") and not name.endswith("__main__")
]
ERRORS = sorted(error_classes(), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("name", graphsvc.__all__)
def test_a_public_name_is_there_and_documented(name: str):
    """Each resolves lazily, and says what it is."""
    value = getattr(graphsvc, name)
    assert name in ("__version__", "Array") or inspect.getdoc(value)


def test_the_lazy_table_and_the_types_agree():
    """What a type checker sees is what is there."""
    tree = ast.parse(Path(graphsvc.__file__).read_text())
    checked = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("graphsvc")
        for alias in node.names
    }
    assert checked | {"__version__"} == set(graphsvc.__all__)
    assert dir(graphsvc) == sorted(graphsvc.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = graphsvc.nonsense


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is_for_and_what_is_public(name: str):
    """A docstring; `__all__` names things that exist; every public function and class in it is documented."""
    module = importlib.import_module(name)
    assert module.__doc__
    public = getattr(module, "__all__", ())
    for item in public:
        value = getattr(module, item)
        if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == name:
            assert value.__doc__, f"{name}.{item}"
            if inspect.isclass(value):
                for attribute, member in vars(value).items():
                    if inspect.isfunction(member) and not attribute.startswith("_"):
                        assert member.__doc__, f"{name}.{item}.{attribute}"


def test_the_version_is_said_once_in_each_place():
    """The package's metadata and `__version__` agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == graphsvc.__version__


def test_every_error_is_in_the_tree_and_public():
    """The drawing at the top of the module names each class, under its parent; `__all__` has each."""
    lines = [line for line in errors.__doc__.splitlines() if "──" in line]
    drawn = {line.split("── ")[1].split()[0] for line in lines}
    assert drawn | {"GraphsvcError"} == {cls.__name__ for cls in ERRORS}
    assert {cls.__name__ for cls in ERRORS} <= set(errors.__all__)
    stack = ["GraphsvcError"]
    for line in lines:
        depth = (line.index("──") - 5) // 4
        stack = stack[: depth + 1]
        name = line.split("── ")[1].split()[0]
        assert getattr(errors, name).__mro__[1].__name__ == stack[-1], name
        stack.append(name)


def test_reasons_are_stable_and_of_one_class_each():
    """Each class has its own reason in upper snake case; these are published, so the list only grows."""
    reasons = [cls.reason for cls in ERRORS]
    assert len(set(reasons)) == len(reasons)
    assert all(reason.replace("_", "").isalpha() and reason.isupper() for reason in reasons)
    assert {"SHAPE_MISMATCH", "GATE_NOT_FOUND", "GRAPH_UNKNOWN", "NOT_DIFFERENTIABLE"} <= set(reasons)


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
def test_an_error_survives_pickle_and_has_a_status(cls: type[GraphsvcError]):
    """Message and facts come back; the status is none of the four that are not used, and is short."""
    error = cls("what is wrong " + "x" * 3000, node="n" * 500, gate="g")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), again.message, again.facts) == (cls, error.message, error.facts)
    unused = {code_pb2.UNKNOWN, code_pb2.DATA_LOSS, code_pb2.OUT_OF_RANGE, code_pb2.ALREADY_EXISTS, code_pb2.OK}
    assert code_of(error) not in unused
    status = status_of(error)
    assert isinstance(status.code, grpc.StatusCode)
    assert len(status.details.encode()) <= 512
    assert sum(len(value) for _, value in status.trailing_metadata) <= 3072


def test_the_table_of_statuses_names_classes_of_the_tree():
    """And the root of the tree, so that every error has a status."""
    assert GraphsvcError in _CODES
    assert set(_CODES) <= set(ERRORS)


def test_a_message_is_cut_between_characters():
    """Never within one."""
    assert shortened("é" * 400).encode().decode() == "é" * 254 + "..."


def test_settings_come_from_flags_environment_and_defaults(monkeypatch: pytest.MonkeyPatch):
    """In this order; unknown values are refused; every setting is described."""
    monkeypatch.setenv("GRAPHSVC_PORT", "7")
    assert Settings().port == 7
    assert Settings(port=8).port == 8
    monkeypatch.setenv("GRAPHSVC_PLUGINS", "heat,signal")
    assert Settings().plugins == ("heat", "signal")
    with pytest.raises(ValueError, match="finite"):
        Settings(max_seconds=float("inf"))
    monkeypatch.setenv("GRAPHSVC_PORT", "none")
    with pytest.raises(ValueError, match="port"):
        Settings()
    assert all(field.description for field in Settings.model_fields.values())


def test_importing_the_engine_imports_no_network():
    """Graphsvc in process needs no gRPC, no protobuf, no networkx and no masked arrays, which few need."""
    code = """
import sys, numpy, graphsvc
graphsvc.parse("f = sum(x * x)").value_and_grad({"x": numpy.ones(2)})
print(sorted({"grpc", "google.protobuf", "networkx", "numpy.ma"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
