"""Answers: programs with the names of what they take and give, found again without judging a question twice."""

import contextvars
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from graphsvc.arrays import Array, ArraySpec
from graphsvc.document import InputEntry
from graphsvc.evaluation import InputGradients
from graphsvc.levels import LevelProgram
from graphsvc.program import GuardError, Program

__all__ = ["Answer", "question_key"]


class Answer:
    """A program, and the names of what it takes and gives."""

    def __init__(
        self,
        program: Program | LevelProgram,
        inputs: Mapping[str, ArraySpec],
        outputs: Iterable[str],
        arriving: Iterable[str],
        wrt: Iterable[str],
    ) -> None:
        self.program = program
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._arriving = tuple(arriving)
        self._gradients = tuple(wrt)
        self._zeros = {name: inputs[name] for name in self._gradients if name not in program.connected}

    def quick(
        self, inputs: Mapping[str, Any], between: Callable[[], None] | None
    ) -> tuple[dict[str, Array], InputGradients]:
        """Answer for inputs that are known to be what the program takes; see `Program.run`."""
        given = [
            np.float64(value) if type(value) is float else value if value.ndim else value[()]
            for value in map(inputs.__getitem__, self._inputs)
        ]
        if self.program.pure and between is None:
            try:
                return self._named(_quiet.context.run(self.program.run, given))
            except GuardError:
                raise
            except RuntimeError:
                # A signal handler asks while this thread computes already.
                pass
        with np.errstate(all="ignore"):
            return self._named(self.program.run(given, between))

    def run(
        self, inputs: Mapping[str, Array], arriving: Mapping[str, Array] | None, between: Callable[[], None] | None
    ) -> tuple[dict[str, Array], InputGradients]:
        """Answer for judged inputs, and gradients that arrive at outputs; see `Program.run`."""
        given = [inputs[name] for name in self._inputs]
        given += [(arriving or {})[name] for name in self._arriving]
        with np.errstate(all="ignore"):
            return self._named(self.program.run([array if array.ndim else array[()] for array in given], between))

    def _named(self, results: list[Array]) -> tuple[dict[str, Array], InputGradients]:
        count = len(self._outputs)
        gradients = InputGradients(zip(self.program.connected, results[count:], strict=True))
        if self._zeros:
            made = {**gradients, **{name: np.zeros(spec.shape, spec.dtype) for name, spec in self._zeros.items()}}
            gradients = InputGradients({name: made[name] for name in self._gradients}, tuple(self._zeros))
        return dict(zip(self._outputs, results[:count], strict=True)), gradients


class _Quiet(threading.local):
    """A context in which NumPy prints no warning. Entering it takes a tenth of the time of `np.errstate`."""

    def __init__(self) -> None:
        self.context = contextvars.Context()
        self.context.run(np.seterr, all="ignore")


_quiet = _Quiet()


def question_key(
    entries: Mapping[str, InputEntry], inputs: object, wrt: object, outputs: object
) -> tuple[Hashable, ...] | None:
    """Return all of a question that its program depends on; None if that takes judging."""
    if type(inputs) is not dict or len(inputs) != len(entries):
        return None
    question: list[Hashable] = []
    for names in (wrt, outputs):
        if names is None:
            question.append(None)
        elif type(names) in (list, tuple) and all(type(name) is str for name in names):  # type: ignore[attr-defined]
            question.append(tuple(names))  # type: ignore[arg-type]
        else:
            return None
    for name, entry in entries.items():
        value: Any = inputs.get(name)
        kind: Any = type(value)
        if kind is float and entry.dtype in (None, "float64"):
            question.append(kind)
        elif kind is np.ndarray and value.dtype.isnative:
            question.append(value.shape)
            question.append(value.dtype)
        else:
            return None
    return tuple(question)
