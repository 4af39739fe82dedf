"""The models that learners have made: the latest of each question, as their topic gives them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from config.catalog import Catalog
from config.errors import SnapshotRefused
from models.snapshot import ModelCodec, Snapshot
from streams.core.questions import questions_of
from streams.ports import Message

_LOG: Final = logging.getLogger(__name__)
Told = tuple[int, bytes | None, bytes | None, float]
"""A record of the topic: offset, key, value, and when the log took it (seconds since 1970; 0 for not known)."""
_OTHERS_KEPT: Final = 2
"""Of each key that no prediction has; the last may be unreadable."""


def model_key(question: str, prediction_id: str) -> str:
    """The key of a prediction's models in their topic: the same id may ask something else one day."""
    return f"{question}:{prediction_id}"


class LatestModels:
    """`latest`: key (`model_key`) -> its newest snapshot. Replaced as a whole, so that threads may read it.

    The newest is the one of the highest version, of those of the learning that began last: where the examples began
    anew, so did the versions (`PredictionSnapshot.begun_s`).

    Models of other questions are kept as they came: a catalog that asks them may come later. So it holds of each key
    that the topic has ever had one model and its bytes, or the bytes of the last two; a key is one definition of one
    prediction.
    """

    def __init__(self, catalog: Catalog, codec: ModelCodec | None = None) -> None:
        self.latest: dict[str, Snapshot] = {}
        self.offsets: dict[str, int] = {}
        """key -> where its newest model stands in the topic."""
        self._taken_s: dict[str, float] = {}
        self.refused = 0
        """Models under our own keys that could not be used."""
        self.overtaken: dict[str, bytes] = {}
        """key -> its newest model as it came, where an older one stands behind it in the topic."""
        self._codec = codec
        self._values: dict[str, bytes] = {}
        """key -> its newest model as it came."""
        self._lock = threading.RLock()
        self._names: dict[str, str] = {}
        self._others: dict[str, list[tuple[str, int, bytes, float]]] = {}
        self.use(catalog)

    def use(self, catalog: Catalog) -> None:
        """From now on the models of the predictions of `catalog` count, too."""
        with self._lock:
            for name, question in questions_of(catalog).items():
                self._names[model_key(question, name)] = name
            for key in self._names.keys() & self._others.keys():
                for topic, offset, value, log_time_s in self._others.pop(key):
                    self.take(topic, [(offset, key.encode(), value, log_time_s)])

    def versions(self) -> dict[str, int]:
        """Prediction -> version of its newest model."""
        return {name: one.version for name, one in self.by_prediction().items()}

    def by_prediction(self) -> dict[str, Snapshot]:
        """Prediction -> its newest model."""
        return {self._names[key]: one for key, one in self.latest.items()}

    def taken_s(self) -> dict[str, float]:
        """Prediction -> when the log took its newest model (seconds since 1970), where that is known."""
        return {self._names[key]: taken_s for key, taken_s in self._taken_s.items() if taken_s > 0.0}

    def take(self, topic: str, records: Iterable[Told]) -> None:
        """The next records of the topic."""
        with self._lock:
            self._take(topic, records)

    def publish_again(self, send: Callable[[Sequence[Message]], None]) -> list[str]:
        """Send once more what is overtaken, so that the newest stands last; the keys. Raises as `send` does."""
        with self._lock:
            newest = dict(self.overtaken)
        if newest:
            send([Message("models", key, value) for key, value in newest.items()])
        with self._lock:
            for key, value in newest.items():
                if self.overtaken.get(key) is value:  # else there is a newer one by now
                    del self.overtaken[key]
        return sorted(newest)

    def _take(self, topic: str, records: Iterable[Told]) -> None:
        latest, offsets, taken_s = dict(self.latest), dict(self.offsets), dict(self._taken_s)
        for offset, raw_key, value, log_time_s in records:
            # Every one: the last of a key may be unreadable, or late and older than those before it.
            if raw_key is None or value is None:
                continue
            key = raw_key.decode(errors="replace")
            if key not in self._names:
                self._others.setdefault(key, []).append((topic, offset, value, log_time_s))
                del self._others[key][:-_OTHERS_KEPT]
                continue
            try:
                snapshot = Snapshot.from_bytes(value, codec=self._codec)
            except SnapshotRefused as error:
                # It would end every worker at every start. The model before it still serves, and the next one mends it.
                self.refused += 1
                words, name = "%s at offset %d: the model of %s cannot be used: %s", self._names[key]
                _LOG.error(words, topic, offset, name, error, extra={"offset": offset, "prediction": name})
                continue
            if key not in latest or snapshot.age > latest[key].age:
                latest[key], offsets[key], taken_s[key] = snapshot, offset, log_time_s
                self._values[key] = value
            if snapshot.age < latest[key].age:
                self.overtaken[key] = self._values[key]
            else:
                self.overtaken.pop(key, None)
        self.latest, self.offsets, self._taken_s = latest, offsets, taken_s
