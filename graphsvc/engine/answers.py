"""Answers: programs with the names of what they take and give, found again without judging a question twice."""

import contextvars
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import numpy as np

from graphsvc.arrays import Array, ArraySpec
from graphsvc.document import InputEntry
from graphsvc.engine.cache import Cache
from graphsvc.engine.evaluation import InputGradients, Results
from graphsvc.engine.fusion.levels import LevelProgram
from graphsvc.engine.fusion.program import GuardError, Program

__all__ = ["Answer", "Questions"]

_T = TypeVar("_T")


class Answer:
    """A program, and the names of what it takes and gives."""

    def __init__(
        self,
        program: Program | LevelProgram,
        inputs: Mapping[str, ArraySpec],
        arriving: Iterable[str],
        wrt: Iterable[str],
    ) -> None:
        self.program = program
        self._inputs = tuple(inputs)
        self._arriving = tuple(arriving)
        self._asked = {name: inputs[name] for name in wrt}
        self._disconnected = tuple(name for name in self._asked if name not in program.connected)

    def quick(self, given: Sequence[Any], between: Callable[[], None] | None) -> Results:
        """Answer for what `Questions.known` gave; see `Program.run`."""
        if self.program.pure and between is None:
            try:
                results = _quiet.context.run(self.program.run, given)
            except GuardError:
                raise
            except RuntimeError:
                # A signal handler asks while this thread computes already.
                results = self._guarded(given, between)
        else:
            results = self._guarded(given, between)
        return self._completed(results) if self._disconnected else results

    def run(
        self, inputs: Mapping[str, Array], arriving: Mapping[str, Array] | None, between: Callable[[], None] | None
    ) -> Results:
        """Answer for judged inputs, and gradients that arrive at outputs; see `Program.run`."""
        given = [inputs[name] for name in self._inputs]
        given += [(arriving or {})[name] for name in self._arriving]
        results = self._guarded([array if array.ndim else array[()] for array in given], between)
        return self._completed(results) if self._disconnected else results

    def _guarded(self, given: Sequence[Any], between: Callable[[], None] | None) -> Results:
        with np.errstate(all="ignore"):
            return self.program.run(given, between)

    def _completed(self, results: Results) -> Results:
        """Add the zeros of the inputs that are not connected."""
        outputs, gradients = results
        made = {
            name: gradients[name] if name in gradients else np.zeros(spec.shape, spec.dtype)
            for name, spec in self._asked.items()
        }
        return outputs, InputGradients(made, self._disconnected)


class _Quiet(threading.local):
    """A context in which NumPy prints no warning. Entering it takes a tenth of the time of `np.errstate`."""

    def __init__(self) -> None:
        self.context = contextvars.Context()
        self.context.run(np.seterr, all="ignore")


_quiet = _Quiet()


class Questions(Generic[_T]):
    """What is known of questions that were judged before, by all that their programs depend on.

    That is names, shapes and dtypes.
    """

    def __init__(self, entries: Mapping[str, InputEntry], limit: int) -> None:
        # A Python number may stand for float64 alone: for another dtype it must be judged whether it fits.
        self._entries = tuple((name, entry.dtype in (None, "float64")) for name, entry in entries.items())
        self._known = Cache[_T](limit)

    def known(
        self, inputs: object, wrt: object, outputs: object
    ) -> tuple[tuple[Hashable, ...], list[Any], _T | None] | None:
        """Look a question up.

        Returns:
            Its key, its inputs as a program takes them, and what was learned of it; None if its form alone tells that
            it must be judged each time.
        """
        if type(inputs) is not dict or len(inputs) != len(self._entries):
            return None
        key: list[Any] = [wrt, outputs]
        if wrt is not None or outputs is not None:
            for i, names in enumerate((wrt, outputs)):
                if names is not None:
                    if type(names) not in (list, tuple) or not all(type(name) is str for name in cast(Any, names)):
                        return None
                    key[i] = tuple(cast(Any, names))
        given: list[Any] = []
        for name, takes_number in self._entries:
            value: Any = inputs.get(name)
            kind: Any = type(value)
            if kind is float and takes_number:
                key.append(kind)
                given.append(np.float64(value))
            elif kind is np.ndarray and value.dtype.isnative:
                key.append(value.shape)
                key.append(value.dtype)
                given.append(value if value.ndim else value[()])
            else:
                return None
        found = tuple(key)
        return found, given, self._known.find(found)

    def find(self, key: tuple[Hashable, ...]) -> _T | None:
        """Return what was learned under a key."""
        return self._known.find(key)

    def learn(self, key: tuple[Hashable, ...], known: _T) -> None:
        """Keep what is known of a question that was judged."""
        self._known.set(key, known)
