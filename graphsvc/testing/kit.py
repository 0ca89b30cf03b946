"""The conformance kit: every law on every example of a gate, all failures listed."""

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Final

from graphsvc.arrays import Array
from graphsvc.engine.plugins import gates_of
from graphsvc.engine.registry import default_registry
from graphsvc.errors import GraphsvcError, did_you_mean
from graphsvc.gate import Example, Gate
from graphsvc.hookspecs import PROJECT
from graphsvc.testing.case import GateCase
from graphsvc.testing.laws import CLASS_LAWS, EXAMPLE_LAWS, FIRST_LAWS, LAWS
from graphsvc.testing.report import Failure, GateReport

__all__ = ["check_gate", "examine_gate", "gates_in", "parametrize_gates"]

_MOST_SHOWN: Final = 3
"""How many examples of one broken law are listed."""

_ONCE: Final = ("threads",)
"""Laws that one example is enough for."""


def check_gate(gate: Gate | type[Gate], *operands: Array, seed: int = 0, tolerance: float = 1e-6) -> GateReport:
    """Examine a gate by every law, and raise if it breaks one.

    Args:
        gate: A gate with operands, or a gate class, which is examined on all its examples. It need not be installed.
        operands: Where. Floating-point operands must be float64 or complex128, off kinks and ties.
        seed: Seed of the random output gradients and directions.
        tolerance: Allowed difference of gradients from central differences, relative to their size.

    Returns:
        What was examined.

    Raises:
        AssertionError: It breaks laws, which are listed with what is wrong; or it has a backward, and no operand whose
            gradient can be compared.
    """
    report = examine_gate(gate, *operands, seed=seed, tolerance=tolerance)
    if not report.passed:
        raise AssertionError(str(report))
    differentiates = isinstance(gate, Gate) and bool(gate.signature.differentiable_outputs)
    if differentiates and not report.checks["adjoint"] and "adjoint" not in report.expected:
        msg = f"Gate {gate.name!r} has no gradient to compare: no operand with one is float64 or complex128."
        raise AssertionError(msg)
    return report


def examine_gate(gate: Gate | type[Gate], *operands: Array, seed: int = 0, tolerance: float = 1e-6) -> GateReport:
    """Examine a gate by every law; see `check_gate`, which raises where this reports."""
    if isinstance(gate, type):
        return _Examination(gate, _examples(gate), seed, tolerance, whole=True).report()
    return _Examination(type(gate), [Example(gate, *operands)], seed, tolerance, whole=False).report()


def _examples(cls: type[Gate]) -> list[Example] | AssertionError:
    try:
        return list(cls.examples())
    except Exception as error:  # noqa: BLE001 - a stranger's method
        return AssertionError(f"`examples` failed: {type(error).__name__}: {str(error)[:300]}")


class _Examination:
    """One gate before all laws."""

    def __init__(
        self, cls: type[Gate], examples: list[Example] | AssertionError, seed: int, tolerance: float, *, whole: bool
    ) -> None:
        self._cls = cls
        self._whole = whole
        self._declared = dict(cls.expected_failures)
        self._failures: list[Failure] = []
        self._checks = dict.fromkeys(LAWS, 0)
        self._cases: list[GateCase] = []
        if isinstance(examples, AssertionError):
            self._failures.append(Failure("examples", "", str(examples)))
            examples = []
        self._examples = examples
        self._seed = seed
        self._tolerance = tolerance

    def report(self) -> GateReport:
        for law in self._declared:
            if law not in LAWS:
                problem = f"`expected_failures` names {law!r}, which is no law.{did_you_mean(law, LAWS)}"
                self._failures.append(Failure(law, "", problem))
        for i, example in enumerate(self._examples):
            self._examine(GateCase(example.gate, example.operands, self._seed + i, self._tolerance), str(example))
        laws = CLASS_LAWS if self._whole else {"documentation": CLASS_LAWS["documentation"]}
        for name, class_law in laws.items():
            self._try(name, "", lambda law=class_law: law(self._cls, self._cases))  # type: ignore[misc]
        failures = list(self._settled())
        broken = {failure.law for failure in self._failures}
        expected = {law: reason for law, reason in self._declared.items() if law in broken}
        return GateReport(self._cls.name, len(self._examples), self._checks, tuple(failures), expected)

    def _examine(self, case: GateCase, said: str) -> None:
        self._cases.append(case)
        for name, law in FIRST_LAWS.items():
            self._try(name, said, lambda law=law: law(case))  # type: ignore[misc]
        if case.fault is not None:
            return
        for name, law in EXAMPLE_LAWS.items():
            if name not in _ONCE or len(self._cases) == 1:
                self._try(name, said, lambda law=law: law(case))  # type: ignore[misc]

    def _try(self, name: str, example: str, law: Callable[[], int]) -> None:
        try:
            self._checks[name] += law()
        except AssertionError as error:
            self._failures.append(Failure(name, example, str(error)))
        except GraphsvcError as error:
            self._failures.append(Failure(name, example, f"{type(error).__name__}: {error.message}"))
        except Exception as error:  # noqa: BLE001 - of the gate, which the law has called
            self._failures.append(Failure(name, example, f"{type(error).__name__}: {str(error)[:300]}"))

    def _settled(self) -> Iterator[Failure]:
        """Yield the failures that nobody declared, and the declared ones that did not come about."""
        shown: dict[str, int] = {}
        for failure in self._failures:
            shown[failure.law] = shown.get(failure.law, 0) + 1
            if failure.law not in self._declared and shown[failure.law] <= _MOST_SHOWN:
                yield failure
        for law, reason in self._declared.items():
            if self._whole and law in LAWS and law not in shown:
                problem = f"It is expected not to obey this law ({reason}), but does. Take it off `expected_failures`."
                yield Failure(law, "", problem)
            elif law not in LAWS:
                yield next(failure for failure in self._failures if failure.law == law)


def gates_in(source: str | ModuleType | Iterable[type[Gate]]) -> list[type[Gate]]:
    """Return the gate classes of a plugin.

    Args:
        source: The namespace of an installed plugin (empty for graphsvc's own gates), a plugin module, or classes.

    Raises:
        UnknownGateError: No such plugin is installed.
        PluginError: It cannot be used.
    """
    if isinstance(source, str):
        return list(default_registry().gates(source).values())
    if isinstance(source, ModuleType):
        own = source.__name__.partition(".")[0] == PROJECT
        return list(gates_of(source, "" if own else source.__name__).values())
    return list(source)


def parametrize_gates(source: str | ModuleType | Iterable[type[Gate]], argument: str = "gate") -> Any:
    """Return a decorator that makes one test of pytest for each gate of a plugin.

    Args:
        source: As for `gates_in`.
        argument: Name of the test's argument, which is given the gate class.

    Example::

        @parametrize_gates("signal")
        def test_a_gate_obeys_every_law(gate):
            check_gate(gate)
    """
    # Those who write gates have pytest; those who serve them need not.
    import pytest

    return pytest.mark.parametrize(argument, gates_in(source), ids=lambda gate: gate.name)
