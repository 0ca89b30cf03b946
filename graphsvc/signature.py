"""What a gate class says with the names of its parameters, read once when the class is made.

`forward(self, x, y)` names the operands. `backward(self, dz, y, x_shape)` names what it needs: the gradient arriving at
output `z`, the operand `y`, the shape alone of operand `x`. So the engine knows, before anything runs, which arrays
must live until the backward pass.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, NoReturn

from graphsvc.errors import GateDefinitionError

__all__ = ["RESERVED", "BackwardRule", "Parameter", "Signature", "Source", "read_signature"]

RESERVED: Final = frozenset(
    {
        "name",
        "version",
        "outputs",
        "saves",
        "integers",
        "disconnected",
        "linear",
        "deterministic",
        "expected_failures",
        "signature",
    }
)
"""Class variables of every gate: no operand, output, saved value or attribute may bear these names."""

_GATE_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VALUE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Source(Enum):
    """Where the argument for a parameter of a backward or a jvp comes from."""

    OUTPUT_GRADIENT = auto()
    OPERAND = auto()
    OPERAND_SHAPE = auto()
    OPERAND_TANGENT = auto()
    OUTPUT = auto()
    SAVED = auto()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a backward: `index` counts the operands, outputs or saves of the gate."""

    name: str
    source: Source
    index: int
    optional: bool


@dataclass(frozen=True, slots=True)
class BackwardRule:
    """A method of a gate that computes gradients, and what it needs to be called."""

    call: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    needs: Mapping[Source, frozenset[int]]
    """For each source, the indices of the operands, outputs or saves that the rule reads."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The operands, outputs and backward rules of a gate class.

    Attributes:
        operands: Names of the operands; the last stands for any number of them where `variadic`.
        rule: The joint `backward`, which returns a gradient for each operand.
        rules: The `backward_<operand>` methods, by index of the operand.
        jvp: The `jvp`, which returns the tangents of the outputs; None if the gate has none of its own.
        undefined: The `undefined`, which says what of the gradients has no value; None if the gate has none.
        infers: Whether there is an `infer`.
        costs: Whether there is a `cost`.
        integers: Indices of the operands that must be integers.
        disconnected: Indices of the operands through which no gradient passes.
        differentiable_outputs: Outputs whose arriving gradient some backward asks for.
        graphs: Names of the attributes that hold a graph.
    """

    forward: Callable[..., Any]
    operands: tuple[str, ...]
    variadic: bool
    outputs: tuple[str, ...]
    saves: tuple[str, ...]
    integers: frozenset[int]
    disconnected: frozenset[int]
    rule: BackwardRule | None
    rules: Mapping[int, BackwardRule]
    jvp: BackwardRule | None
    undefined: BackwardRule | None
    infers: bool
    costs: bool
    differentiable_outputs: frozenset[int]
    graphs: tuple[str, ...] = ()

    def index(self, position: int) -> int:
        """Return which named operand the operand at `position` of a call belongs to."""
        return min(position, len(self.operands) - 1)

    def operand_name(self, position: int) -> str:
        """Return the name of the operand at `position` of a call; `xs[1]` for one of a variadic operand."""
        index = self.index(position)
        several = self.variadic and index == len(self.operands) - 1
        return f"{self.operands[index]}[{position - index}]" if several else self.operands[index]

    def accepts(self, count: int) -> bool:
        """Tell whether the gate can be given `count` operands."""
        return count >= len(self.operands) if self.variadic else count == len(self.operands)

    def rule_for(self, index: int) -> BackwardRule | None:
        """Return the rule that gives the gradient of the named operand `index`; None if it is not differentiable."""
        if index in self.integers:
            return None
        return self.rule or self.rules.get(index)

    def describe_operands(self) -> str:
        """Return the operands as an author would write them, as in `x, *ys`."""
        *fixed, last = self.operands
        return ", ".join([*fixed, f"*{last}" if self.variadic else last])


