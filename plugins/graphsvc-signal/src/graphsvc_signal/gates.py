"""Windows, the short-time Fourier transform, and filters."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

import graphsvc
from graphsvc import Array, ArraySpec, Example
from graphsvc.errors import DtypeError, ShapeError

graphsvc_api_version = 1

WindowName: TypeAlias = Literal["hann", "hamming", "blackman", "rectangular"]

_COSINES: dict[WindowName, tuple[float, ...]] = {
    "hann": (0.5, -0.5),
    "hamming": (0.54, -0.46),
    "blackman": (0.42, -0.5, 0.08),
    "rectangular": (1.0,),
}
"""Coefficients of each window's sum of cosines."""


def _window(name: WindowName, length: int, like: Array) -> Array:
    """Return a periodic window, `w[n] = sum_k a[k] cos(2 pi k n / length)`, in the precision of `like`.

    Source:
        F. J. Harris, "On the Use of Windows for Harmonic Analysis with the Discrete Fourier Transform" (1978).
    """
    angle = 2 * np.pi * np.arange(length) / length
    window = sum(a * np.cos(k * angle) for k, a in enumerate(_COSINES[name]))
    return np.asarray(window).astype(like.real.dtype)


def _require_signal(name: str, x: ArraySpec) -> None:
    if x.ndim == 0 or x.shape[-1] == 0:
        msg = f"Operand {name!r} must have at least one axis and one sample along the last, got shape {x.shape}."
        raise ShapeError(msg)
    if x.dtype.kind != "f":
        msg = f"Operand {name!r} must be floating point, got {x.dtype}. Convert it with the gate 'cast'."
        raise DtypeError(msg)


class Window(graphsvc.Gate):
    """The signal times a window over its last axis: ``z = x * w``. The window is periodic, as spectra want it."""

    name: ClassVar[str] = "window"
    linear: ClassVar[bool] = True

    shape: Annotated[WindowName, Field(description="Which window.")] = "hann"

    def infer(self, x: ArraySpec) -> ArraySpec:
        _require_signal("x", x)
        return x

    def forward(self, x: Array) -> Array:
        return x * _window(self.shape, x.shape[-1], x)

    def backward(self, dz: Array) -> Array:
        return dz * _window(self.shape, dz.shape[-1], dz)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = np.random.default_rng(1).normal(size=(2, 5))
        for shape in _COSINES:
            yield Example(cls(shape=shape), x)


