"""jax: a jitted function of value and gradients, inputs on the device, and waiting until results are there."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from engines.vocabulary import Vocabulary
from works import Work

__all__ = ["about", "arrays", "cold", "prepare"]

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")


class _Jax(Vocabulary):
    exp = staticmethod(jnp.exp)
    relu = staticmethod(jax.nn.relu)
    sigmoid = staticmethod(jax.nn.sigmoid)
    sqrt = staticmethod(jnp.sqrt)
    sum = staticmethod(jnp.sum)
    tanh = staticmethod(jnp.tanh)

    def mean(self, x: Any) -> Any:
        return jnp.mean(x, axis=-1, keepdims=True)

    def softmax_cross_entropy(self, scores: Any, labels: Any) -> Any:
        of_label = jnp.take_along_axis(scores, labels[:, None], axis=-1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(scores, axis=-1) - of_label)


def _jitted(work: Work) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return a function that jax has not seen, and its inputs."""
    inputs = {name: jax.device_put(np.asarray(value)) for name, value in work.inputs().items()}

    def value_and_gradients(inputs: dict[str, Any]) -> Any:
        given = dict(inputs)
        dz = given.pop("dz", None)

        def function(wrt: dict[str, Any]) -> Any:
            return work.function(_Jax(), **{**given, **wrt})

        wrt = {name: given[name] for name in work.wrt}
        if dz is None:
            return jax.value_and_grad(function)(wrt)
        value, pull_back = jax.vjp(function, wrt)
        return value, pull_back(dz)[0]

    return jax.jit(value_and_gradients), jax.block_until_ready(inputs)


def prepare(work: Work) -> Callable[[], Any]:
    """Return what is timed: one call of the jitted function, which compiles when called first."""
    function, inputs = _jitted(work)
    names = work.wrt

    def run() -> Any:
        value, gradients = jax.block_until_ready(function(inputs))
        return value, [gradients[name] for name in names]

    return run


def arrays(result: Any) -> list[np.ndarray]:
    """Return value and gradients."""
    value, gradients = result
    return [np.asarray(value), *map(np.asarray, gradients)]


def cold(work: Work) -> Callable[[], tuple[float, ...]]:
    """Return what measures the first call of a new function. In seconds."""

    def measure() -> tuple[float, ...]:
        jax.clear_caches()
        function, inputs = _jitted(work)
        began = time.perf_counter()
        jax.block_until_ready(function(inputs))
        return (time.perf_counter() - began,)

    return measure


def about() -> str:
    """Say what ran."""
    return f"jax {jax.__version__}, jitted, {jax.default_backend()}"