class _Reader:
    """Reads one class; every complaint names it."""

    def __init__(self, cls: type, attributes: tuple[str, ...]) -> None:
        self.cls = cls
        self.attributes = attributes

    def refuse(self, problem: str) -> NoReturn:
        msg = f"Gate class {self.cls.__name__}: {problem}"
        raise GateDefinitionError(msg, gate=str(getattr(self.cls, "name", "")))

    def names(self, variable: str) -> tuple[str, ...]:
        value = getattr(self.cls, variable)
        if not isinstance(value, tuple) or not all(isinstance(n, str) and _VALUE_NAME.fullmatch(n) for n in value):
            self.refuse(f"`{variable}` must be a tuple of names, got {value!r}.")
        return value

    def parameters(self, method: str) -> list[inspect.Parameter]:
        function = inspect.getattr_static(self.cls, method)
        if not inspect.isfunction(function):
            self.refuse(f"`{method}` must be a plain method, got {type(function).__name__}.")
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            self.refuse(f"`{method}` must return its results; it may not be async or a generator.")
        return list(inspect.signature(function).parameters.values())[1:]

    def operands(self) -> tuple[tuple[str, ...], bool]:
        parameters = self.parameters("forward")
        for parameter in parameters:
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                self.refuse(
                    f"parameter {str(parameter)!r} of `forward` is no operand. Allowed are plain parameters and one "
                    f"*operands; all else is an attribute, a field of the class."
                )
            if parameter.default is not parameter.empty:
                self.refuse(
                    f"operand {parameter.name!r} of `forward` has a default. Make it a field of the class (an "
                    f"attribute), or write a second gate without this operand."
                )
        if not parameters:
            self.refuse("`forward` takes no operand. A gate needs at least one; use a constant for fixed values.")
        return tuple(p.name for p in parameters), parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL

    def check_names(self, operands: tuple[str, ...], outputs: tuple[str, ...], saves: tuple[str, ...]) -> None:
        owner: dict[str, str] = dict.fromkeys(RESERVED, "a reserved name")
        for role, names in (
            ("an operand", operands),
            ("an output", outputs),
            ("a saved value", saves),
            ("an attribute", self.attributes),
            ("the gradient of an output", tuple(f"d{o}" for o in outputs)),
            ("the shape of an operand", tuple(f"{o}_shape" for o in operands)),
            ("the tangent of an operand", tuple(f"{o}_dot" for o in operands)),
        ):
            for name in names:
                if name in owner:
                    self.refuse(
                        f"{name!r} is {owner[name]} and {role}. Operands, outputs, saves, attributes and the names "
                        f"made from them (dz, x_shape, x_dot) must differ, and {', '.join(sorted(RESERVED))} are taken."
                    )
                owner[name] = role

    def check_expected_failures(self) -> None:
        declared = getattr(self.cls, "expected_failures", {})
        said = [*declared, *declared.values()] if isinstance(declared, Mapping) else [None]
        if not all(isinstance(text, str) and text for text in said):
            self.refuse(f"`expected_failures` must map names of laws to reasons, got {declared!r}.")

    def backward_rule(self, method: str, sources: Mapping[str, tuple[Source, int]]) -> BackwardRule:
        moving = Source.OPERAND_TANGENT if method == "jvp" else Source.OUTPUT_GRADIENT
        parameters = []
        for parameter in self.parameters(method):
            if parameter.name not in sources or parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
                self.refuse(
                    f"parameter {str(parameter)!r} of `{method}` means nothing. Allowed are {', '.join(sources)}."
                )
            source, index = sources[parameter.name]
            optional = parameter.default is not parameter.empty
            if optional and (source is not moving or parameter.default is not None):
                what = "tangent of an operand" if method == "jvp" else "gradient of an output"
                self.refuse(
                    f"parameter {str(parameter)!r} of `{method}` has a default. Only the {what} may, and only None, "
                    f"which it is given where none arrives."
                )
            parameters.append(Parameter(parameter.name, source, index, optional))
        if not any(p.source is moving for p in parameters):
            names = [name for name, (source, _) in sources.items() if source is moving]
            what = "tangents" if method == "jvp" else "gradient"
            self.refuse(
                f"`{method}` ignores the {what} that {'arrive' if method == 'jvp' else 'arrives'}. Name at least one "
                f"of {', '.join(names)} among its parameters, and multiply by it."
            )
        needs = {source: frozenset(p.index for p in parameters if p.source is source) for source in Source}
        return BackwardRule(getattr(self.cls, method), tuple(parameters), needs)

    def backward_rules(
        self, operands: tuple[str, ...], sources: Mapping[str, tuple[Source, int]]
    ) -> tuple[BackwardRule | None, dict[int, BackwardRule]]:
        joint = self.backward_rule("backward", sources) if hasattr(self.cls, "backward") else None
        single: dict[int, BackwardRule] = {}
        for method in sorted(m for m in dir(self.cls) if m.startswith("backward_")):
            operand = method.removeprefix("backward_")
            if operand not in operands:
                allowed = ", ".join(f"backward_{o}" for o in operands)
                self.refuse(f"`{method}` names no operand. Allowed are backward, or {allowed}.")
            single[operands.index(operand)] = self.backward_rule(method, sources)
        if not joint and not single:
            near = difflib.get_close_matches("backward", [name for name in vars(self.cls) if name != "forward"], n=1)
            if near:
                self.refuse(f"it has no `backward`, but `{near[0]}`. Rename it to `backward`.")
        if joint and single:
            self.refuse("it has `backward` and a `backward_<operand>` as well. Keep one of the two forms.")
        return joint, single

    def jvp(self, operands: tuple[str, ...], outputs: tuple[str, ...], saves: tuple[str, ...]) -> BackwardRule | None:
        if not hasattr(self.cls, "jvp"):
            return None
        known = {n: s for n, s in _sources(operands, outputs, saves) if s[0] is not Source.OUTPUT_GRADIENT}
        tangents = {f"{name}_dot": (Source.OPERAND_TANGENT, i) for i, name in enumerate(operands)}
        return self.backward_rule("jvp", tangents | known)

    def undefined(self, joint: BackwardRule | None, sources: Mapping[str, tuple[Source, int]]) -> BackwardRule | None:
        if not hasattr(self.cls, "undefined"):
            return None
        if joint is None:
            self.refuse("it has an `undefined`, but no `backward` for all operands, to which that belongs.")
        # Nothing else is kept until then.
        kept = {(parameter.source, parameter.index) for parameter in joint.parameters}
        return self.backward_rule("undefined", {name: asked for name, asked in sources.items() if asked in kept})

    def has(self, method: str, operands: tuple[str, ...]) -> bool:
        """Tell whether the class has a method that is given specs of the operands, and takes them."""
        if not hasattr(self.cls, method):
            return False
        parameters = self.parameters(method)
        generic = len(parameters) == 1 and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL
        if not generic and tuple(p.name for p in parameters) != operands:
            self.refuse(f"`{method}` must take the operands of `forward`: {', '.join(operands)}.")
        return True


