"""ComputationalGraph: a graph of gates as plain data, built and run."""

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from typing import Literal as OneOf

import numpy as np

from graphsvc.arrays import DTYPES, Array, ArraySpec, spec_of
from graphsvc.document import GraphDocument, InputEntry, digest_of, document_to_json
from graphsvc.drawing.picture import Trace
from graphsvc.engine.between import asking
from graphsvc.engine.building import GraphBuilder
from graphsvc.engine.derivatives.matrices import Blocks, hessian, jacobian
from graphsvc.engine.derivatives.passes import Passes
from graphsvc.engine.derivatives.vectors import hvp, jvp, many_gradients
from graphsvc.engine.documents import document_of, structure_of
from graphsvc.engine.estimate import Estimate
from graphsvc.engine.evaluation import Evaluation, InputGradients
from graphsvc.engine.explanation import Explanation
from graphsvc.engine.inference import Spec, infer_specs
from graphsvc.engine.node import Node
from graphsvc.engine.picturing import picture_of, trace_of
from graphsvc.engine.prepared import Prepared, PreparedAgain
from graphsvc.engine.probing import trace_by_asking
from graphsvc.engine.question import judge_directions, judge_inputs, judge_outputs
from graphsvc.engine.registry import Registry
from graphsvc.engine.running import RunnableGraph
from graphsvc.engine.summary import GraphSummary, summarize
from graphsvc.errors import (
    MissingEvaluationError,
    NotAGraphError,
    RequestError,
)

if TYPE_CHECKING:
    import networkx as nx

    from graphsvc.drawing.drawing import Drawing

__all__ = ["ComputationalGraph", "Runner"]


class Runner(Protocol):
    """Who runs graphs for others, as a client does."""

    def value_and_grad(
        self,
        graph: "ComputationalGraph",
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
        /,
        *,
        debug: bool = False,
    ) -> tuple[dict[str, Array], InputGradients]:
        """Run a graph; see `ComputationalGraph.value_and_grad`."""


