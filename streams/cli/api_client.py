"""What the commands that talk to a service's API need: a request, and its errors in words."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

from config.catalog import Catalog
from config.errors import CatalogError, Problem, SettingsError, TidelineError
from config.yaml_text import path_text

_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered."""

    text: str
    etag: str

    @property
    def data(self) -> Any:
        """As JSON."""
        return json.loads(self.text)


class ApiClient:
    """Asks one service. `key`: None where there is none."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url.rstrip("/")
        self._key = key

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
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310
                return Reply(reply.read().decode(), reply.headers.get("ETag", ""))
        except urllib.error.HTTPError as error:
            raise _refusal(self._url, error, catalog) from error
        except OSError as error:
            raise TidelineError(f"no answer from {self._url}: {error}. Does tideline api run there (--api)?") from error


def _refusal(url: str, error: urllib.error.HTTPError, catalog: Catalog | None) -> TidelineError:
    try:
        told = json.loads(error.read())
        kind, detail = str(told["type"]).rpartition(":")[2], str(told["detail"])
    except (ValueError, KeyError, TypeError):
        return TidelineError(f"{url} answered {error.code} and is no API of Tideline; --api says where that is")
    if kind in ("unauthorized", "forbidden"):
        return SettingsError(f"{url}: {detail}")
    if kind == "invalid-definition":
        lines = {} if catalog is None else {path_text(place): n for place, n in catalog.origin.lines.items()}
        problems = [Problem(lines.get(p["path"]), p["path"], p["found"], p["expected"]) for p in told["problems"]]
        return CatalogError(problems, url)
    if kind == "precondition-failed":
        detail = "definitions have changed since the plan was made; run the command again"
    return TidelineError(f"{url}: {detail}")
