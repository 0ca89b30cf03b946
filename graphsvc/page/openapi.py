"""The description of the page's API as OpenAPI."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from graphsvc import __version__
from graphsvc.page.answers import ErrorAnswer, EvaluateAnswer, GateEntry, GraphAnswer
from graphsvc.page.questions import EvaluateQuestion, GraphQuestion

__all__ = ["openapi"]

_TEMPLATE: Final = "#/components/schemas/{model}"
_MODELS: Final = (GraphQuestion, GraphAnswer, EvaluateQuestion, EvaluateAnswer, GateEntry, ErrorAnswer)


def openapi() -> dict[str, Any]:
    """Return the description."""
    _, schemas = models_json_schema([(model, "validation") for model in _MODELS], ref_template=_TEMPLATE)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "graphsvc",
            "version": __version__,
            "description": "What the explorer asks. Programs are served better by gRPC, which is exact and faster.",
        },
        "paths": {
            "/api/graph": _post("Read, check and draw a graph.", GraphQuestion, GraphAnswer),
            "/api/evaluate": _post("Run a graph forward and backward.", EvaluateQuestion, EvaluateAnswer),
            "/api/gates": _get("List the gates.", {"type": "array", "items": _reference(GateEntry)}),
            "/api/gates/{name}": _get("Describe a gate.", {"type": "object"}) | {"parameters": [_NAME]},
            "/healthz": _get("Tell that the page is there.", {"type": "object"}),
        },
        "components": {"schemas": schemas["$defs"]},
    }


_NAME: Final = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _TEMPLATE.format(model=model.__name__)}


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _responses(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "200": {"description": "The answer.", "content": _content(schema)},
        "default": {"description": "What is wrong.", "content": _content(_reference(ErrorAnswer))},
    }


def _post(summary: str, question: type[BaseModel], answer: type[BaseModel]) -> dict[str, Any]:
    body = {"required": True, "content": _content(_reference(question))}
    return {"post": {"summary": summary, "requestBody": body, "responses": _responses(_reference(answer))}}


def _get(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": _responses(schema)}}
