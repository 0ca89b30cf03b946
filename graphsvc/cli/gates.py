"""`graphsvc gates`: what gates there are, what one of them is, and the reference pages."""

import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from graphsvc.cli.printing import print_json, print_table
from graphsvc.cli.reference import write_pages
from graphsvc.engine.description import GateDescription, describe_gate, field_of, gate_summary
from graphsvc.engine.elsewhere import ELSEWHERE
from graphsvc.engine.registry import default_registry
from graphsvc.errors import GateError, UnknownGateError

__all__ = ["gates"]


@click.command()
@click.argument("name", required=False)
@click.option("--search", metavar="WORDS", help="Only gates with these words in their name, documentation or field.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--target", metavar="HOST:PORT", help="The gates of this server instead of those here.")
@click.option("--pages", metavar="FOLDER", type=click.Path(path_type=Path), help="Write the reference pages there.")
def gates(name: str | None, search: str | None, *, as_json: bool, target: str | None, pages: Path | None) -> None:
    """List the gates that are installed here, those of one plugin, or describe the gate NAME.

    \b
    Example:
      graphsvc gates
      graphsvc gates --search convolution
      graphsvc gates softmax
    """
    if pages:
        for path in write_pages(pages):
            click.echo(path)
        return
    if name and (found := _found(name, target)):
        print_json(found) if as_json else _print_gate(found)
        return
    known = _listed(target) if target else list(_installed())
    if name:
        known = [gate for gate in known if gate["name"].startswith(f"{name}.")]
    if search:
        known = list(_matching(search.lower(), known))
    if as_json:
        print_json(known)
    elif not known:
        click.echo(f"No gate has {search!r} in its name, documentation or field.")
    else:
        rows = [(g["name"], ", ".join(g["operands"]), g["documentation"].split("\n")[0]) for g in known]
        print_table(("gate", "operands", "what it computes"), rows)


def _found(name: str, target: str | None) -> dict[str, Any] | None:
    """Return all that there is to know of a gate; None where the name is that of a plugin.

    Raises:
        UnknownGateError: It is neither.
        PluginError: The plugin cannot be used.
    """
    try:
        return _asked(name, target) if target else _as_data(describe_gate(name))
    except UnknownGateError:
        if target:
            if any(gate["name"].startswith(f"{name}.") for gate in _listed(target)):
                return None
            raise
    registry = default_registry()
    if name in registry.plugins:
        registry.gates(name)
        return None
    # With every plugin imported, a gate of one may be suggested.
    registry.load_all()
    return _as_data(describe_gate(name))


_SUMMARY = ("name", "version", "operands", "outputs", "differentiable", "attributes", "documentation")


def _as_data(gate: GateDescription) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(gate).items()}


def _installed() -> Iterator[dict[str, Any]]:
    for name, cls in default_registry().usable():
        # One stranger's gate must not take the list from all.
        with suppress(GateError):
            data = _as_data(gate_summary(name, cls))
            yield {key: data[key] for key in _SUMMARY}


def _matching(search: str, known: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the gates that another library calls so, or that all words are said of."""
    # A server tells no fields; those of graphsvc's own gates are the same there.
    fields = {name: field_of(cls) for name, cls in default_registry().usable()}
    for gate in known:
        said = f"{gate['name']} {gate['documentation']} {fields.get(gate['name'], '')}".lower()
        if gate["name"] == ELSEWHERE.get(search) or all(word in said for word in search.split()):
            yield gate


# Of a server; gRPC takes a quarter of a second to import.


def _listed(target: str) -> list[dict[str, Any]]:
    from graphsvc.client.client import connect

    with connect(target, timeout=20.0) as client:
        return [_from_message(gate) for gate in client.gates()]


def _from_message(gate: Any) -> dict[str, Any]:
    return {
        "name": gate.name,
        "version": gate.version,
        "operands": [*gate.operands[:-1], f"*{gate.operands[-1]}" if gate.variadic else gate.operands[-1]],
        "outputs": list(gate.outputs),
        "differentiable": list(gate.differentiable_operands),
        "attributes": json.loads(gate.attributes_schema).get("properties", {}),
        "documentation": inspect.cleandoc(gate.documentation),
    }


def _asked(name: str, target: str) -> dict[str, Any]:
    from graphsvc.client.client import connect

    with connect(target, timeout=20.0) as client:
        found = client.describe_gate(name)
    summary = _from_message(found.gate)
    whole = {
        **summary,
        "plugin": found.plugin,
        "plugin_version": found.plugin_version,
        "integers": list(found.integer_operands),
        "disconnected": list(found.disconnected_operands),
        "elementwise": found.elementwise,
        "linear": found.linear,
        "deterministic": found.gate.deterministic,
        "example": found.example,
        "example_operands": {operand.name: operand.spec for operand in found.example_operands},
        "fuses": found.fuses if found.HasField("fuses") else None,
        "reason": found.reason,
        "derivatives": list(found.derivatives),
    }
    return {key: whole[key] for key in GateDescription.__dataclass_fields__}


def _print_gate(gate: Mapping[str, Any]) -> None:
    click.echo(f"{gate['name']}({', '.join(gate['operands'])}) -> {', '.join(gate['outputs'])}\n")
    click.echo(gate["documentation"])
    click.echo("")
    rows = [
        ("version", f"{gate['version']}, of {gate['plugin']} {gate['plugin_version']}"),
        ("gradients of", ", ".join(gate["differentiable"]) or "none"),
        ("derivatives", ", ".join(gate["derivatives"])),
        ("integers", ", ".join(gate["integers"])),
        ("no gradient through", ", ".join(gate["disconnected"])),
        ("works", "element by element" if gate["elementwise"] else "on whole arrays"),
        ("linear", "yes" if gate["linear"] else ""),
        ("deterministic", "" if gate["deterministic"] else "no"),
        ("fused", {True: "yes", False: f"no: {gate['reason']}", None: ""}[gate["fuses"]]),
        ("example", gate["example"]),
        *((f"  {operand}", spec) for operand, spec in gate["example_operands"].items()),
    ]
    print_table(("", ""), [row for row in rows if row[1]])
    if gate["attributes"]:
        described = [
            (name, str(schema.get("default", "(required)")), schema.get("description", ""))
            for name, schema in gate["attributes"].items()
        ]
        print_table(("attribute", "default", ""), described)
