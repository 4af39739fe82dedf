"""What the commands that talk to a service's API need: `streams.client`, with its errors in words for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from config.catalog import Catalog
from config.errors import CatalogError, Problem, SettingsError, TidelineError
from config.settings import Settings
from config.yaml_text import path_text
from streams.client import ApiError, Client

_TIMEOUT_S: Final = 60.0


@contextmanager
def service(settings: Settings, catalog: Catalog | None = None) -> Iterator[Client]:
    """The service of the settings; what it refuses is told about the lines of `catalog`.

    Raises SettingsError without a good address and key, CatalogError for definitions that are not right, and
    TidelineError for every other refusal or no answer.
    """
    url = settings.api_url
    if settings.api_key is None:
        raise SettingsError(f"{url} needs a key: set TIDELINE_API_KEY (tideline keys create makes one)")
    try:
        client = Client(url, settings.api_key.get_secret_value(), timeout_s=_TIMEOUT_S)
    except ValueError as error:
        raise SettingsError(f"TIDELINE_API_URL: {error}") from error
    with client:
        try:
            yield client
        except ApiError as error:
            raise _in_words(client.url, error, catalog) from error
        except ConnectionError as error:
            raise TidelineError(f"{error}. Does tideline api run there (--api)?") from error


def _in_words(url: str, error: ApiError, catalog: Catalog | None) -> TidelineError:
    detail = str(error.problem.get("detail", ""))
    if not error.kind:  # a redirect, or another program
        return TidelineError(f"{url}: {detail}; --api says where the API is")
    if error.kind == "unauthorized":
        return SettingsError(f"{url}: {detail}. tideline keys create makes one")
    if error.kind == "forbidden":
        return SettingsError(f"{url}: {detail}")
    if error.kind == "invalid-definition":
        lines = {} if catalog is None else {path_text(place): n for place, n in catalog.origin.lines.items()}
        told = error.problem["problems"]
        problems = [Problem(lines.get(p["path"]), p["path"], p["found"], p["expected"]) for p in told]
        return CatalogError(problems, url)
    return TidelineError(f"{url}: {_as_command(error, detail)}")


def _as_command(error: ApiError, detail: str) -> str:
    """A refusal with what to do on a command line, where the API says which request to make."""
    told = error.problem
    if error.kind == "precondition-failed":
        return "definitions have changed since the plan was made; run the command again"
    if error.kind == "already-exists" and "id" in told:
        return f"the id {told['id']!r} is taken; choose another one"
    if error.kind == "archived":
        return "it is archived for good; tideline campaign duplicate ID NEW makes a new one of it"
    if error.kind == "not-targetable" and str(told.get("how", "")).startswith("POST"):
        words = (
            f"the {told['references']} {told['id']!r} is {told['state']}, and {told['state']} ones cannot be targeted"
        )
        return f"{words}. The console changes that, or tideline apply"
    return detail
