"""Compare derivatives along directions, second ones and Hessians with those of torch and JAX, where installed.

Usage: python benchmarks/agreement.py, in the environment of `make bench`. It ends with 1 if anything disagrees.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import graphsvc

Arrays = dict[str, np.ndarray]


def _functions() -> dict[str, tuple[str, Callable[[Any, Any], Any]]]:
    """Return for each name an expression, and the same function of a vocabulary and inputs."""
    return {
        "polynomial": ("f = sum(x**3 * y - x * y**2)", lambda v, a: v.sum(a["x"] ** 3 * a["y"] - a["x"] * a["y"] ** 2)),
        "transcendental": (
            "f = sum(exp(sin(x)) * log(y) + tanh(x * y))",
            lambda v, a: v.sum(v.exp(v.sin(a["x"])) * v.log(a["y"]) + v.tanh(a["x"] * a["y"])),
        ),
        "quotient": ("f = sum(x / (1 + sqrt(y)))", lambda v, a: v.sum(a["x"] / (1 + v.sqrt(a["y"])))),
        "network": ("f = sum(tanh(w @ x) * y)", lambda v, a: v.sum(v.tanh(a["w"] @ a["x"]) * a["y"])),
        "softmax": ("f = sum(softmax(w @ x) * y)", lambda v, a: v.sum(v.softmax(a["w"] @ a["x"]) * a["y"])),
        "logsumexp": ("f = logsumexp(x * y)", lambda v, a: v.logsumexp(a["x"] * a["y"])),
        "determinant": ("f = det(w) * sum(x)", lambda v, a: v.det(a["w"]) * v.sum(a["x"])),
        "inverse": ("f = sum(inv(w) @ x * y)", lambda v, a: v.sum(v.inv(a["w"]) @ a["x"] * a["y"])),
        "variance": ("f = var(x * y) + mean(y)", lambda v, a: v.var(a["x"] * a["y"]) + v.mean(a["y"])),
        "special": (
            "f = sum(erf(x) * gammaln(y) + digamma(y))",
            lambda v, a: v.sum(v.erf(a["x"]) * v.gammaln(a["y"]) + v.digamma(a["y"])),
        ),
        "rectifier": ("f = sum(relu(w @ x)**2 * y)", lambda v, a: v.sum(v.relu(a["w"] @ a["x"]) ** 2 * a["y"])),
        "product": ("f = prod(x) * cumsum(y)[1]", lambda v, a: v.prod(a["x"]) * v.cumsum(a["y"], 0)[1]),
    }


def _inputs() -> tuple[Arrays, Arrays]:
    """Return a point and a direction."""
    random = np.random.default_rng(0)
    point = {
        "x": random.uniform(0.3, 1.5, 3),
        "y": random.uniform(0.5, 2.0, 3),
        "w": np.eye(3) * 2 + random.normal(size=(3, 3)) * 0.3,
    }
    return point, {name: random.normal(size=a.shape) for name, a in point.items()}


class _Jax:
    """JAX, in double precision."""

    def __init__(self) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)
        numpy, scipy, nn = jax.numpy, jax.scipy, jax.nn
        self._jax = jax
        for name in ("sum", "exp", "sin", "log", "tanh", "sqrt", "var", "mean", "prod", "cumsum"):
            setattr(self, name, getattr(numpy, name))
        self.det, self.inv = numpy.linalg.det, numpy.linalg.inv
        self.softmax, self.relu, self.logsumexp = nn.softmax, nn.relu, scipy.special.logsumexp
        self.erf, self.gammaln, self.digamma = scipy.special.erf, scipy.special.gammaln, scipy.special.digamma

    def differentiate(self, function: Callable[[Any, Any], Any], point: Arrays, along: Arrays) -> tuple[Any, Any, Any]:
        """Return tangent, Hessian times vector, and Hessian."""

        def of(arrays: Any) -> Any:
            return function(self, arrays)

        _, tangent = self._jax.jvp(of, (point,), (along,))
        _, product = self._jax.jvp(self._jax.grad(of), (point,), (along,))
        return tangent, product, self._jax.hessian(of)(point)


class _Torch:
    """torch, in double precision."""

    def __init__(self) -> None:
        import torch

        self._torch = torch
        for name in ("sum", "exp", "sin", "log", "tanh", "sqrt", "mean", "prod", "cumsum", "relu", "erf", "digamma"):
            setattr(self, name, getattr(torch, name))
        self.det, self.inv, self.gammaln = torch.linalg.det, torch.linalg.inv, torch.lgamma
        self.softmax, self.logsumexp = (lambda a: torch.softmax(a, -1)), (lambda a: torch.logsumexp(a, -1))
        self.var = lambda a: torch.var(a, correction=0)

    def differentiate(self, function: Callable[[Any, Any], Any], point: Arrays, along: Arrays) -> tuple[Any, Any, Any]:
        """Return tangent, Hessian times vector, and Hessian."""
        names = list(point)
        arrays, moves = (tuple(self._torch.tensor(a[n]) for n in names) for a in (point, along))

        def of(*values: Any) -> Any:
            return function(self, dict(zip(names, values, strict=True)))

        from torch.autograd import functional

        _, tangent = functional.jvp(of, arrays, moves)
        _, product = functional.hvp(of, arrays, moves)
        matrix = functional.hessian(of, arrays)
        hessian = {n: dict(zip(names, row, strict=True)) for n, row in zip(names, matrix, strict=True)}
        return tangent, dict(zip(names, product, strict=True)), hessian


def _apart(mine: Any, theirs: Any) -> float:
    """Return the largest difference, relative to the largest number."""
    theirs = np.asarray(theirs)
    return float(np.max(np.abs(mine - theirs)) / max(1.0, float(np.max(np.abs(theirs)))))


def main() -> int:
    """Print a line for each peer and function; return 1 if any is off by more than 1e-9."""
    point, along = _inputs()
    worst = 0.0
    for peer in (_Torch, _Jax):
        try:
            engine = peer()
        except ImportError:
            print(f"{peer.__name__[1:]} is not installed")
            continue
        for name, (expression, function) in _functions().items():
            graph = graphsvc.parse(expression)
            inputs, moves = ({n: a[n] for n in graph.inputs} for a in (point, along))
            tangent, product, hessian = engine.differentiate(function, inputs, moves)
            _, tangents = graph.jvp(inputs, moves)
            _, products = graph.hvp(inputs, moves)
            matrix = graph.hessian(inputs)
            off = max(
                _apart(tangents["f"], tangent),
                *(_apart(products[n], product[n]) for n in inputs),
                *(_apart(matrix[n][m], hessian[n][m]) for n in inputs for m in inputs),
            )
            worst = max(worst, off)
            print(f"{peer.__name__[1:]:6} {name:15} jvp, hvp and hessian differ by {off:.1e}")
    return int(worst > 1e-9)


if __name__ == "__main__":
    sys.exit(main())
