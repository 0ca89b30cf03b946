"""What the fuzzer starts from: good questions of every kind, with every gate."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from graphsvc import ComputationalGraph
from graphsvc.arrays import Array, is_differentiable
from graphsvc.document import document_to_json
from graphsvc.engine.description import describe_gate
from graphsvc.engine.registry import default_registry
from graphsvc.v1 import service_pb2
from graphsvc.wire.codec import graph_from_document, named_tensors

__all__ = ["corpus", "joined", "split"]

_HEADER = 3


def corpus() -> Iterator[bytes]:
    """Yield inputs that are good."""
    for question in _questions():
        yield b"\0" + question.SerializeToString()
        yield b"\2" + _session(question)
    for derivative in _derivatives():
        yield b"\1" + derivative.SerializeToString()
    for document in _documents():
        yield b"\3" + document.encode()
    for expression in _expressions():
        yield b"\4" + expression.encode()


def _questions() -> Iterator[service_pb2.EvaluateRequest]:
    """Yield a question to each gate, for its outputs and all gradients that it has."""
    for graph, inputs, wrt in _examples():
        outputs = graph.forward(inputs).outputs
        gradients = {name: np.ones_like(z) for name, z in outputs.items() if is_differentiable(z.dtype)}
        yield service_pb2.EvaluateRequest(
            graph=graph_from_document(graph.document()),
            inputs=named_tensors(inputs),
            wrt=service_pb2.NameList(names=wrt),
            output_gradients=service_pb2.NamedTensorList(tensors=named_tensors(gradients)),
        )


def _derivatives() -> Iterator[service_pb2.DifferentiateRequest]:
    """Yield a question for derivatives to each gate, of each kind in turn."""
    for number, (graph, inputs, wrt) in enumerate(_examples()):
        kind = 1 + number % 4
        request = service_pb2.DifferentiateRequest(
            graph=graph_from_document(graph.document()), inputs=named_tensors(inputs), kind=kind
        )
        if kind != service_pb2.DERIVATIVE_KIND_JVP:
            request.wrt.CopyFrom(service_pb2.NameList(names=wrt))
        if kind in (service_pb2.DERIVATIVE_KIND_JVP, service_pb2.DERIVATIVE_KIND_HVP):
            request.directions.extend(named_tensors({name: inputs[name] for name in wrt}))
        yield request


def _session(question: service_pb2.EvaluateRequest) -> bytes:
    """Return a question as a session whose inputs come in chunks."""
    pieces = []
    for named in question.inputs:
        pieces += [named.tensor.data] if named.tensor.data else []
        named.tensor.data, named.tensor.chunked = b"", True
    messages = [service_pb2.SessionRequest(id=1, evaluate=question)]
    messages += [service_pb2.SessionRequest(chunk=piece) for piece in pieces]
    return joined([message.SerializeToString() for message in messages])


def joined(messages: Sequence[bytes]) -> bytes:
    """Return messages as one, each after its length."""
    return b"".join(len(message).to_bytes(_HEADER, "little") + message for message in messages)


def split(data: bytes) -> list[bytes]:
    """Return what `joined` joined; of anything else, something."""
    messages = []
    while data:
        end = _HEADER + int.from_bytes(data[:_HEADER], "little")
        messages.append(data[_HEADER:end])
        data = data[end:]
    return messages


def _documents() -> Iterator[str]:
    """Yield a document with each gate."""
    for graph, _, _ in _examples():
        yield document_to_json(graph.document())


def _expressions() -> Iterator[str]:
    """Yield an expression with each gate, and some with the rest of the language."""
    yield "f = (x + y) * z"
    yield "a = -x ** 2 @ y / 3.5e-2 # why\nb = svd(a).s; c = where(a <= 1, x[0, 1:3, ::-1, ..., None], max(x, y, 2))"
    for name in default_registry().gates():
        example = describe_gate(name).example
        # An expression has no word for a graph.
        if example and "=..." not in example:
            yield f"f = {example}"


def _examples() -> Iterator[tuple[ComputationalGraph, dict[str, Array], list[str]]]:
    """Yield a graph with each gate, inputs for it, and the names of those that have a gradient."""
    for cls in default_registry().gates().values():
        for example in itertools.islice(cls.examples(), 1):
            graph = ComputationalGraph()
            inputs = {f"x{i}": operand for i, operand in enumerate(example.operands)}
            node = graph.add(example.gate, *map(graph.input, inputs))
            for output in cls.signature.outputs:
                graph.output(output, node.output(output))
            ruled = [cls.signature.rule_for(cls.signature.index(i)) for i in range(len(inputs))]
            wrt = [name for name, rule in zip(inputs, ruled, strict=True) if rule]
            yield graph, inputs, [name for name in wrt if is_differentiable(inputs[name].dtype)]
