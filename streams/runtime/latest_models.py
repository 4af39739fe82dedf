"""The models that learners have made: the latest of each prediction, as their topic gives them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from config.errors import SnapshotRefused
from models.snapshot import ModelCodec, Snapshot

_LOG: Final = logging.getLogger(__name__)


class LatestModels:
    """`latest`: prediction index -> its newest snapshot. Replaced as a whole, so that threads may read it.

    `digest` is the catalog's: models of another one are left alone.
    """

    def __init__(
        self, *, digest: str, predictions: tuple[str, ...], features: int, codec: ModelCodec | None = None
    ) -> None:
        self.names = predictions
        self.latest: dict[int, Snapshot] = {}
        self.offsets: dict[int, int] = {}
        """prediction index -> where its newest model stands in the topic."""
        self.refused = 0
        """Models under our own keys that could not be used."""
        self._keys = {f"{digest}:{name}".encode(): p for p, name in enumerate(predictions)}
        self._features = features
        self._codec = codec

    def take(self, topic: str, records: Iterable[tuple[int, bytes | None, bytes | None]]) -> None:
        """The next records of the topic: (offset, key, value)."""
        latest, offsets = dict(self.latest), dict(self.offsets)
        for offset, key, value in records:
            # Every one: the last of a key may be unreadable, or late and older than those before it.
            p = self._keys.get(key) if key is not None else None
            if p is None or value is None:
                continue
            try:
                snapshot = Snapshot.from_bytes(value, self._features, self._codec)
            except SnapshotRefused as error:
                # It would end every worker at every start. The model before it still serves, and the next one mends it.
                self.refused += 1
                _LOG.error("%s at offset %d: the model of %s cannot be used: %s", topic, offset, self.names[p], error)
                continue
            if p not in latest or snapshot.version > latest[p].version:
                latest[p], offsets[p] = snapshot, offset
        self.latest, self.offsets = latest, offsets
