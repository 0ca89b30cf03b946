"""What commands print: tables for people, JSON for programs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from graphsvc.arrays import Array
from graphsvc.evaluation import InputGradients
from graphsvc.plaindata import array_to_data

__all__ = ["print_arrays", "print_json", "print_table", "results_to_data", "shown"]


def shown(array: Array) -> str:
    """Return an array in a few lines; single numbers in full."""
    if array.ndim == 0:
        return str(array.item())
    return np.array2string(array, threshold=50, edgeitems=2, max_line_width=72)


def print_json(data: Any) -> None:
    """Print data as one line of JSON."""
    print(json.dumps(data, allow_nan=False))  # noqa: T201 - the command's output


def results_to_data(outputs: Mapping[str, Array], gradients: InputGradients | None) -> dict[str, Any]:
    """Return results as JSON data; inputs that are not connected are listed if there are any."""
    data: dict[str, Any] = {"outputs": {name: array_to_data(array) for name, array in outputs.items()}}
    if gradients is not None:
        data["input_gradients"] = {name: array_to_data(array) for name, array in gradients.items()}
        if gradients.disconnected:
            data["disconnected"] = list(gradients.disconnected)
    return data


def print_arrays(outputs: Mapping[str, Array], gradients: InputGradients | None) -> None:
    """Print outputs in green and gradients in red, as the lecture draws them."""
    rows = [("output", name, Text(shown(array), style="green")) for name, array in outputs.items()]
    for name, array in (gradients or {}).items():
        note = "  (disconnected)" if gradients and name in gradients.disconnected else ""
        rows.append(("gradient", name, Text(shown(array) + note, style="red")))
    print_table(("", "name", "value"), rows)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print a table; plain where it is not read in a terminal, and then as wide as it needs to be."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)
