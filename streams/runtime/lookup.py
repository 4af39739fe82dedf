"""One user as people look at them: scores, memberships, traits, and the reasons behind each score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from config.catalog import Prediction, category_names
from models.features import features_at
from models.jit import F32
from models.layout import FIRST_T, LAST_T, SCORED_T
from models.reasons import TOP, Reason, reasons
from models.snapshot import PredictionSnapshot, Status
from streams.adapters.redis_reader import RedisReader, Score
from streams.core.definitions import CATEGORIES
from streams.core.frozen import kept_reasons
from streams.runtime.stored import StoredState
from streams.runtime.stored_rows import check_sizes
from streams.runtime.summary import Warmup, score_name, status_word, warmup_of
from streams.runtime.uncompiled import uncompiled

_NUMBER_BYTES = 8
"""A stored row begins with its number in the shard."""


@dataclass(frozen=True, slots=True)
class UserPrediction:
    """What one prediction says of the user. Without a score the user is not in its audience."""

    id: str
    name: str
    kind: str
    score_name: str
    scale: str
    status: str
    score: float | None
    likelihood: float | None
    category: str | None
    category_name: str | None
    category_edges: tuple[float, float]
    """The lowest scores of medium and high."""
    hysteresis: float
    """So many points past an edge the user changes category."""
    lapsed_s: float | None
    """Churn only: since when the user is out of the audience, because the goal's event was too long ago."""
    lapsed_after_s: float | None
    """The time of that event."""
    frozen_s: float | None
    """A preview: as of which event time everybody was scored for good; None where the score moves."""
    warmup: Warmup | None
    """How far the prediction is on its way to being live; None once it is."""
    reasons: tuple[Reason, ...]
    """Why the likelihood differs from that of a usual moment; none for models without weights."""


@dataclass(frozen=True, slots=True)
class Membership:
    """One segment that the user is in; `since_s` in seconds since 1970 UTC."""

    id: str
    name: str
    since_s: float
    entry_count: int


@dataclass(frozen=True, slots=True)
class EventCount:
    """How often the user did something, and when last; `name` is `*` for all names without a column of their own."""

    name: str
    total: int
    last_s: float


@dataclass(frozen=True, slots=True)
class UserDetail:
    """Everything that is stored of one user. Times are seconds since 1970 UTC."""

    user: str
    shard: int
    first_s: float
    last_s: float
    scored_s: float
    """When the scores were made: at an event, or at a look in silence."""
    events: tuple[EventCount, ...]
    predictions: tuple[UserPrediction, ...]
    segments: tuple[Membership, ...]
    traits: dict[str, str | float | bool]
    remembered: Any


def look_up(reader: RedisReader, state: StoredState, user: str) -> UserDetail | None:
    """The user's detail; None for a user that nobody has seen. Raises CatalogMoved where `state` is of before."""
    view = reader.user(user)
    row = reader.row(user)
    if row is None:
        return None
    return _detail(state, _Row(state, row), user, view.shard, view.scores, view.remembered)


def membership_since(state: StoredState, row: bytes, segment: str) -> Membership:
    """Since when the user whose stored row is given is in the segment."""
    return _Row(state, row).membership(state.definitions.segment_ids.index(segment))


def _detail(
    state: StoredState, row: _Row, user: str, shard: int, scores: dict[str, Score], remembered: bytes | None
) -> UserDetail:
    return UserDetail(
        user=user,
        shard=shard,
        first_s=row.time(FIRST_T),
        last_s=row.time(LAST_T),
        scored_s=row.time(SCORED_T),
        events=tuple(row.events()),
        predictions=tuple(_predictions(state, row, scores)),
        segments=tuple(row.membership(g) for g in range(len(state.definitions.segment_ids)) if row.sequence(g) % 2),
        traits=row.traits(),
        remembered=None if remembered is None else msgspec.json.decode(remembered),
    )


