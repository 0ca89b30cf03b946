"""The works that engines are compared by: each is written once, as a function of an engine's vocabulary."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final

import numpy as np

from engines.vocabulary import Vocabulary
from randomgraph import random_inputs, run_program

__all__ = ["WORKS", "Inputs", "Work", "chain_of"]

Inputs = dict[str, Any]
"""Python floats and NumPy arrays by name; every engine makes its own of them before anything is timed."""


@dataclass(frozen=True)
class Work:
    """One work: the value of a function, and its gradients.

    Attributes:
        name: As it stands in the tables.
        function: `function(vocabulary, **inputs)` is the value.
        inputs: Makes the inputs, the same ones each time; `dz`, if there, is the gradient that arrives at the value.
        wrt: Inputs whose gradients are computed.
        target: Which ratio best peer / graphsvc is aimed at.
        by_hand_target: The same for NumPy by hand.
        kind: An engine that cannot do a work in time is not asked for later ones of its kind.
        gates: How many gates it has, where the cost of each is of interest.
    """

    name: str
    function: Callable[..., Any]
    inputs: Callable[[], Inputs]
    wrt: tuple[str, ...]
    target: float
    by_hand_target: float | None = None
    kind: str | None = None
    gates: int | None = None


# Scalars ------------------------------------------------------------------------------------------------------------


def circuit(_: Vocabulary, x: Any, y: Any, z: Any) -> Any:
    """`(x + y) * z`."""
    return (x + y) * z


def staged(v: Vocabulary, x: Any, y: Any) -> Any:
    """The lecture's formula that is taken in stages. 8 gates."""
    xpy = x + y
    return (x + v.sigmoid(y)) / (v.sigmoid(x) + xpy**2)


def neuron(v: Vocabulary, w0: Any, x0: Any, w1: Any, x1: Any, w2: Any) -> Any:
    """A sigmoid neuron, written out of gates as the lecture takes it apart."""
    return 1 / (1 + v.exp(-1 * (w0 * x0 + w1 * x1 + w2)))


_SCALARS: Final = (
    Work("(x+y)*z, scalars", circuit, lambda: {"x": -2.0, "y": 5.0, "z": -4.0}, ("x", "y", "z"), 3),
    Work("staged example, scalars", staged, lambda: {"x": 3.0, "y": -4.0}, ("x", "y"), 3),
    Work(
        "sigmoid neuron, scalars",
        neuron,
        lambda: {"w0": 2.0, "x0": -1.0, "w1": -3.0, "x1": -2.0, "w2": -3.0},
        ("w0", "x0", "w1", "x1", "w2"),
        3,
    ),
)


# Elementwise --------------------------------------------------------------------------------------------------------


def chain(v: Vocabulary, x: Any, y: Any) -> Any:
    """Eleven elementwise gates over two vectors, and their sum."""
    gated = v.sigmoid(x * y + x) * v.tanh(y)  # 5 gates
    apart = x - y
    bump = v.exp(-(apart * apart)) * y  # 5 gates, with the line above
    return v.sum(gated - bump)


def chain_inputs(n: int, dtype: str) -> Inputs:
    """Return two vectors of `n` elements."""
    random = np.random.default_rng(0)
    return {"x": random.uniform(-1, 1, n).astype(dtype), "y": random.uniform(0, 2, n).astype(dtype)}


def chain_of(n: int, dtype: str) -> Work:
    """Return the chain over vectors of `n` elements."""
    target = 1.5 if dtype == "float64" else 0.9 if n == 1_000_000 else 1.1
    return Work(f"chain of 11 gates, {n:.0e}, {dtype}", chain, partial(chain_inputs, n, dtype), ("x", "y"), target)


_CHAINS: Final = tuple(
    chain_of(n, dtype) for dtype in ("float64", "float32") for n in (10_000, 100_000, 1_000_000, 4_000_000)
)


# Networks -----------------------------------------------------------------------------------------------------------


def two_layers(v: Vocabulary, x: Any, y: Any, w1: Any, w2: Any) -> Any:
    """The two-layer network of the lecture: scores of a sigmoid layer, and their squared distance."""
    return v.sum_square(v.sigmoid(x @ w1) @ w2 - y)


