"""What commands have in common: graphs, inputs and targets as they are written on a command line."""

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
import numpy as np

from graphsvc.arrays import Array
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.reading import load, parse, with_integers
from graphsvc.errors import GraphsvcError
from graphsvc.expression import placed
from graphsvc.plaindata import number_from_data

if TYPE_CHECKING:
    from graphsvc.client.client import Client

__all__ = [
    "connected",
    "graph_argument",
    "inputs_argument",
    "read_graph",
    "read_inputs",
    "remote_options",
]

_F = TypeVar("_F", bound=Callable[..., Any])

inputs_argument = click.argument("inputs", nargs=-1, metavar="[NAME=VALUE]...")


def graph_argument(command: _F) -> _F:
    """Add GRAPH; an error at a gate of an expression says where that stands."""

    @functools.wraps(command)
    def placing(*, graph: str, **others: Any) -> Any:
        try:
            return command(graph=graph, **others)
        except GraphsvcError as error:
            raise placed(error, graph) from error

    return click.argument("graph")(cast(_F, placing))


def remote_options(command: _F) -> _F:
    """Add `--target` and `--timeout`."""
    command = click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds for the call.")(
        command
    )
    return click.option("--target", metavar="HOST:PORT", help="Run on this server instead of here.")(command)


def read_graph(text: str) -> ComputationalGraph:
    """Return the graph of a file, or of an expression where there is no such file."""
    path = Path(text)
    if path.suffix == ".json" or (len(text) < 256 and "\n" not in text and path.is_file()):
        if not path.is_file():
            msg = f"{text!r} is a folder." if path.is_dir() else f"There is no file {text!r}."
            raise click.BadParameter(msg)
        return load(path)
    return parse(text)


def read_inputs(pairs: Iterable[str], graph: ComputationalGraph | None = None) -> dict[str, object]:
    """Read `name=value` pairs: numbers, JSON lists, `@file.npy`, `@file.npz` or `@file.npz:array`.

    Args:
        pairs: As they are written.
        graph: Whose inputs they are. Whole numbers for labels or indices are integers, which a command line cannot say.

    Returns:
        The values by name.
    """
    inputs = _read(pairs)
    return with_integers(inputs, graph) if graph else inputs


def _read(pairs: Iterable[str]) -> dict[str, object]:
    inputs: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            msg = f"{pair!r} is no input. Write NAME=VALUE, as in x=-2, x=[1,2] or x=@data.npy."
            raise click.BadParameter(msg)
        if name in inputs:
            msg = f"{name!r} is given twice."
            raise click.BadParameter(msg)
        inputs[name] = _from_file(name, text[1:]) if text.startswith("@") else _from_text(name, text)
    return inputs


def _from_text(name: str, text: str) -> object:
    number = number_from_data(text)
    if isinstance(number, float):
        return number
    try:
        return _numbers(json.loads(text))
    except (ValueError, RecursionError):
        msg = f"{text!r} is no value for {name!r}. Write a number, NaN, Infinity, a list as [1,2.5], or @file.npy."
        raise click.BadParameter(msg) from None


def _numbers(data: object) -> object:
    """Return JSON data with `"NaN"` and the like as numbers."""
    if isinstance(data, list):
        return [_numbers(item) for item in data]
    number = number_from_data(data)
    if isinstance(number, bool | int | float):
        return number
    msg = "not a number"
    raise ValueError(msg)


def _from_file(name: str, text: str) -> Array:
    path, _, key = text.partition(":")
    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        msg = f"{path!r} cannot be read as an array of NumPy: {error}."
        raise click.BadParameter(msg) from None
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if (key or name) not in loaded:
            msg = f"{path!r} holds {', '.join(loaded.files)}, and no {key or name!r}. Write @{path}:ARRAY."
            raise click.BadParameter(msg)
        array: Array = loaded[key or name]
        return array


@contextmanager
def connected(target: str | None, timeout: float) -> "Iterator[Client | None]":
    """Connect to a server; to none, where there is no target."""
    if target is None:
        yield None
        return
    # gRPC takes a quarter of a second to import, which what runs here does not need.
    from graphsvc.client.client import connect

    with connect(target, timeout=timeout) as client:
        yield client
