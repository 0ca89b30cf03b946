"""The reference pages of graphsvc's own gates, one for each family, made from the gates themselves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphsvc.engine.description import GateDescription, describe_gate, family_of, field_of
from graphsvc.engine.registry import default_registry

__all__ = ["pages", "write_pages"]

_DIRECTIONS = {
    "hvp": "derivatives along a direction, and second ones",
    "jvp": "derivatives along a direction; second ones are refused",
    "": "derivatives along a direction are refused",
}

_HEAD = "<!-- Made by `make docs` from the gates themselves. -->\n\n"


def write_pages(folder: Path) -> list[Path]:
    """Write the pages into a folder, and remove what else is there.

    Returns:
        The files that were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for path in folder.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in made]


def pages() -> dict[str, str]:
    """Return the pages by file name: one of each family, and `README.md` with all names."""
    families: dict[str, list[GateDescription]] = {}
    titles = {}
    for name, cls in default_registry().gates().items():
        families.setdefault(family_of(cls), []).append(describe_gate(name))
        titles[family_of(cls)] = field_of(cls)
    count = sum(map(len, families.values()))
    index = [f"{_HEAD}# Gates\n\n{count} gates, by family. `graphsvc gates NAME` shows one, also of a plugin.\n"]
    for family in sorted(families):
        names = ", ".join(f"[{gate.name}]({family}.md#{gate.name})" for gate in families[family])
        index.append(f"\n**[{family}]({family}.md)**: {titles[family]}\n{names}\n")
    made = {"README.md": "".join(index)}
    for family, gates in sorted(families.items()):
        made[f"{family}.md"] = f"{_HEAD}# {family}\n\n{titles[family]}\n" + "".join(map(_section, gates))
    return made


def _section(gate: GateDescription) -> str:
    lines = [f"\n## {gate.name}\n", f"\n`{gate.name}({', '.join(gate.operands)}) -> {', '.join(gate.outputs)}`\n"]
    lines.append(f"\n{_plain(gate.documentation)}\n\n")
    lines += [f"- {fact}\n" for fact in _facts(gate)]
    if gate.attributes:
        lines.append("\n| attribute | type | default | |\n|---|---|---|---|\n")
        lines += [_row(name, schema) for name, schema in gate.attributes.items()]
    return "".join(lines)


def _plain(documentation: str) -> str:
    """Return a docstring as Markdown: double backticks are single ones, and nothing is indented to be code."""
    return "\n".join(line.lstrip() for line in documentation.replace("``", "`").splitlines())


def _facts(gate: GateDescription) -> Iterator[str]:
    kinds = ["element by element" if gate.elementwise else "", "linear" if gate.linear else ""]
    kinds += ["" if gate.deterministic else "not deterministic", f"version {gate.version}"]
    yield ", ".join(filter(None, kinds))
    yield f"gradients of {_listed(gate.differentiable)}" if gate.differentiable else "no gradients"
    if gate.integers:
        yield f"integers: {_listed(gate.integers)}"
    if gate.disconnected:
        yield f"no gradient passes through {_listed(gate.disconnected)}"
    if gate.differentiable and gate.example:
        yield _DIRECTIONS["hvp" if "hvp" in gate.derivatives else "jvp" if "jvp" in gate.derivatives else ""]
    if gate.fuses is not None:
        yield "fused" if gate.fuses else f"not fused; {gate.reason}"
    if gate.example:
        operands = ", ".join(f"`{name}` {spec}" for name, spec in gate.example_operands.items())
        yield f"example: `{gate.example}` with {operands}"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _row(name: str, schema: dict[str, Any]) -> str:
    default = f"`{schema['default']}`" if "default" in schema else "required"
    return f"| `{name}` | {_type(schema)} | {default} | {schema.get('description', '')} |\n"


def _type(schema: dict[str, Any]) -> str:
    """Return a JSON Schema in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_type, schema["anyOf"])))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    bounds = [
        f"{sign} {schema[key]}"
        for key, sign in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
        )
        if key in schema
    ]
    return " ".join([kind, *bounds])
