"""Every error graphsvc raises, in process and from a server alike.

The tree::

    GraphsvcError
    ├── GraphError                      the graph itself is wrong
    │   ├── DocumentError               a part of a document is malformed
    │   ├── NotAGraphError              a file or text that holds no graph at all
    │   ├── ExpressionError             an expression does not parse
    │   ├── CycleError                  a value depends on itself
    │   ├── InvalidNameError            a name that cannot name anything
    │   ├── DuplicateNameError          one name for two things
    │   ├── UnknownReferenceError       an operand or output that refers to nothing
    │   ├── UnknownGateError            no gate of that name is installed
    │   ├── GateVersionError            the installed gate has another version
    │   ├── UnregisteredGateError       a gate object that no plugin provides
    │   ├── ArityError                  too few or too many operands
    │   ├── AttributeValueError         an attribute that the gate does not take
    │   └── NonFiniteError              NaN or infinity where a finite number must stand
    ├── InputError                      the arrays given are wrong
    │   ├── MissingInputError
    │   ├── UnknownInputError
    │   ├── DuplicateInputError
    │   ├── ShapeError
    │   ├── DtypeError
    │   ├── TensorError                 bytes that are no tensor
    │   └── GateDataError               values that a gate must refuse
    ├── RequestError                    what was asked for is wrong
    │   ├── UnknownOutputError
    │   ├── UnknownGradientError        a gradient for something that is no input
    │   ├── OutputGradientError         an output gradient is missing or does not fit
    │   ├── NotDifferentiableError      an integer or boolean has no gradient
    │   │   ├── GateNotDifferentiableError
    │   │   └── TangentLostError        a gate loses tangents, so there is no second derivative
    │   └── MissingEvaluationError      backward before forward
    ├── GateError                       a gate failed: its author's fault
    │   ├── GateContractError           it returned what the contract forbids
    │   └── GateDefinitionError         its class breaks the contract
    ├── PluginError                     a plugin that cannot be used
    ├── LimitError                      more than the server allows, or than there is memory
    ├── DrawingError                    a picture that cannot be made in this format
    ├── StoppedError                    an evaluation was stopped between two gates
    │   └── DeadlineError
    │       ├── DeadlineTooShortError   known beforehand
    │       └── StalledError            data come or go too slowly
    └── ServiceError                    something between client and server
        ├── MessageError                bytes that are no message
        ├── BusyError                   the server has too much to do; to be tried again
        ├── UnknownGraphError           a digest that the server does not know
        ├── UnknownResidentError        the same of a tensor
        ├── UnreachableError            no server answers
        └── ServerError                 the server failed: its fault

Each class has a `reason`, which never changes once published and travels with the error over the network.
"""

import difflib
import itertools
from collections.abc import Iterable, Iterator
from typing import ClassVar, Final, Self

__all__ = [
    "ArityError",
    "AttributeValueError",
    "BusyError",
    "CycleError",
    "DeadlineError",
    "DeadlineTooShortError",
    "DocumentError",
    "DrawingError",
    "DtypeError",
    "DuplicateInputError",
    "DuplicateNameError",
    "ExpressionError",
    "GateContractError",
    "GateDataError",
    "GateDefinitionError",
    "GateError",
    "GateNotDifferentiableError",
    "GateVersionError",
    "GraphError",
    "GraphsvcError",
    "InputError",
    "InvalidNameError",
    "LimitError",
    "MessageError",
    "MissingEvaluationError",
    "MissingInputError",
    "NonFiniteError",
    "NotAGraphError",
    "NotDifferentiableError",
    "OutputGradientError",
    "PluginError",
    "RequestError",
    "ServerError",
    "ServiceError",
    "ShapeError",
    "StalledError",
    "StoppedError",
    "TangentLostError",
    "TensorError",
    "UnknownGateError",
    "UnknownGradientError",
    "UnknownGraphError",
    "UnknownInputError",
    "UnknownOutputError",
    "UnknownReferenceError",
    "UnknownResidentError",
    "UnreachableError",
    "UnregisteredGateError",
    "did_you_mean",
    "error_classes",
    "nearest",
    "quoted",
]


_MOST_CANDIDATES: Final = 500


