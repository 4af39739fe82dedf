"""Prequential quality: how good what was served turned out to be.

Every judged example carries the likelihood, score and category that were served at its moment, so each
figure judges what was said before the outcome was known. Examples are summed into bins, apart for each
kind (event, silent, crossing), each touch (a message of a campaign within the window: none, sent, withheld) and each
week (Monday to Monday, UTC, by the time of the moment):
- 1024 equal bins of the logit of the likelihood over [-12, 12), outer ones open, and as many of the
  heuristic's value over [-24, 24), the weights of examples with and without the goal in each;
- 20 buckets of the score and the 3 categories, with weight, summed likelihood and goals in each;
- sums for log loss and calibration.
All sums carry the weights of the examples. What was not served (a moment of the warm-up, a likelihood that
is NaN, or category NONE) is counted and judged in nothing. Weeks beyond `MAX_WEEKS` (520) are merged, the
two oldest first. Only a few weeks are held open; the others are kept packed, as they are stored.

Figures come from bins with the formulas of models/metrics.py: the examples of a bin are ties. One bin is
0.023 wide in the logit, so rank figures differ from exact ones by little; log loss, expected over
observed and all counts are exact.

**Lift quality.** For the best-ranked share q of an audience let G(q) be the share of all goals that lies
in it; a random audience has G(q) = q, so G(q) - q is its lift over chance. Over all audience sizes the
mean lift is L = integral of G - 1/2. An order that puts every goal first has G(q) = min(1, q / r) with r
the rate of the goal, and L = (1 - r) / 2. Lift quality is 100 L / ((1 - r) / 2): 0 for a random order,
100 for a perfect one. With midranks for ties, integral of G = r / 2 + (1 - r) AUC (half of the goals
before a goal, and AUC of those without before them behind it), so L = (1 - r) (AUC - 1/2), and lift
quality is 100 (2 AUC - 1): r drops out, and figures of rare and of common goals can be compared. Bands:
from 60 (AUC .8) excellent, from 40 (.7) good, from 20 (.6) fair, below poor.
"""

import math
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, cast

import msgspec
import numpy as np
import numpy.typing as npt

from config.errors import ModelError
from models.examples import (
    CATEGORY_NONE,
    KIND_CROSSING,
    KIND_EVENT,
    KIND_SILENT,
    TOUCH_NONE,
    TOUCH_SENT,
    TOUCH_WITHHELD,
    ExampleChunk,
)
from models.jit import F32, F64, I64, U8, jit
from models.metrics import LIKELIHOOD_FLOOR, Ranking, band
from models.snapshot import BINS, Z_MAX, Z_MIN

FORMAT: Final = 2
_WITHOUT_TOUCHES: Final = 1
"""The format before touches: its places are those of TOUCH_NONE."""
KINDS: Final = (KIND_EVENT, KIND_SILENT, KIND_CROSSING)
TOUCHES: Final = (TOUCH_NONE, TOUCH_SENT, TOUCH_WITHHELD)
UNTOUCHED: Final = (TOUCH_NONE, TOUCH_WITHHELD)
"""Whose users got no message, of chance (for a comparison) or for any other reason."""
MAX_WEEKS: Final = 520
OPEN_WEEKS: Final = 4
WEEK_S: Final = 7 * 86_400.0
MONDAY_S: Final = 4 * 86_400.0
"""The first Monday after 1970-01-01, a Thursday."""
BUCKETS: Final = 20
CATEGORIES: Final = 3
HEURISTIC_MAX: Final = 24.0

