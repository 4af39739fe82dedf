"""A shard and its learner in lock-step: at every whole hour of event time the learner learns what has matured,
and its snapshot is in force before anything else happens. So a run repeats exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from config.catalog import Catalog
from models.examples import ExampleChunk
from models.learner import Learner, prediction_specs
from models.snapshot import ModelCodec
from streams.core.events import BadEvent, Event
from streams.core.ledger import KeySource
from streams.core.questions import kept_predictions
from streams.core.redefine import Past, redefined
from streams.core.saving import Saver
from streams.core.shard import Shard, Stop
from streams.ports import CommitBatch, Loaded

LEARNER_PREFIX = "learner:"


class LockStep:
    """One shard with its learner.

    `on_chunk` sees every chunk of matured examples before it is learned (for evaluation). `codec` signs
    models that are not numbers; without one, saving such a model raises SnapshotRefused.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        generation: str = "0",
        shard: int = 0,
        codec: ModelCodec | None = None,
        on_chunk: Callable[[ExampleChunk], None] | None = None,
        learner: Learner | None = None,
        ledger_key: KeySource = b"",
    ) -> None:
        self.catalog = catalog
        self.shard = Shard(catalog, shard=shard, generation=generation, ledger_key=ledger_key)
        # The learner's columns carry the names known from the catalog alone, so that they are the same at every start.
        names = self.shard.vocabulary.feature_names()
        self.learner = learner or Learner(prediction_specs(catalog), names, codec)
        self.saver = Saver(self.shard, codec)
        self._codec = codec
        self.on_chunk = on_chunk

    @classmethod
    def load(
        cls,
        catalog: Catalog,
        loaded: Loaded,
        *,
        generation: str,
        shard: int,
        codec: ModelCodec | None,
        ledger_key: KeySource = b"",
    ) -> LockStep:
        """The pair as the last commit left it; a fresh one when there was none."""
        engine = cls(catalog, generation=generation, shard=shard, codec=codec, ledger_key=ledger_key)
        if not loaded.blobs:
            return engine
        fields = {
            name.removeprefix(LEARNER_PREFIX): data
            for name, data in loaded.blobs.items()
            if name.startswith(LEARNER_PREFIX)
        }
        names = engine.shard.vocabulary.feature_names()
        engine.learner = Learner.load(prediction_specs(catalog), names, fields, codec)
        engine.saver.load(loaded.blobs, loaded.rows, loaded.appended, loaded.remembered, loaded.deleted)
        return engine

    def redefine(self, catalog: Catalog, *, generation: str, past: LockStep | None = None, whole: bool = True) -> None:
        """Go on under another catalog (`streams.core.redefine`), between two batches. All of it has to be saved anew.

        `past` has taken the same inputs under `catalog`, from their beginning if `whole`. It is used up.
        """
        kept = kept_predictions(self.catalog, catalog)
        old, theirs = self.shard, None if past is None else Past(past.shard, whole)
        self.shard = redefined(old, catalog, generation=generation, past=theirs)
        names = self.shard.vocabulary.feature_names()
        learner = Learner(prediction_specs(catalog), names, self._codec)
        learner.adopt(self.learner, kept, _places(names, old))
        if past is not None:
            learner.adopt(past.learner, set(catalog.predictions) - set(kept), _places(names, past.shard))
        self.catalog, self.learner, self.saver = catalog, learner, Saver(self.shard, self._codec)

    def take(
        self,
        items: Sequence[Event | BadEvent],
        until_s: float = math.nan,
        save: Callable[[], None] | None = None,
    ) -> None:
        """Take a batch, then advance to `until_s` (NaN: stay at the last event).

        `save` is called in the middle of it, between two minutes, when so much has changed that a commit is due.
        """
        shard = self.shard
        shard.feed(items)
        while (stop := shard.run(until_s, may_save=save is not None)) is not Stop.DONE:
            if stop is Stop.HOUR:
                self._work_hour()
            if save is not None and shard.save_is_due:
                save()

    def _work_hour(self) -> None:
        for chunk in self.shard.matured():
            if self.on_chunk is not None:
                self.on_chunk(chunk)
            self.learner.learn(chunk)
        if self.shard.needs_snapshot:
            self.shard.apply(self.learner.snapshot(self.shard.hour, self.shard.counts()))

    def effects(self, number: int, position: bytes) -> CommitBatch:
        """Everything that changed since the last call, of shard and learner, as one commit."""
        self.shard.note_items()
        batch = self.saver.take_effects(number, position)
        for name, data in self.learner.take_changes().items():
            batch.blobs[LEARNER_PREFIX + name] = data
        return batch


def _places(names: Sequence[str], source: Shard) -> list[int]:
    """Where features stand in `source`; -1 for one that it does not have."""
    place = {name: j for j, name in enumerate(source.vocabulary.feature_names())}
    return [place.get(name, -1) for name in names]