class ComputationalGraph(GraphBuilder):
    """A directed acyclic graph of gates.

    Build it with `input`, `add`, Python's operators and `output`; run it with `value_and_grad`, or with `forward` and
    `backward`. Any number of threads may run one graph at once; building is for one thread.
    """

    def __init__(self, registry: Registry | None = None) -> None:
        """Make an empty graph.

        Args:
            registry: Where gates are looked up; None means all that is installed here.
        """
        super().__init__(registry)
        self._runnable: RunnableGraph | None = None
        self._digest: bytes | None = None
        self._thread = threading.local()
        self._lock = threading.RLock()

    def _changed(self, name: str) -> Node:
        self._runnable = None
        self._digest = None
        return super()._changed(name)

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
        graph._structure = structure_of(document, structure.registry, structure.library)
        return graph

    def document(self) -> GraphDocument:
        """Return the graph as a document.

        Raises:
            UnregisteredGateError: A gate object stands in the graph that no plugin provides.
        """
        return document_of(self._structure)

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

    def judge_inputs(self, inputs: Mapping[str, object], *, partial: bool = False) -> dict[str, Array]:
        """Return the inputs as the arrays that the graph would be run on, in its order, without running it.

        Args:
            inputs: An array, number or list for each input, by name.
            partial: Whether some may be missing.

        Raises:
            InputError: One is missing, unknown, or of another shape or dtype than declared.
        """
        return judge_inputs(self._structure.inputs, inputs, partial=partial)

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
            debug: Whether to find the gates where a NaN or an infinity first came up, and why, and the gates whose
                derivative does not exist: `gradients.diagnosis`.
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
                passes = Passes(runnable, between)
                return many_gradients(passes, inputs, wrt, output_gradients, outputs, vectors, within)
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
    ) -> Prepared | PreparedAgain:
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
        through: Runner | None = None,
        fold: int | None = 150,
        fold_by: OneOf["name", "block"] = "name",
        unfold: Iterable[str] = (),
    ) -> "Drawing":
        """Draw the graph, left to right, with values above the edges in green and gradients below them in red.

        Gates run one by one for it. Where no gradients are asked for and none can be had, as for several outputs,
        values are drawn alone, and the picture says why.

        Args:
            evaluation: What `forward` returned, or the inputs by name; None draws the graph without numbers, of which
                the gates need not be installed.
            output_gradients: The gradient that arrives at each output; None means 1 for one output of one element.
            wrt: Inputs whose gradients are wanted; None means every floating-point one.
            outputs: Outputs that are run; None means all.
            through: A client that runs the graph, whose gates need not be installed here then; None runs it here. It is
                asked twice, for every value and for every gradient; and where a NaN or an infinity came up, for why.
            fold: The most nodes that are drawn one by one; those of a larger graph are folded into groups. None folds
                nothing.
            fold_by: What groups are: the part of names before a dot, or where these do not help, where nodes stand; or
                the blocks of gates that are fused in a run forward, as `explain` tells them.
            unfold: Names of groups to be drawn open.

        Raises:
            MissingEvaluationError: The graph has changed since `forward`.
            RequestError: There is no group of such a name; or blocks are wanted, and nothing is fused block by block.
            GraphsvcError: As `value_and_grad`.
        """
        # These import networkx, which takes a third of the time that all of graphsvc takes.
        from graphsvc.drawing.drawing import Drawing
        from graphsvc.drawing.folding import folded, is_large

        trace = Trace()
        if isinstance(evaluation, Evaluation) and evaluation.runnable is not self._runnable:
            msg = "The graph was changed since this forward. Call forward first."
            raise MissingEvaluationError(msg)
        inputs = evaluation.given if isinstance(evaluation, Evaluation) else evaluation
        if inputs is not None:
            question = (inputs, wrt, output_gradients, outputs)
            trace = self._trace_through(through, *question) if through else trace_of(self._bind(), *question)
        picture = picture_of(self._structure, trace)
        if fold_by == "name" or not is_large(picture, fold):
            return Drawing(folded(picture, fold, unfold))
        if inputs is None:
            msg = "Which gates are fused depends on the inputs. Give them, or fold by name."
            raise RequestError(msg)
        return Drawing(folded(picture, fold, unfold, self.explain(inputs, (), outputs).groups()))

    def _trace_through(
        self,
        through: Runner,
        inputs: Mapping[str, object],
        wrt: Iterable[str] | None,
        output_gradients: Mapping[str, object] | None,
        outputs: Iterable[str] | None,
    ) -> Trace:
        def ask(
            document: GraphDocument, *question: Any, debug: bool = False
        ) -> tuple[dict[str, Array], InputGradients]:
            graph = type(self).from_document(document, self._structure.registry)
            return through.value_and_grad(graph, *question, debug=debug)

        arrays = self.judge_inputs(inputs)
        return trace_by_asking(self._structure, self.document(), ask, arrays, wrt, output_gradients, outputs)

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
            return jvp(Passes(self._bind(), between), inputs, tangents, outputs, vectors, within)

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
        passes = Passes(self._bind(), between)
        with asking(between):
            return hvp(passes, inputs, directions, wrt, output_gradients, outputs, vectors, within)

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
            return jacobian(Passes(self._bind(), between), inputs, wrt, outputs, within)

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
        passes = Passes(self._bind(), between)
        with asking(between):
            return hessian(passes, inputs, wrt, output_gradients, outputs, within)

    def _bind(self) -> RunnableGraph:
        runnable = self._runnable
        if runnable is None:
            with self._lock:
                # Threads that come at once share one, or an evaluation of one would be strange to another.
                runnable = self._runnable = self._runnable or RunnableGraph(self._structure)
        return runnable


def _declared_spec(entry: InputEntry) -> ArraySpec | None:
    if entry.shape is None or any(size is None for size in entry.shape):
        return None
    return ArraySpec(tuple(size for size in entry.shape if size is not None), DTYPES[entry.dtype or "float64"])
