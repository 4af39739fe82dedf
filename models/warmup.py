"""Warm-up: when a prediction's model may speak.

A new model knows nothing, and a heuristic (log frequency - 0.7 log recency, docs/core.md) ranks users
quite well. So a prediction starts as *warming*: the heuristic ranks, no likelihood is shown and nothing
is published, while the model learns and leaves with every example what it would have said (its shadow).

**What is counted.** Examples of one user are alike, so goals are counted once per user: a prediction
stays warming until `min_goals` (100) different users have reached the goal in learned examples.

**What is compared.** The shadow and the heuristic, both stored at the moment itself, on the last 20,000
judged examples. Rows of the time before the first snapshot say nothing (shadow NaN, or exactly 0.5: the
logit of a model without weights) and are left out, as are crossings, which repeat moments. Where goals
are rare, only every k-th example without the goal is kept, k such that there are about 20 per goal: the
AUC does not depend on the shares of the classes, and its error depends on the number of goals.
The figure is the difference of the two ROC AUCs (ties half) on the same rows, weighted as learned. Its
standard error treats the user, not the row, as independent: with V the share of the other class that a
row beats, P and N the weights of the classes, and U_k the sum over the rows of user k of
w (V - AUC) / P (goal) or w (V - AUC) / N (no goal), differences of the two models taken before squaring,
    variance = K / (K - 1) * sum of U_k^2,   K the number of users
(N. Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 53, 1997; without
clusters this is E. DeLong et al., 1988).

**When it ends.** With lower = difference - 1.645 standard errors, the lower end of a one-sided 95 %
interval:
- lower > 0: the model beats the heuristic;
- after 10 `min_goals` users with the goal also lower > -0.01: a model that is as good as the heuristic
  must not warm up for ever, because its likelihoods are calibrated and the heuristic has none.
A model that stays clearly worse stays warming. The comparison is made at the end of a chunk, and again
only when goals have grown by a tenth: 20,000 rows are sorted each time, and the fewer looks there are,
the less often chance alone lets a model through. What has left warm-up never comes back.

Bounds: 20,000 rows of 21 bytes and 10 `min_goals` hashes of users per warming prediction; nothing after it.
"""

import math
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from config.errors import ModelError
from models.examples import KIND_CROSSING, ExampleChunk
from models.jit import F32, F64, I64, U8, U64, jit

FORMAT: Final = 1
CAPACITY: Final = 20_000
"""Rows that are compared at most."""
BLOCK: Final = 1_000
"""Rows per stored field: a chunk rewrites only the fields it touched."""
NEGATIVES_PER_GOAL: Final = 20
PATIENCE: Final = 10
"""Times `min_goals` after which "not worse" is enough."""
MARGIN: Final = 0.01
"""How much below the heuristic's AUC still counts as not worse."""
Z_ONE_SIDED_95: Final = 1.6448536269514722
MIN_USERS: Final = 30
"""Users with the goal that the compared rows must hold, or their standard error means little."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Model against heuristic on the same rows."""

    model_auc: float
    heuristic_auc: float
    standard_error: float
    """Of the difference, clustered by user."""

    @property
    def lower(self) -> float:
        """Lower end of the one-sided 95 % interval of model - heuristic."""
        return self.model_auc - self.heuristic_auc - Z_ONE_SIDED_95 * self.standard_error


