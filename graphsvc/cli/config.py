"""`graphsvc config`: the settings that a server would have here, and where each comes from."""

import tomllib
from collections.abc import Mapping
from typing import Any

import click
from pydantic import ValidationError

from graphsvc.cli.printing import print_json, print_table
from graphsvc.serving.settings import FILE_VARIABLE, Settings, origins, setters_of

__all__ = ["config", "read_settings"]


def read_settings(flags: Mapping[str, Any]) -> Settings:
    """Return the settings that flags, environment and file give.

    Raises:
        click.UsageError: One of them is wrong; the message says where it may be set.
    """
    try:
        return Settings(**flags)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        if name not in Settings.model_fields:
            msg = f"There is no setting {name!r}, which the file of {FILE_VARIABLE} sets."
        else:
            msg = f"{setters_of(name)}: {first['msg']}, got {first['input']!r}."
        raise click.UsageError(msg) from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        msg = f"{FILE_VARIABLE}: the file cannot be read: {error}."
        raise click.UsageError(msg) from None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config(*, as_json: bool) -> None:
    """Print the settings that a server would have here, and where each comes from.

    A setting is a flag of `graphsvc serve`, a variable GRAPHSVC_<NAME> of the environment, or a line `name = value` in
    the TOML file that GRAPHSVC_CONFIG names; the first of these that sets it counts.

    \b
    Example:
      graphsvc config
    """
    rows = list(origins(read_settings({}), {}))
    if as_json:
        print_json({row.name: {"value": row.value, "origin": row.origin} for row in rows})
        return
    fields = Settings.model_fields
    described = [(row.name, str(row.value), row.origin, fields[row.name].description or "") for row in rows]
    print_table(("setting", "value", "origin", "what it is"), described)
