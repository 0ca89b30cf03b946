"""Writing a new package of gates from the templates, with no network."""

import keyword
import re
from pathlib import Path
from string import Template
from typing import Final

import click

from graphsvc import __version__

__all__ = ["write_package"]

_FILES: Final = {
    "pyproject.toml": "pyproject.toml.in",
    "README.md": "README.md.in",
    "src/graphsvc_$namespace/__init__.py": "init.py.in",
    "src/graphsvc_$namespace/gates.py": "gates.py.in",
    "tests/test_gates.py": "test_gates.py.in",
}
"""The files of a package, and the template of each."""


def write_package(namespace: str, folder: Path) -> list[Path]:
    """Write a package of gates.

    Args:
        namespace: Namespace of its gates, the name of its entry point.
        folder: Where; it must not exist, or be empty.

    Returns:
        The files that were written, those of the folder itself first.

    Raises:
        click.BadParameter: The namespace is no name, or the folder is taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", namespace) or keyword.iskeyword(namespace) or namespace == "graphsvc":
        msg = f"{namespace!r} cannot be a namespace. Write lower case letters, digits and '_', as in: tides."
        raise click.BadParameter(msg, param_hint="NAMESPACE")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder} is there already, and nothing is overwritten. Choose another with --folder."
        raise click.BadParameter(msg, param_hint="--folder")
    templates = Path(__file__).parent / "templates" / "plugin"
    values = {"namespace": namespace, "version": __version__}
    written = []
    for name, template in _FILES.items():
        path = folder / Template(name).substitute(values)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template((templates / template).read_text(encoding="utf-8")).substitute(values), "utf-8")
        written.append(path)
    return written
