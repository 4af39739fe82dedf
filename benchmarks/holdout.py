"""Whether likelihoods stay right for those who are left alone, while messages move the others. docs/benchmarks.md.

A simulated shop (`streams.simulate`) is scored and learned as it happens. From a day on two campaigns send to whoever
comes into `high` or `low`; a message moves users into a hidden state in which they are likelier to order. What
campaigns note goes back into the events, as in a service, and marks the examples by which the learner judges itself.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan, sqrt
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks._campaigning import Campaigning
from benchmarks._measure import Figures, Progress, show
from config.campaign_checks import read_messaging
from config.campaigns import Campaign
from config.loader import loads
from models.examples import KIND_CROSSING, TOUCH_SENT, TOUCH_WITHHELD, ExampleChunk
from models.learner import PredictionLearner
from models.quality import UNTOUCHED
from streams.campaigns.effects import Note, Send
from streams.campaigns.inputs import Crossing, Facts, Input, Watched
from streams.campaigns.merging import merge
from streams.campaigns.plan import Definitions, Plan
from streams.campaigns.strategies.make import make
from streams.core.chance import is_held_out
from streams.core.decode import SegmentDecoder
from streams.core.events import Event
from streams.core.ledger import cluster_id
from streams.runtime.campaigns.listening import Listener, Shard
from streams.runtime.campaigns.outlet import event_of
from streams.runtime.lockstep import LockStep
from streams.runtime.records import Record
from streams.simulate.draws import F64
from streams.simulate.records import Writer, user_id
from streams.simulate.shop import MARKS, ORDERED, build_shop
from streams.simulate.traffic import Traffic

DAY_S: Final = 86_400.0
WEEK_S: Final = 7 * DAY_S
_START_S: Final = 1_704_067_200.0  # 2024-01-01T00:00:00Z, a Monday
_SLICE_S: Final = 4 * 3_600.0
"""Campaigns read and send so often, and users go on from there."""
_STRATEGIES: Final = ("reminder", "large_discount")
"""For `high` and `low`. Whoever gets one is moved, unless they are in a state from which nothing moves them."""
_PREDICTION: Final = "orders_7d"
_LABEL_DAYS: Final = 8
"""Within so many labels are known: the window, and lateness."""
_CATALOG: Final = """
version: 1
name: Shop
features:
  events: [Product Viewed, Products Searched, Product Added, Cart Viewed, Order Completed, Order Refunded]
  value: revenue
