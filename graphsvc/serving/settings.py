"""The settings of a server: flags, `GRAPHSVC_*` variables of the environment, a file, defaults, in this order."""

import ipaddress
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from graphsvc.cores import core_count
from graphsvc.errors import did_you_mean

__all__ = ["FILE_VARIABLE", "Origin", "Settings", "flag_of", "origins", "setters_of", "unknown_variables"]

FILE_VARIABLE: Final = "GRAPHSVC_CONFIG"
"""The variable of the environment that names the file, in TOML, one `name = value` for each setting."""

_PREFIX: Final = "GRAPHSVC_"
_MIB: Final = 2**20
_MEMORY_OF_A_CONTAINER: Final = Path("/sys/fs/cgroup/memory.max")


def _listed(value: object) -> object:
    return tuple(filter(None, value.split(","))) if isinstance(value, str) else value


def _with_port(value: str | None) -> str | None:
    """Return an address with a port; names are refused but for this machine's, since they may lead anywhere."""
    host, _, port = (value or "localhost:0").rpartition(":")
    try:
        if host != "localhost":
            ipaddress.ip_address(host.strip("[]"))
        fits = port.isdecimal() and int(port) < 2**16
    except ValueError:
        fits = False
    if not fits:
        msg = "it must be an address and a port, as in 127.0.0.1:8080"
        raise ValueError(msg)
    return value


