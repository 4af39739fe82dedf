"""Bodies of JSON that become a type: read from callers who may, in bounded time, and checked in a thread.

FastAPI would read a body that an endpoint declares before it asks who sends it, wait for it as long as it takes, and
check it on the loop, where everybody else waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from streams.api.definition_document import SCHEMAS, body
from streams.api.definition_requests import read_json
from streams.api.limits import InFlight
from streams.api.problems import Kind, Problem
from streams.api.services import ApiOptions

MAX_OBJECTS: Final = 1_000
"""In one body: some times as many as the largest filter has that may be used."""
MAX_VALUES: Final = 8_192
"""In one body, with all keys and items of lists. Each may be wrong in several ways, and to tell them all takes time in
which no other thread runs: of so many a tenth of a second.
"""
_REFERENCE: Final = "#/components/schemas/{model}"


class Bodies:
    """Reads bodies; what is in hand counts with that of events. One for all routes of an app."""

    def __init__(self, options: ApiOptions, in_flight: InFlight) -> None:
        self._options = options
        self._in_flight = in_flight

    def of(self, type_: Any) -> Any:
        """The default of an endpoint's parameter that is to be the body as this type.

        The request ends with a `Problem` for what is no JSON, too large or too slow, and with 422 for what is not of
        the type. Whoever has no key is told so first, since what a route depends on (`access`) comes before what its
        parameters depend on.
        """
        return Depends(self._reader(TypeAdapter(type_)))

    def _reader(self, type_: TypeAdapter[Any]) -> Callable[[Request], AsyncIterator[Any]]:
        async def read(request: Request) -> AsyncIterator[Any]:
            with self._in_flight.request() as take:
                _, data = await read_json(request, self._options, take)
                yield await run_in_threadpool(checked, type_, data)

        return read


def checked(type_: TypeAdapter[Any], data: Any) -> Any:
    """Plain data as a type. Raises `Problem` for too much of it, and RequestValidationError with all that is wrong."""
    check_size(data)
    try:
        return type_.validate_python(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in found]) from None


def check_size(data: Any) -> None:
    """Raises `Problem` for more objects or values than any body needs; it stops counting there."""
    waiting, objects, values = [data], 0, 1
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            objects += 1
            values += 2 * len(value)
            inside = list(value.values())
        elif isinstance(value, list):
            values += len(value)
            inside = value
        else:
            continue
        if objects > MAX_OBJECTS or values > MAX_VALUES:
            words = f"the body may have {MAX_OBJECTS:,} objects, and {MAX_VALUES:,} keys and values"
            raise Problem(Kind.TOO_LARGE, words)
        waiting += inside


def described(type_: Any) -> dict[str, Any]:
    """The part of an operation that says what body it takes; for `openapi_extra`."""
    schema = TypeAdapter(type_).json_schema(ref_template=_REFERENCE, mode="validation")
    parts = schema.pop("$defs", {})
    title = schema.get("title")
    if schema.get("type") == "object" and title is not None:
        parts[title] = schema
        schema = {"$ref": _REFERENCE.format(model=title)}
    return body(schema) | {SCHEMAS: parts}