predictions: {orders_7d: {name: Orders within seven days, goal: {did: Order Completed}, window: 7d}}
"""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Size:
    """How much to run; see `--help`."""

    users: int
    days: int
    from_day: int
    holdout: float
    seed: int = 1


class Judged(NamedTuple):
    """Of some moments: what was expected over what happened."""

    moments: int
    ratio: float
    """NaN where nobody reached the goal."""
    error: float
    """One standard error of the ratio; moments of one user are not independent, so it is taken over users."""


@dataclass(frozen=True, slots=True)
class Moments:
    """`n` judged moments, events and silent ones: what was said to people, and what came."""

    time_s: F64
    user: npt.NDArray[np.uint64]
    """Hashes, as in examples."""
    y: npt.NDArray[np.uint8]
    touch: npt.NDArray[np.uint8]
    likelihood: F64

    def judge(self, rows: Mask) -> Judged:
        """Of those moments."""
        observed = float(self.y[rows].sum())
        if not observed:
            return Judged(int(rows.sum()), nan, nan)
        ratio = float(self.likelihood[rows].sum()) / observed
        _, of_user = np.unique(self.user[rows], return_inverse=True)
        residuals = np.bincount(of_user, self.likelihood[rows] - ratio * self.y[rows])
        return Judged(int(rows.sum()), ratio, sqrt(float((residuals**2).sum())) / observed)


class Shop:
    """Users, the engine that scores and learns them, and campaigns on its segments: in lock-step, so it repeats."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.sent: Counter[str] = Counter()
        """Messages of each campaign."""
        catalog = loads(_CATALOG)
        self._chunks: list[ExampleChunk] = []
        self._engine = LockStep(catalog, on_chunk=self._chunks.append)
        self._decoder = SegmentDecoder(catalog)
        self._traffic = Traffic(build_shop(), size.users, seed=size.seed, arrive_s=WEEK_S)
        self._writer = Writer(self._traffic, seed=size.seed, start_ms=round(_START_S * 1_000))
        plan = _plan(size.holdout)
        self._listener = Listener(plan, catalog, Shard(0, 1), "log")
        self._campaigns = Campaigning(plan)
        self._known = _Known()
        self._notes: list[Note] = []
        self._events = self._transitions = 0
        """Records so far."""

    @property
    def learner(self) -> PredictionLearner:
        """Of the prediction."""
        return self._engine.learner.predictions[0]

    def run(self, progress: Progress) -> None:
        """All days. Raises RuntimeError where there is no likelihood yet when the first message goes out."""
        for number in range(1, round(self.size.days * DAY_S / _SLICE_S) + 1):
            end_s = number * _SLICE_S
            inputs = self._score(end_s)
            if end_s > self.size.from_day * DAY_S:
                self._send(inputs, end_s)
            progress.say(f"day {end_s / DAY_S:.1f} of {self.size.days}, {self.sent.total():,} messages")
        if self.learner.served_from_s > _START_S + self.size.from_day * DAY_S:
            raise RuntimeError("nothing was served yet when campaigns began: more users, or a later day")

    def _score(self, end_s: float) -> Sequence[Input]:
        """Take what has happened, and what campaigns have noted of it; what they hear of that."""
        rows = self._traffic.until(round(end_s * 1_000))
        rows = rows.take(rows.visible)
        values = [event_of(note).data for note in self._notes]
        values += [value for _, value in self._writer.records(rows, rows.ms)]
        now_s = _START_S + end_s
        events = _records(values, self._events, now_s)
        self._events += len(events)
        taken = [self._decoder.decode(each.value, each.offset, None, each.offset + 1) for each in events]
        assert all(isinstance(each, Event) for each in taken)
        self._engine.take(taken, now_s)
        transitions = _records(self._engine.effects(self._events, b"").outbox, self._transitions, now_s)
        self._transitions += len(transitions)
        heard = merge(
            [self._listener.transition(each)[0] for each in transitions],
            [self._listener.event(each)[0] for each in events],
            sure=self._events,
            reaches=True,
        )
        self._known.learn(heard.inputs, now_s)
        return heard.inputs

    def _send(self, inputs: Sequence[Input], end_s: float) -> None:
        now_s = _START_S + end_s
        outs = self._campaigns.take(inputs, now_s, self._known)
        outs += self._campaigns.let_pass(now_s, self._known)
        self._notes = [each for each in outs if isinstance(each, Note)]
        sends = [each for each in outs if isinstance(each, Send)]
        self.sent.update(each.campaign for each in sends)
        users = np.array(sorted({int(each.user.removeprefix("user-")) for each in sends}), np.int64)
        self._traffic.nudge(users, round(end_s * 1_000), np.ones(len(users)))

    def moments(self) -> Moments:
        """Of the time from which likelihoods are served; those whose label is known."""
        names = ("time_s", "user", "y", "touch", "likelihood", "kind")
        column = {name: np.concatenate([getattr(chunk, name) for chunk in self._chunks]) for name in names}
        rows = (column.pop("kind") != KIND_CROSSING) & (column["time_s"] >= self.learner.served_from_s)
        found = {name: values[rows] for name, values in column.items()}
        return Moments(**found | {"likelihood": found["likelihood"].astype(np.float64)})

    def is_later(self, moments: Moments) -> Mask:
        """[n] which moments are of the time in which campaigns send."""
        return moments.time_s >= _START_S + self.size.from_day * DAY_S

    def is_held_out(self, moments: Moments) -> Mask:
        """[n] which moments are of users to whom nothing is ever sent."""
        users = [user for user in map(user_id, range(self.size.users)) if is_held_out(user, self.size.holdout)]
        return np.isin(moments.user, np.array([cluster_id(b"", user) for user in users], np.uint64))


