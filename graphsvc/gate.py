"""The gate contract: all that the author of a gate needs to know.

A gate is a frozen pydantic model. Its fields are its attributes; its methods are pure functions of arrays::

    class Scale(Elementwise):
        \"\"\"Product with a fixed factor: ``z = factor * x``.\"\"\"

        name: ClassVar[str] = "scale"
        factor: float = 2.0

        def forward(self, x: Array) -> Array:
            return self.factor * x

        def backward(self, dz: Array) -> Array:
            return self.factor * dz

The parameters of `forward` name the operands. Those of `backward` say what it needs: `dz`, the gradient arriving at
output `z`; an operand, an output or a saved value by its name; `x_shape`, the shape of operand `x` alone. A gate may
define `backward_x`, `backward_y`, ... instead, one for each operand, of which only the wanted ones are called.
"""

import functools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.errors import PydanticUserError

from graphsvc.arrays import Array, ArraySpec, broadcast_shapes, spec_of
from graphsvc.cost import Cost
from graphsvc.errors import (
    AttributeValueError,
    DtypeError,
    GateContractError,
    GateDefinitionError,
    GraphError,
    NonFiniteError,
    did_you_mean,
)
from graphsvc.signature import RESERVED, Signature, read_signature
from graphsvc.subgraph import SubGraph

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    # The class is pydantic's own affair; that there is one is not.
    ModelMetaclass = type(BaseModel)

__all__ = ["Cost", "Elementwise", "Example", "Gate", "attributes_of"]


class _GateType(ModelMetaclass):
    """Turns what pydantic says of a class that it cannot make into the error of the contract."""

    def __new__(mcs, name: str, *arguments: Any, **keywords: Any) -> type:
        try:
            made: type = super().__new__(mcs, name, *arguments, **keywords)
        except PydanticUserError as error:
            first = str(error).splitlines()[0]
            msg = f"Gate class {name}: {first} Attributes are annotated numbers, strings, booleans and tuples of them."
            raise GateDefinitionError(msg) from error
        return made


