"""The gate contract: what a class may be, and what the engine does for it and demands of it."""

import gc
import weakref
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
from pydantic import Field

from graphsvc import errors
from graphsvc.arrays import Array, ArraySpec
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.gate import Elementwise, Gate


def run(gate: Gate, *operands: Any, dz: Any = None, wrt: Any = None) -> tuple[Array, list[Array]]:
    """Run one gate forward and backward; return its first output and the gradients of its operands."""
    graph = ComputationalGraph()
    names = [f"x{i}" for i in range(len(operands))]
    node = graph.add(gate, *(graph.input(name) for name in names), name="here")
    graph.output("f", node)
    seeds = None if dz is None else {"f": dz}
    outputs, gradients = graph.value_and_grad(dict(zip(names, operands, strict=True)), wrt, seeds)
    return outputs["f"], list(gradients.values())


def gate_class(base: type[Gate] = Gate, /, **namespace: Any) -> type[Gate]:
    """Make a gate class out of its parts."""
    annotations = {k: v[0] for k, v in namespace.items() if k.startswith("field_")}
    fields = {k.removeprefix("field_"): v[1] for k, v in namespace.items() if k.startswith("field_")}
    body = {k: v for k, v in namespace.items() if not k.startswith("field_")}
    annotations = {k.removeprefix("field_"): v for k, v in annotations.items()}
    annotations |= {
        k: ClassVar[Any] for k in ("name", "version", "outputs", "saves", "integers", "disconnected") if k in body
    }
    return type(base)("Planted", (base,), {"__module__": __name__, "__annotations__": annotations, **body, **fields})


def identity(self, x):
    return x


def pass_on(self, dz):
    return dz


GOOD = {"name": "planted", "forward": identity, "backward": pass_on}

