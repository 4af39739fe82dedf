"""How far workers are: asked for once for all who look, and a log that is away is not asked by each of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from config.errors import BrokerUnavailable
from streams.api.lags import Lags
from streams.runtime.seen import PartitionLag


class Log:
    """Answers when it is let, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.now_s = 0.0
        self.is_away = False
        self.go, self.came = threading.Event(), threading.Event()
        self.go.set()

    def lag(self) -> tuple[PartitionLag, ...]:
        self.asked += 1
        self.came.set()
        assert self.go.wait(60)
        if self.is_away:
            raise BrokerUnavailable("away")
        return (PartitionLag(0, 0, 10 * self.asked, 0),)


@pytest.fixture
def log() -> Log:
    return Log()


def test_an_answer_holds_for_a_moment(log: Log) -> None:
    lags = Lags(log.lag, lambda: log.now_s)
    assert [lags.now()[0].end for _ in range(3)] == [10, 10, 10]
    log.now_s += 2.0
    assert (lags.now()[0].end, log.asked) == (20, 2)


def test_a_log_that_is_away_is_not_asked_by_everybody(log: Log) -> None:
    lags, log.is_away = Lags(log.lag, lambda: log.now_s), True
    for _ in range(100):
        with pytest.raises(BrokerUnavailable, match="away"):
            lags.now()
    assert log.asked == 1
    log.now_s, log.is_away = log.now_s + 2.0, False
    assert lags.now()[0].end == 20


def test_while_one_asks_others_are_told_what_was_known_and_ask_nothing(log: Log) -> None:
    lags = Lags(log.lag, lambda: log.now_s)
    lags.now()
    log.now_s += 2.0
    log.go.clear()
    log.came.clear()
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(lags.now)
        assert log.came.wait(60)
        assert (lags.now()[0].end, log.asked) == (10, 2), "it does not wait"
        log.now_s += 60.0
        late = threads.submit(lags.now)  # what is known is too old for it
        log.go.set()
        assert (slow.result(60)[0].end, late.result(60)[0].end) == (20, 20)