class _Row:
    """One stored row (`UserTable.row_bytes`), without the history behind it."""

    def __init__(self, state: StoredState, stored: bytes) -> None:
        self._state = state
        layout = state.definitions.layout
        check_sizes(layout, [stored])
        self._c = layout.columns
        self._rows = layout.views(np.frombuffer(stored, np.uint8, layout.row_bytes, _NUMBER_BYTES).reshape(1, -1))

    def time(self, column: int) -> float:
        return float(self._rows.t[0, column])

    def sequence(self, segment: int) -> int:
        return int(self._rows.u[0, self._c.u_sequence + segment])

    def membership(self, segment: int) -> Membership:
        d = self._state.definitions
        entered_s = float(self._rows.t[0, self._c.t_entered + segment])
        return Membership(
            d.segment_ids[segment], d.segment_names[segment], entered_s, (self.sequence(segment) + 1) // 2
        )

    def events(self) -> list[EventCount]:
        counted = []
        for k, name in enumerate(self._state.vocabulary.event_names()):
            total = int(self._rows.f[0, self._c.f_total + k])
            if total:
                counted.append(EventCount(name, total, float(self._rows.u[0, self._c.u_latest + k])))
        return counted

    def traits(self) -> dict[str, str | float | bool]:
        vocabulary = self._state.vocabulary
        found = {
            trait: vocabulary.trait_text(trait, float(self._rows.t[0, self._c.t_trait + j]))
            for trait, j in vocabulary.traits.items()
        }
        return {trait: value for trait, value in found.items() if value is not None}

    def kept_reasons(self, p: int, snapshot: PredictionSnapshot) -> tuple[Reason, ...]:
        """Those of the moment at which prediction number `p` was frozen."""
        at = int(self._state.definitions.predictions.reason[p])
        codes = self._rows.u[0, self._c.u_reason + at : self._c.u_reason + at + TOP]
        contributions = self._rows.f[0, self._c.f_reason + at : self._c.f_reason + at + TOP]
        return kept_reasons(codes, contributions, snapshot, self._state.vocabulary.feature_names())

    def features(self) -> F32:
        """float32[F] as they were when the user was scored."""
        x = np.zeros(self._c.features, np.float32)
        # Uncompiled: for a single user that is faster than loading compiled code for another kind of argument.
        uncompiled(features_at)(self._rows, self._c, self._state.definitions.features, 0, self.time(SCORED_T), x)
        return x


def _predictions(state: StoredState, row: _Row, scores: dict[str, Score]) -> list[UserPrediction]:
    x = row.features()
    names = state.vocabulary.feature_names()
    latest = {event.name: event.last_s for event in row.events()}
    result = []
    for p, (name, prediction) in enumerate(state.catalog.predictions.items()):
        score = scores.get(name, Score())
        snapshot = None if state.snapshot is None else state.snapshot.predictions[p]
        live = snapshot is not None and snapshot.status != Status.WARMING
        why: tuple[Reason, ...] = ()
        frozen_s = state.frozen_s[p]
        if snapshot is not None and frozen_s is not None:
            why = row.kept_reasons(p, snapshot)
        elif snapshot is not None and live and score.score is not None and snapshot.model is None:
            why = reasons(snapshot.weights, snapshot.means, x, names)
        lapsed_s = (
            None
            if score.score is not None
            else _lapsed_s(prediction, latest, row.time(SCORED_T) if frozen_s is None else frozen_s)
        )
        result.append(
            UserPrediction(
                id=name,
                name=prediction.name,
                kind=prediction.kind,
                score_name=score_name(prediction),
                scale=prediction.scale,
                status=status_word(prediction, Status.WARMING if snapshot is None else snapshot.status),
                score=score.score,
                likelihood=score.likelihood,
                category=score.category,
                category_name=_category_name(prediction.kind, score.category),
                category_edges=(prediction.categories.medium, prediction.categories.high),
                hysteresis=prediction.hysteresis,
                lapsed_s=lapsed_s,
                lapsed_after_s=None if lapsed_s is None else lapsed_s - prediction.lookback_s,
                frozen_s=frozen_s,
                warmup=warmup_of(state, p),
                reasons=why,
            )
        )
    return result


def _lapsed_s(prediction: Prediction, latest: dict[str, float], scored_s: float) -> float | None:
    """When the latest event of a churn goal became too old for the audience; None if it has not."""
    times_s = [latest[atom.event] for atom in prediction.goal.atoms if atom.event in latest]
    if prediction.kind != "churn" or not times_s:
        return None
    lapsed_s = max(times_s) + prediction.lookback_s
    return lapsed_s if lapsed_s <= scored_s else None


def _category_name(kind: Any, category: str | None) -> str | None:
    return None if category is None else category_names(kind)[CATEGORIES.index(category)]