def _half_the_memory() -> int:
    """Return half of what this machine has, or of what a container is given of it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Where there is no container, or it has no bound of its own, the machine's counts.
    with suppress(OSError, ValueError):
        memory = min(memory, int(_MEMORY_OF_A_CONTAINER.read_text()))
    return memory // 2


class Settings(BaseSettings):
    """What the operator of a server decides.

    Each field may be set as `GRAPHSVC_<NAME>` in the environment, or in the TOML file that `GRAPHSVC_CONFIG` names.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", allow_inf_nan=False)

    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on; 0 takes a free one.")] = 50051
    http: Annotated[
        str | None,
        AfterValidator(_with_port),
        Field(description="Address and port of the page, as in 127.0.0.1:8080; None means no page."),
    ] = None
    threads: Annotated[int, Field(ge=1, le=1024, description="Graphs that run at once.")] = core_count()
    plugins: Annotated[
        tuple[str, ...] | None,
        NoDecode,
        BeforeValidator(_listed),
        Field(description="Namespaces of the plugins that may be used, with commas between; None means all."),
    ] = None
    plugin_seconds: Annotated[float, Field(gt=0, description="How long the import of a plugin may take.")] = 20.0
    plugin_strict: Annotated[bool, Field(description="Whether a plugin that cannot be used stops the start.")] = False
    reflection: Annotated[bool, Field(description="Whether clients may ask for the service's description.")] = True
    max_message_bytes: Annotated[
        int,
        # A chunk with what is around it must go through.
        Field(ge=2 * _MIB, le=2**31 - 1, description="Largest message, of a request or a response, in bytes."),
    ] = 64 * _MIB
    max_request_bytes: Annotated[
        int, Field(ge=_MIB, le=2**53, description="What comes in chunks with one request, in bytes.")
    ] = 2048 * _MIB
    max_response_bytes: Annotated[
        int, Field(ge=_MIB, le=2**53, description="Results of one request, where they may go in chunks, in bytes.")
    ] = 1024 * _MIB
    max_nodes: Annotated[int, Field(ge=1, le=2**53, description="Gate nodes in a graph.")] = 100_000
    max_operands: Annotated[int, Field(ge=1, le=2**53, description="Operands of all gate nodes in a graph.")] = 400_000
    max_tensors: Annotated[int, Field(ge=1, le=2**53, description="Constants in a graph; inputs in a request.")] = 4096
    max_outputs: Annotated[int, Field(ge=1, le=2**53, description="Outputs of a graph.")] = 256
    max_seconds: Annotated[float, Field(gt=0, description="How long an evaluation may take.")] = 60.0
    max_tensor_bytes: Annotated[
        int, Field(ge=1, le=2**53, description="Largest value in a graph, as its shape says, in bytes.")
    ] = 1024 * _MIB
    max_run_bytes: Annotated[
        int,
        Field(ge=_MIB, le=2**53, description="What an evaluation may take at one time beside its inputs, in bytes."),
    ] = 4096 * _MIB
    max_flops: Annotated[int, Field(ge=1, le=2**63, description="Floating-point operations of an evaluation.")] = 10**13
    max_gate_flops: Annotated[
        int, Field(ge=1, le=2**63, description="Floating-point operations of one gate, which nothing stops meanwhile.")
    ] = 10**12
    memory_bytes: Annotated[
        int, Field(ge=_MIB, le=2**53, description="What all evaluations together may take at one time, in bytes.")
    ] = Field(default_factory=_half_the_memory)
    queue_length: Annotated[int, Field(ge=0, le=2**31, description="Calls that may wait for others.")] = 64
    queue_seconds: Annotated[float, Field(ge=0, description="How long a call may have to wait for others.")] = 10.0
    cached_graphs: Annotated[int, Field(ge=0, le=2**53, description="Graphs kept for calls by digest.")] = 256
    cached_bytes: Annotated[int, Field(ge=0, le=2**53, description="Bytes of the graphs kept, as they were sent.")] = (
        256 * _MIB
    )
    resident_bytes: Annotated[
        int, Field(ge=0, le=2**53, description="Bytes of the tensors kept for calls by digest.")
    ] = 1024 * _MIB
    resident_seconds: Annotated[float, Field(ge=0, description="How long a tensor is kept after it was last used.")] = (
        3600.0
    )
    session_seconds: Annotated[float, Field(gt=0, description="How long a session may be silent.")] = 600.0
    stall_seconds: Annotated[
        float,
        Field(gt=0, description="How long the next chunk of a tensor may take, either way; on the page, a request."),
    ] = 5.0
    min_bytes_per_second: Annotated[
        float, Field(ge=0, description="How fast the chunks of a request must come, over ten seconds and more.")
    ] = 65536.0
    drain_seconds: Annotated[float, Field(ge=0, description="How long a stopping server waits for its calls.")] = 10.0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where settings come from, the first that has one first."""
        file = os.environ.get(FILE_VARIABLE)
        if not file:
            return init_settings, env_settings
        with Path(file).open("rb"):
            # One that is not there would pass for an empty one.
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)

    @property
    def http_address(self) -> tuple[str, int]:
        """Address and port of the page."""
        host, _, port = (self.http or "").rpartition(":")
        return host.strip("[]"), int(port)

    def limits(self) -> dict[str, float]:
        """Return the limits that concern a client, by name."""
        names = (
            "max_message_bytes",
            "max_request_bytes",
            "max_response_bytes",
            "max_nodes",
            "max_operands",
            "max_tensors",
            "max_outputs",
            "max_tensor_bytes",
            "max_run_bytes",
            "max_flops",
            "max_gate_flops",
            "max_seconds",
            "resident_bytes",
            "resident_seconds",
            "session_seconds",
            "stall_seconds",
            "min_bytes_per_second",
        )
        return {name: getattr(self, name) for name in names}


def flag_of(name: str) -> str:
    """Return the flag of `graphsvc serve` for a setting; that of the plugins is repeated, one for each."""
    return "--plugin" if name == "plugins" else f"--{name.replace('_', '-')}"


def setters_of(name: str) -> str:
    """Return the flag and the variable of a setting, for messages."""
    return f"{flag_of(name)} or {_PREFIX}{name.upper()}"


class Origin(NamedTuple):
    """A setting, and who said it: `flag`, the name of a variable, the name of a file, or `default`."""

    name: str
    value: Any
    origin: str


def origins(settings: Settings, flags: Mapping[str, object]) -> Iterator[Origin]:
    """Yield every setting with where it comes from."""
    file = os.environ.get(FILE_VARIABLE)
    in_file = set(TomlConfigSettingsSource(Settings, file)()) if file else set()
    variables = {variable.upper() for variable in os.environ}
    for name in Settings.model_fields:
        variable = f"{_PREFIX}{name.upper()}"
        if name in flags:
            origin = "flag"
        elif variable in variables:
            origin = variable
        else:
            origin = str(file) if name in in_file else "default"
        yield Origin(name, getattr(settings, name), origin)


def unknown_variables() -> list[str]:
    """Return a warning for each variable of the environment that looks like a setting and is none."""
    warnings = []
    for variable in sorted(os.environ):
        name = variable.removeprefix(_PREFIX).lower()
        if variable.startswith(_PREFIX) and name not in Settings.model_fields and variable != FILE_VARIABLE:
            known = [f"{_PREFIX}{field.upper()}" for field in Settings.model_fields]
            warnings.append(f"There is no setting {variable}, so it changes nothing.{did_you_mean(variable, known)}")
    return warnings
