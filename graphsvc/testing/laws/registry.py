"""The table of laws. A law's name is the name of its function, and what it says the first line of its documentation."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from graphsvc.gate import Gate
from graphsvc.testing.case import GateCase
from graphsvc.testing.laws import conduct, declarations, derivatives, numbers

__all__ = ["CLASS_LAWS", "EXAMPLE_LAWS", "FIRST_LAWS", "LAWS", "ClassLaw", "ExampleLaw"]

ExampleLaw: TypeAlias = Callable[[GateCase], int]
"""Looks at one example, and returns how many comparisons it made; AssertionError says what is wrong."""

ClassLaw: TypeAlias = Callable[[type[Gate], Sequence[GateCase]], int]
"""Looks at a gate class and all its examples."""

CLASS_LAWS: Final[Mapping[str, ClassLaw]] = {
    law.__name__: law for law in (declarations.documentation, declarations.examples, declarations.schema)
}

FIRST_LAWS: Final[Mapping[str, ExampleLaw]] = {law.__name__: law for law in (conduct.purity, conduct.contract)}
"""A gate that breaks one of these is asked nothing else."""

EXAMPLE_LAWS: Final[Mapping[str, ExampleLaw]] = {
    law.__name__: law
    for law in (
        declarations.attributes,
        declarations.pickling,
        numbers.inference,
        numbers.dtypes,
        numbers.shapes,
        numbers.precision,
        numbers.finite,
        derivatives.adjoint,
        derivatives.linearity,
        derivatives.linear,
        derivatives.outputs,
        derivatives.selection,
        derivatives.disconnected,
        derivatives.duals,
        conduct.aliasing,
        conduct.determinism,
        conduct.reentrancy,
        conduct.threads,
        conduct.layout,
        conduct.fusion,
    )
}

LAWS: Final[Mapping[str, str]] = {
    name: (inspect.getdoc(law) or "").partition("\n")[0]
    for name, law in (CLASS_LAWS | FIRST_LAWS | EXAMPLE_LAWS).items()  # type: ignore[operator]
}
"""What each law says, by its name. A gate may declare by these names what it is expected not to obey."""
