"""`graphsvc gates`: what gates there are."""

import inspect
import json
from typing import Any

import click

from graphsvc.cli.printing import print_json, print_table
from graphsvc.engine.registry import default_registry
from graphsvc.errors import UnknownGateError, did_you_mean, quoted
from graphsvc.gate import Gate

__all__ = ["gates"]


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--target", metavar="HOST:PORT", help="The gates of this server instead of those here.")
def gates(name: str | None, *, as_json: bool, target: str | None) -> None:
    """List the gates that are installed here, or describe the gate NAME.

    \b
    Example:
      graphsvc gates
      graphsvc gates softmax
    """
    known = _of_server(target) if target else _installed(name)
    if name and name not in known:
        msg = f"There is no gate {quoted(name)}.{did_you_mean(name, known)}"
        raise UnknownGateError(msg, gate=name[:128])
    if as_json:
        print_json(known[name] if name else list(known.values()))
    elif name:
        _print_gate(known[name])
    else:
        rows = [(g["name"], ", ".join(g["operands"]), g["documentation"].split("\n")[0]) for g in known.values()]
        print_table(("gate", "operands", "what it computes"), rows)


def _installed(name: str | None) -> dict[str, dict[str, Any]]:
    registry = default_registry()
    found = [(name, registry.gate_class(name))] if name else registry.usable()
    return {full_name: _described(full_name, cls) for full_name, cls in found}


def _described(name: str, cls: type[Gate]) -> dict[str, Any]:
    signature = cls.signature
    return {
        "name": name,
        "version": cls.version,
        "operands": signature.describe_operands().split(", "),
        "outputs": list(signature.outputs),
        "differentiable": [o for i, o in enumerate(signature.operands) if signature.rule_for(i)],
        "attributes": cls.model_json_schema().get("properties", {}),
        "documentation": inspect.cleandoc(cls.__doc__ or ""),
    }


def _of_server(target: str) -> dict[str, dict[str, Any]]:
    # gRPC takes a quarter of a second to import.
    from graphsvc.client import connect

    with connect(target, timeout=20.0) as client:
        listed = client.gates()
    return {
        gate.name: {
            "name": gate.name,
            "version": gate.version,
            "operands": [*gate.operands[:-1], f"*{gate.operands[-1]}" if gate.variadic else gate.operands[-1]],
            "outputs": list(gate.outputs),
            "differentiable": list(gate.differentiable_operands),
            "attributes": json.loads(gate.attributes_schema).get("properties", {}),
            "documentation": inspect.cleandoc(gate.documentation),
        }
        for gate in listed
    }


def _print_gate(gate: dict[str, Any]) -> None:
    click.echo(f"{gate['name']}({', '.join(gate['operands'])}) -> {', '.join(gate['outputs'])}\n")
    click.echo(gate["documentation"])
    differentiable = ", ".join(gate["differentiable"]) or "none"
    click.echo(f"\nVersion {gate['version']}. Gradients of: {differentiable}.")
    if gate["attributes"]:
        rows = [
            (name, str(schema.get("default", "(required)")), schema.get("description", ""))
            for name, schema in gate["attributes"].items()
        ]
        print_table(("attribute", "default", ""), rows)