BROKEN = {
    "a name that is no name": (GOOD | {"name": "Not A Name"}, "lower case letters"),
    "no forward": ({"name": "planted"}, "has no `forward`"),
    "no operand": (GOOD | {"forward": lambda self: 1}, "takes no operand"),
    "a default": (GOOD | {"forward": lambda self, x=None: x}, "has a default"),
    "a keyword-only operand": (GOOD | {"forward": lambda self, *, x: x}, "is no operand"),
    "keywords": (GOOD | {"forward": lambda self, **x: x}, "is no operand"),
    "a static forward": (GOOD | {"forward": staticmethod(lambda x: x)}, "plain method"),
    "a version of 0": (GOOD | {"version": 0}, "integer from 1"),
    "no outputs": (GOOD | {"outputs": ()}, "at least one output"),
    "a string for outputs": (GOOD | {"outputs": "z"}, "tuple of names"),
    "an operand named as an output": (
        GOOD | {"forward": lambda self, z: z},
        r"'z' is an operand and an output",
    ),
    "an operand named as an attribute": (GOOD | {"field_x": (int, 1)}, "'x' is an operand and an attribute"),
    "an operand named as a gradient": (GOOD | {"forward": lambda self, dz: dz}, "'dz' is an operand"),
    "an attribute named as a shape": (GOOD | {"field_x_shape": (int, 1)}, "'x_shape' is an attribute"),
    "a reserved operand": (GOOD | {"forward": lambda self, version: version}, "'version' is a reserved name"),
    "a backward that asks for nothing known": (
        GOOD | {"backward": lambda self, dz, w: dz},
        "Allowed are dz, x, z, x_shape",
    ),
    "a backward that ignores the gradient": (GOOD | {"backward": lambda self, x: x}, "ignores the gradient"),
    "a backward with a default": (GOOD | {"backward": lambda self, dz, x=1: dz}, "has a default"),
    "a gradient with another default": (GOOD | {"backward": lambda self, dz=1: dz}, "only None"),
    "a backward of no operand": (
        {"name": "planted", "forward": identity, "backward_y": pass_on},
        "Allowed are backward, or backward_x",
    ),
    "both forms of backward": (GOOD | {"backward_x": pass_on}, "Keep one of the two"),
    "an undefined that asks for what no backward keeps": (
        GOOD | {"undefined": lambda self, dz, x: ""},
        "`undefined` means nothing. Allowed are dz",
    ),
    "an undefined without a joint backward": (
        {"name": "planted", "forward": identity, "backward_x": pass_on, "undefined": lambda self, dz: ""},
        "no `backward` for all operands",
    ),
    "an infer of other operands": (GOOD | {"infer": lambda self, y: y}, "must take the operands"),
    "disconnected that are no operands": (GOOD | {"disconnected": ("y",)}, "`disconnected` names 'y'"),
    "a disconnected operand with a backward": (GOOD | {"disconnected": ("x",)}, "is in `disconnected` and has a"),
    "integers that are no operands": (GOOD | {"integers": ("y",)}, "`integers` names 'y'"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_class_that_breaks_the_contract_is_refused_when_it_is_made(what):
    """The error names the class, what is wrong, and what is allowed."""
    namespace, message = BROKEN[what]
    with pytest.raises(errors.GateDefinitionError, match=message) as caught:
        gate_class(**namespace)
    assert "Planted" in str(caught.value)


def test_a_class_that_keeps_the_contract_is_made():
    """The parts that the refused classes share make a gate."""
    assert gate_class(**GOOD).signature.operands == ("x",)


def test_inherited_methods_are_read_for_every_class():
    """A subclass that brings only an output of another name is read with the methods of its base."""
    base = gate_class(forward=identity, backward=lambda self, dout: dout)
    cls = gate_class(base, name="planted", outputs=("out",))
    assert cls.signature.outputs == ("out",)
    with pytest.raises(errors.GateDefinitionError, match="means nothing"):
        gate_class(base, name="planted")


def test_a_base_without_a_name_is_no_gate():
    """It cannot be made into an object."""
    with pytest.raises(errors.GateDefinitionError, match="no gate"):
        gate_class(forward=identity)()


class Scale(Elementwise):
    """Product with a factor."""

    name: ClassVar[str] = "scale"
    factor: Annotated[int, Field(ge=0)] = 2
    axes: tuple[int, ...] = ()

    def forward(self, x: Array) -> Array:
        return self.factor * x

    def backward(self, dz: Array) -> Array:
        return self.factor * dz


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"factor": 1.5}, "does not take 1.5"),
        ({"factor": True}, "does not take True"),
        ({"factor": "2"}, "does not take '2'"),
        ({"factor": -1}, "greater than or equal to 0"),
        ({"factr": 2}, "Did you mean 'factor'"),
        ({"axes": ("a",)}, "does not take"),
    ],
)
def test_attributes_are_judged(attributes, message):
    """Wrong types, bool for int, and unknown names are refused with what the gate takes."""
    with pytest.raises(errors.AttributeValueError, match=message):
        Scale(**attributes)


def test_attributes_become_plain_data():
    """Lists become tuples and NumPy integers become Python's, so gates are hashable and equal by value."""
    gate = Scale(factor=np.int64(3), axes=[np.int8(1), 2])
    assert type(gate.factor) is int
    assert gate.axes == (1, 2)
    assert hash(gate) == hash(Scale(factor=3, axes=(1, 2)))
    assert gate == Scale(factor=3, axes=(1, 2))


def test_setting_self_is_answered_with_saves():
    """A gate that stores a value on itself is told to return it."""

    def forward(self, x):
        self.x = x
        return x

    with pytest.raises(errors.GateContractError, match="name it in `saves`") as caught:
        run(gate_class(**GOOD | {"forward": forward})(), 1.0)
    assert caught.value.node == "here"


