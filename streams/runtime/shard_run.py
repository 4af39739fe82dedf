"""One shard of a live stream, over the ports alone: records in, commits out. The worker and the simulator both run it.

    run = ShardRun(...)
    offset = run.assign()                  # claim, load, publish what a stop left; where to read from
    run.step(records, models, now_s)       # one batch: compute, commit, publish
    run.assign()                           # after `Fenced`, and whenever the partition was away

It has no thread, no clock and no connection of its own.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np

from config.catalog import Catalog
from config.errors import Fenced
from models.chunk_message import ChunkMessage
from models.snapshot import ModelCodec, PredictionSnapshot, Snapshot, Status
from streams.commit import Patience, commit_batch, patiently, publish_outbox, stop_if_let_go, until_let_go
from streams.core.decode import SegmentDecoder
from streams.core.definitions import segment_ids_of
from streams.core.events import BadEvent, Event, bad_event
from streams.core.frozen import freeze
from streams.core.message_hash import id_hash, place_hash
from streams.core.questions import questions_of
from streams.core.redefine import Past, redefined
from streams.core.saving import Saver
from streams.core.shard import Shard, Stop
from streams.core.state import N_DELETIONS_SKIPPED, USERS
from streams.ports import Claim, CommitBatch, Courier, Loaded, Message, Replaced, Sink, Store
from streams.runtime.about import about_blobs
from streams.runtime.behind_log import Arrived
from streams.runtime.births import BIRTH_BLOB, birth_of
from streams.runtime.definitions import FixedCatalog, Wanted
from streams.runtime.deletion_log import KnownDeletions, deletion_messages, mark_of
from streams.runtime.history import forget_effects
from streams.runtime.joining import JoiningShard, NoPasts, Pasts
from streams.runtime.latest_models import model_key
from streams.runtime.meter import Meter
from streams.runtime.records import Position, Record
from streams.runtime.shard_traces import TracedBatch, traced_batch
from streams.runtime.since import Since, catalog_of
from streams.runtime.traces import Traces
from streams.runtime.turns import Turn
from streams.runtime.undone import DELETIONS_BLOB, Undone, deletions_again, take_over, undone
from streams.runtime.whole import check_whole
from streams.runtime.witness import Witness

_LOG: Final = logging.getLogger(__name__)
BUSY_PARTS: Final = 1
"""After a change of definitions so many parts of the users are reviewed before a batch of records,"""
IDLE_PARTS: Final = 20
"""and so many where none have come."""
COMMIT_CHUNK_BYTES: Final = 4 << 20
"""A commit is due when the chunks for the learners have so many bytes."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What a service works on. Each is used by one thread at a time."""

    store: Store
    sink: Sink
    courier: Courier
    patience: Patience
    new_generation: Callable[[], str]
    tell: Callable[[Witness], None] = lambda _: None
    """Keeps, durably when it returns, what the next `assign` of the shard gets as its witness. Nothing is published
    before. Raises BrokerUnavailable (try again), BrokerError, or Fenced when the partition is another worker's."""
    ledger_key: bytes = b""
    """The secret under which deleted users are remembered (`streams.core.ledger`)."""
    deletions: Callable[[int], KnownDeletions] = lambda _: KnownDeletions()
    """Who was deleted of a shard, as the log has it; asked where the store knows nothing. Raises BrokerError, and
    StoreIncompatible for a log that was written under another secret."""
    name: Callable[[Catalog], None] = lambda _: None
    """Tells readers of the store which predictions and segments there are. Raises StoreError."""
    is_let_go: Callable[[], bool] = lambda: False
    """Whether the partition was taken away, so that nobody waits for it to be loaded any more."""
    turn: Turn = field(default_factory=Turn)
    """To compute; the same one for all whose threads would disturb each other."""
    meter: Meter = field(default_factory=Meter)
    """Of this run alone."""
    traces: Traces | None = None
    """None where they are off."""
    birth_of: Callable[[int], str | None] | None = None
    """For learners: the birth of the store that a shard has now (`streams.runtime.births`), None for one without a
    commit. Raises StoreError. None where no chunks of another store can come."""


