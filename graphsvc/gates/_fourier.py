"""What the Fourier transforms share: axes, lengths and norms as NumPy has them, and how to undo a cut or a padding.

The gradient of a complex value is ``dL/dRe + i dL/dIm``, so backward is the conjugate transpose of the transform: the
opposite one, with the scale where the other norm puts it. Real operands have the real part of it.
"""

from math import prod
from typing import Annotated, Any, ClassVar
from typing import Literal as OneOf

import numpy as np
from pydantic import Field

from graphsvc.arrays import MAX_DIMENSION, Array, ArraySpec, normalized_axes, require_floating
from graphsvc.errors import AttributeValueError, ShapeError
from graphsvc.gate import Cost, Gate
from graphsvc.gates._costs import logarithm

__all__ = [
    "OneAxis",
    "SeveralAxes",
    "Transform",
    "TwoAxes",
    "along_axis",
    "complex_dtype",
    "fitted",
    "numbers",
    "times_of_bins",
]

_Length = Annotated[int, Field(ge=1, le=MAX_DIMENSION)]

_ADJOINT_NORM = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def fitted(x: Array, shape: tuple[int, ...]) -> Array:
    """Cut `x` to `shape`, or pad it with zeros at the end of its axes: the adjoint of the opposite."""
    x = x[tuple(slice(size) for size in shape)]
    missing = [(0, size - have) for size, have in zip(shape, x.shape, strict=True)]
    return np.pad(x, missing) if any(after for _, after in missing) else x


def times_of_bins(n: int, dtype: np.dtype[Any]) -> Array:
    """Return how often each bin of the half spectrum of `n` real numbers stands in the whole one."""
    k = np.arange(n // 2 + 1)
    return np.where((k == 0) | (2 * k == n), 1, 2).astype(np.empty(0, dtype).real.dtype)


def along_axis(x: Array, axis: int, ndim: int) -> Array:
    """Give numbers along one axis the axes that they broadcast with."""
    return x.reshape([-1 if a == axis else 1 for a in range(ndim)])


class Transform(Gate):
    """Base of the transforms: along which axes, of which lengths, with which scale."""

    linear: ClassVar[bool] = True
    from_half: ClassVar[bool] = False
    """Whether the operand is half a spectrum."""

    norm: Annotated[
        OneOf["backward", "ortho", "forward"],
        Field(description="Which way is divided by the length; 'ortho' divides both by its root."),
    ] = "backward"

    def asked(self) -> tuple[int | tuple[int, ...] | None, tuple[int, ...] | None]:
        """Return the axes and the lengths that the attributes say."""
        raise NotImplementedError

    def axes_of(self, ndim: int) -> tuple[int, ...]:
        """Return the axes of an operand of `ndim` axes, counted from 0."""
        return normalized_axes(self.asked()[0], ndim)

    def lengths(self, shape: tuple[int, ...], *, half: bool = False) -> tuple[int, ...]:
        """Return how long the transform is along each axis; `half` where the operand is half a spectrum."""
        axes, lengths = self.axes_of(len(shape)), self.asked()[1]
        if lengths is None:
            own = [shape[axis] for axis in axes]
            return (*own[:-1], 2 * (own[-1] - 1)) if half else tuple(own)
        return lengths

    def judged(self, x: ArraySpec, *, half: bool = False) -> tuple[int, ...]:
        """Return the lengths of the transform of an operand, or refuse it.

        Raises:
            ShapeError: There is no axis, or one without elements.
            DtypeError: The operand is neither floating point nor complex.
            AttributeValueError: The attributes do not fit its axes.
        """
        require_floating("x", x, complex_too=True)
        asked, lengths = self.asked()
        if lengths is not None and asked is None:
            msg = "Attribute 's' gives lengths of axes that are not named. Name them in the attribute 'axes'."
            raise AttributeValueError(msg, attribute="axes")
        axes = self.axes_of(x.ndim)
        if not axes:
            msg = f"A transform needs an axis, and an operand of shape {x.shape} has none to it. Name one in 'axes'."
            raise ShapeError(msg)
        if lengths is not None and len(lengths) != len(axes):
            msg = f"Attribute 's' has {len(lengths)} lengths for {len(axes)} axes. Give one for each."
            raise AttributeValueError(msg, attribute="s")
        found = self.lengths(x.shape, half=half)
        if min(found) < 1:
            msg = f"An operand of shape {x.shape} would be transformed along an axis of length {min(found)}."
            msg += " Give a length of at least 1."
            raise ShapeError(msg)
        return found

    def cost(self, x: ArraySpec) -> Cost:
        """Return what a fast transform takes; lengths with large prime factors take a few times as much."""
        lengths = self.lengths(x.shape, half=self.from_half)
        elements = prod(self.replaced(x.shape, lengths))
        return Cost(10 * elements * logarithm(prod(lengths)), 48 * (x.size + elements))

    def replaced(self, shape: tuple[int, ...], lengths: tuple[int, ...]) -> tuple[int, ...]:
        """Return `shape` with other lengths along the axes of the transform."""
        new = dict(zip(self.axes_of(len(shape)), lengths, strict=True))
        return tuple(new.get(axis, size) for axis, size in enumerate(shape))

    @property
    def adjoint_norm(self) -> Any:
        """The norm with which the opposite transform is the adjoint of this one."""
        return _ADJOINT_NORM[self.norm]


def complex_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the spectrum of an operand."""
    return np.dtype(np.complex64 if dtype.name in ("float16", "float32", "complex64") else np.complex128)


class OneAxis(Transform):
    """Base of the transforms along one axis."""

    n: Annotated[
        _Length | None, Field(description="Length to which the axis is cut or padded with zeros; None leaves it.")
    ] = None
    axis: Annotated[int, Field(description="The axis along which to transform.")] = -1

    def asked(self) -> tuple[int, tuple[int, ...] | None]:
        """Return the axes and the lengths that the attributes say."""
        return self.axis, None if self.n is None else (self.n,)


class SeveralAxes(Transform):
    """Base of the transforms along several axes."""

    s: Annotated[
        tuple[_Length, ...] | None,
        Field(description="Lengths to which the axes are cut or padded with zeros; None leaves them."),
    ] = None
    axes: Annotated[tuple[int, ...] | None, Field(description="Axes along which to transform; None means all.")] = None

    def asked(self) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
        """Return the axes and the lengths that the attributes say."""
        return self.axes, self.s


class TwoAxes(SeveralAxes):
    """Base of the transforms along two axes."""

    axes: Annotated[tuple[int, ...], Field(description="Axes along which to transform.")] = (-2, -1)


def numbers(*shape: int, kind: str = "f") -> Array:
    """Return random numbers for examples, real or complex."""
    random = np.random.default_rng(1)
    real = random.normal(size=shape)
    return real + 1j * random.normal(size=shape) if kind == "c" else real