RETURNS = {
    "a list from forward": ({"forward": lambda self, x: [1.0]}, "a list, not a NumPy array"),
    "a Python float from forward": ({"forward": lambda self, x: 1.0}, "a float, not a NumPy array"),
    "an array of objects": ({"forward": lambda self, x: np.array([None])}, "dtype object"),
    "a masked array": ({"forward": lambda self, x: np.ma.masked_array([1.0])}, "MaskedArray"),
    "a subclass": (
        {"forward": lambda self, x: x.view(type("Sub", (np.ndarray,), {}))},
        "an object of its own, not a NumPy array",
    ),
    "too many outputs": ({"outputs": ("z", "y")}, "forward must return z, y"),
    "too few saves": ({"saves": ("a",)}, "forward must return z, a"),
    "None from forward": ({"forward": lambda self, x: None}, "NoneType"),
    "another shape than inferred": (
        {"infer": lambda self, x: ArraySpec((7,), x.dtype)},
        r"returned float64\[2\] for output 'z', but infer said float64\[7\]",
    ),
    "another dtype than inferred": (
        {"infer": lambda self, x: ArraySpec(x.shape, np.dtype("f4"))},
        "infer said float32",
    ),
    "a spec that is none": ({"infer": lambda self, x: (3,)}, "ArraySpec"),
    "a gradient of another shape": (
        {"backward": lambda self, dz: dz[:1]},
        r"shape \(1,\) for operand 'x' of shape \(2,\)",
    ),
    "a scalar gradient": ({"backward": lambda self, dz: dz.sum()}, r"shape \(\)"),
    "too many gradients": ({"backward": lambda self, dz: (dz, dz)}, "1 gradients, one for each of x, got 2"),
    "no gradient in a tuple": ({"backward": lambda self, dz: ()}, "got 0"),
    "a list of numbers": ({"backward": lambda self, dz: [1.0]}, "float, not a NumPy array"),
    "a dictionary": ({"backward": lambda self, dz: {"x": dz}}, "dict, not a NumPy array"),
    "an integer gradient": ({"backward": lambda self, dz: dz.astype(int)}, "gradient of dtype int64"),
    "a complex gradient": ({"backward": lambda self, dz: dz * 1j}, "gradient of dtype complex128"),
    "a masked gradient": ({"backward": lambda self, dz: np.ma.masked_array(dz)}, "MaskedArray"),
}


@pytest.mark.parametrize("what", RETURNS)
def test_what_a_gate_returns_is_checked(what):
    """Count, type, shape and dtype of all that a gate returns; the message names node and gate."""
    namespace, message = RETURNS[what]
    with pytest.raises(errors.GateContractError, match=message) as caught:
        run(gate_class(**GOOD | namespace)(), np.ones(2), dz=np.ones(2), wrt=[] if "infer" in namespace else None)
    assert (caught.value.node, caught.value.gate) == ("here", "planted")


@pytest.mark.parametrize(
    "raised", [ValueError("secret"), SystemExit(3), GeneratorExit(), RecursionError(), MemoryError(), StopIteration()]
)
@pytest.mark.parametrize("method", ["forward", "backward"])
def test_an_exception_of_a_gate_is_its_fault_and_names_the_node(method, raised):
    """Whatever a gate raises, SystemExit too, becomes a GateError with the node's name; the cause is kept."""

    def fail(self, **_):
        raise raised

    methods = {"forward": lambda self, x: fail(self), "backward": lambda self, dz: fail(self)}
    with pytest.raises(errors.GateError, match=f"{method} failed") as caught:
        run(gate_class(**GOOD | {method: methods[method]})(), 1.0)
    assert caught.value.node == "here"
    assert caught.value.__cause__ is raised


def test_an_exception_that_cannot_be_printed_is_told_all_the_same():
    """An exception whose message raises does not hide where it came from."""

    class Unprintable(Exception):
        def __str__(self) -> str:
            raise ValueError

    def forward(self, x):
        raise Unprintable

    with pytest.raises(errors.GateError, match="cannot be read"):
        run(gate_class(**GOOD | {"forward": forward})(), 1.0)


def test_data_that_a_gate_must_refuse_is_the_callers_fault():
    """GateDataError keeps its class and message, and gains the node."""

    def forward(self, x):
        msg = "not positive definite"
        raise errors.GateDataError(msg)

    with pytest.raises(errors.GateDataError, match="at node 'here': not positive definite"):
        run(gate_class(**GOOD | {"forward": forward})(), 1.0)


@pytest.mark.parametrize("what", ["x", "dz", "z", "saved"])
def test_arrays_handed_to_a_gate_are_read_only(what):
    """Writing into an operand, a gradient, an output or a saved array raises at the guilty line."""

    def forward(self, x):
        if what == "x":
            x[0] = 1
        return x * 2, x + 1

    def backward(self, dz, z, saved):
        {"dz": dz, "z": z, "saved": saved}[what][0] = 1
        return dz

    cls = gate_class(name="planted", saves=("saved",), forward=forward, backward=backward)
    x = np.zeros(2)
    with pytest.raises(errors.GateError, match="read-only"):
        run(cls(), x, dz=np.ones(2))
    assert x.flags.writeable
    assert not x.any()


