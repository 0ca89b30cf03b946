"""Gates of the discrete Fourier transform, with NumPy's names, lengths and norms.

The gradient of a complex value is ``dL/dRe + i dL/dIm``, so backward is the conjugate transpose of the transform: the
opposite one, with the scale where the other norm puts it. Real operands have the real part of it.
"""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar
from typing import Literal as OneOf

import numpy as np
from pydantic import Field

from graphsvc.arrays import MAX_DIMENSION, Array, ArraySpec, narrowed, normalized_axes, require_floating
from graphsvc.errors import AttributeValueError, DtypeError, ShapeError
from graphsvc.gate import Example, Gate
from graphsvc.hookspecs import PluginContext, hookimpl

graphsvc_api_version = 1

_Length = Annotated[int, Field(ge=1, le=MAX_DIMENSION)]

_ADJOINT_NORM = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _fitted(x: Array, shape: tuple[int, ...]) -> Array:
    """Cut `x` to `shape`, or pad it with zeros at the end of its axes: the adjoint of the opposite."""
    x = x[tuple(slice(size) for size in shape)]
    missing = [(0, size - have) for size, have in zip(shape, x.shape, strict=True)]
    return np.pad(x, missing) if any(after for _, after in missing) else x


def _times_of_bins(n: int, dtype: np.dtype[Any]) -> Array:
    """Return how often each bin of the half spectrum of `n` real numbers stands in the whole one."""
    k = np.arange(n // 2 + 1)
    return np.where((k == 0) | (2 * k == n), 1, 2).astype(np.empty(0, dtype).real.dtype)


def _along(x: Array, axis: int, ndim: int) -> Array:
    """Give numbers along one axis the axes that they broadcast with."""
    return x.reshape([-1 if a == axis else 1 for a in range(ndim)])


class _Transform(Gate):
    """Base of the transforms: along which axes, of which lengths, with which scale."""

    linear: ClassVar[bool] = True

    norm: Annotated[
        OneOf["backward", "ortho", "forward"],
        Field(description="Which way is divided by the length; 'ortho' divides both by its root."),
    ] = "backward"

    def _asked(self) -> tuple[int | tuple[int, ...] | None, tuple[int, ...] | None]:
        """Return the axes and the lengths that the attributes say."""
        raise NotImplementedError

    def _axes(self, ndim: int) -> tuple[int, ...]:
        return normalized_axes(self._asked()[0], ndim)

    def _lengths(self, shape: tuple[int, ...], *, half: bool = False) -> tuple[int, ...]:
        """Return how long the transform is along each axis; `half` where the operand is half a spectrum."""
        axes, lengths = self._axes(len(shape)), self._asked()[1]
        if lengths is None:
            own = [shape[axis] for axis in axes]
            return (*own[:-1], 2 * (own[-1] - 1)) if half else tuple(own)
        return lengths

    def _judged(self, x: ArraySpec, *, half: bool = False) -> tuple[int, ...]:
        require_floating("x", x, complex_too=True)
        asked, lengths = self._asked()
        if lengths is not None and asked is None:
            msg = "Attribute 's' gives lengths of axes that are not named. Name them in the attribute 'axes'."
            raise AttributeValueError(msg, attribute="axes")
        axes = self._axes(x.ndim)
        if not axes:
            msg = f"A transform needs an axis, and an operand of shape {x.shape} has none to it. Name one in 'axes'."
            raise ShapeError(msg)
        if lengths is not None and len(lengths) != len(axes):
            msg = f"Attribute 's' has {len(lengths)} lengths for {len(axes)} axes. Give one for each."
            raise AttributeValueError(msg, attribute="s")
        found = self._lengths(x.shape, half=half)
        if min(found) < 1:
            msg = f"An operand of shape {x.shape} would be transformed along an axis of length {min(found)}."
            msg += " Give a length of at least 1."
            raise ShapeError(msg)
        return found

    def _replaced(self, shape: tuple[int, ...], lengths: tuple[int, ...]) -> tuple[int, ...]:
        new = dict(zip(self._axes(len(shape)), lengths, strict=True))
        return tuple(new.get(axis, size) for axis, size in enumerate(shape))

    @property
    def _back(self) -> Any:
        return _ADJOINT_NORM[self.norm]


def _complex_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.complex64 if dtype.name in ("float16", "float32", "complex64") else np.complex128)


