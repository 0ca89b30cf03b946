"""Gates of the discrete Fourier transform of real numbers, of whose spectrum half says all."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from graphsvc.arrays import Array, ArraySpec, narrowed
from graphsvc.errors import DtypeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._fourier import (
    OneAxis,
    Transform,
    TwoAxes,
    along_axis,
    complex_dtype,
    fitted,
    numbers,
    times_of_bins,
)
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _ToHalf(Transform):
    """Base of the transforms of real numbers, of whose spectrum half says all."""

    def infer(self, x: ArraySpec) -> ArraySpec:
        *others, last = self.judged(x)
        if x.dtype.kind == "c":
            msg = f"Operand 'x' must be real, got {x.dtype}. Take 'fft' or 'fft2' for complex numbers."
            raise DtypeError(msg)
        return ArraySpec(self.replaced(x.shape, (*others, last // 2 + 1)), complex_dtype(x.dtype))

    def forward(self, x: Array) -> Array:
        return np.fft.rfftn(x, self.lengths(x.shape), self.axes_of(x.ndim), self.norm)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        *others, last = self.axes_of(dz.ndim)
        n = self.lengths(x_shape)[-1]
        if others:
            dz = np.fft.ifftn(dz, axes=others, norm=self.adjoint_norm)
        # The bins within are counted twice by the way back, and once by the way here.
        dz = dz / along_axis(times_of_bins(n, dz.dtype), last, dz.ndim)
        return fitted(np.fft.irfft(dz, n, last, self.adjoint_norm), x_shape)


class RFFT(OneAxis, _ToHalf):
    """Discrete Fourier transform of real numbers along an axis: its first ``n // 2 + 1`` bins."""

    name: ClassVar[str] = "rfft"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), numbers(2, 5))
        yield Example(cls(axis=0, norm="ortho"), numbers(4, 2))
        yield Example(cls(n=3, norm="forward"), numbers(4))
        yield Example(cls(n=6), numbers(4))


class RFFT2(TwoAxes, _ToHalf):
    """Discrete Fourier transform of real numbers along two axes, of which the last has ``n // 2 + 1`` bins."""

    name: ClassVar[str] = "rfft2"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), numbers(2, 3, 4))
        yield Example(cls(axes=(1, 0), s=(2, 5), norm="ortho"), numbers(3, 3))


class _FromHalf(Transform):
    """Base of the transforms from half a spectrum to real numbers."""

    saves: ClassVar[tuple[str, ...]] = ("real",)
    from_half: ClassVar[bool] = True

    def infer(self, x: ArraySpec) -> ArraySpec:
        lengths = self.judged(x, half=True)
        real = np.empty(0, x.dtype).real.dtype
        return ArraySpec(self.replaced(x.shape, lengths), real)

    def forward(self, x: Array) -> tuple[Array, bool]:
        z = np.fft.irfftn(x, self.lengths(x.shape, half=True), self.axes_of(x.ndim), self.norm)
        return narrowed(z, x.dtype), x.dtype.kind != "c"

    def backward(self, dz: Array, real: bool, x_shape: tuple[int, ...]) -> Array:
        *others, last = self.axes_of(dz.ndim)
        dx = np.fft.rfft(dz, axis=last, norm=self.adjoint_norm)
        dx = dx * along_axis(times_of_bins(dz.shape[last], dx.dtype), last, dx.ndim)
        if others:
            dx = np.fft.fftn(dx, axes=others, norm=self.adjoint_norm)
        return fitted(dx.real if real else dx, x_shape)


class IRFFT(OneAxis, _FromHalf):
    """Inverse of `rfft`: real numbers of half a spectrum, ``n = 2 (m - 1)`` of ``m`` bins by default.

    The imaginary parts of the first bin, and of the last where ``n`` is even, do not count.
    """

    name: ClassVar[str] = "irfft"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), numbers(2, 4, kind="c"))
        yield Example(cls(n=5, axis=0, norm="ortho"), numbers(3, 2, kind="c"))
        yield Example(cls(n=9, norm="forward"), numbers(3, kind="c"))
        yield Example(cls(n=3), numbers(4, kind="c"))


class IRFFT2(TwoAxes, _FromHalf):
    """Inverse of `rfft2`: real numbers of half a spectrum along two axes."""

    name: ClassVar[str] = "irfft2"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), numbers(2, 3, 3, kind="c"))
        yield Example(cls(axes=(1, 0), s=(2, 5), norm="ortho"), numbers(3, 3, kind="c"))


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [RFFT, IRFFT, RFFT2, IRFFT2]
