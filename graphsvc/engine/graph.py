"""ComputationalGraph: a graph of gates as plain data, built and run."""

import functools
import operator
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from graphsvc.arrays import DTYPES, Array, ArraySpec, Literal, as_array, owned, read_only, spec_of
from graphsvc.document import GraphDocument, InputEntry, check_name, digest_of, document_from_json, document_to_json
from graphsvc.drawing.drawing import Drawing
from graphsvc.drawing.folding import folded
from graphsvc.drawing.picture import Trace
from graphsvc.engine.between import asking
from graphsvc.engine.derivatives import Blocks, Derivatives
from graphsvc.engine.estimate import Estimate
from graphsvc.engine.evaluation import Evaluation, InputGradients
from graphsvc.engine.explanation import Explanation
from graphsvc.engine.inference import Spec, infer_specs
from graphsvc.engine.library import Library
from graphsvc.engine.node import Node
from graphsvc.engine.picturing import picture_of, trace_of
from graphsvc.engine.question import judge_directions, judge_inputs, judge_outputs
from graphsvc.engine.registry import Registry, default_registry
from graphsvc.engine.running import Prepared, RunnableGraph
from graphsvc.engine.structure import GateNode, Structure, check_arity
from graphsvc.engine.subgraphs import HeldGraph
from graphsvc.engine.summary import GraphSummary, summarize
from graphsvc.errors import (
    ArityError,
    AttributeValueError,
    DtypeError,
    GraphError,
    MissingEvaluationError,
    NotAGraphError,
    PluginError,
    RequestError,
    ShapeError,
    UnknownGateError,
    UnknownReferenceError,
    did_you_mean,
    quoted,
)
from graphsvc.expression import document_from_expression
from graphsvc.gate import Gate, attributes_of
from graphsvc.plaindata import Attribute, GraphReference, attribute_value

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["ComputationalGraph", "load", "parse"]