@dataclass(slots=True)
class Counts:
    """What a run has done since it was made; for metrics."""

    records: int = 0
    refused: int = 0
    commits: int = 0
    transitions: int = 0
    chunks: int = 0
    loads: int = 0
    set_back: int = 0
    """Loads of a store that had gone back in time."""
    deletions: int = 0
    """Users who were deleted, whether or not anything was stored of them."""
    deletions_unreadable: int = 0
    """Records of the log of deletions that were passed over, for a store that was made anew."""
    refused_by: dict[str, int] = field(default_factory=dict)
    """`refused` by reason."""
    refused_last: dict[str, BadEvent] = field(default_factory=dict)
    """The latest one of each reason."""

    def refuse(self, letters: Sequence[BadEvent]) -> None:
        """They are stored."""
        self.refused += len(letters)
        for letter in letters:
            self.refused_last[letter.reason.value] = letter  # first: whoever counts a reason finds one
            self.refused_by[letter.reason.value] = self.refused_by.get(letter.reason.value, 0) + 1


class ShardRun:
    """Shard `shard` of `shards`. `source` names the partition (in hashes, dead letters).

    `wanted` says under which catalog it goes on; what is stored says under which one it stands. Where they differ, the
    next batch begins with the change. `catalog` is the one of the memory. `pasts` brings what a new definition would
    have learned and counted; without it that begins empty. Events are Segment JSON, whatever form the catalog gives for
    files.
    """

    def __init__(
        self,
        wanted: Catalog | Wanted,
        ports: Ports,
        *,
        shard: int,
        shards: int,
        source: str,
        codec: ModelCodec | None = None,
        pasts: Pasts | None = None,
    ) -> None:
        self._wanted = FixedCatalog(wanted) if isinstance(wanted, Catalog) else wanted
        self.catalog = self._wanted.catalog
        self.number = shard
        self.counts = Counts()
        self.meter = ports.meter
        self.arrived = Arrived()
        """What the latest step brought."""
        self._shards = shards
        self._ports = ports
        self._source = source
        self._source_hash = id_hash(source)
        self._codec = codec
        self._pasts = pasts or NoPasts()
        self.since = Since()
        """What is not complete, and from which event time on it is."""
        self._decoder = SegmentDecoder(self.catalog)
        self._questions: tuple[str, ...] = ()
        """Of the predictions, in the order of the catalog."""
        self._names_looked_at: dict[str, Sequence[str]] = {}
        """Prediction -> names of the features when the model in force was last compared with the one that is known."""
        self._chunks: list[Message] = []
        self._chunk_bytes = 0
        self._just_joined = frozenset[str]()
        """Predictions whose past was read up to where this shard stood at that time."""
        self._records: Sequence[Record] = ()
        """Of the batch in hand."""
        self._traced: TracedBatch | None = None
        """The same, where some of its events are part of a trace."""
        self._claim: Claim | None = None
        self._undone: Undone | None = None
        self._birth = ""
        """Of the store: what its chunks are known by."""
        self._read_under = ""
        """The generation under which the log of deletions was read last, as it is stored."""
        self._shard: Shard | None = None
        self._saver: Saver | None = None
        self._known: dict[str, int] = {}
        """The latest commit of every generation that this run has seen."""
        self._committed = 0
        self._trim = 0
        self.position = Position()
        """Of the last commit."""
        self._reached = Position()
        """Of the memory, which time alone may have moved on without a commit."""

    # --- coming and going -------------------------------------------------------------------------------------------

    @property
    def is_loaded(self) -> bool:
        """Whether the memory is that of the last commit."""
        return self._shard is not None

    @property
    def set_backs(self) -> int:
        """How often the store was found to have gone back in time."""
        return self.counts.set_back

    @property
    def shard(self) -> Shard:
        """The state. Raises RuntimeError before `assign` and after `drop`."""
        if self._shard is None:
            raise RuntimeError(f"shard {self.number} is not loaded")
        return self._shard

    @property
    def users(self) -> int:
        """How many the shard holds."""
        return int(self.shard.si[USERS])

    @property
    def oldest_in_hand_s(self) -> float | None:
        """When the log took the oldest record of the batch in hand that no commit has; None where each is in one."""
        records, offset = self._records, self.position.offset  # its own thread may replace both
        place = bisect_left(records, offset, key=lambda record: record.offset)
        return records[place].log_time_s if place < len(records) else None

    @property
    def deletions_skipped(self) -> int:
        """Deletions that were no later than one that was done, since the store was made."""
        return int(self.shard.si[N_DELETIONS_SKIPPED])

    def assign(self, witness: Witness | None = None) -> Position:
        """Take the shard: a new epoch, the state of the last commit, and what the outbox still held published.

        State in memory is kept when it is that of the last commit. Returns where to read from; never what the
        consumer group remembers. `witness` is what was told last (`Witness`), by this run or another one, None if that
        is not known; where the store stands before it, it has gone back in time, and ids get a new generation.

        Raises Fenced (another worker took it at once; assign again if it is still ours), StoreUnavailable,
        StoreIncompatible, Stopped (it was let go before it was loaded), and what `tell` and `publish_outbox` raise.
        The memory is dropped then: what the outbox holds must be out before the next commit.
        """
        try:
            return self._assign(witness)
        except BaseException:
            self.drop()
            raise

    def _assign(self, witness: Witness | None) -> Position:
        ports = self._ports
        patience = until_let_go(ports.patience, ports.is_let_go)
        claim, loaded = patiently(patience, lambda: self._load_once(witness))
        # Before anything is published: a store that is set back while that fails has to be found out next time.
        self._claim = claim
        self._committed = self._known[claim.generation] = claim.number
        self.position = Position.from_bytes(claim.position)
        self._tell(claim, claim.number, patience)
        self.meter.waits(len(loaded.outbox) + len(loaded.messages))
        self._trim = publish_outbox(ports.sink, claim, loaded, patience, courier=ports.courier)
        self.meter.published()
        return self.position

    def _load_once(self, witness: Witness | None) -> tuple[Claim, Loaded]:
        """One attempt from the claim to the last row, with a claim of its own."""
        earlier = self._claim
        claim = self._take_claim(witness)
        loaded = self._ports.store.load(claim)
        check_whole(claim, loaded)
        self._birth = birth_of(loaded.blobs, claim.generation)
        # With an epoch between the two somebody else may have made commits of the same numbers.
        is_ours = earlier is not None and claim.epoch == earlier.epoch + 1 and claim.generation == earlier.generation
        if not (self.is_loaded and is_ours and claim.number == self._committed):
            self.drop()
            catalog = catalog_of(loaded.blobs, self._wanted.catalog)
            key = self._ports.ledger_key
            shard = Shard(catalog, shard=self.number, shards=self._shards, generation=claim.generation, ledger_key=key)
            saver = Saver(shard, self._codec)
            if not loaded.blobs:  # a store that was made anew brings nobody back
                for name, data in self._deletions():
                    shard.ledger.merge(name, data)
                shard.ledger.trim()  # before anything is taken: the log may have more than there is room for
            if loaded.blobs:
                saver.load(
                    loaded.blobs, self._while_ours(loaded.rows), loaded.appended, loaded.remembered, loaded.deleted
                )
            self._read_under = loaded.blobs.get(DELETIONS_BLOB, b"").decode()
            if loaded.blobs and self._read_under != claim.generation:  # nor does one that went back in time
                self._undone = undone(shard, self._deletions())
            self.since = Since.of(loaded.blobs)
            self._use(shard, saver)
            self._reached = Position.from_bytes(claim.position)
            self.counts.loads += 1
        return claim, loaded

    def _deletions(self) -> Sequence[tuple[str, bytes]]:
        """Who was deleted of the shard, as the log knows it. Raises as the port does."""
        found = self._ports.deletions(self.number)
        self.counts.deletions_unreadable += found.unreadable
        return found.known

    def _while_ours(self, chunks: Iterator[list[Any]]) -> Iterator[list[Any]]:
        """Loading may take longer than the group waits for us."""
        for chunk in chunks:
            stop_if_let_go(self._ports.is_let_go)
            yield chunk

    def _use(self, shard: Shard, saver: Saver) -> None:
        """From now on this is the memory."""
        if shard.catalog is not self.catalog:
            self.catalog = shard.catalog
            self._decoder = SegmentDecoder(self.catalog)
        self._questions = tuple(questions_of(self.catalog).values())
        self._shard, self._saver = shard, saver

    def _take_claim(self, witness: Witness | None) -> Claim:
        """A claim under a generation of which nothing is published that the store does not hold."""
        claim, is_new = self._claim_knowing(None)
        forgot, is_behind = self._forgot(claim, witness), witness is not None and not witness.is_in(claim)
        # A store without a commit, under a name that nobody was told of, is another one: TIDELINE_KEY_PREFIX, say.
        is_other = is_new or (witness is not None and claim.number == 0 and claim.generation != witness.generation)
        was_emptied = is_new and self._claim is not None
        went_back = forgot or was_emptied or (is_behind and not is_other)
        if (forgot or is_behind) and not is_new:
            claim, is_new = self._claim_knowing(claim.number + 1)
            if not is_new:
                raise Fenced(
                    f"partition {self.number} of the events: another worker has gone on with a store that was set back"
                )
        self.counts.set_back += went_back
        return claim

    def _claim_knowing(self, last: int | None) -> tuple[Claim, bool]:
        """A claim, and whether its generation begins with it."""
        ports = self._ports
        generation = ports.new_generation()
        claim = ports.store.claim(self.number, new_generation=generation, last_number=last)
        return claim, claim.generation == generation

    def _forgot(self, claim: Claim, witness: Witness | None) -> bool:
        """Whether the store has forgotten what this run knows that it held."""
        known = self._known.get(claim.generation)
        if known is not None and claim.number < known:
            return True
        latest = None if self._claim is None else self._claim.generation
        if witness is not None or latest is None or claim.generation == latest:
            return False
        # A store that goes back twice forgets the generation that was taken after the first time. One that was never
        # seen here is of a time before this run, unless another worker has taken it and gone on.
        return known is not None or claim.number <= self._known[latest]

    def drop(self) -> None:
        """Forget the memory: what it holds is not, or not known to be, that of the last commit."""
        self._shard = self._saver = self._undone = None
        self._just_joined = frozenset()
        self._chunks, self._chunk_bytes = [], 0

    # --- one batch --------------------------------------------------------------------------------------------------

    def step(self, records: Sequence[Record], models: Mapping[str, Snapshot], now_s: float | None) -> None:
        """Take `records`, then, if `now_s` (wall clock) is given, let time pass up to it: the log has nothing more.

        First it goes on under the catalog that is wanted now, if that is another one. `models`: the latest snapshots
        that are known, by `model_key`; what is newer is put in force then.
        Whatever it raises, the memory is dropped: `assign` again. Raises what `commit_batch` raises.
        """
        since_s = self.meter.now_s()
        try:
            self._records, self.arrived = records, Arrived()
            self._go_over(is_at_end=now_s is not None)
            with self._ports.turn.taken():
                self._work(records, models, now_s)
            self.counts.records += len(records)
            if records:
                self.meter.worked(len(records), since_s)
        except BaseException as error:
            self._end_traces(error)
            self.drop()
            raise
        self._end_traces(None)

    def _end_traces(self, error: BaseException | None) -> None:
        traced, self._traced = self._traced, None
        if traced is not None:
            traced.end(error)

    def _go_over(self, *, is_at_end: bool) -> None:
        """What is rare and waits for servers for long: others compute meanwhile. `is_at_end`: of the log."""
        self._delete_again()
        if self._wanted.catalog is not self.catalog:
            self._go_on_under(self._wanted.catalog)
        past = None if self.since.is_complete else self._pasts.of_shard(self.number, self.catalog)
        if past is not None and past.offset <= self._reached.offset and self.since.gains(past.predictions):
            self._join(past)
        if due := [name for name in self._due_to_freeze() if is_at_end or name in self._just_joined]:
            self._freeze(due)

    def _delete_again(self) -> None:
        """In one commit, before any other: with it the store says that it has all deletions of the log."""
        found, self._undone = self._undone, None
        if found is None or not found.users:
            return
        assert self._claim is not None, "assign comes first"
        shard = self.shard
        shard.feed(deletions_again(shard, found, self._claim.generation, self._reached.offset))
        if shard.run(math.nan) is not Stop.DONE:
            raise RuntimeError(f"shard {self.number}: there is an hour to work, though its clock stands")
        shard.note_items()
        take_over(shard, found)
        self._commit(self._reached)
        _LOG.info("shard %d: its store had %d users again who were deleted", self.number, len(found.users))

    def _work(self, records: Sequence[Record], models: Mapping[str, Snapshot], now_s: float | None) -> None:
        self._review(BUSY_PARTS if records else IDLE_PARTS)
        self._take_models(models)
        position, told = self._reached, 0
        if records:
            items = [self._decode(record) for record in records]
            if self._ports.traces is not None:
                self._traced = traced_batch(self._ports.traces, self._source, records, items)
            before_s = self.shard.clock_s
            times_s = [item.time_s for item in items if isinstance(item, Event)]
            self.arrived = Arrived.of(times_s, before_s, self.catalog.time.lateness_s)
            told = self.counts.transitions
            self._take(items, math.nan, lambda: self._commit(self._within(records, before_s)))
            position = self._within(records, before_s)
        if now_s is not None and not math.isnan(until_s := self._time_now(position, now_s)):
            # All of `records` is taken, so a commit in the middle of this stands behind them.
            self._take([], until_s, lambda: self._commit_within(position, now_s - until_s))
            position = position.at_time(now_s)
        self._reached = position
        if records or self._has_effects():
            self._commit(position)
        if records and self.counts.transitions > told:
            self.meter.answered(records[0].log_time_s, records[-1].log_time_s)

    def _commit_within(self, position: Position, behind_s: float) -> None:
        """A commit while time passes, as if that had been let pass up to there and no further.

        Whoever goes on from it may find other records than this run would have: what was labelled before them has to be
        before them by the clock, too. `behind_s`: how far the clock is behind the wall clock.
        """
        reached_s = self.shard.reached_s
        if self.shard.run(reached_s) is not Stop.DONE:
            raise RuntimeError(f"shard {self.number}: there is an hour to work before one that is worked")
        self._commit(position.at_time(reached_s + behind_s))

    def _go_on_under(self, catalog: Catalog) -> None:
        """All of the state goes over to another catalog, in one commit; what is new in it begins empty.

        What is stored under the earlier one is not touched before that commit: parts of it are put aside.
        """
        self._review(math.inf)
        if self._has_effects():
            self._commit(self._reached)
        old = self.shard
        new = redefined(old, catalog, generation=self._generation_for(old, catalog))
        self._replace(old, new, self.since.with_what_is_new(old.catalog, catalog, old.clock_s))
        patiently(self._ports.patience, lambda: self._ports.name(catalog))
        figures = self.number, len(catalog.predictions), len(catalog.segments)
        _LOG.info("partition %d of the events goes on under another catalog: %d predictions, %d segments", *figures)

    def _review(self, parts: float) -> None:
        """Users are judged by new and changed segments: so many parts of them, each in a commit of its own."""
        while parts > 0 and self.shard.is_reviewing:
            self.shard.review()
            if self._has_effects():
                self._commit(self._reached)
            parts -= 1

    def _join(self, past: JoiningShard) -> None:
        """What was new has read the log from its beginning: it comes to where this shard stands, and joins it."""
        self._review(math.inf)
        if self._has_effects():
            self._commit(self._reached)
        assert self._claim is not None, "assign comes first"
        old, shard = self.shard, past.load()
        for records in past.records(past.offset, self._reached.offset):
            shard.feed([self._decode(record) for record in records])
            self._run_past(shard, math.nan, past)
        if not math.isnan(old.clock_s):
            shard.feed(())
            self._run_past(shard, old.clock_s, past)
        past.number_models(shard)
        predictions = frozenset(self.since.predictions.keys() & past.predictions)
        # Of all that is complete here already, what this shard holds counts: the log may not reach as far back.
        joined = Past(shard, is_whole=False, predictions=predictions, counted=self.since.counted)
        new = redefined(old, self.catalog, generation=self._claim.generation, past=joined)
        self._replace(old, new, self.since.complete(predictions))
        self._just_joined = predictions
        _LOG.info("partition %d of the events has taken over the past of %s", self.number, past.words)

    def _due_to_freeze(self) -> list[str]:
        """Previews that are ready to be scored for good: they have learned what there is, and rank among everybody.

        Who reads history first is ready long before its end, and would be scored as of years ago.
        """
        shard, awaited = self.shard, self._awaited()
        if math.isnan(shard.clock_s):
            return []
        return [
            name
            for p, name in enumerate(shard.definitions.prediction_ids)
            if self.catalog.predictions[name].access == "preview"
            and not self.catalog.predictions[name].archived
            and math.isnan(shard.frozen_at_s[p])
            and shard.snapshot.predictions[p].status == Status.LIVE
            and name not in awaited
        ]

    def _freeze(self, predictions: Collection[str]) -> None:
        """In one commit, so that a stop leaves all scores of the shard as they were, or all as they stay."""
        self._review(math.inf)
        if self._has_effects():
            self._commit(self._reached)
        assert self._claim is not None, "assign comes first"
        old = self.shard
        new = redefined(old, self.catalog, generation=self._claim.generation)
        freeze(new, predictions)
        self._replace(old, new, self.since.without(predictions))
        _LOG.info("partition %d of the events has scored everybody for good: %s", self.number, ", ".join(predictions))

    def _awaited(self) -> Collection[str]:
        """Predictions whose past is still to come: nobody learns of them, and no earlier model serves them."""
        return self.since.predictions.keys() if self._pasts.are_coming else ()

    def _run_past(self, shard: Shard, until_s: float, past: JoiningShard) -> None:
        """What is labelled since it was learned from goes to the learner."""
        while (stop := shard.run(until_s)) is not Stop.DONE:
            if stop is Stop.HOUR:
                self._hand_over(shard, past.predictions)
        forget_effects(shard)

    def _replace(self, old: Shard, new: Shard, since: Since) -> None:
        """In one commit; what is stored is not touched before it."""
        saver = Saver(new, self._codec)
        assert self._claim is not None, "assign comes first"
        store, claim, patience, parts = self._ports.store, self._claim, self._ports.patience, 0
        for part in saver.take_everything():
            part.number, parts = self._committed + 1, parts + 1
            patiently(patience, partial(store.stage, claim, part, parts))
        self._use(new, saver)
        self.since = since
        went = old.definitions
        self._commit(self._reached, Replaced(parts, went.prediction_ids, went.segment_ids))

    def _generation_for(self, old: Shard, catalog: Catalog) -> str:
        """That of the claim; another one where a segment goes: when it comes back, its users count from 1 again."""
        assert self._claim is not None, "assign comes first"
        segments = segment_ids_of(catalog)
        if set(old.definitions.segment_ids) <= set(segments):
            return self._claim.generation
        claim, is_new = self._claim_knowing(self._committed + 1)
        if not is_new or claim.number != self._committed:
            raise Fenced(f"partition {self.number} of the events: another worker has gone on with it")
        self._claim, self._known[claim.generation] = claim, claim.number
        self._tell(claim, claim.number)
        return claim.generation

    def _take_models(self, models: Mapping[str, Snapshot]) -> None:
        """Put in force what is newer; a model that was made under another catalog has its features in other places.

        One that is in force is completed where it knew of a name before this shard had found it, as it may when the
        store was made anew or went back: else it would weigh nothing here until the next model.
        """
        shard, arrived, known, awaited = self.shard, {}, {}, self._awaited()
        names = shard.vocabulary.feature_names()
        for p, name in enumerate(shard.definitions.prediction_ids):
            # Its key may hold one of before it was archived or edited, that knows what nobody here has counted.
            model = None if name in awaited else models.get(model_key(self._questions[p], name))
            age = shard.snapshot.predictions[p].age
            if model is not None and model.age > age:
                arrived[p] = model.over(names)
            elif model is not None and model.age == age and self._names_looked_at.get(name) is not names:
                known[p] = model
                self._names_looked_at[name] = names
        if arrived:
            shard.take_models(arrived)
        self._complete_models(known)

    def _complete_models(self, known: Mapping[int, Snapshot]) -> None:
        """Give features that have got their name by now what models that are in force know of them."""
        shard = self.shard
        predictions = list(shard.snapshot.predictions)
        for p, model in known.items():
            if math.isnan(shard.frozen_at_s[p]) and predictions[p].model is None:
                (whole,) = model.over(shard.vocabulary.feature_names()).predictions
                predictions[p] = _completed(predictions[p], whole)
        if any(one is not before for one, before in zip(predictions, shard.snapshot.predictions, strict=True)):
            shard.apply(Snapshot(shard.snapshot.version + 1, tuple(predictions), shard.snapshot.counts))

    def _decode(self, record: Record) -> Event | BadEvent:
        place = place_hash(self._source_hash, record.offset)
        item = self._decoder.decode(record.value, record.offset, record.log_time_s, place)
        return replace_source(item, self._source) if isinstance(item, BadEvent) else item

    def _complete(self, bad: BadEvent) -> BadEvent:
        """A dead letter with the partition and the bytes of its record, which the shard does not know."""
        if bad.source:
            return bad
        if not bad.raw:  # of a deleted user: its bytes must not be kept
            return replace_source(bad, self._source)
        record = self._records[bisect_left(self._records, bad.position, key=lambda record: record.offset)]
        return bad_event(bad.reason, bad.detail, bad.position, record.value, self._source)

    def _within(self, records: Sequence[Record], before_s: float) -> Position:
        """The position behind what has been taken of the batch; `before_s`: the clock at its start."""
        taken = self.shard.next_item
        wall_s = self._wall_clock(before_s)
        if taken == 0:
            reached = self._reached
            return Position(records[0].offset, wall_s, reached.last_offset, reached.last_crc)
        return Position.behind(records[taken - 1], wall_s, records[taken].offset if taken < len(records) else None)

    def _wall_clock(self, before_s: float) -> float:
        """The wall clock of which the shard's clock is the image, 0 before the first event.

        The clock's lead, how far it is past that, is the largest of all accepted records. One that was under way for
        long has a small lead: if silence were measured from it, the clock would fall behind by its delay. It is 0 at
        most: who is ahead of the wall clock has a wrong clock, and in silence time waits until that is true.
        """
        lead_s = self.shard.lead_s
        if self._reached.log_time_s:
            lead_s = max(lead_s, before_s - self._reached.log_time_s)
        return 0.0 if lead_s == -math.inf else self.shard.clock_s - min(lead_s, 0.0)

    def _time_now(self, position: Position, now_s: float) -> float:
        """The clock that goes on while nothing comes: the wall clock and its lead. NaN for no change."""
        clock_s = self.shard.clock_s
        if math.isnan(clock_s) or not position.log_time_s or now_s <= position.log_time_s:
            return math.nan
        return clock_s + now_s - position.log_time_s

    def _take(self, items: Sequence[Event | BadEvent], until_s: float, save: Callable[[], None]) -> None:
        shard = self.shard
        shard.feed(items)
        while (stop := shard.run(until_s, may_save=True)) is not Stop.DONE:
            if stop is Stop.HOUR:
                awaited = self._awaited()
                self._hand_over(shard, [name for name in self.catalog.predictions if name not in awaited])
            if shard.save_is_due or self._chunk_bytes > COMMIT_CHUNK_BYTES:
                save()
        shard.note_items()

    def _hand_over(self, shard: Shard, predictions: Collection[str]) -> None:
        """Labelled examples and the distribution of these predictions become messages to the learner."""
        names, features = shard.definitions.prediction_ids, tuple(shard.vocabulary.feature_names())
        counts = shard.counts()
        for chunk in shard.matured(every=True):
            p = chunk.prediction
            if names[p] not in predictions:
                continue
            of_model, question = shard.serves(p), self._questions[p]
            message = ChunkMessage(names[p], chunk, counts[p], of_model, question, features, self._birth)
            data = message.to_bytes()
            self._chunks.append(Message("examples", names[p], data))
            self._chunk_bytes += len(data)

    def _has_effects(self) -> bool:
        return bool(self._chunks) or self.shard.has_effects

    def _commit(self, position: Position, replaces: Replaced | None = None) -> None:
        """`replaces`: what was put aside takes the place of all."""
        assert self._saver is not None, "assign comes first"
        assert self._claim is not None, "assign comes first"
        ports = self._ports
        self.shard.note_items()
        self.shard.dead = letters = [self._complete(bad) for bad in self.shard.dead]
        batch = self._saver.take_effects(self._committed + 1, position.to_bytes())
        batch.replaces = replaces
        if batch.number == 1 or replaces is not None:
            batch.blobs.update(about_blobs(self.catalog) | self.since.blobs())
            if self._birth:
                batch.blobs[BIRTH_BLOB] = self._birth.encode()
        if self._read_under != self._claim.generation or replaces is not None:
            self._read_under = self._claim.generation
            batch.blobs[DELETIONS_BLOB] = self._read_under.encode()
        batch.messages, self._chunks, self._chunk_bytes = self._chunks, [], 0
        batch.messages += [Message("dead-letters", "", letter) for letter in batch.dead_letters]
        batch.messages += deletion_messages(self.number, mark_of(ports.ledger_key), batch)
        if self._traced is not None:
            batch.outbox = self._traced.mark(batch.outbox)
        with ports.turn.given_up():
            self._store(batch)
        self._note(batch, position)
        self.counts.refuse(letters)
        self.counts.deletions += len(batch.deleted_users)
        if batch.deleted_users:  # their exits are out: with one commit more they leave the outbox, however idle it is
            self._commit(position)

    def _store(self, batch: CommitBatch) -> None:
        """One commit, told and published."""
        assert self._claim is not None, "assign comes first"
        ports = self._ports
        self.meter.commits()
        self._trim = commit_batch(
            ports.store,
            ports.sink,
            self._claim,
            batch,
            trim=self._trim,
            patience=ports.patience,
            courier=ports.courier,
            on_stored=lambda: self._note_stored(batch),
        )
        self.meter.published()

    def _note_stored(self, batch: CommitBatch) -> None:
        """Before any of it is published: whether the store went back is judged by it, however the publishing ends."""
        assert self._claim is not None, "assign comes first"
        self.meter.stored(len(batch.outbox) + len(batch.messages))
        self._known[self._claim.generation] = batch.number
        if batch.outbox or batch.messages:
            self._tell(self._claim, batch.number)

    def _tell(self, claim: Claim, number: int, patience: Patience | None = None) -> None:
        witness = Witness(claim.generation, number)
        patiently(patience or self._ports.patience, lambda: self._ports.tell(witness))

    def _note(self, batch: CommitBatch, position: Position) -> None:
        self._committed = batch.number
        self.position = position
        self.counts.commits += 1
        self.counts.transitions += len(batch.outbox)
        self.meter.told(batch.outbox)
        self.counts.chunks += sum(message.topic == "examples" for message in batch.messages)


def replace_source(item: BadEvent, source: str) -> BadEvent:
    """The dead letter with the name of where it came from."""
    return BadEvent(item.reason, item.detail, item.position, item.raw, source, item.truncated)


def _completed(found: PredictionSnapshot, whole: PredictionSnapshot) -> PredictionSnapshot:
    """With what the same model `whole` knows of features of which `found` knows nothing; `found` itself for none."""
    at = (found.weights == 0.0) & (found.means == 0.0) & ((whole.weights != 0.0) | (whole.means != 0.0))
    if not at.any():
        return found
    weights, means = np.where(at, whole.weights, found.weights), np.where(at, whole.means, found.means)
    return replace(found, weights=weights, means=means)
