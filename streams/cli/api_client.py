"""What the commands that talk to a service's API need: a request, and its errors in words."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import IO, Any, Final

from config.catalog import Catalog
from config.errors import CatalogError, Problem, SettingsError, TidelineError
from config.yaml_text import path_text

_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered."""

    text: str
    etag: str
    url: str
    """Of the service."""

    @property
    def data(self) -> Any:
        """As JSON. Raises TidelineError for anything else."""
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise _is_no_api(self.url, "what is no JSON") from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key is for one service: whoever that one leads to must not get it."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """None: the answer is an error, as every other that is no success."""
        del req, fp, code, msg, headers, newurl


class ApiClient:
    """Asks one service. `key`: None where there is none."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._opener = urllib.request.build_opener(_NoRedirects)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        catalog: Catalog | None = None,
    ) -> Reply:
        """One request. Raises SettingsError without a good key, CatalogError for definitions that are not right, with
        their lines in `catalog`, and TidelineError for every other refusal or no answer.
        """
        if self._key is None:
            raise SettingsError(f"{self._url} needs a key: set TIDELINE_API_KEY (tideline keys create makes one)")
        given = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json", **(headers or {})}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, given, method=method)  # noqa: S310  http by the settings
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as reply:
                return Reply(reply.read().decode(), reply.headers.get("ETag", ""), self._url)
        except urllib.error.HTTPError as error:
            raise _refusal(self._url, error, catalog) from error
        except UnicodeDecodeError as error:
            raise _is_no_api(self._url, "what is no text") from error
        except (OSError, http.client.HTTPException) as error:
            raise TidelineError(f"no answer from {self._url}: {error}. Does tideline api run there (--api)?") from error


def _refusal(url: str, error: urllib.error.HTTPError, catalog: Catalog | None) -> TidelineError:
    if 300 <= error.code < 400:
        where = error.headers.get("Location", "somewhere else")[:200]
        return TidelineError(f"{url} leads to {where}, and the key is not sent there; say with --api where the API is")
    try:
        told = json.loads(error.read())
        kind, detail = str(told["type"]).rpartition(":")[2], str(told["detail"])
    except (ValueError, KeyError, TypeError):
        return _is_no_api(url, str(error.code))
    except (OSError, http.client.HTTPException) as broken:
        return TidelineError(f"{url} answered {error.code}, and then nothing: {broken}")
    if kind in ("unauthorized", "forbidden"):
        return SettingsError(f"{url}: {detail}")
    if kind == "invalid-definition":
        lines = {} if catalog is None else {path_text(place): n for place, n in catalog.origin.lines.items()}
        problems = [Problem(lines.get(p["path"]), p["path"], p["found"], p["expected"]) for p in told["problems"]]
        return CatalogError(problems, url)
    if kind == "precondition-failed":
        detail = "definitions have changed since the plan was made; run the command again"
    return TidelineError(f"{url}: {detail}")


def _is_no_api(url: str, answered: str) -> TidelineError:
    return TidelineError(f"{url} answered {answered} and is no API of Tideline; --api says where that is")
