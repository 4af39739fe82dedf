"""Predictions and segments made through the API, in Redis. `docs/redis.md` describes the keys."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from config.catalog import Catalog
from config.definitions import Definitions
from config.errors import CatalogError
from config.loader import loads
from config.written import to_yaml
from streams.adapters.definition_store import (
    Change,
    Kept,
    Past,
    Step,
    definitions_of,
    kept_of,
    read_changes,
    write_of,
)
from streams.adapters.documents import Answer, Place, foreign
from streams.adapters.redis_document import RedisDocument
from streams.adapters.redis_keys import definitions_key, past_key
from streams.adapters.redis_store import WaitFor


class RedisDefinitions:
    """The definitions below a prefix. May be used by several threads.

    Every method raises StoreUnavailable when the server does not answer, other StoreErrors when it refuses, and
    StoreIncompatible for what another version has written and this one cannot read.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "tl",
        history: int = 10_000,
        wait_for: WaitFor | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        """`history`: so many changes are remembered. `wait_for`: the copies that a change has to have."""
        key = partial(definitions_key, prefix)
        self._document = RedisDocument(url, key, history=history, wait_for=wait_for, timeout_s=timeout_s)
        self._parsed: tuple[bytes, Catalog] | None = None
        """The file as it was read last: parsing a large one takes a second."""
        self._past, self._file = past_key(prefix), definitions_key(prefix, "file")

    def revision(self) -> int:
        """0 before the first change, and one more with each. One small question."""
        return self._document.revision()

    def read(self) -> Definitions:
        """All definitions as of one revision."""
        return definitions_of(self.kept())

    def kept(self) -> Kept:
        """The same with what is known of each."""
        return kept_of(*self._document.read())

    def write(self, expected: int, steps: Sequence[Step], answer: Answer | None = None) -> None:
        """Make changes to the definitions of revision `expected`, all or nothing; with an answer it is kept for a day.

        Without steps only the answer is kept, and the revision stays.
        After a lost reply (StoreUnavailable) they may have been made or not. Raises DefinitionsChanged where another
        change was first, AnsweredBefore where the answer's question was answered before.
        """
        self._document.write(expected, write_of(steps), answer)

    def answered(self, asked: str) -> Answer | None:
        """What was answered to that question within the last day."""
        return self._document.answered(asked)

    def history(self, before: Place | None, limit: int) -> list[tuple[Place, Change]]:
        """At most `limit` changes, the latest first; only those before a place, if one is given."""
        return read_changes(self._document.history(before, limit))

    def past(self) -> Past | None:
        """How far the workers are with learning from the log; None where nothing had to be learned from it."""
        found = self._document.ask("GET", self._past)
        try:
            return None if found is None else msgspec.json.decode(found, type=Past)
        except msgspec.DecodeError as error:
            raise foreign(error) from error

    def tell_past(self, past: Past) -> None:
        """What `past` says from now on."""
        self._document.ask("SET", self._past, msgspec.json.encode(past))

    def tell_file(self, catalog: Catalog) -> None:
        """Write down what the catalog file says, for those who only have the store; workers do at their start."""
        self._document.ask("SET", self._file, to_yaml(catalog))

    def file(self) -> Catalog | None:
        """The catalog file of the service; None before any worker has told it."""
        found = self._document.ask("GET", self._file)
        if found is None:
            return None
        parsed = self._parsed
        if parsed is None or parsed[0] != found:
            try:
                self._parsed = parsed = found, loads(found.decode(), "the catalog file")
            except CatalogError as error:
                raise foreign(error) from error
        return parsed[1]

    def close(self) -> None:
        """Give the connections back."""
        self._document.close()
