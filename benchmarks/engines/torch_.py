"""torch, eager: leaf tensors, and torch.autograd.grad."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from engines.vocabulary import EPSILON, Vocabulary
from works import Work

__all__ = ["about", "arrays", "prepare"]


class _Torch(Vocabulary):
    exp = staticmethod(torch.exp)
    relu = staticmethod(torch.relu)
    sigmoid = staticmethod(torch.sigmoid)
    softmax_cross_entropy = staticmethod(functional.cross_entropy)
    sqrt = staticmethod(torch.sqrt)
    sum = staticmethod(torch.sum)
    tanh = staticmethod(torch.tanh)

    def affine(self, x: Any, w: Any, b: Any) -> Any:
        return torch.addmm(b, x, w)

    def layer_norm(self, x: Any, gain: Any, bias: Any) -> Any:
        return functional.layer_norm(x, gain.shape, gain, bias, EPSILON)


def prepare(work: Work) -> Callable[[], Any]:
    """Return what is timed: one pass forward, which builds the tape, and one backward."""
    inputs = {name: torch.from_numpy(np.asarray(value)) for name, value in work.inputs().items()}
    dz = inputs.pop("dz", None)
    leaves = [inputs[name].requires_grad_() for name in work.wrt]
    vocabulary = _Torch()

    def run() -> Any:
        value = work.function(vocabulary, **inputs)
        return value, torch.autograd.grad(value, leaves, dz)

    return run


def arrays(result: Any) -> list[np.ndarray]:
    """Return value and gradients."""
    value, gradients = result
    return [value.detach().numpy(), *(gradient.numpy() for gradient in gradients)]


def about() -> str:
    """Say what ran."""
    return f"torch {torch.__version__}, eager, {torch.get_num_threads()} threads"