class ComputationalGraph:
    """A directed acyclic graph of gates.

    Build it with `input`, `add`, Python's operators and `output`; run it with `value_and_grad`, or with `forward` and
    `backward`. Any number of threads may run one graph at once; building is for one thread.
    """

    def __init__(self, registry: Registry | None = None) -> None:
        """Make an empty graph.

        Args:
            registry: Where gates are looked up; None means all that is installed here.
        """
        self._structure = Structure(registry or default_registry(), Library(HeldGraph))
        self._counts: dict[str, int] = {}
        self._literals: dict[tuple[type, str], str] = {}
        self._runnable: RunnableGraph | None = None
        self._digest: bytes | None = None
        self._thread = threading.local()
        self._lock = threading.RLock()

    # Building -------------------------------------------------------------------------------------------------------

    def input(
        self,
        name: str,
        shape: Iterable[int | None] | None = None,
        dtype: Any = None,
        *,
        parameter: bool = False,
    ) -> Node:
        """Declare an input.

        Args:
            name: Its name.
            shape: Its shape, where None stands for any length; None as a whole stands for any shape.
            dtype: Its dtype, by name or as NumPy's; None stands for any.
            parameter: Whether it is learned.

        Raises:
            InvalidNameError: `name` is no name.
            DuplicateNameError: It is taken.
            DtypeError: There is no such dtype.
            ShapeError: That is no shape.
        """
        declared = _dtype_name(dtype)
        check_name(name)
        try:
            sizes = None if shape is None else tuple(_length(size) for size in shape)
            entry = InputEntry(name=name, dtype=declared, shape=sizes, parameter=bool(parameter))
        except (ValidationError, TypeError):
            msg = f"{quoted(shape)} is no shape. Give lengths from 0, or None for any, as in (64, None)."
            raise ShapeError(msg) from None
        self._structure.add_input(entry)
        return self._changed(name)

    def constant(self, value: object, name: str | None = None) -> Node:
        """Add a constant: an array, or a Python number, which takes the dtype that it meets.

        Raises:
            DtypeError: `value` is no array of numbers.
        """
        if type(value) in (int, float):
            return self._literal(value, name)  # type: ignore[arg-type]
        made = self._new_name("constant") if name is None else check_name(name)
        self._structure.add_constant(made, read_only(owned(_constant_array(value))))
        return self._changed(made)

    def _literal(self, value: Literal, name: str | None) -> Node:
        """Add a Python number; one without a name of its own stands in the graph once."""
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            msg = f"The integer {quoted(value)} does not fit 64 bits. Write it as a float."
            raise DtypeError(msg)
        key = (type(value), repr(value))
        if name is None and key in self._literals:
            return Node(self, self._literals[key])
        made = self._new_name("constant") if name is None else check_name(name)
        self._structure.add_constant(made, value)
        if name is None:
            self._literals[key] = made
        return self._changed(made)

    def add(self, gate: str | Gate, /, *operands: object, name: str | None = None, **keywords: object) -> Node:
        """Add a gate node.

        Args:
            gate: A gate by its name, which need not be installed here, or a gate object.
            operands: Nodes, arrays and numbers, in the order of the gate's `forward`.
            name: Name of the node; None makes one up.
            keywords: Attributes, and operands by their names. An attribute that holds a graph is given a
                ComputationalGraph, which is copied.

        Returns:
            The gate's first output. `node.output("name")` gives another.

        Raises:
            ArityError: Too few or too many operands, or one given twice.
            AttributeValueError: An attribute that the gate does not take.
            UnknownReferenceError: A node of another graph.
        """
        if isinstance(gate, type) and issubclass(gate, Gate):
            msg = f"{gate.__name__} is a class of gates. Give an object: {gate.__name__}(...)."
            raise ArityError(msg)
        given = gate if isinstance(gate, Gate) else None
        by_name = given is None
        gate_name = check_name(gate) if given is None else type(given).name
        cls = self._installed(gate_name) if given is None else type(given)
        node_name = self._new_name(gate_name) if name is None else check_name(name)
        self._structure.check_free(node_name)
        values, attributes = _split_keywords(node_name, gate_name, cls, operands, keywords)
        if attributes and not by_name:
            msg = f"The gate object has its attributes already; {', '.join(attributes)} cannot be given here."
            raise AttributeValueError(msg).at(node_name, gate_name)
        if cls:
            check_arity(node_name, gate_name, cls, len(values))
        try:
            made, plain = _made(given, cls, attributes)
            references = tuple([self._refer(value) for value in values])
            if any(isinstance(value, HeldGraph) for value in plain.values()):
                made, plain = self._with_graphs(made, plain, by_name=by_name)
        except GraphError as error:
            raise error.at(node_name, gate_name) from None
        except PydanticCustomError as error:
            raise AttributeValueError(error.message()).at(node_name, gate_name) from None
        if by_name and cls:
            self._structure.versions.setdefault(gate_name, cls.version)
        self._structure.add_node(
            GateNode(node_name, gate_name, references, cast(dict[str, Attribute], plain), made, by_name)
        )
        return self._changed(node_name)

    def _with_graphs(
        self, made: Gate | None, plain: Mapping[str, object], *, by_name: bool
    ) -> tuple[Gate | None, dict[str, object]]:
        """Take the graphs that a gate is to hold into this one; return the gate that holds them, and their names."""
        library = self._structure.library
        names = {
            key: library.take_in(key, value.structure, value.digest)
            for key, value in plain.items()
            if isinstance(value, HeldGraph)
        }
        if made is not None and by_name:
            made = type(made)(**{**plain, **{key: library.subgraph(name) for key, name in names.items()}})
        return made, {**plain, **{key: GraphReference(name) for key, name in names.items()}}

    def __graphsvc_subgraph__(self, name: str) -> HeldGraph:
        """Return a copy of this graph as gates hold it."""
        return HeldGraph(name, Library(HeldGraph).copy_of(self._structure))

    def output(self, name: str, node: object) -> Node:
        """Declare an output: its name, and the node whose value it is.

        Raises:
            InvalidNameError: `name` is no name.
            DuplicateNameError: There is an output of that name.
        """
        self._structure.check_output_free(check_name(name))
        source = self._refer(node)
        self._structure.add_output(name, source)
        self._changed(name)
        return Node(self, source)

    def _installed(self, gate_name: str) -> type[Gate] | None:
        try:
            return self._structure.registry.gate_class(gate_name)
        except (UnknownGateError, PluginError):
            # It is checked where it runs.
            return None

    def _refer(self, value: object) -> str:
        if not isinstance(value, Node):
            return self.constant(value).reference
        if value.graph is not self:
            msg = f"Node {value.reference!r} belongs to another graph. Build both parts in one graph."
            raise UnknownReferenceError(msg, name=value.reference)
        return value.reference

    def _new_name(self, stem: str) -> str:
        while True:
            self._counts[stem] = self._counts.get(stem, 0) + 1
            name = f"{stem}.{self._counts[stem]}"
            if name not in self._structure:
                return check_name(name)

    def _changed(self, name: str) -> Node:
        self._runnable = None
        self._digest = None
        return Node(self, name)

    # Looking --------------------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(self._structure.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(self._structure.outputs)

    @property
    def topology(self) -> "nx.DiGraph[str]":
        """The DAG of inputs, constants and gate nodes by name, as a read-only view for networkx."""
        return self._structure.topology.copy(as_view=True)

    def __len__(self) -> int:
        """Number of gate nodes."""
        return len(self._structure.nodes)

    def __repr__(self) -> str:
        return f"<ComputationalGraph: {len(self)} gates, inputs {self.inputs!r}, outputs {self.outputs!r}>"

    def check(self) -> None:
        """Check all that can be checked without inputs: names, gates, attributes, arity, cycles.

        Raises:
            GraphError: Something is wrong; the message names the node and says what to do.
        """
        self._bind()
        judge_outputs(self._structure.outputs, None)

    def infer(self, inputs: Mapping[str, object]) -> dict[str, ArraySpec | None]:
        """Say what every value of the graph would be for these inputs, without running it.

        Args:
            inputs: An array, number or list for each input, by name.

        Returns:
            Shape and dtype by reference, `node` or `node:output`; None where a gate without `infer` stands before.

        Raises:
            GraphError: The graph is wrong.
            InputError: The inputs are, or do not fit a gate.
        """
        specs = {name: spec_of(array) for name, array in self.judge_inputs(inputs).items()}
        inferred = self._bind().inferred(specs)
        return {
            name: spec if spec is None or isinstance(spec, ArraySpec) else spec_of(np.asarray(spec))
            for name, spec in inferred.items()
        }

    def summary(self, inputs: Mapping[str, object] | None = None) -> GraphSummary:
        """Count nodes, inputs, parameters, neurons and bytes.

        Args:
            inputs: Arrays for the inputs, whose shapes are used; None means the declared shapes.
        """
        runnable = self._bind()
        entries = self._structure.inputs
        specs: dict[str, Spec]
        if inputs is None:
            specs = {name: _declared_spec(entry) for name, entry in entries.items()}
        else:
            specs = {name: spec_of(array) for name, array in judge_inputs(entries, inputs).items()}
        return summarize(runnable.nodes, entries, infer_specs(runnable.nodes, runnable.constant_specs() | specs))

    def explain(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        outputs: Iterable[str] | None = None,
    ) -> Explanation:
        """Say how `value_and_grad` would answer: what is fused, what is not and why, and what memory it takes.

        Args:
            inputs: An array, number or list for each input, by name; shapes and dtypes alone matter.
            wrt: Inputs whose gradients are wanted; None means every floating-point one.
            outputs: Outputs that are wanted; None means all.

        Raises:
            GraphsvcError: As `value_and_grad`, for a wrong graph or question.
        """
        return self._bind().explained(inputs, wrt, outputs)

    # Documents ------------------------------------------------------------------------------------------------------

    @classmethod
    def from_document(cls, document: GraphDocument, registry: Registry | None = None) -> "ComputationalGraph":
        """Make the graph that a document describes. It may name gates that are not installed here.

        Raises:
            GraphError: A name is taken twice, a reference leads nowhere, or a value depends on itself.
        """
        if not isinstance(document, GraphDocument):
            msg = f"{type(document).__name__} is no document. Make one with graphsvc.document.document_from_dict."
            raise NotAGraphError(msg)
        graph = cls(registry)
        structure = graph._structure
        graph._structure = Structure.from_document(document, structure.registry, structure.library)
        return graph

    def document(self) -> GraphDocument:
        """Return the graph as a document.

        Raises:
            UnregisteredGateError: A gate object stands in the graph that no plugin provides.
        """
        return self._structure.document()

    def digest(self) -> bytes:
        """Return the SHA-256 of the canonical form of the document. 32 bytes."""
        if self._digest is None:
            self._digest = digest_of(self.document())
        return self._digest

    def save(self, path: str | Path) -> None:
        """Write the graph to a JSON file."""
        Path(path).write_text(document_to_json(self.document()), encoding="utf-8")

    def __getstate__(self) -> dict[str, object]:
        return {"_structure": self._structure, "_counts": self._counts, "_literals": self._literals}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _runnable=None, _digest=None, _thread=threading.local(), _lock=threading.RLock())

    # Running --------------------------------------------------------------------------------------------------------

    def judge_inputs(self, inputs: Mapping[str, object]) -> dict[str, Array]:
        """Return the inputs as the arrays that the graph would be run on, in its order, without running it.

        Raises:
            InputError: One is missing, unknown, or of another shape or dtype than declared.
        """
        return judge_inputs(self._structure.inputs, inputs)

    def forward(self, inputs: Mapping[str, object]) -> Evaluation:
        """Run the graph forward, and keep what any backward pass may need.

        Args:
            inputs: An array, number or list for each input, by name. Arrays are copied, so changing them afterwards
                does not change the gradients.

        Raises:
            GraphsvcError: The graph, the inputs or a gate are wrong; see the classes in `graphsvc.errors`.
        """
        evaluation = self._bind().forward(inputs)
        self._thread.evaluation = evaluation
        return evaluation

    def backward(
        self,
        evaluation: Evaluation | None = None,
        output_gradients: Mapping[str, object] | None = None,
        wrt: Iterable[str] | None = None,
    ) -> InputGradients:
        """Run the graph backward.

        Args:
            evaluation: What `forward` returned; None means the last of this thread.
            output_gradients: The gradient that arrives at each output; an output that is not named contributes nothing.
                None means 1, for a graph with one output of one element.
            wrt: Inputs whose gradients are wanted; None means every floating-point one.

        Returns:
            The gradients by input, as arrays of the inputs' shapes and dtypes that may be written to.

        Raises:
            MissingEvaluationError: There is no evaluation, or the graph has changed since.
            RequestError: Such gradients cannot be had.
            GateError: A gate failed.
        """
        evaluation = evaluation or getattr(self._thread, "evaluation", None)
        if evaluation is not None and not isinstance(evaluation, Evaluation):
            msg = f"The first argument of backward is what forward returned, not {type(evaluation).__name__}."
            raise RequestError(msg)
        if evaluation is None or self._runnable is None or evaluation.runnable is not self._runnable:
            what = "changed since this forward" if evaluation else "not run forward in this thread"
            msg = f"The graph was {what}. Call forward first."
            raise MissingEvaluationError(msg)
        return self._runnable.backward(evaluation, output_gradients, wrt)

    def value_and_grad(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        between: Callable[[], None] | None = None,
        *,
        debug: bool = False,
        profile: bool = False,
        vectors: int | None = None,
        within: Callable[[int], None] | None = None,
    ) -> tuple[dict[str, Array], InputGradients]:
        """Run the graph forward and backward.

        Args:
            inputs: An array, number or list for each input, by name.
            wrt: Inputs whose gradients are wanted; None means every floating-point one, an empty list means none.
            output_gradients: The gradient that arrives at each output; an output that is not named contributes nothing.
                None means 1, where one output of one element is wanted.
            outputs: Outputs that are wanted; None means all.
            between: Called before the run, and during it before whatever may take long; what it raises stops the run.
            debug: Whether to find the gates where a NaN or an infinity first came up, and why: `gradients.diagnosis`.
            profile: Whether to measure time and bytes of each gate: `gradients.profile`. To that end, as for `debug`,
                the gates run one by one, and nothing is fused; so an ordinary run may well be faster than their sum.
            vectors: How many gradients arrive at each output. `output_gradients` and the gradients that come back then
                have a first axis that counts them, and the graph is evaluated once. None means one, without that axis.
            within: With `vectors`, called with the bytes of the gradients before they are there; what it raises stops
                the run.

        Returns:
            Outputs and input gradients by name, as arrays that may be written to.

        Raises:
            GraphsvcError: The graph, the inputs, the question or a gate are wrong; see `graphsvc.errors`.
        """
        runnable = self._bind()
        if vectors is not None:
            if debug or profile:
                msg = "Gates are observed with one vector at a time. Leave out vectors, or debug and profile."
                raise RequestError(msg)
            with asking(between):
                return Derivatives(runnable, between).many_gradients(
                    inputs, wrt, output_gradients, outputs, vectors, within
                )
        if debug or profile:
            return runnable.observed(inputs, wrt, output_gradients, outputs, between, debug=debug, profile=profile)
        return runnable.value_and_grad(inputs, wrt, output_gradients, outputs, between)

    def estimate(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        outputs: Iterable[str] | None = None,
    ) -> Estimate:
        """Return what a run would take at most, from shapes and dtypes alone.

        Args:
            inputs: An array, number or list for each input, by name.
            wrt: Inputs whose gradients are wanted; None means every floating-point one.
            outputs: Outputs that are wanted; None means all.

        Raises:
            GraphsvcError: As `value_and_grad`, for a wrong graph or question.
        """
        return self._bind().estimated(inputs, wrt, outputs)

    def prepare(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
    ) -> Prepared:
        """Judge and plan a question without running it, to know what it takes before anything is allocated.

        Arguments and errors are those of `value_and_grad`, whose answer `Prepared.run` gives.
        """
        return self._bind().prepared(inputs, wrt, output_gradients, outputs)

    # Drawing --------------------------------------------------------------------------------------------------------

    def draw(
        self,
        evaluation: Evaluation | Mapping[str, object] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        wrt: Iterable[str] | None = None,
        outputs: Iterable[str] | None = None,
        *,
        fold: int | None = 150,
        unfold: Iterable[str] = (),
    ) -> Drawing:
        """Draw the graph, left to right, with values above the edges in green and gradients below them in red.

        Gates run one by one for it. Where no gradients are asked for and none can be had, as for several outputs,
        values are drawn alone, and the picture says why.

        Args:
            evaluation: What `forward` returned, or the inputs by name; None draws the graph without numbers, of which
                the gates need not be installed.
            output_gradients: The gradient that arrives at each output; None means 1 for one output of one element.
            wrt: Inputs whose gradients are wanted; None means every floating-point one.
            outputs: Outputs that are run; None means all.
            fold: The most nodes that are drawn one by one; those of a larger graph are folded into groups, by the part
                of their names before a dot, or by where they stand. None folds nothing.
            unfold: Names of groups to be drawn open.

        Raises:
            MissingEvaluationError: The graph has changed since `forward`.
            GraphsvcError: As `value_and_grad`.
        """
        trace = Trace()
        if isinstance(evaluation, Evaluation) and evaluation.runnable is not self._runnable:
            msg = "The graph was changed since this forward. Call forward first."
            raise MissingEvaluationError(msg)
        if evaluation is not None:
            inputs = evaluation.given if isinstance(evaluation, Evaluation) else evaluation
            trace = trace_of(self._bind(), inputs, wrt, output_gradients, outputs)
        return Drawing(folded(picture_of(self._structure, trace), fold, unfold))

    # Derivatives along directions -----------------------------------------------------------------------------------

    def jvp(
        self,
        inputs: Mapping[str, object],
        tangents: Mapping[str, object],
        outputs: Iterable[str] | None = None,
        between: Callable[[], None] | None = None,
        *,
        vectors: int | None = None,
        within: Callable[[int], None] | None = None,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Run the graph forward along a direction: the Jacobian times a vector, exact or refused.

        Args:
            inputs: An array, number or list for each input, by name.
            tangents: How fast inputs move, each of its input's shape; an input that is not named does not move.
            outputs: Outputs that are wanted; None means all.
            between: Called before every gate; what it raises stops the run.
            vectors: How many directions there are. Tangents, those that come back too, then have a first axis that
                counts them, and the graph is evaluated once. None means one, without that axis.
            within: Called with the bytes of the tangents before all are there; what it raises stops the run.

        Returns:
            Outputs, and how fast they move, by name; integers and booleans do not.

        Raises:
            TangentLostError: A gate cannot be followed along a direction.
            GraphsvcError: As `value_and_grad`.
        """
        with asking(between):
            return Derivatives(self._bind(), between).jvp(inputs, tangents, outputs, vectors, within)

    def hvp(
        self,
        inputs: Mapping[str, object],
        directions: Mapping[str, object] | None = None,
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        between: Callable[[], None] | None = None,
        *,
        vectors: int | Mapping[str, object] | None = None,
        within: Callable[[int], None] | None = None,
    ) -> tuple[InputGradients, InputGradients]:
        """Return the gradients, and how they move along a direction: the Hessian times a vector, exact or refused.

        Args:
            inputs: An array, number or list for each input, by name.
            directions: The vector: an array of its shape for each input that moves.
            wrt: Inputs whose gradients are wanted; None means every floating-point one.
            output_gradients: The gradient that arrives at each output; None means 1 for one output of one element.
            outputs: Outputs that are wanted; None means all.
            between: Called before every gate; what it raises stops the run.
            vectors: How many directions there are. These and the products then have a first axis that counts them, and
                the graph is evaluated once. None means one, without that axis. (Arrays by name are taken for
                `directions`.)
            within: Called with the bytes of the products before they are there; what it raises stops the run.

        Returns:
            Gradients, and products of the Hessian with the vector, by input.

        Raises:
            TangentLostError: A gate cannot be followed along a direction.
            GraphsvcError: As `value_and_grad`.
        """
        directions, vectors = judge_directions(directions, vectors)
        derivatives = Derivatives(self._bind(), between)
        with asking(between):
            return derivatives.hvp(inputs, directions, wrt, output_gradients, outputs, vectors, within)

    def jacobian(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        outputs: Iterable[str] | None = None,
        between: Callable[[], None] | None = None,
        within: Callable[[int], None] | None = None,
    ) -> Blocks:
        """Return all derivatives of the outputs: `jacobian["f"]["x"]` has the shape of `f` followed by that of `x`.

        It is computed by rows or by columns, whichever are fewer.

        Args:
            inputs: An array, number or list for each input, by name.
            wrt: Inputs by which is differentiated; None means every floating-point one.
            outputs: Outputs that are wanted; None means all that are floating point.
            between: Called before every gate; what it raises stops the run.
            within: Called with the bytes of the result before they are there; what it raises stops the run.

        Raises:
            NotDifferentiableError: An input or output is complex, or no output has a derivative.
            GraphsvcError: As `value_and_grad`.
        """
        with asking(between):
            return Derivatives(self._bind(), between).jacobian(inputs, wrt, outputs, within)

    def hessian(
        self,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None = None,
        output_gradients: Mapping[str, object] | None = None,
        outputs: Iterable[str] | None = None,
        between: Callable[[], None] | None = None,
        within: Callable[[int], None] | None = None,
    ) -> Blocks:
        """Return all second derivatives: `hessian["x"]["y"]` has the shape of `x` followed by that of `y`.

        Args:
            inputs: An array, number or list for each input, by name.
            wrt: Inputs by which is differentiated; None means every floating-point one.
            output_gradients: The weights of the outputs in what is differentiated; None means 1 for one output of one
                element.
            outputs: Outputs that are wanted; None means all.
            between: Called before every gate; what it raises stops the run.
            within: Called with the bytes of the result before they are there; what it raises stops the run.

        Raises:
            TangentLostError: A gate cannot be followed along a direction.
            GraphsvcError: As `value_and_grad`.
        """
        derivatives = Derivatives(self._bind(), between)
        with asking(between):
            return derivatives.hessian(inputs, wrt, output_gradients, outputs, within)

    def _bind(self) -> RunnableGraph:
        runnable = self._runnable
        if runnable is None:
            with self._lock:
                # Threads that come at once share one, or an evaluation of one would be strange to another.
                runnable = self._runnable = self._runnable or RunnableGraph(self._structure)
        return runnable


def _made(
    given: Gate | None, cls: type[Gate] | None, attributes: Mapping[str, object]
) -> tuple[Gate | None, Mapping[str, object]]:
    """Return the gate, if it is given or installed here, and its attributes: plain data, and graphs that it holds."""
    if given is None and cls and not attributes:
        return _bare(cls)
    made = given if given is not None else cls(**attributes) if cls else None
    said = attributes if made is None else attributes_of(made)
    plain: dict[str, object] = {}
    for key, value in said.items():
        graph = value.__graphsvc_subgraph__(key) if isinstance(value, ComputationalGraph) else value
        plain[key] = graph if isinstance(graph, HeldGraph) else attribute_value(value)
    return made, plain


@functools.lru_cache(maxsize=4096)
def _bare(cls: type[Gate]) -> tuple[Gate, dict[str, Attribute]]:
    """Return the gate without attributes, which is one for all, for gates hold no values."""
    made = cls()
    return made, {key: attribute_value(value) for key, value in attributes_of(made).items()}


def _split_keywords(
    node: str, gate_name: str, cls: type[Gate] | None, operands: tuple[object, ...], keywords: Mapping[str, object]
) -> tuple[list[object], dict[str, object]]:
    """Tell operands given by name from attributes."""
    if not keywords:
        return list(operands), {}
    signature = cls.signature if cls else None
    names = signature.operands[: -1 if signature.variadic else None] if signature else ()
    attributes = {key: value for key, value in keywords.items() if key not in names}
    for key, value in attributes.items():
        if isinstance(value, Node | np.ndarray):
            known = f"Its operands are {signature.describe_operands()}" if signature else "Give operands by position"
            msg = f"{key!r} is given a {type(value).__name__}, but is no operand. {known}."
            raise ArityError(msg).at(node, gate_name)
    values = list(operands)
    for position, name in enumerate(names):
        if name not in keywords:
            continue
        if position < len(operands):
            msg = f"Operand {name!r} is given twice, by position and by name. Give it once."
            raise ArityError(msg).at(node, gate_name)
        if position > len(values):
            msg = f"Operand {names[len(values)]!r} is missing. Give it by position or by name."
            raise ArityError(msg).at(node, gate_name)
        values.append(keywords[name])
    return values, attributes


def _constant_array(value: object) -> Array:
    """Return what stands for an operand as an array; lists of integers stay integers, to serve as indices."""
    if isinstance(value, list | tuple):
        with suppress(ValueError):
            plain = np.asarray(value)
            if plain.dtype.kind == "i":
                return plain
    return as_array(value)


def _length(size: object) -> int | None:
    if size is None:
        return None
    if isinstance(size, bool | str):
        raise TypeError
    return operator.index(size)  # type: ignore[arg-type]


def _dtype_name(dtype: Any) -> str | None:
    if dtype is None:
        return None
    try:
        name: str = np.dtype(dtype).name
    except (TypeError, ValueError, SyntaxError):
        name = ""
    if name not in DTYPES:
        msg = f"There is no dtype {quoted(dtype)} in graphsvc. Choose one of {', '.join(DTYPES)}."
        raise DtypeError(msg)
    return name


def _declared_spec(entry: InputEntry) -> ArraySpec | None:
    if entry.shape is None or any(size is None for size in entry.shape):
        return None
    return ArraySpec(tuple(size for size in entry.shape if size is not None), DTYPES[entry.dtype or "float64"])


def parse(text: str, inputs: Iterable[str] | None = None) -> ComputationalGraph:
    """Make a graph of an expression, such as `f = (x + y) * z`.

    Operators and precedence are Python's: `+ - * / ** @ -x`, the comparisons, parentheses, numbers, `x[0]`, `x[1:3]`.
    Gates are called by name, with attributes by keyword: `sum(x, axis=0)`. `max` and `min` of several operands compare
    these, of one they reduce it. Statements end at a newline or `;`, comments start with `#`. Names that are not
    assigned are inputs; names that are assigned and not used are outputs; one expression without a name is the output
    `f`.

    Args:
        text: The expression.
        inputs: Names of the inputs in their order, unused ones too; None means the order in which they first stand in
            the expression. It matters for a graph that a gate holds.

    Raises:
        ExpressionError: It does not parse; the message shows where.
        UnknownReferenceError: A name in it is not among `inputs`.
    """
    document = document_from_expression(text)
    if inputs is not None:
        document = _with_inputs(document, inputs)
    graph = ComputationalGraph.from_document(document)
    graph._structure.note_versions()
    return graph


def _with_inputs(document: GraphDocument, names: Iterable[str]) -> GraphDocument:
    listed = [check_name(name) for name in names]
    for entry in document.inputs:
        if entry.name not in listed:
            msg = f"The expression uses {entry.name!r}, which is none of its inputs: {', '.join(listed) or 'none'}."
            msg += f"{did_you_mean(entry.name, listed)} List it, or assign it first."
            raise UnknownReferenceError(msg, name=entry.name)
    return document.model_copy(update={"inputs": tuple(InputEntry(name=name) for name in listed)})


def load(path: str | Path) -> ComputationalGraph:
    """Read a graph from a JSON file.

    Raises:
        NotAGraphError: The file holds no graph.
        GraphError: It holds one that is wrong; the message names the entry.
        OSError: The file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        msg = f"{Path(path).name!r} is not text, so it is no graph. A graph is a JSON document."
        raise NotAGraphError(msg) from None
    try:
        return ComputationalGraph.from_document(document_from_json(text))
    except NotAGraphError as error:
        msg = f"{Path(path).name!r}: {error.message}"
        raise NotAGraphError(msg) from None
