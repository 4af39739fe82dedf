"""How far workers are with learning predictions from the kept events."""

from __future__ import annotations

from typing import NamedTuple

from streams.adapters.definition_store import DefinitionStore


class Learning(NamedTuple):
    """Events that are read, of how many."""

    records: int
    of: int
    has_failed: bool


def learning_of(store: DefinitionStore) -> dict[str, Learning]:
    """Of those that are learned from history, by their ids. Raises StoreError."""
    past = store.past()
    if past is None:
        return {}
    return dict.fromkeys(past.predictions, Learning(past.records, past.of, past.phase == "failed"))