class Warmup:
    """The warm-up of one prediction. Raises ValueError when `min_goals` is below 1."""

    def __init__(self, min_goals: int = 100) -> None:
        if min_goals < 1:
            raise ValueError(f"min_goals must be at least 1, not {min_goals}")
        self.min_goals = min_goals
        self.reason: str | None = None
        """None while warming; then `beats` or `as_good`."""
        self.comparison: Comparison | None = None
        """The latest one."""
        self.goals = 0
        """Learned examples with the goal."""
        self._users: set[int] = set()
        self._next_check = 0
        self._rows = _Rows()

    @property
    def left(self) -> bool:
        return self.reason is not None

    @property
    def goal_users(self) -> int:
        """Different users with the goal; not counted beyond 10 `min_goals`."""
        return len(self._users)

    @property
    def compared_rows(self) -> int:
        """Rows that the next comparison would be made on."""
        return self._rows.size

    def add(self, chunk: ExampleChunk) -> None:
        """Takes the examples of one chunk and decides, at its end, whether warm-up is over."""
        if self.left:
            return
        learned = chunk.kind != KIND_CROSSING
        reached = learned & (chunk.y != 0)
        self.goals += int(np.count_nonzero(reached))
        for user in chunk.user[reached].tolist():
            if len(self._users) >= PATIENCE * self.min_goals:
                break
            self._users.add(user)
        self._rows.add(chunk)
        if self.goal_users >= self.min_goals and self.goals >= self._next_check:
            self._check()

    def _check(self) -> None:
        comparison = self._rows.compare()
        if comparison is None:
            return
        self._next_check = math.ceil(self.goals * 1.1)
        self.comparison = comparison
        if comparison.lower > 0.0:
            self.reason = "beats"
        elif self.goal_users >= PATIENCE * self.min_goals and comparison.lower > -MARGIN:
            self.reason = "as_good"
        if self.left:
            self._users = set()
            self._rows = _Rows()
            self._rows.dirty[:] = True  # so that stored blocks are dropped

    def state(self, *, changed_only: bool = False) -> dict[str, bytes]:
        """Named fields from which `load` restores bit for bit.

        `changed_only` leaves out blocks of rows that have not changed since `mark_saved`; the fields of a
        prediction that has left warm-up are empty bytes instead, so that a store can drop what it had.
        """
        rows = self._rows
        comparison = self.comparison
        head = _Head(
            FORMAT,
            self.min_goals,
            self.reason,
            None if comparison is None else (comparison.model_auc, comparison.heuristic_auc, comparison.standard_error),
            self.goals,
            self._next_check,
            np.array(sorted(self._users), dtype="<u8").tobytes(),
            rows.counters.tolist(),
        )
        fields = {"head": msgspec.msgpack.encode(head)}
        for block in range(CAPACITY // BLOCK):
            if not changed_only or rows.dirty[block]:
                data = rows.block_bytes(block)
                if data or changed_only:
                    fields[f"rows:{block}"] = data
        return fields

    def mark_saved(self) -> None:
        """What `state` gave is stored; the next `changed_only` starts from here."""
        self._rows.dirty[:] = False

    @classmethod
    def load(cls, fields: dict[str, bytes]) -> "Warmup":
        """Raises ModelError when the fields are not what `state` gave."""
        try:
            head = msgspec.msgpack.decode(fields["head"], type=_Head)
            users = np.frombuffer(head.users, dtype="<u8")
        except (KeyError, msgspec.DecodeError, ValueError) as error:
            raise ModelError(f"the stored warm-up cannot be read: {error!r}") from error
        if head.format != FORMAT:
            raise ModelError(f"warm-up format {head.format} is not the known one, {FORMAT}")
        warmup = cls(head.min_goals)
        warmup.reason = head.reason
        warmup.comparison = None if head.comparison is None else Comparison(*head.comparison)
        warmup.goals, warmup._next_check = head.goals, head.next_check
        warmup._users = set(users.tolist())
        warmup._rows.restore(head.counters, fields)
        return warmup


class _Head(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    format: int
    min_goals: int
    reason: str | None
    comparison: tuple[float, float, float] | None
    goals: int
    next_check: int
    users: bytes
    counters: list[int]


_ADDED, _NEGATIVES, _POSITIVES, _SKIPPED = 0, 1, 2, 3


class _Rows:
    """The last rows that can be compared, in a ring."""

    def __init__(self) -> None:
        self.likelihood: F32 = np.zeros(CAPACITY, np.float32)
        self.heuristic: F32 = np.zeros(CAPACITY, np.float32)
        self.weight: F32 = np.zeros(CAPACITY, np.float32)
        self.user: U64 = np.zeros(CAPACITY, np.uint64)
        self.y: U8 = np.zeros(CAPACITY, np.uint8)
        self.counters: I64 = np.zeros(4, np.int64)
        """Rows added, negatives and positives seen, negatives skipped since the last one kept."""
        self.dirty = np.zeros(CAPACITY // BLOCK, np.bool_)

    @property
    def size(self) -> int:
        return int(min(self.counters[_ADDED], CAPACITY))

    def add(self, chunk: ExampleChunk) -> None:
        before = int(self.counters[_ADDED])
        _push(
            (chunk.likelihood, chunk.heuristic, chunk.weight, chunk.user, chunk.y, chunk.kind),
            (self.likelihood, self.heuristic, self.weight, self.user, self.y),
            self.counters,
        )
        added = int(self.counters[_ADDED]) - before
        if added:
            touched = np.arange(before // BLOCK, (before + added - 1) // BLOCK + 1) % len(self.dirty)
            self.dirty[touched] = True

    def compare(self) -> Comparison | None:
        """None while the rows hold too few users with the goal, or none without."""
        size = self.size
        y, user = self.y[:size], self.user[:size]
        if len(np.unique(user[y != 0])) < MIN_USERS or bool(y.all()):
            return None
        return compare(y, self.likelihood[:size], self.heuristic[:size], user, self.weight[:size])

    def block_bytes(self, block: int) -> bytes:
        start, stop = block * BLOCK, min((block + 1) * BLOCK, self.size)
        if start >= stop:
            return b""
        columns = (self.likelihood, "<f4"), (self.heuristic, "<f4"), (self.weight, "<f4"), (self.user, "<u8")
        parts = [column[start:stop].astype(kind).tobytes() for column, kind in columns]
        return b"".join([*parts, self.y[start:stop].tobytes()])

    def restore(self, counters: list[int], fields: dict[str, bytes]) -> None:
        if len(counters) != len(self.counters):
            raise ModelError(f"the stored warm-up has {len(counters)} counters instead of {len(self.counters)}")
        self.counters[:] = counters
        for start in range(0, self.size, BLOCK):
            stop = min(start + BLOCK, self.size)
            n = stop - start
            data = fields.get(f"rows:{start // BLOCK}", b"")
            if len(data) != n * 21:
                raise ModelError(f"rows {start} to {stop} of the stored warm-up have {len(data)} bytes")
            self.likelihood[start:stop] = np.frombuffer(data, "<f4", n)
            self.heuristic[start:stop] = np.frombuffer(data, "<f4", n, 4 * n)
            self.weight[start:stop] = np.frombuffer(data, "<f4", n, 8 * n)
            self.user[start:stop] = np.frombuffer(data, "<u8", n, 12 * n)
            self.y[start:stop] = np.frombuffer(data, np.uint8, n, 20 * n)


@jit
def _push(rows: tuple[F32, F32, F32, U64, U8, U8], ring: tuple[F32, F32, F32, U64, U8], counters: I64) -> None:
    likelihood, heuristic, weight, user, y, kind = rows
    to_likelihood, to_heuristic, to_weight, to_user, to_y = ring
    for i in range(len(y)):
        said = likelihood[i]
        if kind[i] == KIND_CROSSING or said == 0.5 or not (np.isfinite(said) and np.isfinite(heuristic[i])):
            continue
        if y[i] != 0:
            counters[_POSITIVES] += 1
        else:
            counters[_NEGATIVES] += 1
            every = counters[_NEGATIVES] // (NEGATIVES_PER_GOAL * (counters[_POSITIVES] + 1))
            counters[_SKIPPED] += 1
            if counters[_SKIPPED] < every:
                continue
            counters[_SKIPPED] = 0
        place = counters[_ADDED] % CAPACITY
        to_likelihood[place] = said
        to_heuristic[place] = heuristic[i]
        to_weight[place] = weight[i]
        to_user[place] = user[i]
        to_y[place] = y[i]
        counters[_ADDED] += 1


def compare(y: U8, model: F32, heuristic: F32, user: U64, weight: F32) -> Comparison:
    """The two AUCs on `n` rows and the standard error of their difference, clustered by user.

    `y` is 0 or 1 and must hold both. The formulas are in the module's docstring.
    """
    goal = y != 0
    weights = weight.astype(np.float64)
    model_auc, model_influence = _auc_with_influence(goal, model, weights)
    heuristic_auc, heuristic_influence = _auc_with_influence(goal, heuristic, weights)
    _, first, cluster = np.unique(user, return_index=True, return_inverse=True)
    # In the order of their first rows: sums must not depend on the hashes, which differ with the key.
    place = np.argsort(np.argsort(first))
    sums = np.bincount(place[cluster], weights=model_influence - heuristic_influence)
    clusters = len(sums)
    variance = clusters / max(clusters - 1, 1) * float(np.sum(sums * sums))
    return Comparison(model_auc, heuristic_auc, math.sqrt(variance))


def _auc_with_influence(goal: np.ndarray[tuple[int], np.dtype[np.bool_]], score: F32, weight: F64) -> tuple[float, F64]:
    """The weighted AUC and what each row adds to its error: w (V - AUC) / weight of the row's class."""
    _, group = np.unique(score, return_inverse=True)
    positive = np.bincount(group, weights=weight * goal)
    negative = np.bincount(group, weights=weight * ~goal)
    positives, negatives = positive.sum(), negative.sum()
    beaten = (np.cumsum(negative) - 0.5 * negative) / negatives
    beating = (positives - np.cumsum(positive) + 0.5 * positive) / positives
    auc = float(np.sum(positive * beaten) / positives)
    share = np.where(goal, beaten[group], beating[group])
    return auc, weight * (share - auc) / np.where(goal, positives, negatives)