class Stft(graphsvc.Gate):
    """Short-time Fourier transform: the spectra of windowed frames of the signal.

    ``z[..., f, :] = rfft(x[..., f * hop : f * hop + length] * w)``. A signal of shape ``(..., n)``, with ``n`` from
    ``length``, has spectra of shape ``(..., 1 + (n - length) // hop, length // 2 + 1)``; samples behind the last whole
    frame count for nothing. The gradient of a complex value is ``dL/dRe + i dL/dIm``.

    Source:
        J. B. Allen and L. R. Rabiner, "A Unified Approach to Short-Time Fourier Analysis and Synthesis" (1977).
    """

    name: ClassVar[str] = "stft"
    linear: ClassVar[bool] = True

    length: Annotated[int, Field(ge=1, le=2**24, description="Samples of a frame.")] = 256
    hop: Annotated[int, Field(ge=1, le=2**24, description="Samples from one frame's begin to the next one's.")] = 128
    window: Annotated[WindowName, Field(description="By which each frame is multiplied.")] = "hann"

    def infer(self, x: ArraySpec) -> ArraySpec:
        _require_signal("x", x)
        if x.shape[-1] < self.length:
            msg = f"The signal has {x.shape[-1]} samples and a frame {self.length}. Pad it, or choose a shorter length."
            raise ShapeError(msg)
        frames = 1 + (x.shape[-1] - self.length) // self.hop
        return ArraySpec((*x.shape[:-1], frames, self.length // 2 + 1), np.result_type(x.dtype, np.complex64))

    def forward(self, x: Array) -> Array:
        frames = sliding_window_view(x, self.length, axis=-1)[..., :: self.hop, :]
        spectra = np.fft.rfft(frames * _window(self.window, self.length, x), axis=-1)
        return spectra.astype(np.result_type(x.dtype, np.complex64), copy=False)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        frames = dz.shape[-2]
        # The adjoint of `rfft` with zeros for the other half: `irfft` would count the inner bins twice.
        pulled = np.fft.fft(np.conjugate(dz), self.length, axis=-1).real * _window(self.window, self.length, dz)
        dx = np.zeros_like(pulled, shape=x_shape)
        for sample in range(min(self.length, self.hop)):
            # Samples a hop apart lie in different frames, or at different places of one.
            for place in range(sample, self.length, self.hop):
                dx[..., place : place + frames * self.hop : self.hop] += pulled[..., place]
        return dx

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        yield Example(cls(length=4, hop=2), random.normal(size=9))
        yield Example(cls(length=5, hop=2, window="hamming"), random.normal(size=(2, 9)))
        yield Example(cls(length=3, hop=4, window="blackman"), random.normal(size=12))


class FirFilter(graphsvc.Gate):
    """The signal filtered by taps: ``z[n] = sum_k taps[k] x[n - k]`` along the last axis.

    With ``x`` of shape ``(..., n)`` and ``taps`` of shape ``(k,)``: ``mode`` "full" gives ``n + k - 1`` samples,
    "causal" the first ``n`` of them, as a filter that runs along with the signal does, and "valid" those ``n - k + 1``
    to which every tap contributes.
    """

    name: ClassVar[str] = "fir_filter"

    mode: Annotated[Literal["full", "causal", "valid"], Field(description="Which samples are given.")] = "causal"

    def _kept(self, samples: int, taps: int) -> slice:
        """Which samples of the full result are given."""
        return {"full": slice(None), "causal": slice(0, samples), "valid": slice(taps - 1, samples)}[self.mode]

    def infer(self, x: ArraySpec, taps: ArraySpec) -> ArraySpec:
        _require_signal("x", x)
        _require_signal("taps", taps)
        samples, count = x.shape[-1], taps.shape[-1]
        if taps.ndim != 1 or (self.mode == "valid" and count > samples):
            msg = f"Taps must have shape (k,), with k up to {samples} for mode 'valid', got {taps.shape}."
            raise ShapeError(msg)
        kept = len(range(*self._kept(samples, count).indices(samples + count - 1)))
        return ArraySpec((*x.shape[:-1], kept), np.result_type(x.dtype, taps.dtype))

    def forward(self, x: Array, taps: Array) -> Array:
        count = taps.shape[0]
        kept = self._kept(x.shape[-1], count)
        return _windows(_padded(x, count - 1, count - 1), count)[..., kept, :] @ taps[::-1]

    def backward_x(self, dz: Array, taps: Array, x_shape: tuple[int, ...]) -> Array:
        count = taps.shape[0]
        return _windows(self._full(dz, x_shape[-1], count), count) @ taps

    def backward_taps(self, dz: Array, x: Array, taps_shape: tuple[int, ...]) -> Array:
        (count,) = taps_shape
        kept = self._kept(x.shape[-1], count)
        windows = _windows(_padded(x, count - 1, count - 1), count)[..., kept, :]
        return np.einsum("nk,n->k", windows.reshape(-1, count), dz.reshape(-1))[::-1]

    def _full(self, dz: Array, samples: int, taps: int) -> Array:
        """Return the gradient of all samples of the full result, zero where they are not given."""
        start, stop, _ = self._kept(samples, taps).indices(samples + taps - 1)
        return _padded(dz, start, samples + taps - 1 - stop)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(1)
        for mode in ("full", "causal", "valid"):
            yield Example(cls(mode=mode), random.normal(size=7), random.normal(size=3))
        yield Example(cls(), random.normal(size=(2, 3)), random.normal(size=5))
        yield Example(cls(mode="full"), random.normal(size=(2, 1, 4)), random.normal(size=1))


def _padded(x: Array, before: int, behind: int) -> Array:
    """Return `x` with zeros before and behind, along the last axis."""
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, behind)])


def _windows(x: Array, length: int) -> Array:
    """Return every run of `length` samples, along a new last axis."""
    return sliding_window_view(x, length, axis=-1)


@graphsvc.hookimpl
def graphsvc_gates(context: graphsvc.PluginContext) -> list[type[graphsvc.Gate]]:
    """Provide the gates of this package."""
    return [Window, Stft, FirFilter]