def test_a_sum_of_branches_is_handed_over_read_only():
    """The engine adds branches in place, and lends the sum read-only to the gate before."""

    def backward(self, dz):
        dz += 1
        return dz

    graph = ComputationalGraph()
    x = graph.add(gate_class(**GOOD | {"backward": backward})(), graph.input("x"))
    graph.output("f", graph.add("sum", x + x * 2 + x * 3))
    with pytest.raises(errors.GateError, match="read-only"):
        graph.value_and_grad({"x": np.ones(2)})


def test_only_the_wanted_gradients_are_computed():
    """Of `backward_x` and `backward_y`, only those are called whose gradient somebody wants."""
    called = []

    def backward_x(self, dz):
        called.append("x")
        return dz

    def backward_y(self, dz):
        called.append("y")
        return dz

    def forward(self, x, y):
        return x + y

    cls = gate_class(name="planted", forward=forward, backward_x=backward_x, backward_y=backward_y)
    run(cls(), 1.0, 2.0, wrt=["x1"])
    assert called == ["y"]
    run(cls(), 1.0, 2.0)
    assert sorted(called) == ["x", "y", "y"]


def test_what_backward_does_not_name_is_freed_during_forward():
    """An operand that no backward asks for does not live until the backward pass; a shape keeps no array alive."""
    alive = []

    class Tracked:
        """Watches arrays by the memory they hold."""

        refs: ClassVar[list[weakref.ref[Array]]] = []

    def make(self, x):
        result = x + 1.0
        Tracked.refs.append(weakref.ref(result))
        return result

    def look(self, dz, x_shape):
        gc.collect()
        alive.append(sum(ref() is not None for ref in Tracked.refs))
        assert x_shape == (3,)
        return dz

    cls = gate_class(name="planted", forward=make, backward=look)
    graph = ComputationalGraph()
    x = graph.input("x")
    for _ in range(4):
        x = graph.add(cls(), x)
    graph.output("f", graph.add("sum", x))
    graph.value_and_grad({"x": np.ones(3)})
    assert alive == [0, 0, 0, 0]


def test_a_value_is_freed_at_its_last_use():
    """While a chain runs forward without gradients, only the values of the gate that runs are alive."""
    alive = []
    refs: list[weakref.ref[Array]] = []

    def make(self, x):
        alive.append(sum(ref() is not None for ref in refs))
        result = x + 1.0
        refs.append(weakref.ref(result))
        return result

    cls = gate_class(name="planted", forward=make, backward=pass_on)
    graph = ComputationalGraph()
    x = graph.input("x")
    for _ in range(5):
        x = graph.add(cls(), x)
    graph.output("f", x)
    for wrt in ([], None):
        alive.clear()
        refs.clear()
        graph.value_and_grad({"x": np.ones(3)}, wrt=wrt, output_gradients={"f": np.ones(3)})
        assert alive == [0, 1, 1, 1, 1]


def test_saves_reach_backward_and_may_be_anything():
    """What forward returns after its outputs reaches backward under its name."""

    def forward(self, x):
        return x * 3, {"factor": 3}, None

    def backward(self, dz, note, nothing):
        assert nothing is None
        return dz * note["factor"]

    cls = gate_class(name="planted", saves=("note", "nothing"), forward=forward, backward=backward)
    assert run(cls(), 2.0)[1] == [3.0]


class SinCos(Gate):
    """Sine and cosine at once."""

    name: ClassVar[str] = "sin_cos"
    outputs: ClassVar[tuple[str, ...]] = ("s", "c")

    def forward(self, x: Array) -> tuple[Array, Array]:
        return np.sin(x), np.cos(x)

    def backward(self, ds: Array, dc: Array, s: Array, c: Array) -> Array:
        return ds * c - dc * s


class SinCosLazily(SinCos):
    """The same, which can tell that no gradient arrives."""

    name: ClassVar[str] = "sin_cos_lazily"
    seen: ClassVar[list[bool]] = []

    def backward(self, ds: Array | None, c: Array, s: Array, dc: Array | None = None) -> Array:
        self.seen.append(dc is None)
        return ds * c if dc is None else ds * c - dc * s


