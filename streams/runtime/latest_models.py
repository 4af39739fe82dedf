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
_Came = tuple[str, int, bytes, float]
"""A model as it came: topic, offset, value, and when the log took it."""
Age = tuple[float, int]
"""Of a snapshot: what is newer is greater (`PredictionSnapshot.age`)."""
TIMES_KEPT: Final = 100
"""Of each key: when so many of its latest models came, about four days of them."""
_OTHERS_KEPT: Final = 2
"""Of each key that no prediction has; the last may be unreadable."""
OTHERS_BYTES: Final = 64 << 20
"""Of all models under keys that no prediction has; beyond it those go that the topic has told of longest ago."""


def model_key(question: str, prediction_id: str) -> str:
    """The key of a prediction's models in their topic: the same id may ask something else one day."""
    return f"{question}:{prediction_id}"


class _Others:
    """Models under keys that no prediction has, as they came."""

    def __init__(self) -> None:
        self._kept: dict[str, list[_Came]] = {}
        """The key that was told of longest ago comes first."""
        self._bytes = 0

    def add(self, key: str, came: _Came) -> None:
        """One more; the oldest ones go where there are too many."""
        told = [*self.pop(key), came][-_OTHERS_KEPT:]
        self._kept[key] = told
        self._bytes += _size(told)
        while self._bytes > OTHERS_BYTES and len(self._kept) > 1:
            gone = next(iter(self._kept))
            self.pop(gone)
            _LOG.warning(
                "models of definitions that are not in force take more than %d MiB, so %s is not kept in memory. Where "
                "a prediction is defined so again, it goes on with the next model of its learner",
                OTHERS_BYTES >> 20,
                gone,
            )

    def pop(self, key: str) -> list[_Came]:
        """Those of a key, which are kept no more; none if there were none."""
        told = self._kept.pop(key, [])
        self._bytes -= _size(told)
        return told


def _size(told: Sequence[_Came]) -> int:
    return sum(len(value) for _, _, value, _ in told)


class LatestModels:
    """`latest`: key (`model_key`) -> its newest snapshot. Replaced as a whole, so that threads may read it.

    The newest is the one of the highest version, of those of the learning that began last: where the examples began
    anew, so did the versions (`PredictionSnapshot.begun_s`).

    Those of the predictions that the latest catalog asks for, and of the one before: shards change over one by one.
    Models of other questions are kept as they came, since a catalog that asks them may come later, or again: of each
    key the last two, of all together `OTHERS_BYTES`. So memory has a bound, however many definitions there ever were.
    """

    def __init__(self, catalog: Catalog, codec: ModelCodec | None = None) -> None:
        self.latest: dict[str, Snapshot] = {}
        self.offsets: dict[str, int] = {}
        """key -> where its newest model stands in the topic."""
        self._taken: dict[str, tuple[tuple[Age, float], ...]] = {}
        """key -> of its latest models, the newest last: how new each is, and when the log took it."""
        self.refused = 0
        """Models under our own keys that could not be used."""
        self.overtaken: dict[str, bytes] = {}
        """key -> its newest model as it came, where an older one stands behind it in the topic."""
        self._codec = codec
        self._values: dict[str, bytes] = {}
        """key -> its newest model as it came."""
        self._topic = ""
        """Which it was told of last."""
        self._lock = threading.RLock()
        self._asked: dict[str, str] = {}
        """key -> prediction, of the latest catalog."""
        self._names: dict[str, str] = {}
        """The same of the catalog before it, too; those of the latest one come last."""
        self._others = _Others()
        self.use(catalog)

    def use(self, catalog: Catalog) -> None:
        """From now on the models of the predictions of `catalog` count, and still those of the catalog before it."""
        with self._lock:
            asked = {model_key(question, name): name for name, question in questions_of(catalog).items()}
            before = {key: name for key, name in self._asked.items() if key not in asked}
            self._asked, self._names = asked, before | asked
            self._retire([key for key in self.latest if key not in self._names])
            for key in self._names:
                for topic, offset, value, log_time_s in self._others.pop(key):
                    self.take(topic, [(offset, key.encode(), value, log_time_s)])

    def _retire(self, keys: Sequence[str]) -> None:
        """No prediction has these keys any more. A shard that is late keeps the model that it has in force."""
        for key in keys:
            self._others.add(key, (self._topic, self.offsets[key], self._values.pop(key), self._taken[key][-1][1]))
            self.overtaken.pop(key, None)
        self.latest = {key: one for key, one in self.latest.items() if key not in keys}
        self.offsets = {key: offset for key, offset in self.offsets.items() if key not in keys}
        self._taken = {key: taken for key, taken in self._taken.items() if key not in keys}

    def versions(self) -> dict[str, int]:
        """Prediction -> version of its newest model."""
        return {name: one.version for name, one in self.by_prediction().items()}

    def by_prediction(self) -> dict[str, Snapshot]:
        """Prediction -> its newest model."""
        latest = self.latest
        return {name: latest[key] for key, name in self._names.items() if key in latest}

    def taken_s(self) -> dict[str, float]:
        """Prediction -> when the log took its newest model (seconds since 1970), where that is known."""
        last_s = {key: taken[-1][1] for key, taken in self._taken.items()}
        return {name: last_s[key] for key, name in self._names.items() if last_s.get(key, 0.0) > 0.0}

    def taken_since_s(self, key: str, age: Age) -> float | None:
        """When the log took the model of this age; of one that is older than those that are known, when it took the
        first newer one. Seconds since 1970; None where that is not known.
        """
        found = next((taken_s for known, taken_s in self._taken.get(key, ()) if known >= age), 0.0)
        return found or None

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
        self._topic = topic
        latest, offsets, taken = dict(self.latest), dict(self.offsets), dict(self._taken)
        for offset, raw_key, value, log_time_s in records:
            # Every one: the last of a key may be unreadable, or late and older than those before it.
            if raw_key is None or value is None:
                continue
            key = raw_key.decode(errors="replace")
            if key not in self._names:
                self._others.add(key, (topic, offset, value, log_time_s))
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
                latest[key], offsets[key] = snapshot, offset
                taken[key] = (*taken.get(key, ())[1 - TIMES_KEPT :], (snapshot.age, log_time_s))
                self._values[key] = value
            if snapshot.age < latest[key].age:
                self.overtaken[key] = self._values[key]
            else:
                self.overtaken.pop(key, None)
        self.latest, self.offsets, self._taken = latest, offsets, taken
