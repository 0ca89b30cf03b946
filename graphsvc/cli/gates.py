"""`graphsvc gates`: what gates there are."""

import inspect
from typing import Any

import click

from graphsvc.cli.printing import print_json, print_table
from graphsvc.gate import Gate
from graphsvc.registry import default_registry

__all__ = ["gates"]


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def gates(name: str | None, *, as_json: bool) -> None:
    """List the gates that are installed here, or describe the gate NAME.

    \b
    Example:
      graphsvc gates
      graphsvc gates softmax
    """
    registry = default_registry()
    if name:
        described = _described(name, registry.gate_class(name))
        if as_json:
            print_json(described)
        else:
            _print_gate(described)
        return
    listed = [_described(full_name, cls) for full_name, cls in registry.usable()]
    if as_json:
        print_json(listed)
    else:
        rows = [(gate["name"], ", ".join(gate["operands"]), gate["documentation"].split("\n")[0]) for gate in listed]
        print_table(("gate", "operands", "what it computes"), rows)


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
