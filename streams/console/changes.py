"""Who changed a definition, and when: its history, as pages show it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from config.definitions import Kind as What
from streams.adapters.definition_store import Change, DefinitionStore, Place
from streams.api.auth import KeyStore
from streams.api.views import time_text

_SHOWN: Final = 20
_PAGE: Final = 50
_LOOKED: Final = 1_000
"""Changes that are looked at: where many other definitions were changed since, the oldest of one are not shown."""


class ChangeRow(NamedTuple):
    """One change."""

    at: str | None
    """RFC 3339, UTC."""
    who: str
    """The name of the key, or its id where it is not known any more."""
    action: str
    """Of `Texts.actions`."""
    change: Change


class Changes(NamedTuple):
    """The latest first."""

    rows: list[ChangeRow]
    is_whole: bool
    """False where there may be older ones."""


def changes_of(store: DefinitionStore, keys: KeyStore, kind: What, id_: str) -> Changes:
    """Of one definition. Raises StoreError."""
    rows: list[ChangeRow] = []
    names: dict[str, str] = {}
    for looked, change in enumerate(_all(store)):
        if looked == _LOOKED or len(rows) == _SHOWN:
            return Changes(rows, is_whole=False)
        if (change.kind, change.id) != (kind, id_):
            continue
        if change.key_id not in names:
            known = keys.find(change.key_id)
            names[change.key_id] = change.key_id if known is None or not known.record.name else known.record.name
        rows.append(ChangeRow(time_text(change.at_s), names[change.key_id], change.action, change))
    return Changes(rows, is_whole=True)


def _all(store: DefinitionStore) -> Iterator[Change]:
    before: Place | None = None
    while page := store.history(before, _PAGE):
        yield from (change for _, change in page)
        before = page[-1][0]
