"""The true likelihood at every moment, and the best that anybody could know of it.

A moment is an event, or a look: any time at which one wants to know. Both see the events of their user up to and
including that millisecond.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from streams.simulate.draws import F64, I64
from streams.simulate.process import HIDDEN, Observer
from streams.simulate.records import Clock, user_id
from streams.simulate.shop import IDENTIFY, MARKS, belief_at_sign_up
from streams.simulate.traffic import I16, Rows, Traffic

LOOK: Final = -2
"""The mark of a look."""
LOOK_EVERY_MS: Final = 7 * 86_400_000
COLUMNS: Final = ("user_id", "time", "moment", "true", "oracle")


@dataclass(frozen=True, slots=True)
class Moments:
    """`n` moments in the order of their times."""

    user: I64
    ms: I64
    """[n] since the start."""
    mark: npt.NDArray[np.int8]
    """[n] kind of the event, or LOOK."""
    state: I16
    """[n] hidden state right after it."""
    true: F64
    """[n] the likelihood that follows from the hidden state."""
    oracle: F64
    """[n] the likelihood that follows from the user's own events: no observer can do better."""

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: I64) -> Self:
        """Some of them."""
        return type(self)(
            self.user[rows], self.ms[rows], self.mark[rows], self.state[rows], self.true[rows], self.oracle[rows]
        )


class WeeklyLooks:
    """Every user once a week, each at an hour of its own, from its sign-up on."""

    def __init__(self, traffic: Traffic) -> None:
        self._next_ms: I64 = traffic.sign_up_ms + np.floor(traffic.look_phase * LOOK_EVERY_MS).astype(np.int64)

    def until(self, end_ms: int) -> tuple[I64, I64]:
        """Users and times of the looks up to, and without, `end_ms`."""
        users, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        while len(due := np.flatnonzero(self._next_ms < end_ms)):
            users.append(due)
            times.append(self._next_ms[due])
            self._next_ms[due] += LOOK_EVERY_MS
        return np.concatenate(users), np.concatenate(times)


class Truth:
    """Follows the users of a traffic, slice by slice. Needs 8 bytes per user and hidden state."""

    def __init__(self, traffic: Traffic, goal: int, window_s: float) -> None:
        self.observer = Observer(traffic.shop.process, goal, window_s)
        self._traffic = traffic
        self._belief = np.zeros((traffic.users, len(self.observer.by_state)))
        self._seen_ms = np.zeros(traffic.users, np.int64)
        self._state = np.full(traffic.users, -1, np.int16)

    def follow(self, rows: Rows, look_user: I64, look_ms: I64) -> Moments:
        """The moments of a slice: its events, and looks at these users and times. `rows` has the hidden jumps too.

        Raises ValueError for a look at a user who has not signed up by then.
        """
        user = np.concatenate([rows.user, look_user])
        ms = np.concatenate([rows.ms, look_ms])
        mark = np.concatenate([rows.mark, np.full(len(look_user), LOOK, np.int8)])
        state = np.concatenate([rows.state, np.full(len(look_user), -1, np.int16)])
        within = np.concatenate([rows.jump, np.full(len(look_user), np.iinfo(np.int32).max)])
        by_user = np.lexsort((within, ms, user))
        user, ms, mark, state = user[by_user], ms[by_user], mark[by_user], state[by_user]
        state = self._filled(user, state)
        if (state < 0).any():
            raise ValueError("a look at a user who has not signed up")
        seen = np.flatnonzero(mark != HIDDEN)
        user, ms, mark, state = user[seen], ms[seen], mark[seen], state[seen]
        oracle = self._filter(user, ms, mark)
        in_time = np.lexsort((user, ms))  # stable: a user's moments of one millisecond stay in their order
        return Moments(user, ms, mark, state, self.observer.by_state[state], oracle).take(in_time)

    def at(self, rows: Rows, user: I64, ms: I64) -> Moments:
        """Looks alone, in the order in which they are asked for: one for each of these users and times."""
        found = self.follow(rows, user, ms)
        looks = np.flatnonzero(found.mark == LOOK)
        asked = np.lexsort((user, ms))
        order = np.empty(len(looks), np.int64)
        order[asked] = looks
        return found.take(order)

    def _filled(self, user: I64, state: I16) -> I16:
        """[n] the state at each row, sorted by user: that of the row, else of the latest one before it."""
        if not len(user):
            return state
        own = np.flatnonzero(state >= 0)
        place = np.zeros(len(user), np.int64)
        place[own] = own
        latest = np.maximum.accumulate(place)
        # The latest row with a state may be another user's: then the state is the one from before this slice.
        known = (user[latest] == user) & (state[latest] >= 0)
        filled: I16 = np.where(known, state[latest], self._state[user]).astype(np.int16)
        last = np.append(user[1:] != user[:-1], True)
        self._state[user[last]] = filled[last]
        return filled

    def _filter(self, user: I64, ms: I64, mark: npt.NDArray[np.int8]) -> F64:
        """[n] the observer's likelihood at each row, sorted by user and time: all first rows, all second ones, ..."""
        oracle = np.zeros(len(user))
        starts = np.flatnonzero(np.append(True, user[1:] != user[:-1])) if len(user) else np.zeros(0, np.int64)
        ends = np.append(starts[1:], len(user))
        while len(starts):
            belief = self._step(user[starts], ms[starts], mark[starts])
            oracle[starts] = self.observer.likelihood(belief)
            more = starts + 1 < ends
            starts, ends = starts[more] + 1, ends[more]
        return oracle

    def _step(self, user: I64, ms: I64, mark: npt.NDArray[np.int8]) -> F64:
        """Beliefs of different users after one moment each."""
        traffic, observer = self._traffic, self.observer
        first = np.flatnonzero(mark == IDENTIFY)
        belief = self._belief[user]
        # A belief that is not there yet stays as it is; it is set below.
        belief = observer.after_silence(belief, np.where(mark == IDENTIFY, 0, ms - self._seen_ms[user]))
        seen = np.flatnonzero((mark != IDENTIFY) & (mark != LOOK))
        belief[seen] = observer.after_event(belief[seen], mark[seen])
        who = user[first]
        belief[first] = belief_at_sign_up(traffic.shop, traffic.country[who], traffic.plan[who], traffic.consent[who])
        self._belief[user] = belief
        self._seen_ms[user] = ms
        return belief


def csv_lines(moments: Moments, clock: Clock) -> Iterator[str]:
    """A line for each moment, under `COLUMNS`."""
    times = clock.texts(moments.ms)
    columns = (moments.user.tolist(), times, moments.mark.tolist(), moments.true.tolist(), moments.oracle.tolist())
    for user, time, mark, true, oracle in zip(*columns, strict=True):
        yield f"{user_id(user)},{time},{'look' if mark == LOOK else MARKS[mark]},{true:.6g},{oracle:.6g}\n"
