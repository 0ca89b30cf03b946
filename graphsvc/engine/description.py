"""What there is to know of a gate, for people and clients: from its class, and from its examples."""

import functools
import importlib
import inspect
import itertools
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphsvc import __version__
from graphsvc.arrays import Array, is_differentiable, spec_of
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.inference import described
from graphsvc.engine.registry import Registry, default_registry
from graphsvc.errors import GateError, GraphsvcError
from graphsvc.gate import Elementwise, Example, Gate, attributes_of

__all__ = ["GateDescription", "describe_gate", "example_values", "family_of", "field_of", "gate_summary"]


@dataclass(frozen=True)
class GateDescription:
    """What there is to know of a gate.

    Attributes:
        name: Its name, with the namespace of its plugin.
        version: Its version.
        plugin: The package that brings it.
        plugin_version: Version of that package.
        documentation: Its documentation; the first line says what it computes.
        operands: Its operands as an author writes them, `*xs` for any number.
        integers: The operands that must be integers.
        differentiable: The operands that have a gradient.
        disconnected: The operands through which no gradient passes.
        outputs: Its outputs.
        attributes: JSON Schema of each attribute, by name.
        elementwise: Whether it works element by element, and broadcasts.
        linear: Whether its outputs are linear in its operands together.
        deterministic: Whether the same operands always give the same bits.
        example: A call of it in an expression.
        example_operands: Shape and dtype of each operand of the example, by the names in it.
        fuses: Whether the example is fused, forward and backward; None if there is no example, or it does not run.
        reason: Why it is not fused.
        derivatives: What the example has: "gradient", "jvp" (along a direction), "hvp" (second, along a direction).
    """

    name: str
    version: int
    plugin: str
    plugin_version: str
    documentation: str
    operands: tuple[str, ...]
    integers: tuple[str, ...]
    differentiable: tuple[str, ...]
    disconnected: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    elementwise: bool
    linear: bool
    deterministic: bool
    example: str = ""
    example_operands: Mapping[str, str] = field(default_factory=dict)
    fuses: bool | None = None
    reason: str = ""
    derivatives: tuple[str, ...] = ()


def gate_summary(name: str, cls: type[Gate], registry: Registry | None = None) -> GateDescription:
    """Return what a gate class says of itself, without running anything.

    Raises:
        GateError: Its attributes have no JSON Schema.
    """
    signature = cls.signature
    try:
        schema = cls.model_json_schema()
    except Exception as error:
        msg = f"Gate {name!r} cannot be described: its attributes have no JSON Schema."
        raise GateError(msg, gate=name) from error
    namespace, _, _ = name.rpartition(".")
    report = (registry or default_registry()).plugins.get(namespace) if namespace else None
    return GateDescription(
        name=name,
        version=cls.version,
        plugin=report.distribution if report else "graphsvc",
        plugin_version=report.version if report else __version__,
        documentation=inspect.cleandoc(cls.__doc__ or ""),
        operands=tuple(signature.describe_operands().split(", ")),
        integers=tuple(o for i, o in enumerate(signature.operands) if i in signature.integers),
        differentiable=tuple(o for i, o in enumerate(signature.operands) if signature.rule_for(i)),
        disconnected=tuple(o for i, o in enumerate(signature.operands) if i in signature.disconnected),
        outputs=signature.outputs,
        attributes=schema.get("properties", {}),
        elementwise=issubclass(cls, Elementwise),
        linear=cls.linear,
        deterministic=cls.deterministic,
    )


def describe_gate(name: str, registry: Registry | None = None) -> GateDescription:
    """Return all that there is to know of a gate; its first example is planned, to see whether it fuses.

    Raises:
        UnknownGateError: There is none of that name.
        PluginError: Its plugin cannot be used.
        GateError: Its attributes have no JSON Schema.
    """
    chosen = registry or default_registry()
    cls = chosen.gate_class(name)
    return _described(name, cls, chosen)


