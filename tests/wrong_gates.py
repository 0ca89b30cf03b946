"""Gates that are wrong in one way each, as authors write them, and the law of the kit that is meant for it."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, PrivateAttr

from graphsvc.arrays import Array, ArraySpec
from graphsvc.errors import DtypeError, ShapeError
from graphsvc.gate import Elementwise, Example, Gate

X = np.array([[0.5, -1.5, 2.0], [1.25, -0.75, 3.0]])
Y = np.array([[1.5, 0.5, -1.0], [2.0, 1.0, -2.5]])


class Right(Elementwise):
    """Product and nothing wrong: ``z = x * y``."""

    name: ClassVar[str] = "right"

    def forward(self, x: Array, y: Array) -> Array:
        return x * y

    def backward(self, dz: Array, x: Array, y: Array) -> Any:
        return dz * np.conjugate(y), dz * np.conjugate(x)


class _Unary(Gate):
    """Twice the operand; what a wrong gate of one operand does not say itself."""

    def infer(self, x: ArraySpec) -> ArraySpec:
        if x.dtype.kind != "f":
            msg = f"Operand 'x' must be floating point, got {x.dtype}. Convert it with the gate 'cast'."
            raise DtypeError(msg)
        return x

    def forward(self, x: Array) -> Array:
        return x * 2

    def backward(self, dz: Array) -> Any:
        return dz * 2

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), X)


class SwappedGradients(Elementwise):
    """Product whose gradients are swapped."""

    name: ClassVar[str] = "swapped_gradients"

    def forward(self, x: Array, y: Array) -> Array:
        return x * y

    def backward(self, dz: Array, x: Array, y: Array) -> Any:
        return dz * x, dz * y


class MissingUnbroadcast(Gate):
    """Sum that broadcasts, and does not sum the gradients back."""

    name: ClassVar[str] = "missing_unbroadcast"

    def infer(self, x: ArraySpec, y: ArraySpec) -> ArraySpec:
        try:
            shape = np.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            msg = f"Operands of shapes {x.shape} and {y.shape} do not broadcast. Reshape one of them."
            raise ShapeError(msg) from None
        return ArraySpec(shape, np.result_type(x.dtype, y.dtype))

    def forward(self, x: Array, y: Array) -> Array:
        return x + y

    def backward(self, dz: Array) -> Any:
        return dz, dz

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), X, Y)


class IgnoredGradient(Elementwise):
    """Square whose backward asks for the arriving gradient and leaves it out."""

    name: ClassVar[str] = "ignored_gradient"

    def forward(self, x: Array) -> Array:
        return x * x

    def backward(self, dz: Array, x: Array) -> Array:
        return 2 * x


class StateOnSelf(_Unary):
    """Keeps its operand on itself, past the guard."""

    name: ClassVar[str] = "state_on_self"

    def forward(self, x: Array) -> Array:
        self.__dict__["x"] = x
        return x * 2


class SetsOnSelf(_Unary):
    """Keeps its operand on itself, as one does at first."""

    name: ClassVar[str] = "sets_on_self"

    def forward(self, x: Array) -> Array:
        self.x = x
        return x * 2


class StateOnClass(_Unary):
    """Keeps its operand on its class."""

    name: ClassVar[str] = "state_on_class"
    last: ClassVar[Any] = None

    def forward(self, x: Array) -> Array:
        type(self).last = x
        return x * 2


class InPlaceOnGradient(_Unary):
    """Doubles the arriving gradient where it lies."""

    name: ClassVar[str] = "in_place_on_gradient"

    def backward(self, dz: Array) -> Array:
        dz *= 2
        return dz


class InPlaceOnOperand(_Unary):
    """Doubles its operand where it lies."""

    name: ClassVar[str] = "in_place_on_operand"

    def forward(self, x: Array) -> Array:
        x *= 2
        return x


class InputReturned(Gate):
    """Gives its operand itself as its output."""

    name: ClassVar[str] = "input_returned"

    def infer(self, x: ArraySpec) -> ArraySpec:
        return x

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, dz: Array) -> Array:
        return dz

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), X)


class SilentUpcast(Elementwise):
    """Square root of two times the operand, by a NumPy number, which is no weak one."""

    name: ClassVar[str] = "silent_upcast"

    def forward(self, x: Array) -> Array:
        return x * np.sqrt(2.0)

    def backward(self, dz: Array) -> Array:
        return dz * np.sqrt(2.0)


class WrongCount(_Unary):
    """Gives two gradients for one operand."""

    name: ClassVar[str] = "wrong_count"

    def backward(self, dz: Array) -> Any:
        return dz * 2, dz


class ListForArray(_Unary):
    """Gives a list of numbers."""

    name: ClassVar[str] = "list_for_array"

    def forward(self, x: Array) -> Any:
        return [[2 * float(v) for v in row] for row in x]


class IntegerGradient(_Unary):
    """Gives a gradient of integers."""

    name: ClassVar[str] = "integer_gradient"

    def backward(self, dz: Array) -> Array:
        return np.full(dz.shape, 2)


class NotANumber(Elementwise):
    """Divides zero by zero where it need not: the derivative of ``x ** 2`` as ``x ** 2 * 2 * (x - x) / (x - x)``."""

    name: ClassVar[str] = "not_a_number"

    def forward(self, x: Array) -> Array:
        return x * x

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * 2 * x * (x - x) / (x - x)


class RandomNoise(_Unary):
    """Adds noise, and does not say so."""

    name: ClassVar[str] = "random_noise"

    def forward(self, x: Array) -> Array:
        return x * 2 + np.random.default_rng().normal(size=x.shape)


class GlobalSeed(_Unary):
    """Seeds NumPy's generator for everybody."""

    name: ClassVar[str] = "global_seed"

    def forward(self, x: Array) -> Array:
        np.random.seed(3)  # noqa: NPY002 - that is the fault
        return x * 2