def read_signature(cls: type, attributes: tuple[str, ...], graphs: tuple[str, ...] = ()) -> Signature:
    """Read the signature of a gate class, and refuse a class that breaks the contract.

    Args:
        cls: A class with `name` and `forward`.
        attributes: Names of its fields.
        graphs: Names of those that hold a graph.

    Raises:
        GateDefinitionError: With what is wrong and what is allowed.
    """
    reader = _Reader(cls, attributes)
    name, version = getattr(cls, "name", None), getattr(cls, "version", None)
    if not isinstance(name, str) or not _GATE_NAME.fullmatch(name):
        reader.refuse(f"`name` must be lower case letters, digits and underscores, got {name!r}.")
    if type(version) is not int or not 1 <= version < 2**31:
        reader.refuse(f"`version` must be an integer from 1 to 2^31 - 1, got {version!r}.")
    if not hasattr(cls, "forward"):
        reader.refuse("it has no `forward`. Define `forward(self, x, ...)`, whose parameters are the operands.")
    operands, variadic = reader.operands()
    reader.check_expected_failures()
    outputs, saves, integers = reader.names("outputs"), reader.names("saves"), reader.names("integers")
    if not outputs:
        reader.refuse("`outputs` is empty. A gate has at least one output.")
    reader.check_names(operands, outputs, saves)
    for integer in integers:
        if integer not in operands:
            reader.refuse(f"`integers` names {integer!r}. Allowed are the operands {', '.join(operands)}.")
    sources = dict(_sources(operands, outputs, saves))
    rule, rules = reader.backward_rules(operands, sources)
    disconnected = reader.names("disconnected")
    for operand in disconnected:
        if operand not in operands:
            reader.refuse(f"`disconnected` names {operand!r}. Allowed are the operands {', '.join(operands)}.")
        if rule or operands.index(operand) in rules:
            reader.refuse(f"operand {operand!r} is in `disconnected` and has a backward. Keep one of the two.")
    return Signature(
        forward=getattr(cls, "forward"),  # noqa: B009 - mypy knows no `forward` on a bare type
        operands=operands,
        variadic=variadic,
        outputs=outputs,
        saves=saves,
        integers=frozenset(map(operands.index, integers)),
        disconnected=frozenset(map(operands.index, disconnected)),
        rule=rule,
        rules=rules,
        jvp=reader.jvp(operands, outputs, saves),
        undefined=reader.undefined(rule, sources),
        infers=reader.has("infer", operands),
        costs=reader.has("cost", operands),
        graphs=graphs,
        differentiable_outputs=frozenset[int]().union(
            *(r.needs[Source.OUTPUT_GRADIENT] for r in ((rule,) if rule else rules.values()))
        ),
    )


def _sources(
    operands: tuple[str, ...], outputs: tuple[str, ...], saves: tuple[str, ...]
) -> Iterator[tuple[str, tuple[Source, int]]]:
    """Yield the names that a backward may ask for, and what each means."""
    yield from ((f"d{name}", (Source.OUTPUT_GRADIENT, i)) for i, name in enumerate(outputs))
    yield from ((name, (Source.OPERAND, i)) for i, name in enumerate(operands))
    yield from ((name, (Source.OUTPUT, i)) for i, name in enumerate(outputs))
    yield from ((name, (Source.SAVED, i)) for i, name in enumerate(saves))
    yield from ((f"{name}_shape", (Source.OPERAND_SHAPE, i)) for i, name in enumerate(operands))
