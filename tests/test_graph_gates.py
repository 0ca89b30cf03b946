"""Gates that hold graphs, against closed forms, unrolled graphs and other solvers."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import graphsvc
from graphsvc import ComputationalGraph, errors
from graphsvc.arrays import Array


def run(
    gate: str,
    body: object,
    *operands: object,
    seed: object = None,
    wrt: list[int] | None = None,
    output: str | None = None,
    **attributes: object,
) -> tuple[Array, list[Array]]:
    """Run one gate that holds `body`, and return an output and the gradients of the operands."""
    graph = ComputationalGraph()
    named = {f"x{i}": operand for i, operand in enumerate(operands)}
    graphs = {"body": body} if isinstance(body, ComputationalGraph) else body
    node = graph.add(gate, *map(graph.input, named), **graphs, **attributes)
    graph.output("f", node if output is None else node.output(output))
    wanted = [f"x{i}" for i in wrt] if wrt is not None else None
    seeds = {"f": seed} if seed is not None else None
    outputs, gradients = graph.value_and_grad(named, wrt=wanted, output_gradients=seeds)
    return outputs["f"], list(gradients.values())


# Fixed points and roots ---------------------------------------------------------------------------------------------

HERON = graphsvc.parse("(x + a / x) / 2", ["x", "a"])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("start", [0.3, 1.0, 100.0])
def test_a_fixed_point_has_the_gradient_of_the_solution(start: float, dtype: str):
    """Heron's square root, from any start: sqrt(a), 1 / (2 sqrt(a)), and nothing for the start."""
    a = np.array([2.0, 9.0], dtype)
    seed = np.array([1.0, 10.0], dtype)
    z, (dx, da) = run("fixed_point", HERON, np.full(2, start, dtype), a, seed=seed)
    np.testing.assert_allclose(z, np.sqrt(a), rtol=8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(da, seed / (2 * np.sqrt(a)), rtol=64 * np.finfo(dtype).eps)
    assert not dx.any()
    assert da.dtype == a.dtype


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2 * x + t", "left the finite numbers|no fixed point in 1000 runs"),
        ("-x + t", r"no fixed point in 1000 runs: the last one changed x by 1\b.* is allowed"),
        ("0.999 * x + t", "no fixed point in 1000 runs"),
        ("x / 0 + t", "left the finite numbers"),
    ],
)
def test_a_repetition_that_does_not_come_to_rest_is_refused_with_numbers(text: str, said: str):
    """What diverges, swings, creeps or leaves the finite numbers; never a number that is no fixed point."""
    with pytest.raises(errors.GateDataError, match=said):
        run("fixed_point", graphsvc.parse(text, ["x", "t"]), 0.0, 1.0, wrt=[])