class GraphsvcError(Exception):
    """The root of every error of graphsvc.

    Attributes:
        reason: Stable code of the class, in upper snake case.
        message: What is wrong and how to put it right.
        facts: The names and places that the message speaks of, for programs: `node`, `gate`, `path`, ...
    """

    reason: ClassVar[str] = "FAILED"

    def __init__(self, message: str, /, **facts: object) -> None:
        super().__init__(message)
        self.message = str(message)
        self.facts: dict[str, str] = {key: str(value) for key, value in facts.items()}

    @property
    def node(self) -> str | None:
        """Name of the node where it happened, if it happened at one."""
        return self.facts.get("node")

    @property
    def gate(self) -> str | None:
        """Name of the gate where it happened, if it happened at one."""
        return self.facts.get("gate")

    def at(self, node: str, gate: str) -> Self:
        """Return the same error with its place said, unless it says one already."""
        if self.node is not None:
            return self
        located = self.again()
        problem = self.message.removeprefix(f"Gate {self.gate!r}: ")
        located.message = f"Gate {gate!r} at node {node!r}: {problem}"
        located.facts = self.facts | {"node": node, "gate": gate}
        located.args = (located.message,)
        return located

    def within(self, graph: str) -> Self:
        """Return the same error as one of a graph that a gate holds; the gate's own place is still to be said.

        The place within that graph moves to the facts `inner_node`, `inner_gate` and `inner_graph`; the innermost one
        where graphs are held by graphs.
        """
        located = self.again()
        located.message = f"In its graph {graph!r}: {self.message}"
        inner = {f"inner_{key}": value for key, value in self.facts.items() if key in ("node", "gate")}
        others = {key: value for key, value in self.facts.items() if key not in ("node", "gate")}
        located.facts = {**inner, "inner_graph": graph, **others}
        located.args = (located.message,)
        return located

    def again(self) -> Self:
        """Return a copy without traceback, to be raised anew. An error that is kept and raised collects frames."""
        # Not made by the class, because a plugin's subclass may be made of anything.
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.args = self.args
        return copy

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.facts)


def _rebuild(cls: type[GraphsvcError], message: str, facts: dict[str, str]) -> GraphsvcError:
    return cls(message, **facts)


class GraphError(GraphsvcError):
    """The graph itself is wrong, whatever its inputs."""

    reason = "GRAPH_INVALID"


class DocumentError(GraphError):
    """A part of a document is malformed; `facts["path"]` says which, as in `nodes[17].operands[1]`."""

    reason = "DOCUMENT_INVALID"


class NotAGraphError(GraphError):
    """A file or a text that holds no graph at all."""

    reason = "NOT_A_GRAPH"


class ExpressionError(GraphError):
    """An expression does not parse; `facts` hold `line` and `column`, counted from 1."""

    reason = "EXPRESSION_INVALID"


class CycleError(GraphError):
    """A value of the graph depends on itself."""

    reason = "GRAPH_CYCLE"


class InvalidNameError(GraphError):
    """A name that does not match `[A-Za-z_][A-Za-z0-9_.-]{0,127}`."""

    reason = "NAME_INVALID"


class DuplicateNameError(GraphError):
    """Two inputs, constants, nodes or outputs bear one name."""

    reason = "NAME_DUPLICATE"


class UnknownReferenceError(GraphError):
    """An operand or an output refers to a value that the graph does not have."""

    reason = "REFERENCE_UNKNOWN"


class UnknownGateError(GraphError):
    """A graph names gates that are not installed where it runs."""

    reason = "GATE_NOT_FOUND"


class GateVersionError(GraphError):
    """A document was written for another version of a gate than the one installed."""

    reason = "GATE_VERSION_UNKNOWN"


class UnregisteredGateError(GraphError):
    """A gate object stands in a graph, but no installed plugin provides its class, so no document can name it."""

    reason = "GATE_UNREGISTERED"


class ArityError(GraphError):
    """A gate is given too few or too many operands."""

    reason = "ARITY_MISMATCH"


class AttributeValueError(GraphError):
    """An attribute is missing, unknown, or of a value that its gate does not take."""

    reason = "ATTRIBUTE_INVALID"


class NonFiniteError(GraphError):
    """NaN or infinity stands where a gate wants a finite number."""

    reason = "VALUE_NOT_FINITE"


class InputError(GraphsvcError):
    """The arrays given to a graph are wrong."""

    reason = "INPUT_INVALID"


class MissingInputError(InputError):
    """An input of the graph is given no array."""

    reason = "INPUT_MISSING"


class UnknownInputError(InputError):
    """An array is given for an input that the graph does not have."""

    reason = "INPUT_UNKNOWN"


class DuplicateInputError(InputError):
    """Two arrays are given for one name."""

    reason = "INPUT_DUPLICATE"


class ShapeError(InputError):
    """Shapes do not fit each other, or not what was declared."""

    reason = "SHAPE_MISMATCH"


class DtypeError(InputError):
    """A dtype is not what was declared, or not one that graphsvc or a gate takes."""

    reason = "DTYPE_MISMATCH"


class TensorError(InputError):
    """A tensor on the wire contradicts itself: its length, its shape and its dtype do not fit."""

    reason = "TENSOR_INVALID"


class GateDataError(InputError):
    """Values that a gate must refuse, such as a label out of range. Raised by gates."""

    reason = "GATE_DATA_REFUSED"


class RequestError(GraphsvcError):
    """What was asked of a graph makes no sense."""

    reason = "REQUEST_INVALID"


class UnknownOutputError(RequestError):
    """An output is asked for that the graph does not have."""

    reason = "OUTPUT_UNKNOWN"


class UnknownGradientError(RequestError):
    """A gradient is asked for something that is not an input of the graph."""

    reason = "GRADIENT_UNKNOWN"


class OutputGradientError(RequestError):
    """An output gradient is missing, or does not fit its output."""

    reason = "OUTPUT_GRADIENT_INVALID"


