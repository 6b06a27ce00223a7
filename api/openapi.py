"""The OpenAPI document: bodies, their unions and their examples; the framework writes the rest."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from fastapi import FastAPI, Header, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.conditional import tagged_json
from api.problems import Problem, declared
from api.scopes import is_public, scope_of
from specs.job import NO_NUL
from specs.learners import LEARNER_SPECS
from specs.recipes import RECIPES

SCHEME = "api_key"
ABOUT_KEYS = "A key of a project, `afp_...`; `x-scope` of an operation says what it must be allowed."
REFERENCE = "#/components/schemas/{model}"


def body(schema: str, *, media_types: tuple[str, ...] = ("application/json",), required: bool = True) -> dict[str, Any]:
    """The request body of an operation, by the name of its schema."""
    content: dict[str, Any] = {"schema": {"$ref": REFERENCE.format(model=schema)}}
    if schema == "JobRequest":
        content["examples"] = job_examples()
    return {"requestBody": {"required": required, "content": dict.fromkeys(media_types, content)}}


def job_examples() -> dict[str, Any]:
    """One job for each learner that runs as it stands, and one for each recipe."""
    examples: dict[str, Any] = {}
    for rule in LEARNER_SPECS:
        kind = rule.model_fields["kind"].default
        examples[kind] = {"summary": rule.title, "description": rule.summary, "value": rule.example}
    for recipe in RECIPES.values():
        summary = f"Recipe: {recipe.name}"
        examples[f"recipe_{recipe.name}"] = {"summary": summary, "value": {"recipe": recipe.name}}
    return examples


def label_parameter() -> dict[str, Any]:
    """``label[key]=value``, which the framework has no word for."""
    return {
        "name": "label",
        "in": "query",
        "required": False,
        "style": "deepObject",
        "explode": True,
        "description": "`label[key]=value`; several must all match",
        "schema": {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9._/-]{1,63}$"},
            "additionalProperties": {"type": "string", "pattern": NO_NUL},
            "maxProperties": 16,
        },
    }


def install(app: FastAPI, bodies: Mapping[str, type[BaseModel]], *, guarded: bool) -> None:
    """Serves the document at /openapi.json; ``bodies`` are the models that requests may hold, by schema name.

    ``guarded``: keys are asked for; else they may be sent, and are not looked at.

    It is made on the first request and kept as bytes: as objects it takes forty times as much memory.
    """

    @lru_cache(maxsize=1)
    def written() -> bytes:
        return json.dumps(_document(app, bodies, guarded=guarded), separators=(",", ":"), allow_nan=False).encode()

    @app.get("/openapi.json", include_in_schema=False)
    def get_openapi_document(if_none_match: Annotated[str | None, Header()] = None) -> Response:
        """This document."""
        return tagged_json(written(), if_none_match)


def _document(app: FastAPI, bodies: Mapping[str, type[BaseModel]], *, guarded: bool) -> dict[str, Any]:
    found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    models: list[type[BaseModel]] = [Problem, *bodies.values()]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=REFERENCE)
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(definitions["$defs"])
    schemas["JobRequest"] = {
        "title": "JobRequest",
        "description": "A whole job, or a recipe with what is to be different",
        "anyOf": [{"$ref": REFERENCE.format(model="JobSpec")}, {"$ref": REFERENCE.format(model="RecipeRequest")}],
    }
    for schema in schemas.values():
        _close(schema)
    found["components"]["securitySchemes"] = {SCHEME: {"type": "http", "scheme": "bearer", "description": ABOUT_KEYS}}
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            _secure(operation, method.upper(), path, guarded=guarded)
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
    return found


def _secure(operation: dict[str, Any], method: str, path: str, *, guarded: bool) -> None:
    """Which scope the operation asks for, and how it refuses."""
    if is_public(method, path):
        operation["security"] = []
        return
    operation["security"] = [{SCHEME: []}] if guarded else [{}, {SCHEME: []}]
    operation["x-scope"] = scope_of(method, path)
    for status, answer in declared(401, 403, 429).items():
        if status in (401, 403, 429):
            operation["responses"].setdefault(str(status), answer)


def _close(schema: dict[str, Any]) -> None:
    """Where names must fit a pattern, other names are refused: pydantic does so, and its schema leaves it out."""
    for below in schema.get("properties", {}).values():
        if "patternProperties" in below:
            below.setdefault("additionalProperties", False)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter may be absent, but no text of a query or a header is null."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **choices[0]}
