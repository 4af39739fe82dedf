"""The learner of some predictions on a live stream, over the ports alone: chunks in, snapshots out.

One partition of the examples topic holds all chunks of a prediction, in the order in which they are learned. State and
position are stored in one commit, snapshots go out as its messages, and the version of a snapshot follows from its
place in the log: whoever learns it, and however often, comes to the same.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from config.catalog import Catalog
from config.errors import Fenced, ModelError
from models.chunk_message import ChunkMessage
from models.jit import I64
from models.learner import Learner, prediction_specs
from models.snapshot import BINS, ModelCodec, Snapshot, Status
from streams.commit import commit_batch, patiently, publish_outbox, until_let_go
from streams.core.questions import kept_predictions, questions_of
from streams.ports import MAX_MESSAGE_BYTES, Claim, CommitBatch, Loaded, Message
from streams.runtime.about import CATALOG_BLOB, about_blobs
from streams.runtime.births import Followed
from streams.runtime.definitions import FixedCatalog, Wanted
from streams.runtime.drift import Baselines
from streams.runtime.history import PastLearner, counts_of
from streams.runtime.joining import JoiningLearner, NoPasts, Pasts
from streams.runtime.judged_figures import JudgedFigures, WarmingUp, lately
from streams.runtime.latest_models import model_key
from streams.runtime.learned_features import LearnedFeatures, learner_fields
from streams.runtime.lockstep import LEARNER_PREFIX
from streams.runtime.records import Position, Record
from streams.runtime.shard_run import Ports
from streams.runtime.since import catalog_of
from streams.runtime.whole import check_whole
from streams.runtime.witness import Witness

_LOG: Final = logging.getLogger(__name__)

COUNTS_PREFIX = "counts:"
MARKS_BLOB = "marks"


BEGUN_BLOB: Final = "begun"
"""When the log took the first examples that the learner has seen, or the last ones that it has passed over because they
are of another store; a blob of its own, which earlier releases leave."""
_BEGUN: Final = struct.Struct("<d")


class _Marks(msgspec.Struct):
    """Per prediction: where its last snapshot stood in the log, and whether every shard serves its model."""

    snapshot_at: dict[str, int] = {}
    live: list[str] = []
    first_at: dict[str, int] = {}
    """Where the first chunk of its question stood. Where a past is taken over, chunks since then may lie behind it."""
    joined: tuple[str, int] | None = None
    """The reading of the past that was taken over last, and where it stood in the log then."""
    births: dict[int, list[str]] = {}
    """Shard -> the births of its store that were learned from, the latest one last (`streams.runtime.births`)."""


class LearnerRun:
    """The learner of partition `partition` of the examples topic.

    A prediction gets a snapshot whenever one of its chunks is the first at or past a multiple of `every` offsets.
    `wanted` says under which catalog it goes on; `catalog` is the one of the memory. Chunks and snapshots name the
    question of their prediction: what answers another one is left alone. `source` names the partition where something
    is wrong with a record.
    """

    def __init__(
        self,
        wanted: Catalog | Wanted,
        ports: Ports,
        *,
        partition: int,
        every: int,
        codec: ModelCodec | None = None,
        source: str = "",
        pasts: Pasts | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"a snapshot every {every} offsets: expected 1 or more")
        self._wanted = FixedCatalog(wanted) if isinstance(wanted, Catalog) else wanted
        self.catalog = self._wanted.catalog
        self.number = partition
        self.learned_chunks = 0
        self.foreign_chunks = 0
        """Chunks of other questions in the same topic, which were left out."""
        self.replaced_chunks = 0
        """Chunks of stores that others have taken the place of, which were left out."""
        self.refused_chunks = 0
        """Records that are no chunk which can be learned; they were left out, as gaps are."""
        self.set_backs = 0
        """How often the store was found to have gone back in time."""
        self._ports = ports
        self._source = source or f"partition {partition} of the examples"
        self._every = every
        self._codec = codec
        self._pasts = pasts or NoPasts()
        self.judged: dict[str, JudgedFigures] = {}
        """Prediction -> as of its last snapshot, and of the load before the first one; replaced as a whole."""
        self._begun_s = math.nan
        self._baselines: Baselines
        self._features: LearnedFeatures
        self._stored: set[str] = set()
        """Names of the learner's parts that the store has."""
        self._saves_catalog = False
        self._may_look = True
        """Whether it was not looked yet, in this batch, if something was defined."""
        self._claim: Claim | None = None
        self._learner: Learner | None = None
        self._known_number: int | None = None
        self._trim = 0
        self.position = Position()

    @property
    def learner(self) -> Learner:
        """Raises RuntimeError before `assign` and after `drop`."""
        if self._learner is None:
            raise RuntimeError(f"the learner of partition {self.number} is not loaded")
        return self._learner

    @property
    def is_loaded(self) -> bool:
        return self._learner is not None

    def assign(self, witness: Witness | None = None) -> Position:  # noqa: ARG002  snapshots are numbered by the log itself
        """Take the partition, as `ShardRun.assign` does."""
        try:
            return self._assign()
        except BaseException:
            self.drop()
            raise

    def _assign(self) -> Position:
        ports = self._ports
        patience = until_let_go(ports.patience, ports.is_let_go)
        claim, loaded = patiently(patience, self._load_once)
        if self._known_number is not None and claim.number < self._known_number:
            self.set_backs += 1
        self._claim, self._known_number = claim, claim.number
        self._trim = publish_outbox(ports.sink, claim, loaded, patience, courier=ports.courier)
        self.position = Position.from_bytes(claim.position)
        return self.position

    def _load_once(self) -> tuple[Claim, Loaded]:
        """One attempt from the claim to the last byte, with a claim of its own."""
        ports = self._ports
        claim = ports.store.claim(self.number, new_generation=ports.new_generation(), last_number=self._known_number)
        loaded = ports.store.load(claim)
        check_whole(claim, loaded)
        blobs = loaded.blobs
        self._use(catalog_of(blobs, self._wanted.catalog))
        self._features = LearnedFeatures.of(blobs, self.catalog)
        fields = learner_fields(blobs)
        names = self._features.built
        self._learner = Learner.load(prediction_specs(self.catalog), names, fields, self._codec, accept_gaps=True)
        self._stored, self._saves_catalog = set(fields), CATALOG_BLOB not in blobs
        self._counts: dict[tuple[str, int], tuple[bool, I64]] = {}
        for name, data in blobs.items():
            if name.startswith(COUNTS_PREFIX) and data:
                prediction, _, shard = name.removeprefix(COUNTS_PREFIX).rpartition(":")
                self._counts[prediction, int(shard)] = data[:1] == b"1", np.frombuffer(data, "<i8", BINS, 1).copy()
        self._marks = msgspec.msgpack.decode(blobs[MARKS_BLOB], type=_Marks) if MARKS_BLOB in blobs else _Marks()
        self._followed = Followed(self._marks.births, None if ports.birth_of is None else self._birth_of)
        self._has_told_replaced = False
        self._begun_s = _begun_s(blobs)
        self._baselines = Baselines(blobs)
        self.judged = {name: self._judge(name) for name in self._ids}
        for _ in loaded.rows:  # none; the check at their end is what is wanted: the claim still holds
            pass
        return claim, loaded

    def _use(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._ids = {name: p for p, name in enumerate(catalog.predictions)}
        self._questions = questions_of(catalog)

    def drop(self) -> None:
        """Forget the memory."""
        self._learner = None
        self.judged = {}

    def _go_on_under(self, catalog: Catalog, batch: CommitBatch) -> None:
        """Predictions that ask the same go on, the others begin anew. It is stored with `batch`.

        Features stay as they are until a chunk brings those of the new catalog (`_fit`).
        """
        kept = set(kept_predictions(self.catalog, catalog))
        names = self.learner.feature_names
        learner = Learner(prediction_specs(catalog), names, self._codec, accept_gaps=True)
        learner.adopt(self.learner, kept, range(len(names)))
        for place in [place for place in self._counts if place[0] not in kept]:
            del self._counts[place]
            batch.blobs[f"{COUNTS_PREFIX}{place[0]}:{place[1]}"] = b""
        for name in self._ids.keys() - kept:
            batch.blobs.update(self._baselines.forget(name))
        self._marks.snapshot_at = {name: at for name, at in self._marks.snapshot_at.items() if name in kept}
        self._marks.first_at = {name: at for name, at in self._marks.first_at.items() if name in kept}
        self._marks.live = [name for name in self._marks.live if name in kept]
        self._learner, self._saves_catalog = learner, True
        self._use(catalog)
        self.judged = {name: judged for name, judged in self.judged.items() if name in kept}
        _LOG.info("%s: the learner goes on under another catalog", self._source)

    def step(self, records: Sequence[Record]) -> None:
        """Learn a batch of chunks and commit. Whatever it raises, the memory is dropped.

        A record that is no chunk, or one of another format, is told and left out: it would end every worker at every
        start. Raises ModelError for a model that does not fit into a message, Fenced also where chunks that were read
        already have to be read again, and what `commit_batch` does.
        """
        catalog = self._wanted.catalog
        past = self._pasts.of_learner(self.number, catalog)
        try:
            if past is not None and not self._has_joined(past):
                self._take_over(past, catalog)
            if records:
                self._learn(records, catalog)
        except BaseException:
            self.drop()
            raise

    def _has_joined(self, past: JoiningLearner) -> bool:
        """Whether this is taken over already; then it is said again: whoever did it may have had no time to."""
        joined = self._marks.joined
        if joined is None or joined[0] != past.id:
            return False
        self._say_joined(*joined)
        return True

    def _say_joined(self, reading: str, offset: int) -> None:
        begun_s = 0.0 if math.isnan(self._begun_s) else self._begun_s  # no models of it to be newer than
        self._pasts.learner_joined(self.number, reading, offset, begun_s)

    def _take_over(self, past: JoiningLearner, catalog: Catalog) -> None:
        """In a commit of its own. Raises Fenced where chunks have to be read again that were read before."""
        batch = self._new_batch()
        if catalog is not self.catalog:
            self._go_on_under(catalog, batch)
        at = self.position
        again_at = min((self._marks.first_at.get(name, at.offset) for name in past.predictions), default=at.offset)
        self._join(past.learned, past.predictions, batch)
        if again_at < at.offset:
            # Chunks of these predictions were learned already. Those that are in the past have known numbers, the
            # others would be lost with what they were learned by. No model may be made twice.
            batch.position = Position(again_at, at.log_time_s).to_bytes()
            self._marks.snapshot_at |= dict.fromkeys(past.predictions, at.offset - 1)
        self._marks.joined = past.id, at.offset
        self._save(batch)
        self._commit(batch)
        self._say_joined(past.id, at.offset)
        if again_at < at.offset:
            raise Fenced(f"{self._source}: chunks from offset {again_at} on are learned again, behind the past")

    def _new_batch(self) -> CommitBatch:
        assert self._known_number is not None, "assign comes first"
        return CommitBatch(number=self._known_number + 1, position=self.position.to_bytes())

    def _learn(self, records: Sequence[Record], catalog: Catalog) -> None:
        batch = self._new_batch()
        batch.position = Position.behind(records[-1], records[-1].log_time_s).to_bytes()
        if math.isnan(self._begun_s):  # of the log, so that all who begin with this record say the same
            self._begun_s = records[0].log_time_s
        refused: list[tuple[int, Exception]] = []
        self._may_look = True
        self._followed.begin_batch()
        before = self.replaced_chunks
        if catalog is not self.catalog:
            self._go_on_under(catalog, batch)
        for record in records:
            try:
                message = self._read(record, batch)
            except (ModelError, ValueError) as error:  # numpy's, for sizes that no array has
                refused.append((record.offset, error))
                continue
            if message is None:
                continue
            if not self.learner.learn(message.chunk):
                continue  # one that was seen: its distribution is an older one, too
            self._marks.first_at.setdefault(message.prediction_id, record.offset)
            self._take_counts(message, batch)
            if self._is_due(message.prediction_id, record.offset):
                batch.messages.append(self._snapshot(message.prediction_id, record.offset))
                self._follow(message.prediction_id, record.log_time_s, batch)
        self._save(batch)
        self._commit(batch)
        self.learned_chunks += len(records) - len(refused)
        self._tell(refused)
        self._tell_replaced(self.replaced_chunks - before)

    def _commit(self, batch: CommitBatch) -> None:
        assert self._claim is not None, "assign comes first"
        ports = self._ports
        self._trim = commit_batch(
            ports.store,
            ports.sink,
            self._claim,
            batch,
            trim=self._trim,
            patience=ports.patience,
            courier=ports.courier,
        )
        self._known_number = batch.number
        self.position = Position.from_bytes(batch.position)

    def _join(self, past: PastLearner, predictions: frozenset[str], batch: CommitBatch) -> None:
        """Take over what was learned of these predictions from the log's beginning. It is stored with `batch`."""
        moved = self._features.follow(past.names, self.catalog)
        if moved is not None:
            self._learner = self.learner.over(self._features.built, moved)
        learned = Learner.load(prediction_specs(self.catalog), past.built, past.fields, self._codec, accept_gaps=True)
        for one in learned.predictions:
            one.go_on_after(past.seen)
        place = {name: j for j, name in enumerate(past.names)}
        places = [place.get(name, -1) for name in self._features.names]
        self.learner.adopt(learned, predictions, places)
        for name in predictions:
            self._marks.snapshot_at.pop(name, None)
            batch.blobs.update(self._baselines.forget(name))
            self._marks.live = [other for other in self._marks.live if other != name]
            if name in past.serves:
                self._marks.live.append(name)
            for shard, data in past.counts[name].items():
                self._counts[name, shard] = name in past.serves, counts_of(data)
                batch.blobs[f"{COUNTS_PREFIX}{name}:{shard}"] = (b"1" if name in past.serves else b"0") + data
        self._saves_catalog = True
        _LOG.info("%s: learned from history: %s", self._source, ", ".join(sorted(predictions)))

    def _save(self, batch: CommitBatch) -> None:
        """Everything that changed."""
        batch.blobs[MARKS_BLOB] = msgspec.msgpack.encode(self._marks)
        batch.blobs[BEGUN_BLOB] = _BEGUN.pack(self._begun_s)
        if self._saves_catalog:
            batch.blobs.update(about_blobs(self.catalog))
            gone = self._stored - self.learner.state_names()
            batch.blobs.update({LEARNER_PREFIX + name: b"" for name in gone})
            self._stored -= gone
            self._saves_catalog = False
        batch.blobs.update(self._features.take_changes())
        for name, data in self.learner.take_changes().items():
            batch.blobs[LEARNER_PREFIX + name] = data
            self._stored.add(name)

    def _read(self, record: Record, batch: CommitBatch) -> ChunkMessage | None:
        """None for one to be left out: of another question, or of a store that another has taken the place of.

        Raises ModelError, ValueError for what cannot be learned.
        """
        message = ChunkMessage.from_bytes(record.value, self._ids, self._questions)
        if message is None and self._is_news(batch):
            message = ChunkMessage.from_bytes(record.value, self._ids, self._questions)
        if message is None:
            self.foreign_chunks += 1
            return None
        if not self._followed.takes(message.chunk.shard, message.birth):
            self.replaced_chunks += 1
            # What comes behind it is made without it, and is not what another learner has made with it: under the same
            # versions, perhaps. However the clock of the log was set, it counts as newer.
            self._begun_s = max(math.nextafter(self._begun_s, math.inf), record.log_time_s)
            return None
        if not self._features.know(message.names) and self._is_news(batch):
            return self._read(record, batch)
        return self._fit(message)

    def _is_news(self, batch: CommitBatch) -> bool:
        """Whether a look shows that something was defined, under which it goes on then.

        Whoever sent a chunk knew the definitions by then, so one look after a batch was read shows all of them.
        """
        if not self._may_look:
            return False
        self._may_look = False
        catalog = patiently(self._ports.patience, self._wanted.refresh)
        if catalog is self.catalog:
            return False
        self._go_on_under(catalog, batch)
        return True

    def _fit(self, message: ChunkMessage) -> ChunkMessage:
        """The chunk with its features where the learner has them; those of a new catalog become its own."""
        places = self._features.follow(message.names, self.catalog)
        if places is not None:
            self._learner = self.learner.over(self._features.built, places)
            self._saves_catalog = True
        return replace(message, chunk=self._features.moved(message.chunk, message.names))

    def _tell(self, refused: Sequence[tuple[int, Exception]]) -> None:
        """After the commit: a batch that is worked again tells it again otherwise. One line a batch."""
        if not refused:
            return
        self.refused_chunks += len(refused)
        offset, error = refused[0]
        others = f", and {len(refused) - 1} more up to offset {refused[-1][0]}" if len(refused) > 1 else ""
        ids = {"partition": self.number, "offset": offset}
        words = "%s: the record at offset %d%s cannot be learned: %s"
        _LOG.error(words, self._source, offset, others, error, extra=ids)

    def _tell_replaced(self, chunks: int) -> None:
        """Once in a while is enough: of a topic that holds weeks of an earlier store every batch would tell it."""
        if chunks and not self._has_told_replaced:
            _LOG.info("%s: chunks of a store that another has taken the place of are left out", self._source)
            self._has_told_replaced = True

    def _birth_of(self, shard: int) -> str | None:
        ask = self._ports.birth_of
        assert ask is not None, "otherwise nobody asks"
        return patiently(self._ports.patience, lambda: ask(shard))

    def _take_counts(self, message: ChunkMessage, batch: CommitBatch) -> None:
        name, shard = message.prediction_id, message.chunk.shard
        self._counts[name, shard] = message.of_model, message.counts
        flag = b"1" if message.of_model else b"0"
        batch.blobs[f"{COUNTS_PREFIX}{name}:{shard}"] = flag + message.counts.astype("<i8").tobytes()

    def _follow(self, prediction_id: str, at_s: float, batch: CommitBatch) -> None:
        """A snapshot was made of what the log had taken by then."""
        if prediction_id in self._marks.live:
            batch.blobs.update(self._baselines.follow(prediction_id, self._distribution(prediction_id), at_s))
        self.judged = {**self.judged, prediction_id: self._judge(prediction_id)}

    def _judge(self, prediction_id: str) -> JudgedFigures:
        learner = self.learner.predictions[self._ids[prediction_id]]
        drift = self._baselines.drift(prediction_id, self._distribution(prediction_id))
        return JudgedFigures(lately(learner.quality), drift, WarmingUp.of(learner.warmup))

    def _distribution(self, prediction_id: str) -> I64:
        """Users of all shards by their likelihoods [BINS], without those whom the heuristic ranks."""
        counts = np.zeros(BINS, np.int64)
        for (name, _), (of_model, some) in self._counts.items():
            if name == prediction_id and of_model:
                counts += some
        return counts

    def _is_due(self, prediction_id: str, offset: int) -> bool:
        latest = self._marks.snapshot_at.get(prediction_id)
        return latest is None or offset // self._every > latest // self._every

    def _snapshot(self, prediction_id: str, offset: int) -> Message:
        """The model after the chunk at `offset`, with the distribution of all shards, as version `offset` + 1.

        Examples that are made anew begin at offset 0 again: `begun_s` tells their models from those of before.
        """
        self._marks.snapshot_at[prediction_id] = offset
        mine = [entry for (name, _), entry in self._counts.items() if name == prediction_id]
        if all(of_model for of_model, _ in mine) and prediction_id not in self._marks.live:
            self._marks.live.append(prediction_id)
        built = prediction_id in self._marks.live
        learner = self.learner.predictions[self._ids[prediction_id]]
        snapshot = replace(learner.snapshot(offset + 1, built=built), begun_s=self._begun_s)
        serves = snapshot.status != Status.WARMING
        counts = np.zeros(BINS, np.int64)
        for of_model, some in mine:
            if of_model == serves:  # a shard that is behind ranks by something else
                counts += some
        made = Snapshot(offset + 1, (snapshot,), counts[np.newaxis], self._features.names)
        data = made.to_bytes(self._codec)
        if len(data) > MAX_MESSAGE_BYTES:
            raise ModelError(
                f"the model of {prediction_id} has {len(data):,} bytes and does not fit into a message of "
                f"{MAX_MESSAGE_BYTES:,}; choose a smaller one in the catalog"
            )
        return Message("models", model_key(self._questions[prediction_id], prediction_id), data)


def _begun_s(blobs: Mapping[str, bytes]) -> float:
    """NaN for a learner that has seen nothing yet, 0 for one of a release that did not note it."""
    if BEGUN_BLOB in blobs:
        return float(_BEGUN.unpack(blobs[BEGUN_BLOB])[0])
    return 0.0 if MARKS_BLOB in blobs else math.nan