@functools.lru_cache(maxsize=4096)
def _described(name: str, cls: type[Gate], registry: Registry) -> GateDescription:
    summary = gate_summary(name, cls, registry)
    try:
        example = next(iter(cls.examples()), None)
        if example is None:
            return summary
        names = _operand_names(cls, example)
        asked = _question(example)
        fuses, reason = _fusion(*asked)
    except Exception as error:  # noqa: BLE001 - a stranger's examples; what the class says stands
        return GateDescription(**vars(summary) | {"reason": f"its example does not run: {described(error)}"})
    return GateDescription(
        **vars(summary)
        | {
            "example": f"{name}({', '.join([*names, *_keywords(example.gate)])})",
            "example_operands": {n: str(spec_of(x)) for n, x in zip(names, example.operands, strict=True)},
            "fuses": fuses,
            "reason": reason,
            "derivatives": tuple(_derivatives(*asked)),
        }
    )


def example_values(name: str, registry: Registry | None = None) -> dict[str, Array]:
    """Return the operands of a gate's example, by the names in it; none where `describe_gate` has no example.

    Raises:
        GraphsvcError: As `describe_gate`.
    """
    chosen = registry or default_registry()
    if not describe_gate(name, chosen).example:
        return {}
    cls = chosen.gate_class(name)
    example = next(iter(cls.examples()))
    return dict(zip(_operand_names(cls, example), example.operands, strict=True))


def _operand_names(cls: type[Gate], example: Example) -> list[str]:
    """Return a name for each operand of an example; those of a variadic one are numbered."""
    signature = cls.signature
    fixed = signature.operands[: -1 if signature.variadic else None]
    stem = signature.operands[-1].removesuffix("s") or "x"
    numbered = (f"{stem}{number}" for number in itertools.count(1))
    return [*fixed, *itertools.islice(numbered, len(example.operands) - len(fixed))]


def _keywords(gate: Gate) -> Iterator[str]:
    for key, value in attributes_of(gate).items():
        # An expression has no word for a graph.
        yield f"{key}=..." if key in gate.signature.graphs else f"{key}={value!r}"


def _question(example: Example) -> tuple[ComputationalGraph, dict[str, Array], list[str]]:
    """Return a graph of the gate, its inputs, and those of them that have a gradient."""
    graph = ComputationalGraph()
    names = [f"operand_{i}" for i in range(len(example.operands))]
    node = graph.add(example.gate, *(graph.input(name) for name in names))
    signature = example.gate.signature
    for output in signature.outputs:
        graph.output(output, node.output(output))
    inputs = dict(zip(names, example.operands, strict=True))
    wanted = [
        name
        for i, (name, x) in enumerate(inputs.items())
        if is_differentiable(x.dtype) and signature.rule_for(signature.index(i))
    ]
    return graph, inputs, wanted


def _fusion(graph: ComputationalGraph, inputs: Mapping[str, Array], wanted: list[str]) -> tuple[bool, str]:
    """Tell whether a gate is fused on an example, forward and backward, and why not."""
    explained = graph.explain(inputs, wrt=wanted)
    reasons = [part.reason for part in explained.parts if part.how == "gate"]
    reason = explained.reason or (reasons[0] if reasons else "")
    return not reason, reason


def _derivatives(graph: ComputationalGraph, inputs: Mapping[str, Array], wanted: list[str]) -> Iterator[str]:
    """Yield what derivatives an example has."""
    outputs, _ = graph.value_and_grad(inputs, wrt=[])
    seeds = {name: np.ones(z.shape, z.dtype) for name, z in outputs.items() if is_differentiable(z.dtype)}
    if not wanted or not seeds:
        return
    yield "gradient"
    along = {name: np.ones(inputs[name].shape, inputs[name].dtype) for name in wanted}
    with suppress(GraphsvcError):
        graph.jvp(inputs, along, list(seeds))
        yield "jvp"
        graph.hvp(inputs, along, wanted, seeds, list(seeds))
        yield "hvp"


def family_of(cls: type[Gate]) -> str:
    """Return the family of one of graphsvc's own gates: the name of its module."""
    return cls.__module__.rpartition(".")[-1]


def field_of(cls: type[Gate]) -> str:
    """Return what the family of a gate is about: the first line of the documentation of its module."""
    return (inspect.getdoc(importlib.import_module(cls.__module__)) or "").partition("\n")[0]