class _Whole(_Transform):
    """Base of the transforms of whole spectra."""

    inverse: ClassVar[bool] = False

    def infer(self, x: ArraySpec) -> ArraySpec:
        return ArraySpec(self._replaced(x.shape, self._judged(x)), _complex_dtype(x.dtype))

    def forward(self, x: Array) -> Array:
        run = np.fft.ifftn if self.inverse else np.fft.fftn
        return run(x, self._lengths(x.shape), self._axes(x.ndim), self.norm)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        run = np.fft.fftn if self.inverse else np.fft.ifftn
        return _fitted(run(dz, axes=self._axes(dz.ndim), norm=self._back), x_shape)


class _OneAxis(_Transform):
    """Base of the transforms along one axis."""

    n: Annotated[
        _Length | None, Field(description="Length to which the axis is cut or padded with zeros; None leaves it.")
    ] = None
    axis: Annotated[int, Field(description="The axis along which to transform.")] = -1

    def _asked(self) -> tuple[int, tuple[int, ...] | None]:
        return self.axis, None if self.n is None else (self.n,)


class _Axes(_Transform):
    """Base of the transforms along several axes."""

    s: Annotated[
        tuple[_Length, ...] | None,
        Field(description="Lengths to which the axes are cut or padded with zeros; None leaves them."),
    ] = None
    axes: Annotated[tuple[int, ...] | None, Field(description="Axes along which to transform; None means all.")] = None

    def _asked(self) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
        return self.axes, self.s


class _TwoAxes(_Axes):
    """Base of the transforms along two axes."""

    axes: Annotated[tuple[int, ...], Field(description="Axes along which to transform.")] = (-2, -1)


def _numbers(*shape: int, kind: str = "f") -> Array:
    random = np.random.default_rng(1)
    real = random.normal(size=shape)
    return real + 1j * random.normal(size=shape) if kind == "c" else real


class FFT(_OneAxis, _Whole):
    """Discrete Fourier transform along an axis: ``z_k = sum_j x_j exp(-2 pi i j k / n)``, complex."""

    name: ClassVar[str] = "fft"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), _numbers(2, 5))
        yield Example(cls(n=3, axis=0, norm="ortho"), _numbers(4, 2, kind="c"))
        yield Example(cls(n=6, norm="forward"), _numbers(4, kind="c"))


class IFFT(FFT):
    """Inverse of the discrete Fourier transform along an axis: ``z_j = sum_k x_k exp(2 pi i j k / n) / n``."""

    name: ClassVar[str] = "ifft"
    inverse: ClassVar[bool] = True


class FFTN(_Axes, _Whole):
    """Discrete Fourier transform along several axes, one after the other; complex."""

    name: ClassVar[str] = "fftn"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), _numbers(2, 3))
        yield Example(cls(axes=(0, -1), s=(3, 2), norm="ortho"), _numbers(2, 2, 3, kind="c"))


class IFFTN(FFTN):
    """Inverse of the discrete Fourier transform along several axes; complex."""

    name: ClassVar[str] = "ifftn"
    inverse: ClassVar[bool] = True


class FFT2(_TwoAxes, _Whole):
    """Discrete Fourier transform along two axes, the last ones by default; complex."""

    name: ClassVar[str] = "fft2"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), _numbers(2, 2, 3))
        yield Example(cls(axes=(1, 0), s=(4, 2), norm="forward"), _numbers(3, 3, kind="c"))


class IFFT2(FFT2):
    """Inverse of the discrete Fourier transform along two axes; complex."""

    name: ClassVar[str] = "ifft2"
    inverse: ClassVar[bool] = True