def test_several_outputs_are_referred_to_by_name():
    """`node:c` is the second output; an output at which no gradient arrives contributes nothing."""
    graph = ComputationalGraph()
    node = graph.add(SinCos(), graph.input("x"))
    graph.output("s", node)
    graph.output("again", node.output("s"))
    graph.output("c", node.output("c"))
    outputs, gradients = graph.value_and_grad({"x": 0.3}, output_gradients={"s": 2.0, "again": 1.0, "c": 5.0})
    assert outputs["s"] == outputs["again"] == np.sin(0.3)
    assert outputs["c"] == np.cos(0.3)
    assert gradients["x"] == pytest.approx(3 * np.cos(0.3) - 5 * np.sin(0.3))
    _, gradients = graph.value_and_grad({"x": 0.3}, output_gradients={"c": 1.0})
    assert gradients["x"] == pytest.approx(-np.sin(0.3))
    graph.output("none", node.output("t"))
    with pytest.raises(errors.UnknownReferenceError, match="Its outputs: s, c"):
        graph.check()


def test_a_gradient_with_default_none_is_none_where_none_arrives():
    """`dc=None` gets None where no gradient arrives, and the gradient where one does."""
    SinCosLazily.seen.clear()
    graph = ComputationalGraph()
    node = graph.add(SinCosLazily(), graph.input("x"))
    graph.output("s", node)
    graph.output("c", node.output("c"))
    _, one = graph.value_and_grad({"x": 0.3}, output_gradients={"s": 1.0})
    _, both = graph.value_and_grad({"x": 0.3}, output_gradients={"s": 1.0, "c": 1.0})
    assert SinCosLazily.seen == [True, False]
    assert one["x"] == pytest.approx(np.cos(0.3))
    assert both["x"] == pytest.approx(np.cos(0.3) - np.sin(0.3))


def test_a_variadic_gate_gets_and_gives_tuples():
    """`*xs` takes any number of operands; `xs` and `xs_shape` are tuples, fixed operands before it stay single."""

    def forward(self, w, *xs):
        return w * sum(xs)

    def backward(self, dz, w, xs, xs_shape):
        assert isinstance(xs, tuple)
        assert xs_shape == tuple(x.shape for x in xs)
        return (dz * sum(xs), *(dz * w for _ in xs))

    cls = gate_class(name="planted", forward=forward, backward=backward)
    value, gradients = run(cls(), 2.0, 3.0, 4.0, 5.0)
    assert value == 24
    assert gradients == [12, 2, 2, 2]
    with pytest.raises(errors.ArityError, match=r"at least 2 operands \(w, \*xs\), got 1"):
        run(cls(), 2.0)


def test_backward_of_a_variadic_operand_alone():
    """`backward_xs` returns one gradient for each of them."""

    def forward(self, *xs):
        return sum(xs) * 1.0

    cls = gate_class(name="planted", forward=forward, backward_xs=lambda self, dz, xs_shape: [dz] * len(xs_shape))
    assert run(cls(), 1.0, 2.0, 3.0)[1] == [1, 1, 1]


def test_an_operand_without_a_backward_is_not_differentiable():
    """Asking for it is an error that names node, gate and operand, before anything runs; the other one is given."""
    ran = []

    def forward(self, x, y):
        ran.append(1)
        return x * y

    cls = gate_class(name="planted", forward=forward, backward_x=lambda self, dz, y: dz * y)
    with pytest.raises(errors.GateNotDifferentiableError, match="'planted' at node 'here'.*operand 'y'"):
        run(cls(), 2.0, 3.0)
    assert not ran
    assert run(cls(), 2.0, 3.0, wrt=["x0"])[1] == [3.0]


def test_none_for_a_wanted_gradient_is_not_differentiable():
    """A backward that gives None for an operand says that it has no gradient."""
    cls = gate_class(name="planted", forward=lambda self, x, y: x * y, backward=lambda self, dz, y: (dz * y, None))
    with pytest.raises(errors.GateNotDifferentiableError, match="operand 'y'"):
        run(cls(), 2.0, 3.0)
    assert run(cls(), 2.0, 3.0, wrt=["x0"])[1] == [3.0]


