"""Styles, scripts and pictures of the console: read once, named by what is in them, so that browsers may keep them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from starlette.responses import Response

_FOLDER: Final = Path(__file__).parent / "static"
_MEDIA: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_DIGITS: Final = 12
_KEPT: Final = {"Cache-Control": "public, max-age=31536000, immutable"}


class StaticFile(NamedTuple):
    """One file as it is served."""

    name: str
    """With a part of the hash of its content: another content has another name."""
    media: str
    content: bytes


class StaticFiles:
    """All of them, in memory: they are few and small."""

    def __init__(self, base: str, folder: Path = _FOLDER) -> None:
        """`base`: the address below which they are served."""
        self._base = base
        self._by_given = dict(_read(folder))
        self._by_name = {file.name: file for file in self._by_given.values()}

    def address(self, given: str) -> str:
        """Where a file is served. Raises KeyError for one that is not there."""
        return f"{self._base}/{self._by_given[given].name}"

    def response(self, name: str) -> Response | None:
        """The file with that hashed name; None where there is none."""
        file = self._by_name.get(name)
        return None if file is None else Response(file.content, 200, _KEPT, file.media)


def _read(folder: Path) -> Iterator[tuple[str, StaticFile]]:
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        hashed = hashlib.sha256(content).hexdigest()[:_DIGITS]
        yield path.name, StaticFile(f"{path.stem}.{hashed}{path.suffix}", _MEDIA[path.suffix], content)
