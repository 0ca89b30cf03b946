"""Gates of the discrete Fourier transform of complex numbers, with NumPy's names, lengths and norms."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from graphsvc.arrays import Array, ArraySpec, normalized_axes
from graphsvc.errors import ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.gates._fourier import OneAxis, SeveralAxes, Transform, TwoAxes, complex_dtype, fitted, numbers
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1


class _Whole(Transform):
    """Base of the transforms of whole spectra."""

    inverse: ClassVar[bool] = False

    def infer(self, x: ArraySpec) -> ArraySpec:
        return ArraySpec(self.replaced(x.shape, self.judged(x)), complex_dtype(x.dtype))

    def forward(self, x: Array) -> Array:
        run = np.fft.ifftn if self.inverse else np.fft.fftn
        return run(x, self.lengths(x.shape), self.axes_of(x.ndim), self.norm)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        run = np.fft.fftn if self.inverse else np.fft.ifftn
        return fitted(run(dz, axes=self.axes_of(dz.ndim), norm=self.adjoint_norm), x_shape)


class FFT(OneAxis, _Whole):
    """Discrete Fourier transform along an axis: ``z_k = sum_j x_j exp(-2 pi i j k / n)``, complex."""

    name: ClassVar[str] = "fft"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), numbers(2, 5))
        yield Example(cls(n=3, axis=0, norm="ortho"), numbers(4, 2, kind="c"))
        yield Example(cls(n=6, norm="forward"), numbers(4, kind="c"))


class IFFT(FFT):
    """Inverse of the discrete Fourier transform along an axis: ``z_j = sum_k x_k exp(2 pi i j k / n) / n``."""

    name: ClassVar[str] = "ifft"
    inverse: ClassVar[bool] = True


class FFTN(SeveralAxes, _Whole):
    """Discrete Fourier transform along several axes, one after the other; complex."""

    name: ClassVar[str] = "fftn"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), numbers(2, 3))
        yield Example(cls(axes=(0, -1), s=(3, 2), norm="ortho"), numbers(2, 2, 3, kind="c"))


class IFFTN(FFTN):
    """Inverse of the discrete Fourier transform along several axes; complex."""

    name: ClassVar[str] = "ifftn"
    inverse: ClassVar[bool] = True


class FFT2(TwoAxes, _Whole):
    """Discrete Fourier transform along two axes, the last ones by default; complex."""

    name: ClassVar[str] = "fft2"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), numbers(2, 2, 3))
        yield Example(cls(axes=(1, 0), s=(4, 2), norm="forward"), numbers(3, 3, kind="c"))


class IFFT2(FFT2):
    """Inverse of the discrete Fourier transform along two axes; complex."""

    name: ClassVar[str] = "ifft2"
    inverse: ClassVar[bool] = True


class _Shift(Gate):
    """Base of the gates that turn axes by half their length."""

    linear: ClassVar[bool] = True
    sign: ClassVar[int] = 1

    axes: Annotated[int | tuple[int, ...] | None, Field(description="Axes to turn; None means all.")] = None

    def infer(self, x: ArraySpec) -> ArraySpec:
        if not x.ndim:
            msg = "Operand 'x' has no axes, so nothing can be turned. Reshape it."
            raise ShapeError(msg)
        normalized_axes(self.axes, x.ndim)
        return x

    def _rolled(self, x: Array, sign: int) -> Array:
        axes = normalized_axes(self.axes, x.ndim)
        return np.roll(x, [sign * (x.shape[axis] // 2) for axis in axes], axes)

    def forward(self, x: Array) -> Array:
        return self._rolled(x, self.sign)

    def backward(self, dz: Array) -> Array:
        return self._rolled(dz, -self.sign)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), numbers(5, 4))
        yield Example(cls(axes=-1), numbers(2, 3))
        yield Example(cls(axes=(1, 0)), numbers(2, 3, kind="c"))


class FFTShift(_Shift):
    """The elements turned by half the length of each axis, so that the bin of frequency 0 comes to the middle."""

    name: ClassVar[str] = "fftshift"


class IFFTShift(_Shift):
    """Inverse of `fftshift`, which it differs from along axes of odd length."""

    name: ClassVar[str] = "ifftshift"
    sign: ClassVar[int] = -1


@hookimpl
def graphsvc_gates(context: PluginContext) -> Iterable[type[Gate]]:
    """Provide the gates of this module."""
    return [FFT, IFFT, FFT2, IFFT2, FFTN, IFFTN, FFTShift, IFFTShift]