@pytest.mark.parametrize("gate", ["fixed_point", "root"])
def test_many_unknowns_take_another_way_to_the_same(gate: str):
    """GMRES solves for 80 unknowns what is solved directly for 60; all agrees with `np.linalg.solve`."""
    random = np.random.default_rng(3)
    for size in (60, 80):
        m = random.normal(size=(size, size)) / (4 * np.sqrt(size))
        b, seed = random.normal(size=(2, size))
        text = "m @ x + b" if gate == "fixed_point" else "x - m @ x - b"
        z, (_, dm, db) = run(gate, graphsvc.parse(text, ["x", "m", "b"]), np.zeros(size), m, b, seed=seed)
        whole = np.eye(size) - m
        np.testing.assert_allclose(z, np.linalg.solve(whole, b), rtol=1e-9, atol=1e-11)
        u = np.linalg.solve(whole.T, seed)
        np.testing.assert_allclose(db, u, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(dm, np.outer(u, z), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("start", [0.1, 5.0, -300.0])
def test_newton_halves_its_steps_where_they_would_lead_away(start: float):
    """The root of arctan(x) - t from far off, where full steps diverge; its gradient is 1 + x^2."""
    z, (_, dt) = run("root", graphsvc.parse("arctan(x) - t", ["x", "t"]), start, 0.5)
    assert z == pytest.approx(np.tan(0.5), rel=1e-12)
    assert dt == pytest.approx(1 + np.tan(0.5) ** 2, rel=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_root_keeps_the_dtype(dtype: str):
    """In narrow dtypes it comes as close as these allow."""
    t = np.array([2.0, 10.0], dtype)
    z, (_, dt) = run("root", graphsvc.parse("x ** 3 + x - t", ["x", "t"]), np.ones(2, dtype), t, seed=np.ones(2, dtype))
    np.testing.assert_allclose(z, [1.0, 2.0], rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(dt, [1 / 4, 1 / 13], rtol=16 * np.finfo(dtype).eps)
    assert (z.dtype, dt.dtype) == (t.dtype, t.dtype)


@pytest.mark.parametrize(
    ("text", "start", "said"),
    [
        ("x * x + t", 3.0, "no root|closer to zero|singular"),
        ("x * 0 + t", 3.0, "Jacobian of the graph is singular"),
        ("log(x) - t", -1.0, "not finite|closer to zero"),
        ("(x - t) ** 9", 1e6, "no root of the graph 'body' in 50 steps: the last step was .* is allowed"),
    ],
)
def test_what_has_no_root_is_refused(text: str, start: float, said: str):
    """A minimum above zero, a constant, a start outside of the domain, and slow convergence."""
    with pytest.raises(errors.GateDataError, match=said):
        run("root", graphsvc.parse(text, ["x", "t"]), start, 1.0, wrt=[])


def test_integers_may_be_handed_to_the_graph():
    """They have no gradient, and the others keep theirs."""
    body = graphsvc.parse("0.5 * cos(x) + t * cast(n, dtype='float64')", ["x", "t", "n"])
    _, gradients = run("fixed_point", body, np.zeros(2), 0.3, np.array([1, 2]), seed=np.ones(2), wrt=[1])
    assert gradients[0].shape == ()
    for gate, wrt in (("map", [1]), ("scan", [0])):
        body = graphsvc.parse("a * cast(n, dtype='float64')", ["a", "n"])
        operands = (0.5, np.array([1, 2])) if gate == "scan" else (np.array([1, 2]), np.array([0.5, 2.0]))
        if gate == "map":
            body = graphsvc.parse("a * cast(n, dtype='float64')", ["n", "a"])
        z, (gradient,) = run(gate, body, *operands, wrt=wrt, seed=1.0 if gate == "scan" else np.ones(2))
        np.testing.assert_array_equal(z, 1.0 if gate == "scan" else [0.5, 4.0])
        np.testing.assert_array_equal(gradient, 2.0 if gate == "scan" else [1.0, 2.0])


# Differential equations ---------------------------------------------------------------------------------------------


def test_an_integrator_has_the_order_of_its_method():
    """Twice as many steps leave a sixteenth of the error."""
    body = graphsvc.parse("-k * y", ["y", "k"])
    wrong = [
        float(abs(run("odeint", body, 1.0, [0.0, 1.0], 2.0, steps=n, trajectory=False, wrt=[])[0] - np.exp(-2.0)))
        for n in (10, 20)
    ]
    assert wrong[0] / wrong[1] == pytest.approx(16, rel=0.2)


def test_an_integrator_agrees_with_scipy():
    """A pendulum with a driving force, at all times asked for."""
    body = graphsvc.parse("y @ a + force * sin(t) * e + sin(y) @ b", ["y", "t", "force", "a", "e", "b"])
    a, e, b = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([0.0, 1.0]), np.array([[0.0, -1.0], [0.0, 0.0]])
    t = np.array([0.0, 0.5, 2.0, 1.0])
    z, _ = run("odeint", body, np.array([1.0, 0.0]), t, 0.7, a, e, b, steps=100, wrt=[])

    def slope(t: float, y: Array) -> list[float]:
        return [y[1], 0.7 * np.sin(t) - np.sin(y[0])]

    solved = solve_ivp(slope, (0, 2), [1.0, 0.0], rtol=1e-11, atol=1e-12, t_eval=[0, 0.5, 1.0, 2.0])
    np.testing.assert_allclose(z, solved.y.T[[0, 1, 3, 2]], rtol=1e-7, atol=1e-8)


def test_the_gradient_of_the_last_time_is_the_slope_there():
    """And that of the first time less the slope carried along, for an equation that does not depend on time."""
    body = graphsvc.parse("k * y", ["y", "k"])
    z, (dy, dt, dk) = run("odeint", body, 2.0, [0.0, 1.5], 0.5, steps=200, trajectory=False)
    assert z == pytest.approx(2 * np.exp(0.75), rel=1e-9)
    assert dy == pytest.approx(np.exp(0.75), rel=1e-9)
    np.testing.assert_allclose(dt, [-0.5 * z, 0.5 * z], rtol=1e-9)
    assert dk == pytest.approx(1.5 * z, rel=1e-9)


def test_one_time_gives_the_state_itself():
    """With its gradient, and none for what was not used."""
    body = graphsvc.parse("k * y", ["y", "k"])
    z, (dy, dt, dk) = run("odeint", body, np.array([1.0, 2.0]), [3.0], 0.5, seed=np.array([[1.0, 10.0]]))
    np.testing.assert_array_equal(z, [[1.0, 2.0]])
    np.testing.assert_array_equal(dy, [1.0, 10.0])
    assert (dt, dk) == (0.0, 0.0)


@pytest.mark.parametrize("t", [1.0, np.zeros((2, 2)), np.zeros(0), np.array([0, 1])])
def test_times_are_a_vector_of_floats(t: object):
    """Anything else is refused before the run."""
    with pytest.raises(errors.InputError, match="'t'"):
        run("odeint", graphsvc.parse("k * y", ["y", "k"]), 2.0, t, 0.5, wrt=[])


# Loops --------------------------------------------------------------------------------------------------------------


def rows_of(graph: ComputationalGraph, ys: dict[int, graphsvc.Node]) -> list[graphsvc.Node]:
    """Return vectors of two as matrices of one row, in order."""
    return [graph.add("reshape", ys[i], shape=(1, 2)) for i in sorted(ys)]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_is_the_graph_unrolled(reverse: bool):
    """A recurrent network of four steps: states, outputs, and gradients of state, sequence and weights."""
    random = np.random.default_rng(5)
    h, xs, w = random.normal(size=2), random.normal(size=(4, 2)), random.normal(size=(2, 2))
    seeds = {"carry": random.normal(size=2), "ys": random.normal(size=(4, 2))}
    unrolled, looped = ComputationalGraph(), ComputationalGraph()
    state, rows, weights = unrolled.input("h"), unrolled.input("xs"), unrolled.input("w")
    ys = {}
    for i in range(4)[:: -1 if reverse else 1]:
        ys[i] = unrolled.add("sin", state * rows[i])
        state = unrolled.add("tanh", state @ weights + rows[i])
    unrolled.output("carry", state)
    unrolled.output("ys", unrolled.add("concatenate", *rows_of(unrolled, ys), axis=0))
    body = graphsvc.parse("carry = tanh(h @ w + x); y = sin(h * x)", ["h", "x", "w"])
    node = looped.add("scan", *map(looped.input, ("h", "xs", "w")), body=body, reverse=reverse)
    looped.output("carry", node)
    looped.output("ys", node.output("ys"))
    inputs = {"h": h, "xs": xs, "w": w}
    expected, found = (g.value_and_grad(inputs, output_gradients=seeds) for g in (unrolled, looped))
    for ours, theirs in zip(found, expected, strict=True):
        for name in theirs:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12, atol=1e-14)
    for seed in seeds:
        some = {seed: seeds[seed]}
        ours, theirs = (g.value_and_grad(inputs, output_gradients=some)[1] for g in (looped, unrolled))
        for name in theirs:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12, atol=1e-14)


def test_loops_over_nothing():
    """No slices: the carry itself, no outputs, and zeros for what was handed over whole."""
    body = graphsvc.parse("h * x + w", ["h", "x", "w"])
    z, (dh, dx, dw) = run("scan", body, 2.0, np.zeros(0), 3.0)
    assert (z, dh, dw, dx.shape) == (2.0, 1.0, 0.0, (0,))
    z, _ = run("scan", body, 2.0, np.zeros(0), 3.0, output="ys", wrt=[])
    assert z.shape == (0,)
    z, (dx, dw) = run(
        "map", graphsvc.parse("x * w", ["x", "w"]), np.zeros((0, 2)), np.ones(3)[:2], mapped=1, seed=np.zeros((0, 2))
    )
    assert (z.shape, dx.shape) == ((0, 2), (0, 2))
    np.testing.assert_array_equal(dw, [0.0, 0.0])


@pytest.mark.parametrize("gate", ["map", "scan"])
def test_gradients_of_shared_operands_are_added_up_in_wide_precision(gate: str):
    """4096 ones in float16 are 4096, where a sum in float16 stops at 2048."""
    ones = np.ones(4096, np.float16)
    if gate == "map":
        _, (_, dw) = run("map", graphsvc.parse("x * w", ["x", "w"]), ones, np.float16(1), mapped=1, seed=ones)
    else:
        body = graphsvc.parse("carry = h * 1; y = x * w", ["h", "x", "w"])
        _, (_, _, dw) = run("scan", body, np.float16(1), ones, np.float16(1), seed=ones, output="ys")
    assert (dw, dw.dtype) == (4096, np.float16)


def test_slices_of_other_lengths_are_refused():
    """With the shapes, and the attribute that says how many are sliced."""
    with pytest.raises(errors.ShapeError, match=r"\(3,\) and \(2,\).*'mapped'"):
        run("map", graphsvc.parse("x * y"), np.ones(3), np.ones(2), wrt=[])
    with pytest.raises(errors.AttributeValueError, match="'scanned' is 2, but there are only 1"):
        run("scan", graphsvc.parse("x * y"), 1.0, np.ones(2), wrt=[], scanned=2)
    with pytest.raises(errors.ShapeError, match=r"float64\[2\].*'init' is float64\[\]"):
        run("scan", graphsvc.parse("x * y"), 1.0, np.ones((3, 2)), wrt=[])


# Choices and recomputation ------------------------------------------------------------------------------------------

BRANCHES = {"then": graphsvc.parse("sum(cholesky(x))"), "otherwise": graphsvc.parse("sum(x * x)")}


def test_a_cond_runs_the_chosen_graph_alone():
    """The other one would refuse the data."""
    x = np.diag([4.0, -9.0])
    z, (dx,) = run("cond", BRANCHES, np.array(False), x)
    assert z == 97.0
    np.testing.assert_array_equal(dx, 2 * x)
    with pytest.raises(errors.GateDataError, match="graph 'then'"):
        run("cond", BRANCHES, np.array(True), x)


def test_a_condition_is_one_boolean_and_both_graphs_give_the_same():
    """Else refused before the run."""
    with pytest.raises(errors.DtypeError, match="single boolean.*'where'"):
        run("cond", BRANCHES, 1.0, np.eye(2), wrt=[])
    with pytest.raises(errors.ShapeError, match="single boolean"):
        run("cond", BRANCHES, np.array([True]), np.eye(2), wrt=[])
    unlike = {**BRANCHES, "otherwise": graphsvc.parse("x * x")}
    with pytest.raises(errors.ShapeError, match=r"'otherwise'.*float64\[2, 2\].*'then' is float64\[\]"):
        run("cond", unlike, np.array(True), np.eye(2), wrt=[])


def test_checkpoints_keep_the_memory_of_one_of_them():
    """A chain of 12 graphs of 12 gates that cannot be fused keeps far less than the gates in one graph."""
    import tracemalloc

    def chained(graph: ComputationalGraph, node: object) -> object:
        for _ in range(12):
            node = graph.add("cumsum", graph.add("sin", node), axis=0)
        return node

    body = ComputationalGraph()
    body.output("z", chained(body, body.input("x")))
    whole, parts = ComputationalGraph(), ComputationalGraph()
    ends = [whole.input("x"), parts.input("x")]
    for _ in range(12):
        ends = [chained(whole, ends[0]), parts.add("checkpoint", ends[1], body=body)]
    peaks, results = [], []
    for graph, end in zip((whole, parts), ends, strict=True):
        graph.output("f", graph.add("sum", end))
        x = np.linspace(0, 1, 10_000)
        graph.value_and_grad({"x": x})
        tracemalloc.start()
        results.append(graph.value_and_grad({"x": x})[1]["x"])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    np.testing.assert_allclose(*results, rtol=1e-12)
    assert peaks[1] < peaks[0] / 3


# Second derivatives -------------------------------------------------------------------------------------------------


def test_a_held_graph_refuses_what_is_no_array():
    """Whatever it pretends to be: a graph is run on arrays, and on those that carry tangents."""

    class Likeness:
        """Stands for an array."""

        dtype, shape = np.dtype(np.float64), ()

    held = graphsvc.parse("x * x").__graphsvc_subgraph__("body")
    with pytest.raises(errors.NotDifferentiableError, match="graph 'body'.*run on arrays, got Likeness"):
        held(Likeness())
    with pytest.raises(errors.NotDifferentiableError, match="got Likeness"):
        held.vjp([Likeness()], [np.ones(())])


def holding(gate: str, inputs: dict[str, object], **attributes: object) -> ComputationalGraph:
    """Return a graph of one gate over these inputs."""
    graph = ComputationalGraph()
    graph.output("f", graph.add(gate, *map(graph.input, inputs), **attributes))
    return graph


LOOPED = {
    "checkpoint": ({"x": [0.3, 0.8], "w": [1.2, -0.4]}, "f = sin(x) * w * w", "f = sin(x) * w * w", {}),
    "map": ({"x": [0.3, 0.8], "w": 1.2}, "f = sin(x) * w * x", "f = sin(x) * w * x", {"mapped": 1}),
    "scan": (
        {"h": 0.5, "x": [0.3, 0.8, -0.4]},
        "h2 = tanh(h * x + h)",
        "a = tanh(h * x[0] + h); b = tanh(a * x[1] + a); f = tanh(b * x[2] + b)",
        {},
    ),
    "odeint": (
        {"y": 0.5, "t": [0.0, 0.4], "k": 0.7},
        "k * y * (1 - y)",
        """h = t[1] - t[0]
        a = k * y * (1 - y)
        b = k * (y + h / 2 * a) * (1 - y - h / 2 * a)
        c = k * (y + h / 2 * b) * (1 - y - h / 2 * b)
        d = k * (y + h * c) * (1 - y - h * c)
        f = y + h / 6 * (a + 2 * b + 2 * c + d)""",
        {"trajectory": False},
    ),
}


@pytest.mark.parametrize("gate", LOOPED)
def test_all_derivatives_through_a_loop_are_those_of_the_loop_written_out(gate: str):
    """The Jacobian, and products of the Hessian with two directions at once."""
    inputs, body, text, attributes = LOOPED[gate]
    names = ["y", "k"] if gate == "odeint" else list(inputs)
    looped = holding(gate, inputs, body=graphsvc.parse(body, names), **attributes)
    unrolled = graphsvc.parse(text, list(inputs))
    random = np.random.default_rng(1)
    shape = unrolled.value_and_grad(inputs, wrt=[])[0]["f"].shape
    asked = {"output_gradients": {"f": random.normal(size=shape)}, "vectors": 2}
    directions = {name: random.normal(size=(2, *np.shape(x))) for name, x in inputs.items()}
    jacobians = [graph.jacobian(inputs)["f"] for graph in (looped, unrolled)]
    products = [graph.hvp(inputs, directions, **asked)[1] for graph in (looped, unrolled)]
    for mine, theirs in (jacobians, products):
        for name in inputs:
            np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("gate", ["fixed_point", "root"])
def test_a_solution_has_its_second_derivative(gate: str):
    """The square root, as a fixed point and as a root: -1/4 a**(-3/2); held by another gate as well."""
    body = HERON if gate == "fixed_point" else graphsvc.parse("x * x - a", ["x", "a"])
    inputs = {"x": np.ones(2), "a": np.array([2.0, 9.0])}
    graph = holding(gate, inputs, body=body)
    expected = np.array([-0.25 * 2**-1.5, -0.25 * 9**-1.5])
    outer = holding("checkpoint", inputs, body=graph)
    for asked in (graph, outer):
        _, products = asked.hvp(inputs, {"a": np.ones(2)}, ["a"], {"f": np.array([1.0, 10.0])})
        np.testing.assert_allclose(products["a"], [1, 10] * expected, rtol=1e-10)


@pytest.mark.parametrize("gate", ["fixed_point", "root"])
def test_a_large_solution_moves_along_a_direction_and_refuses_second_derivatives(gate: str):
    """Its system is solved by products alone, which tangents cannot follow; node, gate and reason are told."""
    body = HERON if gate == "fixed_point" else graphsvc.parse("x * x - a", ["x", "a"])
    inputs = {"x": np.ones(100), "a": np.linspace(1.0, 2.0, 100)}
    graph = holding(gate, inputs, body=body)
    _, tangents = graph.jvp(inputs, {"a": np.ones(100)})
    np.testing.assert_allclose(tangents["f"], 0.5 / np.sqrt(inputs["a"]), rtol=1e-9)
    with pytest.raises(errors.TangentLostError, match=f"'{gate}.1': backward_theta cannot be followed"):
        graph.hvp(inputs, {"a": np.ones(100)}, ["a"], {"f": np.ones(100)})