def test_an_output_whose_gradient_no_backward_names_is_not_differentiable():
    """A gradient arriving there is refused, not dropped."""
    cls = gate_class(
        name="planted",
        outputs=("z", "y"),
        forward=lambda self, x: (x * 2, x * 3),
        backward=lambda self, dz: dz * 2,
    )
    graph = ComputationalGraph()
    node = graph.add(cls(), graph.input("x"))
    graph.output("f", node + node.output("y"))
    with pytest.raises(errors.GateNotDifferentiableError, match="output 'y'"):
        graph.value_and_grad({"x": 1.0})


def test_elementwise_gradients_are_summed_back_to_broadcast_operands():
    """An author returns gradients of the output's shape; operands get theirs, 0-d ones as 0-d arrays."""

    class Product(Elementwise):
        """Product."""

        name: ClassVar[str] = "product"

        def forward(self, x: Array, y: Array) -> Array:
            return x * y

        def backward(self, dz: Array, x: Array, y: Array) -> tuple[Array, Array]:
            return dz * y, dz * x

    random = np.random.default_rng(3)
    for shapes in (((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 3)), ((1, 1), (3,)), ((0, 3), (1,)), ((), ())):
        x, y = (random.normal(size=shape) for shape in shapes)
        dz = random.normal(size=np.broadcast_shapes(*shapes))
        _, (dx, dy) = run(Product(), x, y, dz=dz)
        for operand, other, gradient in ((x, y, dx), (y, x, dy)):
            full = dz * other
            leading = tuple(range(full.ndim - operand.ndim))
            axes = leading + tuple(
                i + len(leading) for i, n in enumerate(operand.shape) if n == 1 and full.shape[i + len(leading)] != 1
            )
            np.testing.assert_allclose(gradient, full.sum(axes, keepdims=True).reshape(operand.shape))
            assert isinstance(gradient, np.ndarray)


def test_gradients_of_float64_are_cast_to_the_dtype_of_a_narrower_operand():
    """A gate that computes in float64 gives float32 gradients to float32 operands."""
    cls = gate_class(**GOOD | {"backward": lambda self, dz: dz.astype(np.float64) * 2})
    _, (gradient,) = run(cls(), np.ones(2, np.float32), dz=np.ones(2, np.float32))
    assert gradient.dtype == np.float32


def test_branches_add_up_without_writing_to_what_a_gate_returned():
    """A gate may return the array it was given, or one that it keeps: the engine adds into arrays of its own."""
    kept = np.full(2, 7.0)
    cls = gate_class(**GOOD | {"backward": lambda self, dz: kept})
    graph = ComputationalGraph()
    x = graph.input("x")
    y = graph.add(cls(), x)
    graph.output("f", graph.add("sum", y + x + x + x * 2))
    _, gradients = graph.value_and_grad({"x": np.ones(2)})
    np.testing.assert_array_equal(gradients["x"], [11.0, 11.0])
    np.testing.assert_array_equal(kept, [7.0, 7.0])


def test_results_may_be_written_to_and_share_no_memory():
    """Outputs and gradients belong to the caller: writing to one changes neither another nor an input."""
    graph = ComputationalGraph()
    x, y = graph.input("x"), graph.input("y")
    graph.output("s", x + y)
    graph.output("x", x)
    graph.output("t", graph.add("transpose", x))
    given = {"x": np.ones((2, 2)), "y": np.ones((2, 2))}
    seeds = {"s": np.ones((2, 2))}
    outputs, gradients = graph.value_and_grad(given, output_gradients=seeds)
    arrays = [*outputs.values(), *gradients.values(), *given.values(), *seeds.values()]
    for i, array in enumerate(arrays):
        array += 1 + i
        for other in arrays[:i]:
            assert not np.shares_memory(array, other)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_python_literal_takes_the_dtype_that_it_meets(dtype):
    """2, 2.5 and a folded 1/2 do not widen a narrow array, at elementwise gates and at others."""
    import graphsvc

    x = np.ones((2, 2), dtype)
    for expression in ("2 * x", "x + 2.5", "1/2 * x", "max(0, x)", "x ** 2", "where(x > 0, x, 0)"):
        outputs, _ = graphsvc.parse(f"f = {expression}").value_and_grad({"x": x}, wrt=[])
        assert outputs["f"].dtype == dtype, expression


