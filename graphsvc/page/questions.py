"""What the page may ask: JSON in, judged once, here."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from graphsvc.document import GraphDocument, data_from_json, document_from_json
from graphsvc.errors import RequestError, quoted
from graphsvc.expression import document_from_expression
from graphsvc.plaindata import array_from_entry, complain, number_from_data

__all__ = ["EvaluateQuestion", "GraphQuestion", "document_of", "read_question"]

_DEEPEST: Final = 64
_Q = TypeVar("_Q", bound=BaseModel)


def _array(value: object, depth: int = 0) -> object:
    """Return an input with `"NaN"` and the like as numbers."""
    if isinstance(value, Mapping) and not depth:
        return array_from_entry(value)
    if isinstance(value, list):
        if depth == _DEEPEST:
            complain(f"lists nest deeper than {_DEEPEST}")
        return [_array(item, depth + 1) for item in value]
    number = number_from_data(value)
    if not isinstance(number, bool | int | float):
        complain(f"an array is a number or lists of numbers, got {quoted(value)}")
    return number


_Arrays = Mapping[str, Annotated[Any, BeforeValidator(_array)]]


class GraphQuestion(BaseModel):
    """A graph to be read, checked and drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    graph: Annotated[str, Field(description="An expression, or a document of graphsvc as JSON, which begins with {.")]
    unfold: Annotated[
        tuple[str, ...], Field(description="Names of groups of a large graph that are to be drawn open.")
    ] = ()


class EvaluateQuestion(GraphQuestion):
    """A graph to be run."""

    inputs: Annotated[
        _Arrays,
        Field(
            description="A value for each input: a number, lists of numbers, or an object with dtype, shape and data. "
            "NaN and infinities are the strings NaN, Infinity and -Infinity."
        ),
    ]
    output_gradients: Annotated[
        _Arrays | None,
        Field(description="The gradient that arrives at each output; null means 1 for one output of one element."),
    ] = None
    show: Annotated[bool, Field(description="Whether the answer has the drawing and the visits of gates.")] = True


def read_question(cls: type[_Q], data: bytes) -> _Q:
    """Read a question.

    Raises:
        RequestError: It is no JSON, or something else than the question.
    """
    try:
        return cls.model_validate(data_from_json(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        msg = f"{path or 'The request'}: {first['msg']}."
        facts = {"path": path} | ({"input": str(first["loc"][1])} if first["loc"][:1] == ("inputs",) else {})
        raise RequestError(msg, **facts) from None
    except (ValueError, RecursionError) as error:
        msg = f"The request is not JSON ({quoted(str(error))})."
        raise RequestError(msg) from None


def document_of(text: str) -> GraphDocument:
    """Read a graph as it is written in the page.

    Raises:
        GraphError: It is wrong; the message and the facts say where.
    """
    if text.lstrip().startswith("{"):
        return document_from_json(text)
    return document_from_expression(text)
