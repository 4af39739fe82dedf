"""How what was read of the past joins the live stream: first the learner takes over what was learned, then every shard
what was counted. Each is one commit, so a stop between any two is safe: what was not joined is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from config.catalog import Catalog
from models.snapshot import Snapshot
from streams.core.shard import Shard
from streams.runtime.history import PastLearner
from streams.runtime.records import Record


@dataclass(frozen=True, slots=True)
class JoiningShard:
    """One shard that has read its partition under the live one's catalog up to `offset`, for that to take over."""

    offset: int
    load: Callable[[], Shard]
    """Gives the shard, where it stood when it was learned from."""
    records: Callable[[int, int], Iterator[Sequence[Record]]]
    """Gives the records of the partition between two offsets."""
    predictions: frozenset[str]
    """Those that the learner has taken over."""
    versions: Mapping[str, int]
    """Of their models, as the live learners count them."""
    begun_s: Mapping[str, float] = field(default_factory=dict)
    """When those learners began (`PredictionSnapshot.begun_s`): their models of before are not newer than these."""

    @property
    def words(self) -> str:
        """What to say of it in the log."""
        return ", ".join(sorted(self.predictions)) or "what was counted"

    def number_models(self, shard: Shard) -> None:
        """Lock-step numbers models by hours, a service by their places in the log: later ones must be newer."""
        snapshot = shard.snapshot
        names = shard.definitions.prediction_ids
        predictions = tuple(
            replace(one, version=self.versions.get(name, one.version), begun_s=self.begun_s.get(name, one.begun_s))
            for name, one in zip(names, snapshot.predictions, strict=True)
        )
        shard.snapshot = Snapshot(snapshot.version, predictions, snapshot.counts, snapshot.names)


@dataclass(frozen=True, slots=True)
class JoiningLearner:
    """What was learned of all shards together, for a live learner to take over."""

    id: str
    """Of the reading: no other has the same."""
    predictions: frozenset[str]
    """Those that are to be taken over."""
    learned: PastLearner


class Pasts(Protocol):
    """Gives shards and the learner what was read of the past. Any thread may ask."""

    @property
    def are_coming(self) -> bool:
        """Whether what is not complete will be read: until then nobody learns of it."""

    def of_shard(self, shard: int, catalog: Catalog) -> JoiningShard | None:
        """What shard `shard` has to take over; None as long as there is nothing (for this catalog)."""

    def of_learner(self, partition: int, catalog: Catalog) -> JoiningLearner | None:
        """What the learner of a partition of the examples has to take over, or has taken over already."""

    def learner_joined(self, partition: int, reading: str, version: int, begun_s: float) -> None:
        """It has taken it over, durably; models that it makes from now on have higher versions than this, and
        `begun_s` (`PredictionSnapshot.begun_s`).
        """


class NoPasts:
    """Nothing is read."""

    are_coming = False

    def of_shard(self, shard: int, catalog: Catalog) -> None:
        """Nothing."""

    def of_learner(self, partition: int, catalog: Catalog) -> None:
        """Nothing."""

    def learner_joined(self, partition: int, reading: str, version: int, begun_s: float) -> None:
        """Never."""