class Gate(BaseModel, metaclass=_GateType):
    """A differentiable operation: attributes as fields, `forward` and `backward` as methods.

    `forward(self, x, y)` returns the output; its parameters name the operands. `backward(self, dz, x, y)` returns a
    gradient for each operand. Its parameters say what it needs: `dz`, the gradient arriving at output `z`; an operand,
    an output or a saved value by its name; `x_shape`, the shape of operand `x`. `backward_x`, `backward_y` and so on,
    one for each operand, may stand instead; only the wanted ones are called. `infer(self, x, y)` is given an
    `ArraySpec` for each operand and returns that of the output, so that shapes are checked before anything runs.
    `cost(self, x, y)` is given the same and returns a `Cost`, where work or memory are not a few times those of
    operands and outputs: a server admits a graph by it. A graph that the gate holds tells its own `cost`.

    Nothing more is needed for derivatives beyond the first, as long as `forward` and `backward` are plain NumPy: they
    run on arrays that carry tangents. A gate that leaves NumPy has no `jvp` or `hvp`, unless it is `linear` or has a
    method `jvp(self, x_dot, y_dot, x, y)`, which returns the tangent of the output; `x_dot` is the tangent of operand
    `x`, zeros where it has none, or None where the parameter has that default.

    Where a derivative does not exist and backward takes it as zero, a method `undefined` may say so: its parameters are
    among those of `backward`, and it returns a sentence, or nothing where all is well. Only `debug=True` asks.

    A subclass with a `name` is a gate; one without is a base for others. A class that breaks the contract raises
    `GateDefinitionError` when it is made.

    Class variables:
        name: Name of the gate within its plugin.
        version: Raised by one with any change of attributes, operands, outputs or results.
        outputs: Names of what `forward` returns.
        saves: Names of what `forward` returns after its outputs, for the backward pass; objects of any kind.
        integers: Operands that must be integers, such as labels and indices; they have no gradient.
        disconnected: Operands through which no gradient passes although the outputs are numbers, as in a rounding:
            a wanted input that reaches the result only so has zeros, and is listed as disconnected. An operand that is
            neither here nor in `integers` and has no backward is an error to differentiate.
        linear: Whether the outputs are linear in the operands taken together.
        deterministic: Whether the same operands always give the same bits.
        expected_failures: Laws of the conformance kit, `graphsvc.testing`, that the gate does not obey, by name, each
            with the reason. A law that is named here and obeyed is reported as well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    name: ClassVar[str]
    version: ClassVar[int] = 1
    outputs: ClassVar[tuple[str, ...]] = ("z",)
    saves: ClassVar[tuple[str, ...]] = ()
    integers: ClassVar[tuple[str, ...]] = ()
    disconnected: ClassVar[tuple[str, ...]] = ()
    linear: ClassVar[bool] = False
    deterministic: ClassVar[bool] = True
    expected_failures: ClassVar[Mapping[str, str]] = MappingProxyType({})
    signature: ClassVar[Signature]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for field in cls.model_fields:
            if field in RESERVED:
                msg = f"Gate class {cls.__name__}: {field!r} is a field. Annotate it as a ClassVar."
                raise GateDefinitionError(msg)
            if field.startswith("backward") or field in ("forward", "jvp", "undefined", "infer", "cost", "examples"):
                msg = f"Gate class {cls.__name__}: {field!r} is a field, but names a method. Rename the attribute."
                raise GateDefinitionError(msg)
        if hasattr(cls, "name"):
            cls.signature = read_signature(cls, tuple(cls.model_fields), _graph_fields(cls))

    def __init__(self, /, **attributes: Any) -> None:
        if not hasattr(type(self), "name"):
            msg = f"{type(self).__name__} is a base for gates and no gate. Give it a `name` and a `forward`."
            raise GateDefinitionError(msg)
        try:
            super().__init__(**attributes)
        except ValidationError as error:
            raise _attribute_error(type(self), error) from None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, attributes: object) -> object:
        """Turn lists into tuples and NumPy numbers into Python's, so that attributes are hashable and plain data."""
        if not isinstance(attributes, Mapping):
            return attributes
        return {name: _plain_value(value) for name, value in attributes.items()}

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = (
            f"Gate {type(self).name!r}: It sets `self.{name}`, but gates hold no values. Return what backward needs "
            f"after the outputs, and name it in `saves`."
        )
        raise GateContractError(msg, gate=type(self).name)

    @classmethod
    def examples(cls) -> "Iterable[Example]":
        """Yield gates with operands on which the laws, the checks and the documentation run.

        The operands lie where the gate is differentiable: off kinks and ties.
        """
        return ()


def _graph_fields(cls: type[Gate]) -> tuple[str, ...]:
    """Return the fields that hold a graph; such a field is annotated with `SubGraph` alone.

    Raises:
        GateDefinitionError: A graph stands within another type, where no document could name it.
    """
    graphs = tuple(name for name, field in cls.model_fields.items() if field.annotation is SubGraph)
    for name, field in cls.model_fields.items():
        if name not in graphs and "SubGraph" in str(field.annotation):
            msg = f"Gate class {cls.__name__}: field {name!r} must be annotated with SubGraph alone."
            raise GateDefinitionError(msg)
    return graphs


class Example:
    """A gate and operands for it."""

    def __init__(self, gate: Gate, *operands: Array) -> None:
        self.gate = gate
        self.operands = operands

    def __repr__(self) -> str:
        attributes = ", ".join(f"{k}={v!r}" for k, v in attributes_of(self.gate).items())
        shapes = ", ".join(str(spec_of(operand)) for operand in self.operands)
        return f"{type(self.gate).name}({', '.join(filter(None, [shapes, attributes]))})"


def attributes_of(gate: Gate) -> dict[str, Any]:
    """Return the attributes of a gate that differ from their defaults, be it in the sign of a zero."""
    defaults = {name: field.get_default(call_default_factory=False) for name, field in type(gate).model_fields.items()}
    return {name: value for name, value in gate.model_dump().items() if repr(value) != repr(defaults[name])}


