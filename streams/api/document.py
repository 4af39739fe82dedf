"""The OpenAPI document: problems as answers of every operation, and what FastAPI does not write by itself."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from streams.api.definition_document import SCHEMAS, catalog_schemas
from streams.api.problems import MEDIA_TYPE, URN, Kind

_ALWAYS: Final = (401, 403, 429, 500, 503)
_REQUEST_ID: Final = {
    "X-Request-Id": {"description": "Under this id the service's log knows the request.", "schema": {"type": "string"}}
}
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds after which it is worth another try.", "schema": {"type": "integer"}}
}
PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "What went wrong, as RFC 9457 has it. docs/api.md lists the types.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "enum": [URN + kind.slug for kind in Kind]},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "request_id": {"type": "string", "description": "Under this id the service's log knows the request."},
    },
    "additionalProperties": True,
}


def problems(*statuses: int, is_open: bool = False) -> dict[int | str, dict[str, Any]]:
    """The answers with a problem that an operation can give, beside those that every one can; for `responses=`."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, *(() if is_open else _ALWAYS)}):
        kinds = [kind for kind in Kind if kind.status == status]
        found[status] = {
            "description": "; or ".join(kind.title for kind in kinds),
            "headers": _REQUEST_ID | (_RETRY_AFTER if status in (429, 503) else {}),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": {
                        "type": URN + kinds[0].slug,
                        "title": kinds[0].title,
                        "status": status,
                        "detail": kinds[0].title,
                        "request_id": "5f0c6f3a1b2c4d5e",
                    },
                }
            },
        }
    return found


def install(app: FastAPI) -> None:
    """Let the app write its document once, with the schemas that routes refer to by name."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            made.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
            made["components"]["schemas"] |= _of_bodies(made["paths"]) | catalog_schemas()
            for name in ("HTTPValidationError", "ValidationError"):
                made["components"]["schemas"].pop(name, None)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def _of_bodies(paths: dict[str, Any]) -> dict[str, Any]:
    """The schemas to which bodies refer, taken out of the operations that have them (`streams.api.bodies`)."""
    found: dict[str, Any] = {}
    for operations in paths.values():
        for operation in operations.values():
            found |= operation.pop(SCHEMAS, {})
    return found
