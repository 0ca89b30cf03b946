"""What a client knows of a graph that its server was sent: by which digest, and how questions to it look as bytes."""

from collections.abc import Hashable
from typing import Any, Final, NamedTuple

from graphsvc.arrays import Array
from graphsvc.client.question import Question
from graphsvc.engine.answers import Questions
from graphsvc.engine.evaluation import InputGradients
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.v1 import service_pb2
from graphsvc.wire.forms import Form

__all__ = ["Again", "KnownGraph"]

_KNOWN_QUESTIONS: Final = 16


class _Forms(NamedTuple):
    """How a question and the answer to it look.

    Attributes:
        request: The request, with the inputs.
        response: The response, with outputs and gradients.
        outputs: Names of the outputs.
        gradients: Names of the gradients.
        disconnected: Names of those that no path leads to.
    """

    request: Form
    response: Form
    outputs: tuple[str, ...]
    gradients: tuple[str, ...]
    disconnected: tuple[str, ...]


class KnownGraph:
    """A graph that a server was sent.

    Attributes:
        digest: By which it knows the graph.
    """

    def __init__(self, graph: ComputationalGraph, digest: bytes) -> None:
        self.digest = digest
        entries = {entry.name: entry for entry in graph.document().inputs}
        self._questions = Questions[_Forms](entries, _KNOWN_QUESTIONS)

    def again(self, question: Question) -> "Again | None":
        """Return a question as one that may be asked again about other numbers; None if it is no such one."""
        inputs, wrt, outputs = question.inputs, question.wrt, question.outputs
        # Whatever else it asks for is asked as if nothing were known.
        if question != Question(inputs, wrt, outputs=outputs):
            return None
        found = self._questions.known(inputs, wrt, outputs)
        return None if found is None else Again(self._questions, *found)


class Again:
    """A question like others that were asked of the graph, or will be."""

    __slots__ = ("_forms", "_given", "_key", "_questions")

    def __init__(
        self, questions: Questions[_Forms], key: tuple[Hashable, ...], given: list[Any], forms: _Forms | None
    ) -> None:
        self._questions = questions
        self._key = key
        self._given = given
        self._forms = forms

    def body(self) -> bytes | None:
        """Return the bytes of the request, if they are known but for the inputs."""
        return self._forms.request.write(self._given) if self._forms else None

    def read(self, response: bytes) -> tuple[dict[str, Array], InputGradients] | None:
        """Return outputs and gradients, writable; None of a response that looks otherwise than the first one did."""
        if self._forms is None or (arrays := self._forms.response.read(response)) is None:
            return None
        _, _, outputs, gradients, disconnected = self._forms
        mine = iter([array.copy() for array in arrays])
        return dict(zip(outputs, mine, strict=False)), InputGradients(zip(gradients, mine, strict=True), disconnected)

    def learn(self, request: service_pb2.EvaluateRequest, response: service_pb2.EvaluateResponse) -> None:
        """Keep how both look."""
        results = (response.outputs, response.input_gradients)
        asked = Form.of(request, [named.tensor for named in request.inputs])
        given = Form.of(response, [named.tensor for part in results for named in part])
        if asked and given:
            outputs, gradients = (tuple([named.name for named in part]) for part in results)
            self._questions.learn(self._key, _Forms(asked, given, outputs, gradients, tuple(response.disconnected)))