def test_a_literal_that_the_dtype_cannot_hold_is_refused():
    """300 does not become 44 beside int8."""
    import graphsvc

    with pytest.raises(errors.DtypeError, match="300 does not fit int8"):
        graphsvc.parse("f = x + 300").value_and_grad({"x": np.ones(2, np.int8)}, wrt=[])


def test_infer_is_asked_before_anything_runs():
    """A shape that does not fit at the last node is refused before the first gate runs."""
    ran = []

    def forward(self, x):
        ran.append(1)
        return x

    cls = gate_class(**GOOD | {"forward": forward, "infer": lambda self, x: x})
    graph = ComputationalGraph()
    x = graph.add(cls(), graph.input("x"))
    graph.output("f", graph.add("matmul", x, x, name="bad"))
    with pytest.raises(errors.ShapeError, match="at node 'bad'"):
        graph.value_and_grad({"x": np.ones((2, 3))}, output_gradients={"f": np.ones(1)})
    assert not ran


def test_a_gate_without_infer_runs():
    """What is not known before the run is found during it; gradients are right, integers among the values too."""
    cls = gate_class(name="planted", forward=lambda self, x: x * 2, backward=lambda self, dz: dz * 2)
    graph = ComputationalGraph()
    x = graph.add(cls(), graph.input("x"))
    graph.output("f", graph.add("sum", x * 3 + graph.add("cast", x, dtype="int64") * 1.0))
    outputs, gradients = graph.value_and_grad({"x": [1.0, 2.0]})
    assert outputs["f"] == 24
    np.testing.assert_array_equal(gradients["x"], [6.0, 6.0])


def test_shapes_are_checked_during_the_run_where_they_were_not_known_before():
    """After a gate without `infer`, another gate still refuses shapes that do not fit, and broadcasts nothing."""
    cls = gate_class(name="planted", forward=lambda self, x: x * 2, backward=lambda self, dz: dz * 2)
    for gate, operand in (("mean_squared_error", np.ones(1)), ("subtract", np.ones(2)), ("matmul", np.ones(4))):
        graph = ComputationalGraph()
        x = graph.add(cls(), graph.input("x"))
        graph.output("f", graph.add(gate, x, operand, name="bad"))
        with pytest.raises(errors.ShapeError, match="at node 'bad'"):
            graph.value_and_grad({"x": np.ones(3)}, wrt=[])


def test_a_literal_may_follow_a_gate_without_infer():
    """A literal takes the dtype that it meets also where that is known only during the run."""
    cls = gate_class(name="planted", forward=lambda self, x: x * 2, backward=lambda self, dz: dz * 2)
    graph = ComputationalGraph()
    graph.output("f", graph.add(cls(), graph.input("x")) * 2.5)
    outputs, _ = graph.value_and_grad({"x": np.float32(1)})
    assert outputs["f"].dtype == np.float32


def test_no_gradient_passes_through_a_disconnected_operand():
    """An input that reaches the result only so has zeros and is listed; the other operands have their gradients."""

    class Quantised(Elementwise):
        """Product with a rounded number."""

        name: ClassVar[str] = "quantised"
        disconnected: ClassVar[tuple[str, ...]] = ("x",)

        def forward(self, x, y):
            return np.rint(x) * y

        def backward_y(self, dz, x):
            return dz * np.rint(x)

    graph = ComputationalGraph()
    x, y = graph.input("x"), graph.input("y")
    graph.output("f", graph.add(Quantised(), x, y))
    _, gradients = graph.value_and_grad({"x": 2.4, "y": 3.0})
    assert gradients == {"x": 0.0, "y": 2.0}
    assert gradients.disconnected == ("x",)
    assert graph.backward(graph.forward({"x": 2.4, "y": 3.0})) == gradients
    graph.output("g", graph.add(Quantised(), x, y) * x)
    _, gradients = graph.value_and_grad({"x": 2.4, "y": 3.0}, outputs=["g"])
    assert gradients == {"x": 6.0, "y": 4.8}
    assert gradients.disconnected == ()
