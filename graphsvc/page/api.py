"""The API of the page: from a question in JSON to the answer in JSON, through the same admission as calls over gRPC."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import grpc
from pydantic import BaseModel, TypeAdapter

from graphsvc.arrays import Array
from graphsvc.drawing.folding import folded
from graphsvc.drawing.picture import Picture
from graphsvc.drawing.svg import notes_of, svg_of
from graphsvc.drawing.symbols import SYMBOLS
from graphsvc.engine.description import describe_gate, example_values, field_of, gate_summary
from graphsvc.engine.elsewhere import ELSEWHERE
from graphsvc.engine.graph import ComputationalGraph
from graphsvc.engine.picturing import lettered
from graphsvc.engine.reading import with_integers
from graphsvc.engine.registry import Registry
from graphsvc.engine.walking import sketch, walk
from graphsvc.errors import GateError, GraphsvcError
from graphsvc.expression import OPERATORS, placed
from graphsvc.page.answers import GateEntry, evaluate_answer, graph_answer
from graphsvc.page.questions import EvaluateQuestion, GraphQuestion, document_of, read_question
from graphsvc.plaindata import array_to_data, array_to_entry
from graphsvc.serving.calls import Calls, Reply
from graphsvc.serving.service import Service
from graphsvc.serving.settings import Settings
from graphsvc.serving.stop import Stop
from graphsvc.serving.work import NO_RUN, Work
from graphsvc.wire.codec import graph_from_document
from graphsvc.wire.status import error_from_packed, packed_status

__all__ = ["Api"]

_MOST_NODES: Final = 150
"""Nodes that are drawn one by one."""

_LOOKING_ON: Final = 3
"""How many times what a fused run takes one takes that is looked at, gate by gate, with a second call of backward."""


class Api:
    """Answers the page."""

    def __init__(self, service: Service, calls: Calls, settings: Settings) -> None:
        self._service = service
        self._calls = calls
        self._settings = settings

    async def graph(self, data: bytes) -> bytes | GraphsvcError:
        """Answer a GraphQuestion with a GraphAnswer."""
        return await self._placed(await self._answered(self._reading, data), GraphQuestion, data)

    async def evaluate(self, data: bytes) -> bytes | GraphsvcError:
        """Answer an EvaluateQuestion with an EvaluateAnswer."""
        return await self._placed(await self._answered(self._evaluation, data), EvaluateQuestion, data)

    async def gates(self) -> bytes | GraphsvcError:
        """Answer with a GateEntry for each gate."""
        return _outcome(await self._calls.in_reader(lambda: self._gates))

    async def gate(self, name: str) -> bytes | GraphsvcError:
        """Answer with all that there is to know of a gate."""
        return _outcome(await self._calls.in_reader(lambda: _gate_described(name, self._service.registry)))

    async def _placed(
        self, outcome: bytes | GraphsvcError, cls: type[GraphQuestion], data: bytes
    ) -> bytes | GraphsvcError:
        """Return what became of a question; of an error at a gate it is said where in the expression that stands."""
        if isinstance(outcome, bytes) or not outcome.facts.keys() & {"node", "gates"}:
            return outcome
        found = await self._calls.in_reader(lambda: placed(outcome, read_question(cls, data).graph))
        return outcome if isinstance(found, grpc.Status) else found

    async def _answered(self, read: Callable[[bytes, Stop], Work], data: bytes) -> bytes | GraphsvcError:
        stop = Stop(self._settings.max_seconds)
        try:
            work = await self._calls.judged(lambda: read(data, stop), stop)
            if not isinstance(work, Work):
                return _outcome(work)
            reply = await self._calls.run(work, _packed, stop)
        except asyncio.CancelledError:
            # Nobody waits any more. The thread runs on to the end of its gate.
            stop.set()
            raise
        if not isinstance(reply, Reply):
            return _outcome(reply)
        reply.close()
        return reply.message

    def _reading(self, data: bytes, stop: Stop) -> Work:
        question = read_question(GraphQuestion, data)
        digest, graph = self._graph(question.graph, stop)

        def answer(stop: Callable[[], None] | None, more: Callable[[int], None]) -> BaseModel:
            return graph_answer(graph, digest, *_drawn(*sketch(graph), question.unfold))

        return Work(NO_RUN, len(data), None, answer)

    def _evaluation(self, data: bytes, stop: Stop) -> Work:
        question = read_question(EvaluateQuestion, data)
        _, graph = self._graph(question.graph, stop)
        inputs = graph.judge_inputs(with_integers(question.inputs, graph))
        one = graph.estimate(inputs)
        estimate = replace(
            one,
            flops=_LOOKING_ON * one.flops,
            touched_bytes=_LOOKING_ON * one.touched_bytes,
            calls=_LOOKING_ON * one.calls,
        )

        def answer(stop: Callable[[], None] | None, more: Callable[[int], None]) -> BaseModel:
            walked = walk(graph, inputs, question.output_gradients, between=stop)
            drawn = _drawn(walked.picture, walked.letters, question.unfold) if question.show else ("", [])
            return evaluate_answer(walked, inputs, *drawn, visits=question.show)

        return Work(estimate, len(data), None, answer)

    def _graph(self, text: str, stop: Stop) -> tuple[bytes, ComputationalGraph]:
        # As a message, because the limits of graphs are those of messages.
        return self._service.graph_by_value(graph_from_document(document_of(text)), stop)

    @cached_property
    def _gates(self) -> bytes:
        entries = _gate_entries(self._service.registry)
        return TypeAdapter(list[GateEntry]).dump_json(entries)


def _outcome(answered: bytes | grpc.Status) -> bytes | GraphsvcError:
    return answered if isinstance(answered, bytes) else error_from_packed(packed_status(answered))


def _drawn(picture: Picture, letters: Mapping[str, str], unfold: tuple[str, ...]) -> tuple[str, list[str]]:
    """Return the drawing, and what there is to say below it, where it does not scroll away."""
    # Why there are no gradients is said apart, in the words of the page.
    shown = lettered(folded(replace(picture, note=""), _MOST_NODES, unfold), letters)
    return svg_of(shown, with_notes=False), notes_of(shown)


def _packed(answer: BaseModel) -> bytes:
    return answer.model_dump_json().encode()


def _gate_described(name: str, registry: Registry) -> bytes:
    """Return all that there is to know of a gate, with values on which its example runs, as inputs are written."""
    described = vars(describe_gate(name, registry))
    values = {operand: _as_written(array) for operand, array in example_values(name, registry).items()}
    return TypeAdapter(dict[str, Any]).dump_json(described | {"example_values": values})


def _as_written(array: Array) -> Any:
    # Lists are what people write; they say neither that numbers are complex nor all lengths of what is empty.
    return array_to_data(array) if array.size and array.dtype.kind != "c" else array_to_entry(array)


def _gate_entries(registry: Registry) -> list[GateEntry]:
    elsewhere: dict[str, list[str]] = {}
    for other, name in ELSEWHERE.items():
        elsewhere.setdefault(name, []).append(other)
    entries = []
    for name, cls in sorted(registry.usable(), key=lambda pair: pair[0]):
        try:
            found = gate_summary(name, cls, registry)
        except GateError:
            # One stranger's gate must not take the list from all.
            continue
        entries.append(
            GateEntry(
                name=name,
                symbol=SYMBOLS.get(name, ""),
                operator=OPERATORS.get(name, ""),
                operands=list(found.operands),
                outputs=list(found.outputs),
                attributes=list(found.attributes),
                documentation=found.documentation,
                words=" ".join([field_of(cls), *elsewhere.get(name, ())]),
            )
        )
    return entries