class Elementwise(Gate):
    """A gate whose every output element depends on the operands' elements at that place alone.

    Operands broadcast as in NumPy. Backward may return gradients of the output's shape: the engine sums the broadcast
    axes back. Shapes and dtypes are inferred with no work of the author.
    """

    def infer(self, *operands: ArraySpec) -> ArraySpec | tuple[ArraySpec, ...] | None:
        """Return the specs of the outputs: the broadcast shape, and the dtypes `forward` gives for single elements.

        Raises:
            ShapeError: The operands do not broadcast.
            DtypeError: The gate does not take operands of these dtypes.
        """
        shape = broadcast_shapes(*(operand.shape for operand in operands))
        dtypes = tuple(operand.dtype for operand in operands)
        # Equal attributes may differ in type, as 1 and 1.0 do, so only gates without any share what was learnt.
        found = _output_dtypes(self, dtypes) if type(self).model_fields else _shared_dtypes(type(self), dtypes)
        return None if found is None else tuple(ArraySpec(shape, dtype) for dtype in found)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        """Yield the gate with its default attributes on positive operands, one of which is broadcast."""
        if any(field.is_required() for field in cls.model_fields.values()):
            return
        random = np.random.default_rng(1)
        names = cls.signature.operands * (2 if cls.signature.variadic else 1)
        shapes = [(2, 3), (3,), (2, 1)]
        yield Example(cls(), *(random.uniform(0.5, 1.5, shapes[i % 3]) for i in range(len(names))))
        yield Example(cls(), *(random.uniform(0.5, 1.5, ()) for _ in names))


@functools.lru_cache(maxsize=4096)
def _shared_dtypes(cls: type[Elementwise], dtypes: tuple[np.dtype[Any], ...]) -> tuple[np.dtype[Any], ...] | None:
    return _output_dtypes(cls(), dtypes)


def _output_dtypes(gate: Elementwise, dtypes: tuple[np.dtype[Any], ...]) -> tuple[np.dtype[Any], ...] | None:
    """Return the dtypes of the outputs, learnt from ones; None where the gate refuses ones."""
    signature = gate.signature
    try:
        with np.errstate(all="ignore"):
            returned = signature.forward(gate, *(np.ones(1, dtype) for dtype in dtypes))
        results = (returned,) if len(signature.outputs) + len(signature.saves) == 1 else returned
        return tuple(np.asarray(result).dtype for result in results[: len(signature.outputs)])
    except KeyboardInterrupt:
        raise
    except TypeError as error:
        if all(dtype.kind == "f" for dtype in dtypes):
            return None
        msg = f"It does not take operands of dtype {', '.join(map(str, dtypes))}. Convert them with the gate 'cast'."
        raise DtypeError(msg) from error
    except BaseException:  # noqa: BLE001 - whatever it is, the run on the caller's own data will tell
        return None


def _plain_value(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(_plain_value(v) for v in value)
    if isinstance(value, np.bool_ | np.integer | np.floating):
        return value.item()
    return value


def _attribute_error(cls: type[Gate], error: ValidationError) -> GraphError:
    """Say in one sentence what pydantic found, with what the gate takes."""
    first = error.errors(include_url=False, include_context=False)[0]
    attribute = str(first["loc"][0]) if first["loc"] else ""
    kind: type[GraphError] = AttributeValueError
    if first["type"] == "extra_forbidden":
        near = did_you_mean(attribute, cls.model_fields)
        msg = (
            f"There is no attribute {attribute[:60]!r}.{near} Its attributes: {', '.join(cls.model_fields) or 'none'}."
        )
    elif first["type"] == "missing":
        msg = f"It needs the attribute {attribute!r}. Give it by keyword."
    elif first["type"] == "finite_number":
        kind = NonFiniteError
        msg = f"Attribute {attribute!r} must be a finite number, got {first['input']!r}."
    elif first["type"] in ("value_error", "assertion_error"):
        # The words of a validator are its author's, for the log.
        msg = f"Attribute {attribute!r} does not take {ascii(first['input'])[:60]}."
    else:
        msg = f"Attribute {attribute!r} does not take {ascii(first['input'])[:60]}: {first['msg']}."
    return kind(f"Gate {cls.name!r}: {msg}", gate=cls.name, attribute=attribute[:128])