class _ToHalf(_Transform):
    """Base of the transforms of real numbers, of whose spectrum half says all."""

    def infer(self, x: ArraySpec) -> ArraySpec:
        *others, last = self._judged(x)
        if x.dtype.kind == "c":
            msg = f"Operand 'x' must be real, got {x.dtype}. Take 'fft' or 'fft2' for complex numbers."
            raise DtypeError(msg)
        return ArraySpec(self._replaced(x.shape, (*others, last // 2 + 1)), _complex_dtype(x.dtype))

    def forward(self, x: Array) -> Array:
        return np.fft.rfftn(x, self._lengths(x.shape), self._axes(x.ndim), self.norm)

    def backward(self, dz: Array, x_shape: tuple[int, ...]) -> Array:
        *others, last = self._axes(dz.ndim)
        n = self._lengths(x_shape)[-1]
        if others:
            dz = np.fft.ifftn(dz, axes=others, norm=self._back)
        # The bins within are counted twice by the way back, and once by the way here.
        dz = dz / _along(_times_of_bins(n, dz.dtype), last, dz.ndim)
        return _fitted(np.fft.irfft(dz, n, last, self._back), x_shape)


class RFFT(_OneAxis, _ToHalf):
    """Discrete Fourier transform of real numbers along an axis: its first ``n // 2 + 1`` bins."""

    name: ClassVar[str] = "rfft"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), _numbers(2, 5))
        yield Example(cls(axis=0, norm="ortho"), _numbers(4, 2))
        yield Example(cls(n=3, norm="forward"), _numbers(4))
        yield Example(cls(n=6), _numbers(4))


class RFFT2(_TwoAxes, _ToHalf):
    """Discrete Fourier transform of real numbers along two axes, of which the last has ``n // 2 + 1`` bins."""

    name: ClassVar[str] = "rfft2"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), _numbers(2, 3, 4))
        yield Example(cls(axes=(1, 0), s=(2, 5), norm="ortho"), _numbers(3, 3))


class _FromHalf(_Transform):
    """Base of the transforms from half a spectrum to real numbers."""

    saves: ClassVar[tuple[str, ...]] = ("real",)

    def infer(self, x: ArraySpec) -> ArraySpec:
        lengths = self._judged(x, half=True)
        real = np.empty(0, x.dtype).real.dtype
        return ArraySpec(self._replaced(x.shape, lengths), real)

    def forward(self, x: Array) -> tuple[Array, bool]:
        z = np.fft.irfftn(x, self._lengths(x.shape, half=True), self._axes(x.ndim), self.norm)
        return narrowed(z, x.dtype), x.dtype.kind != "c"

    def backward(self, dz: Array, real: bool, x_shape: tuple[int, ...]) -> Array:
        *others, last = self._axes(dz.ndim)
        dx = np.fft.rfft(dz, axis=last, norm=self._back)
        dx = dx * _along(_times_of_bins(dz.shape[last], dx.dtype), last, dx.ndim)
        if others:
            dx = np.fft.fftn(dx, axes=others, norm=self._back)
        return _fitted(dx.real if real else dx, x_shape)


class IRFFT(_OneAxis, _FromHalf):
    """Inverse of `rfft`: real numbers of half a spectrum, ``n = 2 (m - 1)`` of ``m`` bins by default.

    The imaginary parts of the first bin, and of the last where ``n`` is even, do not count.
    """

    name: ClassVar[str] = "irfft"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), _numbers(2, 4, kind="c"))
        yield Example(cls(n=5, axis=0, norm="ortho"), _numbers(3, 2, kind="c"))
        yield Example(cls(n=9, norm="forward"), _numbers(3, kind="c"))
        yield Example(cls(n=3), _numbers(4, kind="c"))


class IRFFT2(_TwoAxes, _FromHalf):
    """Inverse of `rfft2`: real numbers of half a spectrum along two axes."""

    name: ClassVar[str] = "irfft2"

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), _numbers(2, 3, 3, kind="c"))
        yield Example(cls(axes=(1, 0), s=(2, 5), norm="ortho"), _numbers(3, 3, kind="c"))


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
        yield Example(cls(), _numbers(5, 4))
        yield Example(cls(axes=-1), _numbers(2, 3))
        yield Example(cls(axes=(1, 0)), _numbers(2, 3, kind="c"))


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
    return [FFT, IFFT, FFT2, IFFT2, FFTN, IFFTN, RFFT, IRFFT, RFFT2, IRFFT2, FFTShift, IFFTShift]