# One week is one flat float64 array, so that it is packed, merged and restored as one thing. Per touch and kind:
_MODEL: Final = 0  # [BINS, 2] weight without and with the goal
_HEURISTIC: Final = _MODEL + 2 * BINS  # [BINS, 2]
_BUCKETS: Final = _HEURISTIC + 2 * BINS  # [BUCKETS, 3] weight, likelihood, goals
_CATEGORIES: Final = _BUCKETS + 3 * BUCKETS  # [CATEGORIES, 3]
_SUMS: Final = _CATEGORIES + 3 * CATEGORIES
_EXAMPLES, _GOALS, _WEIGHT, _LIKELIHOOD, _GOAL_WEIGHT, _LOG_LOSS, _UNSERVED = range(_SUMS, _SUMS + 7)
_SIZE: Final = _SUMS + 7
_ROWS: Final = len(TOUCHES) * len(KINDS)


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one selection of examples; None where a figure has no meaning (say, only one class)."""

    n: int
    """Examples, each counted once."""
    positives: int
    """Examples with the goal, each counted once."""
    roc_auc: float | None
    average_precision: float | None
    normalized_entropy: float | None
    """None for the heuristic, which has no likelihood; so is the next."""
    expected_over_observed: float | None
    top_decile_lift: float | None
    lift_quality: float | None
    band: str | None
    """excellent, good, fair or poor, by lift quality."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Examples of one score bucket, category or group of likelihoods."""

    weight: float
    mean_likelihood: float | None
    """None in an empty bucket; so is the next."""
    actual_rate: float | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Sums over some kinds, touches and weeks, and the figures that they give."""

    sums: F64
    """[_SIZE]"""

    @property
    def n(self) -> int:
        return int(self.sums[_EXAMPLES])

    @property
    def unserved(self) -> int:
        """Examples whose likelihood nobody saw (warming up)."""
        return int(self.sums[_UNSERVED])

    @property
    def ranking(self) -> Ranking:
        """The examples in falling order of likelihood, a group per bin; gives the gains curve, too."""
        return _ranking(self.sums[_MODEL:_HEURISTIC])

    @property
    def heuristic_ranking(self) -> Ranking:
        return _ranking(self.sums[_HEURISTIC:_BUCKETS])

    def figures(self) -> Figures:
        """Of the likelihoods that were served."""
        return self._figures(self.ranking, _normalized_entropy(self.sums), _expected_over_observed(self.sums))

    def heuristic_figures(self) -> Figures:
        """Of the heuristic on the same examples: what the prediction has to beat."""
        return self._figures(self.heuristic_ranking, None, None)

    def _figures(self, ranking: Ranking, entropy: float | None, ratio: float | None) -> Figures:
        quality = ranking.lift_quality()
        return Figures(
            n=self.n,
            positives=int(self.sums[_GOALS]),
            roc_auc=ranking.roc_auc(),
            average_precision=ranking.average_precision(),
            normalized_entropy=entropy,
            expected_over_observed=ratio,
            top_decile_lift=ranking.top_decile_lift(),
            lift_quality=quality,
            band=None if quality is None else band(quality),
        )

    def score_buckets(self) -> tuple[Bucket, ...]:
        """20 buckets of five points each, from 0 up; 100 is in the last."""
        return _buckets(self.sums[_BUCKETS:_CATEGORIES])

    def categories(self) -> tuple[Bucket, ...]:
        """low, medium, high"""
        return _buckets(self.sums[_CATEGORIES:_SUMS])

    def calibration(self, groups: int = 20) -> tuple[Bucket, ...]:
        """At most `groups` groups of about equal weight in rising order of likelihood, empty ones left out.

        The mean likelihood of a group is taken from the middles of its bins.
        """
        bins = self.sums[_MODEL:_HEURISTIC].reshape(BINS, 2)
        weight = bins.sum(axis=1)
        middle = Z_MIN + (np.arange(BINS) + 0.5) * (Z_MAX - Z_MIN) / BINS
        total = weight.sum()
        if total <= 0.0:
            return ()
        # A bin belongs to the group in which its middle example lies.
        group = np.minimum((groups * (np.cumsum(weight) - 0.5 * weight) / total).astype(np.int64), groups - 1)
        likelihood = np.bincount(group, weights=weight / (1.0 + np.exp(-middle)), minlength=groups)
        columns = np.bincount(group, weights=weight, minlength=groups), likelihood
        rows = np.column_stack([*columns, np.bincount(group, weights=bins[:, 1], minlength=groups)])
        return _buckets(rows[rows[:, 0] > 0.0].ravel())


class Quality:
    """The sums of one prediction, per week, touch and kind."""

    def __init__(self) -> None:
        self._open: dict[int, F64] = {}
        self._packed: dict[int, bytes] = {}
        self._dirty: set[int] = set()

    def add(self, chunk: ExampleChunk, served_from_s: float = -math.inf) -> None:
        """Sums one chunk; likelihoods of moments before `served_from_s` (seconds since 1970 UTC) were not served.

        Raises ValueError when a kind or touch is unknown or a time is not finite.
        """
        if len(chunk) == 0:
            return
        week = np.empty(len(chunk), np.int64)
        if not _find_weeks(chunk.time_s, chunk.kind, chunk.touch, week):
            raise ValueError("an example has an unknown kind or touch, or a time that is not finite")
        place = (len(KINDS) * chunk.touch + chunk.kind).astype(np.uint8)
        served = chunk.likelihood, chunk.heuristic, chunk.score, chunk.weight
        unserved = (chunk.time_s < served_from_s) | (chunk.category == CATEGORY_NONE) | ~np.isfinite(chunk.likelihood)
        first, last = int(week.min()), int(week.max())
        for wanted in (first,) if first == last else np.unique(week).tolist():
            sums = self._week(wanted)
            _accumulate(sums, week, wanted, (place, chunk.y, chunk.category), served, unserved)
            self._dirty.add(wanted)
        self._bound()

    @property
    def weeks(self) -> tuple[int, ...]:
        """Weeks that hold examples, oldest first; `week_start_s` says when one began."""
        return tuple(sorted(self._open.keys() | self._packed.keys()))

    def select(
        self,
        kinds: Collection[int] = (KIND_EVENT, KIND_SILENT),
        first_week: int | None = None,
        last_week: int | None = None,
        touches: Collection[int] = TOUCHES,
    ) -> Selection:
        """Sums over kinds, touches and the weeks from first to last, both included; without them, all weeks."""
        total = np.zeros(_SIZE)
        for week in self.weeks:
            if (first_week is None or week >= first_week) and (last_week is None or week <= last_week):
                sums = self._read(week)
                for touch in touches:
                    for kind in kinds:
                        total += sums[len(KINDS) * touch + kind]
        return Selection(total)

    def by_week(self, kinds: Collection[int] = (KIND_EVENT, KIND_SILENT)) -> Iterator[tuple[float, Selection]]:
        """Start of the week in seconds since 1970 UTC and its sums, oldest first."""
        for week in self.weeks:
            yield week_start_s(week), self.select(kinds, week, week)

    def state(self, *, changed_only: bool = False) -> dict[str, bytes]:
        """A field per week, named by its number, from which `load` restores bit for bit.

        `changed_only`: only the weeks that changed since `mark_saved`; empty bytes for one that was merged.
        """
        wanted = self._dirty if changed_only else self.weeks
        return {str(week): self._pack(week) for week in sorted(wanted)}

    def mark_saved(self) -> None:
        """What `state` gave is stored; the next `changed_only` starts from here."""
        self._dirty.clear()

    @classmethod
    def load(cls, fields: dict[str, bytes]) -> "Quality":
        """Raises ModelError when a field is not what `state` gave."""
        quality = cls()
        for name, data in fields.items():
            if not name.isdecimal():
                raise ModelError(f"{name!r} is not the number of a week of quality")
            if data:
                _unpack(data)  # read now, so that a broken field is noticed at start and not in a report
                quality._packed[int(name)] = data
        return quality

    def _week(self, week: int) -> F64:
        """The open sums of a week, in place; opens or begins it."""
        sums = self._open.pop(week, None)
        if sums is None:
            packed = self._packed.pop(week, None)
            sums = np.zeros((_ROWS, _SIZE)) if packed is None else _unpack(packed)
        self._open[week] = sums  # last in the order of use
        return sums

    def _read(self, week: int) -> F64:
        sums = self._open.get(week)
        return _unpack(self._packed[week]) if sums is None else sums

    def _pack(self, week: int) -> bytes:
        if week in self._open:
            return _pack(self._open[week])
        return self._packed.get(week, b"")

    def _bound(self) -> None:
        """Merges the oldest weeks beyond MAX_WEEKS and packs the open ones that were not used lately."""
        while len(self._open) + len(self._packed) > MAX_WEEKS:
            oldest, second = self.weeks[:2]
            merged = self._week(oldest)
            del self._open[oldest]
            self._week(second)[:] += merged
            self._dirty |= {oldest, second}
        while len(self._open) > OPEN_WEEKS:
            week = next(iter(self._open))
            self._packed[week] = _pack(self._open.pop(week))


def week_start_s(week: int) -> float:
    """When a week began: seconds since 1970 UTC, a Monday at 0:00."""
    return MONDAY_S + week * WEEK_S


class _Wire(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    format: int
    places: bytes
    values: bytes


def _pack(sums: F64) -> bytes:
    """Only the sums that are not zero: a few hundred of many thousand."""
    flat = sums.ravel()
    places = np.flatnonzero(flat)
    wire = _Wire(FORMAT, places.astype("<u2").tobytes(), flat[places].astype("<f8").tobytes())
    return zlib.compress(msgspec.msgpack.encode(wire), 1)


def _unpack(data: bytes) -> F64:
    sums = np.zeros(_ROWS * _SIZE)
    try:
        # The bound keeps a forged field from unpacking into memory without end.
        wire = msgspec.msgpack.decode(zlib.decompressobj().decompress(data, 16 * sums.nbytes), type=_Wire)
        if wire.format not in (_WITHOUT_TOUCHES, FORMAT):
            raise ModelError(f"quality format {wire.format} is not the known one, {FORMAT}")
        sums[np.frombuffer(wire.places, "<u2")] = np.frombuffer(wire.values, "<f8")
    except (zlib.error, msgspec.DecodeError, ValueError, IndexError) as error:
        raise ModelError(f"a stored week of quality cannot be read: {error}") from error
    return cast("F64", sums.reshape(_ROWS, _SIZE))


def _ranking(bins: F64) -> Ranking:
    falling = bins.reshape(BINS, 2)[::-1]
    return Ranking(falling[:, 1].copy(), falling.sum(axis=1))


def _normalized_entropy(sums: F64) -> float | None:
    weight, goals = float(sums[_WEIGHT]), float(sums[_GOAL_WEIGHT])
    if not 0.0 < goals < weight:
        return None
    rate = goals / weight
    return float(sums[_LOG_LOSS]) / weight / -(rate * math.log(rate) + (1.0 - rate) * math.log1p(-rate))


def _expected_over_observed(sums: F64) -> float | None:
    return float(sums[_LIKELIHOOD] / sums[_GOAL_WEIGHT]) if sums[_GOAL_WEIGHT] > 0.0 else None


def _buckets(flat: F64) -> tuple[Bucket, ...]:
    rows = flat.reshape(-1, 3).tolist()
    return tuple(Bucket(w, p / w if w > 0.0 else None, y / w if w > 0.0 else None) for w, p, y in rows)


@jit
def _find_weeks(time_s: F64, kind: U8, touch: U8, week: I64) -> bool:
    """The week of each row; false when a time is not finite, or a kind or touch unknown."""
    for i in range(len(time_s)):
        if not np.isfinite(time_s[i]) or kind[i] > KIND_CROSSING or touch[i] > TOUCH_WITHHELD:
            return False
        week[i] = int(np.floor((time_s[i] - MONDAY_S) / WEEK_S))
    return True


@jit
def _bin(value: float, low: float, high: float) -> int:
    place = int(np.floor((value - low) * (BINS / (high - low)))) if low <= value < high else -1
    if place < 0:
        return 0 if value < low else BINS - 1
    return min(place, BINS - 1)


@jit
def _accumulate(
    sums: F64,
    week: I64,
    wanted: int,
    labels: tuple[U8, U8, U8],
    served: tuple[F32, F32, F32, F32],
    unserved: npt.NDArray[np.bool_],
) -> None:
    """Adds the rows of one week, first to last: any cutting into chunks gives the same bits."""
    places, y, category = labels
    likelihood, heuristic, score, weight = served
    for i in range(len(y)):
        if week[i] != wanted:
            continue
        row = sums[places[i]]
        if unserved[i]:
            row[_UNSERVED] += 1.0
            continue
        p = float(likelihood[i])
        goal = 1 if y[i] != 0 else 0
        w = float(weight[i])
        clipped = min(max(p, LIKELIHOOD_FLOOR), 1.0 - LIKELIHOOD_FLOOR)
        row[_MODEL + 2 * _bin(np.log(clipped / (1.0 - clipped)), Z_MIN, Z_MAX) + goal] += w
        if np.isfinite(heuristic[i]):
            row[_HEURISTIC + 2 * _bin(float(heuristic[i]), -HEURISTIC_MAX, HEURISTIC_MAX) + goal] += w
        if np.isfinite(score[i]):
            place = _BUCKETS + 3 * min(max(int(score[i] * (BUCKETS / 100.0)), 0), BUCKETS - 1)
            row[place] += w
            row[place + 1] += w * p
            row[place + 2] += w * goal
        if category[i] < CATEGORIES:
            place = _CATEGORIES + 3 * int(category[i])
            row[place] += w
            row[place + 1] += w * p
            row[place + 2] += w * goal
        row[_EXAMPLES] += 1.0
        row[_GOALS] += goal
        row[_WEIGHT] += w
        row[_LIKELIHOOD] += w * p
        row[_GOAL_WEIGHT] += w * goal
        row[_LOG_LOSS] -= w * np.log(clipped if goal else 1.0 - clipped)
