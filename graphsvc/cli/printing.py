"""What commands print: tables for people, JSON for programs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, OverflowMethod
from rich.table import Table
from rich.text import Text

from graphsvc.arrays import Array
from graphsvc.drawing.picture import Picture
from graphsvc.drawing.terminal import HEADINGS, tree_rows
from graphsvc.engine.diagnosis import Finding
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.profile import Cost
from graphsvc.plaindata import array_to_data, number_to_data

__all__ = [
    "observations_to_data",
    "print_arrays",
    "print_blocks",
    "print_drawing",
    "print_json",
    "print_observations",
    "print_parts",
    "print_table",
    "results_to_data",
    "shown",
]


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


def observations_to_data(gradients: InputGradients, *, debug: bool) -> dict[str, Any]:
    """Return what was observed as JSON data, under the keys that were asked for; no diagnosis is null."""
    data: dict[str, Any] = {}
    if debug:
        found = gradients.diagnosis
        data["diagnosis"] = found and {
            "findings": [_finding_to_data(finding) for finding in found.findings],
            "undefined": [asdict(undefined) for undefined in found.undefined],
        }
    if measured := gradients.profile:
        data["profile"] = {
            "nodes": [_cost_to_data(row) for row in measured.rows],
            "gates": [_cost_to_data(total) | {"share": measured.share(total)} for total in measured.gates],
        }
    return data


def _cost_to_data(cost: Cost) -> dict[str, Any]:
    return {name: value for name, value in asdict(cost).items() if value is not None}


def _finding_to_data(finding: Finding) -> dict[str, Any]:
    return asdict(finding) | {
        "kind": finding.kind.name,
        "values": {name: number_to_data(value) for name, value in finding.values.items()},
        "cause": finding.cause and finding.cause.name,
        "explanation": finding.explanation,
    }


def print_observations(gradients: InputGradients, *, debug: bool) -> None:
    """Print what was observed: the diagnosis, and the profile by gate and by node."""
    if debug:
        print(gradients.diagnosis or "Every number of the run is finite.")  # noqa: T201 - the command's output
    if gradients.profile:
        for columns, *rows in (gradients.profile.gate_table(), gradients.profile.node_table()):
            print_table(columns, rows)


def print_arrays(outputs: Mapping[str, Array], gradients: InputGradients | None) -> None:
    """Print outputs in green and gradients in red, as the lecture draws them."""
    rows = [("output", name, Text(shown(array), style="green")) for name, array in outputs.items()]
    for name, array in (gradients or {}).items():
        note = "  (disconnected)" if gradients and name in gradients.disconnected else ""
        rows.append(("gradient", name, Text(shown(array) + note, style="red")))
    print_table(("", "name", "value"), rows)


def print_parts(parts: Mapping[str, Mapping[str, Array]], *, as_json: bool) -> None:
    """Print arrays by what they are and by name: values in green, derivatives in red."""
    if as_json:
        print_json({what: {n: array_to_data(a) for n, a in arrays.items()} for what, arrays in parts.items()})
        return
    rows = [
        (what.replace("_", " ").removesuffix("s"), name, Text(shown(a), style="green" if what == "outputs" else "red"))
        for what, arrays in parts.items()
        for name, a in arrays.items()
    ]
    print_table(("", "name", "value"), rows)


def print_blocks(blocks: Mapping[str, Mapping[str, Array]], *, as_json: bool, what: str) -> None:
    """Print a matrix of derivatives, block by block."""
    if as_json:
        print_json({what: {of: {by: array_to_data(a) for by, a in row.items()} for of, row in blocks.items()}})
        return
    rows = [(of, by, Text(shown(a), style="red")) for of, row in blocks.items() for by, a in row.items()]
    print_table(("of", "by", "derivatives"), rows)


def print_drawing(picture: Picture) -> None:
    """Print a picture as a tree from the outputs down, a row for each edge."""
    print_table(HEADINGS, tree_rows(picture), overflow="ellipsis")
    if picture.note:
        print(picture.note)  # noqa: T201 - the command's output


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], overflow: OverflowMethod = "fold"
) -> None:
    """Print a table; plain where it is not read in a terminal, and then as wide as it needs to be."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow=overflow, no_wrap=overflow == "ellipsis")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)