def two_layers_inputs(dtype: str) -> Inputs:
    """Return 64 samples and the weights of a network 1000-100-10."""
    sizes = {"x": (64, 1000), "y": (64, 10), "w1": (1000, 100), "w2": (100, 10)}
    scales = {"w1": 1000**-0.5, "w2": 0.1}
    random = np.random.default_rng(0)
    return {n: (random.normal(size=size) * scales.get(n, 1)).astype(dtype) for n, size in sizes.items()}


def mlp(v: Vocabulary, x: Any, labels: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> Any:
    """A classifier of three affine layers."""
    hidden = v.relu(v.affine(x, w1, b1))
    hidden = v.relu(v.affine(hidden, w2, b2))
    return v.softmax_cross_entropy(v.affine(hidden, w3, b3), labels)


def mlp_inputs() -> Inputs:
    """Return 256 samples and the weights and biases of a network 784-512-512-10."""
    random = np.random.default_rng(0)
    made: Inputs = {"x": random.normal(size=(256, 784)).astype(np.float32), "labels": random.integers(0, 10, 256)}
    widths = (784, 512, 512, 10)
    for layer, (rows, columns) in enumerate(pairwise(widths), start=1):
        made[f"w{layer}"] = (random.normal(size=(rows, columns)) * (2 / rows) ** 0.5).astype(np.float32)
        made[f"b{layer}"] = random.normal(size=columns).astype(np.float32)
    return made


_NETWORKS: Final = (
    *(
        Work(f"two-layer network, {dtype}", two_layers, partial(two_layers_inputs, dtype), ("w1", "w2"), 1.2, 1.0)
        for dtype in ("float64", "float32")
    ),
    Work("MLP 784-512-512-10, batch 256, float32", mlp, mlp_inputs, ("w1", "b1", "w2", "b2", "w3", "b3"), 1.0),
)


# Random graphs ------------------------------------------------------------------------------------------------------


def _random_graph(gates: int, window: int | None) -> Work:
    kind = f"random graph, {'deep' if window else 'wide'}"
    return Work(
        f"{kind}, {gates:,} gates",
        partial(run_program, gates, window),
        random_inputs,
        tuple(random_inputs()),
        20,
        kind=kind,
        gates=gates,
    )


_RANDOM: Final = tuple(_random_graph(gates, window) for window in (None, 100) for gates in (10_000, 100_000))


# Rows and matrices --------------------------------------------------------------------------------------------------


def cross_entropy(v: Vocabulary, scores: Any, labels: Any) -> Any:
    """Cross-entropy of the softmax of each row, averaged."""
    return v.softmax_cross_entropy(scores, labels)


def cross_entropy_inputs() -> Inputs:
    """Return 4096 rows of 1000 scores, and a label for each."""
    random = np.random.default_rng(0)
    return {"scores": random.normal(size=(4096, 1000)).astype(np.float32), "labels": random.integers(0, 1000, 4096)}


def batched_matmul(_: Vocabulary, x: Any, y: Any) -> Any:
    """A stack of matrix products."""
    return x @ y


def batched_matmul_inputs() -> Inputs:
    """Return two stacks of 64 matrices 128x128, and the gradient of their product."""
    random = np.random.default_rng(0)
    return {name: random.normal(size=(64, 128, 128)).astype(np.float32) for name in ("x", "y", "dz")}


def layer_norm(v: Vocabulary, x: Any, gain: Any, bias: Any) -> Any:
    """Rows less their mean, over their standard deviation, with gain and bias."""
    return v.layer_norm(x, gain, bias)


def layer_norm_inputs() -> Inputs:
    """Return 4096 rows of 1024 numbers, gain and bias, and the gradient of what comes out."""
    random = np.random.default_rng(0)
    sizes = {"x": (4096, 1024), "gain": 1024, "bias": 1024, "dz": (4096, 1024)}
    return {name: random.normal(size=size).astype(np.float32) for name, size in sizes.items()}


_ROWS: Final = (
    Work("softmax cross-entropy 4096x1000, float32", cross_entropy, cross_entropy_inputs, ("scores",), 1.0),
    Work("batched matmul 64x(128x128), float32", batched_matmul, batched_matmul_inputs, ("x", "y"), 0.8),
    Work("layer norm 4096x1024, float32", layer_norm, layer_norm_inputs, ("x", "gain", "bias"), 0.5),
)

WORKS: Final[dict[str, Work]] = {work.name: work for work in (*_SCALARS, *_CHAINS, *_NETWORKS, *_RANDOM, *_ROWS)}
"""Every work by its name, in the order of the tables."""