class Unpicklable(_Unary):
    """Holds a lock."""

    name: ClassVar[str] = "unpicklable"
    _lock: Any = PrivateAttr(default_factory=threading.Lock)


class WrongInfer(_Unary):
    """Says that the result has the operand's shape, but sums."""

    name: ClassVar[str] = "wrong_infer"

    def forward(self, x: Array) -> Array:
        return x.sum(axis=-1)

    def backward(self, dz: Array, x: Array) -> Array:
        return np.broadcast_to(dz[..., None], x.shape)


class WrongInferOfIntegers(_Unary):
    """Says that a mean of integers is one of integers; only floats are in its examples."""

    name: ClassVar[str] = "wrong_infer_of_integers"

    def infer(self, x: ArraySpec) -> ArraySpec:
        return x

    def forward(self, x: Array) -> Array:
        return x / 1 * 2


class NumpySizes(_Unary):
    """Gives sizes as NumPy's integers, whose products overflow."""

    name: ClassVar[str] = "numpy_sizes"

    def infer(self, x: ArraySpec) -> ArraySpec:
        super().infer(x)
        return ArraySpec(tuple(np.array(x.shape, np.int64)), x.dtype)


class AffineBackward(_Unary):
    """Adds a constant to its gradient, which is hidden where that is small."""

    name: ClassVar[str] = "affine_backward"

    def backward(self, dz: Array) -> Array:
        return dz * 2 + 1e-7


class FourierWithoutConjugate(Gate):
    """Fourier transform whose backward is another transform, instead of the conjugate one."""

    name: ClassVar[str] = "fourier_without_conjugate"
    linear: ClassVar[bool] = True

    def infer(self, x: ArraySpec) -> ArraySpec:
        if x.ndim != 1 or x.size == 0 or x.dtype.kind != "c":
            msg = f"The operand must be complex, of shape (n,) with n from 1, got {x}."
            raise ShapeError(msg)
        return x

    def forward(self, x: Array) -> Array:
        return np.fft.fft(x).astype(x.dtype)

    def backward(self, dz: Array) -> Array:
        return np.fft.fft(dz).astype(dz.dtype)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        random = np.random.default_rng(0)
        yield Example(cls(), random.normal(size=5) + 1j * random.normal(size=5))


_CACHE: dict[str, Array] = {}


class Caching(_Unary):
    """Keeps its operand in a dictionary of the module, by nothing that tells two runs apart."""

    name: ClassVar[str] = "caching"

    def forward(self, x: Array) -> Array:
        _CACHE["x"] = x
        return x * x

    def backward(self, dz: Array) -> Array:
        return dz * 2 * _CACHE["x"]


_SCRATCH = np.zeros(X.shape)


class ScratchArray(_Unary):
    """Gives an array of its module, written anew in every run."""

    name: ClassVar[str] = "scratch_array"

    def forward(self, x: Array) -> Array:
        if x.shape != _SCRATCH.shape or x.dtype != _SCRATCH.dtype:
            return x * 2
        _SCRATCH.flags.writeable = True
        np.multiply(x, 2, out=_SCRATCH)
        return _SCRATCH


_UNSHARED: dict[str, Array] = {}


class NotForThreads(_Unary):
    """Works in an array that all threads share, and copies the result out of it."""

    name: ClassVar[str] = "not_for_threads"

    def forward(self, x: Array) -> Array:
        _UNSHARED["work"] = x * 2
        threading.Event().wait(0.002)
        return _UNSHARED["work"] + 0


