"""A shard: all state of one partition, its inputs and its effects (docs/core.md).

    shard.feed(events)
    while shard.run() is not Stop.DONE:  # without `may_save` it is Stop.HOUR
        for chunk in shard.matured():
            learner.learn(chunk)
        if shard.needs_snapshot:
            shard.apply(learner.snapshot(shard.hour, shard.counts()))
    batch = Saver(shard).take_effects(number, position)  # streams.core.saving

It is pure: the same inputs in the same order give the same effects, bit for bit, however they were cut.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from config.catalog import Catalog
from models.examples import ExampleChunk
from models.features import features_at
from models.jit import F64, I64, U8, U64
from models.labels import DROPPED, NEXT, Pending, allocate_pending, matured_until, tail_of
from models.layout import FIRST_T, LIFE, SCORED_T
from models.scales import percentile_table
from models.snapshot import BINS, Likelihood, PredictionSnapshot, Snapshot, Status
from streams.core import kernel
from streams.core.chunks import gather_chunk
from streams.core.dead_letters import Named, id_fields, ids_in, without_bytes
from streams.core.dedupe import allocate_dedupe
from streams.core.definitions import Definitions, compile_definitions
from streams.core.encode import Encoded, Encoder
from streams.core.events import BadEvent, Event
from streams.core.ledger import KeySource, Ledger
from streams.core.moment import touch
from streams.core.partition import shard_of
from streams.core.remembered import Remembered
from streams.core.sealing import Sealed, seal_events, seal_features
from streams.core.state import (
    ACCEPTED,
    BACKFILL_RATE,
    BACKFILL_START,
    CHANGED,
    CLOCK,
    COUNTERS,
    DELETION,
    DONE,
    END_OF_LIFE,
    EPOCH_NOW,
    GOALS,
    HOUR,
    HOUR_DUE,
    LABELLED_HOUR,
    MAX_AHEAD_S,
    MAY_SAVE,
    MINUTE,
    MODEL_NEEDED,
    NEXT_EVENT,
    NO_ROOM,
    O_EVENT,
    O_ROW,
    O_SEGMENT,
    OF_DELETED,
    OUT,
    PHASE,
    REVIEW_CLOCK,
    REVIEW_END,
    REVIEW_EPOCH,
    REVIEW_MINUTE,
    REVIEW_NEXT,
    SAVE_DUE,
    SAVE_OUT,
    SAVE_ROWS,
    SECOND_STEP,
    SF_SIZE,
    SI_SIZE,
    TARGETS,
    TOUCHED,
    TURN_EPOCH,
    USERS,
    USERS_LIMIT,
    VERSION_NOW,
    Marks,
    Model,
    State,
    allocate_marks,
    allocate_out,
    allocate_population,
    allocate_scratch,
    replace_in_place,
)
from streams.core.transitions import TransitionWriter
from streams.core.users import UserTable
from streams.core.vocabulary import Vocabulary

OUT_ROWS = 4096
MARKS = 65_536
CHUNK_BYTES = 1 << 20  # of features in one chunk; what is known within an hour is cut so
CHUNK_PARTS = 1 << 16  # numbers for the parts of one hour
RATE_RECOVERS_BELOW = 0.25  # of the bound on pending examples


class WentLive(NamedTuple):
    """A prediction's going live: `epoch` from which users have had their turn, and, as of then, the model's `weights`
    [features] and `bias` and the event columns that had a name (`named`). Without weights where the model has none.
    """

    epoch: int
    weights: F64
    bias: float
    named: U8


class Stop(enum.Enum):
    """Why `Shard.run` came back."""

    DONE = "done"
    HOUR = "hour"
    SAVE = "save"


class Shard:
    """One shard. Arguments: the checked catalog, number `shard` of `shards`, the generation that goes into ids, and the
    secret `ledger_key` under which deleted users are remembered.
    """

    def __init__(
        self, catalog: Catalog, *, shard: int = 0, shards: int = 1, generation: str = "0", ledger_key: KeySource = b""
    ) -> None:
        self.vocabulary = Vocabulary(catalog, finds=shards == 1)
        self.definitions: Definitions = compile_definitions(catalog, self.vocabulary)
        d = self.definitions
        self.catalog = catalog
        self.number = shard
        self.shards = shards
        self.ledger = Ledger(ledger_key, catalog.limits.deleted_users)
        self.users = UserTable(d.layout, len(catalog.history), self.ledger)
        self.remembered = Remembered(catalog.remember, catalog.limits.remember_bytes, self._latest_of)
        self.encoder = Encoder(catalog, self.vocabulary, self._row_of)
        self.writer = TransitionWriter(d, generation, shard)
        c = d.layout.columns
        self.pending: Pending = allocate_pending(catalog.limits.pending_examples, c.features, c.predictions)
        self.marks = allocate_marks(MARKS)
        self.out = allocate_out(OUT_ROWS + 4 * c.segments, c.features)
        self.si: I64 = np.zeros(SI_SIZE, np.int64)
        self.sf: F64 = np.zeros(SF_SIZE)
        self.sf[CLOCK] = np.nan
        self.use_limits()
        self.dedupe = allocate_dedupe(catalog.limits.dedupe_ids)
        self.population = allocate_population(c.predictions)
        self._scratch = allocate_scratch(c.features, c.predictions, c.segments, d.predictions.hysteresis)
        self.snapshot = _first_snapshot(c.predictions, c.features)
        self.chunk_numbers: I64 = np.zeros(c.predictions, np.int64)
        self.user_days: F64 = np.zeros(c.predictions)
        self.frozen_at_s: F64 = np.full(c.predictions, math.nan)
        """As of which event time everybody was scored for good; NaN for predictions whose scores move."""
        self.went_live: dict[int, WentLive] = {}
        self.went_live_is_new = False
        self._by_order: I64 | None = None  # rows of the users, while they are reviewed
        self._outside: dict[int, Likelihood] = {}
        self._items: Sequence[Event | BadEvent] = ()
        self._batch: Encoded = self.encoder.encode(())
        self._noted_refused = self._noted_events = 0  # of the batch, by note_items
        self.transitions: list[bytes] = []
        self.changed_members: dict[tuple[int, int], None] = {}
        self.marks_before: list[Marks] = []
        self.dead: list[BadEvent] = []
        self.deleted_users: list[str] = []  # since the last save
        self._deleted_at: dict[str, int] = {}  # positions of deletions, until dead letters have been looked through
        self._id_fields = id_fields(catalog)
        self.snapshot_is_new = False
        self.needs_snapshot = False
        self._model = self._model_of(self.snapshot)
        self._means = _means_of(self.snapshot)
        self.state = self._bind()
        self._events = seal_events(self._batch.events)

    # --- inputs -------------------------------------------------------------------------------------------------

    def feed(self, items: Sequence[Event | BadEvent]) -> None:
        """Give the next batch. The one before must be done.

        Raises RuntimeError when it is not.
        """
        if self.waiting:
            raise RuntimeError("feed: the batch before is not done")
        self._items = items
        self._batch = self.encoder.encode(items)
        self._noted_refused = self._noted_events = 0
        self._give_slots(self._batch)
        self._events = seal_events(self._batch.events)
        self.si[NEXT_EVENT] = 0
        if self.users.grown:
            self.state = self._bind()

    def run(self, until_s: float = math.nan, *, may_save: bool = False) -> Stop:
        """Go on with the batch, then advance to `until_s` (seconds since 1970; NaN: stay at the last event).

        With `may_save` it also stops, between two minutes, when so much has changed that a save is due.
        """
        self.si[MAY_SAVE] = may_save
        while True:
            code = kernel.run(self.sealed.state, self._events, until_s)
            if code == MODEL_NEEDED:
                self._ask_models()
                continue
            self._drain()
            if code == HOUR_DUE:
                self._trim_ledger()
                return Stop.HOUR
            if code == SAVE_DUE:
                return Stop.SAVE
            if code == DONE:
                self.note_items()
                self.users.release_unused()
                return Stop.DONE

    def matured(self, *, every: bool = False) -> list[ExampleChunk]:
        """At a stop for the hour: examples whose label is known now, in chunks per prediction.

        With `every`, when anything has changed at all, there is a chunk of each prediction, possibly without examples:
        something to send the distribution along with.
        """
        chunks: list[ExampleChunk] = []
        now_s = self.hour * 3600.0
        q, d = self.pending, self.definitions
        frozen = ~np.isnan(self.frozen_at_s)
        q.due[frozen] = q.n[NEXT]  # it waits for nothing, and keeps nothing from being forgotten
        due = [
            int(matured_until(self.sealed["pending"], self.sealed["labels"], p, now_s))
            for p in range(len(d.prediction_ids))
        ]
        every = every and (bool(self.si[CHANGED]) or due != q.due.tolist())
        for p, until in enumerate(due):
            if frozen[p] or (until == q.due[p] and not every):
                continue
            clusters, crossings = self._clusters(p, until), self.population.crossings
            # By the hour: whoever comes to it again, after a restart from an older copy, gives the same number to it.
            number, previous = self.hour * CHUNK_PARTS, int(self.chunk_numbers[p])
            chunk = gather_chunk(
                self.sealed, q, clusters, crossings, p, until, number=number, previous=previous, shard=self.number
            )
            if len(chunk) or every:
                parts = chunk.parts(max(1, CHUNK_BYTES // (4 * chunk.x.shape[1])))
                self.chunk_numbers[p] = parts[-1].number
                chunks += parts
        self.needs_snapshot = bool(chunks) or bool(self.si[CHANGED])
        if self.needs_snapshot:
            self._recover_rates()
            self._count_user_days()
            self.si[LABELLED_HOUR] = self.si[HOUR]
            self.si[CHANGED] = 0
        return chunks

    def _clusters(self, p: int, until: int) -> U64:
        """Who is told apart by which number, with all who have examples of prediction `p` before sequence `until`."""
        q = self.pending
        self.users.name_clusters(q.row[np.arange(int(q.due[p]), until) % len(q.row)])
        return self.users.clusters

    def _recover_rates(self) -> None:
        q = self.pending
        if q.n[NEXT] - tail_of(self.sealed["pending"]) < RATE_RECOVERS_BELOW * len(q.time_s):
            np.minimum(1.0, 2.0 * q.rates, out=q.rates)

    def counts(self) -> I64:
        """Users of each audience per bin of their recorded rank value, [predictions, bins]; a copy."""
        return self.population.counts.copy()

    @property
    def has_effects(self) -> bool:
        """Whether a save would store more than that time has passed."""
        told = self.transitions or self.dead or self.deleted_users
        return bool(self.si[TOUCHED] or told or self.snapshot_is_new or self.ledger.has_changed)

    def serves(self, p: int) -> bool:
        """Whether prediction `p` is scored by its model here (and `counts` are of that), not yet by the heuristic."""
        return self.snapshot.predictions[p].status != Status.WARMING

    def take_models(self, arrived: Mapping[int, Snapshot]) -> bool:
        """Put models that arrived one by one in force: prediction -> a snapshot of it alone; false if all are known.

        To be called between two batches. While a prediction is being built, this shard ranks within its own users. One
        that is frozen keeps the model by which it was scored.
        """
        predictions, counts = list(self.snapshot.predictions), self.snapshot.counts.copy()
        newer = [
            p
            for p, one in arrived.items()
            if one.predictions[0].age > predictions[p].age and math.isnan(self.frozen_at_s[p])
        ]
        for p in newer:
            predictions[p] = arrived[p].predictions[0]
            building = predictions[p].status == Status.BUILDING
            counts[p] = self.population.counts[p] if building else arrived[p].counts[0]
        if newer:
            self.apply(Snapshot(self.snapshot.version + 1, tuple(predictions), counts))
        return bool(newer)

    def apply(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force. Predictions that it makes live get their F from this shard's users."""
        going_live = [
            p
            for p, (old, new) in enumerate(zip(self.snapshot.predictions, snapshot.predictions, strict=True))
            if new.status != Status.WARMING and old.status == Status.WARMING
        ]
        self._use_models(snapshot)
        replace_in_place(self._model, self._model_of(snapshot))
        self._use_targets()
        if going_live:
            self.si[EPOCH_NOW] += 1
            self.begin_turns()
            for p in going_live:
                self._rescore(p)
                kernel.count_ranks(self.sealed.state, p, len(self.users))
            counts = snapshot.counts.copy()
            # One that is LIVE already brings the distribution of all shards; this one has just joined them.
            building = [p for p in going_live if snapshot.predictions[p].status == Status.BUILDING]
            counts[building] = self.population.counts[building]
            snapshot = dataclasses.replace(snapshot, counts=counts)
            self._model.table[:] = percentile_table(counts)
        self.snapshot = snapshot
        self._means = _means_of(snapshot)
        self.snapshot_is_new = True
        self.si[VERSION_NOW] = snapshot.version
        if going_live:
            self.reschedule_all()

    def _count_user_days(self) -> None:
        """User-days in the audience of live predictions, the base of rates per 1,000 users and day."""
        if self.si[LABELLED_HOUR]:
            inside = self.population.counts.sum(axis=1)
            live = np.array([s.status != Status.WARMING for s in self.snapshot.predictions])
            self.user_days += inside * live * (self.hour - int(self.si[LABELLED_HOUR])) / 24.0

    def _rescore(self, p: int) -> None:
        """Everybody's rank value becomes the model's.

        That changes all rows at once, too many for one commit. So they are not saved now: with what is noted here, a
        load computes the rank values of users who have not had their turn since.
        """
        epoch, named = int(self.si[EPOCH_NOW]), self.vocabulary.named.copy()
        self.went_live_is_new = True
        if p not in self._outside:
            self.note_went_live(p, WentLive(epoch, self._model.weights[p].copy(), float(self._model.bias[p]), named))
            return
        self.note_went_live(p, WentLive(epoch, np.zeros(0), 0.0, named))
        s, c = self.state, self.definitions.layout.columns
        for i in range(len(self.users)):
            if s.rows.b[i, c.b_audience + p]:
                features_at(
                    self.sealed["rows"],
                    self.sealed["c"],
                    self.sealed["features"],
                    i,
                    s.rows.t[i, SCORED_T],
                    s.scratch.x[0],
                )
                s.rows.f[i, c.f_z + p] = _logit(self._outside[p].likelihood(s.scratch.x[0]))
                touch(self.sealed.state, i)

    def note_went_live(self, p: int, then: WentLive) -> None:
        """Prediction `p` goes or went live: users who have not been scored since get the rank value as of then."""
        self.went_live[p] = then
        self._model.epoch[p] = then.epoch
        if len(then.weights):
            spec = seal_features(self.definitions.features._replace(named=then.named))
            kernel.rescore_all(self.sealed.state, spec, p, then.weights, then.bias, then.epoch, len(self.users))

    def note_frozen(self, p: int, at_s: float) -> None:
        """All that rows hold of prediction `p` is as of `at_s`, for everybody, and stays (`streams.core.frozen`)."""
        self.frozen_at_s[p] = at_s
        self.definitions.predictions.frozen[p] = 1
        self.definitions.predictions.external[p] = 0
        # Rows are what the model has said, whoever has not had a turn yet.
        self.note_went_live(p, WentLive(0, np.zeros(0), 0.0, self.vocabulary.named.copy()))

    def ask_model(self, p: int, row: int, time_s: float) -> None:
        """Give the loop the logit of prediction `p`, of a model that it cannot run itself, for a second step."""
        x = self.state.scratch.x[SECOND_STEP]
        features_at(self.sealed["rows"], self.sealed["c"], self.sealed["features"], row, time_s, x)
        self.state.scratch.given[SECOND_STEP, p] = _logit(self._outside[p].likelihood(x))

    def begin_turns(self) -> None:
        """Look at users who were scored before the epoch that has begun, in their order, from the next minute on."""
        self.si[TURN_EPOCH] = self.si[EPOCH_NOW]
        self.si[BACKFILL_START] = self.si[MINUTE] + 1  # of the hour in lock-step; live, models come at any time

    def begin_review(self) -> None:
        """Users are to be judged by the segments of the epoch that has begun, as things stand now (`review`)."""
        rows = self._accepted_rows()
        self.si[REVIEW_NEXT] = 0
        self.si[REVIEW_END] = self.users.users.order[rows].max(initial=-1) + 1
        self.si[REVIEW_EPOCH], self.si[REVIEW_MINUTE] = self.si[EPOCH_NOW], self.si[MINUTE]
        self.sf[REVIEW_CLOCK] = self.sf[CLOCK]
        self.si[CHANGED] = 1  # by the change itself: which hours have work must not depend on when users are reviewed

    @property
    def is_reviewing(self) -> bool:
        """Whether users have yet to be judged by definitions that have changed."""
        return bool(self.si[REVIEW_NEXT] < self.si[REVIEW_END])

    def review(self) -> None:
        """Judge the next users by what is served of them, as of the change of definitions.

        So many at most as `limits.commit_users`, and fewer when a save is due before. To be called between two batches.

        Raises RuntimeError when the batch is not done.
        """
        if self.waiting:
            raise RuntimeError("review: the batch before is not done")
        if self._by_order is None:
            rows = self._accepted_rows()
            self._by_order = np.full(int(self.si[REVIEW_END]), -1, np.int64)
            orders = self.users.users.order[rows]
            self._by_order[orders[orders < len(self._by_order)]] = rows[orders < len(self._by_order)]
        end = min(int(self.si[REVIEW_END]), int(self.si[REVIEW_NEXT]) + self.catalog.limits.commit_users)
        while self.si[REVIEW_NEXT] < end and not self.save_is_due:
            kernel.review_until(self.sealed.state, self._by_order, end)
            self._drain()
        if not self.is_reviewing:
            self._by_order = None

    def _accepted_rows(self) -> I64:
        """Rows of users with an accepted event."""
        return np.flatnonzero(self.users.rows.t[: len(self.users), FIRST_T] != 0.0)

    def reschedule_all(self) -> None:
        """Compute every user's next look anew."""
        kernel.reschedule_all(self.sealed.state, len(self.users))

    # --- what is known ----------------------------------------------------------------------------------------------

    @property
    def hour(self) -> int:
        """The whole hour (since 1970) that was worked or passed last."""
        return int(self.si[HOUR])

    @property
    def clock_s(self) -> float:
        """The highest event time accepted; NaN before the first event."""
        return float(self.sf[CLOCK])

    @property
    def reached_s(self) -> float:
        """At a stop: up to when time was let pass. What is due at that very minute may still have to happen."""
        return max(self.clock_s, 60.0 * int(self.si[MINUTE]), 3_600.0 * self.hour)

    @property
    def lead_s(self) -> float:
        """The largest lead of the accepted events and deletions of the batch in hand: how far their time is past their
        log time, and -inf for none. No lead is larger than `time.max_ahead_s`.
        """
        e = self._batch.events
        is_ahead = e.time_s > e.log_time_s + self.sf[MAX_AHEAD_S]  # moved back to its log time
        leads_s = np.where(is_ahead, 0.0, e.time_s - e.log_time_s)
        is_taken = (e.outcome == ACCEPTED) | (e.outcome >= DELETION)
        return float(leads_s[is_taken].max(initial=-math.inf))

    @property
    def waiting(self) -> bool:
        """Whether events of the batch have not been taken yet."""
        return bool(self.si[NEXT_EVENT] < len(self._batch.item))

    @property
    def next_item(self) -> int:
        """Where in the batch as it was fed the next event stands (its length when all are taken)."""
        if self.waiting:
            return self._batch.item[int(self.si[NEXT_EVENT])]
        return len(self._items)

    @property
    def save_is_due(self) -> bool:
        """Whether the next save should not wait for the end of the batch (`limits.commit_users`, `_transitions`)."""
        return bool(kernel.save_is_due(self.sealed.state))

    def counters(self) -> dict[str, int]:
        """What happened so far, by name."""
        counted = {name: int(self.si[at]) for name, at in COUNTERS.items()}
        q = self.pending
        counted["users"] = int(self.si[USERS])
        counted["pending_examples"] = int(q.n[NEXT] - tail_of(self.sealed["pending"]))
        counted["dropped_examples"] = int(q.n[DROPPED])
        counted["deletions_forgotten"] = self.ledger.forgotten
        counted["remembered_too_large"] = self.remembered.too_large
        return counted

    # --- inside -----------------------------------------------------------------------------------------------------

    def use_limits(self) -> None:
        """Put what the catalog alone decides among the loop's scalars; after a load, too."""
        self.sf[MAX_AHEAD_S] = self.catalog.time.max_ahead_s
        self.si[BACKFILL_RATE] = self.catalog.limits.backfill_users_per_minute
        self.si[USERS_LIMIT] = self.catalog.limits.users
        self.si[SAVE_ROWS] = self.catalog.limits.commit_users
        self.si[SAVE_OUT] = self.catalog.limits.commit_transitions
        self.si[NEXT_EVENT] = 0

    def _bind(self) -> State:
        d = self.definitions
        self.users.grown = False
        state = State(
            rows=self.users.rows,
            c=d.layout.columns,
            features=d.features,
            history=self.users.history,
            users=self.users.users,
            queue=self.users.queue,
            pending=self.pending,
            labels=d.labels,
            dedupe=self.dedupe,
            predictions=d.predictions,
            segments=d.segments,
            conditions=d.conditions,
            programs=d.programs,
            model=self._model,
            population=self.population,
            scratch=self._scratch,
            out=self.out,
            marks=self.marks,
            si=self.si,
            sf=self.sf,
        )
        self.sealed = Sealed(state)
        return state

    def rebind(self) -> None:
        """Take over arrays that were replaced (after loading)."""
        self._model = self._model_of(self.snapshot)
        self._means = _means_of(self.snapshot)
        self._use_models(self.snapshot)
        self._use_targets()
        self.state = self._bind()

    def _use_models(self, snapshot: Snapshot) -> None:
        """Note which predictions have a model that the loop cannot run itself; the others come as weights."""
        self._outside = {
            p: s.model
            for p, s in enumerate(snapshot.predictions)
            if s.model is not None and math.isnan(self.frozen_at_s[p])
        }
        external = self.definitions.predictions.external
        external[:] = 0
        external[list(self._outside)] = 1

    def _use_targets(self) -> None:
        self.si[TARGETS] = _bits(self._model.live * self.definitions.predictions.targets)

    def _model_of(self, snapshot: Snapshot) -> Model:
        went_live = [self.went_live[p].epoch if p in self.went_live else 0 for p in range(len(snapshot.predictions))]
        return Model(
            weights=np.stack([p.weights for p in snapshot.predictions]),
            bias=np.array([p.bias for p in snapshot.predictions], np.float64),
            live=np.array([p.status != Status.WARMING for p in snapshot.predictions], np.uint8),
            table=percentile_table(snapshot.counts),
            epoch=np.array(went_live, np.int64),
            version=np.array([p.version for p in snapshot.predictions], np.int64),
        )

    def _row_of(self, user: str) -> int:
        """The user's row, a new one if need be; -1 for a new user who belongs to another shard."""
        if self.shards > 1 and self.users.find(user) is None and shard_of(user, self.shards) != self.number:
            return -1
        return self.users.row_of(user)

    def _give_slots(self, batch: Encoded) -> None:
        events = batch.events
        for e in np.flatnonzero(events.history >= 0).tolist():
            self.users.need_slot(int(events.row[e]), int(events.history[e]))

    def _ask_models(self) -> None:
        """Give the loop the logits of models that it cannot run itself, for both steps of the waiting moment."""
        s = self.state
        steps = (0, 1) if self.si[PHASE] == kernel.OF_LOOK else (0,) if self.si[PHASE] == kernel.OF_FIRST_STEP else (1,)
        for p in np.flatnonzero(self.definitions.predictions.external).tolist():
            for step in steps:
                s.scratch.given[step, p] = _logit(self._outside[p].likelihood(s.scratch.x[step]))

    def _drain(self) -> None:
        """Empty the loop's buffers: transitions become events, goal marks are put aside."""
        n = int(self.si[OUT])
        if n:
            self._write_transitions(n)
            self.si[OUT] = 0
        marks = int(self.si[GOALS])
        if marks == MARKS:
            m = self.marks
            self.marks_before.append(Marks._make(column.copy() for column in m))
            self.si[GOALS] = 0

    def _write_transitions(self, n: int) -> None:
        rows, segments = self.out.whole[:n, O_ROW].tolist(), self.out.whole[:n, O_SEGMENT].tolist()
        self.changed_members.update(dict.fromkeys(zip(rows, segments, strict=True)))
        items, places = self._items, self._batch.item
        causes: list[str | None] = []
        for event in self.out.whole[:n, O_EVENT].tolist():
            cause = items[places[event]] if event >= 0 else None
            causes.append(cause.cause_id if isinstance(cause, Event) else None)
        users = [self.users.ids[row] for row in rows]
        names = self.vocabulary.feature_names()
        self.transitions += self.writer.write(self.out, n, users, causes, self._model.weights, self._means, names)

    def note_items(self) -> None:
        """Collect what the rim keeps of the items taken since the last call: dead letters, remembered properties.

        To be called before a save in the middle of a batch.
        """
        upto = self.next_item
        refused, items = self._batch.refused, self._batch.item
        noted: list[BadEvent] = []
        while self._noted_refused < len(refused) and refused[self._noted_refused][0] < upto:
            noted.append(refused[self._noted_refused][1])
            self._noted_refused += 1
        last = bisect_left(items, upto)
        if self.catalog.remember or (self._batch.events.outcome[self._noted_events : last] >= NO_ROOM).any():
            for e in range(self._noted_events, last):
                self._note_event(e, noted)
        self._noted_events = last
        self.dead += sorted(map(self._kept, noted), key=lambda bad: bad.position)
        if self._deleted_at:
            self._erase_letters()

    def _note_event(self, e: int, noted: list[BadEvent]) -> None:
        event = self._items[self._batch.item[e]]
        outcome = self._batch.events.outcome[e]
        if not isinstance(event, Event):
            return
        if outcome >= DELETION:
            self._note_deletion(event, int(self._batch.events.row[e]), was_there=outcome == END_OF_LIFE)
        elif outcome == OF_DELETED:
            noted.append(self.encoder.of_deleted(event))
        elif outcome == NO_ROOM:
            noted.append(self.encoder.no_room(event))
        elif outcome == ACCEPTED and self.catalog.remember:
            self.remembered.take(event, self._clocked(event))

    def _note_deletion(self, event: Event, row: int, *, was_there: bool) -> None:
        """What the loop does not see of the user goes as well; what remains is a hash and when it was."""
        users = self.users
        at_s, until_s = float(users.users.deleted_at[row]), float(users.users.deleted_until[row])
        self.ledger.note(event.user, at_s, until_s, ended=int(users.rows.u[row, LIFE]) if was_there else 0)
        users.note_deleted(row)
        self.remembered.forget_user(event.user)
        self.deleted_users.append(event.user)
        self._deleted_at[event.user] = event.position

    def _erase_letters(self) -> None:
        """Dead letters that are about somebody who was deleted after them go out without bytes."""
        named = Named(self._deleted_at, self._id_fields)
        for k, bad in enumerate(self.dead):
            if bad.raw and any(bad.position < self._deleted_at[user] for user in named.in_record(bad.raw)):
                self.dead[k] = without_bytes(bad)
        self._deleted_at = {}

    def _kept(self, bad: BadEvent) -> BadEvent:
        """A dead letter as it is kept: without bytes where it names somebody who was deleted before it came."""
        if not (len(self.ledger) and bad.raw):
            return bad
        is_known = any(self.ledger.find(name) is not None for name in ids_in(bad.raw, self._id_fields))
        return without_bytes(bad) if is_known else bad

    def release_unsaved(self) -> None:
        """Take back the rows of deleted users of whom nothing is stored, and leave nothing of them to be saved."""
        table = self.users.users
        touched = table.touched[: self.si[TOUCHED]]
        kept = touched[self.users.rows.t[touched, FIRST_T] != 0.0]
        table.dirty[touched] = 0
        table.dirty[kept] = 1
        touched[: len(kept)] = kept
        self.si[TOUCHED] = len(kept)
        self.changed_members = {}
        self.users.release_unused()

    def _trim_ledger(self) -> None:
        """At a whole hour, so that it does not matter how the input was cut."""
        self.note_items()
        if self.ledger.trim():
            self.users.look_up_deleted()

    def _clocked(self, event: Event) -> float:
        """The event's time as the loop took it: moved back to its log time when it was too far ahead of that."""
        ahead = event.time_s > event.log_time_s + self.sf[MAX_AHEAD_S]
        return event.log_time_s if ahead else event.time_s

    def _latest_of(self, user: str, event_name: str) -> float:
        """Whole second of the user's latest accepted event of a name that the catalog knows; 0 for none."""
        row = self.users.find(user)
        if row is None:
            return 0.0
        column = self.definitions.layout.columns.u_latest + self.vocabulary.known_column(event_name)
        return float(self.users.rows.u[row, column])


def _means_of(snapshot: Snapshot) -> F64:
    """Mean features of the learned examples, [predictions, features]: what reasons compare with."""
    return np.stack([p.means for p in snapshot.predictions])


def _bits(flags: U8) -> int:
    """Truth values as the bits of one number, the first one lowest."""
    return sum(1 << n for n, is_set in enumerate(flags.tolist()) if is_set)


def _logit(likelihood: float) -> float:
    clipped = min(max(likelihood, 1e-9), 1.0 - 1e-9)
    return math.log(clipped / (1.0 - clipped))


def _first_snapshot(predictions: int, features: int) -> Snapshot:
    """Version 0: nothing learned, nobody counted."""
    nothing = PredictionSnapshot(Status.WARMING, np.zeros(features), 0.0, np.zeros(features), 0, 0)
    return Snapshot(0, (nothing,) * predictions, np.zeros((predictions, BINS), np.int64))