class NotDifferentiableError(RequestError):
    """A gradient is asked of an integer, a boolean or another value that has none."""

    reason = "NOT_DIFFERENTIABLE"


class GateNotDifferentiableError(NotDifferentiableError):
    """The gradient would have to pass through a gate that has no backward for that operand."""

    reason = "GATE_NOT_DIFFERENTIABLE"


class TangentLostError(NotDifferentiableError):
    """A gate's code loses the tangent of a value, so that the derivative asked for would be wrong; it is refused."""

    reason = "TANGENT_LOST"


class MissingEvaluationError(RequestError):
    """`backward()` was called before `forward` in this thread, or the graph has changed since."""

    reason = "EVALUATION_MISSING"


class GateError(GraphsvcError):
    """A gate failed with an exception of its own: the fault of its author."""

    reason = "GATE_FAILED"


class GateContractError(GateError):
    """A gate returned or did what the contract forbids."""

    reason = "GATE_CONTRACT_BROKEN"


class GateDefinitionError(GateError):
    """A gate class breaks the contract; raised when the class is made."""

    reason = "GATE_DEFINITION_INVALID"


class PluginError(GraphsvcError):
    """A plugin cannot be used: it does not import, clashes with another, or breaks the hook's contract."""

    reason = "PLUGIN_REFUSED"


class LimitError(GraphsvcError):
    """A request is larger than the server allows, or than there is memory for; sending it again does not help."""

    reason = "LIMIT_EXCEEDED"


class DrawingError(GraphsvcError):
    """A picture cannot be made in this format, as where it is Graphviz's and that is not installed."""

    reason = "DRAWING_FAILED"


class StoppedError(GraphsvcError):
    """An evaluation was stopped between two gates, because nobody waits for it any more."""

    reason = "EVALUATION_STOPPED"


class DeadlineError(StoppedError):
    """The deadline passed before the evaluation was done."""

    reason = "DEADLINE_EXCEEDED"


class DeadlineTooShortError(DeadlineError):
    """The run would take longer than there is time; `facts["estimate_ms"]` says how long."""

    reason = "DEADLINE_TOO_SHORT"


class StalledError(DeadlineError):
    """Data came, or were taken, too slowly to wait for."""

    reason = "TRANSFER_STALLED"


class ServiceError(GraphsvcError):
    """Something went wrong between client and server."""

    reason = "SERVICE_FAILED"


class MessageError(ServiceError):
    """Bytes that are not a message of the service."""

    reason = "MESSAGE_MALFORMED"


class BusyError(ServiceError):
    """The server has too much to do now; `facts["retry_ms"]` says when to try again."""

    reason = "SERVER_BUSY"


class UnknownGraphError(ServiceError):
    """The server does not know a graph of this digest; send the graph itself."""

    reason = "GRAPH_UNKNOWN"


class UnknownResidentError(ServiceError):
    """The server does not keep a tensor of this digest, or no longer; put it there again."""

    reason = "RESIDENT_UNKNOWN"


class UnreachableError(ServiceError):
    """No server answers at the target."""

    reason = "SERVER_UNREACHABLE"


class ServerError(ServiceError):
    """The server failed through a fault of its own; `facts["correlation_id"]` finds it in the server's log."""

    reason = "SERVER_FAILED"


def error_classes() -> Iterator[type[GraphsvcError]]:
    """Yield `GraphsvcError` and every class below it in this module; plugins may have made more."""
    pending: list[type[GraphsvcError]] = [GraphsvcError]
    while pending:
        cls = pending.pop()
        yield cls
        pending.extend(below for below in cls.__subclasses__() if below.__module__ == __name__)


def did_you_mean(name: str, candidates: Iterable[str], cutoff: float = 0.7) -> str:
    """Return `" Did you mean 'sigmoid'?"`, or nothing where no candidate is near."""
    near = nearest(name, candidates, cutoff)
    return f" Did you mean {near!r}?" if near else ""


def nearest(name: str, candidates: Iterable[str], cutoff: float = 0.7) -> str | None:
    """Return what differs from `name` in its case or in a few letters, or what one of the two begins with."""
    candidates = list(itertools.islice(candidates, _MOST_CANDIDATES + 1))
    # A stranger's names may be long and many, and likeness is dear.
    if len(name) > 128 or len(candidates) > _MOST_CANDIDATES:
        return None
    near = [candidate for candidate in candidates if candidate.lower() == name.lower()]
    near += difflib.get_close_matches(name, candidates, n=1, cutoff=cutoff)
    if not near and cutoff < 1:
        near = [candidate for candidate in candidates if candidate and name.startswith(candidate)]
        near += [candidate for candidate in candidates if len(name) > 2 and candidate.startswith(name)]
    return near[0] if near else None


def quoted(value: object, limit: int = 60) -> str:
    """Return `value` in quotes for a message, cut to `limit` characters, whatever a stranger put into it."""
    text = ascii(value[: limit + 1] if isinstance(value, str) else value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