class OnlyContiguous(_Unary):
    """Reads the memory of its operand, as if that were always in C order."""

    name: ClassVar[str] = "only_contiguous"

    def forward(self, x: Array) -> Array:
        return 2 * x.ravel(order="K").reshape(x.shape)


class FloatsOfScalars(_Unary):
    """Fails for an operand without axes, which its infer lets pass."""

    name: ClassVar[str] = "floats_of_scalars"

    def forward(self, x: Array) -> Array:
        return np.stack([row * 2 for row in x]) if len(x) else x * 2


class NotLinear(_Unary):
    """Says that it is linear, and adds one."""

    name: ClassVar[str] = "not_linear"
    linear: ClassVar[bool] = True

    def forward(self, x: Array) -> Array:
        return x * 2 + 1


class FalselyDisconnected(Elementwise):
    """Product with a number that it says no gradient passes through."""

    name: ClassVar[str] = "falsely_disconnected"
    disconnected: ClassVar[tuple[str, ...]] = ("x",)

    def forward(self, x: Array, y: Array) -> Array:
        return x * y

    def backward_y(self, dz: Array, x: Array) -> Array:
        return dz * np.conjugate(x)


class ForgetfulOfOutputs(Gate):
    """Gives no gradient where one arrives at its second output alone."""

    name: ClassVar[str] = "forgetful_of_outputs"
    outputs: ClassVar[tuple[str, ...]] = ("double", "triple")

    def infer(self, x: ArraySpec) -> tuple[ArraySpec, ArraySpec]:
        if x.dtype.kind not in "fc":
            msg = f"Operand 'x' must be floating point or complex, got {x.dtype}. Convert it with the gate 'cast'."
            raise DtypeError(msg)
        return x, x

    def forward(self, x: Array) -> tuple[Array, Array]:
        return 2 * x, 3 * x

    def backward(self, ddouble: Array | None = None, dtriple: Array | None = None) -> Any:
        if ddouble is None:
            return dtriple
        return 2 * ddouble if dtriple is None else 2 * ddouble + 3 * dtriple

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), X)


class HalfPrecision(_Unary):
    """Sums the squares of float16 where they overflow."""

    name: ClassVar[str] = "half_precision"

    def infer(self, x: ArraySpec) -> ArraySpec:
        super().infer(x)
        return ArraySpec((), x.dtype)

    def forward(self, x: Array) -> Array:
        return np.sqrt((x * x).sum())

    def backward(self, dz: Array, x: Array, z: Array) -> Array:
        return dz * x / z

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), 300 * np.abs(X))


class Undocumented(Elementwise):
    """steepness"""  # noqa: D415 - that is the fault

    name: ClassVar[str] = "undocumented"
    steepness: float = 2.0

    def forward(self, x: Array) -> Array:
        return self.steepness * x

    def backward(self, dz: Array) -> Array:
        return self.steepness * dz


class NoExamples(Gate):
    """Has no examples to be examined on."""

    name: ClassVar[str] = "no_examples"

    def forward(self, x: Array) -> Array:
        return x * 2

    def backward(self, dz: Array) -> Array:
        return dz * 2


class LossyAttribute(_Unary):
    """Adds to its attribute whenever it is made."""

    name: ClassVar[str] = "lossy_attribute"
    factor: Annotated[float, Field(description="Factor.")] = 2.0

    def __init__(self, /, **attributes: Any) -> None:
        super().__init__(**{key: value + 1e-3 for key, value in attributes.items()})

    def forward(self, x: Array) -> Array:
        return self.factor * x

    def backward(self, dz: Array) -> Array:
        return self.factor * dz

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(factor=2.55), X)


class Dishonest(_Unary):
    """Declares a failure that does not come about."""

    name: ClassVar[str] = "dishonest"
    expected_failures: ClassVar[Mapping[str, str]] = {"layout": "I believe that it reads memory."}


class FunctionAttribute(_Unary):
    """Has a function for an attribute, which no client can be told of, let alone send."""

    name: ClassVar[str] = "function_attribute"
    function: Annotated[Callable[[Array], Array], Field(description="What doubles.")] = np.positive

    def forward(self, x: Array) -> Array:
        return self.function(x) * 2


_SHARED: dict[str, Array] = {}


class SharedWork(Elementwise):
    """Product whose second gradient reads what the first has left, to cast only once."""

    name: ClassVar[str] = "shared_work"

    def forward(self, x: Array, y: Array) -> Array:
        return x * y

    def backward_x(self, dz: Array, y: Array) -> Array:
        _SHARED["dz"] = dz
        return dz * np.conjugate(y)

    def backward_y(self, dz: Array, x: Array) -> Array:
        return _SHARED.get("dz", dz) * np.conjugate(x)


