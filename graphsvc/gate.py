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
from typing import Any, ClassVar, NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from graphsvc.arrays import Array, ArraySpec, broadcast_shapes, spec_of
from graphsvc.errors import AttributeValueError, GateContractError, GateDefinitionError, NonFiniteError, did_you_mean
from graphsvc.signature import Signature, read_signature

__all__ = ["Elementwise", "Example", "Gate"]


class Gate(BaseModel):
    """A differentiable operation: attributes as fields, `forward` and `backward` as methods.

    A subclass with a `name` is a gate; one without is a base for others. A class that breaks the contract raises
    `GateDefinitionError` when it is made.

    Class variables:
        name: Name of the gate within its plugin.
        version: Raised by one with any change of attributes, operands, outputs or results.
        outputs: Names of what `forward` returns.
        saves: Names of what `forward` returns after its outputs, for the backward pass; objects of any kind.
        integers: Operands that must be integers, such as labels and indices; they have no gradient.
        linear: Whether the outputs are linear in the operands taken together.
        deterministic: Whether the same operands always give the same bits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    name: ClassVar[str]
    version: ClassVar[int] = 1
    outputs: ClassVar[tuple[str, ...]] = ("z",)
    saves: ClassVar[tuple[str, ...]] = ()
    integers: ClassVar[tuple[str, ...]] = ()
    linear: ClassVar[bool] = False
    deterministic: ClassVar[bool] = True
    signature: ClassVar[Signature]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if hasattr(cls, "name"):
            cls.signature = read_signature(cls, tuple(cls.model_fields))

    def __init__(self, **attributes: Any) -> None:
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
            f"Gate {type(self).name!r} sets `self.{name}`, but gates hold no values. Return what backward needs after "
            f"the outputs, and name it in `saves`."
        )
        raise GateContractError(msg, gate=type(self).name)

    @classmethod
    def examples(cls) -> "Iterable[Example]":
        """Yield gates with operands on which the laws, the checks and the documentation run.

        The operands lie where the gate is differentiable: off kinks and ties.
        """
        return ()


class Example:
    """A gate and operands for it."""

    def __init__(self, gate: Gate, *operands: Array) -> None:
        self.gate = gate
        self.operands = operands

    def __repr__(self) -> str:
        attributes = ", ".join(f"{k}={v!r}" for k, v in self.gate.model_dump(exclude_defaults=True).items())
        shapes = ", ".join(str(spec_of(operand)) for operand in self.operands)
        return f"{type(self.gate).name}({', '.join(filter(None, [shapes, attributes]))})"


class Elementwise(Gate):
    """A gate whose every output element depends on the operands' elements at that place alone.

    Operands broadcast as in NumPy. Backward may return gradients of the output's shape: the engine sums the broadcast
    axes back. Shapes and dtypes are inferred with no work of the author.
    """

    def infer(self, *operands: ArraySpec) -> ArraySpec | tuple[ArraySpec, ...] | None:
        """Return the specs of the outputs: the broadcast shape, and the dtypes `forward` gives for single elements."""
        shape = broadcast_shapes(*(operand.shape for operand in operands))
        dtypes = _output_dtypes(self, tuple(operand.dtype for operand in operands))
        return None if dtypes is None else tuple(ArraySpec(shape, dtype) for dtype in dtypes)

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
def _output_dtypes(gate: Elementwise, dtypes: tuple[np.dtype[Any], ...]) -> tuple[np.dtype[Any], ...] | None:
    """Return the dtypes of the outputs, learnt from single ones; None where the gate refuses ones."""
    try:
        with np.errstate(all="ignore"):
            results = gate.signature.forward(gate, *(np.ones(1, dtype) for dtype in dtypes))
    except Exception:  # noqa: BLE001 - whatever it is, the run on the caller's own data will tell
        return None
    single = len(gate.signature.outputs) + len(gate.signature.saves) == 1
    results = (results,) if single else results
    return tuple(np.asarray(result).dtype for result in results[: len(gate.signature.outputs)])


def _plain_value(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(_plain_value(v) for v in value)
    if isinstance(value, np.bool_ | np.integer | np.floating):
        return value.item()
    return value


def _attribute_error(cls: type[Gate], error: ValidationError) -> AttributeValueError | NonFiniteError:
    """Say in one sentence what pydantic found, with what the gate takes."""
    first = error.errors(include_url=False, include_context=False)[0]
    attribute = str(first["loc"][0]) if first["loc"] else ""
    facts = {"gate": cls.name, "attribute": attribute[:128]}
    if first["type"] == "extra_forbidden":
        known = ", ".join(cls.model_fields) or "none"
        near = did_you_mean(attribute, cls.model_fields)
        msg = f"Gate {cls.name!r} has no attribute {attribute[:60]!r}.{near} Its attributes: {known}."
        return AttributeValueError(msg, **facts)
    if first["type"] == "finite_number":
        msg = f"Attribute {attribute!r} of gate {cls.name!r} must be a finite number, got {first['input']!r}."
        return NonFiniteError(msg, **facts)
    if first["type"] == "missing":
        return AttributeValueError(f"Gate {cls.name!r} needs the attribute {attribute!r}. Give it by keyword.", **facts)
    given = ascii(first["input"])[:60]
    msg = f"Attribute {attribute!r} of gate {cls.name!r} does not take {given}: {first['msg']}."
    return AttributeValueError(msg, **facts)
