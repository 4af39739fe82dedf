"""Which dead letters are about a user, so that they can go when the user is deleted.

Each is read once, however many users are asked for.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from itertools import islice
from typing import Any, Final

import msgspec

from config.catalog import Catalog, NdjsonInput
from streams.core.events import BadEvent

_ID_FIELDS: Final = ("userId", "anonymousId", "user")
"""Where JSON records name their user; `user` in those that are written down as an `Event`."""
_BYTE: Final = rb"[^\s,;:\"'{}\[\]()<>=&|/\\]"
"""What an id may stand beside in text that is no JSON and still be another one."""
_WORDS: Final = re.compile(_BYTE + rb"+")
MOST_WORDS: Final = 64
_ESCAPE: Final = re.compile(rb"\\u[0-9a-fA-F]{4}")
_NOT_READ: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Broken JSON, text that is no UTF-8, and what is nested so deeply that it cannot be walked through."""


class _Letter(msgspec.Struct):
    detail: str
    raw: str | None = None
    raw_base64: str = ""


def id_fields(catalog: Catalog) -> tuple[str, ...]:
    """Dotted paths at which JSON records name their user, in whatever form they come."""
    mapped = (catalog.input.user,) if isinstance(catalog.input, NdjsonInput) else ()
    return (*_ID_FIELDS, *mapped)


class Named:
    """Finds who of `users` is named by records. `fields`: dotted paths of what holds ids in JSON records; with none,
    whoever stands anywhere is named.
    """

    def __init__(self, users: Iterable[str], fields: Iterable[str] = ()) -> None:
        self.users = frozenset(users)
        self._paths = [field.split(".") for field in fields]
        self._alone: dict[bytes, re.Pattern[bytes]] = {}

    def in_record(self, raw: bytes) -> frozenset[str]:
        """Who the bytes of a record are about.

        In a JSON object that is whoever stands where ids do, and if nobody does, whoever is named anywhere: rather too
        much than too little. In other bytes it is everybody whose id is a word of its own.
        """
        if not self.users:
            return frozenset()
        try:
            value = msgspec.json.decode(raw)
            return self.users & (_ids(value, self._paths) or set(_texts(value)))
        except _NOT_READ:
            return self._in_text(raw)

    def in_letter(self, letter: bytes) -> frozenset[str]:
        """Who a dead letter as it is stored (`BadEvent.to_json`) is about."""
        try:
            found = msgspec.json.decode(letter, type=_Letter)
        except _NOT_READ:  # none of ours, but about somebody all the same
            return self.in_record(letter)
        raw = base64.b64decode(found.raw_base64) if found.raw is None else found.raw.encode()
        return self.in_record(raw) if raw else frozenset()

    def _in_text(self, raw: bytes) -> frozenset[str]:
        text = _ESCAPE.sub(lambda found: found[0].lower(), raw)
        words = {b"", *_WORDS.findall(text)} & self._by_word.keys()
        return frozenset(
            user for word in words for spelling, user in self._by_word[word] if self._stands(spelling, text)
        )

    @cached_property
    def _by_word(self) -> dict[bytes, list[tuple[bytes, str]]]:
        return _by_rarest_word(self.users)

    def _stands(self, spelling: bytes, text: bytes) -> bool:
        """Whether it is there as a word of its own."""
        if spelling not in self._alone:
            self._alone[spelling] = re.compile(rb"(?<!%b)%b(?!%b)" % (_BYTE, re.escape(spelling), _BYTE))
        return self._alone[spelling].search(text) is not None


def ids_in(raw: bytes, fields: Iterable[str]) -> set[str]:
    """What may be an id in the bytes of a record; at most MOST_WORDS where nothing stands where ids do."""
    try:
        value = msgspec.json.decode(raw)
        return _ids(value, [field.split(".") for field in fields]) or set(islice(_texts(value), MOST_WORDS))
    except _NOT_READ:
        return {found[0].decode("utf-8", "replace") for found in islice(_WORDS.finditer(raw), MOST_WORDS)}


def is_about(raw: bytes, user: str) -> bool:
    """Whether bytes name the user anywhere."""
    return bool(Named([user]).in_record(raw))


def without_bytes(bad: BadEvent) -> BadEvent:
    """The dead letter of a user who is deleted before it is stored: that there was one, and why."""
    return BadEvent(bad.reason, "its bytes went with a deleted user", bad.position, b"", bad.source)


def _by_rarest_word(users: Iterable[str]) -> dict[bytes, list[tuple[bytes, str]]]:
    """Where bytes are no JSON, an id is looked for only where one of its words stands: the one that the fewest of these
    ids have. By that word ("" for an id without any): how the id is written, and whose it is.
    """
    spellings = [(spelling, user) for user in users for spelling in {_plain(user), _escaped(user)} - {b""}]
    words = [set(_WORDS.findall(spelling)) for spelling, _ in spellings]
    times = Counter(word for some in words for word in some)
    found: dict[bytes, list[tuple[bytes, str]]] = {}
    for written, some in zip(spellings, words, strict=True):
        found.setdefault(min(some, key=lambda word: (times[word], word), default=b""), []).append(written)
    return found


def _plain(user: str) -> bytes:
    return user.encode("utf-8", "surrogatepass")


def _escaped(user: str) -> bytes:
    """As ASCII JSON writes it, without the quotes."""
    return json.dumps(user)[1:-1].encode()


def _ids(value: Any, paths: Iterable[list[str]]) -> set[str]:
    """What stands in a JSON value where ids do."""
    return {_text_of(_at(value, path)) for path in paths} - {""}


def _at(value: Any, path: list[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text_of(value: Any) -> str:
    """An id as it would be read; "" for what is none."""
    if isinstance(value, str):
        return value
    return f"{value}" if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _texts(value: Any) -> Iterable[str]:
    """All texts and numbers in a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    else:
        yield _text_of(value)