class Shortcut(Elementwise):
    """Square that takes large arrays, which symbols of a recording are not, in single precision."""

    name: ClassVar[str] = "shortcut"

    def forward(self, x: Array) -> Array:
        if isinstance(x, np.ndarray) and x.size > 100_000:
            return np.square(x.astype(np.float32)).astype(x.dtype)
        return np.square(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return dz * 2 * np.conjugate(x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), np.linspace(0.5, 1.5, 120_000))


class Mirrored(Elementwise):
    """Says that it works element by element, but reads its operand from both ends."""

    name: ClassVar[str] = "mirrored"

    def forward(self, x: Array) -> Array:
        return x * np.flip(x)

    def backward(self, dz: Array, x: Array) -> Array:
        return (dz + np.flip(dz)) * np.conjugate(np.flip(x))


class WrongTangent(_Unary):
    """Has a jvp that is not that of forward."""

    name: ClassVar[str] = "wrong_tangent"

    def jvp(self, x_dot: Array) -> Array:
        return 3 * x_dot


@dataclass(frozen=True)
class Wrong:
    """A wrong gate, the law that finds it, and a part of what it says."""

    gate: type[Gate]
    law: str
    says: str

    def __str__(self) -> str:
        return self.gate.name


WRONG = [
    Wrong(SwappedGradients, "adjoint", "for operand 'x' at"),
    Wrong(MissingUnbroadcast, "shapes", "gradient of shape"),
    Wrong(IgnoredGradient, "linearity", "is not linear in the one that arrives"),
    Wrong(StateOnSelf, "purity", "changes the gate"),
    Wrong(SetsOnSelf, "purity", "sets a value on `self`"),
    Wrong(StateOnClass, "purity", "changes its class"),
    Wrong(InPlaceOnGradient, "purity", "backward failed.*read-only"),
    Wrong(InPlaceOnOperand, "purity", "forward failed.*read-only"),
    Wrong(GlobalSeed, "purity", "the random generator"),
    Wrong(InputReturned, "aliasing", "'z' is an operand itself"),
    Wrong(ScratchArray, "aliasing", "memory that the gate keeps"),
    Wrong(SilentUpcast, "precision", "is float64 for operands of float32"),
    Wrong(HalfPrecision, "precision", "in float16 is off by inf"),
    Wrong(WrongCount, "contract", "must return 1 gradients"),
    Wrong(ListForArray, "contract", "a list, not a NumPy array"),
    Wrong(IntegerGradient, "contract", "gradient of dtype int64"),
    Wrong(WrongInfer, "contract", "but infer said"),
    Wrong(WrongInferOfIntegers, "dtypes", r"For operands bool\[2, 3\].*infer said bool"),
    Wrong(NumpySizes, "inference", "sizes are Python integers"),
    Wrong(NotANumber, "finite", "gradient of operand 'x' is not finite"),
    Wrong(RandomNoise, "determinism", "Say `deterministic = False`"),
    Wrong(Unpicklable, "pickling", "cannot be pickled"),
    Wrong(AffineBackward, "linearity", "is not linear in the one that arrives"),
    Wrong(FourierWithoutConjugate, "adjoint", "central differences give"),
    Wrong(Caching, "reentrancy", "changes the gradients of this one"),
    Wrong(NotForThreads, "threads", "Beside seven other threads"),
    Wrong(OnlyContiguous, "layout", "for operands of another memory layout"),
    Wrong(FloatsOfScalars, "shapes", r"For operands float64\[\].*forward failed"),
    Wrong(NotLinear, "linear", "says that it is linear"),
    Wrong(FalselyDisconnected, "disconnected", "outputs change with it"),
    Wrong(ForgetfulOfOutputs, "outputs", "do not add up"),
    Wrong(Undocumented, "documentation", "which is no sentence"),
    Wrong(NoExamples, "examples", "has no examples"),
    Wrong(LossyAttribute, "attributes", "come back as"),
    Wrong(FunctionAttribute, "schema", "no JSON Schema"),
    Wrong(SharedWork, "selection", "'y' is another when it alone is wanted"),
    Wrong(Shortcut, "fusion", "Output 'z' is another when it is planned"),
    Wrong(Mirrored, "duals", "by the gradients it should be"),
    Wrong(WrongTangent, "duals", "a jvp of its own, which is refused"),
    Wrong(Dishonest, "layout", "Take it off `expected_failures`"),
]