class _Known(Mapping[str, Facts]):
    """What the store would say of users: the segments that they are in, and their latest order."""

    def __init__(self) -> None:
        self._segments: dict[str, set[str]] = {}
        self._ordered_s: dict[str, float] = {}
        self._now_s = -inf

    def learn(self, inputs: Sequence[Input], now_s: float) -> None:
        """What has happened until now."""
        self._now_s = now_s
        for each in inputs:
            if isinstance(each, Crossing):
                segments = self._segments.setdefault(each.user, set())
                (segments.add if each.is_entry else segments.discard)(each.segment)
            elif isinstance(each, Watched):
                self._ordered_s[each.user] = max(each.at_s, self._ordered_s.get(each.user, -inf))

    def __getitem__(self, user: str) -> Facts:
        ordered_s = self._ordered_s.get(user)
        return Facts(
            as_of_s=self._now_s,
            segments=frozenset(self._segments.get(user, ())),
            latest_s={} if ordered_s is None else {MARKS[ORDERED]: ordered_s},
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._segments)

    def __len__(self) -> int:
        return len(self._segments)


def _records(values: Sequence[bytes], first: int, log_time_s: float) -> list[Record]:
    return [Record(first + n, log_time_s, value) for n, value in enumerate(values)]


def _plan(holdout: float) -> Plan:
    catalog = loads(_CATALOG)
    messaging = read_messaging({"holdout": holdout, "channels": {"app": {"kind": "log"}}})
    campaigns: dict[str, dict[int, Campaign]] = {}
    for name in _STRATEGIES:
        made = make(name, catalog, _PREDICTION, channels=("app",)).definition
        assert isinstance(made, Campaign)
        # How many there are on the first day is nothing that a breaker could know.
        campaigns[name] = {1: made.model_copy(update={"breaker": None})}
    return Plan(Definitions(messaging, campaigns, kinds={_PREDICTION: "event"}))


GROUPS: Final[Mapping[str, tuple[int, ...]]] = {
    "untouched": UNTOUCHED,
    "withheld": (TOUCH_WITHHELD,),
    "treated": (TOUCH_SENT,),
}
"""As `GET …/quality` tells them apart (`by_touch`): by what was done to the user within the window of the moment."""


def measure(size: Size, progress: Progress) -> Figures:
    """One run."""
    started_s = time.perf_counter()
    shop = Shop(size)
    shop.run(progress)
    moments = shop.moments()
    held_out, later = shop.is_held_out(moments), shop.is_later(moments)
    judged = {"holdout": moments.judge(held_out & later), "others": moments.judge(~held_out & later)}
    judged |= {name: moments.judge(np.isin(moments.touch, touches)) for name, touches in GROUPS.items()}
    return {
        "seconds": round(time.perf_counter() - started_s, 1),
        "users": size.users,
        "days": size.days,
        "from_day": size.from_day,
        "holdout_share": size.holdout,
        "sent": dict(shop.sent),
        **{f"{name}_ratio": each.ratio for name, each in judged.items()},
        **{f"{name}_error": each.error for name, each in judged.items()},
        "moments": {name: each.moments for name, each in judged.items()},
        **_by_week(size, moments, {"holdout": held_out & later, "others": ~held_out & later}),
    }


def _by_week(size: Size, moments: Moments, groups: Mapping[str, Mask]) -> Figures:
    """Expected over observed of whole weeks from the first message on: the learner learns what messages cause, too."""
    week = np.floor((moments.time_s - _START_S) / WEEK_S - size.from_day / 7.0).astype(np.int64)
    labelled = (size.days - size.from_day - _LABEL_DAYS) // 7
    return {
        f"{name}_by_week": {str(n + 1): moments.judge(rows & (week == n)).ratio for n in range(labelled)}
        for name, rows in groups.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.holdout", description=__doc__)
    parser.add_argument("--users", type=int, default=20_000, help="of the shop (default 20,000)")
    parser.add_argument("--days", type=int, default=84, help="of its life (default 84)")
    parser.add_argument("--from-day", type=int, default=21, help="the first on which campaigns send (default 21)")
    parser.add_argument("--holdout", type=float, default=0.2, help="share to whom nothing is sent (default 0.2)")
    parser.add_argument("--seed", type=int, default=1, help="other users (default 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    given = vars(parser.parse_args(arguments))
    as_json = given.pop("json")
    progress = Progress("holdout")
    figures = measure(Size(**given), progress)
    progress.done()
    show(figures, as_json=as_json)


if __name__ == "__main__":
    main()
