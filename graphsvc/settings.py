"""The settings of a server: flags, `GRAPHSVC_*` variables of the environment, defaults, in this order."""

import os
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from graphsvc.errors import did_you_mean

__all__ = ["Settings", "unknown_variables"]

_MIB = 2**20


def _listed(value: object) -> object:
    return tuple(filter(None, value.split(","))) if isinstance(value, str) else value


def _half_the_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class Settings(BaseSettings):
    """What the operator of a server decides. Each field may be set as `GRAPHSVC_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="GRAPHSVC_", frozen=True, extra="forbid", allow_inf_nan=False)

    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on; 0 takes a free one.")] = 50051
    threads: Annotated[int, Field(ge=1, le=1024, description="Graphs that run at once.")] = os.cpu_count() or 1
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
        int, Field(ge=_MIB // 4, le=2**31 - 1, description="Largest request and largest response.")
    ] = 64 * _MIB
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
    drain_seconds: Annotated[float, Field(ge=0, description="How long a stopping server waits for its calls.")] = 10.0

    def limits(self) -> dict[str, float]:
        """Return the limits that concern a client, by name."""
        names = (
            "max_message_bytes",
            "max_nodes",
            "max_operands",
            "max_tensors",
            "max_outputs",
            "max_tensor_bytes",
            "max_run_bytes",
            "max_flops",
            "max_gate_flops",
            "max_seconds",
        )
        return {name: getattr(self, name) for name in names}


def unknown_variables() -> list[str]:
    """Return a warning for each variable of the environment that looks like a setting and is none."""
    prefix = "GRAPHSVC_"
    warnings = []
    for variable in sorted(os.environ):
        name = variable.removeprefix(prefix).lower()
        if variable.startswith(prefix) and name not in Settings.model_fields:
            known = [f"{prefix}{field.upper()}" for field in Settings.model_fields]
            warnings.append(f"There is no setting {variable}, so it changes nothing.{did_you_mean(variable, known)}")
    return warnings
