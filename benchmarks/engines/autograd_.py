"""autograd: the tape of NumPy."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import expit, logsumexp

from engines.vocabulary import Vocabulary
from works import Work

__all__ = ["about", "arrays", "prepare"]


class _Autograd(Vocabulary):
    exp = staticmethod(anp.exp)
    sigmoid = staticmethod(expit)
    sqrt = staticmethod(anp.sqrt)
    sum = staticmethod(anp.sum)
    tanh = staticmethod(anp.tanh)

    def mean(self, x: Any) -> Any:
        return anp.mean(x, axis=-1, keepdims=True)

    def relu(self, x: Any) -> Any:
        return anp.maximum(x, 0)

    def softmax_cross_entropy(self, scores: Any, labels: Any) -> Any:
        return anp.mean(logsumexp(scores, axis=-1) - scores[anp.arange(len(labels)), labels])


def prepare(work: Work) -> Callable[[], Any]:
    """Return what is timed: one pass forward, which builds the tape, and one backward."""
    given = work.inputs()
    dz = given.pop("dz", None)
    point = tuple(given[name] for name in work.wrt)
    vocabulary = _Autograd()

    def function(wrt: tuple[Any, ...]) -> Any:
        return work.function(vocabulary, **{**given, **dict(zip(work.wrt, wrt, strict=True))})

    make_vjp = autograd.make_vjp(function)

    def run() -> Any:
        vjp, value = make_vjp(point)
        return value, vjp(np.ones_like(value) if dz is None else dz)

    return run


def arrays(result: Any) -> list[np.ndarray]:
    """Return value and gradients."""
    value, gradients = result
    return [np.asarray(value), *map(np.asarray, gradients)]


def about() -> str:
    """Say what ran."""
    return f"autograd {version('autograd')}, NumPy {np.__version__}"
